/* Knows how to make free frames lie side by side: by moving others out of the way. */
#ifndef MM_EVICT_H
#define MM_EVICT_H

#include "mm/pmm.h"

/* The first frame of a run as wished, taken, or NO_FRAME. *moved: how many frames had to move. */
uint64_t evict_run(const struct pmm_wish *wish, uint64_t *moved);

#endif
