/* Knows that the checks of the heaps that are made of pages fire, and that a guard is where it must be. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/bits.h"
#include "lib/string.h"
#include "selftest/selftest.h"

static union any_heap subject;
static struct heap *const heap = &subject.heap;

static bool begin(const struct heap_operations *kind)
{
    if (subject.operations)
        heap_destroy(heap);             /* of a test that failed */
    bool begun = heap_init(heap, kind, &heap_supply_system, "test", 1 << 20);
    heap->redzone = false;              /* this is about the kind alone */
    return begun;
}

static bool finds_changed(void *memory, unsigned char byte, const char *rule)
{
    unsigned char *at = memory, saved = *at;
    *at = byte;
    const char *broken = heap_check(heap);
    *at = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_heap_runs(void)
{
    EXPECT(begin(&heap_pools_operations));
    char *a = heap_alloc(heap, 3 * PAGE_SIZE), *b = heap_alloc(heap, PAGE_SIZE), *c = heap_alloc(heap, 2 * PAGE_SIZE);
    EXPECT(a && b == a + 3 * PAGE_SIZE && c == b + PAGE_SIZE && subject.end == (uintptr_t)c + 2 * PAGE_SIZE);
    heap_free(heap, b);
    struct heap_page *pages = subject.pools.runs.pages;
    const char *whole = "every page of a run says where it begins and whose it is";
    EXPECT(finds_changed(&pages[1].count, 2, whole) && finds_changed(&pages[2].owner, 2, whole));
    EXPECT(finds_changed(&pages[2].state, HEAP_PAGE_FIRST, whole));
    EXPECT(finds_changed(&pages[0].count, 200, "runs lie one after the other, below end"));
    EXPECT(finds_changed(&pages[0].state, HEAP_PAGE_REST, "runs lie one after the other, below end"));
    EXPECT(finds_changed(&pages[3].owner, 1, "a free page has no owner and no count"));
    EXPECT(finds_changed(&subject.pools.runs.hint, 4, "no page below the hint is free"));
    EXPECT(finds_changed((char *)&subject.pools.runs.known + 1, 0, "the records of [start, end) have memory"));
    EXPECT(finds_changed((char *)&subject.committed + 1, 0, "committed == the records' memory + that of all runs"));
    EXPECT(heap_alloc(heap, PAGE_SIZE) == b);                           /* the lowest that fits */
    EXPECT(finds_changed(&pages[3].owner, 3, "a run's owner is a size, or whole pages"));
    heap_free(heap, c);
    EXPECT(subject.end == (uintptr_t)c && heap_check(heap) == NULL);    /* nothing is behind it any more */
    EXPECT(heap_realloc(heap, b, 5 * PAGE_SIZE) == b && heap_realloc(heap, a, 5000) == a);
    EXPECT(heap_alloc(heap, PAGE_SIZE) == a + 2 * PAGE_SIZE && heap_check(heap) == NULL);
    heap_destroy(heap);
}

void test_heap_pools(void)
{
    EXPECT(begin(&heap_pools_operations));
    char *two = heap_alloc(heap, 2), *next = heap_alloc(heap, 1), *large = heap_alloc(heap, 2000);
    EXPECT(two && next == two + 2 && (uintptr_t)large % 2048 == 0);     /* no more than they need */
    struct heap_pool *pool = (struct heap_pool *)align_down((uintptr_t)two, PAGE_SIZE);
    const char *listed = "open lists hold pools of their size that have room, linked both ways";
    EXPECT(finds_changed(&pool->magic, 0, "a pool's header says what the record of its pages says"));
    EXPECT(finds_changed(&pool->size, 4, "a pool's header says what the record of its pages says"));
    EXPECT(finds_changed(&pool->used, 3, "pool.used == number of 1 bits"));
    EXPECT(finds_changed(&pool->bits[0], 7, "pool.used == number of 1 bits"));
    EXPECT(finds_changed(&pool->prev, 8, listed));
    struct heap_pool *saved = subject.pools.open[0];
    subject.pools.open[0] = NULL;
    EXPECT(strcmp(heap_check(heap), "every pool with room is in its list, once") == 0);
    subject.pools.open[0] = (struct heap_pool *)align_down((uintptr_t)large, PAGE_SIZE);
    EXPECT(strcmp(heap_check(heap), listed) == 0);
    subject.pools.open[0] = saved;
    EXPECT(heap_check(heap) == NULL);

    uint64_t last = bits_words(pool->slots) - 1;
    EXPECT(pool->slots % WORD_BITS);
    pool->bits[0] &= ~(uint64_t)1;
    EXPECT(finds_changed((char *)&pool->bits[last] + 7, 0x80, "bits beyond the last slot are 0"));
    pool->bits[0] |= 1;
    heap_destroy(heap);
}

/* Behind a chunk there is nothing, though another one follows; and nothing in front of it may be written to. */
void test_heap_guard(void)
{
    EXPECT(begin(&heap_guard_operations));
    static const size_t sizes[] = { 1, 24, 100, 4095, 4096, 4097, 10000 };
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char *memory = heap_alloc(heap, sizes[i]), *next = heap_alloc(heap, 1);
        EXPECT(memory && next > memory && next <= memory + sizes[i] + 2 * PAGE_SIZE);
        EXPECT(probe_read((uint64_t)memory + sizes[i] - 1) && !probe_read((uint64_t)memory + sizes[i]));
        heap_free(heap, memory);
        heap_free(heap, next);
        EXPECT(!probe_read((uint64_t)memory));
    }
    char *memory = heap_alloc(heap, 24);
    EXPECT(memory && finds_changed(memory - 1, 0, "bytes in front of a payload are the fence's"));
    struct heap_page *page = heap_runs_page(heap, &subject.guard.runs, (uintptr_t)memory);
    page[1].owner = 0;                  /* the guard, which is part of the run */
    EXPECT(finds_changed(&page->owner, 0, "a run's owner is the size of its payload"));
    page[1].owner = 25;
    EXPECT(finds_changed(&page->owner, 25, "used_bytes == sum over used chunks"));
    heap_destroy(heap);
}
