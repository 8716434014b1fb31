/* A kernel that does what the reference kernel does, the other way round.
 *
 * Frames
 *  1. A bitmap of 32-bit words. The first frame is the highest bit of a word, and bit 0 stands for 1 MiB: below that the
 *     kernel touches nothing.
 *  2. A bit that is set means free. There is no counter, no hint and no lock.
 *
 *     a set bit <=> the frame is free;  bits beyond the last frame are clear
 *
 * Heap
 *  1. Chunks tile one arena, singly linked in order of address. A header is 16 bytes; its size counts units of 16 bytes, those
 *     of the payload alone, so that a chunk may be nothing but a header.
 *  2. A chunk is busy or not. Free neighbours are merged: with the one behind at once, with the one before on a walk from
 *     the head. */

#include "ground.h"

#include "heap_shadow.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "mm/early.h"

void kmain(uint32_t magic, uint64_t info);

/* --- frames ---------------------------------------------------------------------------------------------------------- */

enum { BASE_FRAME = 0x100, MAP_BITS = 32 };     /* the frame at 1 MiB */

const unsigned frames_most_order = 3;

static uint32_t *frame_map;
static uint64_t map_frames;

static uint32_t mask_of(uint64_t bit) { return 0x80000000u >> bit % MAP_BITS; }
static bool is_free(uint64_t bit) { return frame_map[bit / MAP_BITS] & mask_of(bit); }

static void set_all(uint64_t first, uint64_t count, bool free)
{
    for (uint64_t bit = first; bit < first + count; bit++) {
        if (is_free(bit) == free)
            panic("the frame of bit %lu is %s already", bit, free ? "free" : "used");
        frame_map[bit / MAP_BITS] ^= mask_of(bit);
    }
}

void frames_init(uint64_t end)
{
    map_frames = end - BASE_FRAME;
    frame_map = early_alloc((map_frames + MAP_BITS - 1) / MAP_BITS * sizeof(*frame_map), RESERVED_PMM_METADATA);
}

uint64_t frames_take(unsigned order)
{
    uint64_t wanted = (uint64_t)1 << order, found = 0;
    for (uint64_t bit = 0; bit < map_frames; bit++) {
        found = is_free(bit) ? found + 1 : 0;
        if (found == wanted) {
            uint64_t first = bit + 1 - wanted;
            set_all(first, wanted, false);
            return BASE_FRAME + first;
        }
    }
    return NO_FRAME;
}

void frames_give(uint64_t first, unsigned order) { set_all(first - BASE_FRAME, (uint64_t)1 << order, true); }

/* --- heap ------------------------------------------------------------------------------------------------------------ */

enum { ARENA_PAGES = 48 };

struct chunk {
    uint32_t units;             /* of payload */
    uint32_t busy;
    struct chunk *next;         /* by address; NULL: the last */
};

/* Not static: clang takes a static struct to pieces, and then it has no address that a debugger could name. */
struct { struct chunk *first; char *start, *end; } arena;

static char *payload_of(struct chunk *chunk) { return (char *)(chunk + 1); }

void heap_begin(char *start, uint64_t size)
{
    arena.start = start;
    arena.end = start + size;
    arena.first = (struct chunk *)start;
    *arena.first = (struct chunk) { .units = (uint32_t)(size / UNIT) - 1 };
}

/* Cuts what is behind the first `units` off, header and all, as a free chunk. */
static void split(struct chunk *chunk, uint32_t units)
{
    struct chunk *rest = (struct chunk *)(payload_of(chunk) + units * UNIT);
    *rest = (struct chunk) { .units = chunk->units - units - 1, .next = chunk->next };
    chunk->units = units;
    chunk->next = rest;
}

static void merge_with_next(struct chunk *chunk)
{
    struct chunk *next = chunk->next;
    if (next && !next->busy && !chunk->busy) {
        chunk->units += 1 + next->units;
        chunk->next = next->next;
    }
}

uint64_t heap_units(uint64_t size) { return (size + UNIT - 1) / UNIT; }

char *heap_take(uint64_t size)
{
    uint32_t units = (uint32_t)heap_units(size);
    for (struct chunk *chunk = arena.first; chunk; chunk = chunk->next) {
        if (chunk->busy || chunk->units < units)
            continue;
        if (chunk->units > units)
            split(chunk, units);
        chunk->busy = true;
        return payload_of(chunk);
    }
    return NULL;
}

void heap_give(char *payload)
{
    struct chunk *chunk = arena.first, *before = NULL;
    for (; chunk && payload_of(chunk) != payload; chunk = chunk->next)
        before = chunk;
    if (!chunk || !chunk->busy)
        panic("0x%lx is no chunk in use", (uint64_t)payload);
    chunk->busy = false;
    merge_with_next(chunk);
    if (before)
        merge_with_next(before);
}

/* --------------------------------------------------------------------------------------------------------------------- */

void kmain(uint32_t magic, uint64_t info)
{
    ground_init(magic, info);
    frames_work();
    heap_work(map_pages(ARENA_PAGES), ARENA_PAGES * PAGE_SIZE);
    report_begin();
    print("report bitmap at=0x%lx frames=%lu base=0x%lx\n", (uint64_t)frame_map, map_frames,
          (uint64_t)BASE_FRAME << PAGE_SHIFT);
    report_frames();
    heap_report();
    report_end();
    rest();
}
