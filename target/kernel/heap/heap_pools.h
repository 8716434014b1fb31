/* Knows what a heap of pools looks like in memory. */
#ifndef HEAP_HEAP_POOLS_H
#define HEAP_HEAP_POOLS_H

#include "heap/heap_manager.h"
#include "heap/heap_runs.h"

enum {
    HEAP_POOLS_CLASSES = 11,            /* class n: slots of 2 << n bytes, so 2 to 2048 */
    HEAP_POOLS_LARGEST = 2048,
    HEAP_POOL_MAGIC = 0x4c4f4f50,       /* "POOL" in a dump */
};

/* At the start of a pool's pages; its slots follow. A run's owner is its class's size, or 1 for a chunk of whole pages. */
struct heap_pool {
    uint32_t magic;
    uint32_t size;              /* of a slot */
    uint32_t slots;             /* how many there are */
    uint32_t used;              /* how many are used */
    uint32_t first;             /* offset of the first from here */
    uint32_t unused;
    struct heap_pool *next, *prev;      /* in the list of pools of this class that have room */
    uint64_t bits[];            /* one for each slot, 1 used */
};

struct heap_pools {
    HEAP_COMMON
    struct heap_runs runs;
    struct heap_pool *open[HEAP_POOLS_CLASSES];         /* pools that have room */
};

#endif
