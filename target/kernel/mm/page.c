/* Knows what each frame is used for.
 *
 * Theory
 *  1. The managers say free or not free. Who has a frame that is not free, and for what, is written here by whoever takes
 *     it: once by mm/pmm.c ("allocated"), then more exactly by the taker.
 *  2. So that the way back exists: from a frame to the address that maps it. Moving a frame needs that.
 *
 * Invariants
 *     pages[f].type == PAGE_FREE <=> the manager holds f as free
 *     references == 1 <=> type >= PAGE_ALLOCATED
 *     order > 0 => type >= PAGE_ALLOCATED, and the same order in all frames of f's block: those whose numbers agree with f
 *                  above the lowest `order` bits. So a block that is freed as something smaller leaves a trace
 *
 * Lock: that of the manager that serves. page_leave_pool alone takes none: it changes one byte, and whoever reads meanwhile
 * sees the frame as the pool's or as somebody's. */

#include "mm/page.h"

#include "boot/memory_map.h"
#include "lib/bits.h"
#include "mm/early.h"
#include "mm/pmm_manager.h"

const char *page_type_name(unsigned type)
{
    static const char *const names[PAGE_TYPES] = {
        "absent", "reserved", "free", "allocated", "table", "vm", "vm-records", "dma", "pool",
    };
    return type < PAGE_TYPES ? names[type] : "unknown";
}

#ifndef BARE

struct page *pages;
uint64_t page_count;

/* Those that are never handed over stay what they are made here. */
void pages_init(uint64_t frames)
{
    pages = early_alloc(frames * sizeof(*pages), RESERVED_PAGE_RECORDS);
    page_count = frames;
    for (uint64_t i = 0; i < boot_map_count; i++)
        for (uint64_t frame = map_first_frame(&boot_map[i]); frame < map_end_frame(&boot_map[i]) && frame < frames; frame++)
            pages[frame].type = is_ram_type(boot_map[i].type) ? PAGE_RESERVED : PAGE_ABSENT;
}

static void set(uint64_t first, uint64_t count, struct page page)
{
    for (uint64_t frame = first; frame < first + count; frame++)
        pages[frame] = page;
}

void pages_freed(uint64_t first, uint64_t count) { set(first, count, (struct page) { .type = PAGE_FREE }); }

void pages_allocated(uint64_t first, uint64_t count)
{
    set(first, count, (struct page) { .type = PAGE_ALLOCATED, .references = 1 });
}

void page_own(uint64_t frame, enum page_type type, uint64_t owner)
{
    lock(&pmm_manager->common->lock);
    pages[frame].type = (uint8_t)type;
    pages[frame].owner = owner;
    unlock(&pmm_manager->common->lock);
}

struct page page_of(uint64_t frame)
{
    if (frame >= page_count)
        return (struct page) { 0 };
    lock(&pmm_manager->common->lock);
    struct page page = pages[frame];
    unlock(&pmm_manager->common->lock);
    return page;
}

void page_leave_pool(uint64_t frame) { pages[frame].type = PAGE_ALLOCATED; }

void pages_set_order(uint64_t first, unsigned order)
{
    for (uint64_t frame = first; frame < first + ((uint64_t)1 << order); frame++)
        pages[frame].order = (uint8_t)order;
}

/* True if its neighbours in its block have the same order; of all frames of a block: if the block is whole. */
static bool is_in_whole_block(uint64_t frame)
{
    uint64_t size = (uint64_t)1 << pages[frame].order;
    bool is_first = is_aligned(frame, size), is_last = is_aligned(frame + 1, size);
    return (is_first || pages[frame - 1].order == pages[frame].order) &&
           (is_last || (frame + 1 < page_count && pages[frame + 1].order == pages[frame].order));
}

const char *pages_check(const uint64_t *free, uint64_t frames)
{
    for (uint64_t frame = 0; frame < frames; frame++) {
        const struct page *page = &pages[frame];
        if ((page->type == PAGE_FREE) != bits_get(free, frame))
            return "a frame's record says free <=> the manager holds it as free";
        if (page->references != (page->type >= PAGE_ALLOCATED))
            return "a frame has a reference <=> somebody holds it";
        if (page->order && (page->type < PAGE_ALLOCATED || !is_in_whole_block(frame)))
            return "the frames of a block are held together";
    }
    return 0;
}

#endif
