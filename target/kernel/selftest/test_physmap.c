/* Knows what the map of physical addresses and the saved ACPI tables must be. */

#include "boot/acpi.h"
#include "boot/memory_map.h"
#include "lib/string.h"
#include "mm/physmap.h"
#include "mm/pmm.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

void test_physmap(void)
{
    EXPECT(physmap_at((uint64_t)__text_start - KERNEL_BASE).kind == PHYSMAP_IMAGE);
    EXPECT(physmap_at(0xa0000).kind == PHYSMAP_DEVICE && physmap_at(0xbffff).kind == PHYSMAP_DEVICE);
    EXPECT(physmap_at(0xfee00000).kind == PHYSMAP_DEVICE && physmap_at((uint64_t)1 << 51).kind == PHYSMAP_NOTHING);
    EXPECT(physmap_at(reserved_ranges[reserved_count - 1].base).kind == PHYSMAP_METADATA);
    uint64_t frame = pmm_alloc();
    EXPECT(physmap_at(frame << PAGE_SHIFT).kind == PHYSMAP_RAM);
    pmm_free(frame);
    physmap[0].length += physmap[1].base;
    const char *broken = physmap_check();
    physmap[0].length -= physmap[1].base;
    EXPECT(broken && strcmp(broken, "ranges are sorted and disjoint") == 0);
}

/* --- painting, against a map of single bytes -------------------------------------------------------------------------- */

enum { WORLD = 64, ROUNDS = 300, STROKES = 12 };

static struct physmap_range saved[PHYSMAP_MAX];
static unsigned char painted[WORLD];

static bool agrees(void)
{
    for (uint64_t at = 0; at < WORLD; at++)
        if (physmap_at(at).kind != painted[at])
            return false;
    for (uint64_t i = 0; i + 1 < physmap_count; i++)
        if (physmap[i].base + physmap[i].length > physmap[i + 1].base
            || (physmap[i].base + physmap[i].length == physmap[i + 1].base && physmap[i].kind == physmap[i + 1].kind))
            return false;
    return true;
}

static bool round_agrees(void)
{
    physmap_count = 0;
    memset(painted, PHYSMAP_NOTHING, WORLD);
    for (int stroke = 0; stroke < STROKES; stroke++) {
        uint64_t base = random_below(WORLD), length = random_below(WORLD + 1 - base), kind = random_below(4);
        physmap_set(base, length, (enum physmap_kind)kind, "test");
        memset(painted + base, (int)kind, length);
        if (!agrees())
            return false;
    }
    return true;
}

void test_physmap_random(void)
{
    uint64_t count = physmap_count;
    bool right = true;
    memcpy(saved, physmap, sizeof(saved));
    for (int round = 0; right && round < ROUNDS; round++)
        right = round_agrees();
    memcpy(physmap, saved, sizeof(saved));
    physmap_count = count;
    EXPECT(right);
}

/* --- ACPI ------------------------------------------------------------------------------------------------------------ */

static bool is_saved(const struct acpi_table *table)
{
    unsigned char sum = 0;
    for (uint64_t i = 0; i < table->length; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)table->copy)[i]);
    return sum == 0 && memcmp(table->copy, table->signature, 4) == 0;
}

static void try_reclaimed(const struct boot_map_entry *entry)
{
    for (uint64_t frame = map_first_frame(entry); frame < map_end_frame(entry); frame++) {
        if (is_reserved(frame << PAGE_SHIFT, PAGE_SIZE))
            continue;
        EXPECT(are_allocatable(frame, 1) && physmap_at(frame << PAGE_SHIFT).kind == PHYSMAP_RAM);
        if (pmm_claim(frame, 1))
            pmm_free(frame);
        else
            EXPECT(pmm_is_used(frame));
    }
}

void test_acpi(void)
{
    EXPECT(acpi.state == ACPI_RECLAIMED);
    EXPECT(!acpi.root || acpi.count > 0);
    for (uint64_t i = 0; i < acpi.count; i++)
        EXPECT(is_saved(&acpi.tables[i]));
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_ACPI)
            try_reclaimed(&boot_map[i]);
}
