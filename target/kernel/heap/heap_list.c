/* Knows one way to keep a heap: a doubly linked list of chunks that tile one arena.
 *
 * Theory
 *  1. The arena [start, end) is contiguous in virtual addresses. Every byte of it belongs to one chunk: a header, then its
 *     payload. List order is address order, so a chunk's neighbours in the list are its neighbours in memory.
 *  2. First fit from the head. A chunk that is much larger than asked is split; the rest stays free.
 *  3. A freed chunk merges with both neighbours if they are free. So no two free chunks ever touch, and a search meets
 *     each gap once.
 *  4. When nothing fits, the arena grows at its end; what is free there goes back when it is much (heap/heap.c).
 *  5. A header that ceases to exist is overwritten, so a stale pointer to it is refused.
 *
 * Invariants
 *     head == start; tail is the last chunk; head.prev == tail.next == NULL
 *     payload(c) + c.size == c.next, and == end for the tail
 *     c.next.prev == c; c.magic == HEAP_LIST_MAGIC; c.size is a multiple of HEAP_ALIGN, and > 0
 *     c.free => !c.next.free
 *     used_bytes + free_bytes + (used_chunks + free_chunks) * sizeof(header) == end - start == committed */

#include "heap/heap_list.h"

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/string.h"

enum {
    HEADER = sizeof(struct heap_list_chunk),
    SMALLEST = HEAP_ALIGN,              /* payload */
};

_Static_assert(HEADER % HEAP_ALIGN == 0, "payloads are aligned because headers are");

/* --- chunks ---------------------------------------------------------------------------------------------------------- */

static struct heap_list *list_of(struct heap *heap) { return (struct heap_list *)heap; }
static const struct heap_list *seen_list(const struct heap *heap) { return (const struct heap_list *)heap; }

static uint8_t *payload_of(const struct heap_list_chunk *chunk) { return (uint8_t *)chunk + HEADER; }
static uintptr_t end_of(const struct heap_list_chunk *chunk) { return (uintptr_t)payload_of(chunk) + chunk->size; }

static struct heap_list_chunk *chunk_of(const void *payload)
{
    return (struct heap_list_chunk *)((uintptr_t)payload - HEADER);
}

static void resize(struct heap_list *list, struct heap_list_chunk *chunk, uint64_t size)
{
    heap_uncount((struct heap *)list, chunk->free, chunk->size);
    chunk->size = size;
    heap_count((struct heap *)list, chunk->free, chunk->size);
}

static void set_state(struct heap_list *list, struct heap_list_chunk *chunk, uint32_t free)
{
    heap_uncount((struct heap *)list, chunk->free, chunk->size);
    chunk->free = free;
    heap_count((struct heap *)list, chunk->free, chunk->size);
}

/* Makes a free chunk at `address` and links it in behind `before`; NULL means first. Its payload is junk already. */
static struct heap_list_chunk *insert_free(struct heap_list *list, struct heap_list_chunk *before, uintptr_t address,
                                           uint64_t size)
{
    struct heap_list_chunk *chunk = (struct heap_list_chunk *)address;
    struct heap_list_chunk *after = before ? before->next : list->head;
    *chunk = (struct heap_list_chunk) { .magic = HEAP_LIST_MAGIC, .free = 1, .size = size, .next = after, .prev = before };
    *(before ? &before->next : &list->head) = chunk;
    *(after ? &after->prev : &list->tail) = chunk;
    heap_count((struct heap *)list, true, size);
    return chunk;
}

/* Unlinks `chunk` and makes its header junk; its bytes are then nobody's until the caller gives them to somebody. */
static void erase(struct heap_list *list, struct heap_list_chunk *chunk)
{
    *(chunk->prev ? &chunk->prev->next : &list->head) = chunk->next;
    *(chunk->next ? &chunk->next->prev : &list->tail) = chunk->prev;
    if (list->rover == chunk)
        list->rover = chunk->prev;
    heap_uncount((struct heap *)list, chunk->free, chunk->size);
    memset(chunk, HEAP_JUNK, HEADER);
}

/* --- splitting and merging ------------------------------------------------------------------------------------------- */

static void merge_with_next(struct heap_list *list, struct heap_list_chunk *chunk)
{
    uint64_t gained = HEADER + chunk->next->size;
    erase(list, chunk->next);
    resize(list, chunk, chunk->size + gained);
}

/* Merges a free chunk with its free neighbours. Returns the chunk that it is part of then. */
static struct heap_list_chunk *coalesce(struct heap_list *list, struct heap_list_chunk *chunk)
{
    if (chunk->next && chunk->next->free)
        merge_with_next(list, chunk);
    if (chunk->prev && chunk->prev->free) {
        chunk = chunk->prev;
        merge_with_next(list, chunk);
    }
    return chunk;
}

/* Cuts `chunk` down to `size` if what is left over, which is junk already, makes a chunk of its own: free, and merged. */
static void split(struct heap_list *list, struct heap_list_chunk *chunk, uint64_t size)
{
    if (chunk->size < size + HEADER + SMALLEST)
        return;
    uint64_t rest = chunk->size - size - HEADER;
    resize(list, chunk, size);
    coalesce(list, insert_free(list, chunk, end_of(chunk), rest));
}

/* Cuts the front off a free chunk, so that the payload of what it returns starts at `place`. */
static struct heap_list_chunk *split_front(struct heap_list *list, struct heap_list_chunk *chunk, uintptr_t place)
{
    if (place == (uintptr_t)payload_of(chunk))
        return chunk;
    uint64_t rest = end_of(chunk) - place;
    resize(list, chunk, chunk->size - rest - HEADER);
    return insert_free(list, chunk, place - HEADER, rest);
}

/* --- growing and shrinking the arena --------------------------------------------------------------------------------- */

/* Adds what the arena gains to the last chunk if it is free, or as a new one. */
static bool grow(struct heap_list *list, uint64_t size)
{
    uintptr_t old_end = list->end;
    size_t gained = heap_grow((struct heap *)list, size);
    if (!gained)
        return false;
    coalesce(list, insert_free(list, list->tail, old_end, gained - HEADER));
    return true;
}

static void trim(struct heap_list *list)
{
    struct heap_list_chunk *last = list->tail;
    if (last->free)
        resize(list, last, last->size - heap_trim((struct heap *)list, (uintptr_t)payload_of(last)));
}

/* --- finding --------------------------------------------------------------------------------------------------------- */

/* Where in a chunk a payload of that alignment starts: at its beginning, or with room for a chunk in front. */
static uintptr_t place_in(const struct heap_list_chunk *chunk, size_t align)
{
    uintptr_t payload = (uintptr_t)payload_of(chunk);
    return is_aligned(payload, align) ? payload : align_up(payload + SMALLEST + HEADER, align);
}

static bool fits(const struct heap_list_chunk *chunk, uint64_t size, size_t align)
{
    uintptr_t place = place_in(chunk, align);
    return chunk->free && place < end_of(chunk) && end_of(chunk) - place >= size;
}

/* The first from `from` to the tail, then from the head to `from`. */
static struct heap_list_chunk *find(const struct heap_list *list, struct heap_list_chunk *from, uint64_t size, size_t align)
{
    struct heap_list_chunk *chunk = from;
    do {
        if (fits(chunk, size, align))
            return chunk;
        chunk = chunk->next ? chunk->next : list->head;
    } while (chunk != from);
    return NULL;
}

/* How much more a last chunk needs, free or to be made, to hold such a payload. */
static uint64_t missing_at_end(const struct heap_list *list, uint64_t size, size_t align)
{
    bool has_free = list->tail && list->tail->free;
    uintptr_t header = has_free ? (uintptr_t)list->tail : list->end;
    return place_in((struct heap_list_chunk *)header, align) + size - list->end;
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

bool heap_list_init(struct heap *heap) { return grow(list_of(heap), HEADER + SMALLEST); }

static uint64_t payload_size(size_t wanted) { return align_up(wanted, HEAP_ALIGN); }

void *heap_list_alloc_from(struct heap *heap, struct heap_list_chunk *from, size_t wanted, size_t align)
{
    struct heap_list *list = list_of(heap);
    uint64_t size = payload_size(wanted);
    struct heap_list_chunk *chunk = find(list, from, size, align);
    if (!chunk && grow(list, missing_at_end(list, size, align)))
        chunk = list->tail;
    if (!chunk)
        return NULL;
    chunk = split_front(list, chunk, place_in(chunk, align));
    set_state(list, chunk, 0);
    split(list, chunk, size);
    return payload_of(chunk);
}

static void *list_alloc(struct heap *heap, size_t wanted, size_t align)
{
    return heap_list_alloc_from(heap, list_of(heap)->head, wanted, align);
}

void heap_list_free(struct heap *heap, void *memory)
{
    struct heap_list_chunk *chunk = chunk_of(memory);
    set_state(list_of(heap), chunk, 1);
    heap_junk(heap, memory, chunk->size);
    coalesce(list_of(heap), chunk);
    trim(list_of(heap));
}

/* If the chunk, with a free neighbour behind it, is large enough. */
bool heap_list_resize(struct heap *heap, void *memory, size_t wanted)
{
    struct heap_list *list = list_of(heap);
    struct heap_list_chunk *chunk = chunk_of(memory), *next = chunk->next;
    uint64_t size = payload_size(wanted);
    if (chunk->size < size && next && next->free && chunk->size + HEADER + next->size >= size)
        merge_with_next(list, chunk);
    if (chunk->size < size)
        return false;
    heap_junk(heap, payload_of(chunk) + size, chunk->size - size);
    split(list, chunk, size);
    trim(list);
    return true;
}

size_t heap_list_size_of(const struct heap *heap, const void *memory)
{
    (void)heap;
    return chunk_of(memory)->size;
}

/* Looks at a neighbour only after the address itself has proved possible: the header may be anything. */
static bool fits_neighbours(const struct heap_list *list, const struct heap_list_chunk *chunk)
{
    const struct heap_list_chunk *next = chunk->next, *prev = chunk->prev;
    bool fits_next = next ? (uintptr_t)next == end_of(chunk) && end_of(chunk) < list->end && next->prev == chunk
                          : chunk == list->tail && end_of(chunk) == list->end;
    bool fits_prev = prev ? (uintptr_t)prev >= list->start && prev < chunk && prev->next == chunk
                          : chunk == list->head;
    return fits_next && fits_prev;
}

const char *heap_list_refusal(const struct heap *heap, const void *memory)
{
    if ((uintptr_t)memory < heap->start + HEADER)
        return "it lies outside the arena";
    const struct heap_list_chunk *chunk = chunk_of(memory);
    if (chunk->magic == HEAP_LIST_MAGIC && chunk->free)
        return "it is free already";
    if (is_filled(chunk, HEAP_JUNK, HEADER))
        return "it lies in free memory: freed before, or never a chunk";
    if (chunk->magic != HEAP_LIST_MAGIC)
        return "there is no header in front of it";
    if (!fits_neighbours(seen_list(heap), chunk))
        return "its header does not fit its neighbours";
    return NULL;
}

/* By size, not by links. */
bool heap_list_each(const struct heap *heap, heap_visit *visit, void *context)
{
    for (uintptr_t at = heap->start; at < heap->end;) {
        const struct heap_list_chunk *chunk = (const struct heap_list_chunk *)at;
        struct heap_block block = { (uintptr_t)payload_of(chunk), chunk->size, chunk->free };
        if (heap->end - at < HEADER || chunk->size > heap->end - block.address || !visit(context, &block))
            return false;
        at = end_of(chunk);
    }
    return true;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

/* True if `chunk` ends where the arena does, with `next` NULL, or else where `next` is, with room for that one. */
static bool leads_to_next(const struct heap_list *list, const struct heap_list_chunk *chunk)
{
    uint64_t rest = list->end - end_of(chunk);
    return rest == 0 ? !chunk->next : (uintptr_t)chunk->next == end_of(chunk) && rest >= HEADER + SMALLEST;
}

static const char *check_chunk(const struct heap_list *list, const struct heap_list_chunk *chunk,
                               const struct heap_list_chunk *prev)
{
    if (chunk->magic != HEAP_LIST_MAGIC)
        return "every header has its magic";
    if (chunk->prev != prev)
        return "chunk.next.prev == chunk";
    if (chunk->size == 0 || chunk->size % HEAP_ALIGN || chunk->size > list->end - list->start || end_of(chunk) > list->end)
        return "sizes are multiples of HEAP_ALIGN and stay inside the arena";
    if (!leads_to_next(list, chunk))
        return "chunks tile the arena";
    if (chunk->free && prev && prev->free)
        return "no two free chunks touch";
    return NULL;
}

const char *heap_list_check(const struct heap *heap)
{
    const struct heap_list *list = seen_list(heap);
    if ((uintptr_t)list->head != list->start)
        return "head == start";
    if (list->committed != list->end - list->start)
        return "committed == end - start";
    const struct heap_list_chunk *prev = NULL;
    for (const struct heap_list_chunk *chunk = list->head; chunk; prev = chunk, chunk = chunk->next) {
        const char *broken = check_chunk(list, chunk, prev);
        if (broken)
            return broken;
    }
    return list->tail == prev ? NULL : "tail is the last chunk";
}

const struct heap_operations heap_list_operations = {
    .name = "list", .instance_size = sizeof(struct heap_list), .alignment = HEAP_ALIGN,
    .merges = true, .reuses = true, .shrinks = true,
    .init = heap_list_init, .alloc = list_alloc, .free = heap_list_free, .resize = heap_list_resize,
    .size_of = heap_list_size_of, .refusal = heap_list_refusal, .each = heap_list_each, .check = heap_list_check,
};
