/* Knows how to find the ACPI tables, and that their memory is given back only after they are saved.
 *
 * Root pointer, root tables and table headers: ACPI specification 6.4, 5.2.5 to 5.2.8; the search for the root pointer,
 * 5.2.5.1; address range types, chapter 15. */

#include "boot/acpi.h"

#include "boot/boot_info.h"
#include "boot/memory_map.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/early.h"
#include "mm/physmap.h"
#include "mm/pmm.h"

struct root_pointer {
    char signature[8];          /* "RSD PTR " */
    uint8_t checksum;
    char oem[6];
    uint8_t revision;           /* 2: the fields after rsdt are there */
    uint32_t rsdt, length;
    uint64_t xsdt;
} __attribute__((packed));

struct table_header {
    char signature[4];
    uint32_t length;
    uint8_t rest[28];
} __attribute__((packed));

enum { ROOT_POINTER_1_SIZE = 20, DSDT_OFFSET = 40, TABLE_MAX = 1 << 20 };

#define BOOT_REACH ((uint64_t)1 << 32)

struct acpi acpi;

static bool sums_to_zero(const void *memory, uint64_t size)
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)memory)[i]);
    return sum == 0;
}

/* --- finding --------------------------------------------------------------------------------------------------------- */

static bool is_root(uint64_t physical)
{
    const void *root = phys_to_virt(physical);
    return memcmp(root, "RSD PTR ", 8) == 0 && sums_to_zero(root, ROOT_POINTER_1_SIZE);
}

static uint64_t find_root(void)
{
    if (boot_info.rsdp && boot_info.rsdp < BOOT_REACH && is_root(boot_info.rsdp))
        return boot_info.rsdp;
    for (uint64_t physical = 0xe0000; physical < 0x100000; physical += 16)
        if (is_root(physical))
            return physical;
    return 0;
}

static const struct table_header *table_at(uint64_t physical)
{
    if (physical == 0 || physical >= BOOT_REACH - TABLE_MAX)
        return NULL;
    const struct table_header *table = phys_to_virt(physical);
    bool sane = table->length >= sizeof(*table) && table->length <= TABLE_MAX && sums_to_zero(table, table->length);
    return sane ? table : NULL;
}

/* True for a table that is worth following. */
static const struct table_header *note_table(uint64_t physical)
{
    const struct table_header *table = table_at(physical);
    if (!table || acpi.count == ACPI_TABLES_MAX)
        return NULL;
    struct acpi_table *entry = &acpi.tables[acpi.count++];
    memcpy(entry->signature, table->signature, 4);
    entry->physical = physical;
    entry->length = table->length;
    return table;
}

/* The FADT names one more table: the DSDT. */
static void note_listed(uint64_t physical)
{
    const struct table_header *table = note_table(physical);
    uint32_t dsdt;
    if (!table || memcmp(table->signature, "FACP", 4) != 0 || table->length < DSDT_OFFSET + sizeof(dsdt))
        return;
    memcpy(&dsdt, (const char *)table + DSDT_OFFSET, sizeof(dsdt));
    note_table(dsdt);
}

/* RSDT and XSDT are lists of addresses, of 4 and 8 bytes. */
static void note_all(const struct root_pointer *root)
{
    bool extended = root->revision >= 2 && table_at(root->xsdt);
    const struct table_header *list = note_table(extended ? root->xsdt : root->rsdt);
    uint32_t size = extended ? 8 : 4;
    for (uint32_t at = sizeof(*list); list && at + size <= list->length; at += size) {
        uint64_t physical = 0;
        memcpy(&physical, (const char *)list + at, size);
        note_listed(physical);
    }
}

/* --- saving and reclaiming ------------------------------------------------------------------------------------------- */

static void copy_all(void)
{
    uint64_t size = 0;
    for (uint64_t i = 0; i < acpi.count; i++)
        size += align_up(acpi.tables[i].length, 16);
    char *copy = size ? early_alloc(size, RESERVED_ACPI_COPY) : NULL;
    for (uint64_t i = 0; i < acpi.count; i++) {
        acpi.tables[i].copy = memcpy(copy, phys_to_virt(acpi.tables[i].physical), acpi.tables[i].length);
        copy += align_up(acpi.tables[i].length, 16);
    }
}

void acpi_save(void)
{
    acpi.root = find_root();
    if (acpi.root)
        note_all(phys_to_virt(acpi.root));
    copy_all();
    acpi.state = ACPI_SAVED;
    print("acpi: root pointer 0x%lx, %lu tables saved\n", acpi.root, acpi.count);
}

/* Frame by frame: something may be reserved in between. */
static uint64_t reclaim(const struct boot_map_entry *entry)
{
    uint64_t reclaimed = 0;
    for (uint64_t frame = map_first_frame(entry); frame < map_end_frame(entry); frame++)
        if (!is_reserved(frame << PAGE_SHIFT, PAGE_SIZE)) {
            pmm_add(frame, 1);
            physmap_set(frame << PAGE_SHIFT, PAGE_SIZE, PHYSMAP_RAM, "reclaimed");
            reclaimed++;
        }
    return reclaimed;
}

void acpi_reclaim(void)
{
    uint64_t frames = 0;
    if (acpi.state != ACPI_SAVED)
        panic("acpi: the tables are not saved, their memory cannot be reclaimed");
    memory_map_reclaim();
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_ACPI)
            frames += reclaim(&boot_map[i]);
    acpi.state = ACPI_RECLAIMED;
    print("acpi: %lu frames reclaimed\n", frames);
}
