/* Knows a heap of buddies, as a tree of bytes.
 *
 * Theory
 *  1. A block is as large as a power of two, and lies at a multiple of its size. It is halved until a half would be too
 *     small for what is asked; the halves are buddies. A payload is a whole block: there is no header, and it is aligned to
 *     its size for nothing. (Knowlton, "A fast storage allocator", CACM 8(10), 1965; Knuth, The Art of Computer
 *     Programming 1, 2.5.)
 *  2. Every block that can be is a node of a complete binary tree, which is an array without pointers. A node's byte says how
 *     large the largest free block below it is: height + 1 of that, or 0 for none. The root's byte answers at once whether
 *     there is room. A search goes down to the left wherever there is enough: it finds the lowest.
 *  3. A used block's byte is 0, while the bytes below it stay what they are in a free one. So the tree also says how large
 *     a used block is: a 0 over two whole halves. What was handed out is found from its address, on the way up from the leaf
 *     there: over whole nodes to the first 0.
 *  4. Two free halves are one free block because the byte says so: nothing is split or merged but by computing the bytes
 *     above what changed, as far up as they change.
 *  5. The arena grows at its end, by as much as makes a block of the size that is missing. Outside [start, end) every byte
 *     counts as 0; it is not looked at, and need not be in memory.
 *
 * Words: a node is *whole* when its byte is height + 1. A *run* of free blocks lies between used ones; it consists of the
 * largest blocks that fit in.
 *
 * Invariants
 *     leaf: 0 or 1
 *     node at height h: h + 1 if both halves are whole, else max(left, right); or 0 over two whole halves: a used block
 *     used_bytes + free_bytes == end - start == committed - memory for the nodes of blocks in [start, end) */

#include "heap/heap_buddy.h"

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/print.h"
#include "lib/string.h"

enum { ROOT = 1 };

static struct heap_buddy *buddy_of(struct heap *heap) { return (struct heap_buddy *)heap; }
static struct heap *heap_of(struct heap_buddy *buddy) { return (struct heap *)buddy; }

/* --- nodes and blocks ------------------------------------------------------------------------------------------------ */

struct block { uint64_t node, height; bool free; };

static uint64_t size_at(uint64_t height) { return (uint64_t)BUDDY_SMALLEST << height; }

static uint64_t first_node_at(const struct heap_buddy *buddy, uint64_t height)
{
    return (uint64_t)1 << (buddy->height - height);
}

static uint64_t node_at(const struct heap_buddy *buddy, uintptr_t address, uint64_t height)
{
    return first_node_at(buddy, height) + (address - buddy->origin) / size_at(height);
}

static uintptr_t address_of(const struct heap_buddy *buddy, uint64_t node, uint64_t height)
{
    return buddy->origin + (node - first_node_at(buddy, height)) * size_at(height);
}

static uint8_t byte_of(const struct heap_buddy *buddy, uint64_t node, uint64_t height)
{
    uintptr_t address = address_of(buddy, node, height);
    return address < buddy->end && address + size_at(height) > buddy->start ? buddy->nodes[node] : 0;
}

static bool is_whole(const struct heap_buddy *buddy, uint64_t node, uint64_t height)
{
    return byte_of(buddy, node, height) == height + 1;
}

static bool has_whole_halves(const struct heap_buddy *buddy, uint64_t node, uint64_t height)
{
    return is_whole(buddy, 2 * node, height - 1) && is_whole(buddy, 2 * node + 1, height - 1);
}

/* What the byte of a node is that is no used block, its halves being what they are. */
static uint8_t byte_over(const struct heap_buddy *buddy, uint64_t node, uint64_t height)
{
    uint8_t left = byte_of(buddy, 2 * node, height - 1), right = byte_of(buddy, 2 * node + 1, height - 1);
    return left == height && right == height ? (uint8_t)(height + 1) : left > right ? left : right;
}

/* The block that holds `address`, which lies in the arena. (A byte over a whole half is 0 in a used block alone.) */
static struct block block_at(const struct heap_buddy *buddy, uintptr_t address)
{
    uint64_t node = node_at(buddy, address, 0), height = 0;
    uint8_t byte = buddy->nodes[node];
    while (byte == height + 1 && height < buddy->height) {
        uint8_t above = byte_of(buddy, node / 2, height + 1);
        if (above != height + 2 && above != 0)
            break;
        node /= 2;
        height++;
        byte = above;
    }
    return (struct block) { node, height, byte != 0 };
}

static uintptr_t start_of(const struct heap_buddy *buddy, struct block block)
{
    return address_of(buddy, block.node, block.height);
}

static uintptr_t end_of(const struct heap_buddy *buddy, struct block block)
{
    return start_of(buddy, block) + size_at(block.height);
}

/* --- changing -------------------------------------------------------------------------------------------------------- */

/* Computes the bytes of all nodes, leaves excepted, with a part in [from, to). No used block is among them. */
static void compute_over(struct heap_buddy *buddy, uintptr_t from, uintptr_t to)
{
    for (uint64_t height = 1; height <= buddy->height; height++)
        for (uint64_t node = node_at(buddy, from, height); node <= node_at(buddy, to - 1, height); node++)
            buddy->nodes[node] = byte_over(buddy, node, height);
}

static void set_byte(struct heap_buddy *buddy, uint64_t node, uint64_t height, uint8_t byte)
{
    while (buddy->nodes[node] != byte) {
        buddy->nodes[node] = byte;
        if (node == ROOT)
            break;
        node /= 2;
        byte = byte_over(buddy, node, ++height);
    }
}

/* Makes the block of that height at `address` used, which is free, or part of a free one. */
static void take(struct heap_buddy *buddy, uintptr_t address, uint64_t height)
{
    uint64_t free_height = block_at(buddy, address).height;
    heap_uncount(heap_of(buddy), true, size_at(free_height));
    heap_count(heap_of(buddy), false, size_at(height));
    for (uint64_t half = height; half < free_height; half++)
        heap_count(heap_of(buddy), true, size_at(half));
    set_byte(buddy, node_at(buddy, address, height), height, 0);
}

/* Makes a used block free. Whatever free buddies it has are one block with it. */
static void give(struct heap_buddy *buddy, struct block block)
{
    heap_uncount(heap_of(buddy), false, size_at(block.height));
    set_byte(buddy, block.node, block.height, (uint8_t)(block.height + 1));
    for (; block.node != ROOT && is_whole(buddy, block.node ^ 1, block.height); block.node /= 2, block.height++)
        heap_uncount(heap_of(buddy), true, size_at(block.height));
    heap_count(heap_of(buddy), true, size_at(block.height));
}

/* --- growing and shrinking ------------------------------------------------------------------------------------------- */

/* Where the memory for a level's bytes ends, as an index of nodes, when the arena ends at `end`; where it starts, when the
 * arena is empty. */
static uint64_t level_end(const struct heap_buddy *buddy, uint64_t height, uintptr_t end)
{
    return end == buddy->start ? align_down(node_at(buddy, end, height), PAGE_SIZE)
                               : align_up(node_at(buddy, end - 1, height) + 1, PAGE_SIZE);
}

/* Levels from the leaves up that do not lie in the first page of the array. That page always has memory. */
static uint64_t low_levels(const struct heap_buddy *buddy)
{
    return buddy->height >= PAGE_SHIFT ? buddy->height - PAGE_SHIFT + 1 : 0;
}

/* Takes back the memory for bytes of that many levels that lie between two ends of the arena. */
static void uncover(struct heap_buddy *buddy, uint64_t levels, uintptr_t from, uintptr_t to)
{
    while (levels--) {
        uint64_t first = level_end(buddy, levels, from), end = level_end(buddy, levels, to);
        if (first < end)
            heap_decommit(heap_of(buddy), (uintptr_t)&buddy->nodes[first], end - first);
    }
}

/* Memory for the bytes of blocks in [from, to). All or nothing. */
static bool cover(struct heap_buddy *buddy, uintptr_t from, uintptr_t to)
{
    for (uint64_t level = 0; level < low_levels(buddy); level++) {
        uint64_t first = level_end(buddy, level, from), end = level_end(buddy, level, to);
        if (first < end && !heap_commit(heap_of(buddy), (uintptr_t)&buddy->nodes[first], end - first)) {
            uncover(buddy, level, from, to);
            return false;
        }
    }
    return true;
}

/* Where the free blocks begin that lie in a row up to `at`; there, when there is none. */
static uintptr_t run_up_to(const struct heap_buddy *buddy, uintptr_t at)
{
    while (at > buddy->start) {
        struct block block = block_at(buddy, at - 1);
        if (!block.free)
            break;
        at = start_of(buddy, block);
    }
    return at;
}

/* The free run [from, to) comes to be, or ceases, in the books. */
static void book_run(struct heap_buddy *buddy, uintptr_t from, uintptr_t to,
                     void (*book)(struct heap *heap, bool free, size_t size))
{
    while (from < to) {
        uint64_t height = 0;
        while (is_aligned(from, size_at(height + 1)) && size_at(height + 1) <= to - from)
            height++;
        book(heap_of(buddy), true, size_at(height));
        from += size_at(height);
    }
}

/* Makes the arena so large that it ends with a free block of that height. */
static bool grow(struct heap_buddy *buddy, uint64_t height)
{
    uintptr_t old_end = buddy->end, run = run_up_to(buddy, old_end);
    size_t grown = heap_grow(heap_of(buddy), align_up(run, size_at(height)) + size_at(height) - old_end);
    if (!grown)
        return false;
    if (!cover(buddy, old_end, buddy->end)) {
        buddy->end = old_end;
        heap_decommit(heap_of(buddy), old_end, grown);
        return false;
    }
    memset(&buddy->nodes[node_at(buddy, old_end, 0)], 1, grown / BUDDY_SMALLEST);
    compute_over(buddy, old_end, buddy->end);
    book_run(buddy, run, old_end, heap_uncount);
    book_run(buddy, run, buddy->end, heap_count);
    return true;
}

static bool is_free_from(const struct heap_buddy *buddy, uintptr_t address)
{
    while (address < buddy->end) {
        struct block block = block_at(buddy, address);
        if (!block.free)
            return false;
        address = end_of(buddy, block);
    }
    return true;
}

/* After a block at `freed` was. Most of the time something behind it is used, and there is nothing to give back. */
static void trim(struct heap_buddy *buddy, uintptr_t freed)
{
    if (!is_free_from(buddy, freed))
        return;
    uintptr_t old_end = buddy->end, run = run_up_to(buddy, freed);
    if (!heap_trim(heap_of(buddy), run))
        return;
    uncover(buddy, low_levels(buddy), buddy->end, old_end);
    compute_over(buddy, buddy->end - 1, buddy->end);
    book_run(buddy, run, old_end, heap_uncount);
    book_run(buddy, run, buddy->end, heap_count);
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

static uint64_t height_for(size_t size)
{
    return size <= BUDDY_SMALLEST ? 0 : 64 - (uint64_t)__builtin_clzll((size - 1) / BUDDY_SMALLEST);
}

/* No block that fits into the region is larger than `largest`, so if the origin is a multiple of that, it is one of all. */
static bool init(struct heap *heap)
{
    struct heap_buddy *buddy = buddy_of(heap);
    uint64_t largest = size_at(height_for((heap->limit - heap->base) / 2 + 1));
    buddy->origin = align_down(heap->base, largest);
    buddy->height = height_for(heap->limit - buddy->origin);
    uint64_t node_bytes = align_up((uint64_t)2 << buddy->height, PAGE_SIZE);
    if (node_bytes >= heap->limit - heap->base)
        return false;
    buddy->nodes = (uint8_t *)heap->base;
    heap->start = heap->end = heap->base + node_bytes;
    return heap_commit(heap, heap->base, PAGE_SIZE) && grow(buddy, 0);
}

static void *alloc(struct heap *heap, size_t size, size_t align)
{
    struct heap_buddy *buddy = buddy_of(heap);
    uint64_t wanted = height_for(size > align ? size : align), node = ROOT;
    if (wanted > buddy->height || (buddy->nodes[ROOT] <= wanted && !grow(buddy, wanted)))
        return NULL;
    for (uint64_t height = buddy->height; height > wanted; height--)
        node = 2 * node + (byte_of(buddy, 2 * node, height - 1) <= wanted);
    uintptr_t address = address_of(buddy, node, wanted);
    take(buddy, address, wanted);
    return (void *)address;
}

static void free_block(struct heap *heap, void *memory)
{
    struct block block = block_at(buddy_of(heap), (uintptr_t)memory);
    heap_junk(heap, memory, size_at(block.height));
    give(buddy_of(heap), block);
    trim(buddy_of(heap), (uintptr_t)memory);
}

/* Gives it back and takes it again: whatever is free above it is one block with it in between. */
static bool resize(struct heap *heap, void *memory, size_t size)
{
    struct heap_buddy *buddy = buddy_of(heap);
    uintptr_t address = (uintptr_t)memory;
    uint64_t old = block_at(buddy, address).height, wanted = height_for(size);
    give(buddy, block_at(buddy, address));
    bool fits = is_aligned(address, size_at(wanted)) && block_at(buddy, address).height >= wanted;
    take(buddy, address, fits ? wanted : old);
    if (fits && wanted < old) {
        heap_junk(heap, (char *)memory + size_at(wanted), size_at(old) - size_at(wanted));
        trim(buddy, address + size_at(wanted));
    }
    return fits;
}

static size_t size_of(const struct heap *heap, const void *memory)
{
    return size_at(block_at((const struct heap_buddy *)heap, (uintptr_t)memory).height);
}

static const char *refusal(const struct heap *heap, const void *memory)
{
    const struct heap_buddy *buddy = (const struct heap_buddy *)heap;
    struct block block = block_at(buddy, (uintptr_t)memory);
    if (block.free)
        return "it is free already";
    return start_of(buddy, block) == (uintptr_t)memory ? NULL : "it lies inside a used block";
}

static bool each(const struct heap *heap, heap_visit *visit, void *context)
{
    const struct heap_buddy *buddy = (const struct heap_buddy *)heap;
    for (uintptr_t at = heap->start; at < heap->end;) {
        struct block block = block_at(buddy, at);
        if (start_of(buddy, block) != at)
            return false;
        if (!visit(context, &(struct heap_block) { at, size_at(block.height), block.free }))
            return false;
        at = end_of(buddy, block);
    }
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check(const struct heap *heap)
{
    const struct heap_buddy *buddy = (const struct heap_buddy *)heap;
    for (uint64_t node = node_at(buddy, heap->start, 0); node <= node_at(buddy, heap->end - 1, 0); node++)
        if (buddy->nodes[node] > 1)
            return "a leaf is 0 or 1";
    for (uint64_t height = 1; height <= buddy->height; height++)
        for (uint64_t node = node_at(buddy, heap->start, height); node <= node_at(buddy, heap->end - 1, height); node++)
            if (buddy->nodes[node] != byte_over(buddy, node, height)
                && !(buddy->nodes[node] == 0 && has_whole_halves(buddy, node, height)))
                return "a node's byte follows from its halves, or is 0 over two whole ones";
    uint64_t node_bytes = PAGE_SIZE;
    for (uint64_t level = 0; level < low_levels(buddy); level++)
        node_bytes += level_end(buddy, level, heap->end) - level_end(buddy, level, heap->start);
    return heap->committed == node_bytes + (heap->end - heap->start) ? NULL : "committed == arena and the nodes of its blocks";
}

struct order_counts { uint64_t blocks[64][2]; };        /* used, free */

static bool count_block(void *context, const struct heap_block *block)
{
    ((struct order_counts *)context)->blocks[__builtin_ctzll(block->size)][block->free]++;
    return true;
}

static void report(const struct heap *heap)
{
    const struct heap_buddy *buddy = (const struct heap_buddy *)heap;
    struct order_counts counts = { 0 };
    each(heap, count_block, &counts);
    print("report buddy heap=%s origin=0x%lx height=%lu nodes=%p root=%u\n", heap->name, buddy->origin, buddy->height,
          (void *)buddy->nodes, buddy->nodes[ROOT]);
    for (uint64_t height = 0; height <= buddy->height; height++) {
        const uint64_t *blocks = counts.blocks[__builtin_ctzll(size_at(height))];
        if (blocks[0] || blocks[1])
            print("report heap_order heap=%s size=%lu used=%lu free=%lu\n", heap->name, size_at(height), blocks[0], blocks[1]);
    }
}

const struct heap_operations heap_buddy_operations = {
    .name = "buddy", .instance_size = sizeof(struct heap_buddy), .alignment = BUDDY_SMALLEST,
    .merges = true, .reuses = true, .shrinks = true,
    .init = init, .alloc = alloc, .free = free_block, .resize = resize, .size_of = size_of,
    .refusal = refusal, .each = each, .check = check, .report = report,
};
