"""A kernel's data structures as a bound profile describes them: read in bulk, with what was broken or unreadable."""
