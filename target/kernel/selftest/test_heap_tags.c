/* Knows that the check of boundary tags fires, and that a request takes a chunk from its bin. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "lib/string.h"
#include "selftest/selftest.h"

static struct heap_tags tags;
static struct heap *const heap = (struct heap *)&tags;

static void free_it(void *memory) { heap_free(heap, memory); }

static bool finds_changed(void *memory, uint64_t word, const char *rule)
{
    uint64_t *at = memory, saved = *at;
    *at = word;
    const char *broken = heap_check(heap);
    *at = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_heap_tags(void)
{
    if (tags.operations)
        heap_destroy(heap);             /* of a test that failed */
    EXPECT(heap_init(heap, &heap_tags_operations, &heap_supply_system, "test", 1 << 20));
    heap->redzone = false;              /* this is about the kind alone */
    char *a = heap_alloc(heap, 64), *b = heap_alloc(heap, 64), *c = heap_alloc(heap, 64), *d = heap_alloc(heap, 400);
    char *e = heap_alloc(heap, 64);
    EXPECT(a && b && c && d && e);
    heap_free(heap, b);
    heap_free(heap, d);
    EXPECT(heap_check(heap) == NULL);

    uint64_t *tag = (uint64_t *)b - 1, *behind = (uint64_t *)(b + 64);
    const char *misplaced = "bins hold free chunks of their sizes, linked both ways";
    EXPECT(finds_changed(tag, 0, "every tag has its magic"));
    EXPECT(finds_changed(tag, HEAP_TAG_MAGIC, "sizes are > 0 and stay inside the arena"));
    EXPECT(finds_changed(tag, HEAP_TAG_MAGIC | 1 << 20, "sizes are > 0 and stay inside the arena"));
    EXPECT(finds_changed(behind, *behind | HEAP_TAG_USED, "the tag behind a payload is the one in front of it"));
    EXPECT(finds_changed(&tags.filled, tags.filled ^ 1, "bit n of filled == (bin n is not empty)"));
    EXPECT(finds_changed(b, (uint64_t)a, misplaced));                   /* leads to a used chunk */
    EXPECT(finds_changed(b, (uint64_t)d, misplaced));                   /* to one of another size */
    EXPECT(finds_changed(b, (uint64_t)b, misplaced));                   /* to itself */
    EXPECT(finds_changed(b + 8, (uint64_t)d, misplaced));               /* back to another */
    EXPECT(finds_changed((void *)tags.start, 0, "a tag closes the arena at each end"));
    EXPECT(finds_changed(&tags.committed, 0, "committed == end - start"));

    *tag |= HEAP_TAG_USED;
    EXPECT(finds_changed(behind, *behind | HEAP_TAG_USED, misplaced));
    *tag ^= HEAP_TAG_USED;
    tag = (uint64_t *)c - 1;
    behind = (uint64_t *)(c + 64);
    *tag ^= HEAP_TAG_USED;
    EXPECT(finds_changed(behind, *behind ^ HEAP_TAG_USED, "no two free chunks touch"));
    *tag ^= HEAP_TAG_USED;
    *tag += HEAP_ALIGN;
    EXPECT(probe_panics(free_it, c));                                   /* a tag that was overwritten */
    *tag -= HEAP_ALIGN;
    EXPECT(heap_check(heap) == NULL);

    EXPECT(heap_alloc(heap, 390) == d && heap_alloc(heap, 60) == b);    /* not the first that fits */
    heap_destroy(heap);
}
