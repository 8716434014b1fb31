"""Expressions over a kernel's symbols: grammar, C's meaning, values of one node or of many at once."""
