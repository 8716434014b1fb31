/* Knows what the free list of runs looks like in memory. */
#ifndef MM_PMM_RUNS_H
#define MM_PMM_RUNS_H

#include "mm/pmm_manager.h"

enum { RUN_LANES = 12 };        /* for 4^12 runs */

/* At the start of the first frame of every run of free frames, in the direct map. */
struct free_run {
    uint64_t mark;              /* free_mark of that first frame */
    uint64_t frames;            /* how many: this one and those behind it */
    struct free_run *next[RUN_LANES];   /* next[0]: the next run by address, NULL at the end. Above: a run further on */
};

struct pmm_runs {
    PMM_COMMON
    uint64_t runs;              /* length of the list */
    struct free_run head;       /* no run: only its links mean something */
};
extern struct pmm_runs pmm_runs;

#endif
