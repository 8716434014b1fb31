"""What a profile may say: the forms of values, and every table with its keys, as data."""
