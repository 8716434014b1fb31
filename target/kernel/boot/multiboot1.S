# Knows the multiboot 1 header. Linked into kernel-mb1.elf only.
#
# A multiboot 1 loader reads 32-bit ELF files at most, so the header gives the addresses itself (flag bit 16).

#include "boot/protocol.h"
#include "layout.h"

#define FLAGS 0x00010003        /* modules on page boundaries, memory information wanted, address fields valid */
#define PHYS(symbol) ((symbol) - KERNEL_BASE)

    .section .text.header, "ax"
    .balign 4
multiboot1_header:
    .long MULTIBOOT1_HEADER_MAGIC, FLAGS, -(MULTIBOOT1_HEADER_MAGIC + FLAGS)
    .long PHYS(multiboot1_header)
    .long PHYS(__image_start)   # the file is loaded from here
    .long PHYS(__data_end)      # to here
    .long PHYS(__image_end)     # and zeroed to here
    .long PHYS(_start)

    .section .note.GNU-stack, "", @progbits
