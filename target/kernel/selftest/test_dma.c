/* Knows what drivers must get: buffers as they asked for, made room for if need be, and frames at once. */

#include "arch/probe.h"
#include "layout.h"
#include "lib/string.h"
#include "mm/dma.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/pmm_manager.h"
#include "mm/pool.h"
#include "mm/vm.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };

static bool suits(const struct dma_buffer *buffer)
{
    return buffer && dma_check() == NULL && page_translate(&kernel_space, buffer->address).physical == buffer->physical
        && page_translate(&kernel_space, buffer->address + buffer->size - 1).physical == buffer->physical + buffer->size - 1;
}

enum { BUFFERS = 24 };

static struct dma_buffer *buffers[BUFFERS];

static struct dma_buffer *random_buffer(void)
{
    uint64_t size = 1 + random_below(48 * KIB);
    return dma_alloc(size, (uint64_t)1 << random_below(17), random_below(2) ? 16 * MIB : 0, random_below(2) ? 64 * KIB : 0, "test");
}

void test_dma(void)
{
    uint64_t used = pmm_counts().used;
    for (unsigned i = 0; i < BUFFERS; i++) {
        EXPECT(suits(buffers[i] = random_buffer()));
        memset((void *)buffers[i]->address, 0x40 + (int)i, buffers[i]->size);
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        EXPECT(is_filled((void *)buffers[i]->address, (unsigned char)(0x40 + i), buffers[i]->size));
        dma_free(buffers[i]);
    }
    EXPECT(dma.count == 0 && pmm_counts().used <= used + 24);          /* tables and records stay */
    EXPECT(dma_alloc(4 * KIB, 4 * KIB, 4 * KIB, 0, "test") == NULL);    /* frame 0 is nobody's */
    EXPECT(dma_alloc(pmm_counts().frames * PAGE_SIZE, 1, 0, 0, "test") == NULL);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static void free_buffer(void *buffer) { dma_free(buffer); }
static void alloc_nothing(void *unused) { (void)unused; dma_alloc(0, 1, 0, 0, "test"); }
static void alloc_aligned(void *align) { dma_alloc(1, (uint64_t)align, 0, 0, "test"); }
static void alloc_bounded(void *boundary) { dma_alloc(8 * KIB, 1, 0, (uint64_t)boundary, "test"); }

void test_dma_refuses(void)
{
    struct dma_buffer *buffer = dma_alloc(8 * KIB, 1, 0, 0, "test"), copy = *buffer;
    EXPECT(probe_panics(free_buffer, &copy) && !dma.lock.locked && dma.count == 1);
    dma_free(buffer);
    EXPECT(probe_panics(free_buffer, buffer) && !dma.lock.locked);
    EXPECT(probe_panics(alloc_nothing, NULL) && probe_panics(alloc_aligned, (void *)3));
    EXPECT(probe_panics(alloc_bounded, (void *)(4 * KIB)) && probe_panics(alloc_bounded, (void *)(12 * KIB)));
}

void test_dma_counts(void)
{
    static const uint64_t counts[ABSURDS] = ABSURD_COUNTS;
    uint64_t count = dma.count;
    for (unsigned i = 0; i < ABSURDS; i++)
        EXPECT(dma_alloc(counts[i], 1, 0, 0, "test") == NULL && dma_alloc(counts[i], 64 * KIB, 16 * MIB, 0, "test") == NULL);
    EXPECT(dma.count == count);
}

static bool finds_changed(uint64_t *field, uint64_t value, const char *rule)
{
    uint64_t saved = *field;
    *field = value;
    const char *broken = dma_check();
    *field = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_dma_check(void)
{
    struct dma_buffer *buffer = dma_alloc(8 * KIB, 8 * KIB, 16 * MIB, 64 * KIB, "test");
    EXPECT(suits(buffer));
    EXPECT(finds_changed(&buffer->physical, buffer->physical + 4 * KIB, "physical is a multiple of align"));
    EXPECT(finds_changed(&buffer->limit, buffer->physical, "the buffer lies below its limit"));
    EXPECT(finds_changed(&buffer->boundary, 4 * KIB, "the buffer crosses no boundary"));
    EXPECT(finds_changed(&buffer->address, buffer->address - 4 * KIB, "the buffer's pages show its frames, one after the other"));
    EXPECT(finds_changed((uint64_t *)&buffer->next, (uint64_t)buffer, "count == length of the list"));
    EXPECT(finds_changed(&dma.count, 0, "count == length of the list"));
    dma_free(buffer);
}

/* --- eviction -------------------------------------------------------------------------------------------------------- */

enum { HOLE_EVERY = 4, HOLES = 128, RUN = 16, FULL_BELOW = 1 << 17 };

static uint64_t area, area_pages;

static uint64_t *page_at(uint64_t index) { return (uint64_t *)(area + index * PAGE_SIZE); }
static bool is_hole(uint64_t index) { return index % HOLE_EVERY == 0 && index < HOLE_EVERY * HOLES; }

/* Every frame that is free goes into one large range; each page bears its number. Then some go back, far from each other. */
static bool fill_memory(void)
{
    area = vm_reserve(&kernel_space, pmm_counts().frames * PAGE_SIZE, VM_DATA, "test");
    for (area_pages = 0; area && vm_commit(&kernel_space, area + area_pages * PAGE_SIZE, PAGE_SIZE, RIGHTS_RW); area_pages++)
        page_at(area_pages)[0] = page_at(area_pages)[511] = area_pages;
    for (uint64_t i = 0; i < area_pages; i++)
        if (is_hole(i))
            vm_decommit(&kernel_space, (uint64_t)page_at(i), PAGE_SIZE);
    return area && area_pages > HOLE_EVERY * HOLES;
}

static bool is_memory_intact(void)
{
    for (uint64_t i = 0; i < area_pages; i++)
        if (!is_hole(i) && (page_at(i)[0] != i || page_at(i)[511] != i))
            return false;
    return true;
}

void test_evict(void)
{
    if (pmm_counts().frames > FULL_BELOW)
        return;                         /* it would take long, and shows nothing more */
    uint64_t moved = dma.moved;
    EXPECT(fill_memory());
    EXPECT(pmm_survey().largest_run < RUN && pmm_alloc_contiguous(RUN, 1) == NO_FRAME);
    struct dma_buffer *any = dma_alloc(RUN * PAGE_SIZE, 1, 0, 0, "test");
    EXPECT(suits(any) && dma.moved > moved);
    struct dma_buffer *low = dma_alloc(RUN * PAGE_SIZE, 64 * KIB, 16 * MIB, 64 * KIB, "test");
    EXPECT(suits(low) && vm_check(&kernel_space) == NULL && pmm_check() == NULL);
    memset((void *)low->address, 0xa5, low->size);
    EXPECT(is_memory_intact());
    EXPECT(dma_alloc((HOLES + 1) * PAGE_SIZE, 1, 0, 0, "test") == NULL);        /* more than there is */
    EXPECT(is_memory_intact() && vm_check(&kernel_space) == NULL && pmm_check() == NULL);
    dma_free(any);
    dma_free(low);
    vm_release(&kernel_space, area);
}

/* --- the pool -------------------------------------------------------------------------------------------------------- */

static uint64_t taken[POOL_MAX];

void test_pool(void)
{
    EXPECT(pool_refill() && frame_pool.count == POOL_MAX);
    lock(&pmm_manager->common->lock);                                   /* as if an interrupt came inside the manager */
    for (unsigned i = 0; i < POOL_MAX; i++)
        taken[i] = pool_take();
    uint64_t too_much = pool_take();
    unlock(&pmm_manager->common->lock);
    EXPECT(too_much == NO_FRAME && frame_pool.count == 0);
    EXPECT(pool_refill() && frame_pool.count == POOL_MAX && pool_check() == NULL);
    for (unsigned i = 0; i < POOL_MAX; i++) {
        EXPECT(taken[i] != NO_FRAME && pmm_is_used(taken[i]));
        pmm_free(taken[i]);
    }
    uint64_t saved = frame_pool.frames[1];
    frame_pool.frames[1] = frame_pool.frames[0];
    const char *broken = pool_check();
    frame_pool.frames[1] = saved;
    EXPECT(broken && strcmp(broken, "no frame is in the pool twice") == 0);
}
