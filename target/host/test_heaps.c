/* Knows how to run the heaps' self-tests on the host: those that every kind must pass, then those of single kinds. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "arch/probe.h"
#include "heap/heap.h"
#include "heap/heap_kinds.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

struct test { const char *name; void (*run)(void); };

static const struct test tests[] = {
    { "heap-random", test_heap_random },
    { "heap-merges", test_heap_merges },
    { "heap-grows", test_heap_grows },
    { "heap-aligns", test_heap_aligns },
    { "heap-resizes", test_heap_resizes },
    { "heap-exhausts", test_heap_exhausts },
    { "heap-refuses", test_heap_refuses },
    { "heap-counts", test_heap_counts },
    { "heap-callers", test_heap_callers },
    { "heap-redzone", test_heap_redzone },
    { "heap-poison", test_heap_poison },
    { "heap-chain", test_heap_chain },
};

static const struct test own_tests[] = {
    { "avl", test_avl },
    { "redblack", test_redblack },
    { "tree-check", test_tree_check },
    { "heap-list-refuses", test_heap_list_refuses },
    { "heap-list-check", test_heap_list_check },
    { "heap-next", test_heap_next },
    { "heap-sorted-fit", test_heap_sorted_fit },
    { "heap-sorted-refuses", test_heap_sorted_refuses },
    { "heap-sorted-check", test_heap_sorted_check },
    { "heap-buddy-halves", test_heap_buddy_halves },
    { "heap-buddy-aligned", test_heap_buddy_aligned },
    { "heap-buddy-grows-or-not", test_heap_buddy_grows_or_not },
    { "heap-buddy-check", test_heap_buddy_check },
    { "cache-slabs", test_cache_slabs },
    { "cache-large", test_cache_large },
    { "cache-constructor", test_cache_constructor },
    { "cache-random", test_cache_random },
    { "cache-reaps", test_cache_reaps },
    { "cache-refuses", test_cache_refuses },
    { "cache-check", test_cache_check },
    { "heap-tags", test_heap_tags },
    { "heap-runs", test_heap_runs },
    { "heap-pools", test_heap_pools },
    { "heap-guard", test_heap_guard },
};

static const char *failure;

void selftest_failed(const char *why, const char *file, int line)
{
    static char text[400];
    if (!failure)
        snprintf(text, sizeof(text), "%s (%s:%d)", why, file, line);
    failure = text;
}

static void run(void *test) { ((const struct test *)test)->run(); }

static unsigned done, failed;

static void judge(const struct test *test, const char *kind)
{
    failure = NULL;
    if (probe_panics(run, (void *)test) && !failure)
        selftest_failed(probe_panic_text, "panic", 0);
    if (failure)
        printf("%s, %s: FAILED: %s\n", test->name, kind, failure);
    done++;
    failed += failure != NULL;
}

int main(void)
{
    random_seed(1);
    kernel_heap_init();
    judge(&(struct test) { "heap-interface", test_heap_interface }, "kernel");
    for (unsigned i = 0; i < HEAP_KINDS; i++)
        for (unsigned j = 0; j < sizeof(tests) / sizeof(*tests); j++) {
            tested_heap = heap_kinds[i];
            judge(&tests[j], tested_heap->name);
        }
    for (unsigned i = 0; i < sizeof(own_tests) / sizeof(*own_tests); i++)
        judge(&own_tests[i], "its own");
    printf("host-test: heaps, %u tests of %d kinds, %u failed\n", done, HEAP_KINDS, failed);
    return failed != 0;
}
