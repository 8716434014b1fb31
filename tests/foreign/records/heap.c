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

#include "heap_shadow.h"

#include <stddef.h>

#include "scenario/random.h"

struct header {
    uint64_t link;
    uint64_t units;
};

static uint64_t veil;
static struct header base;
static struct header *rover;

/* Not static: nothing in the kernel reads them, so the compiler would leave them out, and a debugger had no bounds. */
struct header *arena, *arena_end;

static struct header *next_of(const struct header *one) { return (struct header *)(one->link ^ veil); }
static void set_next(struct header *one, const struct header *next) { one->link = (uint64_t)next ^ veil; }

void heap_begin(char *start, uint64_t size)
{
    veil = random_below(UINT64_MAX) | 1;
    arena = (struct header *)start;
    arena_end = (struct header *)(start + size);
    arena->units = size / UNIT;
    set_next(arena, &base);
    set_next(&base, arena);
    rover = &base;
}

uint64_t heap_units(uint64_t size) { return (size + UNIT - 1) / UNIT; }

/* The upper end of the first chunk that is large enough. */
char *heap_take(uint64_t size)
{
    uint64_t units = heap_units(size) + 1;
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

void heap_give(char *payload)
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
