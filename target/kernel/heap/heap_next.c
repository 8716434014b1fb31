/* Knows another way to keep a heap: the list of heap_list.c with next fit.
 *
 * Theory (Knuth, The Art of Computer Programming 1, 2.5, exercise 6)
 *  1. First fit leaves small gaps at the head of the list, and every search walks over them. Next fit starts where the last
 *     one ended, goes round once, and so spreads small gaps over the arena.
 *  2. The rover is the chunk that was handed out last. When that one merges into the chunk before it, the rover is that.
 *
 * Invariants, beside those of the list
 *     rover is NULL or a chunk of the list */

#include "heap/heap_list.h"

#include "heap/heap_kinds.h"

static struct heap_list_chunk **rover_of(struct heap *heap) { return &((struct heap_list *)heap)->rover; }

static void *next_alloc(struct heap *heap, size_t wanted, size_t align)
{
    struct heap_list_chunk *from = *rover_of(heap) ? *rover_of(heap) : ((struct heap_list *)heap)->head;
    struct heap_list_chunk *payload = heap_list_alloc_from(heap, from, wanted, align);
    if (payload)
        *rover_of(heap) = payload - 1;
    return payload;
}

static const char *next_check(const struct heap *heap)
{
    const char *broken = heap_list_check(heap);
    if (broken)
        return broken;
    const struct heap_list *list = (const struct heap_list *)heap;
    const struct heap_list_chunk *chunk = list->rover ? list->head : NULL;
    while (chunk != list->rover && chunk)
        chunk = chunk->next;
    return chunk == list->rover ? NULL : "rover is a chunk of the list";
}

const struct heap_operations heap_next_operations = {
    .name = "next", .instance_size = sizeof(struct heap_list), .alignment = HEAP_ALIGN,
    .merges = true, .reuses = true, .shrinks = true,
    .init = heap_list_init, .alloc = next_alloc, .free = heap_list_free, .resize = heap_list_resize,
    .size_of = heap_list_size_of, .refusal = heap_list_refusal, .each = heap_list_each, .check = next_check,
};
