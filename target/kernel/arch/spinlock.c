/* Knows how one processor at a time gets into a manager.
 *
 * Theory
 *  1. `locked` names its holder. One instruction looks at it and changes it (compare and exchange), so of several processors
 *     that find it 0 one gets it, and at no time is it taken but nobody's.
 *  2. Taking acquires and giving back releases: what the holder reads and writes in between is neither done before the one
 *     nor after the other, as other processors see it.
 *  3. Interrupts are off while a lock is held. Two that are held at a time are given back in the opposite order, so the
 *     first that was taken restores what was found at the very beginning.
 *  4. A processor that finds its own number there would wait for ever. That is a bug in the order of locks: say so.
 *
 * Invariant
 *     only the processor with number n writes 1 + n to `locked`, and only it writes 0 after that */

#include "arch/spinlock.h"

#include "arch/cpu.h"
#include "arch/interrupts.h"
#include "lib/panic.h"

static uint32_t holder_of(const struct spinlock *lock) { return __atomic_load_n(&lock->locked, __ATOMIC_RELAXED); }

static bool take_if_free(struct spinlock *lock, uint32_t me)
{
    uint32_t nobody = 0;
    return __atomic_compare_exchange_n(&lock->locked, &nobody, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void lock(struct spinlock *lock)
{
    bool were_on = interrupts_disable();
    uint32_t me = 1 + processor_number();
    if (holder_of(lock) == me) {
        interrupts_restore(were_on);
        panic("lock %s is taken already, by the same processor: %u, at %p", lock->name, me - 1, lock->taker);
    }
    while (!take_if_free(lock, me))
        relax();
    lock->taker = __builtin_return_address(0);
    lock->interrupts_were_on = were_on;
}

void unlock(struct spinlock *lock)
{
    if (holder_of(lock) != 1 + processor_number())
        panic("lock %s given back by processor %u, which does not hold it", lock->name, processor_number());
    bool were_on = lock->interrupts_were_on;
    __atomic_store_n(&lock->locked, 0, __ATOMIC_RELEASE);
    interrupts_restore(were_on);
}
