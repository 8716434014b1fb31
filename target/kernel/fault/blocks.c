/* Knows the faults of buffers and of buddies. */

#include "fault/faults.h"
#include "lib/bits.h"
#include "mm/dma.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"
#include "mm/page.h"
#include "mm/pmm_buddy.h"
#include "mm/pmm_tree.h"
#include "mm/vm.h"

enum { KIB = 1 << 10 };

/* The boundary is checked for the first byte only, or not at all. */
const char *fault_buffer_crosses(void)
{
    struct dma_buffer *buffer = dma_alloc(128 * KIB, 64 * KIB, 0, 0, "fault");
    if (!buffer)
        return "no memory for a buffer";
    buffer->physical += 32 * KIB;
    buffer->address += 32 * KIB;
    buffer->size = 64 * KIB;
    buffer->align = 4 * KIB;
    buffer->boundary = 64 * KIB;
    fault_at_pointer(buffer);
    return NULL;
}

/* Taken page by page, in the hope that they follow each other. */
const char *fault_buffer_scattered(void)
{
    struct dma_buffer *buffer = dma_alloc(16 * KIB, 4 * KIB, 0, 0, "fault");
    uint64_t elsewhere = buffer ? pmm_alloc() : NO_FRAME;
    if (elsewhere == NO_FRAME)
        return "no memory for a buffer";
    uint64_t second = (buffer->physical >> PAGE_SHIFT) + 1;
    vm_move_page(&kernel_space, buffer->address + PAGE_SIZE, second, elsewhere);
    page_own(elsewhere, PAGE_DMA, (uint64_t)buffer);
    pmm_free(second);
    fault_at_pointer(buffer);
    return NULL;
}

/* --- buddies --------------------------------------------------------------------------------------------------------- */

static const char no_buddies[] = "this manager has no buddies";
static const char no_lists[] = "this manager has no list for each order";

static void link(uint64_t first, unsigned order)
{
    struct pmm_buddy_order *list = &pmm_buddy.order[order];
    struct free_block *block = frame_view(first);
    *block = (struct free_block) { .next = list->first, .mark = free_mark(first), .order = order };
    if (list->first)
        list->first->prev = block;
    list->first = block;
    list->count++;
}

static uint64_t unlink_first(unsigned order)
{
    struct pmm_buddy_order *list = &pmm_buddy.order[order];
    struct free_block *block = list->first;
    list->first = block->next;
    if (block->next)
        block->next->prev = NULL;
    list->count--;
    return view_frame(block);
}

/* The smallest order that has a free block; BUDDY_ORDERS - 1 when only the highest has. */
static unsigned smallest_order(void)
{
    unsigned order = 0;
    while (order < BUDDY_ORDERS - 1 && !pmm_buddy.order[order].first)
        order++;
    return order;
}

/* The buddy's number is computed from an address that does not start at 0, so it never looks free. */
const char *fault_unmerged(void)
{
    if (pmm_manager == &pmm_buddy_operations) {
        uint64_t first = pmm_alloc_contiguous(2, 2);
        if (first == NO_FRAME)
            return "no two frames are free";
        link(first + 1, 0);
        link(first, 0);                 /* two flips: the pair bit stays 0 */
        pmm_buddy.used -= 2;
        pages_freed(first, 2);
        fault_at(first << PAGE_SHIFT);
        return NULL;
    }
    if (pmm_manager == &pmm_tree_operations) {
        uint64_t node = ((uint64_t)1 << pmm_tree.height) - 1;
        while (node > 1 && pmm_tree.nodes[node] != 2)
            node--;
        if (node == 1)
            return "no two frames are free";
        pmm_tree.nodes[node] = 1;
        fault_at_pointer(&pmm_tree.nodes[node]);
        return NULL;
    }
    return no_buddies;
}

/* The order is kept in the block, and the block was put where the request's order says. */
const char *fault_wrong_order(void)
{
    if (pmm_manager != &pmm_buddy_operations)
        return no_lists;
    unsigned order = smallest_order();
    if (order >= BUDDY_ORDERS - 2)
        return "no block of a lower order is free";
    uint64_t first = unlink_first(order);
    link(first, order + 1);
    ((struct free_block *)frame_view(first))->order = order;
    fault_at(first << PAGE_SHIFT);
    return NULL;
}

/* Split, and the larger block left on its list. */
const char *fault_two_lists(void)
{
    if (pmm_manager != &pmm_buddy_operations)
        return no_lists;
    unsigned order = smallest_order();
    if (order >= BUDDY_ORDERS - 2)
        return "no block of a lower order is free";
    struct free_block *block = pmm_buddy.order[order].first;
    unsigned empty = order + 1;
    while (empty < BUDDY_ORDERS && pmm_buddy.order[empty].first)
        empty++;
    if (empty == BUDDY_ORDERS)
        return "every list has a block already";
    pmm_buddy.order[empty].first = block;
    pmm_buddy.order[empty].count = 1;
    fault_at(view_frame(block) << PAGE_SHIFT);
    return NULL;
}

/* A stray write of one bit. */
const char *fault_bit_flipped(void)
{
    if (pmm_manager == &pmm_buddy_operations) {
        bits_flip(pmm_buddy.order[0].pairs, pmm_buddy.order[0].pair_count - 1);
        fault_at_pointer(&pmm_buddy.order[0].pairs[(pmm_buddy.order[0].pair_count - 1) / WORD_BITS]);
        return NULL;
    }
    if (pmm_manager == &pmm_tree_operations) {
        pmm_tree.nodes[2] ^= 0x40;
        fault_at_pointer(&pmm_tree.nodes[2]);
        return NULL;
    }
    return no_buddies;
}

/* `free` does not know how large the block was and takes it for one frame: the rest is nobody's for ever. */
const char *fault_order_lost(void)
{
    uint64_t first = pmm_alloc_block(3);
    if (first == NO_FRAME)
        return "no block of 8 frames is free";
    pmm_free(first);
    fault_at((first + 1) << PAGE_SHIFT);
    return NULL;
}
