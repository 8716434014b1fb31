/* Knows a heap of chunks that tile one arena, with the free ones in a tree by size.
 *
 * Theory
 *  1. A chunk's header says how large it is and which chunk lies below it in memory. So both neighbours are found without a
 *     list: the one above by adding, the one below by the link. (Knuth's boundary tags, The Art of Computer Programming 1,
 *     2.5, algorithm C, with a link in place of the tag at the end.)
 *  2. Best fit: the smallest free chunk that is large enough, found on one way down the tree. What it has too much stays
 *     free as a chunk of its own.
 *  3. A freed chunk merges with both neighbours if they are free. So no two free chunks ever touch.
 *  4. The tree's node lies in the free payload, so a payload is at least that large, and the tree costs used chunks nothing.
 *  5. A header that ceases to exist is overwritten, so a stale pointer to it is refused.
 *
 * Words: a *loose* chunk is tiled in, but neither in the books nor in the tree. Every change takes chunks loose, cuts or joins
 * them, and books them again.
 *
 * Invariants
 *     payload(c) + c.size == the next chunk, or end for top; next.below == c; the chunk at start has below == NULL
 *     c.magic == HEAP_SORTED_MAGIC ^ c; c.size is a multiple of HEAP_ALIGN, and >= SMALLEST
 *     c.free => !next.free
 *     the nodes of the tree == the free chunks, each once; in order of size; flat, as its kind demands
 *     used_bytes + free_bytes + (used_chunks + free_chunks) * sizeof(header) == end - start == committed */

#include "heap/heap_sorted.h"

#include "layout.h"
#include "lib/print.h"
#include "lib/string.h"

enum {
    HEADER = sizeof(struct heap_sorted_chunk),
    SMALLEST = sizeof(struct tree_node),        /* payload */
};

_Static_assert(HEADER % HEAP_ALIGN == 0 && SMALLEST % HEAP_ALIGN == 0, "payloads are aligned because headers are");

/* --- chunks ---------------------------------------------------------------------------------------------------------- */

static struct heap_sorted *sorted_of(struct heap *heap) { return (struct heap_sorted *)heap; }
static struct heap *heap_of(struct heap_sorted *sorted) { return (struct heap *)sorted; }

static uint64_t magic_at(const struct heap_sorted_chunk *chunk) { return HEAP_SORTED_MAGIC ^ (uintptr_t)chunk; }
static uint8_t *payload_of(const struct heap_sorted_chunk *chunk) { return (uint8_t *)chunk + HEADER; }
static uintptr_t end_of(const struct heap_sorted_chunk *chunk) { return (uintptr_t)payload_of(chunk) + chunk->size; }

static struct heap_sorted_chunk *chunk_of(const void *payload)
{
    return (struct heap_sorted_chunk *)((uintptr_t)payload - HEADER);
}

/* The chunk above, or NULL. */
static struct heap_sorted_chunk *above(const struct heap_sorted *sorted, const struct heap_sorted_chunk *chunk)
{
    return end_of(chunk) < sorted->end ? (struct heap_sorted_chunk *)end_of(chunk) : NULL;
}

static bool is_free(const struct heap_sorted_chunk *chunk) { return chunk && chunk->free; }

/* Makes whoever lies above `chunk` know it. */
static void settle(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    struct heap_sorted_chunk *next = above(sorted, chunk);
    *(next ? &next->below : &sorted->top) = chunk;
}

static struct heap_sorted_chunk *make_loose(struct heap_sorted *sorted, uintptr_t address, uint64_t size,
                                            struct heap_sorted_chunk *below)
{
    struct heap_sorted_chunk *chunk = (struct heap_sorted_chunk *)address;
    *chunk = (struct heap_sorted_chunk) { .magic = magic_at(chunk), .free = 1, .size = size, .below = below };
    settle(sorted, chunk);
    return chunk;
}

/* Cuts a loose chunk after `size` bytes of payload. Returns the upper part, loose too, or NULL if it would be too small. */
static struct heap_sorted_chunk *cut(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk, uint64_t size)
{
    if (chunk->size < size + HEADER + SMALLEST)
        return NULL;
    uint64_t rest = chunk->size - size - HEADER;
    chunk->size = size;
    return make_loose(sorted, end_of(chunk), rest, chunk);
}

/* Both are loose, and neighbours. */
static void join(struct heap_sorted *sorted, struct heap_sorted_chunk *lower, struct heap_sorted_chunk *upper)
{
    lower->size += HEADER + upper->size;
    memset(upper, HEAP_JUNK, HEADER);
    settle(sorted, lower);
}

/* --- the books ------------------------------------------------------------------------------------------------------- */

static void book_free(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    chunk->free = 1;
    heap_count(heap_of(sorted), true, chunk->size);
    sorted->sorting->insert(&sorted->tree, chunk->node);
}

static void book_used(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    chunk->free = 0;
    heap_count(heap_of(sorted), false, chunk->size);
}

static void loosen(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    heap_uncount(heap_of(sorted), chunk->free, chunk->size);
    if (!chunk->free)
        return;
    sorted->sorting->remove(&sorted->tree, chunk->node);
    heap_junk(heap_of(sorted), chunk->node, sizeof(*chunk->node));
}

/* Joins a loose chunk, whose payload is junk, with its free neighbours. Returns the chunk that it is part of then. */
static struct heap_sorted_chunk *coalesce(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    struct heap_sorted_chunk *next = above(sorted, chunk), *below = chunk->below;
    if (is_free(next)) {
        loosen(sorted, next);
        join(sorted, chunk, next);
    }
    if (is_free(below)) {
        loosen(sorted, below);
        join(sorted, below, chunk);
        return below;
    }
    return chunk;
}

/* Makes a loose chunk free, but gives back what is much at the end of the arena. */
static void let_go(struct heap_sorted *sorted, struct heap_sorted_chunk *chunk)
{
    chunk = coalesce(sorted, chunk);
    if (sorted->top == chunk)
        chunk->size -= heap_trim(heap_of(sorted), (uintptr_t)payload_of(chunk));
    book_free(sorted, chunk);
}

/* --- searching ------------------------------------------------------------------------------------------------------- */

/* Where a payload can start in a free chunk. What lies in front of it is enough for a chunk, or nothing. */
static uintptr_t place_in(const struct heap_sorted_chunk *chunk, size_t align)
{
    uintptr_t payload = (uintptr_t)payload_of(chunk);
    return is_aligned(payload, align) ? payload : align_up(payload + SMALLEST + HEADER, align);
}

/* The smallest free chunk of at least `size` bytes. */
static struct tree_node *first_of_size(const struct tree *tree, uint64_t size)
{
    struct tree_node *best = NULL;
    for (struct tree_node *node = tree->root; node;) {
        bool enough = heap_sorted_chunk_of(node)->size >= size;
        best = enough ? node : best;
        node = enough ? node->left : node->right;
    }
    return best;
}

static struct heap_sorted_chunk *best_fit(const struct heap_sorted *sorted, uint64_t size, size_t align)
{
    for (struct tree_node *node = first_of_size(&sorted->tree, size); node; node = tree_next(node)) {
        struct heap_sorted_chunk *chunk = heap_sorted_chunk_of(node);
        uintptr_t place = place_in(chunk, align);
        if (place < end_of(chunk) && size <= end_of(chunk) - place)
            return chunk;
    }
    return NULL;
}

/* Makes room for a payload of `size` bytes at the end of the arena. */
static bool grow(struct heap_sorted *sorted, uint64_t size)
{
    uintptr_t old_end = sorted->end;
    struct heap_sorted_chunk *old_top = sorted->top;
    uint64_t at_hand = is_free(old_top) ? HEADER + old_top->size : 0;
    size_t grown = heap_grow(heap_of(sorted), HEADER + size - at_hand);
    if (!grown)
        return false;
    book_free(sorted, coalesce(sorted, make_loose(sorted, old_end, grown - HEADER, old_top)));
    return true;
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

static uint64_t payload_size(size_t wanted) { return wanted > SMALLEST ? align_up(wanted, HEAP_ALIGN) : SMALLEST; }

bool heap_sorted_init(struct heap *heap, const struct heap_sorting *sorting)
{
    struct heap_sorted *sorted = sorted_of(heap);
    sorted->sorting = sorting;
    sorted->tree.before = sorting->before;
    return grow(sorted, SMALLEST);
}

void *heap_sorted_alloc(struct heap *heap, size_t wanted, size_t align)
{
    struct heap_sorted *sorted = sorted_of(heap);
    uint64_t size = payload_size(wanted), slack = align > HEAP_ALIGN ? align + HEADER + SMALLEST : 0;
    struct heap_sorted_chunk *chunk = best_fit(sorted, size, align);
    if (!chunk && grow(sorted, size + slack))
        chunk = best_fit(sorted, size, align);
    if (!chunk)
        return NULL;
    loosen(sorted, chunk);
    uintptr_t place = place_in(chunk, align);
    if (place != (uintptr_t)payload_of(chunk)) {
        struct heap_sorted_chunk *upper = cut(sorted, chunk, place - HEADER - (uintptr_t)payload_of(chunk));
        book_free(sorted, chunk);
        chunk = upper;
    }
    struct heap_sorted_chunk *rest = cut(sorted, chunk, size);
    book_used(sorted, chunk);
    if (rest)
        book_free(sorted, rest);
    return payload_of(chunk);
}

void heap_sorted_free(struct heap *heap, void *memory)
{
    struct heap_sorted_chunk *chunk = chunk_of(memory);
    loosen(sorted_of(heap), chunk);
    heap_junk(heap, memory, chunk->size);
    let_go(sorted_of(heap), chunk);
}

bool heap_sorted_resize(struct heap *heap, void *memory, size_t wanted)
{
    struct heap_sorted *sorted = sorted_of(heap);
    struct heap_sorted_chunk *chunk = chunk_of(memory), *next = above(sorted, chunk);
    uint64_t size = payload_size(wanted), at_hand = chunk->size + (is_free(next) ? HEADER + next->size : 0);
    if (at_hand < size)
        return false;
    loosen(sorted, chunk);
    if (chunk->size < size) {
        loosen(sorted, next);
        join(sorted, chunk, next);
    } else {
        heap_junk(heap, payload_of(chunk) + size, chunk->size - size);
    }
    struct heap_sorted_chunk *rest = cut(sorted, chunk, size);
    book_used(sorted, chunk);
    if (rest)
        let_go(sorted, rest);
    return true;
}

size_t heap_sorted_size_of(const struct heap *heap, const void *memory)
{
    (void)heap;
    return chunk_of(memory)->size;
}

/* --- seen from outside ----------------------------------------------------------------------------------------------- */

/* A header can lie at such an address. */
static bool is_place(const struct heap *heap, uintptr_t address)
{
    return address >= heap->start && address < heap->end && heap->end - address >= HEADER + SMALLEST
        && is_aligned(address, HEAP_ALIGN);
}

/* There is a header, and it leads to another or to the end of the arena. */
static bool is_chunk(const struct heap *heap, const struct heap_sorted_chunk *chunk)
{
    if (!is_place(heap, (uintptr_t)chunk) || chunk->magic != magic_at(chunk))
        return false;
    if (chunk->size < SMALLEST || chunk->size % HEAP_ALIGN || chunk->size > heap->end - (uintptr_t)payload_of(chunk))
        return false;
    return end_of(chunk) == heap->end || is_place(heap, end_of(chunk));
}

static bool fits_neighbours(const struct heap *heap, const struct heap_sorted_chunk *chunk)
{
    const struct heap_sorted_chunk *below = chunk->below;
    if (!is_chunk(heap, chunk))
        return false;
    if ((uintptr_t)chunk == heap->start ? below != NULL : !is_chunk(heap, below) || end_of(below) != (uintptr_t)chunk)
        return false;
    return end_of(chunk) == heap->end || ((const struct heap_sorted_chunk *)end_of(chunk))->below == chunk;
}

const char *heap_sorted_refusal(const struct heap *heap, const void *memory)
{
    const struct heap_sorted_chunk *chunk = chunk_of(memory);
    if (!is_place(heap, (uintptr_t)chunk))
        return "no payload starts at such an address";
    if (chunk->magic == magic_at(chunk) && chunk->free)
        return "it is free already";
    if (is_filled(chunk, HEAP_JUNK, HEADER))
        return "it lies in free memory: freed before, or never a chunk";
    if (chunk->magic != magic_at(chunk))
        return "there is no header in front of it";
    return fits_neighbours(heap, chunk) ? NULL : "its header does not fit its neighbours";
}

bool heap_sorted_each(const struct heap *heap, heap_visit *visit, void *context)
{
    for (uintptr_t at = heap->start; at < heap->end;) {
        const struct heap_sorted_chunk *chunk = (const struct heap_sorted_chunk *)at;
        if (!is_chunk(heap, chunk))
            return false;
        if (!visit(context, &(struct heap_block) { (uintptr_t)payload_of(chunk), chunk->size, chunk->free }))
            return false;
        at = end_of(chunk);
    }
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check_chunk(const struct heap *heap, const struct heap_sorted_chunk *chunk,
                               const struct heap_sorted_chunk *below)
{
    if (chunk->magic != magic_at(chunk))
        return "every header has the magic of its address";
    if (!is_chunk(heap, chunk))
        return "chunks tile the arena";
    if (chunk->below != below)
        return "next.below == chunk";
    if (chunk->free > 1)
        return "free is 0 or 1";
    return chunk->free && is_free(below) ? "no two free chunks touch" : NULL;
}

static bool is_free_node(const void *context, const struct tree_node *node)
{
    const struct heap_sorted_chunk *chunk = heap_sorted_chunk_of(node);
    return is_chunk(context, chunk) && chunk->free;
}

const char *heap_sorted_check(const struct heap *heap)
{
    const struct heap_sorted *sorted = (const struct heap_sorted *)heap;
    const struct heap_sorted_chunk *below = NULL;
    uint64_t free = 0;
    for (uintptr_t at = heap->start; at < heap->end; at = end_of(below)) {
        const char *broken = check_chunk(heap, (const struct heap_sorted_chunk *)at, below);
        if (broken)
            return broken;
        below = (const struct heap_sorted_chunk *)at;
        free += below->free;
    }
    if (sorted->top != below)
        return "top is the last chunk";
    const char *broken = sorted->sorting->check(&sorted->tree, is_free_node, heap);
    if (broken)
        return broken;
    return sorted->tree.count == free ? NULL : "the tree holds every free chunk";
}

static uint64_t height_below(const struct tree_node *node)
{
    uint64_t left = node ? height_below(node->left) : 0, right = node ? height_below(node->right) : 0;
    return node ? 1 + (left > right ? left : right) : 0;
}

void heap_sorted_report(const struct heap *heap)
{
    const struct heap_sorted *sorted = (const struct heap_sorted *)heap;
    print("report tree heap=%s root=%p count=%lu height=%lu\n", heap->name, (void *)sorted->tree.root, sorted->tree.count,
          height_below(sorted->tree.root));
}
