/* Knows how one heap rests on another: its arena is a chunk of its parent.
 *
 * Theory
 *  1. All that a heap asks of its supply is a range of addresses and memory for it. A chunk of another heap is both, so any
 *     kind can rest on any other, over as many steps as there is room.
 *  2. All of the memory is there from the beginning: committing and decommitting do nothing.
 *  3. Whoever has much that ends together (a device, a file system) takes it from a heap of its own and gives back that
 *     heap, whatever is still used in it.
 *
 * Invariants, for every heap with a parent (heap_check verifies them)
 *     [base, limit) lies in one used chunk of the parent
 *     a heap that others rest on does not end
 *
 * Lock: a heap's own, then its parent's. */

#include "heap/heap_manager.h"
#include "layout.h"

static uintptr_t reserve(struct heap *heap, size_t size)
{
    return (uintptr_t)heap_alloc_aligned(heap->parent, size, PAGE_SIZE);
}

static bool commit(struct heap *heap, uintptr_t base, size_t size)
{
    (void)heap;
    (void)base;
    (void)size;
    return true;
}

static void decommit(struct heap *heap, uintptr_t base, size_t size)
{
    (void)heap;
    (void)base;
    (void)size;
}

static void release(struct heap *heap, uintptr_t base) { heap_free(heap->parent, (void *)base); }

const struct heap_supply heap_supply_parent = { reserve, commit, decommit, release };
