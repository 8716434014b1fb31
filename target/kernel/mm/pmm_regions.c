/* Knows a second way to keep account of frames: one bitmap for each stretch of RAM.
 *
 * Theory
 *  1. The memory map says where RAM is. Each of its stretches gets a bitmap of its own, so holes cost nothing, however large
 *     they are. The price is a search for the stretch that a frame lies in; there are a handful.
 *  2. Neighbouring entries of the map that are RAM (usable, or ACPI memory that may be reclaimed) make one region.
 *  3. Within a region all is as with one flat bitmap: first fit from a hint, lowest region first.
 *
 * Invariants
 *     regions are sorted and disjoint, and cover every frame that is RAM
 *     region.used == popcount(region.bits[0 .. region.frames))
 *     region.hint <= its lowest bit that is 0; bits beyond region.frames are 1 up to the end of the last word
 *     sum of (region.frames - region.used) == frames - used
 *
 * Lock: pmm_regions.lock, taken by mm/pmm.c. */

#include "mm/pmm_regions.h"

#include "lib/bits.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/frame_view.h"

struct pmm_regions pmm_regions;

static uint64_t bytes(const struct pmm_region *region) { return bits_words(region->frames) * sizeof(*region->bits); }

static struct pmm_region *end_of_regions(void) { return &pmm_regions.region[pmm_regions.count]; }

#define FOR_EACH_REGION(region) for (struct pmm_region *region = pmm_regions.region; region < end_of_regions(); region++)

/* Only asked about RAM, and RAM has a region. */
static struct pmm_region *region_of(uint64_t frame)
{
    struct pmm_region *region = pmm_regions.region;
    while (frame - region->first >= region->frames)
        region++;
    return region;
}

/* --- init ------------------------------------------------------------------------------------------------------------ */

static void note_ram(uint64_t first, uint64_t end)
{
    struct pmm_region *last = pmm_regions.count ? end_of_regions() - 1 : NULL;
    if (first >= end)
        return;
    if (last && last->first + last->frames == first)
        last->frames += end - first;
    else
        pmm_regions.region[pmm_regions.count++] = (struct pmm_region) { .first = first, .frames = end - first };
}

/* One piece of memory for all bitmaps, cut up by regions. */
static void init(uint64_t frames)
{
    (void)frames;
    pmm_regions.count = 0;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (is_ram_type(boot_map[i].type))
            note_ram(map_first_frame(&boot_map[i]), map_end_frame(&boot_map[i]));
    uint64_t size = 0;
    FOR_EACH_REGION(region)
        size += bytes(region);
    uint64_t *bits = early_alloc(size, RESERVED_PMM_METADATA);
    memset(bits, 0xff, size);
    FOR_EACH_REGION(region) {
        region->bits = bits;
        region->used = region->hint = region->frames;
        bits += bits_words(region->frames);
    }
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

/* A stretch of RAM that is given or taken lies in one region: it lies in one stretch of the map. */
static void give(uint64_t first, uint64_t count)
{
    struct pmm_region *region = region_of(first);
    bits_fill(region->bits, false, first - region->first, count);
    region->used -= count;
    region->hint = pmm_lesser(region->hint, first - region->first);
}

static void take(uint64_t first, uint64_t count)
{
    struct pmm_region *region = region_of(first);
    bits_fill(region->bits, true, first - region->first, count);
    region->used += count;
}

static uint64_t alloc(void)
{
    FOR_EACH_REGION(region) {
        if (region->used == region->frames)
            continue;
        uint64_t bit = bits_find(region->bits, false, region->hint, region->frames);
        take(region->first + bit, 1);
        region->hint = bit + 1;
        return region->first + bit;
    }
    return NO_FRAME;
}

static uint64_t find_in(const struct pmm_region *region, const struct pmm_wish *wish)
{
    uint64_t limit = wish_end(wish, region->first + region->frames);
    for (uint64_t bit = bits_find(region->bits, false, region->hint, region->frames); bit < region->frames;) {
        uint64_t end = bits_find(region->bits, true, bit, region->frames);
        uint64_t place = wish_fits(wish, region->first + bit, pmm_lesser(region->first + end, limit));
        if (place != NO_FRAME)
            return place;
        bit = bits_find(region->bits, false, end, region->frames);
    }
    return NO_FRAME;
}

static uint64_t find(const struct pmm_wish *wish)
{
    uint64_t place = NO_FRAME;
    FOR_EACH_REGION(region)
        if (place == NO_FRAME && region->frames - region->used >= wish->count)
            place = find_in(region, wish);
    return place;
}

static bool is_free(uint64_t frame)
{
    const struct pmm_region *region = region_of(frame);
    return !bits_get(region->bits, frame - region->first);
}

static bool each_free(pmm_visit *visit, void *context)
{
    FOR_EACH_REGION(region)
        for (uint64_t bit = bits_find(region->bits, false, 0, region->frames); bit < region->frames;) {
            uint64_t end = bits_find(region->bits, true, bit, region->frames);
            if (!visit(context, region->first + bit, end - bit))
                return false;
            bit = bits_find(region->bits, false, end, region->frames);
        }
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check_region(const struct pmm_region *region)
{
    uint64_t used = 0, end = bits_words(region->frames) * WORD_BITS;
    for (uint64_t bit = 0; bit < region->frames; bit++)
        used += bits_get(region->bits, bit);
    if (used != region->used)
        return "region.used == popcount(region.bits)";
    if (region->hint > bits_find(region->bits, false, 0, region->frames))
        return "region.hint <= its lowest free bit";
    if (bits_find(region->bits, false, region->frames, end) != end)
        return "bits beyond region.frames are 1";
    return NULL;
}

static bool is_covered(const struct boot_map_entry *entry)
{
    uint64_t first = map_first_frame(entry), end = map_end_frame(entry);
    FOR_EACH_REGION(region)
        if (first >= region->first && end <= region->first + region->frames)
            return true;
    return first >= end;
}

static const char *check(void)
{
    uint64_t free = 0, end = 0;
    FOR_EACH_REGION(region) {
        const char *broken = check_region(region);
        if (broken)
            return broken;
        if (region->first < end)
            return "regions are sorted and disjoint";
        end = region->first + region->frames;
        free += region->frames - region->used;
    }
    if (free != pmm_regions.frames - pmm_regions.used)
        return "sum of free bits == frames - used";
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (is_ram_type(boot_map[i].type) && !is_covered(&boot_map[i]))
            return "regions cover all RAM";
    return NULL;
}

static void report(void)
{
    FOR_EACH_REGION(region)
        print("report region first=%lu frames=%lu used=%lu hint=%lu bits=%p\n", region->first, region->frames, region->used,
              region->hint, (void *)region->bits);
}

static struct pmm_metadata metadata(void)
{
    const struct pmm_region *last = end_of_regions() - 1;
    uint64_t size = (uint64_t)((char *)last->bits - (char *)pmm_regions.region[0].bits) + bytes(last);
    return (struct pmm_metadata) { memory_of_view(pmm_regions.region[0].bits), size };
}

const struct pmm_operations pmm_regions_operations = {
    .name = "regions", .common = (struct pmm_common *)&pmm_regions, .lowest_first = true, .finds_all = true,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .report = report, .metadata = metadata,
};
