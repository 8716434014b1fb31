/* Knows the processor's bits, each once, with its place in the Intel SDM (numbered as in its 2022 editions). For C and
 * assembly alike. */
#ifndef ARCH_X86_H
#define ARCH_X86_H

/* Control registers: SDM volume 3, 2.5. */
#define CR0_NE          0x00000020      /* x87 errors as exceptions */
#define CR0_WP          0x00010000      /* read-only pages are read-only for the kernel too */
#define CR0_PG          0x80000000
#define CR4_PAE         0x00000020
#define CR4_PGE         0x00000080      /* global pages */
#define CR4_UMIP        0x00000800      /* no SGDT, SIDT, SLDT, STR, SMSW for programs */
#define CR4_SMEP        0x00100000      /* the kernel does not execute user pages */
#define CR4_SMAP        0x00200000      /* the kernel does not touch user pages by accident */

/* Flags register: volume 1, 3.4.3. */
#define RFLAGS_IF       0x00000200      /* interrupts are on */

/* Extended feature register: volume 4, 2.1; volume 3, 2.2.1. */
#define MSR_EFER        0xc0000080
#define MSR_APIC_BASE   0x0000001b      /* where the local APIC's registers are */
#define EFER_LME        0x00000100
#define EFER_NXE        0x00000800

/* CPUID leaves: volume 2, CPUID. */
#define CPUID_1_EDX_PGE             (1 << 13)
#define CPUID_7_EBX_SMEP            (1 << 7)
#define CPUID_7_EBX_SMAP            (1 << 20)
#define CPUID_7_ECX_UMIP            (1 << 2)
#define CPUID_80000001_EDX_NX       (1 << 20)
#define CPUID_80000001_EDX_1GIB     (1 << 26)
#define CPUID_80000001_EDX_LM       (1 << 29)

/* Page-table entries, 4-level paging: volume 3, 4.5.4, tables 4-15 to 4-20. */
#define ENTRY_PRESENT   0x0000000000000001
#define ENTRY_WRITE     0x0000000000000002
#define ENTRY_USER      0x0000000000000004
#define ENTRY_LARGE     0x0000000000000080      /* levels 2 and 3: a leaf */
#define ENTRY_GLOBAL    0x0000000000000100
#define ENTRY_NX        0x8000000000000000
#define ENTRY_ADDRESS   0x000ffffffffff000
#define ENTRIES         512

/* Page-fault error code: volume 3, 4.7. */
#define FAULT_PRESENT   0x01
#define FAULT_WRITE     0x02
#define FAULT_USER      0x04
#define FAULT_RESERVED  0x08
#define FAULT_FETCH     0x10

/* Exception vectors: volume 3, 6.3.1, table 6-1. */
#define VECTOR_NMI              2
#define VECTOR_DOUBLE_FAULT     8
#define VECTOR_PAGE_FAULT       14
#define VECTOR_MACHINE_CHECK    18
#define VECTOR_COUNT            32

/* Segment and system descriptors: volume 3, 3.4.5, 6.14.1 and 7.2.3. */
#define DESCRIPTOR_CODE64       0x00209a0000000000      /* present, ring 0, code, L */
#define DESCRIPTOR_DATA         0x0000920000000000      /* present, ring 0, data, writable */
#define DESCRIPTOR_TSS          0x0000890000000000      /* present, ring 0, available 64-bit TSS */
#define GATE_INTERRUPT          0x8e                    /* present, ring 0, interrupts off on entry */

#define SELECTOR_CODE   0x08
#define SELECTOR_DATA   0x10
#define SELECTOR_TSS    0x18

#endif
