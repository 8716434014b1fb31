"""The words that `-filter` accepts."""

WORDS = ("r", "w", "x", "ur", "uw", "ux", "user", "global", "4k", "2m", "4m", "1g", "wb", "wt", "uc", "wc", "wp")
"""r, w, x: for the supervisor; ur, uw, ux: for user mode; user: both; page sizes; memory types (uc covers uc-)."""
