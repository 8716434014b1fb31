/* Knows the list of self-tests, and how their result leaves the machine. */

#include "selftest/selftest.h"

#include <stdbool.h>
#include <stddef.h>

#include "arch/cpu.h"
#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "lib/print.h"
#include "scenario/scenario.h"

struct test { const char *name; void (*run)(void); };

static const struct test tests[] = {
    { "text", test_text },
    { "bytes", test_bytes },
    { "known-maps", test_known_maps },
    { "random-map", test_random_map },
    { "avl", test_avl },
    { "redblack", test_redblack },
    { "tree-check", test_tree_check },
    { "cpu", test_cpu },
    { "panic", test_panic },
    { "lock", test_lock },
    { "lock-interrupts", test_lock_interrupts },
    { "lookups", test_lookups },
    { "pmm-wish", test_pmm_wish },
    { "pmm-random", test_pmm_random },
    { "pmm-exhaust", test_pmm_exhaust },
    { "pmm-runs", test_pmm_runs },
    { "pmm-refuses", test_pmm_refuses },
    { "pmm-counts", test_pmm_counts },
    { "pmm-check", test_pmm_check },
    { "physmap", test_physmap },
    { "physmap-random", test_physmap_random },
    { "acpi", test_acpi },
    { "image-rights", test_image_rights },
    { "direct-map", test_direct_map },
    { "page-rights", test_page_rights },
    { "page-refuses", test_page_refuses },
    { "paging-check", test_paging_check },
    { "vm-ranges", test_vm_ranges },
    { "vm-refuses", test_vm_refuses },
    { "vm-counts", test_vm_counts },
    { "vm-check", test_vm_check },
    { "heap-interface", test_heap_interface },
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
    { "dma", test_dma },
    { "dma-refuses", test_dma_refuses },
    { "dma-counts", test_dma_counts },
    { "dma-check", test_dma_check },
    { "evict", test_evict },
    { "pool", test_pool },
    { "out-of-memory", test_out_of_memory },
};

enum { TEST_COUNT = sizeof(tests) / sizeof(*tests) };

/* isa-debug-exit makes QEMU's exit status 2 * value + 1. */
enum { EXIT_PORT = 0xf4, EXIT_PASSED = 0x10, EXIT_FAILED = 0x11 };

static struct { const char *why, *file; int line; } failure;

void selftest_failed(const char *why, const char *file, int line)
{
    if (failure.why)
        return;
    failure.why = why;
    failure.file = file;
    failure.line = line;
}

static void run_and_check(void *test)
{
    ((const struct test *)test)->run();
    check_all_managers();       /* whatever a test did, it leaves the managers intact */
}

static bool passes(const struct test *test)
{
    failure.why = NULL;
    bool panicked = probe_panics(run_and_check, (void *)test);
    if (failure.why)
        print("selftest %s FAILED: %s (%s:%d)\n", test->name, failure.why, failure.file, failure.line);
    else if (panicked)
        print("selftest %s FAILED: panic: %s (%s:%d)\n", test->name, probe_panic_text, __FILE__, __LINE__);
    else
        print("selftest %s ok\n", test->name);
    return !failure.why && !panicked;
}

void selftest(void)
{
    unsigned passed = 0;
    tested_heap = kernel_heap.operations;
    for (unsigned i = 0; i < TEST_COUNT; i++)
        passed += passes(&tests[i]);
    print("selftest: %u passed, %u failed\n", passed, TEST_COUNT - passed);
    out32(EXIT_PORT, passed == TEST_COUNT ? EXIT_PASSED : EXIT_FAILED);
}
