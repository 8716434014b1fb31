/* Knows what the virtual-memory layer must do, what it must refuse, and that its check fires. */

#include "arch/probe.h"
#include "heap/heap.h"
#include "layout.h"
#include "lib/string.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/vm.h"
#include "scenario/ledger.h"
#include "selftest/selftest.h"

static void test_guards_and_commit(void)
{
    uint64_t base = vm_reserve(&kernel_space, 3 * PAGE_SIZE - 5, VM_DATA, "test");
    EXPECT(base >= VM_START && is_aligned(base, PAGE_SIZE));
    EXPECT(!probe_read(base));                                          /* reserved is not committed */
    EXPECT(vm_commit(&kernel_space, base, 3 * PAGE_SIZE, RIGHTS_RW));
    memset((void *)base, 0x11, 3 * PAGE_SIZE);
    EXPECT(!probe_read(base - 1) && !probe_read(base + 3 * PAGE_SIZE)); /* guards on both sides */

    uint64_t used = pmm_counts().used;
    vm_decommit(&kernel_space, base + PAGE_SIZE, PAGE_SIZE);
    EXPECT(pmm_counts().used == used - 1);
    EXPECT(probe_read(base) && !probe_read(base + PAGE_SIZE) && probe_read(base + 2 * PAGE_SIZE));
    vm_release(&kernel_space, base);
    EXPECT(pmm_counts().used == used - 3);
    EXPECT(!probe_read(base));
}

enum { MANY = 150 };                    /* more records than one frame holds */

static uint64_t bases[MANY];

static void test_many(void)
{
    uint64_t count = kernel_space.regions.count;
    for (unsigned i = 0; i < MANY; i++)
        EXPECT((bases[i] = vm_reserve(&kernel_space, (1 + i % 7) * PAGE_SIZE, VM_DATA, "test")));
    EXPECT(kernel_space.regions.count == count + MANY && vm_check(&kernel_space) == NULL);
    for (unsigned i = 0; i < MANY; i += 2)
        vm_release(&kernel_space, bases[i]);
    EXPECT(vm_check(&kernel_space) == NULL);

    uint64_t reused = vm_reserve(&kernel_space, PAGE_SIZE, VM_DATA, "test");
    EXPECT(reused < bases[MANY - 1]);                                   /* a gap, not the end */
    vm_release(&kernel_space, reused);
    for (unsigned i = 1; i < MANY; i += 2)
        vm_release(&kernel_space, bases[i]);
    EXPECT(kernel_space.regions.count == count);
}

void test_vm_ranges(void)
{
    test_guards_and_commit();
    test_many();
    EXPECT(vm_reserve(&kernel_space, 0, VM_DATA, "test") == 0);
    EXPECT(vm_reserve(&kernel_space, VM_END - VM_START, VM_DATA, "test") == 0);         /* no room for the guards */
    EXPECT(vm_reserve(&kernel_space, UINT64_MAX, VM_DATA, "test") == 0);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

struct range { uint64_t base, size; };

static void commit(void *wanted)
{
    const struct range *range = wanted;
    vm_commit(&kernel_space, range->base, range->size, RIGHTS_RW);
}

static void decommit(void *wanted)
{
    const struct range *range = wanted;
    vm_decommit(&kernel_space, range->base, range->size);
}

static void release(void *range) { vm_release(&kernel_space, ((const struct range *)range)->base); }

static bool refuses(void (*operation)(void *), uint64_t base, uint64_t size)
{
    struct range range = { base, size };
    return probe_panics(operation, &range) && !kernel_space.lock.locked;
}

void test_vm_refuses(void)
{
    uint64_t base = vm_reserve(&kernel_space, 4 * PAGE_SIZE, VM_DATA, "test");
    EXPECT(vm_commit(&kernel_space, base + PAGE_SIZE, PAGE_SIZE, RIGHTS_RW));
    EXPECT(refuses(commit, base, 2 * PAGE_SIZE));                       /* half of it is committed */
    EXPECT(refuses(commit, base, 5 * PAGE_SIZE));                       /* runs into the guard */
    EXPECT(refuses(commit, base + 1, PAGE_SIZE));
    EXPECT(refuses(commit, base, 0));
    EXPECT(refuses(commit, base, (uint64_t)-PAGE_SIZE));
    EXPECT(refuses(decommit, base, 2 * PAGE_SIZE));
    EXPECT(refuses(decommit, VM_END - PAGE_SIZE, PAGE_SIZE));
    EXPECT(refuses(release, base + PAGE_SIZE, 0));
    vm_release(&kernel_space, base);
    EXPECT(refuses(release, base, 0));
}

/* --- counts that no machine has -------------------------------------------------------------------------------------- */

static uint64_t test_frame;

static void commit_frames(void *range)
{
    const struct range *pages = range;
    vm_commit_frames(&kernel_space, pages->base, test_frame, pages->size, RIGHTS_RW);
}

void test_vm_counts(void)
{
    static const uint64_t counts[ABSURDS] = ABSURD_COUNTS;
    uint64_t base = vm_reserve(&kernel_space, 4 * PAGE_SIZE, VM_DATA, "test");
    EXPECT(base && (test_frame = pmm_alloc()) != NO_FRAME);
    for (unsigned i = 0; i < ABSURDS; i++) {
        EXPECT(vm_reserve(&kernel_space, counts[i], VM_DATA, "test") == 0);
        EXPECT(refuses(commit, base, counts[i]) && refuses(decommit, base, counts[i]));
        EXPECT(refuses(commit_frames, base, counts[i]) && !probe_read(base));
    }
    pmm_free(test_frame);
    vm_release(&kernel_space, base);
}

/* --- the check fires ------------------------------------------------------------------------------------------------- */

static bool finds_changed(uint64_t *field, uint64_t value, const char *rule)
{
    uint64_t saved = *field;
    *field = value;
    const char *broken = vm_check(&kernel_space);
    *field = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_vm_check(void)
{
    struct vm_region *first = kernel_space.regions.first, *second = first->next;
    EXPECT(finds_changed(&first->committed, first->committed + 1, "committed == pages that are mapped"));
    EXPECT(finds_changed(&first->size, first->size + PAGE_SIZE, "guards are not mapped")
           || finds_changed(&first->size, first->size + PAGE_SIZE, "regions are sorted, with a guard between neighbours"));
    EXPECT(finds_changed(&first->size, 0, "regions are whole pages"));
    EXPECT(finds_changed(&second->base, first->base, "regions are sorted, with a guard between neighbours"));
    EXPECT(finds_changed((uint64_t *)&second->prev, 0, "region.next.prev == region"));
    EXPECT(finds_changed((uint64_t *)&kernel_space.regions.last, (uint64_t)first, "last is the end of the list"));
    EXPECT(finds_changed(&kernel_space.regions.count, kernel_space.regions.count + 1, "count == length of the list"));
    EXPECT(finds_changed((uint64_t *)&second->next, 0, "count == length of the list"));
}

/* --- when frames run out --------------------------------------------------------------------------------------------- */

enum { LEFT_OVER = 40, WANTED = 200 };

/* All but LEFT_OVER frames are held, then everybody asks for more than that. */
static void ask_for_too_much(uint64_t base, char *precious)
{
    uint64_t committed = kernel_space.regions.last->committed;
    EXPECT(!vm_commit(&kernel_space, base, WANTED * PAGE_SIZE, RIGHTS_RW));
    EXPECT(kernel_space.regions.last->committed == committed && !probe_read(base)); /* all or nothing */
    EXPECT(kmalloc(WANTED * PAGE_SIZE) == NULL);
    EXPECT(krealloc(precious, WANTED * PAGE_SIZE) == NULL);
    EXPECT(strcmp(precious, "precious") == 0);
}

/* One frame is left, and a page far away from all others needs a second one for its table. */
static void ask_for_the_last_frame(void)
{
    uint64_t far = vm_reserve(&kernel_space, (uint64_t)4 << 30, VM_DATA, "test");
    EXPECT(far);
    while (pmm_counts().free > 1)
        EXPECT(hold_frame());
    EXPECT(!vm_commit(&kernel_space, far + ((uint64_t)2 << 30), PAGE_SIZE, RIGHTS_RW));
    EXPECT(pmm_counts().free == 1);                                             /* it came back */
    vm_release(&kernel_space, far);
}

void test_out_of_memory(void)
{
    uint64_t base = vm_reserve(&kernel_space, WANTED * PAGE_SIZE, VM_DATA, "test");
    char *precious = kmalloc(16);
    EXPECT(base && precious);
    memcpy(precious, "precious", sizeof("precious"));
    EXPECT(ledger_make_room_for_frames(pmm_counts().free));
    while (pmm_counts().free > LEFT_OVER)
        EXPECT(hold_frame());
    ask_for_too_much(base, precious);
    ask_for_the_last_frame();
    while (ledger.frame_count)
        drop_frame(ledger.frame_count - 1);
    EXPECT(vm_commit(&kernel_space, base, WANTED * PAGE_SIZE, RIGHTS_RW));      /* and now there is enough */
    vm_release(&kernel_space, base);
    kfree(precious);
}
