/* Knows how one processor at a time gets into a manager.
 *
 * Lock order: dma < list of heaps < heap < address space < pmm; the pool's is taken alone. A heap's comes before that of the
 * heap it rests on. Whoever holds one may take those after it, never those before it, and gives the one that it took last
 * back first. */
#ifndef ARCH_SPINLOCK_H
#define ARCH_SPINLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct spinlock {
    uint32_t locked;            /* 0, or 1 + number of the processor that is changing the manager: what a debugger looks at */
    bool interrupts_were_on;    /* before it was taken */
    const void *taker;          /* where the code goes on that took it last */
    const char *name;
};

/* Interrupts are off from here to unlock: a handler that wanted the same lock would wait for itself. Waits for another
 * processor that holds it. Panics if this one does. */
void lock(struct spinlock *lock);

/* Interrupts are as they were before lock. Panics unless this processor holds it. */
void unlock(struct spinlock *lock);

#endif
