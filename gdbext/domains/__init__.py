"""What gdbext knows of one stop, a class for each field of knowledge: what it reads, its rules, and what they need."""
