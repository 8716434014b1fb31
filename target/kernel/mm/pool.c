/* Knows how to have a frame at once.
 *
 * Theory
 *  1. A manager may search for long, and its lock may be another processor's for as long. A handler of interrupts cannot
 *     wait for either. It takes from a small stock that others filled.
 *  2. The stock is filled up to POOL_MAX whenever ordinary code finds it below POOL_RESERVE, so that a burst of
 *     POOL_RESERVE requests is served between two such moments.
 *
 * Invariants
 *     count <= POOL_MAX; count >= POOL_RESERVE after pool_refill, unless memory is out
 *     frames[0 .. count) are used, and no two are the same
 *
 * Lock: frame_pool.lock, alone: the manager is asked while it is not held. */

#include "mm/pool.h"

#include <stddef.h>

#include "mm/page.h"
#include "mm/pmm.h"

struct frame_pool frame_pool = { .lock.name = "pool" };

uint64_t pool_take(void)
{
    lock(&frame_pool.lock);
    uint64_t frame = frame_pool.count ? frame_pool.frames[--frame_pool.count] : NO_FRAME;
    frame_pool.taken += frame != NO_FRAME;
    frame_pool.refused += frame == NO_FRAME;
    unlock(&frame_pool.lock);
    if (frame != NO_FRAME)
        page_leave_pool(frame);
    return frame;
}

/* False if there was no room any more. */
static bool put(uint64_t frame)
{
    lock(&frame_pool.lock);
    bool room = frame_pool.count < POOL_MAX;
    if (room)
        frame_pool.frames[frame_pool.count++] = frame;
    unlock(&frame_pool.lock);
    return room;
}

bool pool_refill(void)
{
    while (frame_pool.count < POOL_MAX) {
        uint64_t frame = pmm_alloc();
        if (frame == NO_FRAME)
            break;
        page_own(frame, PAGE_POOL, 0);
        if (!put(frame))
            pmm_free(frame);
    }
    return frame_pool.count >= POOL_RESERVE;
}

const char *pool_check(void)
{
    if (frame_pool.count > POOL_MAX)
        return "count <= POOL_MAX";
    for (uint64_t i = 0; i < frame_pool.count; i++) {
        if (!pmm_is_used(frame_pool.frames[i]))
            return "frames in the pool are used";
        for (uint64_t j = 0; j < i; j++)
            if (frame_pool.frames[i] == frame_pool.frames[j])
                return "no frame is in the pool twice";
    }
    return NULL;
}
