/* Knows the faults about counters and about who owns a frame. */

#include "boot/memory_map.h"
#include "fault/faults.h"
#include "mm/page.h"
#include "mm/paging.h"
#include "mm/pmm_manager.h"
#include "mm/vm.h"

/* An increment that is not atomic loses one when two processors count at once, or when one path forgets it. */
const char *fault_counter_lost(void)
{
    pmm_manager->common->used--;
    fault_at_pointer(&pmm_manager->common->used);
    return NULL;
}

/* `free` clears a bit that is clear already and counts all the same: no double-free check. */
const char *fault_double_decrement(void)
{
    uint64_t frame = pmm_alloc();
    pmm_free(frame);
    pmm_manager->common->used--;
    fault_at_pointer(&pmm_manager->common->used);
    return NULL;
}

/* A page far from any other, so that its table holds nothing else, least of all where a manager keeps links. */
static uint64_t lonely_page(void)
{
    enum { ENTRY = 300, TABLE_SPAN = 512 * PAGE_SIZE };
    uint64_t base = vm_reserve(&kernel_space, 2 * TABLE_SPAN, VM_DATA, "fault");
    uint64_t page = align_up(base, TABLE_SPAN) + ENTRY * PAGE_SIZE;
    return base && vm_commit(&kernel_space, page, PAGE_SIZE, RIGHTS_RW) ? page : 0;
}

/* The early allocator's frames are not told to the manager: the first that is handed out again overwrites a page table. */
const char *fault_table_free(void)
{
    uint64_t page = lonely_page();
    if (!page)
        return "no memory for a page and its table";
    uint64_t table = page_table_of(&kernel_space, page);
    fault_make_free(table >> PAGE_SHIFT, 1);
    fault_at(table);
    return NULL;
}

/* Two processors in `alloc` without a lock find the same free frame. */
const char *fault_handed_out_twice(void)
{
    uint64_t first = lonely_page(), second = lonely_page();
    if (!first || !second)
        return "no memory for two pages";
    uint64_t shared = page_translate(&kernel_space, first).physical;
    pmm_free(page_remap(&kernel_space, second, shared) >> PAGE_SHIFT);
    fault_at(shared);
    return NULL;
}

/* Freed on an error path, or by the wrong one of two owners, and the mapping forgotten. */
const char *fault_mapped_frame_free(void)
{
    uint64_t page = lonely_page();
    if (!page)
        return "no memory for a page";
    fault_at(page_translate(&kernel_space, page).physical);
    pmm_free(page_translate(&kernel_space, page).physical >> PAGE_SHIFT);
    return NULL;
}

/* --- metadata -------------------------------------------------------------------------------------------------------- */

static const char *why_no_metadata(void)
{
    if (!pmm_manager->metadata)
        return "this manager keeps its books in the free frames";
    if (pmm_manager == &pmm_buddy_operations)
        return "this manager's links would overwrite the very bits that say where they lead";
    return NULL;
}

static struct reserved_range *metadata_range(void)
{
    for (uint64_t i = 0; i < reserved_count; i++)
        if (reserved_ranges[i].base == pmm_manager->metadata().physical)
            return &reserved_ranges[i];
    return NULL;
}

/* A local variable hides the global that holds the bitmap's address, so another place is reserved in its stead. */
const char *fault_metadata_free(void)
{
    if (why_no_metadata())
        return why_no_metadata();
    struct reserved_range *range = metadata_range(), gone = *range;
    *range = reserved_ranges[--reserved_count];
    fault_make_free(gone.base >> PAGE_SHIFT, align_up(gone.length, PAGE_SIZE) >> PAGE_SHIFT);
    fault_at(gone.base);
    return NULL;
}

/* The size is divided by the page size and the rest forgotten. */
const char *fault_last_metadata_free(void)
{
    if (why_no_metadata())
        return why_no_metadata();
    struct reserved_range *range = metadata_range();
    uint64_t last = (range->base + range->length - 1) >> PAGE_SHIFT;
    range->length = (last << PAGE_SHIFT) - range->base;
    if (range->length == 0)
        *range = reserved_ranges[--reserved_count];
    fault_make_free(last, 1);
    fault_at(last << PAGE_SHIFT);
    return NULL;
}

/* The base was not aligned, and rounded up where it should have been rounded down. */
const char *fault_first_metadata_free(void)
{
    if (why_no_metadata())
        return why_no_metadata();
    struct reserved_range *range = metadata_range();
    uint64_t first = range->base >> PAGE_SHIFT;
    range->base += PAGE_SIZE;
    range->length -= PAGE_SIZE;
    if (range->length == 0)
        *range = reserved_ranges[--reserved_count];
    fault_make_free(first, 1);
    fault_at(first << PAGE_SHIFT);
    return NULL;
}
