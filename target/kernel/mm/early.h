/* Knows who gets memory before the physical manager is up: an allocator needs memory before it can allocate. */
#ifndef MM_EARLY_H
#define MM_EARLY_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/memory_map.h"

/* A range that was handed out as frames. It goes over to the manager as used frames, which may be freed one day. */
struct early_range { uint64_t first, count; };      /* frames */

enum { EARLY_MAX = 64 };

struct early {
    uint64_t next;                                  /* no frame below this one is given any more */
    uint64_t frames;                                /* how many were handed out by early_frame */
    struct early_range ranges[EARLY_MAX];           /* which ones */
    uint64_t count;
    bool closed;                                    /* the manager has taken over */
};
extern struct early early;

/* Whole frames that hold `size` bytes, contiguous and zeroed, for as long as the system runs: they become one of the
 * reserved ranges. Panics when there is no room. */
void *early_alloc(uint64_t size, enum reserved_what what);

/* One frame, not zeroed. Panics when there is none. */
uint64_t early_frame(void);

/* The next stretch of usable frames at or after `from` that is neither reserved nor handed out: [*first, *end). */
bool early_free_stretch(uint64_t from, uint64_t *first, uint64_t *end);

/* No more requests: the manager is up. */
void early_close(void);

#endif
