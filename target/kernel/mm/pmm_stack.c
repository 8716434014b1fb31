/* Knows a fifth way to keep account of frames: stacks threaded through the free frames.
 *
 * Theory
 *  1. A free frame is of no use to anybody else, so the link to the next free one lies in the frame itself. Beyond that the
 *     manager needs one pointer. Taking and giving are a pop and a push.
 *  2. There is one stack for each zone, because some devices reach low memory only. Ordinary requests are served from the
 *     highest zone that has something: low memory is kept for those who need it.
 *  3. Whether two frames that lie side by side are both free, no stack can tell. Runs are found by the survey in mm/pmm.c, and
 *     taken by walking the stack and unlinking: slow, and the reason why drivers' buffers are best taken early.
 *  4. A frame that is on a stack bears its mark (free_mark.h), so that freeing twice is refused without a walk.
 *
 * Invariants
 *     every frame on zone[z] lies in zone z, and bears its mark
 *     zone[z].count == length of the stack; the sum of the counts == frames - used
 *     no stack has a cycle
 *
 * Lock: pmm_stack.lock, taken by mm/pmm.c. */

#include "mm/pmm_stack.h"

#include "lib/print.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"

struct pmm_stack pmm_stack;

static struct pmm_stack_zone *zone_of(uint64_t frame) { return &pmm_stack.zone[pmm_zone_of(frame)]; }

static void init(uint64_t frames)
{
    (void)frames;
    for (unsigned zone = 0; zone < ZONES; zone++)
        pmm_stack.zone[zone] = (struct pmm_stack_zone) { 0 };
}

/* --- the stack ------------------------------------------------------------------------------------------------------- */

static void push(uint64_t frame)
{
    struct pmm_stack_zone *zone = zone_of(frame);
    struct free_frame *free = frame_view(frame);
    *free = (struct free_frame) { .next = zone->top, .mark = free_mark(frame) };
    zone->top = free;
    zone->count++;
}

/* Unlinks the frame that `link` leads to. */
static uint64_t unlink(struct pmm_stack_zone *zone, struct free_frame **link)
{
    struct free_frame *free = *link;
    *link = free->next;
    free->mark = 0;
    zone->count--;
    return view_frame(free);
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

/* The highest first, so that the lowest comes to lie on top. */
static void give(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first + count; frame > first; frame--)
        push(frame - 1);
}

static uint64_t alloc(void)
{
    for (unsigned zone = ZONES; zone-- > 0;)
        if (pmm_stack.zone[zone].top)
            return unlink(&pmm_stack.zone[zone], &pmm_stack.zone[zone].top);
    return NO_FRAME;
}

static void take_from(struct pmm_stack_zone *zone, uint64_t first, uint64_t count)
{
    for (struct free_frame **link = &zone->top; *link && count;) {
        if (view_frame(*link) - first < count)
            unlink(zone, link);
        else
            link = &(*link)->next;
    }
}

static void take(uint64_t first, uint64_t count)
{
    for (unsigned zone = 0; zone < ZONES; zone++)
        if (first < pmm_zones[zone].end && first + count > pmm_zones[zone].first)
            take_from(&pmm_stack.zone[zone], first, count);
}

static bool is_free(uint64_t frame)
{
    const struct free_frame *free = frame_view(frame);
    if (free->mark != free_mark(frame))
        return false;
    const struct free_frame *at = zone_of(frame)->top;
    while (at && at != free)
        at = at->next;
    return at;
}

static bool each_free(pmm_visit *visit, void *context)
{
    for (unsigned zone = 0; zone < ZONES; zone++) {
        uint64_t left = pmm_stack.zone[zone].count;
        for (const struct free_frame *at = pmm_stack.zone[zone].top; at; at = at->next)
            if (left-- == 0 || !is_frame_view(at) || !visit(context, view_frame(at), 1))
                return false;
    }
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check_zone(enum pmm_zone zone)
{
    uint64_t left = pmm_stack.zone[zone].count;
    for (const struct free_frame *at = pmm_stack.zone[zone].top; at; at = at->next) {
        if (left-- == 0)
            return "count == length of the stack";
        if (!is_frame_view(at) || view_frame(at) >= pmm_stack.frames)
            return "links lead to frames";
        if (pmm_zone_of(view_frame(at)) != zone)
            return "a stack holds frames of its zone";
        if (at->mark != free_mark(view_frame(at)))
            return "a frame on a stack bears its mark";
    }
    return left ? "count == length of the stack" : NULL;
}

static const char *check(void)
{
    uint64_t free = 0;
    for (unsigned zone = 0; zone < ZONES; zone++) {
        const char *broken = check_zone(zone);
        if (broken)
            return broken;
        free += pmm_stack.zone[zone].count;
    }
    return free == pmm_stack.frames - pmm_stack.used ? NULL : "sum of counts == frames - used";
}

static void report(void)
{
    for (unsigned zone = 0; zone < ZONES; zone++)
        print("report stack zone=%s count=%lu top=%p\n", pmm_zones[zone].name, pmm_stack.zone[zone].count,
              (void *)pmm_stack.zone[zone].top);
}

const struct pmm_operations pmm_stack_operations = {
    .name = "stack", .common = (struct pmm_common *)&pmm_stack,
    .init = init, .give = give, .alloc = alloc, .take = take, .is_free = is_free, .each_free = each_free, .check = check,
    .report = report,
};
