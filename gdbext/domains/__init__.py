"""The knowledge about one stop, a class for each domain: what it reads, its rules, and what they need."""
