"""Names, types and layouts of the kernel: the protocol, and its implementation over ELF and DWARF."""
