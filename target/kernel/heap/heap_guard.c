/* Knows a way to keep a heap for those who look for a bug: every chunk has pages of its own, and a page without memory
 * behind them.
 *
 * Theory (Perens, Electric Fence, 1987)
 *  1. A payload ends where its last page ends. The first byte behind it lies in a page that has no memory, so whoever reads
 *     or writes it faults there and then.
 *  2. Freed pages lose their memory, and addresses just given back are the last to be used again: whoever uses a chunk
 *     after its end faults as well.
 *  3. Bytes in front of a payload, in its first page, are HEAP_FENCE. They are looked at when the chunk is given back.
 *  4. A payload ends at a page's end whatever its size, so it starts at an odd address if its size is odd. That suits all
 *     that has that size: an object's alignment divides its size.
 *
 * Invariants
 *     a run's owner is the size of its payload: 0 < owner <= the run's memory
 *     all bytes of a run's memory in front of the payload are HEAP_FENCE
 *     no chunk is free; and what heap_runs.c says about runs */

#include "heap/heap_guard.h"

#include "heap/heap_kinds.h"
#include "lib/string.h"

static struct heap_runs *runs_of(struct heap *heap) { return &((struct heap_guard *)heap)->runs; }
static const struct heap_runs *seen_runs(const struct heap *heap) { return &((const struct heap_guard *)heap)->runs; }

static bool guard_init(struct heap *heap)
{
    heap_runs_init(heap, runs_of(heap), 1, true);
    return true;
}

/* Above a page's alignment the payload begins where its run does. */
static void *guard_alloc(struct heap *heap, size_t wanted, size_t align)
{
    size_t pages = align_up(wanted, PAGE_SIZE), size = align >= PAGE_SIZE ? pages : align_up(wanted, align);
    uintptr_t first = heap_runs_alloc(heap, runs_of(heap), size, align > PAGE_SIZE ? align : PAGE_SIZE, size);
    if (!first)
        return NULL;
    memset((void *)first, HEAP_FENCE, pages - size);
    heap_count(heap, false, size);
    return (void *)(first + pages - size);
}

static size_t guard_size_of(const struct heap *heap, const void *memory)
{
    return heap_runs_page(heap, seen_runs(heap), (uintptr_t)memory)->owner;
}

static void guard_free(struct heap *heap, void *memory)
{
    heap_uncount(heap, false, guard_size_of(heap, memory));
    heap_runs_free(heap, runs_of(heap), heap_runs_first(heap, runs_of(heap), (uintptr_t)memory));
}

/* Where the payload of the run that begins at `first` starts. */
static uintptr_t payload_of(const struct heap *heap, uintptr_t first)
{
    return first + heap_runs_size(heap, seen_runs(heap), first) - heap_runs_page(heap, seen_runs(heap), first)->owner;
}

static const char *guard_refusal(const struct heap *heap, const void *memory)
{
    uintptr_t first = heap_runs_first(heap, seen_runs(heap), (uintptr_t)memory);
    if (!first)
        return "it lies in a free page: freed before, or never a chunk";
    uintptr_t payload = payload_of(heap, first);
    if ((uintptr_t)memory != payload)
        return "a chunk lies there, but does not start there";
    return is_filled((void *)first, HEAP_FENCE, payload - first) ? NULL : "bytes in front of it were written to";
}

static bool guard_each(const struct heap *heap, heap_visit *visit, void *context)
{
    uintptr_t first = heap_runs_next(heap, seen_runs(heap), heap->start);
    for (; first < heap->end; first = heap_runs_next(heap, seen_runs(heap), first + PAGE_SIZE)) {
        size_t size = heap_runs_page(heap, seen_runs(heap), first)->owner;
        struct heap_block block = { payload_of(heap, first), size, false };
        if (!size || size > heap_runs_size(heap, seen_runs(heap), first) || !visit(context, &block))
            return false;
    }
    return true;
}

static const char *guard_check(const struct heap *heap)
{
    const char *broken = heap_runs_check(heap, seen_runs(heap));
    uintptr_t first = heap_runs_next(heap, seen_runs(heap), heap->start);
    for (; !broken && first < heap->end; first = heap_runs_next(heap, seen_runs(heap), first + PAGE_SIZE)) {
        size_t size = heap_runs_page(heap, seen_runs(heap), first)->owner;
        size_t memory = heap_runs_size(heap, seen_runs(heap), first);
        if (!size || size > memory)
            broken = "a run's owner is the size of its payload";
        else if (!is_filled((void *)first, HEAP_FENCE, memory - size))
            broken = "bytes in front of a payload are the fence's";
    }
    return broken;
}

const struct heap_operations heap_guard_operations = {
    .name = "guard", .instance_size = sizeof(struct heap_guard), .alignment = 1, .merges = true, .reuses = true,
    .shrinks = true, .unmaps = true,
    .init = guard_init, .alloc = guard_alloc, .free = guard_free, .size_of = guard_size_of, .refusal = guard_refusal,
    .each = guard_each, .check = guard_check,
};
