/* Knows what the stack of full pages looks like in memory. */
#ifndef MM_PMM_PAGES_H
#define MM_PMM_PAGES_H

#include "mm/frame_view.h"
#include "mm/pmm_manager.h"

enum { FRAME_PAGE_CAPACITY = (FRAME_VIEW - 3 * sizeof(uint64_t)) / sizeof(uint64_t) };

/* A free frame that lists others. Seen through the direct map. Free frames that are listed have their mark too, in the
 * same place. */
struct frame_page {
    uint64_t mark;              /* free_mark of this frame */
    struct frame_page *next;    /* the page below it on the stack; NULL: it is the last */
    uint64_t count;             /* entries in use */
    uint64_t frames[FRAME_PAGE_CAPACITY];       /* frame numbers */
};

struct pmm_pages {
    PMM_COMMON
    struct pmm_pages_zone {
        struct frame_page *top;
        uint64_t count;         /* free frames in this zone: the pages themselves and what they list */
    } zone[ZONES];              /* indexed by enum pmm_zone; pmm_zones has the limits */
};
extern struct pmm_pages pmm_pages;

#endif
