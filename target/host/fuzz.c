/* Knows how to turn any bytes into calls of a physical manager, and to hold its answers against a shadow. The first byte
 * chooses the manager, the second the machine, the rest what is done. A wrong answer aborts. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/probe.h"
#include "lib/bits.h"
#include "machine.h"
#include "mm/frame_view.h"
#include "mm/free_mark.h"
#include "mm/pmm_manager.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
void selftest_failed(const char *why, const char *file, int line);

#define INSIST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s, %s: %s (%s:%d)\n", pmm_manager->name, machine->name, #condition, __FILE__, __LINE__); \
            abort(); \
        } \
    } while (0)

enum { FRAMES_MAX = 1 << 14, SMALL_MACHINES = 3 };      /* the small ones: an input is to take microseconds */

static const struct machine *machine;
static uint64_t held[FRAMES_MAX / WORD_BITS], free_at_first[FRAMES_MAX / WORD_BITS];
static uint64_t free_count;

static const uint8_t *input, *input_end;

static uint64_t next_byte(void) { return input < input_end ? *input++ : 0; }

/* Two more than there are: those must be refused. */
static uint64_t next_frame(void)
{
    uint64_t high = next_byte();
    return (high << 8 | next_byte()) % (pmm_manager->common->frames + 2);
}

static bool note_free(void *unused, uint64_t first, uint64_t count)
{
    (void)unused;
    bits_fill(free_at_first, true, first, count);
    return true;
}

static bool is_left(uint64_t frame) { return bits_get(free_at_first, frame) && !bits_get(held, frame); }

/* What was taken is written to, with what would deceive a careless manager: the mark of a free frame. */
static void take(uint64_t first, uint64_t count)
{
    for (uint64_t frame = first; frame < first + count; frame++) {
        uint64_t *words = frame_view(frame);
        INSIST(is_left(frame));
        bits_set(held, frame);
        for (unsigned i = 0; i < 4; i++)
            words[i] = free_mark(frame);
    }
    free_count -= count;
}

static bool fits(const struct pmm_wish *wish, uint64_t first)
{
    return first % wish->align == 0 && (!wish->below || first + wish->count <= wish->below)
        && (!wish->boundary || first / wish->boundary == (first + wish->count - 1) / wish->boundary);
}

static bool exists(const struct pmm_wish *wish)
{
    for (uint64_t frame = 0, run = 0; frame < pmm_manager->common->frames; frame++) {
        run = is_left(frame) ? run + 1 : 0;
        if (run >= wish->count && fits(wish, frame + 1 - wish->count))
            return true;
    }
    return false;
}

static void alloc_run(void)
{
    struct pmm_wish wish = { .count = 1 + next_byte() % 70, .align = (uint64_t)1 << next_byte() % 10 };
    uint64_t how = next_byte();
    if (how & 1)
        wish.below = next_frame();
    if (how & 2)
        wish.boundary = (uint64_t)128 << (how >> 2) % 4;
    uint64_t first = pmm_alloc_where(&wish);
    INSIST(first == NO_FRAME ? !exists(&wish) : fits(&wish, first));
    if (first != NO_FRAME)
        take(first, wish.count);
}

static void alloc_many(uint64_t count)
{
    while (count--) {
        uint64_t frame = pmm_alloc();
        INSIST((frame == NO_FRAME) == (free_count == 0));
        if (frame != NO_FRAME)
            take(frame, 1);
    }
}

static void free_frame(void *frame) { pmm_free(*(uint64_t *)frame); }

/* A frame that nobody holds must be refused; a used one of somebody else's cannot be told from ours, so it is left alone. */
static void give_back(uint64_t frame)
{
    bool ours = frame < pmm_manager->common->frames && bits_get(held, frame);
    bool free = frame < pmm_manager->common->frames && is_left(frame);
    if (!ours && !free && pmm_manager->common->frames > frame && are_allocatable(frame, 1))
        return;
    INSIST(probe_panics(free_frame, &frame) == !ours);
    if (ours) {
        bits_clear(held, frame);
        free_count++;
    }
}

static void give_back_many(uint64_t from, uint64_t count)
{
    for (; count-- && (from = bits_find(held, true, from, FRAMES_MAX)) < FRAMES_MAX;)
        give_back(from);
}

static void claim(uint64_t first, uint64_t count)
{
    bool all_left = first < pmm_manager->common->frames && count <= pmm_manager->common->frames - first;
    for (uint64_t i = 0; all_left && i < count; i++)
        all_left = is_left(first + i);
    INSIST(pmm_claim(first, count) == all_left);
    if (all_left)
        take(first, count);
}

static void step(void)
{
    switch (next_byte() % 8) {
    case 0: alloc_many(1); break;
    case 1: alloc_many(8 * next_byte()); break;
    case 2: alloc_run(); break;
    case 3: give_back(next_frame()); break;
    case 4: give_back_many(next_frame(), next_byte()); break;
    case 5: claim(next_frame(), 1 + next_byte() % 40); break;
    case 6: INSIST(pmm_is_used(0)); break;
    case 7: give_back_many(next_frame(), 1); break;
    }
    INSIST(pmm_counts().free == free_count);
}

static void check(void)
{
    const char *broken = pmm_check();
    if (broken)
        fprintf(stderr, "broken: %s\n", broken);
    INSIST(!broken);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input = bytes;
    input_end = bytes + size;
    const char *manager = manager_names[next_byte() % MANAGERS];
    machine = &machines[next_byte() % SMALL_MACHINES];
    machine_start(machine, manager);
    memset(held, 0, sizeof(held));
    memset(free_at_first, 0, sizeof(free_at_first));
    INSIST(pmm_manager->common->frames <= FRAMES_MAX);
    pmm_each_free(note_free, NULL);
    free_count = pmm_counts().free;
    while (input < input_end)
        step();
    check();
    give_back_many(0, UINT64_MAX);
    check();
    INSIST(bits_find(held, true, 0, FRAMES_MAX) == FRAMES_MAX);
    return 0;
}

void selftest_failed(const char *why, const char *file, int line) { fprintf(stderr, "%s (%s:%d)\n", why, file, line); abort(); }
