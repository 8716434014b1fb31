/* Knows the layouts that the three boot protocols lay down in memory, as far as the kernel reads them.
 *
 * PVH: xen/include/public/arch-x86/hvm/start_info.h. Multiboot: the specifications 0.6.96 and 2.0 by the FSF. */
#ifndef BOOT_PROTOCOL_H
#define BOOT_PROTOCOL_H

#define PVH_MAGIC                   0x336ec578
#define MULTIBOOT1_MAGIC            0x2badb002
#define MULTIBOOT2_MAGIC            0x36d76289
#define MULTIBOOT1_HEADER_MAGIC     0x1badb002
#define MULTIBOOT2_HEADER_MAGIC     0xe85250d6

#ifndef __ASSEMBLER__

#include <stdint.h>

struct pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
    uint64_t map;                       /* from version 1 on */
    uint32_t map_count, reserved;
};

struct pvh_module { uint64_t base, size, command_line, reserved; };

struct pvh_map_entry { uint64_t base, length; uint32_t type, reserved; };

enum { MULTIBOOT1_HAS_COMMAND_LINE = 1 << 2, MULTIBOOT1_HAS_MODULES = 1 << 3, MULTIBOOT1_HAS_MAP = 1 << 6 };

struct multiboot1_info {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line, module_count, modules;
    uint32_t symbols[4];
    uint32_t map_length, map;
};

struct multiboot1_module { uint32_t start, end, command_line, reserved; };

/* `size` counts the bytes after itself. */
struct multiboot1_map_entry { uint32_t size; uint64_t base, length; uint32_t type; } __attribute__((packed));

enum {
    MULTIBOOT2_END = 0,
    MULTIBOOT2_COMMAND_LINE = 1,
    MULTIBOOT2_MODULE = 3,
    MULTIBOOT2_MAP = 6,
    MULTIBOOT2_RSDP_OLD = 14,
    MULTIBOOT2_RSDP_NEW = 15,
};

struct multiboot2_info { uint32_t total_size, reserved; };

/* Tags follow the info and each other on 8-byte boundaries. */
struct multiboot2_tag { uint32_t type, size; };

struct multiboot2_module { struct multiboot2_tag tag; uint32_t start, end; };

struct multiboot2_map { struct multiboot2_tag tag; uint32_t entry_size, entry_version; };

struct multiboot2_map_entry { uint64_t base, length; uint32_t type, reserved; };

#endif
#endif
