/* Knows the faults of managers that keep their links in the free frames. */

#include "fault/faults.h"
#include "lib/string.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"
#include "mm/page.h"
#include "mm/paging.h"
#include "mm/pmm_buddy.h"
#include "mm/pmm_pages.h"
#include "mm/pmm_runs.h"
#include "mm/pmm_stack.h"
#include "mm/vm.h"

static const char no_links[] = "this manager keeps no links in the free frames";
static const char no_stack[] = "this manager keeps no stack of frames";
static const char too_empty[] = "too few frames are free";

/* The stack that serves ordinary requests: the highest that has something. */
static struct pmm_stack_zone *stack_zone(void)
{
    struct pmm_stack_zone *zone = &pmm_stack.zone[ZONE_HIGH];
    while (zone > pmm_stack.zone && zone->count < 2)
        zone--;
    return zone;
}

static struct pmm_pages_zone *pages_zone(void)
{
    struct pmm_pages_zone *zone = &pmm_pages.zone[ZONE_HIGH];
    while (zone > pmm_pages.zone && (!zone->top || zone->top->count < 2))
        zone--;
    return zone;
}

/* Freed twice, with nobody asking whether it is free. On a threaded stack the frame becomes its own successor. */
const char *fault_pushed_twice(void)
{
    if (pmm_manager == &pmm_stack_operations) {
        struct pmm_stack_zone *zone = stack_zone();
        if (!zone->top)
            return too_empty;
        zone->top->next = zone->top;
        zone->count++;
        pmm_stack.used--;
        fault_at_pointer(zone->top);
        return NULL;
    }
    if (pmm_manager == &pmm_pages_operations) {
        struct pmm_pages_zone *zone = pages_zone();
        if (!zone->top || zone->top->count == 0 || zone->top->count == FRAME_PAGE_CAPACITY)
            return too_empty;
        zone->top->frames[zone->top->count++] = zone->top->frames[0];
        zone->count++;
        pmm_pages.used--;
        fault_at(zone->top->frames[0] << PAGE_SHIFT);
        return NULL;
    }
    return no_stack;
}

/* The word that leads from one free thing to the next, in the first of them that has one; NULL when there is none. */
static void *first_link(void)
{
    if (pmm_manager == &pmm_stack_operations)
        return stack_zone()->top;
    if (pmm_manager == &pmm_pages_operations && pages_zone()->top)
        return &pages_zone()->top->next;
    if (pmm_manager == &pmm_runs_operations && pmm_runs.head.next[0])
        return &pmm_runs.head.next[0]->next[0];
    if (pmm_manager == &pmm_buddy_operations)
        for (unsigned order = 0; order < BUDDY_ORDERS; order++)
            if (pmm_buddy.order[order].first)
                return &pmm_buddy.order[order].first->next;
    return NULL;
}

/* Somebody still has a pointer to what was freed, and writes text there. */
const char *fault_link_overwritten(void)
{
    void *link = first_link();
    if (!link)
        return no_links;
    memcpy(link, "used aft", sizeof(void *));
    fault_at_pointer(link);
    return NULL;
}

/* Pointer arithmetic in the wrong unit. */
const char *fault_link_unaligned(void)
{
    char **link = first_link();
    if (!link)
        return no_links;
    *link = (*link ? *link : (char *)phys_to_virt(0x200000)) + sizeof(void *);
    fault_at_pointer(link);
    return NULL;
}

/* Maps a frame that is still listed, as its new owner does. */
static const char *use(uint64_t frame)
{
    uint64_t base = vm_reserve(&kernel_space, PAGE_SIZE, VM_DATA, "fault");
    if (!base || !vm_commit_frames(&kernel_space, base, frame, 1, RIGHTS_RW))
        return "no room for the page";
    page_own(frame, PAGE_VM, base);
    fault_at(frame << PAGE_SHIFT);
    return NULL;
}

/* The top is read, and moved only after an interrupt has pushed something; or simply not moved. */
const char *fault_popped_but_there(void)
{
    if (pmm_manager == &pmm_stack_operations)
        return stack_zone()->top ? use(view_frame(stack_zone()->top)) : too_empty;
    if (pmm_manager == &pmm_pages_operations)
        return pages_zone()->top && pages_zone()->top->count ? use(pages_zone()->top->frames[0]) : too_empty;
    return no_stack;
}

static void push_on_stack(struct pmm_stack_zone *zone, uint64_t frame)
{
    struct free_frame *free = frame_view(frame);
    *free = (struct free_frame) { .next = zone->top, .mark = free_mark(frame) };
    zone->top = free;
    zone->count++;
}

static void push_on_pages(struct pmm_pages_zone *zone, uint64_t frame)
{
    struct frame_page *page = frame_view(frame);
    page->mark = free_mark(frame);
    if (zone->top && zone->top->count < FRAME_PAGE_CAPACITY) {
        zone->top->frames[zone->top->count++] = frame;
    } else {
        page->next = zone->top;
        page->count = 0;
        zone->top = page;
    }
    zone->count++;
}

/* The zone is chosen by the number of the request, not by that of the frame. */
const char *fault_wrong_zone(void)
{
    bool is_stack = pmm_manager == &pmm_stack_operations;
    if (!is_stack && pmm_manager != &pmm_pages_operations)
        return "this manager has no zones";
    uint64_t frame = pmm_alloc();
    if (frame == NO_FRAME)
        return too_empty;
    if (frame < pmm_zones[ZONE_ISA].end) {
        pmm_free(frame);
        return "no frame above 16 MiB is free";
    }
    if (is_stack)
        push_on_stack(&pmm_stack.zone[ZONE_ISA], frame);
    else
        push_on_pages(&pmm_pages.zone[ZONE_ISA], frame);
    pmm_manager->common->used--;
    pages_freed(frame, 1);
    fault_at(frame << PAGE_SHIFT);
    return NULL;
}
