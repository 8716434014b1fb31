/* Knows what a bump heap looks like in memory. */
#ifndef HEAP_HEAP_BUMP_H
#define HEAP_HEAP_BUMP_H

#include "heap/heap_manager.h"

enum { HEAP_BUMP_MAGIC = 0x504d5542 };          /* "BUMP" in a dump */

/* In front of every payload. */
struct heap_bump_chunk {
    uint32_t magic;
    uint32_t free;              /* 1: was given back, and is counted as free; 0 used */
    uint64_t size;              /* of the payload */
};

struct heap_bump {
    HEAP_COMMON
    uintptr_t mark;             /* chunks lie in [start, mark); from there to `end` is memory not yet handed out */
};

#endif
