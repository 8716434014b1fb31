/* Knows what the stack manager looks like in memory. */
#ifndef MM_PMM_STACK_H
#define MM_PMM_STACK_H

#include "mm/pmm_manager.h"

/* At the start of every free frame, in the direct map. */
struct free_frame {
    struct free_frame *next;    /* the frame below it on the stack; NULL: it is the last */
    uint64_t mark;              /* free_mark of this frame */
};

struct pmm_stack {
    PMM_COMMON
    struct pmm_stack_zone {
        struct free_frame *top;
        uint64_t count;         /* frames on this stack */
    } zone[ZONES];              /* indexed by enum pmm_zone; pmm_zones has the limits */
};
extern struct pmm_stack pmm_stack;

#endif
