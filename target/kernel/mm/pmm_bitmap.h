/* Knows what the flat-bitmap manager looks like in memory: for the self-report, the self-tests and a debugger. */
#ifndef MM_PMM_BITMAP_H
#define MM_PMM_BITMAP_H

#include "mm/pmm_manager.h"

struct pmm_bitmap {
    PMM_COMMON
    uint64_t *bits;             /* bit N % 64 of word N / 64 is frame N; 1 means used. In the direct map. The last word's bits
                                 * beyond `frames` are 1 */
    uint64_t hint;              /* no frame below this one is free */
    uint64_t full;              /* a word without a free frame: all ones */
};
extern struct pmm_bitmap pmm;

/* Counted from the bits, whatever the counters say. */
uint64_t pmm_recount_used(void);

#endif
