/* Knows what the physical managers cost: instructions for each request, in memory of several fill levels and fragmentations.
 *
 * Theory
 *  1. Every request's instructions are counted (scenario/counting.h).
 *  2. `via=manager` is the manager's own work; what mm/pmm.c adds is done outside of the measurement. `via=pmm` is what a
 *     caller pays: lock, refusal of what makes no sense, counters and records besides.
 *  3. Two kinds of work. `burst`: many are taken, then given back in random order. `churn`: at each step a coin decides
 *     whether one is taken, or any that is held given back.
 *
 * The figures stand on the serial line, between `bench begin` and `bench end`: see target/README.md. */

#include "lib/panic.h"
#include "lib/print.h"
#include "mm/page.h"
#include "mm/pmm.h"
#include "mm/pmm_manager.h"
#include "scenario/counting.h"
#include "scenario/ledger.h"
#include "scenario/random.h"
#include "scenario/scenarios.h"

enum { BURST = 128, CHURN = 1024 };     /* requests */

/* --- one request ----------------------------------------------------------------------------------------------------- */

static uint64_t alloc_from_manager(struct cost *cost)
{
    lock(&pmm_manager->common->lock);
    count_begin();
    uint64_t frame = pmm_manager->alloc();
    note(cost, count_end(), frame != NO_FRAME);
    if (frame != NO_FRAME) {
        pmm_manager->common->used++;
        pages_allocated(frame, 1);
    }
    unlock(&pmm_manager->common->lock);
    return frame;
}

static void give_to_manager(uint64_t frame, struct cost *cost)
{
    lock(&pmm_manager->common->lock);
    count_begin();
    pmm_manager->give(frame, 1);
    note(cost, count_end(), true);
    pmm_manager->common->used--;
    pages_freed(frame, 1);
    unlock(&pmm_manager->common->lock);
}

static uint64_t alloc_from_pmm(struct cost *cost)
{
    count_begin();
    uint64_t frame = pmm_alloc();
    note(cost, count_end(), frame != NO_FRAME);
    return frame;
}

static void free_to_pmm(uint64_t frame, struct cost *cost)
{
    count_begin();
    pmm_free(frame);
    note(cost, count_end(), true);
}

static uint64_t alloc_run(uint64_t count, uint64_t align, struct cost *cost)
{
    count_begin();
    uint64_t first = pmm_alloc_contiguous(count, align);
    note(cost, count_end(), first != NO_FRAME);
    return first;
}

static void free_run(uint64_t first, uint64_t count, struct cost *cost)
{
    count_begin();
    pmm_free_run(first, count);
    note(cost, count_end(), true);
}

/* --- work ------------------------------------------------------------------------------------------------------------ */

struct costs { struct cost alloc, free; };

struct way {
    const char *name;
    uint64_t (*alloc)(struct cost *cost);
    void (*free)(uint64_t frame, struct cost *cost);
};

static const struct way ways[] = {
    { "manager", alloc_from_manager, give_to_manager },
    { "pmm",     alloc_from_pmm,     free_to_pmm },
};

enum { WAYS = sizeof(ways) / sizeof(*ways) };

static void take_one(const struct way *way, struct costs *costs)
{
    uint64_t frame = way->alloc(&costs->alloc);
    if (frame != NO_FRAME)
        ledger.frames[ledger.frame_count++] = frame;
}

/* Any of those that are held, but for the first `kept`. */
static void give_one(const struct way *way, uint64_t kept, struct costs *costs)
{
    uint64_t *held = &ledger.frames[kept + random_below(ledger.frame_count - kept)], frame = *held;
    *held = ledger.frames[--ledger.frame_count];
    way->free(frame, &costs->free);
}

static struct costs burst(const struct way *way)
{
    struct costs costs = { 0 };
    uint64_t kept = ledger.frame_count;
    for (int i = 0; i < BURST; i++)
        take_one(way, &costs);
    while (ledger.frame_count > kept)
        give_one(way, kept, &costs);
    return costs;
}

static struct costs churn_frames(const struct way *way)
{
    struct costs costs = { 0 };
    for (int step = 0; step < CHURN; step++)
        if (random_below(2) && ledger.frame_count)
            give_one(way, 0, &costs);
        else
            take_one(way, &costs);
    return costs;
}

struct request { const char *name; uint64_t frames, align, times; };

static const struct request requests[] = { { "run-16", 16, 1, 4 }, { "run-512", 512, 512, 2 } };

enum { REQUESTS = sizeof(requests) / sizeof(*requests) };

static struct costs runs(const struct request *request)
{
    struct costs costs = { 0 };
    for (uint64_t i = 0; i < request->times; i++) {
        uint64_t first = alloc_run(request->frames, request->align, &costs.alloc);
        if (first != NO_FRAME)
            free_run(first, request->frames, &costs.free);
    }
    return costs;
}

/* --- what memory is like --------------------------------------------------------------------------------------------- */

static uint64_t all_free;               /* frames that are free when nothing is held */

static uint64_t free_frames(void) { return pmm_counts().free; }

static void give_all(void)
{
    while (ledger.frame_count)
        drop_frame(ledger.frame_count - 1);
}

static void take_until(uint64_t free)
{
    while (free_frames() > free)
        if (!hold_frame())
            panic("bench: the manager gave up with %lu frames free", free_frames());
}

/* The frames that are free follow each other, if those that this manager hands out do. */
static void in_order(uint64_t free)
{
    give_all();
    take_until(free);
}

static void at_random(uint64_t free)
{
    take_until(0);
    while (free_frames() < free)
        drop_frame(random_below(ledger.frame_count));
}

static void every_second(uint64_t free)
{
    (void)free;
    take_until(0);
    for (uint64_t i = ledger.frame_count; i-- > 0;)
        if (ledger.frames[i] % 2)
            drop_frame(i);
}

static uint64_t index_of_lowest(void)
{
    uint64_t lowest = 0;
    for (uint64_t i = 1; i < ledger.frame_count; i++)
        if (ledger.frames[i] < ledger.frames[lowest])
            lowest = i;
    return lowest;
}

/* The lowest frame is free, and those at the top: whoever looks for the second from the first has a long way. */
static void at_the_ends(uint64_t free)
{
    take_until(0);
    drop_frame(index_of_lowest());
    for (uint64_t from = pmm_counts().frames; free_frames() < free;) {
        from -= free;                   /* some at the top may be in use for something else: go on below */
        for (uint64_t i = ledger.frame_count; i-- > 0 && free_frames() < free;)
            if (ledger.frames[i] >= from)
                drop_frame(i);
    }
}

struct state { const char *name; void (*prepare)(uint64_t free); uint64_t free_percent; bool with_runs; };

static const struct state states[] = {
    { "empty",         in_order,     100, true },
    { "half-in-order", in_order,     50,  true },
    { "90-in-order",   in_order,     10,  false },
    { "99-in-order",   in_order,     1,   false },
    { "ends",          at_the_ends,  1,   false },
    { "99-random",     at_random,    1,   false },
    { "90-random",     at_random,    10,  true },
    { "half-random",   at_random,    50,  true },
    { "every-second",  every_second, 50,  true },
    { "emptied",       at_random,    100, true },
};

enum { STATES = sizeof(states) / sizeof(*states) };

/* --- the whole ------------------------------------------------------------------------------------------------------- */

static void tell_one(const struct state *state, const char *via, const char *work, const char *op, const struct cost *cost)
{
    print("bench cost state=%s via=%s work=%s op=%s count=%lu failed=%lu total=%lu worst=%lu\n", state->name, via, work, op,
          cost->count, cost->failed, cost->total, cost->worst);
}

static void tell(const struct state *state, const char *via, const char *work, struct costs costs)
{
    tell_one(state, via, work, "alloc", &costs.alloc);
    tell_one(state, via, work, "free", &costs.free);
}

/* Churn comes last: it alone leaves other frames free than it found. */
static void measure(const struct state *state)
{
    state->prepare(all_free * state->free_percent / 100);
    struct pmm_survey survey = pmm_survey();
    print("bench state name=%s free=%lu runs=%lu largest_run=%lu\n", state->name, survey.free, survey.runs, survey.largest_run);
    for (unsigned i = 0; i < REQUESTS && state->with_runs; i++)
        tell(state, "pmm", requests[i].name, runs(&requests[i]));
    for (unsigned i = 0; i < WAYS; i++)
        tell(state, ways[i].name, "burst", burst(&ways[i]));
    for (unsigned i = 0; i < WAYS; i++)
        tell(state, ways[i].name, "churn", churn_frames(&ways[i]));
}

void bench(void)
{
    uint64_t metadata = pmm_manager->metadata ? pmm_manager->metadata().size : 0;
    if (!ledger_make_room_for_frames(free_frames()))
        panic("bench: no room for the ledger");
    all_free = free_frames();
    print("bench begin\n");
    print("bench manager name=%s frames=%lu usable=%lu metadata=%lu\n", pmm_manager->name, pmm_counts().frames,
          pmm_counts().usable, metadata);
    calibrate();
    for (unsigned i = 0; i < STATES; i++)
        measure(&states[i]);
    give_all();
    print("bench end\n");
}
