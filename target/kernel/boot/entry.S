# Knows the way from any of the three boot protocols, in 32-bit mode without paging, to kmain in long mode.
#
# The code runs at its physical address until start_high, while its symbols are linked high: PHYS() turns one into the
# other. What the loader left comes in eax (its magic) and ebx (where its information lies).

#include "arch/x86.h"
#include "boot/protocol.h"
#include "layout.h"

#define PHYS(symbol) ((symbol) - KERNEL_BASE)

# The PVH note, found by QEMU -kernel: type 18 is XEN_ELFNOTE_PHYS32_ENTRY.
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad PHYS(start_pvh)

    .cfi_sections .debug_frame

    .section .text.header, "ax"
    .balign 8
multiboot2_header:
    .long MULTIBOOT2_HEADER_MAGIC, 0, multiboot2_header_end - multiboot2_header
    .long -(MULTIBOOT2_HEADER_MAGIC + (multiboot2_header_end - multiboot2_header))
    .short 3, 0             # entry address
    .long 12, PHYS(_start)
    .balign 8
    .short 6, 0             # modules on page boundaries
    .long 8
    .short 0, 0             # end
    .long 8
multiboot2_header_end:

    .section .text.boot, "ax"
    .code32
    .global start_pvh, _start
start_pvh:
    movl $PVH_MAGIC, %eax   # PVH leaves nothing in eax that says so
_start:
    cli
    cld
    movl $PHYS(__stack_end), %esp
    movl %eax, %edi         # kmain's arguments, out of cpuid's way
    movl %ebx, %esi

    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    testl $CPUID_80000001_EDX_LM, %edx
    jz no_long_mode

    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $PHYS(boot_pml4), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $CR0_PG, %eax
    movl %eax, %cr0
    lgdt PHYS(boot_gdt_pointer)
    ljmp $SELECTOR_CODE, $PHYS(start_64)

no_long_mode:               # says so in one letter: there is nothing else to say it with yet
    movw $0x3f8, %dx
    movb $'!', %al
    outb %al, %dx
1:  hlt
    jmp 1b

    .code64
start_64:
    movabsq $start_high, %rax
    jmp *%rax
start_high:
    .cfi_startproc
    .cfi_undefined %rip     # nobody called this: a debugger's backtrace ends here
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movq $__stack_end, %rsp
    xorl %ebp, %ebp         # ends every backtrace
    movl %edi, %edi
    movl %esi, %esi
    call kmain
1:  hlt
    jmp 1b
    .cfi_endproc

    .section .rodata, "a"
    .balign 8
boot_gdt:
    .quad 0, DESCRIPTOR_CODE64, DESCRIPTOR_DATA
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long PHYS(boot_gdt)

# The boot tables are data, so there is nothing to compute: the low 4 GiB in 2-MiB pages, seen at three places through one
# PDPT. Slot 0 (identity) is for the few instructions before start_high, slot 256 for phys_to_virt, slot 511 for the image,
# which lies in the last but one GiB. mm/paging.c replaces all of it.
#define TABLE (ENTRY_PRESENT | ENTRY_WRITE)
    .section .data.boot_tables, "aw"
    .balign PAGE_SIZE
boot_pml4:
    .quad PHYS(boot_pdpt) + TABLE
    .fill 255, 8, 0
    .quad PHYS(boot_pdpt) + TABLE
    .fill 254, 8, 0
    .quad PHYS(boot_pdpt) + TABLE
boot_pdpt:
    .quad PHYS(boot_pd) + TABLE
    .quad PHYS(boot_pd) + 1 * PAGE_SIZE + TABLE
    .quad PHYS(boot_pd) + 2 * PAGE_SIZE + TABLE
    .quad PHYS(boot_pd) + 3 * PAGE_SIZE + TABLE
    .fill 506, 8, 0
    .quad PHYS(boot_pd) + TABLE
    .quad 0
boot_pd:
    .set address, 0
    .rept 4 * ENTRIES
    .quad address + TABLE + ENTRY_LARGE
    .set address, address + 0x200000
    .endr

    .section .stack, "aw", @nobits
    .skip 4 * PAGE_SIZE

    .section .note.GNU-stack, "", @progbits
