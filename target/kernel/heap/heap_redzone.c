/* Knows how to put a fence around every payload, whatever the kind of heap.
 *
 * Theory
 *  1. The kind is asked for more than the caller wants. The caller gets the middle; in front of it and behind it every byte
 *     is HEAP_FENCE. Whoever writes outside of a payload writes there, and that is found when the chunk is given back, or
 *     by heap_check.
 *  2. The kind's payload begins with three words: what size the caller asked for, so the fence begins at the very next byte,
 *     how far in front the caller's payload lies: 32 bytes, or more where an alignment demands it, and who that caller is.
 *  3. Going back, all distances are tried that can be. The kind says which address is a chunk of its own; the word there
 *     must name the distance.
 *  4. A kind with pages of its own for every chunk needs no fence behind it, but its payloads may begin anywhere: there the
 *     whole is made a multiple of 16 bytes, so that the words are aligned.
 *
 * Invariants, for every used chunk of a heap with redzones
 *     front is a power of two >= 32; front + size + 16 (0 with pages of its own) <= size of the kind's payload
 *     caller is an address of code
 *     bytes from the three words to front, and from front + size to the end, are HEAP_FENCE */

#include "heap/heap_redzone.h"

#include "layout.h"
#include "lib/string.h"

enum { FRONT = 32, BACK = 16 };

size_t heap_redzone_front(size_t align) { return align > FRONT ? align : FRONT; }

size_t heap_redzone_outer(const struct heap *heap, size_t front, size_t size)
{
    return heap->operations->unmaps ? align_up(front + size, 16) : front + size + BACK;
}

void *heap_redzone_build(const struct heap *heap, void *chunk, struct heap_redzone zone)
{
    char *start = chunk;
    size_t end = heap->operations->size_of(heap, chunk);
    *(struct heap_redzone *)chunk = zone;
    memset(start + sizeof(zone), HEAP_FENCE, zone.front - sizeof(zone));
    memset(start + zone.front + zone.size, HEAP_FENCE, end - zone.front - zone.size);
    return start + zone.front;
}

const char *heap_redzone_check(const struct heap *heap, const void *chunk)
{
    const struct heap_redzone *zone = chunk;
    const char *start = chunk;
    size_t end = heap->operations->size_of(heap, chunk);
    if (zone->front < FRONT || zone->front > end || zone->size > end || !is_code(zone->caller)
        || heap_redzone_outer(heap, zone->front, zone->size) > end)
        return "its redzone was written to";
    if (!is_filled(start + sizeof(*zone), HEAP_FENCE, zone->front - sizeof(*zone)))
        return "bytes in front of it were written to";
    return is_filled(start + zone->front + zone->size, HEAP_FENCE, end - zone->front - zone->size)
               ? NULL : "bytes behind it were written to";
}

const char *heap_redzone_find(const struct heap *heap, void *memory, void **chunk)
{
    const char *refusal = heap_refusal(heap, memory);
    size_t most = (uintptr_t)memory - heap->start;
    for (size_t front = FRONT; front <= most && most < heap->end - heap->start; front *= 2) {
        const struct heap_redzone *zone = (const struct heap_redzone *)((uintptr_t)memory - front);
        const char *here = heap_refusal(heap, zone);
        if (!here && zone->front == front) {
            *chunk = (void *)zone;
            return heap_redzone_check(heap, zone);
        }
        if (front == FRONT)
            refusal = here;
    }
    return refusal ? refusal : "its redzone does not say where it begins";
}
