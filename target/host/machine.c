/* Knows how to boot a made-up machine as far as its physical manager. */

#define _GNU_SOURCE
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include "boot/boot_info.h"
#include "mm/early.h"
#include "mm/frame_view.h"
#include "mm/page.h"
#include "mm/pmm.h"


#define KIB 0x400ul
#define MIB 0x100000ul
#define GIB 0x40000000ul

const char *const manager_names[MANAGERS] = { "bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree" };

const struct machine machines[MACHINES] = {
    { "8 MiB", { { 0, 640 * KIB, 1 }, { MIB, 7 * MIB, 1 } } },
    { "64 MiB, with holes and overlaps, out of order", {
        { 48 * MIB, 16 * MIB, 1 }, { 0, 639 * KIB, 1 }, { MIB, 19 * MIB + 0x800, 1 }, { 17 * MIB, 2 * MIB, 2 },
        { 24 * MIB, 8 * MIB, 1 }, { 31 * MIB, 2 * MIB, 3 }, { 50 * MIB + 0x10, 0x20, 5 }, { 51 * MIB, 12 * MIB, 1 } } },
    { "24 MiB in crumbs", {
        { MIB, 8 * MIB, 1 }, { 9 * MIB + 0x1000, 0x3000, 1 }, { 9 * MIB + 0x5000, 0x1800, 1 }, { 9 * MIB + 0x7fff, 0x1002, 1 },
        { 10 * MIB, 0x1000, 1 }, { 12 * MIB + 0x1001, 12 * MIB - 0x1001, 1 }, { 2 * MIB + 0x7000, 0x1000, 4 } } },
    { "320 MiB on both sides of 16 MiB and of 4 GiB", {
        { 0, 640 * KIB, 1 }, { MIB, 63 * MIB, 1 }, { 4 * GIB - 64 * MIB, 64 * MIB, 2 }, { 4 * GIB, 256 * MIB, 1 } } },
    { "2 GiB with a hole of 1 GiB", { { 0, 640 * KIB, 1 }, { MIB, GIB - MIB, 1 }, { 2 * GIB, GIB, 1 } } },
    { "16 GiB", { { 0, 640 * KIB, 1 }, { MIB, 3 * GIB - MIB, 1 }, { 4 * GIB, 13 * GIB, 1 } } },
};

/* --- memory ---------------------------------------------------------------------------------------------------------- */

char *host_ram;
uint64_t host_frames;

enum { VIEWS_MAX = 64 };

static struct { char *memory; uint64_t physical, size; } views[VIEWS_MAX];
static unsigned view_count;

void *memory_view(uint64_t physical, uint64_t size)
{
    for (unsigned i = 0; i < view_count; i++)
        if (views[i].physical == physical && views[i].size == size)
            return views[i].memory;
    if (view_count == VIEWS_MAX)
        abort();
    views[view_count].memory = calloc(1, size);
    views[view_count].physical = physical;
    views[view_count].size = size;
    return views[view_count++].memory;
}

uint64_t memory_of_view(const void *view)
{
    for (unsigned i = 0; i < view_count; i++)
        if ((uint64_t)((const char *)view - views[i].memory) < views[i].size)
            return views[i].physical + (uint64_t)((const char *)view - views[i].memory);
    abort();
}

static void drop_memory(void)
{
    while (view_count)
        free(views[--view_count].memory);
    if (!host_ram)
        return;
    ASAN_UNPOISON_MEMORY_REGION(host_ram, host_frames * FRAME_VIEW);
    munmap(host_ram, host_frames * FRAME_VIEW);
}

static void provide_memory(uint64_t frames)
{
    host_frames = frames;
    host_ram = mmap(NULL, frames * FRAME_VIEW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host_ram == MAP_FAILED)
        abort();
}

/* Whoever looks into a frame that is no usable RAM is caught. */
static void poison_all_but_usable(void)
{
    ASAN_POISON_MEMORY_REGION(host_ram, host_frames * FRAME_VIEW);
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_USABLE && map_first_frame(&boot_map[i]) < map_end_frame(&boot_map[i]))
            ASAN_UNPOISON_MEMORY_REGION(frame_view(map_first_frame(&boot_map[i])),
                                        (map_end_frame(&boot_map[i]) - map_first_frame(&boot_map[i])) * FRAME_VIEW);
    for (uint64_t i = 0; i < reserved_count; i++) {
        uint64_t first = reserved_ranges[i].base >> PAGE_SHIFT;
        uint64_t end = align_up(reserved_ranges[i].base + reserved_ranges[i].length, PAGE_SIZE) >> PAGE_SHIFT;
        ASAN_POISON_MEMORY_REGION(frame_view(first), (end - first) * FRAME_VIEW);
    }
}

/* --- booting --------------------------------------------------------------------------------------------------------- */

static uint64_t entries_of(const struct machine *machine)
{
    uint64_t count = 0;
    while (count < MACHINE_ENTRIES && machine->raw[count].length)
        count++;
    return count;
}

void machine_start(const struct machine *machine, const char *manager)
{
    drop_memory();
    memset(&early, 0, sizeof(early));
    reserved_count = 0;
    boot_map_count = normalise_map(machine->raw, entries_of(machine), boot_map);
    provide_memory(map_end_frame(&boot_map[boot_map_count - 1]));
    reserve(0, MIB, RESERVED_LOW_MEMORY);
    reserve(MIB, 200 * KIB + 1, RESERVED_KERNEL_IMAGE);
    reserve(2 * MIB + 0x10, 0x20, RESERVED_MODULE);
    snprintf(boot_info.command_line, COMMAND_LINE_MAX, "pmm=%s", manager);
    for (unsigned i = 0; i < 5; i++)
        early_frame();                  /* page tables, in the kernel */
    pmm_init();
    poison_all_but_usable();
}
