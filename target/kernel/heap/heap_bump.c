/* Knows the simplest way to keep a heap: a mark that moves up.
 *
 * Theory
 *  1. What is asked for is taken from the mark, which moves behind it. Nothing is searched, nothing is split.
 *  2. Giving back does nothing but count. Memory comes back only with the whole heap, so this serves those who take at
 *     boot and keep, or who throw all of it away at once.
 *  3. A header says how large a chunk is, so that a walk, a resize and the counters are possible.
 *
 * Invariants
 *     start <= mark <= end; the chunks tile [start, mark); c.magic == HEAP_BUMP_MAGIC; c.size is a multiple of HEAP_ALIGN
 *     used_bytes + free_bytes + (used_chunks + free_chunks) * sizeof(header) == mark - start; committed == end - start */

#include "heap/heap_bump.h"

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/print.h"
#include "lib/string.h"

enum { HEADER = sizeof(struct heap_bump_chunk) };

_Static_assert(HEADER % HEAP_ALIGN == 0, "payloads are aligned because headers are");

static struct heap_bump *bump_of(struct heap *heap) { return (struct heap_bump *)heap; }
static uintptr_t mark_of(const struct heap *heap) { return ((const struct heap_bump *)heap)->mark; }

static struct heap_bump_chunk *chunk_of(const void *payload)
{
    return (struct heap_bump_chunk *)((uintptr_t)payload - HEADER);
}

static bool bump_init(struct heap *heap)
{
    bump_of(heap)->mark = heap->start;
    return heap_grow(heap, PAGE_SIZE) > 0;
}

/* Makes a chunk from the mark to `end`. */
static void make(struct heap *heap, uintptr_t end, bool free)
{
    struct heap_bump_chunk *chunk = (struct heap_bump_chunk *)mark_of(heap);
    *chunk = (struct heap_bump_chunk) { HEAP_BUMP_MAGIC, free, end - mark_of(heap) - HEADER };
    heap_count(heap, free, chunk->size);
    bump_of(heap)->mark = end;
}

/* What an alignment leaves in front is a chunk that nobody has. */
static void *bump_alloc(struct heap *heap, size_t wanted, size_t align)
{
    uintptr_t place = mark_of(heap) + HEADER;
    if (!is_aligned(place, align))
        place = align_up(place + HEADER + HEAP_ALIGN, align);
    uintptr_t end = place + align_up(wanted, HEAP_ALIGN);
    if (end > heap->end && !heap_grow(heap, end - heap->end))
        return NULL;
    if (place > mark_of(heap) + HEADER)
        make(heap, place - HEADER, true);
    make(heap, end, false);
    return (void *)place;
}

static void bump_free(struct heap *heap, void *memory)
{
    struct heap_bump_chunk *chunk = chunk_of(memory);
    heap_uncount(heap, false, chunk->size);
    chunk->free = 1;
    heap_count(heap, true, chunk->size);
    heap_junk(heap, memory, chunk->size);
}

static bool bump_resize(struct heap *heap, void *memory, size_t wanted)
{
    (void)heap;
    return wanted <= chunk_of(memory)->size;
}

static size_t bump_size_of(const struct heap *heap, const void *memory)
{
    (void)heap;
    return chunk_of(memory)->size;
}

static bool is_possible(const struct heap *heap, const struct heap_bump_chunk *chunk)
{
    uintptr_t payload = (uintptr_t)chunk + HEADER;
    return payload <= mark_of(heap) && chunk->magic == HEAP_BUMP_MAGIC && chunk->size % HEAP_ALIGN == 0
           && chunk->size <= mark_of(heap) - payload;
}

static const char *bump_refusal(const struct heap *heap, const void *memory)
{
    if ((uintptr_t)memory < heap->start + HEADER || (uintptr_t)memory >= mark_of(heap))
        return "it lies where nothing was handed out yet";
    if (!is_possible(heap, chunk_of(memory)))
        return "there is no header in front of it";
    return chunk_of(memory)->free ? "it is free already" : NULL;
}

static bool bump_each(const struct heap *heap, heap_visit *visit, void *context)
{
    for (uintptr_t at = heap->start; at < mark_of(heap);) {
        const struct heap_bump_chunk *chunk = (const struct heap_bump_chunk *)at;
        struct heap_block block = { at + HEADER, chunk->size, chunk->free };
        if (!is_possible(heap, chunk) || !visit(context, &block))
            return false;
        at += HEADER + chunk->size;
    }
    return true;
}

static const char *bump_check(const struct heap *heap)
{
    if (mark_of(heap) < heap->start || mark_of(heap) > heap->end)
        return "start <= mark <= end";
    if (heap->committed != heap->end - heap->start)
        return "committed == end - start";
    if (heap->used_bytes + heap->free_bytes + (heap->used_chunks + heap->free_chunks) * HEADER != mark_of(heap) - heap->start)
        return "what was ever handed out lies below the mark";
    return NULL;
}

static void bump_report(const struct heap *heap)
{
    print("report mark heap=%s address=0x%lx\n", heap->name, mark_of(heap));
}

const struct heap_operations heap_bump_operations = {
    .name = "bump", .instance_size = sizeof(struct heap_bump), .alignment = HEAP_ALIGN,
    .init = bump_init, .alloc = bump_alloc, .free = bump_free, .resize = bump_resize, .size_of = bump_size_of,
    .refusal = bump_refusal, .each = bump_each, .check = bump_check, .report = bump_report,
};
