/* A heap in the manner of Kernighan and Ritchie's book on C: free chunks in a circle, and a search that goes on where the
 * last one ended.
 *
 *  1. A header is 16 bytes: a link, and the chunk's size in units of 16 bytes, the header included. Nothing in it says
 *     whether the chunk is free: what is on the circle is, and what was taken off keeps the link that it had.
 *  2. The circle is in order of addresses. It begins and ends at `base`, a header outside of the arena that is no chunk.
 *  3. A link is xored with `veil`, which is drawn at boot.
 *  4. `rover` is what is in front of the chunk that is looked at first. It may be `base`.
 *  5. A chunk that is given back merges with a free neighbour on either side. No counters, no lock.
 *
 *     base -> chunk -> ... -> base, addresses rising;  no two chunks on the circle touch;  rover is on the circle */

#include "heap.h"

#include <stdbool.h>

#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "scenario/random.h"

enum { UNIT = 16 };

struct header {
    uint64_t link;
    uint64_t units;
};

static uint64_t veil;
static struct header base;
static struct header *rover;
static struct header *arena, *arena_end;

static struct header *next_of(const struct header *one) { return (struct header *)(one->link ^ veil); }
static void set_next(struct header *one, const struct header *next) { one->link = (uint64_t)next ^ veil; }

static void heap_init(char *start, uint64_t size)
{
    veil = random_below(UINT64_MAX) | 1;
    arena = (struct header *)start;
    arena_end = (struct header *)(start + size);
    arena->units = size / UNIT;
    set_next(arena, &base);
    set_next(&base, arena);
    rover = &base;
}

/* The upper end of the first chunk that is large enough. */
static char *take(uint64_t size)
{
    uint64_t units = (size + UNIT - 1) / UNIT + 1;
    struct header *before = rover, *one = next_of(before);
    while (one == &base || one->units < units) {
        if (one == rover)
            return NULL;
        before = one;
        one = next_of(one);
    }
    rover = before;
    if (one->units == units) {
        set_next(before, next_of(one));
    } else {
        one->units -= units;
        one += one->units;
        one->units = units;
    }
    return (char *)(one + 1);
}

/* Makes one chunk of two that touch. */
static void merge(struct header *one)
{
    struct header *next = next_of(one);
    if (one == &base || one + one->units != next)
        return;
    one->units += next->units;
    set_next(one, next_of(next));
}

static void give(char *payload)
{
    struct header *chunk = (struct header *)payload - 1, *before = &base;
    while (next_of(before) != &base && next_of(before) < chunk)
        before = next_of(before);
    set_next(chunk, next_of(before));
    set_next(before, chunk);
    merge(chunk);
    merge(before);
    rover = before;
}

/* --- the heap at work, and its shadow ----------------------------------------------------------------------------- */

enum { STEPS = 6000, LIVE_MOST = 140, LARGEST = 1400, UNITS_MOST = 16384 };

static struct live { char *payload; uint64_t size; } live[LIVE_MOST];
static unsigned live_count;
static bool taken[UNITS_MOST];      /* which units belong to a chunk in use, its header included */

static uint64_t units_of(const struct live *chunk) { return (chunk->size + UNIT - 1) / UNIT; }
static unsigned char mark_of(const struct live *chunk) { return (unsigned char)(chunk->size + 1); }

static void shade(const struct live *chunk, bool used)
{
    uint64_t header = (uint64_t)(chunk->payload - (char *)arena) / UNIT - 1;
    for (uint64_t i = header; i <= header + units_of(chunk); i++) {
        if (taken[i] == used)
            panic("unit %lu of the heap is in two chunks", i);
        taken[i] = used;
    }
}

static void new_chunk(void)
{
    struct live chunk = { .size = 1 + random_below(LARGEST) };
    chunk.payload = take(chunk.size);
    if (!chunk.payload)
        return;
    shade(&chunk, true);
    memset(chunk.payload, mark_of(&chunk), chunk.size);
    live[live_count++] = chunk;
}

static void drop_chunk(void)
{
    uint64_t which = random_below(live_count);
    struct live chunk = live[which];
    if (!is_filled(chunk.payload, mark_of(&chunk), chunk.size))
        panic("the chunk at 0x%lx was written to by another", (uint64_t)chunk.payload);
    shade(&chunk, false);
    give(chunk.payload);
    live[which] = live[--live_count];
}

void heap_work(char *start, uint64_t size)
{
    heap_init(start, size);
    for (unsigned step = 0; step < STEPS; step++)
        if (live_count == 0 || (live_count < LIVE_MOST && random_below(3)))
            new_chunk();
        else
            drop_chunk();
}

/* A gap between chunks in use is one free chunk. */
void heap_report(void)
{
    uint64_t units = (uint64_t)(arena_end - arena);
    for (unsigned i = 0; i < live_count; i++)
        print("report used address=0x%lx size=%lu\n", (uint64_t)live[i].payload, units_of(&live[i]) * UNIT);
    for (uint64_t i = 0, end; i < units; i = end) {
        for (end = i + 1; end < units && taken[end] == taken[i]; end++)
            ;
        if (!taken[i])
            print("report free address=0x%lx size=%lu\n", (uint64_t)(arena + i + 1), (end - i - 1) * UNIT);
    }
}
