/* Knows what the multi-level bitmap looks like in memory. */
#ifndef MM_PMM_LEVELS_H
#define MM_PMM_LEVELS_H

#include "mm/pmm_manager.h"

enum { PMM_LEVELS_MAX = 7 };    /* 64^7 frames are more than addresses can name */

struct pmm_levels {
    PMM_COMMON
    uint64_t levels;            /* how many there are; the last is one word */
    struct pmm_level {
        uint64_t *bits;         /* level 0: 1 means that frame is free. Above: 1 means a 1 in that word below */
        uint64_t count;         /* how many bits mean something; those beyond are 0 */
    } level[PMM_LEVELS_MAX];
};
extern struct pmm_levels pmm_levels;

#endif
