/* Knows what the boot loader left: who it was, the command line, the modules, the memory map. */
#ifndef BOOT_BOOT_INFO_H
#define BOOT_BOOT_INFO_H

#include <stdint.h>

enum { COMMAND_LINE_MAX = 512 };

struct boot_info {
    const char *protocol;                   /* "pvh", "multiboot1" or "multiboot2" */
    char command_line[COMMAND_LINE_MAX];    /* a copy: the loader's lies anywhere */
    uint64_t module_count;                  /* their ranges are in reserved_ranges */
    uint64_t rsdp;                          /* physical address of ACPI's root pointer, or 0 when the loader does not say */
};
extern struct boot_info boot_info;

/* Reads whatever `magic` says lies at physical address `info`, and fills boot_info, boot_map and reserved_ranges.
 * While the boot tables are on: they show all of the low 4 GiB through the direct map. */
void boot_info_read(uint32_t magic, uint64_t info);

#endif
