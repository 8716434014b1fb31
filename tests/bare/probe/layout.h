/* What the probe and tests/bare/probing.py must agree on; the test reads this file. Offsets are from the probe's first
 * virtual address, or within one case. */

#define CODE        0x0000      /* the loop and the exception handlers: supervisor */
#define LOOP        0x0040      /* where a further batch begins */
#define VECTORS     0x0400      /* a handler for each exception, VECTOR_SIZE bytes apart */
#define DONE        0x1000      /* a page of its own for the breakpoint at the end of a batch: supervisor */
#define STUBS       0x2000      /* the accesses themselves, STUB_SIZE bytes apart: supervisor */
#define USER_STUBS  0x3000      /* the same frame again: user */
#define TABLES      0x4000      /* GDT, TSS, operands of lgdt and lidt: written by the test; supervisor */
#define IDT         0x5000      /* written by the test; supervisor */
#define STACK_END   0x7000      /* one page below it; supervisor */
#define CASES       0x10000     /* what to try, and what came of it; supervisor */

#define TSS         0x4200
#define GDTR        0x4800
#define IDTR        0x4810
#define VECTOR_SIZE 16
#define STUB_SIZE   16

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE   0x1b
#define USER_DATA   0x23
#define TSS_ENTRY   0x28

/* A case: fields of eight bytes. The first part is the test's, the rest the probe's. */
#define CASE_SIZE   128
#define CASE_CR3    0
#define CASE_CR0    8
#define CASE_CR4    16
#define CASE_EFER   24
#define CASE_RFLAGS 32
#define CASE_PKRU   40
#define CASE_ADDRESS 48
#define CASE_STUB   56          /* virtual address of one of the stubs */
#define CASE_CS     64
#define CASE_SS     72
#define CASE_BYTE   80          /* what a write stores */
#define CASE_VECTOR 88
#define CASE_ERROR  96
#define CASE_CR2    104
#define CASE_VALUE  112         /* what a read found, or what fetched code returned */
