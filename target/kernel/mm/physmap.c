/* Knows what lies at every physical address.
 *
 * Theory
 *  1. Three sources, each more exact than the one before: the firmware's map (types of memory), the reserved ranges (what the
 *     kernel has put there), and the places where every PC has devices.
 *  2. They are painted over each other: setting a range cuts away what it covers. Neighbours of one kind and name merge.
 *
 * Invariants
 *     ranges are sorted, disjoint and not empty; none is PHYSMAP_NOTHING
 *     a range of RAM is usable in the boot map, or reclaimed
 *
 * Lock: none. It changes at boot only. */

#include "mm/physmap.h"

#include "arch/cpu.h"
#include "arch/x86.h"
#include "boot/memory_map.h"
#include "lib/panic.h"
#include "lib/string.h"

struct physmap_range physmap[PHYSMAP_MAX];
uint64_t physmap_count;

static uint64_t end_of(const struct physmap_range *range) { return range->base + range->length; }

/* --- the array ------------------------------------------------------------------------------------------------------- */

static void insert(uint64_t index, struct physmap_range range)
{
    if (physmap_count == PHYSMAP_MAX)
        panic("physmap: more than %d ranges", PHYSMAP_MAX);
    memmove(&physmap[index + 1], &physmap[index], (physmap_count - index) * sizeof(range));
    physmap[index] = range;
    physmap_count++;
}

static void remove(uint64_t index)
{
    physmap_count--;
    memmove(&physmap[index], &physmap[index + 1], (physmap_count - index) * sizeof(physmap[0]));
}

/* The first range that ends behind `address`. */
static uint64_t index_after(uint64_t address)
{
    uint64_t index = 0;
    while (index < physmap_count && end_of(&physmap[index]) <= address)
        index++;
    return index;
}

/* Nothing is left in [base, end). */
static void clear(uint64_t base, uint64_t end)
{
    uint64_t index = index_after(base);
    while (index < physmap_count && physmap[index].base < end) {
        struct physmap_range old = physmap[index];
        remove(index);
        if (end_of(&old) > end)
            insert(index, (struct physmap_range) { end, end_of(&old) - end, old.kind, old.name });
        if (old.base < base)
            insert(index++, (struct physmap_range) { old.base, base - old.base, old.kind, old.name });
        if (end_of(&old) > end)
            return;
    }
}

static void merge_with_next(uint64_t index)
{
    const struct physmap_range *next = &physmap[index + 1];
    if (index + 1 < physmap_count && end_of(&physmap[index]) == next->base && physmap[index].kind == next->kind
        && strcmp(physmap[index].name, next->name) == 0) {
        physmap[index].length += next->length;
        remove(index + 1);
    }
}

void physmap_set(uint64_t base, uint64_t length, enum physmap_kind kind, const char *name)
{
    if (length == 0)
        return;
    clear(base, base + length);
    if (kind == PHYSMAP_NOTHING)
        return;
    uint64_t index = index_after(base);
    insert(index, (struct physmap_range) { base, length, kind, name });
    merge_with_next(index);
    if (index)
        merge_with_next(index - 1);
}

/* --- what is where --------------------------------------------------------------------------------------------------- */

static enum physmap_kind kind_of_memory(uint32_t type)
{
    static const unsigned char kinds[] = {
        PHYSMAP_NOTHING, PHYSMAP_RAM, PHYSMAP_FIRMWARE, PHYSMAP_ACPI, PHYSMAP_NVS, PHYSMAP_BAD,
    };
    return kinds[type];
}

static enum physmap_kind kind_of_reserved(uint32_t what)
{
    switch (what) {
    case RESERVED_LOW_MEMORY: return PHYSMAP_LOW_MEMORY;
    case RESERVED_KERNEL_IMAGE: return PHYSMAP_IMAGE;
    case RESERVED_MODULE: return PHYSMAP_MODULE;
    case RESERVED_BOOT_INFO: return PHYSMAP_BOOT_INFO;
    default: return PHYSMAP_METADATA;
    }
}

/* Reserved ranges say something about RAM only: the first MiB has other things too. */
static void paint_reserved(const struct reserved_range *range)
{
    for (uint64_t i = 0; i < boot_map_count; i++) {
        uint64_t base = range->base > boot_map[i].base ? range->base : boot_map[i].base;
        uint64_t end = range->base + range->length, map_end = boot_map[i].base + boot_map[i].length;
        end = end < map_end ? end : map_end;
        if (is_ram_type(boot_map[i].type) && base < end)
            physmap_set(base, end - base, kind_of_reserved(range->what), reserved_name(range->what));
    }
}

/* Video memory: IBM PC. APICs: SDM volume 3, 10.4.1 (the base is in an MSR), and Intel 82093AA data sheet, 3.0. */
static void paint_devices(void)
{
    physmap_set(0xa0000, 0x20000, PHYSMAP_DEVICE, "video-memory");
    physmap_set(0xfec00000, PAGE_SIZE, PHYSMAP_DEVICE, "io-apic");
    physmap_set(read_msr(MSR_APIC_BASE) & ENTRY_ADDRESS, PAGE_SIZE, PHYSMAP_DEVICE, "local-apic");
}

void physmap_init(void)
{
    for (uint64_t i = 0; i < boot_map_count; i++)
        physmap_set(boot_map[i].base, boot_map[i].length, kind_of_memory(boot_map[i].type), memory_type_name(boot_map[i].type));
    for (uint64_t i = 0; i < reserved_count; i++)
        paint_reserved(&reserved_ranges[i]);
    paint_devices();
}

struct physmap_range physmap_at(uint64_t address)
{
    uint64_t index = index_after(address);
    bool found = index < physmap_count && physmap[index].base <= address;
    return found ? physmap[index] : (struct physmap_range) { address, 0, PHYSMAP_NOTHING, "nothing" };
}

const char *physmap_kind_name(uint32_t kind)
{
    static const char *const names[PHYSMAP_KINDS] = {
        "nothing", "ram", "low-memory", "image", "module", "boot-info", "metadata", "firmware", "acpi", "nvs", "bad", "device",
    };
    return kind < PHYSMAP_KINDS ? names[kind] : "unknown";
}

const char *physmap_check(void)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < physmap_count; i++) {
        if (physmap[i].length == 0 || physmap[i].kind == PHYSMAP_NOTHING)
            return "no range is empty";
        if (physmap[i].base < end)
            return "ranges are sorted and disjoint";
        end = end_of(&physmap[i]);
        uint64_t first = align_up(physmap[i].base, PAGE_SIZE) >> PAGE_SHIFT, last = end >> PAGE_SHIFT;
        if (physmap[i].kind == PHYSMAP_RAM && first < last && !are_allocatable(first, last - first))
            return "RAM is usable, and nothing reserves it";
    }
    return NULL;
}
