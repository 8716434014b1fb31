/* Knows what heaps with a tree must refuse beyond what all heaps must, which chunk they choose, and that their check fires. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "lib/string.h"
#include "selftest/selftest.h"

enum { HEADER = sizeof(struct heap_sorted_chunk), GAPS = 5 };

static struct heap_sorted sorted;
static struct heap *const heap = (struct heap *)&sorted;

static bool begin(const struct heap_operations *kind)
{
    if (sorted.operations)
        heap_destroy(heap);             /* of a test that failed */
    bool begun = heap_init(heap, kind, &heap_supply_system, "test", 1 << 20);
    heap->redzone = false;              /* this is about the kind alone */
    return begun;
}

static struct heap_sorted_chunk *header_of(char *payload) { return (struct heap_sorted_chunk *)payload - 1; }

/* Five chunks of these sizes, with used ones in between. */
static bool take_gaps(char *gaps[GAPS])
{
    static const size_t sizes[GAPS] = { 640, 320, 160, 320, 480 };
    for (unsigned i = 0; i < GAPS; i++)
        if (!(gaps[i] = heap_alloc(heap, sizes[i])) || !heap_alloc(heap, 32))
            return false;
    return true;
}

/* --- which chunk ----------------------------------------------------------------------------------------------------- */

static void test_best_fit(const struct heap_operations *kind, bool lowest_first)
{
    char *gaps[GAPS];
    EXPECT(begin(kind) && take_gaps(gaps));
    for (unsigned i = GAPS; i-- > 0;)
        heap_free(heap, gaps[i]);
    EXPECT(sorted.tree.count == GAPS + 1 && heap_check(heap) == NULL);
    EXPECT(heap_alloc(heap, 450) == gaps[4]);                           /* neither the lowest nor the largest */
    EXPECT(heap_alloc(heap, 320) == gaps[lowest_first ? 1 : 3]);        /* both of 320: 3 was freed before 1 */
    EXPECT(heap_alloc(heap, 310) == gaps[lowest_first ? 3 : 1]);
    EXPECT(heap_alloc(heap, 10) == gaps[2]);
    EXPECT(heap_alloc(heap, 10) == gaps[2] + 32 + HEADER);              /* what was left of it */
    EXPECT(heap_alloc(heap, 161) == gaps[0]);
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}

void test_heap_sorted_fit(void)
{
    test_best_fit(&heap_avl_operations, true);
    test_best_fit(&heap_redblack_operations, false);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static void free_it(void *memory) { heap_free(heap, memory); }
static bool refuses_to_free(void *memory) { return probe_panics(free_it, memory) && !sorted.lock.locked; }

void test_heap_sorted_refuses(void)
{
    EXPECT(begin(&heap_avl_operations));
    char *a = heap_alloc(heap, 100), *b = heap_alloc(heap, 100), *c = heap_alloc(heap, 100);
    EXPECT(a && b && c);
    memcpy(b, b - HEADER, HEADER);
    EXPECT(refuses_to_free(b + HEADER));                                /* a copy of a header is none */
    header_of(b + HEADER)->magic = HEAP_SORTED_MAGIC ^ (uintptr_t)b;
    EXPECT(refuses_to_free(b + HEADER));                                /* nor one with the right magic */
    header_of(b)->size += HEAP_ALIGN;
    EXPECT(refuses_to_free(b));                                         /* a header that was overwritten */
    header_of(b)->size -= HEAP_ALIGN;
    header_of(b)->below = (void *)16;
    EXPECT(refuses_to_free(b));
    header_of(b)->below = header_of(a);
    EXPECT(refuses_to_free((void *)sorted.start));
    heap_free(heap, b);
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}

/* --- the check fires ------------------------------------------------------------------------------------------------- */

static bool finds_changed(void *memory, uint64_t value, const char *rule)
{
    uint64_t *at = memory, saved = *at;
    *at = value;
    const char *broken = heap_check(heap);
    *at = saved;
    return broken && strcmp(broken, rule) == 0;
}

static void test_check(const struct heap_operations *kind, const char *rank_rule)
{
    char *gaps[GAPS];
    EXPECT(begin(kind) && take_gaps(gaps));
    struct heap_sorted_chunk *used = header_of(gaps[0]), *free = header_of(gaps[1]), *next = (void *)(gaps[1] + 320);
    for (unsigned i = 1; i < GAPS; i++)
        heap_free(heap, gaps[i]);
    EXPECT(heap_check(heap) == NULL);
    EXPECT(finds_changed(&used->magic, HEAP_SORTED_MAGIC, "every header has the magic of its address"));
    EXPECT(finds_changed(&used->size, 650, "chunks tile the arena"));
    EXPECT(finds_changed(&used->size, 1 << 20, "chunks tile the arena"));
    EXPECT(finds_changed(&used->size, 656, "every header has the magic of its address"));
    EXPECT(finds_changed(&free->below, 0, "next.below == chunk"));
    EXPECT(finds_changed(&used->free, 2, "free is 0 or 1"));
    EXPECT(finds_changed(&next->free, 1, "no two free chunks touch"));
    EXPECT(finds_changed(&sorted.top, 0, "top is the last chunk"));
    EXPECT(finds_changed(&used->free, 1, "the tree holds every free chunk"));
    EXPECT(finds_changed(&sorted.tree.root, 0x10, "the root is a node that has no parent"));
    EXPECT(finds_changed(&sorted.tree.root->left, (uint64_t)used->node, "children are nodes, and point back to their parent"));
    EXPECT(finds_changed(&sorted.tree.root->rank, 77, rank_rule));
    EXPECT(finds_changed(&sorted.tree.count, 1, "count == number of nodes in the tree"));
    heap_destroy(heap);
}

void test_heap_sorted_check(void)
{
    test_check(&heap_avl_operations, "height == 1 + that of the higher child");
    test_check(&heap_redblack_operations, "red is 0 or 1, and 0 in the root");
}
