/* Knows how a manager of frames is put to work, and what must be free afterwards. */

#include "ground.h"

#include "arch/cpu.h"
#include "arch/segments.h"
#include "arch/serial.h"
#include "arch/trap.h"
#include "boot/boot_info.h"
#include "boot/memory_map.h"
#include "lib/bits.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/frame_view.h"
#include "mm/paging.h"
#include "mm/vm.h"
#include "scenario/random.h"

enum { STEPS = 4000, HELD_MOST = 1200 };

bool frames_are_up;

struct block { uint64_t first; unsigned order; };

static struct block held[HELD_MOST];
static unsigned held_count;

static uint64_t frames_end;     /* frame numbers below the end of RAM */
static uint64_t *shadow;        /* a bit for each: 1 is free */
static uint64_t *taken;         /* room for all frame numbers */

/* --- the shadow ------------------------------------------------------------------------------------------------------ */

static uint64_t block_size(unsigned order) { return (uint64_t)1 << order; }

static uint64_t take(unsigned order)
{
    uint64_t first = frames_take(order);
    if (first == NO_FRAME)
        return NO_FRAME;
    if (bits_find(shadow, false, first, first + block_size(order)) != first + block_size(order))
        panic("a block of order %u at frame %lu was handed out, but not all of it is free", order, first);
    bits_fill(shadow, false, first, block_size(order));
    return first;
}

static void give(uint64_t first, unsigned order)
{
    frames_give(first, order);
    bits_fill(shadow, true, first, block_size(order));
}

/* Page tables are made of the manager's frames. */
bool pmm_is_up(void) { return frames_are_up; }
uint64_t pmm_alloc(void) { return take(0); }
bool pmm_is_used(uint64_t frame) { return !bits_get(shadow, frame); }

/* --- coming up ------------------------------------------------------------------------------------------------------- */

static uint64_t end_of_ram(void)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_USABLE)
            end = map_end_frame(&boot_map[i]);
    return end;
}

/* For the stacks of trap_stacks_init: there are no address ranges with guards here. */
uint64_t vm_stack(struct address_space *space, uint64_t size, const char *name)
{
    (void)space;
    (void)name;
    return (uint64_t)early_alloc(size, RESERVED_PMM_SCRATCH) + size;
}

static void frames_begin(void)
{
    frames_end = end_of_ram();
    shadow = early_alloc(bits_words(frames_end) * sizeof(*shadow), RESERVED_PMM_SCRATCH);
    taken = early_alloc(frames_end * sizeof(*taken), RESERVED_PMM_SCRATCH);
    frames_init(frames_end);
    early_close();
    uint64_t frame = 0, end;
    while (early_free_stretch(frame, &frame, &end))
        for (; frame < end; frame++)
            give(frame, 0);
    frames_are_up = true;
}

void ground_init(uint32_t magic, uint64_t info)
{
    serial_init();
    segments_init();
    traps_init();
    cpu_init();
    boot_info_read(magic, info);
    paging_init(&kernel_space);
    trap_stacks_init();
    frames_begin();
    random_seed(1);
}

char *map_pages(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t frame = take(0);
        if (frame == NO_FRAME || !page_map(&kernel_space, VM_START + i * PAGE_SIZE, frame << PAGE_SHIFT, RIGHTS_RW))
            panic("no frame left to map");
    }
    return (char *)VM_START;
}

/* --- work ------------------------------------------------------------------------------------------------------------ */

/* Who holds a frame writes all of it. */
static unsigned char mark_of(uint64_t first) { return (unsigned char)(first * 7 + 1); }

static void hold_one(void)
{
    struct block block = { .order = (unsigned)random_below(frames_most_order + 1) };
    block.first = take(block.order);
    if (block.first == NO_FRAME)
        return;
    memset(frame_view(block.first), mark_of(block.first), block_size(block.order) * PAGE_SIZE);
    held[held_count++] = block;
}

static void release_one(void)
{
    unsigned which = (unsigned)random_below(held_count);
    struct block block = held[which];
    if (!is_filled(frame_view(block.first), mark_of(block.first), block_size(block.order) * PAGE_SIZE))
        panic("the block at frame %lu was written to while it was held", block.first);
    held[which] = held[--held_count];
    give(block.first, block.order);
}

static void churn(void)
{
    for (unsigned step = 0; step < STEPS; step++)
        if (held_count == 0 || (held_count < HELD_MOST && random_below(8) < 5))
            hold_one();
        else
            release_one();
}

/* Takes every frame there is, one by one, and gives them back in another order. */
static void exhaust(void)
{
    uint64_t count = 0, frame;
    while ((frame = take(0)) != NO_FRAME)
        taken[count++] = frame;
    if (bits_find(shadow, true, 0, frames_end) != frames_end)
        panic("nothing left to hand out, but frame %lu is free", bits_find(shadow, true, 0, frames_end));
    while (count) {
        uint64_t which = random_below(count);
        give(taken[which], 0);
        taken[which] = taken[--count];
    }
}

void frames_work(void)
{
    churn();
    exhaust();
    churn();
}

/* --- the report ------------------------------------------------------------------------------------------------------ */

void report_begin(void) { print("report begin\n"); }

/* The next stretch of free frames at or after *first: [*first, *end). */
static bool next_run(uint64_t *first, uint64_t *end)
{
    *first = bits_find(shadow, true, *first, frames_end);
    *end = bits_find(shadow, false, *first, frames_end);
    return *first < frames_end;
}

void report_frames(void)
{
    uint64_t free = 0, runs = 0, largest = 0, end;
    for (uint64_t first = 0; next_run(&first, &end); first = end) {
        print("report run start=0x%lx end=0x%lx\n", first << PAGE_SHIFT, end << PAGE_SHIFT);
        free += end - first;
        runs++;
        largest = end - first > largest ? end - first : largest;
    }
    print("report frames free=%lu runs=%lu largest_run=%lu\n", free, runs, largest);
}

void report_end(void)
{
    const char *broken = paging_check(&kernel_space);
    if (broken)
        panic("paging is not intact: %s", broken);
    print("report end\n");
}

__attribute__((noinline, used, section(".text.stops"))) void kernel_ready(void)
{
    __asm__ volatile("");
}

void rest(void)
{
    kernel_ready();
    for (;;)
        halt();
}
