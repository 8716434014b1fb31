/* Knows how a memory map is made orderly.
 *
 * Every base and end in the raw map is a border. Between two neighbouring borders nothing changes, so that piece has one
 * type: the most restrictive of the entries that cover it, or none (a hole). Neighbouring pieces of one type are merged.
 * Quadratic, and a map has a dozen entries. */

#include "boot/memory_map.h"

#include "lib/panic.h"
#include "lib/print.h"

struct boot_map_entry boot_map[BOOT_MAP_MAX];
uint64_t boot_map_count;
struct reserved_range reserved_ranges[RESERVED_MAX];
uint64_t reserved_count;

static uint64_t end_of(const struct boot_map_entry *entry)
{
    uint64_t end = entry->base + entry->length;
    return end < entry->base ? UINT64_MAX : end;        /* a length that runs off the end of the world */
}

static uint32_t known_type(uint32_t type)
{
    return type >= MEMORY_USABLE && type <= MEMORY_BAD ? type : MEMORY_RESERVED;
}

/* Usable < ACPI < NVS < reserved < bad; a hole (0) gives way to anything. */
static unsigned restriction(uint32_t type)
{
    static const unsigned char order[] = { 0, 1, 4, 2, 3, 5 };
    return order[type];
}

static uint32_t type_of_piece(const struct boot_map_entry *raw, uint64_t count, uint64_t base, uint64_t end)
{
    uint32_t type = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t candidate = known_type(raw[i].type);
        if (raw[i].base <= base && end <= end_of(&raw[i]) && restriction(candidate) > restriction(type))
            type = candidate;
    }
    return type;
}

/* The lowest border above `address`, or `address` itself when there is none. */
static uint64_t next_border(const struct boot_map_entry *raw, uint64_t count, uint64_t address)
{
    uint64_t next = UINT64_MAX;
    bool found = false;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t borders[2] = { raw[i].base, end_of(&raw[i]) };
        for (int b = 0; b < 2; b++)
            if (borders[b] > address && borders[b] <= next) {
                next = borders[b];
                found = true;
            }
    }
    return found ? next : address;
}

uint64_t normalise_map(const struct boot_map_entry *raw, uint64_t raw_count, struct boot_map_entry *map)
{
    uint64_t count = 0;
    uint64_t base = 0, end;
    while ((end = next_border(raw, raw_count, base)) != base) {
        uint32_t type = type_of_piece(raw, raw_count, base, end);
        struct boot_map_entry *last = count ? &map[count - 1] : NULL;
        if (type && last && last->type == type && end_of(last) == base)
            last->length = end - last->base;
        else if (type)
            map[count++] = (struct boot_map_entry) { base, end - base, type };
        base = end;
    }
    return count;
}

void reserve(uint64_t base, uint64_t length, enum reserved_what what)
{
    if (length == 0)
        return;
    if (reserved_count == RESERVED_MAX)
        panic("more than %d reserved ranges", RESERVED_MAX);
    reserved_ranges[reserved_count++] = (struct reserved_range) { base, length, what };
}

bool is_reserved(uint64_t base, uint64_t length)
{
    for (uint64_t i = 0; i < reserved_count; i++) {
        const struct reserved_range *range = &reserved_ranges[i];
        if (base < range->base + range->length && range->base < base + length)
            return true;
    }
    return false;
}

static bool acpi_is_reclaimed;

void memory_map_reclaim(void) { acpi_is_reclaimed = true; }

static bool is_usable(uint32_t type) { return type == MEMORY_USABLE || (acpi_is_reclaimed && type == MEMORY_ACPI); }

/* The map is sorted, so a run that goes on in the next entry finds it later in the loop. */
bool are_allocatable(uint64_t first_frame, uint64_t count)
{
    uint64_t frame = first_frame, end = first_frame + count;
    for (uint64_t i = 0; i < boot_map_count && frame < end; i++)
        if (is_usable(boot_map[i].type) && frame >= map_first_frame(&boot_map[i]) && frame < map_end_frame(&boot_map[i]))
            frame = map_end_frame(&boot_map[i]);
    return count > 0 && frame >= end && end > first_frame && !is_reserved(first_frame << PAGE_SHIFT, count << PAGE_SHIFT);
}

const char *memory_type_name(uint32_t type)
{
    static const char *const names[] = { "hole", "usable", "reserved", "acpi", "nvs", "bad" };
    return type < sizeof(names) / sizeof(*names) ? names[type] : "unknown";
}

const char *reserved_name(uint32_t what)
{
    static const char *const names[] = { "low-memory", "kernel-image", "module", "boot-info", "pmm-bitmap",
                                         "pmm-metadata", "pmm-scratch", "page-records", "acpi-copy" };
    return what < sizeof(names) / sizeof(*names) ? names[what] : "unknown";
}

void memory_map_print(void)
{
    uint64_t usable = 0;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_USABLE)
            usable += boot_map[i].length;
    print("memory: %lu map entries, %lu KiB usable, %lu ranges kept\n", boot_map_count, usable >> 10, reserved_count);
}
