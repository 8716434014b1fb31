"""Virtual memory as the kernel lays it out: what an address space's mappings are, in the kernel's own terms."""
