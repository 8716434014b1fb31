/* Knows how to make free frames lie side by side.
 *
 * Theory
 *  1. A frame can be moved if all who use it reach it through a mapping that we can change. That holds for the pages of the
 *     kernel's ranges (heap, arrays): each is mapped once, by mm/vm.c. It does not hold for page tables, region records,
 *     frames that somebody holds by number, and stacks: one of them may be the one we stand on.
 *  2. Every frame that is free or movable is a candidate. The lowest run of candidates that satisfies the wish is cleared:
 *     what is free there is claimed, what is movable is copied to a frame elsewhere, and its page mapped to the copy.
 *  3. Claiming comes first, so that no copy lands inside the run.
 *  4. The way from a frame to its page is in its record (mm/page.h); a kernel without records looks through its ranges.
 *
 * Locks: the address space's for each page that moves, the manager's apart from it. Between two steps everything is intact. */

#include "mm/evict.h"

#include "heap/heap.h"
#include "lib/bits.h"
#include "mm/pmm_manager.h"
#include "mm/vm.h"

/* A bit for each frame. */
struct candidates { uint64_t *bits; uint64_t frames; };

static bool note_free(void *context, uint64_t first, uint64_t count)
{
    bits_fill(((struct candidates *)context)->bits, true, first, count);
    return true;
}

static void note_movable(void *context, uint64_t page, uint64_t frame)
{
    (void)page;
    bits_set(((struct candidates *)context)->bits, frame);
}

static uint64_t lowest_run(const struct candidates *candidates, const struct pmm_wish *wish)
{
    return bits_find_wish(candidates->bits, candidates->frames, wish);
}

static void give_back(uint64_t first, const uint64_t *ours, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (bits_get(ours, i))
            pmm_free(first + i);
}

/* Moves whoever has `frame` to another one. The frame is ours then. */
static bool move_away(uint64_t frame)
{
    uint64_t page = vm_page_with_frame(&kernel_space, frame), to = page ? pmm_alloc() : NO_FRAME;
    if (to == NO_FRAME)
        return false;
    if (vm_move_page(&kernel_space, page, frame, to))
        return true;
    pmm_free(to);
    return false;
}

/* Makes all of the run ours, or nothing. `ours` has room for a bit for each of its frames, all 0. */
static bool clear_run(uint64_t first, uint64_t count, uint64_t *ours, uint64_t *moved)
{
    for (uint64_t i = 0; i < count; i++)
        if (pmm_claim(first + i, 1))
            bits_set(ours, i);
    for (uint64_t i = 0; i < count; i++) {
        if (bits_get(ours, i))
            continue;
        if (!move_away(first + i)) {
            give_back(first, ours, count);
            return false;
        }
        bits_set(ours, i);
        ++*moved;
    }
    return true;
}

uint64_t evict_run(const struct pmm_wish *wish, uint64_t *moved)
{
    struct candidates candidates = { .frames = pmm_counts().frames };
    if (wish->count > candidates.frames || wish->align > candidates.frames)
        return NO_FRAME;
    candidates.bits = kcalloc(bits_words(candidates.frames), sizeof(uint64_t));
    uint64_t *ours = kcalloc(bits_words(wish->count), sizeof(uint64_t)), first = NO_FRAME;
    if (candidates.bits && ours) {
        pmm_each_free(note_free, &candidates);
        vm_each_movable(&kernel_space, note_movable, &candidates);
        first = lowest_run(&candidates, wish);
        if (first != NO_FRAME && !clear_run(first, wish->count, ours, moved))
            first = NO_FRAME;
    }
    kfree(ours);
    kfree(candidates.bits);
    return first;
}
