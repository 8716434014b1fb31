"""What a person meets first: starting, installing, sources of memory, descriptions, help, and bad input."""
