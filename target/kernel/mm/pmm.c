/* Knows what all physical managers have in common: who may ask for what, the counters, and how to count afresh.
 *
 * Theory
 *  1. A manager knows which frames are free and nothing else (pmm_manager.h). Whether a request makes sense, whether a
 *     frame may be freed, how many are used: that is decided here, once, for all.
 *  2. At boot every frame is used. Then each stretch of usable RAM that nothing reserves is given to the manager. So
 *     whatever was forgotten is used: an error on this side wastes a frame, on the other it destroys somebody's data.
 *  3. The survey asks the manager for all its free frames and marks them in a scratch bitmap of its own. From that follow
 *     the number of free frames, the largest run, and whether one was named twice or is no usable RAM at all. A manager
 *     that cannot find contiguous frames (a stack) has them found there.
 *
 * Invariants, of every manager
 *     frames   == end of RAM; frames == reserved + usable
 *     reserved <= used <= frames
 *     used     == frames - (free frames that the manager's structures hold)
 *     every free frame is held once, and are_allocatable(frame, 1)
 *
 * Lock: the manager's own, last in the order; nothing is taken while it is held. */

#include "mm/pmm.h"

#include "boot/memory_map.h"
#include "boot/options.h"
#include "lib/bits.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/page.h"
#include "mm/pmm_manager.h"

static const struct pmm_operations *const managers[] = {
    &pmm_bitmap_operations,             /* the first is the default */
    &pmm_regions_operations, &pmm_levels_operations, &pmm_runs_operations, &pmm_stack_operations, &pmm_pages_operations,
    &pmm_buddy_operations, &pmm_tree_operations,
};

enum { MANAGERS = sizeof(managers) / sizeof(*managers) };

const struct pmm_operations *pmm_manager;

static uint64_t *scratch;               /* a bit for each frame, 1 where the survey found it free; stale between surveys */
static uint64_t zone_usable[ZONES];

/* --- zones ----------------------------------------------------------------------------------------------------------- */

const struct pmm_zone_limits pmm_zones[ZONES] = {
    [ZONE_ISA] = { "isa", 0, ISA_END }, [ZONE_LOW] = { "low", ISA_END, LOW_END }, [ZONE_HIGH] = { "high", LOW_END, HIGH_END },
};

enum pmm_zone pmm_zone_of(uint64_t frame)
{
    return frame < pmm_zones[ZONE_ISA].end ? ZONE_ISA : frame < pmm_zones[ZONE_LOW].end ? ZONE_LOW : ZONE_HIGH;
}

/* The part of [first, end) that lies in the zone: its length, 0 when there is none. */
static uint64_t part_in_zone(uint64_t first, uint64_t end, enum pmm_zone zone)
{
    first = pmm_greater(first, pmm_zones[zone].first);
    end = pmm_lesser(end, pmm_zones[zone].end);
    return first < end ? end - first : 0;
}

static void count_usable(uint64_t first, uint64_t count)
{
    for (unsigned zone = 0; zone < ZONES; zone++)
        zone_usable[zone] += part_in_zone(first, first + count, zone);
    pmm_manager->common->usable += count;
    pmm_manager->common->reserved -= count;
}

/* --- the survey ------------------------------------------------------------------------------------------------------ */

static bool note_free(void *context, uint64_t first, uint64_t count)
{
    struct pmm_survey *survey = context;
    uint64_t frames = pmm_manager->common->frames;
    if (first >= frames || count > frames - first) {
        survey->broken = "free frames have numbers below frames";
        return false;
    }
    if (bits_find(scratch, true, first, first + count) != first + count) {
        survey->broken = "every free frame is held once";
        return false;
    }
    bits_fill(scratch, true, first, count);
    survey->free += count;
    return true;
}

static void note_run(struct pmm_survey *survey, uint64_t first, uint64_t end)
{
    survey->runs++;
    survey->largest_run = pmm_greater(survey->largest_run, end - first);
    for (unsigned zone = 0; zone < ZONES; zone++) {
        uint64_t part = part_in_zone(first, end, zone);
        survey->zone[zone].free += part;
        survey->zone[zone].largest_run = pmm_greater(survey->zone[zone].largest_run, part);
    }
    if (!survey->broken && !are_allocatable(first, end - first))
        survey->broken = "free frames are usable RAM that nothing reserves";
}

/* With the lock held. Leaves a bit for every free frame in `scratch`. */
static struct pmm_survey survey_free(void)
{
    struct pmm_survey survey = { 0 };
    uint64_t frames = pmm_manager->common->frames;
    memset(scratch, 0, bits_words(frames) * sizeof(*scratch));
    if (!pmm_manager->each_free(note_free, &survey) && !survey.broken)
        survey.broken = "the free frames can be walked";
    for (uint64_t first = bits_find(scratch, true, 0, frames); first < frames;) {
        uint64_t end = bits_find(scratch, false, first, frames);
        note_run(&survey, first, end);
        first = bits_find(scratch, true, end, frames);
    }
    for (unsigned zone = 0; zone < ZONES; zone++)
        survey.zone[zone].usable = zone_usable[zone];
    return survey;
}

struct pmm_survey pmm_survey(void)
{
    lock(&pmm_manager->common->lock);
    struct pmm_survey survey = survey_free();
    unlock(&pmm_manager->common->lock);
    return survey;
}

bool pmm_each_free(bool (*visit)(void *context, uint64_t first, uint64_t count), void *context)
{
    lock(&pmm_manager->common->lock);
    bool whole = pmm_manager->each_free(visit, context);
    unlock(&pmm_manager->common->lock);
    return whole;
}

/* The lowest run that satisfies the wish, whatever the manager is able to find itself. */
static uint64_t find_by_survey(const struct pmm_wish *wish)
{
    survey_free();
    return bits_find_wish(scratch, pmm_manager->common->frames, wish);
}

/* --- taking ---------------------------------------------------------------------------------------------------------- */

static uint64_t free_count(void) { return pmm_manager->common->frames - pmm_manager->common->used; }

static void book(uint64_t first, uint64_t count)
{
    pmm_manager->common->used += count;
    pages_allocated(first, count);
}

uint64_t pmm_alloc(void)
{
    lock(&pmm_manager->common->lock);
    uint64_t frame = pmm_manager->alloc();
    if (frame != NO_FRAME)
        book(frame, 1);
    unlock(&pmm_manager->common->lock);
    return frame;
}

static bool is_power(uint64_t value) { return value && !(value & (value - 1)); }

static uint64_t find_run(const struct pmm_wish *wish)
{
    if (wish->count > free_count() || wish->align > pmm_manager->common->frames)
        return NO_FRAME;                /* and no manager has to fear that its sums overflow */
    uint64_t first = pmm_manager->find ? pmm_manager->find(wish) : NO_FRAME;
    if (first == NO_FRAME && !pmm_manager->finds_all)
        first = find_by_survey(wish);
    return first;
}

uint64_t pmm_alloc_where(const struct pmm_wish *wish)
{
    if (wish->count == 0 || !is_power(wish->align))
        panic("pmm: a run of %lu frames aligned to %lu cannot be", wish->count, wish->align);
    if (wish->boundary && (!is_power(wish->boundary) || wish->boundary < wish->count))
        panic("pmm: a run of %lu frames inside a boundary of %lu cannot be", wish->count, wish->boundary);
    lock(&pmm_manager->common->lock);
    uint64_t first = find_run(wish);
    if (first != NO_FRAME) {
        pmm_manager->take(first, wish->count);
        book(first, wish->count);
    }
    unlock(&pmm_manager->common->lock);
    return first;
}

uint64_t pmm_alloc_contiguous(uint64_t count, uint64_t align)
{
    return pmm_alloc_where(&(struct pmm_wish) { .count = count, .align = align });
}

uint64_t pmm_alloc_block(unsigned order)
{
    if (order >= FRAME_NUMBER_BITS)
        return NO_FRAME;
    uint64_t size = (uint64_t)1 << order, first = pmm_alloc_contiguous(size, size);
    if (first != NO_FRAME) {
        lock(&pmm_manager->common->lock);
        pages_set_order(first, order);
        unlock(&pmm_manager->common->lock);
    }
    return first;
}

static bool are_free(uint64_t first, uint64_t count)
{
    if (first >= pmm_manager->common->frames || count > pmm_manager->common->frames - first || !are_allocatable(first, count))
        return false;
    for (uint64_t frame = first; frame < first + count; frame++)
        if (!pmm_manager->is_free(frame))
            return false;
    return true;
}

bool pmm_claim(uint64_t first, uint64_t count)
{
    lock(&pmm_manager->common->lock);
    bool all_free = are_free(first, count);
    if (all_free) {
        pmm_manager->take(first, count);
        book(first, count);
    }
    unlock(&pmm_manager->common->lock);
    return all_free;
}

/* --- giving back ----------------------------------------------------------------------------------------------------- */

static const char *why_not_freeable(uint64_t frame)
{
    if (frame >= pmm_manager->common->frames)
        return "there is no such frame";
    if (!are_allocatable(frame, 1))
        return "it is reserved and was never handed out";
    if (pmm_manager->is_free(frame))
        return "it is free already";
    return NULL;
}

void pmm_free_run(uint64_t first, uint64_t count)
{
    const char *refusal = NULL;
    uint64_t frame = first;
    lock(&pmm_manager->common->lock);
    for (; frame - first < count; frame++)
        if ((refusal = why_not_freeable(frame)))
            break;
    if (!refusal) {
        pmm_manager->give(first, count);
        pmm_manager->common->used -= count;
        pages_freed(first, count);
    }
    unlock(&pmm_manager->common->lock);
    if (refusal)
        panic("pmm: free of frame %lu (0x%lx) refused: %s", frame, frame << PAGE_SHIFT, refusal);
}

void pmm_free(uint64_t frame) { pmm_free_run(frame, 1); }

void pmm_free_block(uint64_t first, unsigned order)
{
    if (order >= FRAME_NUMBER_BITS)
        panic("pmm: free of a block of order %u refused: no block is that large", order);
    pmm_free_run(first, (uint64_t)1 << order);
}

void pmm_add(uint64_t first, uint64_t count)
{
    lock(&pmm_manager->common->lock);
    count_usable(first, count);
    pmm_manager->give(first, count);
    pmm_manager->common->used -= count;
    pages_freed(first, count);
    unlock(&pmm_manager->common->lock);
}

static uint64_t end_of_ram_frames(void)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (is_ram_type(boot_map[i].type) && map_end_frame(&boot_map[i]) > end)
            end = map_end_frame(&boot_map[i]);
    return end;
}

/* --- asking ---------------------------------------------------------------------------------------------------------- */

bool pmm_is_used(uint64_t frame)
{
    if (frame >= pmm_manager->common->frames || !are_allocatable(frame, 1))
        return true;
    lock(&pmm_manager->common->lock);
    bool free = pmm_manager->is_free(frame);
    unlock(&pmm_manager->common->lock);
    return !free;
}

/* Only `used` changes once the kernel is up, so the answer is of one moment without a lock if that is read once. */
struct pmm_counts pmm_counts(void)
{
    const struct pmm_common *common = pmm_manager->common;
    uint64_t used = __atomic_load_n(&common->used, __ATOMIC_RELAXED);
    return (struct pmm_counts) { common->frames, used, common->frames - used, common->reserved, common->usable };
}

static const char *check_locked(void)
{
    const struct pmm_common *common = pmm_manager->common;
    const char *broken = pmm_manager->check();
    if (broken)
        return broken;
    if (common->frames != common->reserved + common->usable)
        return "frames == reserved + usable";
    if (common->reserved > common->used || common->used > common->frames)
        return "reserved <= used <= frames";
    if (common->frames != end_of_ram_frames())
        return "frames reach to the end of RAM";
    struct pmm_survey survey = survey_free();
    if (survey.broken)
        return survey.broken;
    if (survey.free != common->frames - common->used)
        return "free frames held == frames - used";
    return pages_check(scratch, common->frames);
}

const char *pmm_check(void)
{
    lock(&pmm_manager->common->lock);
    const char *broken = check_locked();
    unlock(&pmm_manager->common->lock);
    return broken;
}

/* --- boot ------------------------------------------------------------------------------------------------------------ */

static const struct pmm_operations *chosen_manager(void)
{
    char name[OPTION_MAX];
    if (!option("pmm", name))
        return managers[0];
    for (unsigned i = 0; i < MANAGERS; i++)
        if (strcmp(managers[i]->name, name) == 0)
            return managers[i];
    panic("there is no physical manager \"%s\"", name);
}

static void hand_over_free(void)
{
    uint64_t first = 0, end;
    for (; early_free_stretch(first, &first, &end); first = end) {
        pmm_manager->give(first, end - first);
        pmm_manager->common->used -= end - first;
        count_usable(first, end - first);
        pages_freed(first, end - first);
    }
}

/* Early frames are page tables: nobody else asks for any. */
static void hand_over_used(void)
{
    for (uint64_t i = 0; i < early.count; i++) {
        const struct early_range *range = &early.ranges[i];
        count_usable(range->first, range->count);
        pages_allocated(range->first, range->count);
        for (uint64_t frame = range->first; frame < range->first + range->count; frame++)
            page_own(frame, PAGE_TABLE, 0);
    }
}

/* For whoever looks from outside: until all frames are handed over, bits and counters need not agree. */
bool pmm_handed_over;

void pmm_init(void)
{
    uint64_t frames = end_of_ram_frames();
    pmm_manager = chosen_manager();
    memset(zone_usable, 0, sizeof(zone_usable));
    pmm_manager->common->frames = pmm_manager->common->used = pmm_manager->common->reserved = frames;
    pmm_manager->common->usable = 0;
    pmm_manager->common->lock = (struct spinlock) { .name = "pmm" };

    pmm_manager->init(frames);
    scratch = early_alloc(bits_words(frames) * sizeof(*scratch), RESERVED_PMM_SCRATCH);
    pages_init(frames);
    early_close();
    hand_over_free();
    hand_over_used();
    pmm_handed_over = true;
    print("pmm: %s, %lu frames, %lu usable, %lu of them used since early\n", pmm_manager->name, frames,
          pmm_manager->common->usable, early.frames);
}

bool pmm_is_up(void) { return early.closed; }
