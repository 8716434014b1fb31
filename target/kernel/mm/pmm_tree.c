/* Knows a fourth way to keep account of frames: buddies, as a tree of bytes.
 *
 * Theory
 *  1. Memory is halved again and again, down to single frames. Each piece, a block of 2^h frames, is a node of a complete
 *     binary tree, which needs no pointers: it is an array.
 *  2. A node's byte says how large the largest free block below it is: order + 1, or 0 for none. The root's byte answers
 *     at once whether there is room. (Knowlton's buddy system, "A fast storage allocator", CACM 8(10), 1965, with a
 *     maximum tree in place of the lists.)
 *  3. A search walks down, left when the left half has a block that is large enough. So it finds the lowest.
 *  4. Two free halves are one free block because the byte says so: nothing is merged or split but by computing the bytes
 *     above what changed.
 *  5. Frames beyond the end, in holes or reserved are never free; the tree is simply padded with them. 2 bytes per frame.
 *
 * Invariants
 *     leaf: 0 or 1
 *     node at height h: h + 1 if both halves are whole (h and h), else max(left, right)
 *     number of leaves that are 1 == frames - used
 *
 * Lock: pmm_tree.lock, taken by mm/pmm.c. */

#include "mm/pmm_tree.h"

#include "lib/print.h"
#include "mm/early.h"
#include "mm/frame_view.h"

enum { ROOT = 1 };

struct pmm_tree pmm_tree;

static uint64_t leaves(void) { return (uint64_t)1 << pmm_tree.height; }
static uint64_t size_at(uint64_t height) { return (uint64_t)1 << height; }

/* What the byte of a node at `height` is when its halves are what they are. */
static uint8_t byte_over(uint64_t node, uint64_t height)
{
    uint8_t left = pmm_tree.nodes[2 * node], right = pmm_tree.nodes[2 * node + 1];
    if (left == height && right == height)
        return (uint8_t)(height + 1);
    return left > right ? left : right;
}

static void init(uint64_t frames)
{
    pmm_tree.height = 0;
    while (leaves() < frames)
        pmm_tree.height++;
    pmm_tree.nodes = early_alloc(2 * leaves(), RESERVED_PMM_METADATA);
}

/* --- changing -------------------------------------------------------------------------------------------------------- */

struct range { uint64_t first, end; bool free; };

/* Below `node`, whose block starts at frame `start`: makes the part that lies in the range free or used. */
static void set_below(uint64_t node, uint64_t start, uint64_t height, const struct range *range)
{
    if (range->end <= start || range->first >= start + size_at(height))
        return;
    if (height == 0) {
        pmm_tree.nodes[node] = range->free;
        return;
    }
    set_below(2 * node, start, height - 1, range);
    set_below(2 * node + 1, start + size_at(height - 1), height - 1, range);
    pmm_tree.nodes[node] = byte_over(node, height);
}

static void give(uint64_t first, uint64_t count)
{
    set_below(ROOT, 0, pmm_tree.height, &(struct range) { first, first + count, true });
}

static void take(uint64_t first, uint64_t count)
{
    set_below(ROOT, 0, pmm_tree.height, &(struct range) { first, first + count, false });
}

/* --- searching ------------------------------------------------------------------------------------------------------- */

/* The lowest free block of that order, without taking it, or NO_FRAME. */
static uint64_t lowest_block(uint64_t order)
{
    uint64_t node = ROOT, height = pmm_tree.height;
    if (pmm_tree.nodes[ROOT] <= order)
        return NO_FRAME;
    for (; height > order; height--)
        node = 2 * node + (pmm_tree.nodes[2 * node] <= order);
    return (node << height) - leaves();
}

static uint64_t alloc(void)
{
    uint64_t frame = lowest_block(0);
    if (frame != NO_FRAME)
        take(frame, 1);
    return frame;
}

/* A block that is large enough and aligned enough, and crosses no boundary because blocks never do. A run that lies across
 * two blocks is not seen. */
static uint64_t find(const struct pmm_wish *wish)
{
    uint64_t order = 0;
    while (order <= pmm_tree.height && (size_at(order) < wish->count || size_at(order) < wish->align))
        order++;
    uint64_t first = order <= pmm_tree.height ? lowest_block(order) : NO_FRAME;
    return first != NO_FRAME && first + wish->count <= wish_end(wish, pmm_tree.frames) ? first : NO_FRAME;
}

static bool is_free(uint64_t frame) { return pmm_tree.nodes[leaves() + frame] != 0; }

/* From the bytes above the leaves, whole blocks at a time. */
static bool each_below(uint64_t node, uint64_t start, uint64_t height, pmm_visit *visit, void *context)
{
    uint8_t byte = pmm_tree.nodes[node];
    if (byte == 0)
        return true;
    if (byte == height + 1)
        return visit(context, start, size_at(height));
    return height > 0 && each_below(2 * node, start, height - 1, visit, context)
        && each_below(2 * node + 1, start + size_at(height - 1), height - 1, visit, context);
}

static bool each_free(pmm_visit *visit, void *context) { return each_below(ROOT, 0, pmm_tree.height, visit, context); }

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check(void)
{
    uint64_t free = 0;
    for (uint64_t frame = 0; frame < leaves(); frame++) {
        uint8_t byte = pmm_tree.nodes[leaves() + frame];
        if (byte > 1)
            return "a leaf is 0 or 1";
        free += byte;
    }
    for (uint64_t height = 1; height <= pmm_tree.height; height++)
        for (uint64_t node = leaves() >> height; node < leaves() >> (height - 1); node++)
            if (pmm_tree.nodes[node] != byte_over(node, height))
                return "a node's byte follows from its halves";
    if (free != pmm_tree.frames - pmm_tree.used)
        return "free leaves == frames - used";
    return NULL;
}

struct order_counts { uint64_t blocks[64]; };

static bool count_block(void *context, uint64_t first, uint64_t count)
{
    (void)first;
    ((struct order_counts *)context)->blocks[__builtin_ctzll(count)]++;
    return true;
}

static void report(void)
{
    struct order_counts counts = { { 0 } };
    each_free(count_block, &counts);
    for (uint64_t order = 0; order <= pmm_tree.height; order++)
        print("report order number=%lu blocks=%lu\n", order, counts.blocks[order]);
}

static struct pmm_metadata metadata(void) { return (struct pmm_metadata) { memory_of_view(pmm_tree.nodes), 2 * leaves() }; }

const struct pmm_operations pmm_tree_operations = {
    .name = "tree", .common = (struct pmm_common *)&pmm_tree, .lowest_first = true,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .report = report, .metadata = metadata,
};
