/* Knows page tables: 4 levels, level 4 at the root (SDM volume 3, 4.5).
 *
 * Theory
 *  1. Two things are mapped at boot: the image, section by section from the table image_sections, and all RAM at
 *     DIRECT_MAP with the largest pages that fit. Holes and devices are not in the direct map, so a stray pointer there
 *     faults. Everything later comes from mm/vm.c, page by page.
 *  2. Tables are frames like any other. They are written through the direct map; while paging_init builds it, the boot
 *     tables show the low 4 GiB at the same place, and the frames come from mm/early.c, which stays below that. The
 *     manager comes after, because some managers keep their links in the free frames, anywhere in RAM.
 *  3. Rights live in the leaf. Entries above it allow everything but user access, so the leaf alone decides.
 *  4. Write xor execute holds for memory, not only for addresses: text and rodata are read-only in the direct map too.
 *
 * Invariants
 *     cr3 == space.root, and its lower half is empty
 *     no entry has the user bit; no leaf is writable and executable
 *     every table is a used frame
 *     translate(DIRECT_MAP + p) == p for all RAM p; writable there <=> p is outside text and rodata; never executable
 *     translate(a) == image_to_phys(a) with its section's rights, for every a in image_sections
 *     the page below the boot stack is not mapped
 *
 * Lock: that of the address space, before pmm's. Booting takes none: nothing else runs. */

#include "mm/paging.h"

#include "arch/cpu.h"
#include "arch/x86.h"
#include "boot/memory_map.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/page.h"
#include "mm/pmm.h"

enum { ROOT_LEVEL = 4, LOWER_HALF = ENTRIES / 2 };

const struct image_section image_sections[IMAGE_SECTIONS] = {
    { "text",   __text_start,   __text_end,   RIGHTS_RX },
    { "rodata", __rodata_start, __rodata_end, RIGHTS_R  },
    { "data",   __data_start,   __data_end,   RIGHTS_RW },
    { "bss",    __bss_start,    __bss_end,    RIGHTS_RW },
    /* one page left out: the guard */
    { "stack",  __stack_start,  __stack_end,  RIGHTS_RW },
};

/* --- entries --------------------------------------------------------------------------------------------------------- */

static uint64_t size_at(unsigned level) { return (uint64_t)PAGE_SIZE << 9 * (level - 1); }
static unsigned index_at(unsigned level, uint64_t address) { return address / size_at(level) % ENTRIES; }
static bool is_canonical(uint64_t address) { return (address + (1ul << 47)) >> 48 == 0; }
static bool is_leaf(uint64_t entry, unsigned level) { return level == 1 || entry & ENTRY_LARGE; }
static uint64_t *table_at(uint64_t physical) { return phys_to_virt(physical); }
static uint64_t address_in(uint64_t entry) { return entry & ENTRY_ADDRESS; }

static uint64_t make_leaf(uint64_t physical, unsigned level, unsigned rights)
{
    return physical | ENTRY_PRESENT
         | (level > 1 ? ENTRY_LARGE : 0)
         | (rights & RIGHTS_W ? ENTRY_WRITE : 0)
         | (rights & RIGHTS_X || !cpu_features.nx ? 0 : ENTRY_NX)
         | (cpu_features.global_pages ? ENTRY_GLOBAL : 0);
}

static unsigned rights_of(uint64_t leaf)
{
    return (leaf & ENTRY_WRITE ? RIGHTS_W : 0) | (leaf & ENTRY_NX ? 0 : RIGHTS_X);
}

/* A zeroed frame for a table, by physical address; 0 when there is none. */
static uint64_t new_table(void)
{
    uint64_t frame = pmm_is_up() ? pmm_alloc() : early_frame();
    if (frame == NO_FRAME)
        return 0;
    if (pmm_is_up())
        page_own(frame, PAGE_TABLE, 0);
    memset(table_at(frame << PAGE_SHIFT), 0, PAGE_SIZE);
    return frame << PAGE_SHIFT;
}

/* --- one address ----------------------------------------------------------------------------------------------------- */

/* The entry that a leaf for `address` at `level` goes into. Creates the tables on the way; NULL when no frame is left. */
static uint64_t *reach_entry(const struct address_space *space, uint64_t address, unsigned level)
{
    uint64_t *table = table_at(space->root);
    for (unsigned at = ROOT_LEVEL; at > level; at--) {
        uint64_t *entry = &table[index_at(at, address)];
        if (!(*entry & ENTRY_PRESENT)) {
            uint64_t physical = new_table();
            if (!physical)
                return NULL;
            *entry = physical | ENTRY_PRESENT | ENTRY_WRITE;
        } else if (is_leaf(*entry, at)) {
            panic("paging: 0x%lx lies in a large page", address);
        }
        table = table_at(address_in(*entry));
    }
    return &table[index_at(level, address)];
}

/* The leaf for `address` in the tables below `root`, and its level, or NULL. */
static uint64_t *find_leaf(uint64_t root, uint64_t address, unsigned *level)
{
    if (!is_canonical(address))
        return NULL;
    uint64_t *table = table_at(root);
    for (*level = ROOT_LEVEL; ; --*level) {
        uint64_t *entry = &table[index_at(*level, address)];
        if (!(*entry & ENTRY_PRESENT))
            return NULL;
        if (is_leaf(*entry, *level))
            return entry;
        table = table_at(address_in(*entry));
    }
}

static bool map_leaf(const struct address_space *space, uint64_t address, uint64_t physical, unsigned level, unsigned rights)
{
    uint64_t *entry = reach_entry(space, address, level);
    if (!entry)
        return false;
    if (*entry & ENTRY_PRESENT)
        panic("paging: 0x%lx is mapped already", address);
    *entry = make_leaf(physical, level, rights);        /* was absent, so no TLB holds it: nothing to flush */
    return true;
}

bool page_map_locked(struct address_space *space, uint64_t address, uint64_t physical, unsigned rights)
{
    return map_leaf(space, address, physical, 1, rights);
}

/* The entry of the 4-KiB page at `address`, or NULL. */
static uint64_t *find_page(const struct address_space *space, uint64_t address)
{
    unsigned level;
    uint64_t *leaf = find_leaf(space->root, address, &level);
    return leaf && level == 1 ? leaf : NULL;
}

uint64_t page_unmap_locked(struct address_space *space, uint64_t address)
{
    uint64_t *leaf = find_page(space, address);
    if (!leaf)
        return 0;
    uint64_t physical = address_in(*leaf);
    *leaf = 0;
    invalidate_page(address);
    return physical;
}

uint64_t page_remap_locked(struct address_space *space, uint64_t address, uint64_t physical)
{
    uint64_t *leaf = find_page(space, address);
    if (!leaf)
        return 0;
    uint64_t before = address_in(*leaf);
    *leaf = physical | (*leaf & ~ENTRY_ADDRESS);
    invalidate_page(address);
    return before;
}

struct translation page_translate_locked(const struct address_space *space, uint64_t address)
{
    unsigned level;
    const uint64_t *leaf = find_leaf(space->root, address, &level);
    if (!leaf)
        return (struct translation) { .mapped = false };
    uint64_t offset = address % size_at(level);
    return (struct translation) { true, align_down(address_in(*leaf), size_at(level)) + offset, size_at(level), rights_of(*leaf) };
}

bool page_map(struct address_space *space, uint64_t address, uint64_t physical, unsigned rights)
{
    lock(&space->lock);
    bool taken = page_translate_locked(space, address).mapped;
    bool mapped = !taken && page_map_locked(space, address, physical, rights);
    unlock(&space->lock);
    if (taken)
        panic("paging: map of 0x%lx refused: a page is mapped there", address);
    return mapped;
}

uint64_t page_unmap(struct address_space *space, uint64_t address)
{
    lock(&space->lock);
    uint64_t physical = page_unmap_locked(space, address);
    unlock(&space->lock);
    if (!physical)
        panic("paging: unmap of 0x%lx refused: no 4-KiB page is mapped there", address);
    return physical;
}

uint64_t page_remap(struct address_space *space, uint64_t address, uint64_t physical)
{
    lock(&space->lock);
    uint64_t before = page_remap_locked(space, address, physical);
    unlock(&space->lock);
    if (!before)
        panic("paging: remap of 0x%lx refused: no 4-KiB page is mapped there", address);
    return before;
}

struct translation page_translate(struct address_space *space, uint64_t address)
{
    lock(&space->lock);
    struct translation found = page_translate_locked(space, address);
    unlock(&space->lock);
    return found;
}

uint64_t page_table_of(struct address_space *space, uint64_t address)
{
    lock(&space->lock);
    const uint64_t *leaf = find_page(space, address);
    unlock(&space->lock);
    return leaf ? align_down((uint64_t)leaf - DIRECT_MAP, PAGE_SIZE) : 0;
}

bool page_is_mapped_now(uint64_t address)
{
    unsigned level;
    return find_leaf(address_in(read_cr3()), address, &level);
}

const char *rights_name(unsigned rights)
{
    static const char *const names[] = { "r--", "rw-", "r-x", "rwx" };
    return names[rights & (RIGHTS_W | RIGHTS_X)];
}

/* --- boot ------------------------------------------------------------------------------------------------------------ */

/* The highest level whose pages fit at the start of the range. */
static unsigned largest_level(uint64_t address, uint64_t physical, uint64_t size)
{
    unsigned level = cpu_features.gigabyte_pages ? 3 : 2;
    while (level > 1 && !(is_aligned(address | physical, size_at(level)) && size >= size_at(level)))
        level--;
    return level;
}

static void map_range(const struct address_space *space, uint64_t address, uint64_t physical, uint64_t size, unsigned rights)
{
    while (size) {
        unsigned level = largest_level(address, physical, size);
        if (!map_leaf(space, address, physical, level, rights))
            panic("paging: no frame left for a table");
        address += size_at(level);
        physical += size_at(level);
        size -= size_at(level);
    }
}

static void map_image(const struct address_space *space)
{
    for (unsigned i = 0; i < IMAGE_SECTIONS; i++) {
        const struct image_section *section = &image_sections[i];
        for (const char *page = section->start; page < section->end; page += PAGE_SIZE)
            if (!map_leaf(space, (uint64_t)page, image_to_phys(page), 1, section->rights))
                panic("paging: no frame left for a table");
    }
}

static uint64_t lesser(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Text and rodata lie side by side, so a run of RAM falls into at most three pieces. */
static void map_ram(const struct address_space *space, uint64_t start, uint64_t end)
{
    uint64_t read_only = image_to_phys(__text_start), read_only_end = image_to_phys(__rodata_end);
    while (start < end) {
        bool inside = start >= read_only && start < read_only_end;
        uint64_t piece_end = lesser(end, inside ? read_only_end : start < read_only ? read_only : end);
        map_range(space, DIRECT_MAP + start, start, piece_end - start, inside ? RIGHTS_R : RIGHTS_RW);
        start = piece_end;
    }
}

typedef bool ram_visit(const struct address_space *space, uint64_t start, uint64_t end);

/* Calls `visit` for each run of RAM, in whole frames, until it returns false. Entries of RAM that touch make one run. */
static bool for_each_ram_run(const struct address_space *space, ram_visit *visit)
{
    for (uint64_t i = 0; i < boot_map_count;) {
        uint64_t start = boot_map[i].base, end = start;
        while (i < boot_map_count && is_ram_type(boot_map[i].type) && boot_map[i].base == end)
            end += boot_map[i++].length;
        if (end == start)
            i++;
        else if (!visit(space, align_up(start, PAGE_SIZE), align_down(end, PAGE_SIZE)))
            return false;
    }
    return true;
}

static bool map_ram_run(const struct address_space *space, uint64_t start, uint64_t end)
{
    map_ram(space, start, end);
    return true;
}

void paging_init(struct address_space *space)
{
    space->root = new_table();
    if (!space->root)
        panic("paging: no frame left for the root table");
    map_image(space);
    for_each_ram_run(space, map_ram_run);
    write_cr3(space->root);
    print("paging: root 0x%lx, direct map at 0x%lx, identity map gone\n", space->root, DIRECT_MAP);
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static const char *check_table(uint64_t physical, unsigned level)
{
    if (!pmm_is_used(physical >> PAGE_SHIFT))
        return "every table is a used frame";
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t entry = table_at(physical)[i];
        if (!(entry & ENTRY_PRESENT))
            continue;
        if (level == ROOT_LEVEL && i < LOWER_HALF)
            return "the lower half is empty";
        if (entry & ENTRY_USER)
            return "no entry has the user bit";
        if (is_leaf(entry, level)) {
            if (cpu_features.nx && rights_of(entry) == (RIGHTS_W | RIGHTS_X))
                return "no leaf is writable and executable";
        } else {
            const char *broken = check_table(address_in(entry), level - 1);
            if (broken)
                return broken;
        }
    }
    return NULL;
}

static bool grants(const struct address_space *space, uint64_t address, uint64_t physical, unsigned rights)
{
    struct translation found = page_translate_locked(space, address);
    if (!cpu_features.nx)
        rights |= RIGHTS_X;
    return found.mapped && found.physical == physical && found.rights == rights;
}

static bool image_is_mapped(const struct address_space *space)
{
    for (unsigned i = 0; i < IMAGE_SECTIONS; i++)
        for (const char *page = image_sections[i].start; page < image_sections[i].end; page += PAGE_SIZE)
            if (!grants(space, (uint64_t)page, image_to_phys(page), image_sections[i].rights))
                return false;
    return true;
}

static bool ram_run_is_mapped(const struct address_space *space, uint64_t start, uint64_t end)
{
    while (start < end) {
        bool read_only = start >= image_to_phys(__text_start) && start < image_to_phys(__rodata_end);
        if (!grants(space, DIRECT_MAP + start, start, read_only ? RIGHTS_R : RIGHTS_RW))
            return false;
        uint64_t page_size = page_translate_locked(space, DIRECT_MAP + start).page_size;
        start = align_down(start, page_size) + page_size;
    }
    return true;
}

static const char *check_locked(const struct address_space *space)
{
    if (address_in(read_cr3()) != space->root)
        return "cr3 == space.root";
    const char *broken = check_table(space->root, ROOT_LEVEL);
    if (broken)
        return broken;
    if (!image_is_mapped(space))
        return "the image is mapped with its sections' rights";
    if (!for_each_ram_run(space, ram_run_is_mapped))
        return "the direct map shows all RAM";
    if (page_translate_locked(space, (uint64_t)__stack_start - PAGE_SIZE).mapped)
        return "the page below the boot stack is not mapped";
    return NULL;
}

const char *paging_check(struct address_space *space)
{
    lock(&space->lock);
    const char *broken = check_locked(space);
    unlock(&space->lock);
    return broken;
}
