/* Knows that the check of each physical manager fires: one thing is broken, the rule must be named, the thing is put back. */

#include "lib/bits.h"
#include "lib/string.h"
#include "mm/frame_view.h"
#include "mm/pmm_bitmap.h"
#include "mm/pmm_buddy.h"
#include "mm/pmm_levels.h"
#include "mm/pmm_pages.h"
#include "mm/pmm_regions.h"
#include "mm/pmm_runs.h"
#include "mm/pmm_stack.h"
#include "mm/pmm_tree.h"
#include "selftest/selftest.h"

static bool finds(const char *rule)
{
    const char *broken = pmm_check();
    return broken && strcmp(broken, rule) == 0;
}

static bool finds_changed(uint64_t *word, uint64_t value, const char *rule)
{
    uint64_t saved = *word;
    *word = value;
    bool found = finds(rule);
    *word = saved;
    return found;
}

/* `pointer` is any pointer that is to lead elsewhere. */
#define FINDS_POINTER(pointer, value, rule) finds_changed((uint64_t *)&(pointer), (uint64_t)(value), rule)

static void check_common(void)
{
    struct pmm_common *common = pmm_manager->common;
    uint64_t saved = common->used;
    EXPECT(finds_changed(&common->usable, common->usable + 1, "frames == reserved + usable"));
    common->used = saved - 1;
    EXPECT(pmm_check() != NULL);
    common->used = saved + 1;
    EXPECT(pmm_check() != NULL);
    common->used = saved;
}

/* --- one each -------------------------------------------------------------------------------------------------------- */

static void check_bitmap(void)
{
    uint64_t last = pmm.frames;
    EXPECT(finds_changed(&pmm.used, pmm.used - 1, "used == popcount(bits)"));
    EXPECT(finds_changed(&pmm.hint, pmm.frames, "hint <= lowest free frame"));
    EXPECT(finds_changed(&pmm.full, UINT64_MAX >> 4, "a full word is all ones"));
    if (last % WORD_BITS)
        EXPECT(finds_changed(&pmm.bits[last / WORD_BITS], pmm.bits[last / WORD_BITS] & ~bits_mask(last), "bits beyond frames are 1"));
    pmm.used--;                         /* frame 0 free */
    uint64_t hint = pmm.hint;
    pmm.hint = 0;
    EXPECT(finds_changed(&pmm.bits[0], pmm.bits[0] & ~bits_mask(0), "free frames are usable RAM that nothing reserves"));
    pmm.hint = hint;
    pmm.used++;
}

static void check_regions(void)
{
    struct pmm_region *region = &pmm_regions.region[pmm_regions.count - 1];
    EXPECT(finds_changed(&region->used, region->used + 1, "region.used == popcount(region.bits)"));
    EXPECT(finds_changed(&region->hint, region->frames + 1, "region.hint <= its lowest free bit"));
    EXPECT(finds_changed(&pmm_regions.region[0].first, region->first + region->frames, "regions are sorted and disjoint"));
    EXPECT(finds_changed(&pmm_regions.region[0].first, 1, "regions cover all RAM"));
}

static void check_levels(void)
{
    struct pmm_level *summary = &pmm_levels.level[1], *leaves = &pmm_levels.level[0];
    EXPECT(finds_changed(&summary->bits[0], summary->bits[0] ^ 1, "a summary bit == (its word below has a 1)"));
    EXPECT(finds_changed(&summary->count, summary->count + 1, "a level has a bit for each word below")
           || finds_changed(&summary->count, summary->count - 1, "bits beyond a level's count are 0"));
    if (leaves->count % WORD_BITS) {
        uint64_t *last = &leaves->bits[leaves->count / WORD_BITS];
        EXPECT(finds_changed(last, *last | bits_mask(WORD_BITS - 1), "bits beyond a level's count are 0"));
    }
}

static void check_runs(void)
{
    struct free_run *run = pmm_runs.head.next[0];
    EXPECT(finds_changed(&pmm_runs.runs, pmm_runs.runs + 1, "runs == length of the list"));
    EXPECT(finds_changed(&run->mark, 0, "a run bears its mark"));
    EXPECT(finds_changed(&run->frames, 0, "a run has frames, and they exist"));
    if (run->frames > 1)
        EXPECT(finds_changed(&run->frames, run->frames - 1, "sum of run.frames == frames - used"));
    EXPECT(FINDS_POINTER(run->next[0], run, run->next[0] ? "runs are sorted and disjoint" : "runs == length of the list"));
    EXPECT(FINDS_POINTER(pmm_runs.head.next[RUN_LANES - 1], run, "a lane holds the runs that take part in it"));
    EXPECT(FINDS_POINTER(pmm_runs.head.next[0], (char *)run + 8, "links lead to frames"));
}

/* The highest that has something: the one that serves ordinary requests. */
static enum pmm_zone busiest_zone(void)
{
    struct pmm_survey survey = pmm_survey();
    enum pmm_zone zone = ZONE_HIGH;
    while (zone > ZONE_ISA && !survey.zone[zone].free)
        zone--;
    return zone;
}

static void check_stack(void)
{
    struct pmm_stack_zone *zone = &pmm_stack.zone[busiest_zone()];
    struct free_frame *top = zone->top;
    EXPECT(finds_changed(&zone->count, zone->count + 1, "count == length of the stack"));
    EXPECT(finds_changed(&top->mark, 0, "a frame on a stack bears its mark"));
    EXPECT(FINDS_POINTER(top->next, top, "count == length of the stack"));              /* a cycle */
    EXPECT(FINDS_POINTER(top->next, (char *)top + 8, "links lead to frames"));
    EXPECT(FINDS_POINTER(top->next, 0x74786574, "links lead to frames"));
    struct pmm_stack_zone *other = zone == pmm_stack.zone ? zone + 1 : pmm_stack.zone;
    struct pmm_stack_zone saved = *other;
    *other = (struct pmm_stack_zone) { top, 1 };
    EXPECT(finds("a stack holds frames of its zone"));
    *other = saved;
}

static void check_pages(void)
{
    struct pmm_pages_zone *zone = &pmm_pages.zone[busiest_zone()];
    struct frame_page *top = zone->top;
    EXPECT(finds_changed(&zone->count, zone->count + 1, "zone.count == sum of (1 + page.count)"));
    EXPECT(finds_changed(&top->mark, 0, "a page is a free frame of its zone, and bears its mark"));
    EXPECT(finds_changed(&top->count, FRAME_PAGE_CAPACITY + 1, "pages are full, but for the top"));
    if (top->next)
        EXPECT(finds_changed(&top->next->count, 1, "pages are full, but for the top"));
    if (top->count > 1) {
        EXPECT(finds_changed(&top->frames[0], top->frames[1], "every free frame is held once"));
        EXPECT(finds_changed(&top->frames[0], pmm_pages.frames, "a listed frame is of the zone, and bears its mark"));
    }
}

static void check_buddy(void)
{
    unsigned order = BUDDY_ORDERS - 2;          /* a list that has something, and pair bits */
    while (!pmm_buddy.order[order].first)
        order--;
    struct pmm_buddy_order *list = &pmm_buddy.order[order];
    struct free_block *block = list->first;
    uint64_t pair = (view_frame(block) >> (order + 1)) / WORD_BITS;
    EXPECT(finds_changed(&list->count, list->count + 1, "count == length of the list"));
    EXPECT(finds_changed(&block->mark, 0, "a block bears its mark and the order of its list"));
    EXPECT(finds_changed(&block->order, order + 1, "a block bears its mark and the order of its list"));
    EXPECT(FINDS_POINTER(block->prev, block, "next.prev == block"));
    EXPECT(FINDS_POINTER(list->first, (char *)block + 1, "links lead to frames"));
    EXPECT(finds_changed(&list->pairs[pair], list->pairs[pair] ^ 1, "a pair bit == exactly one of the two is free"));
}

static void check_tree(void)
{
    uint8_t *root = &pmm_tree.nodes[1], saved = *root;
    *root = 0;
    EXPECT(finds("a node's byte follows from its halves"));
    *root = saved;
    uint8_t *leaf = &pmm_tree.nodes[(uint64_t)1 << pmm_tree.height];
    *leaf = 7;
    EXPECT(finds("a leaf is 0 or 1"));
    *leaf = 1;
    EXPECT(finds("a node's byte follows from its halves"));
    *leaf = 0;
}

static const struct { const struct pmm_operations *manager; void (*run)(void); } checks[] = {
    { &pmm_bitmap_operations, check_bitmap }, { &pmm_regions_operations, check_regions },
    { &pmm_levels_operations, check_levels }, { &pmm_runs_operations, check_runs },
    { &pmm_stack_operations, check_stack },   { &pmm_pages_operations, check_pages },
    { &pmm_buddy_operations, check_buddy },   { &pmm_tree_operations, check_tree },
};

/* A block freed as a single frame; then the rest of it. A kernel without records cannot see that. */
static void check_block(void)
{
#ifndef BARE
    uint64_t first = pmm_alloc_block(3);
    if (first == NO_FRAME)
        return;
    EXPECT(pmm_check() == NULL);
    pmm_free(first);
    EXPECT(finds("the frames of a block are held together"));
    pmm_free_run(first + 1, 7);
#endif
}

void test_pmm_check(void)
{
    check_common();
    check_block();
    for (unsigned i = 0; i < sizeof(checks) / sizeof(*checks); i++)
        if (checks[i].manager == pmm_manager)
            checks[i].run();
    EXPECT(pmm_check() == NULL);
}
