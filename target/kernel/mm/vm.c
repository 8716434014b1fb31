/* Knows the virtual addresses of an address space: [regions.start, regions.end) of it.
 *
 * Theory
 *  1. Regions are a list sorted by address. A new one goes into the first gap that is large enough, with GUARD bytes
 *     between it and each neighbour that are never given to anybody.
 *  2. Reserving costs a record and nothing else, so a region can be as large as its user may ever need.
 *  3. The page tables say which pages are committed; `committed` only counts them.
 *  4. Records come from frames that this file takes itself and reaches through the direct map. They cannot come from the
 *     heap: the heap lies in one of these regions.
 *
 * Invariants
 *     start + GUARD <= base, base + size + GUARD <= end; both whole pages; size > 0
 *     region.base + region.size + GUARD <= region.next.base
 *     region.next.prev == region; first.prev == last.next == NULL; count == length of the list
 *     region.committed == its pages that are mapped; the guards on both sides are not mapped
 *     every committed page has a used frame
 *
 * Lock: that of the address space, after the heap's, before pmm's. It is held for the pages too. */

#include "mm/vm.h"

#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/page.h"
#include "mm/paging.h"
#include "mm/pmm.h"

enum { GUARD = PAGE_SIZE };

static uint64_t end_of(const struct vm_region *region) { return region->base + region->size; }

/* --- records --------------------------------------------------------------------------------------------------------- */

static void spare_record(struct vm_regions *regions, struct vm_region *record)
{
    record->next = regions->spare;
    regions->spare = record;
}

static bool grow_records(struct vm_regions *regions)
{
    uint64_t frame = pmm_alloc();
    if (frame == NO_FRAME)
        return false;
    page_own(frame, PAGE_VM_RECORDS, 0);
    struct vm_region *records = phys_to_virt(frame << PAGE_SHIFT);
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*records); i++)
        spare_record(regions, &records[i]);
    regions->record_frames++;
    return true;
}

static struct vm_region *new_record(struct vm_regions *regions)
{
    if (!regions->spare && !grow_records(regions))
        return NULL;
    struct vm_region *record = regions->spare;
    regions->spare = record->next;
    return record;
}

/* --- the list -------------------------------------------------------------------------------------------------------- */

/* Links `region` in behind `before`; NULL means first. */
static void insert_after(struct vm_regions *regions, struct vm_region *before, struct vm_region *region)
{
    region->prev = before;
    region->next = before ? before->next : regions->first;
    *(region->next ? &region->next->prev : &regions->last) = region;
    *(before ? &before->next : &regions->first) = region;
    regions->count++;
}

static void unlink_region(struct vm_regions *regions, struct vm_region *region)
{
    *(region->next ? &region->next->prev : &regions->last) = region->prev;
    *(region->prev ? &region->prev->next : &regions->first) = region->next;
    regions->count--;
}

static uint64_t room_after(const struct vm_regions *regions, const struct vm_region *before)
{
    return (before ? end_of(before) : regions->start) + GUARD;
}

static bool fits_after(const struct vm_regions *regions, const struct vm_region *before, uint64_t size)
{
    const struct vm_region *after = before ? before->next : regions->first;
    uint64_t limit = (after ? after->base : regions->end) - GUARD;
    uint64_t base = room_after(regions, before);
    return base <= limit && size <= limit - base;
}

/* True if there is a gap; `*before` is then the region in front of the first one that is large enough. */
static bool find_gap(const struct vm_regions *regions, uint64_t size, struct vm_region **before)
{
    *before = NULL;
    while (!fits_after(regions, *before, size)) {
        *before = *before ? (*before)->next : regions->first;
        if (!*before)
            return false;
    }
    return true;
}

/* The region that holds all of [base, base + size), or NULL. */
static struct vm_region *find_region(const struct vm_regions *regions, uint64_t base, uint64_t size)
{
    for (struct vm_region *region = regions->first; region; region = region->next)
        if (base >= region->base && base < end_of(region))
            return size <= end_of(region) - base ? region : NULL;
    return NULL;
}

/* --- pages ----------------------------------------------------------------------------------------------------------- */

static bool commit_page(struct address_space *space, uint64_t page, unsigned rights)
{
    uint64_t frame = pmm_alloc();
    if (frame == NO_FRAME)
        return false;
    page_own(frame, PAGE_VM, page);
    if (page_map_locked(space, page, frame << PAGE_SHIFT, rights))
        return true;
    pmm_free(frame);
    return false;
}

static void decommit_page(struct address_space *space, uint64_t page) { pmm_free(page_unmap_locked(space, page) >> PAGE_SHIFT); }

static void decommit_pages(struct address_space *space, struct vm_region *region, uint64_t base, uint64_t size)
{
    for (uint64_t offset = 0; offset < size; offset += PAGE_SIZE)
        decommit_page(space, base + offset);
    region->committed -= size >> PAGE_SHIFT;
}

static bool commit_pages(struct address_space *space, struct vm_region *region, uint64_t base, uint64_t size, unsigned rights)
{
    for (uint64_t done = 0; done < size; done += PAGE_SIZE, region->committed++)
        if (!commit_page(space, base + done, rights)) {
            decommit_pages(space, region, base, done);
            return false;
        }
    return true;
}

/* Pages of [base, base + size) that are mapped. */
static uint64_t count_mapped(const struct address_space *space, uint64_t base, uint64_t size)
{
    uint64_t mapped = 0;
    for (uint64_t page = base; page < base + size; page += PAGE_SIZE)
        mapped += page_translate_locked(space, page).mapped;
    return mapped;
}

static const char *why_not_a_range(const struct vm_region *region, uint64_t base, uint64_t size)
{
    if (!is_aligned(base | size, PAGE_SIZE) || size == 0)
        return "it is not whole pages";
    if (!region)
        return "it does not lie inside one region";
    return NULL;
}

/* --- the interface --------------------------------------------------------------------------------------------------- */

void vm_init(struct address_space *space)
{
    if (!grow_records(&space->regions))
        panic("vm: no frame left for region records");
    print("vm: ranges from 0x%lx to 0x%lx\n", space->regions.start, space->regions.end);
}

uint64_t vm_reserve(struct address_space *space, uint64_t size, enum vm_kind kind, const char *name)
{
    struct vm_regions *regions = &space->regions;
    struct vm_region *before, *region = NULL;
    uint64_t bytes;
    if (size == 0 || !pages_to_bytes(bytes_to_pages(size), &bytes))
        return 0;
    lock(&space->lock);
    if (find_gap(regions, bytes, &before) && (region = new_record(regions))) {
        *region = (struct vm_region) { .base = room_after(regions, before), .size = bytes, .kind = kind, .name = name };
        insert_after(regions, before, region);
    }
    unlock(&space->lock);
    return region ? region->base : 0;
}

bool vm_commit(struct address_space *space, uint64_t base, uint64_t size, unsigned rights)
{
    lock(&space->lock);
    struct vm_region *region = find_region(&space->regions, base, size);
    const char *refusal = why_not_a_range(region, base, size);
    if (!refusal && count_mapped(space, base, size) > 0)
        refusal = "part of it is committed already";
    bool committed = !refusal && commit_pages(space, region, base, size, rights);
    unlock(&space->lock);
    if (refusal)
        panic("vm: commit of 0x%lx, 0x%lx bytes, refused: %s", base, size, refusal);
    return committed;
}

/* Pages that were mapped before one could not be are unmapped again, not freed. */
static bool map_frames(struct address_space *space, struct vm_region *region, uint64_t base, uint64_t first, uint64_t count,
                       unsigned rights)
{
    for (uint64_t done = 0; done < count; done++, region->committed++)
        if (!page_map_locked(space, base + (done << PAGE_SHIFT), (first + done) << PAGE_SHIFT, rights)) {
            for (; done > 0; done--, region->committed--)
                page_unmap_locked(space, base + ((done - 1) << PAGE_SHIFT));
            return false;
        }
    return true;
}

bool vm_commit_frames(struct address_space *space, uint64_t base, uint64_t first, uint64_t count, unsigned rights)
{
    uint64_t size;
    bool sensible = pages_to_bytes(count, &size);
    lock(&space->lock);
    struct vm_region *region = sensible ? find_region(&space->regions, base, size) : NULL;
    const char *refusal = why_not_a_range(region, base, size);
    if (!refusal && count_mapped(space, base, size) > 0)
        refusal = "part of it is committed already";
    bool committed = !refusal && map_frames(space, region, base, first, count, rights);
    unlock(&space->lock);
    if (refusal)
        panic("vm: commit of 0x%lx, %lu pages, refused: %s", base, count, refusal);
    return committed;
}

void vm_decommit(struct address_space *space, uint64_t base, uint64_t size)
{
    lock(&space->lock);
    struct vm_region *region = find_region(&space->regions, base, size);
    const char *refusal = why_not_a_range(region, base, size);
    if (!refusal && count_mapped(space, base, size) != size >> PAGE_SHIFT)
        refusal = "part of it is not committed";
    if (!refusal)
        decommit_pages(space, region, base, size);
    unlock(&space->lock);
    if (refusal)
        panic("vm: decommit of 0x%lx, 0x%lx bytes, refused: %s", base, size, refusal);
}

void vm_release(struct address_space *space, uint64_t base)
{
    lock(&space->lock);
    struct vm_region *region = find_region(&space->regions, base, PAGE_SIZE);
    bool found = region && region->base == base;
    if (found) {
        for (uint64_t page = base; page < end_of(region); page += PAGE_SIZE)
            if (page_translate_locked(space, page).mapped)
                decommit_pages(space, region, page, PAGE_SIZE);
        unlink_region(&space->regions, region);
        spare_record(&space->regions, region);
    }
    unlock(&space->lock);
    if (!found)
        panic("vm: release of 0x%lx refused: no region starts there", base);
}

/* --- moving ---------------------------------------------------------------------------------------------------------- */

static bool is_movable(const struct vm_region *region) { return region->kind == VM_DATA || region->kind == VM_HEAP; }

void vm_each_movable(struct address_space *space, void (*visit)(void *context, uint64_t page, uint64_t frame), void *context)
{
    lock(&space->lock);
    for (const struct vm_region *region = space->regions.first; region; region = region->next) {
        uint64_t left = is_movable(region) ? region->committed : 0;
        for (uint64_t page = region->base; left && page < end_of(region); page += PAGE_SIZE) {
            struct translation found = page_translate_locked(space, page);
            if (!found.mapped)
                continue;
            visit(context, page, found.physical >> PAGE_SHIFT);
            left--;
        }
    }
    unlock(&space->lock);
}

#ifndef BARE

/* Its record says so; the region says whether it may move. */
uint64_t vm_page_with_frame(struct address_space *space, uint64_t frame)
{
    lock(&space->lock);
    struct page page = page_of(frame);
    const struct vm_region *region = page.type == PAGE_VM ? find_region(&space->regions, page.owner, PAGE_SIZE) : NULL;
    bool movable = region && is_movable(region);
    unlock(&space->lock);
    return movable ? page.owner : 0;
}

#else

struct search { uint64_t frame, page; };

static void compare(void *context, uint64_t page, uint64_t frame)
{
    struct search *search = context;
    if (frame == search->frame)
        search->page = page;
}

uint64_t vm_page_with_frame(struct address_space *space, uint64_t frame)
{
    struct search search = { .frame = frame };
    vm_each_movable(space, compare, &search);
    return search.page;
}

#endif

/* Nobody writes to the page in between: one processor, interrupts off. */
bool vm_move_page(struct address_space *space, uint64_t page, uint64_t from, uint64_t to)
{
    lock(&space->lock);
    struct translation found = page_translate_locked(space, page);
    bool shown = found.mapped && found.physical >> PAGE_SHIFT == from;
    if (shown) {
        memcpy(phys_to_virt(to << PAGE_SHIFT), phys_to_virt(from << PAGE_SHIFT), PAGE_SIZE);
        page_remap_locked(space, page, to << PAGE_SHIFT);
        page_own(to, PAGE_VM, page);
        page_own(from, PAGE_ALLOCATED, 0);
    }
    unlock(&space->lock);
    return shown;
}

/* --- for others ------------------------------------------------------------------------------------------------------ */

uint64_t vm_stack(struct address_space *space, uint64_t size, const char *name)
{
    uint64_t base = vm_reserve(space, size, VM_STACK, name);
    if (!base || !vm_commit(space, base, align_up(size, PAGE_SIZE), RIGHTS_RW))
        panic("vm: no memory for the stack %s", name);
    return base + align_up(size, PAGE_SIZE);
}

const char *vm_kind_name(uint32_t kind)
{
    static const char *const names[] = { "data", "heap", "stack", "dma" };
    return kind < sizeof(names) / sizeof(*names) ? names[kind] : "unknown";
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static bool has_used_frames(const struct address_space *space, const struct vm_region *region)
{
    for (uint64_t page = region->base; page < end_of(region); page += PAGE_SIZE) {
        struct translation found = page_translate_locked(space, page);
        if (found.mapped && !pmm_is_used(found.physical >> PAGE_SHIFT))
            return false;
    }
    return true;
}

static const char *check_region(const struct address_space *space, const struct vm_region *region, const struct vm_region *prev)
{
    uint64_t end = space->regions.end;
    if (region->prev != prev)
        return "region.next.prev == region";
    if (!is_aligned(region->base | region->size, PAGE_SIZE) || region->size == 0)
        return "regions are whole pages";
    if (region->base < room_after(&space->regions, prev))
        return "regions are sorted, with a guard between neighbours";
    if (region->base > end - GUARD || region->size > end - GUARD - region->base)
        return "regions end before the end of their range";
    if (page_translate_locked(space, region->base - GUARD).mapped || page_translate_locked(space, end_of(region)).mapped)
        return "guards are not mapped";
    if (count_mapped(space, region->base, region->size) != region->committed)
        return "committed == pages that are mapped";
    if (!has_used_frames(space, region))
        return "every committed page has a used frame";
    return NULL;
}

static const char *check_locked(const struct address_space *space)
{
    const struct vm_regions *regions = &space->regions;
    const struct vm_region *prev = NULL;
    uint64_t count = 0;
    for (const struct vm_region *region = regions->first; region; prev = region, region = region->next) {
        const char *broken = check_region(space, region, prev);
        if (broken)
            return broken;
        if (++count > regions->count)
            break;              /* a list that loops */
    }
    if (count != regions->count)
        return "count == length of the list";
    if (regions->last != prev)
        return "last is the end of the list";
    return NULL;
}

const char *vm_check(struct address_space *space)
{
    lock(&space->lock);
    const char *broken = check_locked(space);
    unlock(&space->lock);
    return broken;
}
