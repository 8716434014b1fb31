/* Knows what the manager with one bitmap per region looks like in memory. */
#ifndef MM_PMM_REGIONS_H
#define MM_PMM_REGIONS_H

#include "boot/memory_map.h"
#include "mm/pmm_manager.h"

/* One stretch of RAM. */
struct pmm_region {
    uint64_t first;             /* frame of bit 0 */
    uint64_t frames;            /* how many bits mean a frame; the last word's bits beyond are 1 */
    uint64_t used;              /* bits that are 1 among them */
    uint64_t hint;              /* no bit below this one is 0 */
    uint64_t *bits;             /* 1 means used */
};

struct pmm_regions {
    PMM_COMMON
    struct pmm_region region[BOOT_MAP_MAX];     /* by address */
    uint64_t count;
};
extern struct pmm_regions pmm_regions;

#endif
