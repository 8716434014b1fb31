/* Knows an eighth way to keep account of frames: buddies, with a free list for each order.
 *
 * Theory
 *  1. A block of order k is 2^k frames, aligned to its size. Its buddy is the block it would make one of order k + 1 with:
 *     their numbers differ in bit k. (K. C. Knowlton, "A fast storage allocator", CACM 8(10), 1965; D. E. Knuth, The Art of
 *     Computer Programming, volume 1, 2.5, algorithms R and S.)
 *  2. A request takes the smallest block that is large enough, and halves it as often as it can; the halves that are left go
 *     on the lists. A block that comes back merges with its buddy if that is free, and the larger block with its own, as far
 *     as the highest order.
 *  3. Whether a buddy is free is answered by one bit for each pair and order: it is flipped whenever one of the two goes on
 *     its list or comes off. When flipping makes it 0, both were there. Two halves of a used block also read 0, which is why
 *     it must be asked at that moment and no other.
 *  4. Links lie in the free blocks. A block's first frame bears its mark (free_mark.h) and its order.
 *
 * Invariants
 *     a block on list k has order k, is aligned to 2^k, bears its mark, and next.prev == block
 *     order[k].count == length of list k; sum of count * 2^k == frames - used
 *     pair bit i of order k == (block 2 i is on list k) xor (block 2 i + 1 is)
 *     so no two buddies are free side by side, but at the highest order
 *
 * Lock: pmm_buddy.lock, taken by mm/pmm.c. */

#include "mm/pmm_buddy.h"

#include "boot/memory_map.h"
#include "lib/bits.h"
#include "lib/print.h"
#include "mm/early.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"

enum { HIGHEST = BUDDY_ORDERS - 1 };

struct pmm_buddy pmm_buddy;

static uint64_t size_of(unsigned order) { return (uint64_t)1 << order; }
static uint64_t pair_of(uint64_t first, unsigned order) { return first >> (order + 1); }

/* --- init ------------------------------------------------------------------------------------------------------------ */

static uint64_t pair_words(void)
{
    uint64_t words = 0;
    for (unsigned order = 0; order < HIGHEST; order++)
        words += bits_words(pmm_buddy.order[order].pair_count);
    return words;
}

static void init(uint64_t frames)
{
    for (unsigned order = 0; order < BUDDY_ORDERS; order++)
        pmm_buddy.order[order] = (struct pmm_buddy_order) {
            .pair_count = order < HIGHEST ? pair_of(frames - 1, order) + 1 : 0,
        };
    uint64_t *pairs = early_alloc(pair_words() * sizeof(*pairs), RESERVED_PMM_METADATA);
    for (unsigned order = 0; order < HIGHEST; order++) {
        pmm_buddy.order[order].pairs = pairs;
        pairs += bits_words(pmm_buddy.order[order].pair_count);
    }
}

/* --- one block ------------------------------------------------------------------------------------------------------- */

/* Says that the block went on its list or came off. True if its buddy is there. */
static bool flip_pair(uint64_t first, unsigned order, bool is_on_list)
{
    if (order == HIGHEST)
        return false;
    uint64_t *pairs = pmm_buddy.order[order].pairs;
    bits_flip(pairs, pair_of(first, order));
    return bits_get(pairs, pair_of(first, order)) != is_on_list;
}

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

static void unlink(struct free_block *block, unsigned order)
{
    struct pmm_buddy_order *list = &pmm_buddy.order[order];
    *(block->prev ? &block->prev->next : &list->first) = block->next;
    if (block->next)
        block->next->prev = block->prev;
    block->mark = 0;
    list->count--;
}

/* A block becomes free; with its buddy it becomes a larger one. */
static void give_block(uint64_t first, unsigned order)
{
    while (flip_pair(first, order, true)) {
        unlink(frame_view(first ^ size_of(order)), order);
        first &= ~size_of(order);
        order++;
    }
    link(first, order);
}

static void take_block(uint64_t first, unsigned order)
{
    unlink(frame_view(first), order);
    flip_pair(first, order, false);
}

/* The block was taken whole: what lies outside of [first, end) goes back, in the largest pieces. */
static void trim_block(uint64_t start, unsigned order, uint64_t first, uint64_t end)
{
    if (start >= first && start + size_of(order) <= end)
        return;
    if (start >= end || start + size_of(order) <= first) {
        give_block(start, order);
        return;
    }
    trim_block(start, order - 1, first, end);
    trim_block(start + size_of(order - 1), order - 1, first, end);
}

/* --- finding --------------------------------------------------------------------------------------------------------- */

static bool is_on_list(const struct free_block *block, unsigned order)
{
    const struct free_block *at = pmm_buddy.order[order].first;
    while (at && at != block)
        at = at->next;
    return at;
}

/* True if the block that would start at `first` is free as one of this order. Its pair bit, its mark and its list must all
 * say so: the cheapest question first. There may be no RAM at `first`. */
static bool is_free_block(uint64_t first, unsigned order)
{
    if (order < HIGHEST && !bits_get(pmm_buddy.order[order].pairs, pair_of(first, order)))
        return false;
    if (!are_allocatable(first, 1))
        return false;
    const struct free_block *block = frame_view(first);
    return block->mark == free_mark(first) && block->order == order && is_on_list(block, order);
}

/* The order of the free block that `frame` lies in; BUDDY_ORDERS when it is not free. */
static unsigned order_of_block_with(uint64_t frame)
{
    unsigned order = 0;
    while (order < BUDDY_ORDERS && !is_free_block(align_down(frame, size_of(order)), order))
        order++;
    return order;
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

static unsigned largest_order_at(uint64_t first, uint64_t count)
{
    unsigned order = 0;
    while (order < HIGHEST && is_aligned(first, size_of(order + 1)) && size_of(order + 1) <= count)
        order++;
    return order;
}

static void give(uint64_t first, uint64_t count)
{
    for (uint64_t end = first + count; first < end;) {
        unsigned order = largest_order_at(first, end - first);
        give_block(first, order);
        first += size_of(order);
    }
}

static void take(uint64_t first, uint64_t count)
{
    for (uint64_t at = first; at < first + count;) {
        unsigned order = order_of_block_with(at);
        uint64_t start = align_down(at, size_of(order));
        take_block(start, order);
        trim_block(start, order, first, first + count);
        at = start + size_of(order);
    }
}

static uint64_t alloc(void)
{
    unsigned order = 0;
    while (order < BUDDY_ORDERS && !pmm_buddy.order[order].first)
        order++;
    if (order == BUDDY_ORDERS)
        return NO_FRAME;
    uint64_t first = view_frame(pmm_buddy.order[order].first);
    take_block(first, order);
    trim_block(first, order, first, first + 1);
    return first;
}

/* The start of a block that is large enough and aligned enough, and crosses no boundary because blocks never do. A run that
 * lies across two blocks is not seen. */
static uint64_t find(const struct pmm_wish *wish)
{
    unsigned order = 0;
    while (order < BUDDY_ORDERS && (size_of(order) < wish->count || size_of(order) < wish->align))
        order++;
    uint64_t limit = wish_end(wish, pmm_buddy.frames);
    for (; order < BUDDY_ORDERS; order++)
        for (const struct free_block *block = pmm_buddy.order[order].first; block; block = block->next)
            if (view_frame(block) + wish->count <= limit)
                return view_frame(block);
    return NO_FRAME;
}

static bool is_free(uint64_t frame) { return order_of_block_with(frame) < BUDDY_ORDERS; }

static bool each_free(pmm_visit *visit, void *context)
{
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        uint64_t left = pmm_buddy.order[order].count;
        for (const struct free_block *block = pmm_buddy.order[order].first; block; block = block->next)
            if (left-- == 0 || !is_frame_view(block) || !visit(context, view_frame(block), size_of(order)))
                return false;
    }
    return true;
}

static struct pmm_metadata metadata(void)
{
    return (struct pmm_metadata) { memory_of_view(pmm_buddy.order[0].pairs), pair_words() * sizeof(uint64_t) };
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check_block(const struct free_block *block, const struct free_block *prev, unsigned order)
{
    if (!is_frame_view(block) || view_frame(block) >= pmm_buddy.frames)
        return "links lead to frames";
    if (block->prev != prev)
        return "next.prev == block";
    if (block->mark != free_mark(view_frame(block)) || block->order != order)
        return "a block bears its mark and the order of its list";
    if (!is_aligned(view_frame(block), size_of(order)))
        return "a block is aligned to its size";
    return NULL;
}

static const char *check_list(unsigned order)
{
    uint64_t left = pmm_buddy.order[order].count;
    const struct free_block *prev = NULL;
    for (const struct free_block *block = pmm_buddy.order[order].first; block; prev = block, block = block->next) {
        if (left-- == 0)
            return "count == length of the list";
        const char *broken = check_block(block, prev, order);
        if (broken)
            return broken;
    }
    return left ? "count == length of the list" : NULL;
}

/* Flips the pair bit of every block on the list: what is left must be all zeros. Flips them back. */
static const char *check_pairs(unsigned order)
{
    const struct pmm_buddy_order *list = &pmm_buddy.order[order];
    uint64_t end = bits_words(list->pair_count) * WORD_BITS;
    for (const struct free_block *block = list->first; block; block = block->next)
        bits_flip(list->pairs, pair_of(view_frame(block), order));
    bool all_zero = bits_find(list->pairs, true, 0, end) == end;
    for (const struct free_block *block = list->first; block; block = block->next)
        bits_flip(list->pairs, pair_of(view_frame(block), order));
    if (!all_zero)
        return "a pair bit == exactly one of the two is free";
    for (const struct free_block *block = list->first; block; block = block->next)
        if (!bits_get(list->pairs, pair_of(view_frame(block), order)))
            return "no two free buddies";
    return NULL;
}

static const char *check(void)
{
    uint64_t free = 0;
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        const char *broken = check_list(order);
        if (!broken && order < HIGHEST)
            broken = check_pairs(order);
        if (broken)
            return broken;
        free += pmm_buddy.order[order].count << order;
    }
    return free == pmm_buddy.frames - pmm_buddy.used ? NULL : "sum of count * 2^order == frames - used";
}

static void report(void)
{
    for (unsigned order = 0; order < BUDDY_ORDERS; order++)
        print("report order number=%u blocks=%lu first=%p\n", order, pmm_buddy.order[order].count,
              (void *)pmm_buddy.order[order].first);
}

const struct pmm_operations pmm_buddy_operations = {
    .name = "buddy", .common = (struct pmm_common *)&pmm_buddy,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .report = report, .metadata = metadata,
};
