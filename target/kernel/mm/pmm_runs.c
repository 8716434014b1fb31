/* Knows a seventh way to keep account of frames: a list of runs of free frames, by address.
 *
 * Theory
 *  1. Free frames that lie side by side are one run. Its length and its links lie in its first frame; the others are not
 *     touched. So memory that is empty costs nothing to describe, and memory in shreds costs most.
 *  2. The list is sorted, so that a frame that is given meets its neighbours and merges with them.
 *  3. To find the place in a long list, some runs have links in further lanes that skip others: a skip list (W. Pugh,
 *     "Skip lists: a probabilistic alternative to balanced trees", CACM 33(6), 1990). In how many lanes a run takes part
 *     follows from its frame number by a hash: every fourth run in lane 1, every fourth of those in lane 2, and so on.
 *     Lane 0 is the list; nothing depends on the others but speed.
 *  4. One frame is taken from the end of the first run, so that the run's header can stay where it is.
 *
 * Invariants
 *     runs are sorted, disjoint, and no two touch; each has at least one frame and bears its mark
 *     runs == length of lane 0; sum of run.frames == frames - used
 *     lane n holds exactly the runs with lanes_of(run) > n, in order
 *
 * Lock: pmm_runs.lock, taken by mm/pmm.c. */

#include "mm/pmm_runs.h"

#include "lib/print.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"

_Static_assert(sizeof(struct free_run) <= FRAME_VIEW, "a run's header lies in one frame");

struct pmm_runs pmm_runs;

static uint64_t first_of(const struct free_run *run) { return view_frame(run); }
static uint64_t end_of(const struct free_run *run) { return first_of(run) + run->frames; }

/* 1 for three in four, 2 for three in four of the rest, and so on. The multiplier is 2^64 divided by the golden ratio. */
static unsigned lanes_of(uint64_t first)
{
    uint64_t hash = first * 0x9e3779b97f4a7c15 >> 20;
    return 1 + (unsigned)__builtin_ctzll(hash | (uint64_t)1 << 2 * (RUN_LANES - 1)) / 2;
}

static void init(uint64_t frames)
{
    (void)frames;
    pmm_runs.runs = 0;
    pmm_runs.head = (struct free_run) { 0 };
}

/* --- the list -------------------------------------------------------------------------------------------------------- */

/* In each lane the last run that starts before `frame`; the head where there is none. */
struct way { struct free_run *before[RUN_LANES]; };

static struct way way_to(uint64_t frame)
{
    struct way way;
    struct free_run *at = &pmm_runs.head;
    for (unsigned lane = RUN_LANES; lane-- > 0;) {
        while (at->next[lane] && first_of(at->next[lane]) < frame)
            at = at->next[lane];
        way.before[lane] = at;
    }
    return way;
}

/* `way` leads to the run's first frame. */
static void insert(const struct way *way, uint64_t first, uint64_t count)
{
    struct free_run *run = frame_view(first);
    *run = (struct free_run) { .mark = free_mark(first), .frames = count };
    for (unsigned lane = 0; lane < lanes_of(first); lane++) {
        run->next[lane] = way->before[lane]->next[lane];
        way->before[lane]->next[lane] = run;
    }
    pmm_runs.runs++;
}

static void remove(const struct way *way, struct free_run *run)
{
    for (unsigned lane = 0; lane < lanes_of(first_of(run)); lane++)
        way->before[lane]->next[lane] = run->next[lane];
    run->mark = 0;
    pmm_runs.runs--;
}

/* The run that `frame` lies in, or NULL. */
static struct free_run *run_with(uint64_t frame)
{
    struct way way = way_to(frame + 1);
    struct free_run *run = way.before[0];
    return run != &pmm_runs.head && frame < end_of(run) ? run : NULL;
}

/* --- operations ------------------------------------------------------------------------------------------------------ */

static void give(uint64_t first, uint64_t count)
{
    struct way way = way_to(first);
    struct free_run *before = way.before[0], *after = before->next[0];
    if (after && first_of(after) == first + count) {
        count += after->frames;
        remove(&way, after);
    }
    if (before != &pmm_runs.head && end_of(before) == first)
        before->frames += count;
    else
        insert(&way, first, count);
}

/* The frames lie in one run, because runs that touch are merged. */
static void take(uint64_t first, uint64_t count)
{
    struct free_run *run = run_with(first);
    uint64_t start = first_of(run), end = end_of(run);
    if (start < first) {
        run->frames = first - start;
    } else {
        struct way way = way_to(start);
        remove(&way, run);
    }
    if (first + count < end) {
        struct way way = way_to(first + count);
        insert(&way, first + count, end - first - count);
    }
}

static uint64_t alloc(void)
{
    const struct free_run *run = pmm_runs.head.next[0];
    if (!run)
        return NO_FRAME;
    uint64_t frame = end_of(run) - 1;
    take(frame, 1);
    return frame;
}

static uint64_t find(const struct pmm_wish *wish)
{
    uint64_t limit = wish_end(wish, pmm_runs.frames);
    for (const struct free_run *run = pmm_runs.head.next[0]; run && first_of(run) < limit; run = run->next[0]) {
        uint64_t place = wish_fits(wish, first_of(run), pmm_lesser(end_of(run), limit));
        if (place != NO_FRAME)
            return place;
    }
    return NO_FRAME;
}

static bool is_free(uint64_t frame) { return run_with(frame); }

static bool each_free(pmm_visit *visit, void *context)
{
    uint64_t left = pmm_runs.runs;
    for (const struct free_run *run = pmm_runs.head.next[0]; run; run = run->next[0])
        if (left-- == 0 || !is_frame_view(run) || !visit(context, first_of(run), run->frames))
            return false;
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static const char *check_run(const struct free_run *run, uint64_t end_before)
{
    if (!is_frame_view(run) || first_of(run) >= pmm_runs.frames)
        return "links lead to frames";
    if (run->mark != free_mark(first_of(run)))
        return "a run bears its mark";
    if (run->frames == 0 || run->frames > pmm_runs.frames - first_of(run))
        return "a run has frames, and they exist";
    if (first_of(run) < end_before)
        return "runs are sorted and disjoint";
    if (end_before && first_of(run) == end_before)
        return "runs do not touch";
    return NULL;
}

static const char *check_list(void)
{
    uint64_t left = pmm_runs.runs, free = 0, end = 0;
    for (const struct free_run *run = pmm_runs.head.next[0]; run; run = run->next[0]) {
        if (left-- == 0)
            return "runs == length of the list";
        const char *broken = check_run(run, end);
        if (broken)
            return broken;
        end = end_of(run);
        free += run->frames;
    }
    if (left)
        return "runs == length of the list";
    return free == pmm_runs.frames - pmm_runs.used ? NULL : "sum of run.frames == frames - used";
}

/* Once lane 0 is known to be good: every other lane is lane 0 without those that do not take part in it. */
static const char *check_lanes(void)
{
    for (unsigned lane = 1; lane < RUN_LANES; lane++) {
        const struct free_run *expected = pmm_runs.head.next[lane];
        for (const struct free_run *run = pmm_runs.head.next[0]; run; run = run->next[0])
            if (lanes_of(first_of(run)) > lane) {
                if (run != expected)
                    return "a lane holds the runs that take part in it";
                expected = run->next[lane];
            }
        if (expected)
            return "a lane holds the runs that take part in it";
    }
    return NULL;
}

static const char *check(void)
{
    const char *broken = check_list();
    return broken ? broken : check_lanes();
}

static void report(void)
{
    print("report runs count=%lu first=%p\n", pmm_runs.runs, (void *)pmm_runs.head.next[0]);
}

const struct pmm_operations pmm_runs_operations = {
    .name = "runs", .common = (struct pmm_common *)&pmm_runs, .finds_all = true,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .report = report,
};
