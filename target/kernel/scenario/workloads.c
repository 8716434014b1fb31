/* Knows the scenarios that exercise the managers from the top, as a running kernel would. */

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/vm.h"
#include "scenario/ledger.h"
#include "scenario/random.h"
#include "scenario/scenario.h"
#include "scenario/scenarios.h"

static void must(bool held)
{
    if (!held)
        panic("the scenario needs more memory than there is");
}

/* Small sizes often, large ones seldom: first a power of two up to 64 KiB, then anything up to it. */
static size_t random_size(void)
{
    return 1 + random_below((uint64_t)1 << random_below(17));
}

static void drop_some_chunks(uint64_t count)
{
    while (count-- && ledger.chunk_count)
        drop_chunk(random_below(ledger.chunk_count));
}

static void drop_some_frames(uint64_t count)
{
    while (count-- && ledger.frame_count)
        drop_frame(random_below(ledger.frame_count));
}

void idle_scenario(void) { }

/* --- workload -------------------------------------------------------------------------------------------------------- */

static void use_chunks(void)
{
    for (int i = 0; i < 160; i++)
        must(hold_chunk(random_size()));
    drop_some_chunks(70);
    for (int i = 0; i < 40; i++)                        /* some of these land in the gaps */
        must(hold_chunk(random_size()));
    must(hold_chunk(1) && hold_chunk(64 << 10));        /* both ends of the range, whatever the seed */
}

static void use_frames(void)
{
    for (int i = 0; i < 48; i++)
        must(hold_frame());
    must(hold_frame_run(16, 16) && hold_frame_run(5, 1) && hold_frame_run(64, 64));
    drop_some_frames(40);
}

/* One range wholly committed, one in part (some of that read-only), one not at all, and a gap where one was. */
static void use_ranges(void)
{
    uint64_t whole = vm_reserve(&kernel_space, 4 * PAGE_SIZE, VM_DATA, "whole");
    uint64_t gone = vm_reserve(&kernel_space, 32 * PAGE_SIZE, VM_DATA, "gone");
    uint64_t part = vm_reserve(&kernel_space, 64 * PAGE_SIZE, VM_DATA, "part");
    uint64_t bare = vm_reserve(&kernel_space, 1 << 30, VM_DATA, "bare");
    must(whole && gone && part && bare);
    must(vm_commit(&kernel_space, whole, 4 * PAGE_SIZE, RIGHTS_RW));
    must(vm_commit(&kernel_space, gone, 32 * PAGE_SIZE, RIGHTS_RW));
    must(vm_commit(&kernel_space, part + 8 * PAGE_SIZE, 3 * PAGE_SIZE, RIGHTS_R));
    must(vm_commit(&kernel_space, part + 40 * PAGE_SIZE, PAGE_SIZE, RIGHTS_RW));
    memset((void *)whole, 0x5a, 4 * PAGE_SIZE);
    vm_release(&kernel_space, gone);
}

void workload(void)
{
    use_chunks();
    use_frames();
    use_ranges();
}

/* --- fragment, exhaust, grow ----------------------------------------------------------------------------------------- */

void fragment(void)
{
    for (int i = 0; i < 256; i++)
        must(hold_chunk(64 + random_below(961)) && hold_frame());
    for (uint64_t i = 256; i >= 2; i -= 2) {            /* downwards: the one that takes the free place has had its turn */
        drop_chunk(i - 1);
        drop_frame(i - 1);
    }
}

void exhaust(void)
{
    must(ledger_make_room_for_frames(pmm_counts().free));
    uint64_t used_before = pmm_counts().used;
    while (hold_frame())
        ;
    if (pmm_counts().free || ledger.frame_count == 0)
        panic("exhaust: the manager gave up with %lu frames free", pmm_counts().free);
    print("exhaust: all %lu frames taken\n", ledger.frame_count);
    check_all_managers();

    drop_some_frames(ledger.frame_count);
    if (pmm_counts().used != used_before)
        panic("exhaust: %lu frames used, %lu before", pmm_counts().used, used_before);
    print("exhaust: all given back, %lu used as before\n", used_before);
}

static uint64_t heap_kib(void) { return kernel_heap.committed >> 10; }

void grow(void)
{
    uint64_t before = heap_kib();
    for (int i = 0; i < 12; i++)
        must(hold_chunk(1 + random_below(512)));
    uint64_t kept = ledger.chunk_count;
    for (int i = 0; i < 96; i++)
        must(hold_chunk((32 << 10) + random_below(32 << 10)));
    uint64_t most = heap_kib();
    while (ledger.chunk_count > kept)
        drop_chunk(ledger.chunk_count - 1);
    print("grow: heap of %lu KiB, then %lu, then %lu\n", before, most, heap_kib());
    if (most < 4 * before || (kernel_heap.operations->shrinks && heap_kib() > most / 4))
        panic("grow: the heap did not grow and shrink");
}

/* --- churn ----------------------------------------------------------------------------------------------------------- */

enum { CHURN_STEPS = 20000, CHURN_CHECK_EVERY = 1000, CHURN_CHUNKS = 192, CHURN_FRAMES = 384, CHURN_RANGES = 12 };

static uint64_t churn_ranges[CHURN_RANGES];         /* bases; 0 where there is none */

/* A slot that is empty gets a range, one that is full gives it back. */
static void churn_range(void)
{
    uint64_t *slot = &churn_ranges[random_below(CHURN_RANGES)];
    if (*slot) {
        vm_release(&kernel_space, *slot);
        *slot = 0;
        return;
    }
    uint64_t size = (1 + random_below(16)) * PAGE_SIZE;
    uint64_t base = vm_reserve(&kernel_space, size, VM_DATA, "churn");
    must(base && vm_commit(&kernel_space, base, size, RIGHTS_RW));
    if (random_below(2))
        vm_decommit(&kernel_space, base, PAGE_SIZE);
    *slot = base;
}

static void churn_chunk(void)
{
    if (ledger.chunk_count == CHURN_CHUNKS || (ledger.chunk_count && random_below(5) < 2))
        drop_chunk(random_below(ledger.chunk_count));
    else if (ledger.chunk_count && random_below(4) == 0)
        must(resize_chunk(random_below(ledger.chunk_count), random_size()));
    else
        must(hold_chunk(random_size()));
}

static void churn_frame(void)
{
    if (ledger.frame_count + 8 > CHURN_FRAMES || (ledger.frame_count && random_below(5) < 2))
        drop_frame(random_below(ledger.frame_count));
    else if (random_below(16) == 0)
        must(hold_frame_run(1 + random_below(8), (uint64_t)1 << random_below(4)));
    else
        must(hold_frame());
}

void churn(void)
{
    for (int step = 1; step <= CHURN_STEPS; step++) {
        uint64_t what = random_below(16);
        what == 0 ? churn_range() : what < 11 ? churn_chunk() : churn_frame();
        if (step % CHURN_CHECK_EVERY == 0)
            check_all_managers();
    }
}
