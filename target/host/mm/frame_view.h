/* Knows how a manager looks into a free frame on the host. There is no direct map and not that much memory: only the first
 * bytes of each frame exist, side by side. Metadata is ordinary memory that has been given a physical address. Stands in
 * for the kernel's header of the same name. */
#ifndef MM_FRAME_VIEW_H
#define MM_FRAME_VIEW_H

#include <stdint.h>

#include "layout.h"

enum { FRAME_VIEW = 128 };

extern char *host_ram;
extern uint64_t host_frames;

static inline void *frame_view(uint64_t frame) { return host_ram + frame * FRAME_VIEW; }
static inline uint64_t view_frame(const void *view) { return (uint64_t)((const char *)view - host_ram) / FRAME_VIEW; }

static inline bool is_frame_view(const void *view)
{
    uint64_t offset = (uint64_t)view - (uint64_t)host_ram;
    return offset < host_frames * FRAME_VIEW && offset % FRAME_VIEW == 0;
}

void *memory_view(uint64_t physical, uint64_t size);
uint64_t memory_of_view(const void *view);

#endif
