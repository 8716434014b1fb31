"""gdbext: see an x86-64 kernel's memory managers from gdb, and find what is wrong with them."""

__version__ = "0.1.0"
