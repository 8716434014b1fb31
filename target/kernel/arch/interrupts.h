/* Knows how to keep interrupts away. */
#ifndef ARCH_INTERRUPTS_H
#define ARCH_INTERRUPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86.h"

static inline bool interrupts_are_on(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq\n\tpop %0" : "=r"(flags) : : "memory");
    return flags & RFLAGS_IF;
}

/* True if they were on: what interrupts_restore wants to know. */
static inline bool interrupts_disable(void)
{
    bool were_on = interrupts_are_on();
    __asm__ volatile("cli" : : : "memory");
    return were_on;
}

static inline void interrupts_restore(bool were_on)
{
    if (were_on)
        __asm__ volatile("sti" : : : "memory");
}

#endif
