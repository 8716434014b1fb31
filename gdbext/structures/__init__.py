"""A kernel's data structures as a bound profile describes them: read in bulk, noting what is broken or unread."""
