/* Knows that a heap can rest on another, and what that forbids. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "lib/string.h"
#include "selftest/selftest.h"

static union any_heap parent, child, grandchild;

static void destroy(void *heap) { heap_destroy(heap); }

static bool is_inside(const void *memory, size_t size, const union any_heap *heap)
{
    return (uintptr_t)memory >= heap->start && (uintptr_t)memory + size <= heap->end;
}

static void rest_on(const struct heap_operations *kind)
{
    uint64_t used = parent.used_chunks;
    EXPECT(heap_init_chained(&child.heap, kind, &parent.heap, "child", 256 << 10));
    EXPECT(parent.used_chunks == used + 1);
    EXPECT(heap_init_chained(&grandchild.heap, &heap_list_operations, &child.heap, "grandchild", 32 << 10));
    char *lower = heap_alloc(&child.heap, 1000), *upper = heap_alloc(&grandchild.heap, 1000);
    EXPECT(lower && is_inside(lower, 1000, &child) && is_inside(lower, 1000, &parent));
    EXPECT(upper && is_inside(upper, 1000, &grandchild) && is_inside(upper, 1000, &child));
    memset(upper, 1, 1000);
    EXPECT(heap_alloc(&grandchild.heap, 32 << 10) == NULL);             /* more than its arena */
    EXPECT(heaps_check() == NULL);
    EXPECT(probe_panics(destroy, &child) && starts_with(probe_panic_text, "heap child cannot end"));

    uintptr_t limit = grandchild.limit;
    grandchild.limit = child.limit + 4096;
    EXPECT(strcmp(heap_check(&grandchild.heap), "the region is a used chunk of the parent") == 0);
    grandchild.limit = limit;
    heap_destroy(&grandchild.heap);
    EXPECT(heap_check(&child.heap) == NULL && child.used_chunks == 1);
    heap_destroy(&child.heap);                                          /* with a chunk in it */
    EXPECT(heap_check(&parent.heap) == NULL && parent.used_chunks == used);
}

/* The arena given back behind its heap's back. */
static void lose_the_arena(void)
{
    EXPECT(heap_init_chained(&child.heap, &heap_list_operations, &parent.heap, "child", 64 << 10));
    heap_free(&parent.heap, (void *)child.base);
    EXPECT(strcmp(heap_check(&child.heap), "the region is a used chunk of the parent") == 0);
    EXPECT(probe_panics(destroy, &child));
}

static void begin_again(void *unused)
{
    (void)unused;
    heap_init(&parent.heap, tested_heap, &heap_supply_system, "parent", 4 << 20);
}

void test_heap_chain(void)
{
    EXPECT(heap_init(&parent.heap, tested_heap, &heap_supply_system, "parent", 4 << 20));
    EXPECT(probe_panics(begin_again, NULL));
    for (unsigned i = 0; i < HEAP_KINDS; i++)
        rest_on(heap_kinds[i]);
    lose_the_arena();
    heap_destroy(&parent.heap);
}
