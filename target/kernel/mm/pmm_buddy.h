/* Knows what the buddy manager looks like in memory. */
#ifndef MM_PMM_BUDDY_H
#define MM_PMM_BUDDY_H

#include "mm/pmm_manager.h"

enum { BUDDY_ORDERS = ORDER_1G + 1 };

/* At the start of every free block, in the direct map. */
struct free_block {
    struct free_block *next, *prev;     /* on the list of its order; prev is NULL for the first */
    uint64_t mark;                      /* free_mark of its first frame */
    uint64_t order;                     /* 2^order frames */
};

struct pmm_buddy {
    PMM_COMMON
    struct pmm_buddy_order {
        struct free_block *first;
        uint64_t count;                 /* blocks on the list */
        uint64_t *pairs;                /* bit i: exactly one of the blocks 2 i and 2 i + 1 of this order is on the list. NULL for
                                         * the highest order, whose blocks have no buddies */
        uint64_t pair_count;            /* how many bits mean something; those beyond are 0 */
    } order[BUDDY_ORDERS];
};
extern struct pmm_buddy pmm_buddy;

#endif
