/* Knows what the memory-map normaliser must do: known cases by hand, random ones against a map of single bytes. */

#include "boot/memory_map.h"
#include "lib/string.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

#define U MEMORY_USABLE
#define R MEMORY_RESERVED
#define A MEMORY_ACPI
#define N MEMORY_NVS
#define B MEMORY_BAD

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* True if normalising `raw` gives exactly `expected`. */
#define BECOMES(raw, expected) becomes(raw, COUNT(raw), expected, COUNT(expected))

static struct boot_map_entry result[64];

static bool becomes(const struct boot_map_entry *raw, uint64_t raw_count, const struct boot_map_entry *expected, uint64_t count)
{
    if (normalise_map(raw, raw_count, result) != count)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (result[i].base != expected[i].base || result[i].length != expected[i].length || result[i].type != expected[i].type)
            return false;
    return true;
}

typedef const struct boot_map_entry map[];

static void test_order_and_holes(void)
{
    map unsorted = { { 0x5000, 0x1000, U }, { 0x1000, 0x1000, R }, { 0x3000, 0, U } };
    map sorted = { { 0x1000, 0x1000, R }, { 0x5000, 0x1000, U } };
    EXPECT(BECOMES(unsorted, sorted));

    map touching = { { 0x2000, 0x1000, U }, { 0x1000, 0x1000, U }, { 0x3000, 0x1000, A } };
    map merged = { { 0x1000, 0x2000, U }, { 0x3000, 0x1000, A } };
    EXPECT(BECOMES(touching, merged));
}

static void test_overlaps(void)
{
    map inside = { { 0x0, 0x10000, U }, { 0x4100, 0x200, R } };
    map split = { { 0x0, 0x4100, U }, { 0x4100, 0x200, R }, { 0x4300, 0xbd00, U } };
    EXPECT(BECOMES(inside, split));

    map covered = { { 0x2000, 0x1000, U }, { 0x0, 0x10000, R } };
    map whole = { { 0x0, 0x10000, R } };
    EXPECT(BECOMES(covered, whole));

    map chain = { { 0x0, 0x3000, U }, { 0x1000, 0x3000, A }, { 0x2000, 0x3000, N }, { 0x3000, 0x3000, R }, { 0x4000, 0x3000, B } };
    map ranked = { { 0x0, 0x1000, U }, { 0x1000, 0x1000, A }, { 0x2000, 0x1000, N }, { 0x3000, 0x1000, R }, { 0x4000, 0x3000, B } };
    EXPECT(BECOMES(chain, ranked));
}

static void test_oddities(void)
{
    map unknown = { { 0x1000, 0x1000, 12 }, { 0x1000, 0x1000, U }, { 0x3000, 0x1000, 0 } };
    map reserved = { { 0x1000, 0x1000, R }, { 0x3000, 0x1000, R } };
    EXPECT(BECOMES(unknown, reserved));

    map endless = { { 0xfffffffffffff000, 0x5000, R }, { 0x1000, 0x1000, U } };
    map clipped = { { 0x1000, 0x1000, U }, { 0xfffffffffffff000, 0xfff, R } };
    EXPECT(BECOMES(endless, clipped));

    EXPECT(normalise_map(NULL, 0, result) == 0);
}

static void test_rounding(void)
{
    struct boot_map_entry ragged = { 0x1001, 0x3ffe, U }, whole = { 0x1000, 0x4000, U }, crumb = { 0x1001, 0xffe, U };
    EXPECT(map_first_frame(&ragged) == 2 && map_end_frame(&ragged) == 4);
    EXPECT(map_first_frame(&whole) == 1 && map_end_frame(&whole) == 5);
    EXPECT(map_first_frame(&crumb) >= map_end_frame(&crumb));
}

void test_known_maps(void)
{
    test_rounding();
    test_order_and_holes();
    test_overlaps();
    test_oddities();
}

/* --- random ---------------------------------------------------------------------------------------------------------- */

enum { WORLD = 48, ENTRIES_MAX = 10, ROUNDS = 2000 };

/* From least to most restrictive: the order that the normaliser must follow, written down a second time. */
static const unsigned char by_restriction[] = { 0, U, A, N, R, B };

static void paint(unsigned char *rank, const struct boot_map_entry *entry, unsigned char value)
{
    for (uint64_t at = entry->base; at < entry->base + entry->length; at++)
        if (value > rank[at])
            rank[at] = value;
}

static bool is_orderly(const struct boot_map_entry *entries, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (entries[i].length == 0)
            return false;
        uint64_t end = i ? entries[i - 1].base + entries[i - 1].length : 0;
        if (i && (entries[i].base < end || (entries[i].base == end && entries[i].type == entries[i - 1].type)))
            return false;
    }
    return true;
}

static bool random_map_is_right(void)
{
    struct boot_map_entry raw[ENTRIES_MAX];
    unsigned char wanted[WORLD] = { 0 }, got[WORLD] = { 0 };
    uint64_t raw_count = random_below(ENTRIES_MAX + 1);
    for (uint64_t i = 0; i < raw_count; i++) {
        unsigned char rank = (unsigned char)(1 + random_below(5));
        raw[i].base = random_below(WORLD);
        raw[i].length = random_below(WORLD + 1 - raw[i].base);
        raw[i].type = by_restriction[rank];
        paint(wanted, &raw[i], rank);
    }
    uint64_t count = normalise_map(raw, raw_count, result);
    for (uint64_t i = 0; i < count; i++)
        for (unsigned char rank = 1; rank <= 5; rank++)
            if (by_restriction[rank] == result[i].type)
                paint(got, &result[i], rank);
    return is_orderly(result, count) && memcmp(wanted, got, WORLD) == 0;
}

void test_random_map(void)
{
    for (int round = 0; round < ROUNDS; round++)
        EXPECT(random_map_is_right());
}
