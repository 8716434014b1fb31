/* Knows a heap at work, and its shadow: which units belong to a chunk in use. */

#include "heap_shadow.h"

#include <stdbool.h>

#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "scenario/random.h"

enum { STEPS = 6000, LIVE_MOST = 120, LARGEST = 1500, UNITS_MOST = 16384 };

static struct live { char *payload; uint64_t size; } live[LIVE_MOST];
static unsigned live_count;
static char *heap_start;
static uint64_t all_units;
static bool shadow[UNITS_MOST];     /* a chunk's header included */

static unsigned char mark_of(const struct live *chunk) { return (unsigned char)(chunk->size + 1); }

static void shade(const struct live *chunk, bool used)
{
    uint64_t header = (uint64_t)(chunk->payload - heap_start) / UNIT - 1;
    for (uint64_t unit = header; unit <= header + heap_units(chunk->size); unit++) {
        if (shadow[unit] == used)
            panic("unit %lu of the heap is in two chunks", unit);
        shadow[unit] = used;
    }
}

static void new_chunk(void)
{
    struct live chunk = { .size = 1 + random_below(LARGEST) };
    chunk.payload = heap_take(chunk.size);
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
    heap_give(chunk.payload);
    live[which] = live[--live_count];
}

void heap_work(char *start, uint64_t size)
{
    heap_start = start;
    all_units = size / UNIT;
    heap_begin(start, size);
    for (unsigned step = 0; step < STEPS; step++)
        if (live_count == 0 || (live_count < LIVE_MOST && random_below(3)))
            new_chunk();
        else
            drop_chunk();
}

/* Each gap between chunks in use is one free chunk. */
void heap_report(void)
{
    uint64_t used_bytes = 0, free_bytes = 0, free_chunks = 0;
    for (unsigned i = 0; i < live_count; i++) {
        used_bytes += heap_units(live[i].size) * UNIT;
        print("report used address=0x%lx size=%lu asked=%lu\n", (uint64_t)live[i].payload, heap_units(live[i].size) * UNIT,
              live[i].size);
    }
    for (uint64_t unit = 0, end; unit < all_units; unit = end) {
        for (end = unit + 1; end < all_units && shadow[end] == shadow[unit]; end++)
            ;
        if (shadow[unit])
            continue;
        free_chunks++;
        free_bytes += (end - unit - 1) * UNIT;
        print("report free address=0x%lx size=%lu\n", (uint64_t)(heap_start + (unit + 1) * UNIT), (end - unit - 1) * UNIT);
    }
    print("report heap start=0x%lx end=0x%lx used_chunks=%u free_chunks=%lu used_bytes=%lu free_bytes=%lu\n",
          (uint64_t)heap_start, (uint64_t)(heap_start + all_units * UNIT), live_count, free_chunks, used_bytes, free_bytes);
}
