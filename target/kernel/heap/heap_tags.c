/* Knows another way to keep a heap: boundary tags, and free chunks in bins by size.
 *
 * Theory (Knuth, The Art of Computer Programming 1, 2.5; Lea, A Memory Allocator, 1996)
 *  1. Every chunk has the same word in front of its payload and behind it: its size, whether it is used, and a magic. So a
 *     chunk finds both neighbours without a list: the one before ends with the word in front of its own tag.
 *  2. A tag that belongs to no payload, used and of size 0, closes the arena at each end. No chunk is the first or the last,
 *     and merging needs no special case.
 *  3. A free chunk hangs in a bin by its size: bins of one size each up to 512 bytes, then four for each power of two. A
 *     word says which bins are not empty. A search takes the first chunk that fits in the request's own bin, or any chunk
 *     of the next bin that is not empty: it need not look at chunks that are too small.
 *  4. The links of a bin lie in the free payload; a used chunk pays 16 bytes for its tags and nothing else.
 *
 * Invariants
 *     tag in front == tag behind; both have the magic; sizes are multiples of HEAP_ALIGN, and > 0
 *     payload(c) + c.size + 2 tags == payload(c.next); the chunks and two closing tags tile [start, end)
 *     no two free chunks touch
 *     each free chunk is in bin_of(its size), once, and nothing else is in a bin; c.next.prev == c
 *     bit n of filled == (bin n is not empty)
 *     used_bytes + free_bytes + (used_chunks + free_chunks + 1) * 2 tags == end - start == committed */

#include "heap/heap_tags.h"

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/print.h"
#include "lib/string.h"

enum {
    TAG = sizeof(uint64_t),
    TAGS = 2 * TAG,                     /* between two payloads: what closes the one and opens the other */
    SMALLEST = sizeof(struct heap_tags_links),
};

_Static_assert(TAGS % HEAP_ALIGN == 0, "payloads are aligned because the first is");

/* --- chunks: a chunk is known by the address of its payload ---------------------------------------------------------- */

static struct heap_tags *tags_of(struct heap *heap) { return (struct heap_tags *)heap; }
static const struct heap_tags *seen_tags(const struct heap *heap) { return (const struct heap_tags *)heap; }

static uint64_t tag_at(uintptr_t address) { return *(const uint64_t *)address; }
static uint64_t tag_of(uintptr_t chunk) { return tag_at(chunk - TAG); }
static bool is_tag(uint64_t tag) { return (tag & ~(HEAP_TAG_SIZE | HEAP_TAG_USED)) == HEAP_TAG_MAGIC; }
static size_t size_of(uintptr_t chunk) { return tag_of(chunk) & HEAP_TAG_SIZE; }
static bool is_free(uintptr_t chunk) { return !(tag_of(chunk) & HEAP_TAG_USED); }
static uintptr_t end_of(uintptr_t chunk) { return chunk + size_of(chunk); }
static uintptr_t next_of(uintptr_t chunk) { return end_of(chunk) + TAGS; }
static uintptr_t prev_of(uintptr_t chunk) { return chunk - TAGS - (tag_at(chunk - TAGS) & HEAP_TAG_SIZE); }
static uintptr_t first_of(const struct heap *heap) { return heap->start + TAGS; }

/* Where a chunk behind the last one would be: the tag in front of it closes the arena. */
static uintptr_t closing(const struct heap *heap) { return heap->end; }

static void write_tag(uintptr_t address, size_t size, uint64_t used)
{
    *(uint64_t *)address = HEAP_TAG_MAGIC | size | used;
}

static void write_tags(uintptr_t chunk, size_t size, uint64_t used)
{
    write_tag(chunk - TAG, size, used);
    write_tag(chunk + size, size, used);
}

static void close_arena(struct heap *heap) { write_tag(closing(heap) - TAG, 0, HEAP_TAG_USED); }

/* --- bins ------------------------------------------------------------------------------------------------------------ */

/* 16, 32, ... 512 have a bin each; from there on four bins share a power of two; the last has all that is larger. */
static unsigned bin_of(size_t size)
{
    if (size <= HEAP_TAGS_EXACT * HEAP_ALIGN)
        return (unsigned)(size / HEAP_ALIGN) - 1;
    unsigned power = 63 - (unsigned)__builtin_clzl(size), quarter = (unsigned)(size >> (power - 2)) & 3;
    unsigned bin = HEAP_TAGS_EXACT + (power - 9) * 4 + quarter;
    return bin < HEAP_TAGS_BINS ? bin : HEAP_TAGS_BINS - 1;
}

static struct heap_tags_links *links_of(uintptr_t chunk) { return (struct heap_tags_links *)chunk; }

static void put_in_bin(struct heap_tags *tags, uintptr_t chunk)
{
    unsigned bin = bin_of(size_of(chunk));
    struct heap_tags_links *links = links_of(chunk), *after = tags->bin[bin];
    *links = (struct heap_tags_links) { .next = after };
    if (after)
        after->prev = links;
    tags->bin[bin] = links;
    tags->filled |= (uint64_t)1 << bin;
}

static void take_from_bin(struct heap_tags *tags, uintptr_t chunk)
{
    unsigned bin = bin_of(size_of(chunk));
    struct heap_tags_links *links = links_of(chunk);
    *(links->prev ? &links->prev->next : &tags->bin[bin]) = links->next;
    if (links->next)
        links->next->prev = links->prev;
    if (!tags->bin[bin])
        tags->filled &= ~((uint64_t)1 << bin);
    memset(links, HEAP_JUNK, sizeof(*links));
}

/* --- making and unmaking chunks -------------------------------------------------------------------------------------- */

static void make_free(struct heap *heap, uintptr_t chunk, size_t size)
{
    write_tags(chunk, size, 0);
    put_in_bin(tags_of(heap), chunk);
    heap_count(heap, true, size);
}

/* Its tags stay until somebody writes others or wipes them. */
static void unmake_free(struct heap *heap, uintptr_t chunk)
{
    heap_uncount(heap, true, size_of(chunk));
    take_from_bin(tags_of(heap), chunk);
}

static void make_used(struct heap *heap, uintptr_t chunk, size_t size)
{
    write_tags(chunk, size, HEAP_TAG_USED);
    heap_count(heap, false, size);
}

static void unmake_used(struct heap *heap, uintptr_t chunk) { heap_uncount(heap, false, size_of(chunk)); }

/* The two tags between a chunk and the one behind it cease to be. */
static void wipe_border(uintptr_t chunk) { memset((void *)(chunk - TAGS), HEAP_JUNK, TAGS); }

/* Makes the junk of [chunk, chunk + size) a free chunk, as one with its free neighbours. */
static void make_free_merged(struct heap *heap, uintptr_t chunk, size_t size)
{
    uintptr_t next = chunk + size + TAGS;
    if (is_free(next)) {
        size += TAGS + size_of(next);
        unmake_free(heap, next);
        wipe_border(next);
    }
    if (!(tag_at(chunk - TAGS) & HEAP_TAG_USED)) {
        uintptr_t prev = prev_of(chunk);
        size += TAGS + size_of(prev);
        unmake_free(heap, prev);
        wipe_border(chunk);
        chunk = prev;
    }
    make_free(heap, chunk, size);
}

/* Makes [chunk, chunk + whole), which is in no books, a used chunk of `size`, and what is left of it a free one. */
static void make_used_and_split(struct heap *heap, uintptr_t chunk, size_t whole, size_t size)
{
    if (whole < size + TAGS + SMALLEST) {
        make_used(heap, chunk, whole);
        return;
    }
    make_used(heap, chunk, size);
    make_free_merged(heap, chunk + size + TAGS, whole - size - TAGS);
}

/* --- growing and shrinking the arena --------------------------------------------------------------------------------- */

static bool grow(struct heap *heap, size_t size)
{
    uintptr_t chunk = closing(heap);
    size_t gained = heap_grow(heap, size);
    if (!gained)
        return false;
    close_arena(heap);
    make_free_merged(heap, chunk, gained - TAGS);
    return true;
}

static void trim(struct heap *heap)
{
    if (tag_at(closing(heap) - TAGS) & HEAP_TAG_USED)
        return;
    uintptr_t last = prev_of(closing(heap));
    size_t size = size_of(last), gone = heap_trim(heap, last + SMALLEST + TAGS);
    if (!gone)
        return;
    unmake_free(heap, last);
    close_arena(heap);
    make_free(heap, last, size - gone);
}

/* --- finding --------------------------------------------------------------------------------------------------------- */

/* Where in a chunk a payload of that alignment starts: at its beginning, or with room for a chunk in front. */
static uintptr_t place_in(uintptr_t chunk, size_t align)
{
    return is_aligned(chunk, align) ? chunk : align_up(chunk + SMALLEST + TAGS, align);
}

static bool fits(uintptr_t chunk, size_t size, size_t align)
{
    uintptr_t place = place_in(chunk, align);
    return place <= end_of(chunk) && end_of(chunk) - place >= size;
}

static uintptr_t find_in_bin(const struct heap_tags *tags, unsigned bin, size_t size, size_t align)
{
    for (const struct heap_tags_links *links = tags->bin[bin]; links; links = links->next)
        if (fits((uintptr_t)links, size, align))
            return (uintptr_t)links;
    return 0;
}

/* 0 when there is none. */
static uintptr_t find(const struct heap_tags *tags, size_t size, size_t align)
{
    uint64_t left = tags->filled >> bin_of(size) << bin_of(size);
    for (; left; left &= left - 1) {
        uintptr_t chunk = find_in_bin(tags, (unsigned)__builtin_ctzl(left), size, align);
        if (chunk)
            return chunk;
    }
    return 0;
}

/* How much the arena must grow for a last chunk, what is free there included, to hold such a payload. */
static size_t missing_at_end(const struct heap *heap, size_t size, size_t align)
{
    bool has_free = !(tag_at(closing(heap) - TAGS) & HEAP_TAG_USED);
    uintptr_t last = has_free ? prev_of(closing(heap)) : closing(heap);
    return place_in(last, align) + size + TAGS - heap->end;
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

/* The first page has a closing tag at both ends: the one in front, whose twin is left out, and the one behind. */
static bool tags_init(struct heap *heap)
{
    size_t gained = heap_grow(heap, PAGE_SIZE);
    if (!gained)
        return false;
    write_tag(heap->start, 0, HEAP_TAG_USED);
    close_arena(heap);
    make_free(heap, first_of(heap), gained - 2 * TAGS);
    return true;
}

static size_t payload_size(size_t wanted) { return align_up(wanted, HEAP_ALIGN); }

static void *tags_alloc(struct heap *heap, size_t wanted, size_t align)
{
    size_t size = payload_size(wanted);
    uintptr_t chunk = find(tags_of(heap), size, align);
    if (!chunk && grow(heap, missing_at_end(heap, size, align)))
        chunk = prev_of(closing(heap));
    if (!chunk)
        return NULL;
    uintptr_t place = place_in(chunk, align), end = end_of(chunk);
    unmake_free(heap, chunk);
    if (place > chunk)
        make_free(heap, chunk, place - TAGS - chunk);
    make_used_and_split(heap, place, end - place, size);
    return (void *)place;
}

static void tags_free(struct heap *heap, void *memory)
{
    uintptr_t chunk = (uintptr_t)memory;
    unmake_used(heap, chunk);
    heap_junk(heap, memory, size_of(chunk));
    make_free_merged(heap, chunk, size_of(chunk));
    trim(heap);
}

/* If the chunk, with a free neighbour behind it, is large enough. */
static bool tags_resize(struct heap *heap, void *memory, size_t wanted)
{
    uintptr_t chunk = (uintptr_t)memory, next = next_of(chunk);
    size_t size = payload_size(wanted), old = size_of(chunk), whole = old;
    if (whole < size && is_free(next))
        whole += TAGS + size_of(next);
    if (whole < size)
        return false;
    unmake_used(heap, chunk);
    if (whole > old) {
        unmake_free(heap, next);
        wipe_border(next);
    } else
        heap_junk(heap, (void *)(chunk + size), old - size);
    make_used_and_split(heap, chunk, whole, size);
    trim(heap);
    return true;
}

static size_t tags_size_of(const struct heap *heap, const void *memory)
{
    (void)heap;
    return size_of((uintptr_t)memory);
}

/* True if it lies between two others: looks at a neighbour only after the tag in between has proved possible. */
static bool fits_neighbours(const struct heap *heap, uintptr_t chunk)
{
    uint64_t tag = tag_of(chunk), before = tag_at(chunk - TAGS);
    if (size_of(chunk) >= heap->end - chunk || tag_at(end_of(chunk)) != tag || !is_tag(tag_at(end_of(chunk) + TAG)))
        return false;
    size_t room = chunk - first_of(heap);
    return is_tag(before) && (room == 0 || ((before & HEAP_TAG_SIZE) < room && tag_at(prev_of(chunk) - TAG) == before));
}

static const char *tags_refusal(const struct heap *heap, const void *memory)
{
    uintptr_t chunk = (uintptr_t)memory;
    if (chunk < first_of(heap))
        return "it lies outside the arena";
    if (is_tag(tag_of(chunk)) && is_free(chunk))
        return "it is free already";
    if (is_filled((void *)(chunk - TAG), HEAP_JUNK, TAG))
        return "it lies in free memory: freed before, or never a chunk";
    if (!is_tag(tag_of(chunk)))
        return "there is no tag in front of it";
    return fits_neighbours(heap, chunk) ? NULL : "its tags do not fit its neighbours";
}

static bool is_possible(const struct heap *heap, uintptr_t chunk)
{
    return is_tag(tag_of(chunk)) && size_of(chunk) && size_of(chunk) <= heap->end - chunk - TAGS
           && tag_at(end_of(chunk)) == tag_of(chunk);
}

static bool tags_each(const struct heap *heap, heap_visit *visit, void *context)
{
    for (uintptr_t chunk = first_of(heap); chunk < closing(heap); chunk = next_of(chunk)) {
        if (!is_possible(heap, chunk))
            return false;
        struct heap_block block = { chunk, size_of(chunk), is_free(chunk) };
        if (!visit(context, &block))
            return false;
    }
    return true;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static const char *check_chunk(const struct heap *heap, uintptr_t chunk)
{
    if (!is_tag(tag_of(chunk)))
        return "every tag has its magic";
    if (!size_of(chunk) || size_of(chunk) > heap->end - chunk - TAGS)
        return "sizes are > 0 and stay inside the arena";
    if (tag_at(end_of(chunk)) != tag_of(chunk))
        return "the tag behind a payload is the one in front of it";
    if (is_free(chunk) && next_of(chunk) < closing(heap) && is_free(next_of(chunk)))
        return "no two free chunks touch";
    return NULL;
}

/* Is `links` a free chunk that belongs in `bin`, and does the one it leads to lead back? */
static bool belongs(const struct heap *heap, const struct heap_tags_links *links, const struct heap_tags_links *prev,
                    unsigned bin)
{
    uintptr_t chunk = (uintptr_t)links;
    return chunk >= first_of(heap) && chunk < closing(heap) && chunk % HEAP_ALIGN == 0 && is_possible(heap, chunk)
           && is_free(chunk) && bin_of(size_of(chunk)) == bin && links->prev == prev;
}

static const char *check_bins(const struct heap *heap)
{
    uint64_t listed = 0;
    for (unsigned bin = 0; bin < HEAP_TAGS_BINS; bin++) {
        const struct heap_tags_links *links = seen_tags(heap)->bin[bin], *prev = NULL;
        if ((links != NULL) != (seen_tags(heap)->filled >> bin & 1))
            return "bit n of filled == (bin n is not empty)";
        for (; links && listed <= heap->free_chunks; prev = links, links = links->next, listed++)
            if (!belongs(heap, links, prev, bin))
                return "bins hold free chunks of their sizes, linked both ways";
    }
    return listed == heap->free_chunks ? NULL : "every free chunk is in a bin, once";
}

static const char *tags_check(const struct heap *heap)
{
    if (heap->committed != heap->end - heap->start)
        return "committed == end - start";
    if (tag_at(heap->start) != (HEAP_TAG_MAGIC | HEAP_TAG_USED) || tag_of(closing(heap)) != tag_at(heap->start))
        return "a tag closes the arena at each end";
    for (uintptr_t chunk = first_of(heap); chunk < closing(heap); chunk = next_of(chunk)) {
        const char *broken = check_chunk(heap, chunk);
        if (broken)
            return broken;
    }
    return check_bins(heap);
}

static void tags_report(const struct heap *heap)
{
    for (unsigned bin = 0; bin < HEAP_TAGS_BINS; bin++) {
        uint64_t count = 0;
        for (const struct heap_tags_links *links = seen_tags(heap)->bin[bin]; links; links = links->next)
            count++;
        if (count)
            print("report bin heap=%s number=%u chunks=%lu first=%p\n", heap->name, bin, count,
                  (void *)seen_tags(heap)->bin[bin]);
    }
}

const struct heap_operations heap_tags_operations = {
    .name = "tags", .instance_size = sizeof(struct heap_tags), .alignment = HEAP_ALIGN,
    .links = sizeof(struct heap_tags_links), .merges = true, .reuses = true, .shrinks = true,
    .init = tags_init, .alloc = tags_alloc, .free = tags_free, .resize = tags_resize, .size_of = tags_size_of,
    .refusal = tags_refusal, .each = tags_each, .check = tags_check, .report = tags_report,
};
