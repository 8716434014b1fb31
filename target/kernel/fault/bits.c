/* Knows the faults that only bitmaps have. */

#include "lib/bits.h"
#include "fault/faults.h"
#include "mm/pmm_bitmap.h"
#include "mm/pmm_levels.h"
#include "mm/pmm_regions.h"

/* A free that does not bring the hint down: frames below it are never found again. */
const char *fault_hint_too_high(void)
{
    if (pmm_manager == &pmm_bitmap_operations) {
        uint64_t lowest = bits_find(pmm.bits, false, 0, pmm.frames);
        pmm.hint = pmm_lesser(lowest + WORD_BITS, pmm.frames);
        fault_at_pointer(&pmm.hint);
        return lowest < pmm.frames ? NULL : "no frame is free";
    }
    if (pmm_manager == &pmm_regions_operations) {
        struct pmm_region *region = &pmm_regions.region[pmm_regions.count - 1];
        region->hint = pmm_lesser(bits_find(region->bits, false, 0, region->frames) + WORD_BITS, region->frames);
        fault_at_pointer(&region->hint);
        return region->used < region->frames ? NULL : "no frame is free";
    }
    return "this manager has no hint";
}

static const char *clear_tail(uint64_t *bits, uint64_t count)
{
    bits_flip(bits, count);
    fault_at_pointer(&bits[count / WORD_BITS]);
    return NULL;
}

/* The bitmap was filled byte by byte, or word by word, as far as there are frames. */
const char *fault_tail_free(void)
{
    if (pmm_manager == &pmm_bitmap_operations && pmm.frames % WORD_BITS)
        return clear_tail(pmm.bits, pmm.frames);
    if (pmm_manager == &pmm_levels_operations && pmm_levels.frames % WORD_BITS)
        return clear_tail(pmm_levels.level[0].bits, pmm_levels.frames);
    for (uint64_t i = 0; pmm_manager == &pmm_regions_operations && i < pmm_regions.count; i++)
        if (pmm_regions.region[i].frames % WORD_BITS)
            return clear_tail(pmm_regions.region[i].bits, pmm_regions.region[i].frames);
    return "this manager has no bits beyond its last frame";
}

/* The summary is cleared when one bit of the word is, not when all are. */
const char *fault_stale_summary(void)
{
    if (pmm_manager != &pmm_levels_operations)
        return "this manager has no summaries";
    struct pmm_level *summary = &pmm_levels.level[1];
    uint64_t lowest = bits_find(summary->bits, true, 0, summary->count);
    if (lowest == summary->count)
        return "no frame is free";
    bits_clear(summary->bits, lowest);
    fault_at_pointer(&summary->bits[lowest / WORD_BITS]);
    return NULL;
}

/* 0xfffffffffffffff has 15 digits. */
const char *fault_full_word(void)
{
    if (pmm_manager != &pmm_bitmap_operations)
        return "this manager does not compare words";
    pmm.full = 0xfffffffffffffff;
    fault_at_pointer(&pmm.full);
    return NULL;
}
