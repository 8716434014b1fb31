"""The rules of page tables."""
