/* Knows how a manager looks into a frame that is free: links between free frames live in the frames themselves. Everything
 * that depends on the direct map for it is here. */
#ifndef MM_FRAME_VIEW_H
#define MM_FRAME_VIEW_H

#include <stdint.h>

#include "layout.h"

/* How many bytes of a frame can be seen. */
enum { FRAME_VIEW = PAGE_SIZE };

static inline void *frame_view(uint64_t frame) { return phys_to_virt(frame << PAGE_SHIFT); }
static inline uint64_t view_frame(const void *view) { return ((uint64_t)view - DIRECT_MAP) >> PAGE_SHIFT; }

/* True if this could be a view at all: the start of a frame. */
static inline bool is_frame_view(const void *view)
{
    return (uint64_t)view >= DIRECT_MAP && (uint64_t)view < VM_START && is_aligned((uint64_t)view, PAGE_SIZE);
}

/* For metadata: [physical, physical + size), which lies in one piece. */
static inline void *memory_view(uint64_t physical, uint64_t size) { (void)size; return phys_to_virt(physical); }
static inline uint64_t memory_of_view(const void *view) { return (uint64_t)view - DIRECT_MAP; }

#endif
