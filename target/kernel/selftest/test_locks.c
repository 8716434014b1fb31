/* Knows what a lock must do, and which lookups must take one. */

#include "arch/cpu.h"
#include "arch/interrupts.h"
#include "arch/probe.h"
#include "arch/spinlock.h"
#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/format.h"
#include "lib/string.h"
#include "mm/dma.h"
#include "mm/page.h"
#include "mm/paging.h"
#include "mm/pmm_manager.h"
#include "mm/vm.h"
#include "selftest/selftest.h"

enum { CODE_OF_TAKE = 64 };             /* bytes, at the most */

__attribute__((noinline)) static void take(void *spinlock) { lock(spinlock); }
static void give_back(void *spinlock) { unlock(spinlock); }

void test_lock(void)
{
    struct spinlock spinlock = { .name = "test" };
    char text[sizeof(probe_panic_text)];
    EXPECT(probe_panics(give_back, &spinlock));
    take(&spinlock);
    EXPECT((uint64_t)spinlock.taker - (uint64_t)take < CODE_OF_TAKE);
    EXPECT(spinlock.locked == 1 && probe_panics(take, &spinlock));
    format_text(text, sizeof(text), "lock test is taken already, by the same processor: 0, at %p", spinlock.taker);
    EXPECT(strcmp(probe_panic_text, text) == 0 && spinlock.locked == 1);
    give_back(&spinlock);
    EXPECT(spinlock.locked == 0);
    spinlock.locked = 2;                                                /* as if another processor held it */
    EXPECT(probe_panics(give_back, &spinlock) && spinlock.locked == 2);
    EXPECT(strcmp(probe_panic_text, "lock test given back by processor 0, which does not hold it") == 0);
}

/* Masks of the two interrupt controllers (Intel 8259A data sheet, OCW1). What they let through would come to the vectors of
 * the processor's own exceptions: nobody has told them others. */
enum { CONTROLLER_1 = 0x21, CONTROLLER_2 = 0xa1, MASK_ALL = 0xff };

/* Two locks, taken with interrupts on or off; both are given back after a third attempt, which was refused. */
static bool locks_restore(bool on)
{
    struct spinlock outer = { .name = "outer" }, inner = { .name = "inner" };
    interrupts_restore(on);
    bool right = interrupts_are_on() == on;
    lock(&outer);
    right = right && !interrupts_are_on();
    lock(&inner);
    right = right && !interrupts_are_on();
    right = right && probe_panics(take, &outer) && !interrupts_are_on();
    unlock(&inner);
    right = right && !interrupts_are_on();
    unlock(&outer);
    right = right && interrupts_are_on() == on;
    interrupts_disable();
    return right;
}

void test_lock_interrupts(void)
{
    uint8_t mask_1 = in8(CONTROLLER_1), mask_2 = in8(CONTROLLER_2);
    EXPECT(!interrupts_are_on());
    out8(CONTROLLER_1, MASK_ALL);
    out8(CONTROLLER_2, MASK_ALL);
    bool with = locks_restore(true), without = locks_restore(false);
    out8(CONTROLLER_1, mask_1);
    out8(CONTROLLER_2, mask_2);
    EXPECT(with && without && !interrupts_are_on());
}

/* --- lookups --------------------------------------------------------------------------------------------------------- */

static void translate(void *address) { page_translate(&kernel_space, (uint64_t)address); }
static void find_table(void *address) { page_table_of(&kernel_space, (uint64_t)address); }
static void check_tables(void *unused) { (void)unused; paging_check(&kernel_space); }
static void check_regions(void *unused) { (void)unused; vm_check(&kernel_space); }
static void find_page(void *frame) { vm_page_with_frame(&kernel_space, (uint64_t)frame); }
static void check_buffers(void *unused) { (void)unused; dma_check(); }
static void check_heaps(void *unused) { (void)unused; heaps_check(); }
static void check_heap(void *heap) { heap_check(heap); }
static void survey_heap(void *heap) { heap_survey(heap); }
static void begin_heap(void *heap) { heap_init(heap, tested_heap, &heap_supply_system, "test", PAGE_SIZE); }
static void end_heap(void *heap) { heap_destroy(heap); }
static void check_frames(void *unused) { (void)unused; pmm_check(); }
static void ask_for_frame(void *frame) { pmm_is_used((uint64_t)frame); }

/* Whoever wants this lock finds it taken. */
static bool takes(struct spinlock *guard, void (*lookup)(void *), void *argument)
{
    char beginning[64];
    format_text(beginning, sizeof(beginning), "lock %s is taken already", guard->name);
    lock(guard);
    bool refused = probe_panics(lookup, argument);
    unlock(guard);
    return refused && starts_with(probe_panic_text, beginning);
}

#ifndef BARE

static void own_frame(void *frame) { page_own((uint64_t)frame, PAGE_ALLOCATED, 0); }

static void test_records(uint64_t frame) { EXPECT(takes(&pmm_manager->common->lock, own_frame, (void *)frame)); }

#else

static void test_records(uint64_t frame) { (void)frame; }

#endif

/* A fault report must not: the fault may have come at any time. */
static bool reports_walk_unlocked(void)
{
    lock(&kernel_space.lock);
    bool right = page_is_mapped_now(DIRECT_MAP) && !page_is_mapped_now(0);
    unlock(&kernel_space.lock);
    return right;
}

void test_lookups(void)
{
    struct spinlock *space = &kernel_space.lock, *frames = &pmm_manager->common->lock;
    uint64_t frame = pmm_alloc();
    EXPECT(frame != NO_FRAME);
    EXPECT(takes(space, translate, (void *)DIRECT_MAP) && takes(space, find_table, (void *)DIRECT_MAP));
    EXPECT(takes(space, check_tables, NULL) && takes(space, check_regions, NULL) && takes(space, find_page, (void *)frame));
    EXPECT(takes(&dma.lock, check_buffers, NULL));
    EXPECT(takes(&heaps.lock, check_heaps, NULL));
    EXPECT(takes(&heaps.lock, begin_heap, &kernel_heap) && takes(&heaps.lock, end_heap, &kernel_heap));
    EXPECT(takes(&kernel_heap.lock, check_heap, &kernel_heap) && takes(&kernel_heap.lock, survey_heap, &kernel_heap));
    EXPECT(takes(frames, check_frames, NULL) && takes(frames, ask_for_frame, (void *)frame));
    test_records(frame);
    EXPECT(reports_walk_unlocked());
    pmm_free(frame);
}
