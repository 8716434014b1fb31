/* A kernel with a bitmap for each stretch of RAM, on a list.
 *
 *  1. A patch is a header and, right behind it, the bits of its frames in 16-bit words, the first frame in the lowest bit; a
 *     set bit means used. Holes between patches cost nothing.
 *  2. New patches come first, so the list runs from the highest addresses to the lowest.
 *  3. Each patch knows where the next search begins, and goes round: frames are not used again at once. Nothing is counted
 *     and nothing is locked.
 *
 *     a clear bit <=> the frame is free;  bits beyond the last frame are set
 *
 * Its slabs are in slabs.cc. */

#include "ground.h"

#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "slabs.h"

void kmain(uint32_t magic, uint64_t info);

enum { WORD = 16, MAPPED_PAGES = 12, SLAB_PAGES = 20 };

struct patch {
    struct patch *below;
    uint32_t first, frames;     /* frame numbers */
    uint32_t cursor;            /* the search begins at this bit */
    uint16_t bits[];
};

const unsigned frames_most_order = 3;

static struct patch *patches;

/* --- one patch ------------------------------------------------------------------------------------------------------- */

static bool is_used(const struct patch *patch, uint32_t bit) { return patch->bits[bit / WORD] >> bit % WORD & 1; }

static void set_all(struct patch *patch, uint32_t bit, uint32_t count, bool used)
{
    for (; count; bit++, count--) {
        if (is_used(patch, bit) == used)
            panic("frame %u is %s already", patch->first + bit, used ? "used" : "free");
        patch->bits[bit / WORD] ^= (uint16_t)(1u << bit % WORD);
    }
}

/* The first of `count` clear bits in [from, end), or `end`. */
static uint32_t find_clear(const struct patch *patch, uint32_t count, uint32_t from, uint32_t end)
{
    uint32_t found = 0;
    for (uint32_t bit = from; bit < end; bit++) {
        found = is_used(patch, bit) ? 0 : found + 1;
        if (found == count)
            return bit + 1 - count;
    }
    return end;
}

static uint64_t take_from(struct patch *patch, uint32_t count)
{
    uint32_t bit = find_clear(patch, count, patch->cursor, patch->frames);
    if (bit == patch->frames)
        bit = find_clear(patch, count, 0, patch->frames);
    if (bit == patch->frames)
        return NO_FRAME;
    set_all(patch, bit, count, true);
    patch->cursor = bit + count;
    return patch->first + bit;
}

/* --- all of them ----------------------------------------------------------------------------------------------------- */

static void add_patch(uint32_t first, uint32_t frames)
{
    uint32_t bytes = (frames + WORD - 1) / WORD * (WORD / 8);
    struct patch *patch = early_alloc(sizeof(*patch) + bytes, RESERVED_PMM_METADATA);
    *patch = (struct patch) { .below = patches, .first = first, .frames = frames };
    memset(patch->bits, 0xff, bytes);
    patches = patch;
}

void frames_init(uint64_t end)
{
    (void)end;
    for (uint64_t i = 0; i < boot_map_count; i++) {
        uint64_t first = map_first_frame(&boot_map[i]), limit = map_end_frame(&boot_map[i]);
        if (boot_map[i].type == MEMORY_USABLE && first < limit)
            add_patch((uint32_t)first, (uint32_t)(limit - first));
    }
}

uint64_t frames_take(unsigned order)
{
    uint64_t frame = NO_FRAME;
    for (struct patch *patch = patches; patch && frame == NO_FRAME; patch = patch->below)
        frame = take_from(patch, (uint32_t)1 << order);
    return frame;
}

void frames_give(uint64_t first, unsigned order)
{
    struct patch *patch = patches;
    while (patch && !(first >= patch->first && first < patch->first + patch->frames))
        patch = patch->below;
    if (!patch)
        panic("frame %lu is in no patch", first);
    set_all(patch, (uint32_t)first - patch->first, (uint32_t)1 << order, false);
}

/* --------------------------------------------------------------------------------------------------------------------- */

void kmain(uint32_t magic, uint64_t info)
{
    ground_init(magic, info);
    frames_work();
    char *mapped = map_pages(MAPPED_PAGES + SLAB_PAGES);
    slabs_work(mapped + MAPPED_PAGES * PAGE_SIZE, mapped + (MAPPED_PAGES + SLAB_PAGES) * PAGE_SIZE);
    report_begin();
    for (const struct patch *patch = patches; patch; patch = patch->below)
        print("report patch at=0x%lx bits=0x%lx first=0x%lx frames=%u\n", (uint64_t)patch, (uint64_t)patch->bits,
              (uint64_t)patch->first << PAGE_SHIFT, patch->frames);
    print("report mapped start=0x%lx pages=%u\n", (uint64_t)mapped, MAPPED_PAGES);
    report_frames();
    slabs_report();
    report_end();
    rest();
}
