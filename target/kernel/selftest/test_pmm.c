/* Knows what every physical manager must do and what it must refuse, whichever one serves. What the manager says is compared
 * with a shadow: a bit for each frame that was free at first, and one for each that the test holds. Runs in the kernel and
 * on the host. */

#include "arch/probe.h"
#include "boot/memory_map.h"
#include "layout.h"
#include "lib/bits.h"
#include "lib/string.h"
#include "mm/frame_view.h"
#include "mm/pmm.h"
#include "mm/pmm_manager.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

/* --- the shadow ------------------------------------------------------------------------------------------------------ */

static uint64_t shadow_frame;           /* where it lies: in frames of the manager's own */
static uint64_t *held;                  /* 1: the test holds that frame */
static uint64_t *free_at_first;         /* 1: it was free when the test began */
static uint64_t held_count;
static uint64_t used_before;

static uint64_t frames(void) { return pmm_manager->common->frames; }
static uint64_t shadow_size(void) { return 2 * bits_words(frames()) * sizeof(*held); }
static uint64_t shadow_frames(void) { return align_up(shadow_size(), PAGE_SIZE) >> PAGE_SHIFT; }

static bool note_free(void *unused, uint64_t first, uint64_t count)
{
    (void)unused;
    bits_fill(free_at_first, true, first, count);
    return true;
}

static bool begin(void)
{
    shadow_frame = pmm_alloc_contiguous(shadow_frames(), 1);
    if (shadow_frame == NO_FRAME)
        return false;
    held = memory_view(shadow_frame << PAGE_SHIFT, shadow_size());
    memset(held, 0, shadow_size());
    free_at_first = held + bits_words(frames());
    held_count = 0;
    used_before = pmm_counts().used;
    return pmm_manager->each_free(note_free, NULL);
}

static void end(void) { pmm_free_run(shadow_frame, shadow_frames()); }

/* False if the manager handed out what it must not. */
static bool note(uint64_t first, uint64_t count)
{
    if (!are_allocatable(first, count) || bits_find(held, true, first, first + count) != first + count
        || bits_find(free_at_first, false, first, first + count) != first + count)
        return false;
    bits_fill(held, true, first, count);
    held_count += count;
    return pmm_is_used(first) && pmm_is_used(first + count - 1) && pmm_counts().used == used_before + held_count;
}

static bool is_left(uint64_t frame) { return bits_get(free_at_first, frame) && !bits_get(held, frame); }

static bool give_back(uint64_t frame)
{
    bits_clear(held, frame);
    held_count--;
    pmm_free(frame);
    return pmm_counts().used == used_before + held_count;
}

/* --- wishes ---------------------------------------------------------------------------------------------------------- */

static uint64_t place(uint64_t count, uint64_t align, uint64_t boundary, uint64_t first)
{
    return wish_place(&(struct pmm_wish) { .count = count, .align = align, .boundary = boundary }, first);
}

void test_pmm_wish(void)
{
    EXPECT(place(4, 1, 0, 13) == 13 && place(4, 8, 0, 13) == 16 && place(4, 8, 0, 16) == 16);
    EXPECT(place(4, 1, 16, 12) == 12 && place(4, 1, 16, 13) == 16);     /* up to the boundary, and one too far */
    EXPECT(place(16, 1, 16, 1) == 16 && place(16, 1, 16, 16) == 16 && place(1, 1, 1, 5) == 5);
    EXPECT(place(6, 4, 16, 9) == 16 && place(4, 64, 16, 1) == 64);

    struct pmm_wish wish = { .count = 4, .align = 4, .below = 20 };
    EXPECT(wish_fits(&wish, 5, 12) == 8 && wish_fits(&wish, 5, 11) == NO_FRAME && wish_fits(&wish, 5, 6) == NO_FRAME);
    EXPECT(wish_end(&wish, 100) == 20 && wish_end(&wish, 10) == 10);
}

/* --- random steps ---------------------------------------------------------------------------------------------------- */

enum { STEPS = 10000, HELD_MAX = 600, CHECK_EVERY = 500 };

static bool satisfies(const struct pmm_wish *wish, uint64_t first)
{
    uint64_t last = first + wish->count - 1;
    return first % wish->align == 0 && (!wish->below || last < wish->below)
        && (!wish->boundary || first / wish->boundary == last / wish->boundary);
}

/* By trying every place: what the manager should have found. */
static bool exists(const struct pmm_wish *wish)
{
    uint64_t run = 0;
    for (uint64_t frame = 0; frame < frames(); frame++) {
        run = is_left(frame) ? run + 1 : 0;
        if (run >= wish->count && satisfies(wish, frame + 1 - wish->count))
            return true;
    }
    return false;
}

static struct pmm_wish random_wish(void)
{
    struct pmm_wish wish = { .count = 1 + random_below(24), .align = (uint64_t)1 << random_below(7) };
    if (random_below(3) == 0)
        wish.below = 0x100 + random_below(frames());
    if (random_below(3) == 0)
        wish.boundary = (uint64_t)32 << random_below(3);
    return wish;
}

static bool take_run(void)
{
    struct pmm_wish wish = random_wish();
    uint64_t first = pmm_alloc_where(&wish);
    return first == NO_FRAME ? !exists(&wish) : satisfies(&wish, first) && note(first, wish.count);
}

static bool take_one(void)
{
    uint64_t frame = pmm_alloc();
    return frame != NO_FRAME && note(frame, 1);
}

/* A free frame, taken by its number. One that is used must be refused. */
static bool claim_one(void)
{
    uint64_t frame = random_below(frames());
    bool was_free = is_left(frame);
    return pmm_claim(frame, 1) == was_free && (!was_free || note(frame, 1));
}

/* The held frame next to a random place. */
static bool give_back_any(void)
{
    uint64_t from = random_below(frames()), frame = bits_find(held, true, from, frames());
    if (frame == frames())
        frame = bits_find(held, true, 0, frames());
    return give_back(frame) && !pmm_is_used(frame);
}

static bool step(void)
{
    uint64_t what = random_below(16);
    if (held_count + 32 > HELD_MAX || (held_count && what < 7))
        return give_back_any();
    return what < 13 ? take_one() : what < 15 ? take_run() : claim_one();
}

void test_pmm_random(void)
{
    EXPECT(begin());
    for (int i = 1; i <= STEPS; i++) {
        EXPECT(step());
        if (i % CHECK_EVERY == 0)
            EXPECT(pmm_check() == NULL && pmm_survey().free == pmm_counts().free);
    }
    while (held_count)
        EXPECT(give_back(bits_find(held, true, 0, frames())));
    EXPECT(pmm_counts().used == used_before && pmm_check() == NULL);
    end();
}

/* --- exhaustion ------------------------------------------------------------------------------------------------------ */

static bool take_all(void)
{
    uint64_t free = pmm_counts().free;
    for (uint64_t frame; (frame = pmm_alloc()) != NO_FRAME;)
        if (!note(frame, 1))
            return false;
    return held_count == free && pmm_counts().free == 0 && pmm_alloc_contiguous(1, 1) == NO_FRAME && pmm_alloc() == NO_FRAME;
}

/* Calls give_back for every frame, in an order: the i-th of them is i * factor modulo a power of two, plus flip. */
static bool give_all_back(uint64_t factor, uint64_t flip)
{
    uint64_t span = 1;
    while (span < frames())
        span *= 2;
    for (uint64_t i = 0; i < span; i++) {
        uint64_t frame = ((i * factor) ^ flip) & (span - 1);
        if (frame < frames() && bits_get(held, frame) && !give_back(frame))
            return false;
    }
    return held_count == 0;
}

void test_pmm_exhaust(void)
{
    EXPECT(begin());
    struct pmm_survey before = pmm_survey();
    static const struct { uint64_t factor, flip; } orders[] = { { 1, 0 }, { 1, UINT64_MAX }, { 0x9e3779b1, 0x5555 } };
    for (unsigned order = 0; order < 3; order++) {      /* upwards, downwards, scattered */
        EXPECT(take_all());
        EXPECT(pmm_check() == NULL && pmm_survey().free == 0);
        EXPECT(give_all_back(orders[order].factor, orders[order].flip));
        EXPECT(pmm_check() == NULL);
        struct pmm_survey after = pmm_survey();
        EXPECT(memcmp(&before, &after, sizeof(before)) == 0);
    }
    end();
}

/* --- runs and blocks ------------------------------------------------------------------------------------------------- */

static bool block_works(unsigned order)
{
    uint64_t size = (uint64_t)1 << order, first = pmm_alloc_block(order);
    if (first == NO_FRAME)
        return !exists(&(struct pmm_wish) { .count = size, .align = size });
    bool right = first % size == 0 && note(first, size) && pmm_check() == NULL;
    bits_fill(held, false, first, size);
    held_count -= size;
    pmm_free_block(first, order);
    return right;
}

/* Every free frame but each fourth is taken: what is left does not touch. */
static bool nothing_in_shreds(void)
{
    if (!take_all())
        return false;
    for (uint64_t frame = bits_find(held, true, 0, frames()); frame < frames(); frame = bits_find(held, true, frame + 1, frames()))
        if (frame % 4 == 0 && !give_back(frame))
            return false;
    return pmm_survey().largest_run == 1 && pmm_alloc_contiguous(2, 1) == NO_FRAME && pmm_check() == NULL;
}

static bool takes_lowest_first(void)
{
    uint64_t lowest = 0;
    while (pmm_is_used(lowest))
        lowest++;
    uint64_t first = pmm_alloc(), second = pmm_alloc();
    pmm_free(first);
    uint64_t again = pmm_alloc();
    pmm_free(again);
    pmm_free(second);
    return first == lowest && second > first && again == first;
}

void test_pmm_runs(void)
{
    EXPECT(begin());
    EXPECT(block_works(ORDER_4K) && block_works(3) && block_works(ORDER_2M) && block_works(ORDER_1G));
    EXPECT(pmm_alloc_contiguous(frames(), 1) == NO_FRAME && pmm_alloc_contiguous(UINT64_MAX, 1) == NO_FRAME);
    EXPECT(pmm_alloc_where(&(struct pmm_wish) { .count = 2, .align = 1, .below = 0x100 }) == NO_FRAME);
    EXPECT(!pmm_claim(frames(), 1) && !pmm_claim(0, 1) && !pmm_claim(shadow_frame, 1));
    if (pmm_manager->lowest_first)
        EXPECT(takes_lowest_first());
    EXPECT(nothing_in_shreds() && give_all_back(1, 0));
    end();
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static void free_frame(void *frame) { pmm_free((uint64_t)frame); }
static void free_two(void *first) { pmm_free_run((uint64_t)first, 2); }
static void alloc_empty_run(void *unused) { (void)unused; pmm_alloc_contiguous(0, 1); }
static void alloc_aligned(void *align) { pmm_alloc_contiguous(1, (uint64_t)align); }

static void alloc_bounded(void *boundary)
{
    pmm_alloc_where(&(struct pmm_wish) { .count = 3, .align = 1, .boundary = (uint64_t)boundary });
}

static bool refuses(void (*operation)(void *), uint64_t frame)
{
    uint64_t before = pmm_counts().used;
    return probe_panics(operation, (void *)frame) && pmm_counts().used == before && !pmm_manager->common->lock.locked;
}

void test_pmm_refuses(void)
{
    uint64_t frame = pmm_alloc_contiguous(2, 1);
    EXPECT(frame != NO_FRAME);
    pmm_free(frame);
    EXPECT(refuses(free_frame, frame));                                 /* twice */
    EXPECT(refuses(free_two, frame) && pmm_is_used(frame + 1));         /* all or nothing */
    pmm_free(frame + 1);
    EXPECT(refuses(free_frame, frame) && refuses(free_frame, frame + 1));
    EXPECT(refuses(free_frame, 0));
    EXPECT(refuses(free_frame, reserved_ranges[0].base >> PAGE_SHIFT));
    EXPECT(refuses(free_frame, reserved_ranges[reserved_count - 1].base >> PAGE_SHIFT));
    if (pmm_manager->metadata)
        EXPECT(refuses(free_frame, pmm_manager->metadata().physical >> PAGE_SHIFT));
    EXPECT(refuses(free_frame, frames()));
    EXPECT(refuses(free_frame, UINT64_MAX));
    EXPECT(refuses(alloc_empty_run, 0));
    EXPECT(refuses(alloc_aligned, 0) && refuses(alloc_aligned, 3));
    EXPECT(refuses(alloc_bounded, 2) && refuses(alloc_bounded, 5));
}

/* --- counts that no machine has -------------------------------------------------------------------------------------- */

struct run { uint64_t first, count; };

static void free_run(void *run) { pmm_free_run(((const struct run *)run)->first, ((const struct run *)run)->count); }
static void free_block(void *order) { pmm_free_block(1, (unsigned)(uint64_t)order); }

void test_pmm_counts(void)
{
    static const uint64_t counts[ABSURDS] = ABSURD_COUNTS;
    static const unsigned orders[] = { FRAME_NUMBER_BITS, 52, 63, 64, 65, 128 };
    uint64_t used = pmm_counts().used, frame = pmm_alloc();
    EXPECT(frame != NO_FRAME);
    for (unsigned i = 0; i < ABSURDS; i++) {
        struct run run = { frame, counts[i] };
        EXPECT(pmm_alloc_contiguous(counts[i], 1) == NO_FRAME && pmm_alloc_contiguous(counts[i], 512) == NO_FRAME);
        EXPECT(pmm_alloc_where(&(struct pmm_wish) { .count = counts[i], .align = 1, .below = frame + 1 }) == NO_FRAME);
        EXPECT(!pmm_claim(frame + 1, counts[i]) && probe_panics(free_run, &run) && !pmm_manager->common->lock.locked);
    }
    for (unsigned i = 0; i < sizeof(orders) / sizeof(*orders); i++)
        EXPECT(pmm_alloc_block(orders[i]) == NO_FRAME && refuses(free_block, orders[i]));
    EXPECT(pmm_counts().used == used + 1);
    pmm_free(frame);
}
