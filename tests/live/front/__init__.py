"""What a user meets first: starting, installing, sources of memory, descriptions, help, and bad input."""
