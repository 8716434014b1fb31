/* Knows a sixth way to keep account of frames: a stack of pages, each of which lists many free frames.
 *
 * Theory
 *  1. As with the threaded stack, the books lie in free frames. But one of them lists 509 others, so that taking many frames
 *     reads one page and not each of the frames: kind to the caches. The page that lists is free itself.
 *  2. Only the top page is ever partly filled. A frame that is given is listed there; when the page is full, or there is none,
 *     the given frame becomes the new top page, empty. A frame is taken from the top page's list; when that is empty, the
 *     page itself is taken.
 *  3. One stack for each zone, the highest served first.
 *  4. Every free frame bears its mark (free_mark.h), which costs the look into the frame that listing was to save. It is the
 *     price for refusing to free twice.
 *
 * Invariants
 *     below the top page, page.count == FRAME_PAGE_CAPACITY; at the top it is at most that
 *     zone.count == sum over its pages of (1 + page.count); the sum over the zones == frames - used
 *     every frame, listed or listing, lies in the zone, bears its mark and is there once
 *
 * Lock: pmm_pages.lock, taken by mm/pmm.c. */

#include "mm/pmm_pages.h"

#include "lib/print.h"
#include "lib/string.h"
#include "mm/free_mark.h"

struct pmm_pages pmm_pages;

static struct pmm_pages_zone *zone_of(uint64_t frame) { return &pmm_pages.zone[pmm_zone_of(frame)]; }

/* The word where every free frame has its mark. */
static uint64_t *mark_of(uint64_t frame) { return &((struct frame_page *)frame_view(frame))->mark; }

static void init(uint64_t frames)
{
    (void)frames;
    for (unsigned zone = 0; zone < ZONES; zone++)
        pmm_pages.zone[zone] = (struct pmm_pages_zone) { 0 };
}

/* --- the stack ------------------------------------------------------------------------------------------------------- */

static void push(uint64_t frame)
{
    struct pmm_pages_zone *zone = zone_of(frame);
    *mark_of(frame) = free_mark(frame);
    if (zone->top && zone->top->count < FRAME_PAGE_CAPACITY) {
        zone->top->frames[zone->top->count++] = frame;
    } else {
        struct frame_page *page = frame_view(frame);
        page->next = zone->top;
        page->count = 0;
        zone->top = page;
    }
    zone->count++;
}

/* From a zone that has something. */
static uint64_t pop(struct pmm_pages_zone *zone)
{
    struct frame_page *page = zone->top;
    uint64_t frame;
    if (page->count) {
        frame = page->frames[--page->count];
    } else {
        frame = view_frame(page);
        zone->top = page->next;
    }
    *mark_of(frame) = 0;
    zone->count--;
    return frame;
}

/* --- taking a certain frame ------------------------------------------------------------------------------------------ */

/* Where a frame is: listed at *entry, or itself the page that *link leads to. */
struct place { uint64_t *entry; struct frame_page **link; };

static struct place find_place(struct pmm_pages_zone *zone, uint64_t frame)
{
    for (struct frame_page **link = &zone->top; *link; link = &(*link)->next) {
        if (view_frame(*link) == frame)
            return (struct place) { .link = link };
        for (uint64_t i = 0; i < (*link)->count; i++)
            if ((*link)->frames[i] == frame)
                return (struct place) { .entry = &(*link)->frames[i] };
    }
    return (struct place) { 0 };
}

/* Whatever is popped takes the frame's place, unless it is the frame itself. */
static void take_one(uint64_t frame)
{
    struct pmm_pages_zone *zone = zone_of(frame);
    uint64_t other = pop(zone);
    if (other == frame)
        return;
    struct place place = find_place(zone, frame);       /* after the pop, which may have moved the top */
    if (place.entry) {
        *place.entry = other;
    } else {
        struct frame_page *page = frame_view(other);
        memcpy(page, *place.link, sizeof(*page));
        *place.link = page;
    }
    *mark_of(other) = free_mark(other);
    *mark_of(frame) = 0;
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

/* The highest first, so that the lowest is taken first. */
static void give(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first + count; frame > first; frame--)
        push(frame - 1);
}

static uint64_t alloc(void)
{
    for (unsigned zone = ZONES; zone-- > 0;)
        if (pmm_pages.zone[zone].top)
            return pop(&pmm_pages.zone[zone]);
    return NO_FRAME;
}

static void take(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count; frame++)
        take_one(frame);
}

static bool is_free(uint64_t frame)
{
    struct place place = { 0 };
    if (*mark_of(frame) == free_mark(frame))
        place = find_place(zone_of(frame), frame);
    return place.entry || place.link;
}

static bool each_in(const struct pmm_pages_zone *zone, pmm_visit *visit, void *context)
{
    uint64_t left = zone->count;
    for (const struct frame_page *page = zone->top; page; page = page->next) {
        if (!is_frame_view(page) || page->count > FRAME_PAGE_CAPACITY || left < 1 + page->count)
            return false;
        left -= 1 + page->count;
        if (!visit(context, view_frame(page), 1))
            return false;
        for (uint64_t i = 0; i < page->count; i++)
            if (!visit(context, page->frames[i], 1))
                return false;
    }
    return true;
}

static bool each_free(pmm_visit *visit, void *context)
{
    for (unsigned zone = 0; zone < ZONES; zone++)
        if (!each_in(&pmm_pages.zone[zone], visit, context))
            return false;
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static bool belongs(uint64_t frame, enum pmm_zone zone)
{
    return frame < pmm_pages.frames && pmm_zone_of(frame) == zone && *mark_of(frame) == free_mark(frame);
}

static const char *check_page(const struct frame_page *page, enum pmm_zone zone)
{
    if (!is_frame_view(page) || !belongs(view_frame(page), zone))
        return "a page is a free frame of its zone, and bears its mark";
    if (page->count > FRAME_PAGE_CAPACITY || (page != pmm_pages.zone[zone].top && page->count < FRAME_PAGE_CAPACITY))
        return "pages are full, but for the top";
    for (uint64_t i = 0; i < page->count; i++)
        if (!belongs(page->frames[i], zone))
            return "a listed frame is of the zone, and bears its mark";
    return NULL;
}

static const char *check_zone(enum pmm_zone zone)
{
    uint64_t left = pmm_pages.zone[zone].count;
    for (const struct frame_page *page = pmm_pages.zone[zone].top; page; page = page->next) {
        const char *broken = check_page(page, zone);
        if (broken)
            return broken;
        if (left < 1 + page->count)
            return "zone.count == sum of (1 + page.count)";
        left -= 1 + page->count;
    }
    return left ? "zone.count == sum of (1 + page.count)" : NULL;
}

static const char *check(void)
{
    uint64_t free = 0;
    for (unsigned zone = 0; zone < ZONES; zone++) {
        const char *broken = check_zone(zone);
        if (broken)
            return broken;
        free += pmm_pages.zone[zone].count;
    }
    return free == pmm_pages.frames - pmm_pages.used ? NULL : "sum of counts == frames - used";
}

static void report(void)
{
    for (unsigned zone = 0; zone < ZONES; zone++)
        print("report pages zone=%s count=%lu top=%p top_count=%lu\n", pmm_zones[zone].name, pmm_pages.zone[zone].count,
              (void *)pmm_pages.zone[zone].top, pmm_pages.zone[zone].top ? pmm_pages.zone[zone].top->count : 0);
}

const struct pmm_operations pmm_pages_operations = {
    .name = "pages", .common = (struct pmm_common *)&pmm_pages,
    .init = init, .give = give, .alloc = alloc, .take = take, .is_free = is_free, .each_free = each_free, .check = check,
    .report = report,
};
