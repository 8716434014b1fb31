/* A kernel whose free frames are a list through the frames themselves: no bitmap, no counter, no lock.
 *
 *  1. A free frame begins with the physical address of the next one; 0 ends the list. Nothing refers to it by a virtual
 *     address, so the list could be followed before there are page tables.
 *  2. Last given, first taken. The order of the list means nothing.
 *
 *     free_list -> frame -> ... -> 0;  every free frame is on it once
 *
 * Its heap is in heap.cc. */

#include "ground.h"

#include "heap_shadow.h"
#include "lib/print.h"
#include "mm/frame_view.h"

void kmain(uint32_t magic, uint64_t info);

enum { MAPPED_PAGES = 12, HEAP_PAGES = 40 };

struct free_frame { uint64_t next; };   /* physical */

const unsigned frames_most_order = 0;

static uint64_t free_list;              /* physical */

void frames_init(uint64_t end) { (void)end; }

uint64_t frames_take(unsigned order)
{
    if (order != 0 || free_list == 0)
        return NO_FRAME;
    uint64_t frame = free_list >> PAGE_SHIFT;
    free_list = ((const struct free_frame *)frame_view(frame))->next;
    return frame;
}

void frames_give(uint64_t first, unsigned order)
{
    (void)order;
    *(struct free_frame *)frame_view(first) = (struct free_frame) { .next = free_list };
    free_list = first << PAGE_SHIFT;
}

void kmain(uint32_t magic, uint64_t info)
{
    ground_init(magic, info);
    frames_work();
    char *mapped = map_pages(MAPPED_PAGES + HEAP_PAGES);
    heap_work(mapped + MAPPED_PAGES * PAGE_SIZE, HEAP_PAGES * PAGE_SIZE);
    report_begin();
    print("report list first=0x%lx\n", free_list);
    print("report mapped start=0x%lx pages=%u\n", (uint64_t)mapped, MAPPED_PAGES);
    report_frames();
    heap_report();
    report_end();
    rest();
}
