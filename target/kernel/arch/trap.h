/* Knows what happens on an exception: the descriptor table (IDT), the fault report, the recovery of a probe. */
#ifndef ARCH_TRAP_H
#define ARCH_TRAP_H

#include <stdint.h>

/* As vectors.S and the processor leave it on the stack, lowest address first. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* From here on exceptions report themselves, on the stack in use. */
void traps_init(void);

/* Gives double fault, NMI and machine check stacks of their own, with guards. After vm_init. */
void trap_stacks_init(void);

/* Prints the return addresses of the frames that `rbp` heads. Stops at the first that is not mapped. */
void print_backtrace(uint64_t rbp);

/* The exception that is being reported, for whoever looks from outside. None is reported twice: a report ends in a panic. */
extern struct trap_frame *reported_trap;

/* Called by vectors.S only. */
void trap(struct trap_frame *frame);

#endif
