/* Knows one way to keep account of frames: a flat bitmap with a next-free hint.
 *
 * Theory
 *  1. One bit per frame number, from 0 to the end of RAM, holes included: finding a frame's bit takes a shift and a mask, at
 *     the price of bits for holes. 32 KiB of bitmap per GiB.
 *  2. Bits start out all 1, and are cleared for what is given.
 *  3. Allocation is first fit, lowest frame first. The hint remembers that all below is used, so the search does not start
 *     at 0 every time. An allocation at the hint moves it up, freeing below it moves it down.
 *  4. A word that is `full` is passed over at once; any other is searched bit by bit.
 *
 * Invariants
 *     used             == popcount(bits[0 .. frames))
 *     hint             <= lowest free frame, or <= frames when none is free
 *     bits[frames .. ) == 1 up to the end of the last word
 *     full             == ~0
 *     bit(f) == 0      => are_allocatable(f, 1)
 *
 * Lock: pmm.lock, taken by mm/pmm.c. */

#include "mm/pmm_bitmap.h"

#include "lib/bits.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/frame_view.h"

struct pmm_bitmap pmm;

static uint64_t bytes(void) { return bits_words(pmm.frames) * sizeof(*pmm.bits); }

/* --- searching ------------------------------------------------------------------------------------------------------- */

static uint64_t next_free(uint64_t from)
{
    while (from < pmm.frames && bits_get(pmm.bits, from)) {
        bool full = from % WORD_BITS == 0 && pmm.bits[from / WORD_BITS] == pmm.full;
        from += full ? WORD_BITS : 1;
    }
    return pmm_lesser(from, pmm.frames);
}

static uint64_t next_used(uint64_t from, uint64_t end) { return bits_find(pmm.bits, true, from, end); }

/* --- operations ------------------------------------------------------------------------------------------------------ */

static void init(uint64_t frames)
{
    pmm.full = UINT64_MAX;
    pmm.hint = frames;
    pmm.bits = early_alloc(bits_words(frames) * sizeof(*pmm.bits), RESERVED_PMM_BITMAP);
    memset(pmm.bits, 0xff, bytes());
}

static void give(uint64_t first, uint64_t count)
{
    bits_fill(pmm.bits, false, first, count);
    pmm.hint = pmm_lesser(pmm.hint, first);
}

/* The hint stays: frames below the run may be free. */
static void take(uint64_t first, uint64_t count) { bits_fill(pmm.bits, true, first, count); }

static uint64_t alloc(void)
{
    uint64_t frame = next_free(pmm.hint);
    pmm.hint = frame;
    if (frame == pmm.frames)
        return NO_FRAME;
    take(frame, 1);
    pmm.hint = frame + 1;
    return frame;
}

static uint64_t find(const struct pmm_wish *wish)
{
    uint64_t limit = wish_end(wish, pmm.frames);
    uint64_t first = wish_place(wish, next_free(pmm.hint));
    while (first < limit && wish->count <= limit - first) {
        uint64_t obstacle = next_used(first, first + wish->count);
        if (obstacle == first + wish->count)
            return first;
        first = wish_place(wish, next_free(obstacle));
    }
    return NO_FRAME;
}

static bool is_free(uint64_t frame) { return !bits_get(pmm.bits, frame); }

/* Looks at every bit itself: an answer that owes nothing to the hint or to `full`. */
static bool each_free(pmm_visit *visit, void *context)
{
    for (uint64_t first = bits_find(pmm.bits, false, 0, pmm.frames); first < pmm.frames;) {
        uint64_t end = next_used(first, pmm.frames);
        if (!visit(context, first, end - first))
            return false;
        first = bits_find(pmm.bits, false, end, pmm.frames);
    }
    return true;
}

static struct pmm_metadata metadata(void) { return (struct pmm_metadata) { memory_of_view(pmm.bits), bytes() }; }

/* --- check ----------------------------------------------------------------------------------------------------------- */

uint64_t pmm_recount_used(void)
{
    uint64_t used = 0;
    for (uint64_t frame = 0; frame < pmm.frames; frame++)
        used += bits_get(pmm.bits, frame);
    return used;
}

static const char *check(void)
{
    uint64_t end = bits_words(pmm.frames) * WORD_BITS;
    if (pmm_recount_used() != pmm.used)
        return "used == popcount(bits)";
    if (pmm.hint > bits_find(pmm.bits, false, 0, pmm.frames))
        return "hint <= lowest free frame";
    if (bits_find(pmm.bits, false, pmm.frames, end) != end)
        return "bits beyond frames are 1";
    if (pmm.full != UINT64_MAX)
        return "a full word is all ones";
    return NULL;
}

const struct pmm_operations pmm_bitmap_operations = {
    .name = "bitmap", .common = (struct pmm_common *)&pmm, .lowest_first = true, .finds_all = true,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .metadata = metadata,
};
