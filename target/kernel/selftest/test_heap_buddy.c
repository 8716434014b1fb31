/* Knows where a buddy heap's blocks must lie, and that its check fires. */

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/string.h"
#include "selftest/selftest.h"

static struct heap_buddy buddy;
static struct heap *const heap = (struct heap *)&buddy;

static bool begin_with(const struct heap_supply *supply, size_t limit)
{
    if (buddy.operations)
        heap_destroy(heap);             /* of a test that failed */
    bool begun = heap_init(heap, &heap_buddy_operations, supply, "test", limit);
    heap->redzone = false;              /* this is about the kind alone */
    return begun;
}

static bool begin(size_t limit) { return begin_with(&heap_supply_system, limit); }

static size_t size_of(const void *memory) { return heap_buddy_operations.size_of(heap, memory); }

/* Sizes that follow from halving: 64 KiB at first, none of it used. */
void test_heap_buddy_halves(void)
{
    EXPECT(begin(1 << 20));
    char *first = heap_alloc(heap, 1), *second = heap_alloc(heap, 33), *third = heap_alloc(heap, 32);
    EXPECT(first == (char *)buddy.start && size_of(first) == 32);
    EXPECT(second == first + 64 && size_of(second) == 64);              /* the second 32 are too small */
    EXPECT(third == first + 32 && buddy.used_bytes == 128);
    EXPECT(heap_alloc(heap, 1 << 12) == first + 4096);
    heap_free(heap, third);
    heap_free(heap, first);
    EXPECT(heap_alloc(heap, 64) == first && size_of(first) == 64);      /* the two are one again */

    EXPECT(heap_realloc(heap, second, 20) == second && size_of(second) == 32);
    EXPECT(heap_realloc(heap, second, 60) == second && size_of(second) == 64);      /* its buddy is free still */
    EXPECT(heap_realloc(heap, second, 100) != second);                  /* its buddy is used */
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}

/* Every block at a multiple of its size, as an address, wherever the region lies. */
void test_heap_buddy_aligned(void)
{
    EXPECT(begin(8 << 20));
    for (size_t size = 32; size <= 2 << 20; size *= 2) {
        void *memory = heap_alloc(heap, size);
        EXPECT(memory && (uintptr_t)memory % size == 0 && size_of(memory) == size);
    }
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
    EXPECT(!begin(PAGE_SIZE));          /* no room for more than the tree */
    buddy.operations = NULL;
}

static unsigned commits_left;

static bool commit_a_few_times(struct heap *of, uintptr_t base, size_t size)
{
    return commits_left > 0 && commits_left-- && heap_supply_system.commit(of, base, size);
}

/* Growing takes memory for the arena, then for one level of the tree after the other. Whichever cannot be had, the heap is as
 * it was before. */
void test_heap_buddy_grows_or_not(void)
{
    static struct heap_supply scarce;
    scarce = heap_supply_system;
    scarce.commit = commit_a_few_times;
    commits_left = 100;
    EXPECT(begin_with(&scarce, 64 << 20));
    uint64_t committed = buddy.committed;
    unsigned tries = 0;
    for (commits_left = 0; !heap_alloc(heap, 1 << 20); commits_left = ++tries)
        EXPECT(tries < 100 && buddy.committed == committed && heap_check(heap) == NULL);
    EXPECT(tries >= 4 && heap_check(heap) == NULL);     /* 1 MiB are 8 pages of leaves, 4 and 2 of the levels above */
    heap_destroy(heap);
}

/* --- the check fires ------------------------------------------------------------------------------------------------- */

static bool finds_changed(uint64_t node, uint8_t byte, const char *rule)
{
    uint8_t saved = buddy.nodes[node];
    buddy.nodes[node] = byte;
    const char *broken = heap_check(heap);
    buddy.nodes[node] = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_heap_buddy_check(void)
{
    static const char *const follows = "a node's byte follows from its halves, or is 0 over two whole ones";
    EXPECT(begin(1 << 20));
    char *small = heap_alloc(heap, 32), *large = heap_alloc(heap, 4096);
    EXPECT(small && large);
    uint64_t leaf = ((uint64_t)1 << buddy.height) + ((uintptr_t)small - buddy.origin) / 32;
    uint64_t used = (((uint64_t)1 << buddy.height) + ((uintptr_t)large - buddy.origin) / 32) >> 7;      /* 32 << 7 */
    EXPECT(buddy.nodes[leaf] == 0 && buddy.nodes[leaf + 1] == 1 && buddy.nodes[used] == 0 && buddy.nodes[2 * used] == 7);
    EXPECT(finds_changed(leaf, 2, "a leaf is 0 or 1"));
    EXPECT(finds_changed(leaf, 1, follows));
    EXPECT(finds_changed(leaf / 2, 2, follows));                        /* whole, though a leaf below is used */
    EXPECT(finds_changed(leaf / 2, 0, follows));                        /* used, over a used half */
    EXPECT(finds_changed(used, 8, follows));                            /* free: what is above does not know */
    EXPECT(finds_changed(2 * used, 0, follows));
    EXPECT(finds_changed(1, 0, follows));
    buddy.committed += PAGE_SIZE;
    EXPECT(strcmp(heap_check(heap), "committed == arena and the nodes of its blocks") == 0);
    buddy.committed -= PAGE_SIZE;
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}
