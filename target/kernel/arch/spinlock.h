/* Knows how one processor at a time gets into a manager.
 *
 * Lock order: dma < heap < vm < paging < pmm; the pool's is taken alone, and so is that of the list of heaps. A heap's
 * comes before that of the heap it rests on. Whoever holds one may take those after it, never those before it.
 * Interrupts stay off, so on this one processor a lock that is found taken is a lock-order bug, not a wait: say so. */
#ifndef ARCH_SPINLOCK_H
#define ARCH_SPINLOCK_H

#include <stdint.h>

#include "lib/panic.h"

struct spinlock {
    uint32_t locked;            /* 1 while a manager is being changed: what a debugger looks at */
    const char *name;
};

static inline void lock(struct spinlock *lock)
{
    if (__atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE))
        panic("lock %s is already taken", lock->name);
}

static inline void unlock(struct spinlock *lock)
{
    if (!__atomic_exchange_n(&lock->locked, 0, __ATOMIC_RELEASE))
        panic("lock %s given back but not taken", lock->name);
}

#endif
