/* Knows the faults of the memory that heaps lie in. */

#include "fault/chunks.h"
#include "fault/faults.h"
#include "layout.h"
#include "mm/paging.h"
#include "scenario/scenarios.h"

enum { CHILD = 64 << 10 };

/* Whoever gave a heap of its own to a device frees the memory and forgets the heap. */
const char *fault_child_arena_freed(void)
{
    struct heap *parent = &kernel_heap.heap;
    if (heap_is(&heap_guard_operations) || heap_is(&heap_slab_operations) || heap_is(&heap_pools_operations))
        return "this heap takes the memory of large chunks away when they are freed";
    if (kernel_heap.redzone)
        return "with redzones the chunk does not begin where the heap on it does";
    if (!chained_heap.operations
        && !heap_init_chained(&chained_heap.heap, &heap_tags_operations, parent, "chained", CHILD))
        return "there is no room for a heap on this one";
    parent->poison = false;                     /* what is in it stays as it is */
    parent->operations->free(parent, (void *)chained_heap.base);
    fault_at(chained_heap.start + sizeof(uint64_t));    /* its first header */
    return NULL;
}

/* A range was unmapped that was longer than what it was meant for. */
const char *fault_heap_page_unmapped(void)
{
    struct heap_block block;
    if (!find_chunk_that_is(false, 4 * PAGE_SIZE, &block))
        return "there is no chunk for it";
    uint64_t page = align_up(block.address, PAGE_SIZE) + PAGE_SIZE;
    page_unmap(&kernel_space, page);
    fault_at(page);
    return NULL;
}
