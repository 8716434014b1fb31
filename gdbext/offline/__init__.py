"""A dump opened without gdb and without a machine: the same commands, over gdbext's own symbols and expressions."""
