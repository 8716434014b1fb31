/* Knows what a buddy heap looks like in memory. */
#ifndef HEAP_HEAP_BUDDY_H
#define HEAP_HEAP_BUDDY_H

#include "heap/heap_manager.h"

enum { BUDDY_SMALLEST = 32 };       /* bytes: what a leaf of the tree stands for */

struct heap_buddy {
    HEAP_COMMON
    uintptr_t origin;               /* where the first leaf's block would be: a multiple of any block's size, <= start */
    uint64_t height;                /* of the root; leaves have 0 */
    uint8_t *nodes;                 /* at base. Node 1 is the root, 2 n and 2 n + 1 are the halves of n. Those of blocks outside
                                     * [start, end) need not have memory */
};

#endif
