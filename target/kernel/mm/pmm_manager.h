/* Knows what a physical memory manager must bring along to serve the system. mm/pmm.c calls these, always with the
 * manager's lock held, and keeps the common counters; a manager knows only which frames are free. */
#ifndef MM_PMM_MANAGER_H
#define MM_PMM_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/spinlock.h"
#include "layout.h"
#include "lib/bits.h"
#include "mm/pmm.h"

/* What every manager's struct begins with, so that mm/pmm.c and a debugger find it at the same place in each. All are 0 in
 * a manager that does not serve. */
#define PMM_COMMON \
    uint64_t frames;            /* frame numbers below the end of RAM, holes included */ \
    uint64_t used;              /* of them, those that are not free: reserved + allocated */ \
    uint64_t reserved;          /* never handed out: holes, firmware, first MiB, image, modules, metadata */ \
    uint64_t usable;            /* handed over at boot, free or as somebody's: frames == reserved + usable */ \
    struct spinlock lock;

struct pmm_common { PMM_COMMON };

/* Called for each run of free frames. A run may come in pieces and in any order. False ends the walk. */
typedef bool pmm_visit(void *context, uint64_t first, uint64_t count);

struct pmm_operations {
    const char *name;
    struct pmm_common *common;
    bool lowest_first;          /* alloc gives the lowest free frame there is */
    bool finds_all;             /* find misses no run */

    /* Prepares for frames [0, frames), none of them free. Memory comes from early_alloc. */
    void (*init)(uint64_t frames);

    /* These frames were used and become free. They are RAM that nothing reserves. */
    void (*give)(uint64_t first, uint64_t count);

    /* Takes any one free frame, or NO_FRAME. */
    uint64_t (*alloc)(void);

    /* A run of free frames that satisfies the wish, without taking it, or NO_FRAME. NULL if the manager cannot search. */
    uint64_t (*find)(const struct pmm_wish *wish);

    /* Takes these frames. All of them are free. */
    void (*take)(uint64_t first, uint64_t count);

    /* About RAM that nothing reserves. */
    bool (*is_free)(uint64_t frame);

    /* Visits every free frame once. Ends in bounded time whatever the structures hold; false if they hold nonsense. */
    bool (*each_free)(pmm_visit *visit, void *context);

    /* The first of the manager's own rules found broken, or NULL. */
    const char *(*check)(void);

    /* Lines of its own for the report. May be NULL. */
    void (*report)(void);

    /* Its metadata in memory; size 0 if it has none but the free frames. */
    struct pmm_metadata { uint64_t physical, size; } (*metadata)(void);
};

/* The one that serves. */
extern const struct pmm_operations *pmm_manager;

extern const struct pmm_operations pmm_bitmap_operations, pmm_regions_operations, pmm_levels_operations, pmm_runs_operations,
    pmm_stack_operations, pmm_pages_operations, pmm_buddy_operations, pmm_tree_operations;

static inline uint64_t pmm_lesser(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t pmm_greater(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* The lowest place at or after `first` where the wish's run may start, if all frames there were free. */
static inline uint64_t wish_place(const struct pmm_wish *wish, uint64_t first)
{
    first = align_up(first, wish->align);
    if (wish->boundary && align_down(first, wish->boundary) != align_down(first + wish->count - 1, wish->boundary))
        first = align_up(first, wish->boundary);        /* aligned still: a run that crosses is aligned to less than that */
    return first;
}

/* The end of where the wish's run may lie, given that frames end at `frames`. */
static inline uint64_t wish_end(const struct pmm_wish *wish, uint64_t frames)
{
    return wish->below && wish->below < frames ? wish->below : frames;
}

/* Where the wish's run fits into the free run [first, end), or NO_FRAME. */
static inline uint64_t wish_fits(const struct pmm_wish *wish, uint64_t first, uint64_t end)
{
    uint64_t place = wish_place(wish, first);
    return place < end && wish->count <= end - place ? place : NO_FRAME;
}

/* The lowest run in a bitmap, 1 for a frame that may be taken, that satisfies the wish, or NO_FRAME. */
static inline uint64_t bits_find_wish(const uint64_t *bits, uint64_t frames, const struct pmm_wish *wish)
{
    uint64_t limit = wish_end(wish, frames);
    for (uint64_t first = bits_find(bits, true, 0, limit); first < limit;) {
        uint64_t end = bits_find(bits, false, first, limit), place = wish_fits(wish, first, end);
        if (place != NO_FRAME)
            return place;
        first = bits_find(bits, true, end, limit);
    }
    return NO_FRAME;
}

#endif
