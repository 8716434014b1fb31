/* Knows how drivers get memory that suits their device.
 *
 * Theory
 *  1. A device may want its buffer contiguous, below a limit (24 address bits of the ISA bus, 32 of old PCI cards), aligned,
 *     and not across a boundary (64 KiB: the ISA DMA controller, and the rings of xHCI controllers, xHCI specification 6).
 *     All of that is a pmm_wish.
 *  2. Every buffer has a record that says what was asked for, so that somebody else can see whether it was met.
 *  3. When no run is free, one is made (mm/evict.c).
 *  4. The frames of a buffer stay where they are as long as the buffer lives.
 *
 * Invariants, for every buffer
 *     physical is a multiple of align; physical + size <= limit; physical and physical + size - 1 agree above boundary
 *     its frames are used; the page at address + n shows physical + n
 *     count == length of the list
 *
 * Lock: dma.lock, first of all. Nothing is taken while it is held but by dma_check. */

#include "mm/dma.h"

#include "heap/cache.h"
#include "layout.h"
#include "lib/panic.h"
#include "mm/evict.h"
#include "mm/page.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/vm.h"

struct dma dma = { .lock.name = "dma" };

void dma_init(void)
{
    dma.records = cache_create(&object_heap, "dma-buffers", sizeof(struct dma_buffer), sizeof(uint64_t), NULL);
    if (!dma.records)
        panic("dma: no memory for the cache of records");
}

static bool is_power(uint64_t value) { return value && !(value & (value - 1)); }

static void insist_on_sense(uint64_t size, uint64_t align, uint64_t boundary)
{
    if (size == 0 || !is_power(align))
        panic("dma: %lu bytes aligned to %lu cannot be", size, align);
    if (boundary && (!is_power(boundary) || boundary < size || boundary < PAGE_SIZE))
        panic("dma: %lu bytes inside a boundary of %lu cannot be", size, boundary);
}

static struct pmm_wish wish_of(const struct dma_buffer *buffer)
{
    return (struct pmm_wish) {
        .count = bytes_to_pages(buffer->size), .align = buffer->align > PAGE_SIZE ? buffer->align >> PAGE_SHIFT : 1,
        .below = buffer->limit >> PAGE_SHIFT, .boundary = buffer->boundary >> PAGE_SHIFT,
    };
}

static uint64_t find_frames(const struct pmm_wish *wish)
{
    uint64_t first = pmm_alloc_where(wish), moved = 0;
    if (first == NO_FRAME) {
        first = evict_run(wish, &moved);
        lock(&dma.lock);
        dma.moved += moved;
        unlock(&dma.lock);
    }
    return first;
}

/* Frames and addresses for a buffer whose wishes are filled in. */
static bool equip(struct dma_buffer *buffer)
{
    struct pmm_wish wish = wish_of(buffer);
    uint64_t first = find_frames(&wish);
    if (first == NO_FRAME)
        return false;
    buffer->physical = first << PAGE_SHIFT;
    buffer->address = vm_reserve(&kernel_space, buffer->size, VM_DMA, buffer->name);
    if (buffer->address && vm_commit_frames(&kernel_space, buffer->address, first, wish.count, RIGHTS_RW)) {
        for (uint64_t i = 0; i < wish.count; i++)
            page_own(first + i, PAGE_DMA, (uint64_t)buffer);
        return true;
    }
    if (buffer->address)
        vm_release(&kernel_space, buffer->address);
    pmm_free_run(first, wish.count);
    return false;
}

struct dma_buffer *dma_alloc(uint64_t size, uint64_t align, uint64_t limit, uint64_t boundary, const char *name)
{
    insist_on_sense(size, align, boundary);
    struct dma_buffer *buffer = cache_alloc(dma.records);
    if (!buffer)
        return NULL;
    *buffer = (struct dma_buffer) { .size = size, .align = align, .limit = limit, .boundary = boundary, .name = name };
    if ((limit && limit < PAGE_SIZE) || !equip(buffer)) {
        cache_free(dma.records, buffer);
        return NULL;
    }
    lock(&dma.lock);
    buffer->next = dma.first;
    dma.first = buffer;
    dma.count++;
    unlock(&dma.lock);
    return buffer;
}

void dma_free(struct dma_buffer *buffer)
{
    lock(&dma.lock);
    struct dma_buffer **link = &dma.first;
    while (*link && *link != buffer)
        link = &(*link)->next;
    bool found = *link;
    if (found) {
        *link = buffer->next;
        dma.count--;
    }
    unlock(&dma.lock);
    if (!found)
        panic("dma: free of %p refused: no buffer has its record there", (void *)buffer);
    vm_release(&kernel_space, buffer->address);        /* the frames go back with their pages */
    cache_free(dma.records, buffer);
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static const char *check_buffer(const struct dma_buffer *buffer)
{
    if (buffer->physical % buffer->align)
        return "physical is a multiple of align";
    if (buffer->limit && buffer->physical + buffer->size > buffer->limit)
        return "the buffer lies below its limit";
    if (buffer->boundary && buffer->physical / buffer->boundary != (buffer->physical + buffer->size - 1) / buffer->boundary)
        return "the buffer crosses no boundary";
    for (uint64_t offset = 0; offset < buffer->size; offset += PAGE_SIZE) {
        if (!pmm_is_used((buffer->physical + offset) >> PAGE_SHIFT))
            return "the buffer's frames are used";
        struct translation found = page_translate(&kernel_space, buffer->address + offset);
        if (!found.mapped || found.physical != buffer->physical + offset)
            return "the buffer's pages show its frames, one after the other";
    }
    return NULL;
}

static const char *check_locked(void)
{
    uint64_t left = dma.count;
    for (const struct dma_buffer *buffer = dma.first; buffer; buffer = buffer->next) {
        if (left-- == 0)
            return "count == length of the list";
        const char *broken = check_buffer(buffer);
        if (broken)
            return broken;
    }
    return left ? "count == length of the list" : NULL;
}

const char *dma_check(void)
{
    lock(&dma.lock);
    const char *broken = check_locked();
    unlock(&dma.lock);
    return broken;
}
