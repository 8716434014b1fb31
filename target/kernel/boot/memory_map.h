/* Knows the firmware's memory map, made orderly, and what the kernel keeps for itself.
 *
 * boot_map: sorted, disjoint, neighbours of one type merged; what the firmware does not mention is a hole and is absent.
 * Byte-exact as the firmware says it: whoever wants whole frames rounds inwards (map_first_frame, map_end_frame).
 * reserved_ranges: facts, in the order found; they may overlap. Rounded outwards to frames where they are applied. */
#ifndef BOOT_MEMORY_MAP_H
#define BOOT_MEMORY_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* The numbers of the BIOS's E820 (ACPI specification, chapter 15, Address Range Types). All three boot protocols use them. */
enum memory_type {
    MEMORY_USABLE = 1,
    MEMORY_RESERVED = 2,
    MEMORY_ACPI = 3,            /* ACPI tables: RAM that may be reclaimed once they are read */
    MEMORY_NVS = 4,
    MEMORY_BAD = 5,
};

struct boot_map_entry { uint64_t base, length; uint32_t type; };

enum reserved_what {
    RESERVED_LOW_MEMORY,        /* first MiB: BIOS data, real-mode code */
    RESERVED_KERNEL_IMAGE,
    RESERVED_MODULE,
    RESERVED_BOOT_INFO,         /* the loader's structures, command line included */
    RESERVED_PMM_BITMAP,
    RESERVED_PMM_METADATA,      /* that of the other managers */
    RESERVED_PMM_SCRATCH,       /* where surveys count */
    RESERVED_PAGE_RECORDS,
    RESERVED_ACPI_COPY,
};

struct reserved_range { uint64_t base, length; uint32_t what; };

enum { RAW_MAP_MAX = 128, BOOT_MAP_MAX = 2 * RAW_MAP_MAX, RESERVED_MAX = 64 };

extern struct boot_map_entry boot_map[BOOT_MAP_MAX];
extern uint64_t boot_map_count;
extern struct reserved_range reserved_ranges[RESERVED_MAX];
extern uint64_t reserved_count;

/* Sorts out `raw`: where entries overlap the more restrictive type wins; empty ones vanish; unknown types count as
 * reserved. `map` has room for 2 * raw_count entries. Returns how many it wrote. */
uint64_t normalise_map(const struct boot_map_entry *raw, uint64_t raw_count, struct boot_map_entry *map);

void reserve(uint64_t base, uint64_t length, enum reserved_what what);
bool is_reserved(uint64_t base, uint64_t length);

/* RAM, and no matter of ours to leave alone for ever. */
static inline bool is_ram_type(uint32_t type) { return type == MEMORY_USABLE || type == MEMORY_ACPI; }

/* True if these frames are usable RAM throughout and no part of them is reserved: what the physical manager may hand out. */
bool are_allocatable(uint64_t first_frame, uint64_t count);

/* From here on ACPI memory counts as usable. */
void memory_map_reclaim(void);

/* The whole frames of an entry: [first, end). first >= end when it has none. */
static inline uint64_t map_first_frame(const struct boot_map_entry *entry)
{
    return align_up(entry->base, PAGE_SIZE) >> PAGE_SHIFT;
}

static inline uint64_t map_end_frame(const struct boot_map_entry *entry)
{
    return (entry->base + entry->length) >> PAGE_SHIFT;
}

const char *memory_type_name(uint32_t type);
const char *reserved_name(uint32_t what);
void memory_map_print(void);

#endif
