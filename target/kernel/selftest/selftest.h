/* Knows how a self-test is written: a function that gives up at the first EXPECT that does not hold. */
#ifndef SELFTEST_SELFTEST_H
#define SELFTEST_SELFTEST_H

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            selftest_failed(#condition, __FILE__, __LINE__); \
            return; \
        } \
    } while (0)

/* More pages, or bytes, than any machine has. As pages they are, in bytes, more than 64 bits can say: shifted, they would
 * leave none, none, one and less than all. */
#define ABSURD_COUNTS { (uint64_t)1 << 63, (uint64_t)1 << 52, ((uint64_t)1 << 52) + 1, UINT64_MAX }
enum { ABSURDS = 4 };

/* Notes why the test under way failed. The first reason counts. */
void selftest_failed(const char *why, const char *file, int line);

/* The scenario: runs every test and prints a line for each. Leaves QEMU, with status 33 when all passed and 35 when not,
 * if there is an isa-debug-exit device at port 0xf4; else returns. */
void selftest(void);

void test_text(void);
void test_bytes(void);
void test_random_map(void);
void test_known_maps(void);
void test_avl(void);
void test_redblack(void);
void test_tree_check(void);
void test_cpu(void);
void test_panic(void);
void test_lock(void);
void test_lock_interrupts(void);
void test_lookups(void);
void test_pmm_wish(void);
void test_pmm_random(void);
void test_pmm_exhaust(void);
void test_pmm_runs(void);
void test_pmm_refuses(void);
void test_pmm_counts(void);
void test_pmm_check(void);
void test_physmap(void);
void test_physmap_random(void);
void test_acpi(void);
void test_dma(void);
void test_dma_refuses(void);
void test_dma_counts(void);
void test_dma_check(void);
void test_evict(void);
void test_pool(void);
void test_image_rights(void);
void test_direct_map(void);
void test_page_rights(void);
void test_page_refuses(void);
void test_paging_check(void);
void test_vm_ranges(void);
void test_vm_refuses(void);
void test_vm_counts(void);
void test_vm_check(void);
void test_out_of_memory(void);
void test_heap_interface(void);
void test_heap_list_refuses(void);
void test_heap_list_check(void);
void test_heap_next(void);
void test_heap_sorted_fit(void);
void test_heap_sorted_refuses(void);
void test_heap_sorted_check(void);
void test_heap_buddy_halves(void);
void test_heap_buddy_aligned(void);
void test_heap_buddy_grows_or_not(void);
void test_heap_buddy_check(void);
void test_cache_slabs(void);
void test_cache_large(void);
void test_cache_constructor(void);
void test_cache_random(void);
void test_cache_reaps(void);
void test_cache_refuses(void);
void test_cache_check(void);
void test_heap_tags(void);
void test_heap_runs(void);
void test_heap_pools(void);
void test_heap_guard(void);

/* These are about one kind of heap, whichever tested_heap says. */
struct heap_operations;
extern const struct heap_operations *tested_heap;
void test_heap_random(void);
void test_heap_merges(void);
void test_heap_grows(void);
void test_heap_aligns(void);
void test_heap_resizes(void);
void test_heap_exhausts(void);
void test_heap_refuses(void);
void test_heap_counts(void);
void test_heap_callers(void);
void test_heap_redzone(void);
void test_heap_poison(void);
void test_heap_chain(void);

#endif
