/* Knows how to hand out memory when there is nothing but the memory map.
 *
 * Theory
 *  1. A bump allocator: one number moves up through usable RAM, over what is reserved, and never comes back. There is no
 *     way to free.
 *  2. It stays below 4 GiB, because that is what the boot tables show.
 *  3. Old devices reach the first 16 MiB only. A request for much of that, such as the page records of a large machine, is
 *     served from above, if there is room.
 *  4. Memory asked for by size becomes a reserved range: the managers' metadata lives as long as the system. Frames asked
 *     for one by one are noted in `ranges` and handed over to the manager as used frames, like any other.
 *
 * Invariants
 *     ranges are disjoint, usable, not reserved, and end at or below next
 *     sum of their counts == frames
 *     closed => nothing changes any more
 *
 * Lock: none. It is over before anything could come in between. */

#include "mm/early.h"

#include "lib/panic.h"
#include "lib/string.h"
#include "mm/frame_view.h"
#include "mm/pmm.h"

#define REACH LOW_END

struct early early;

/* --- what is taken --------------------------------------------------------------------------------------------------- */

struct stretch { uint64_t first, end; };

static uint64_t taken_count(void) { return reserved_count + early.count; }

/* Reserved ranges first, then our own. Rounded outwards to frames. */
static struct stretch taken_at(uint64_t i)
{
    if (i >= reserved_count) {
        const struct early_range *own = &early.ranges[i - reserved_count];
        return (struct stretch) { own->first, own->first + own->count };
    }
    const struct reserved_range *range = &reserved_ranges[i];
    return (struct stretch) { range->base >> PAGE_SHIFT, align_up(range->base + range->length, PAGE_SIZE) >> PAGE_SHIFT };
}

/* The lowest frame at or after `frame` that nobody has taken. */
static uint64_t skip_taken(uint64_t frame)
{
    for (uint64_t i = 0; i < taken_count();) {
        struct stretch taken = taken_at(i);
        bool inside = frame >= taken.first && frame < taken.end;
        if (inside)
            frame = taken.end;
        i = inside ? 0 : i + 1;         /* another range may go on where this one ends */
    }
    return frame;
}

/* Where the stretch that starts at `frame` ends, at most at `end`. */
static uint64_t next_taken(uint64_t frame, uint64_t end)
{
    for (uint64_t i = 0; i < taken_count(); i++)
        if (taken_at(i).first > frame && taken_at(i).first < end)
            end = taken_at(i).first;
    return end;
}

bool early_free_stretch(uint64_t from, uint64_t *first, uint64_t *end)
{
    for (uint64_t i = 0; i < boot_map_count; i++) {
        uint64_t lowest = map_first_frame(&boot_map[i]), limit = map_end_frame(&boot_map[i]);
        if (boot_map[i].type != MEMORY_USABLE || from >= limit)
            continue;
        *first = skip_taken(from > lowest ? from : lowest);
        if (*first < limit) {
            *end = next_taken(*first, limit);
            return true;
        }
    }
    return false;
}

/* --- handing out ----------------------------------------------------------------------------------------------------- */

/* The lowest `count` free frames in a row at or after `from`, or NO_FRAME. */
static uint64_t find(uint64_t from, uint64_t count)
{
    uint64_t first = from, end;
    while (early_free_stretch(first, &first, &end) && first < REACH) {
        if (end > REACH)
            end = REACH;
        if (count <= end - first)
            return first;
        first = end;
    }
    return NO_FRAME;
}

static uint64_t bump(uint64_t count)
{
    uint64_t first = NO_FRAME;
    if (early.closed)
        panic("early: a request after the manager has taken over");
    if (count > ISA_END / 4 && early.next < ISA_END)
        first = find(ISA_END, count);
    if (first == NO_FRAME)
        first = find(early.next, count);
    if (first == NO_FRAME)
        panic("early: no room for %lu frames", count);
    early.next = first + count;
    return first;
}

void *early_alloc(uint64_t size, enum reserved_what what)
{
    size = align_up(size, PAGE_SIZE);
    uint64_t physical = bump(size >> PAGE_SHIFT) << PAGE_SHIFT;
    reserve(physical, size, what);
    return memset(memory_view(physical, size), 0, size);
}

uint64_t early_frame(void)
{
    uint64_t frame = bump(1);
    struct early_range *last = early.count ? &early.ranges[early.count - 1] : NULL;
    if (last && last->first + last->count == frame)
        last->count++;
    else if (early.count < EARLY_MAX)
        early.ranges[early.count++] = (struct early_range) { frame, 1 };
    else
        panic("early: more than %d ranges", EARLY_MAX);
    early.frames++;
    return frame;
}

void early_close(void) { early.closed = true; }
