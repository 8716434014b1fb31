/* Knows how to read what each of the three boot protocols leaves, into one form. */

#include "boot/boot_info.h"

#include "boot/memory_map.h"
#include "boot/options.h"
#include "boot/protocol.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"

struct boot_info boot_info;

static struct boot_map_entry raw_map[RAW_MAP_MAX];
static uint64_t raw_count;

static void add_raw(uint64_t base, uint64_t length, uint32_t type)
{
    if (raw_count == RAW_MAP_MAX)
        panic("the firmware's memory map has more than %d entries", RAW_MAP_MAX);
    raw_map[raw_count++] = (struct boot_map_entry) { base, length, type };
}

static void add_module(uint64_t base, uint64_t length)
{
    reserve(base, length, RESERVED_MODULE);
    boot_info.module_count++;
}

static void keep_info(uint64_t base, uint64_t length) { reserve(base, length, RESERVED_BOOT_INFO); }

static void copy_command_line(const char *line)
{
    size_t length = strlen(line);
    if (length >= COMMAND_LINE_MAX) {
        print("boot: command line cut to %d characters\n", COMMAND_LINE_MAX - 1);
        length = COMMAND_LINE_MAX - 1;
    }
    memcpy(boot_info.command_line, line, length);
}

static void take_command_line(uint64_t address)
{
    const char *line = phys_to_virt(address);
    copy_command_line(line);
    keep_info(address, strlen(line) + 1);
}

static void read_pvh(uint64_t address)
{
    const struct pvh_start_info *info = phys_to_virt(address);
    if (info->magic != PVH_MAGIC || info->version < 1)
        panic("the PVH start info has no memory map (magic 0x%x, version %u)", info->magic, info->version);
    boot_info.protocol = "pvh";
    boot_info.rsdp = info->rsdp;
    keep_info(address, sizeof(*info));
    if (info->command_line)
        take_command_line(info->command_line);

    const struct pvh_map_entry *map = phys_to_virt(info->map);
    keep_info(info->map, info->map_count * sizeof(*map));
    for (uint32_t i = 0; i < info->map_count; i++)
        add_raw(map[i].base, map[i].length, map[i].type);

    const struct pvh_module *modules = phys_to_virt(info->modules);
    keep_info(info->modules, info->module_count * sizeof(*modules));
    for (uint32_t i = 0; i < info->module_count; i++)
        add_module(modules[i].base, modules[i].size);
}

static void read_multiboot1(uint64_t address)
{
    const struct multiboot1_info *info = phys_to_virt(address);
    if (!(info->flags & MULTIBOOT1_HAS_MAP))
        panic("the multiboot 1 loader gives no memory map (flags 0x%x)", info->flags);
    boot_info.protocol = "multiboot1";
    keep_info(address, sizeof(*info));
    if (info->flags & MULTIBOOT1_HAS_COMMAND_LINE)
        take_command_line(info->command_line);

    keep_info(info->map, info->map_length);
    for (uint32_t offset = 0; offset < info->map_length;) {
        const struct multiboot1_map_entry *entry = phys_to_virt(info->map + offset);
        add_raw(entry->base, entry->length, entry->type);
        offset += entry->size + sizeof(entry->size);
    }

    if (!(info->flags & MULTIBOOT1_HAS_MODULES))
        return;
    const struct multiboot1_module *modules = phys_to_virt(info->modules);
    keep_info(info->modules, info->module_count * sizeof(*modules));
    for (uint32_t i = 0; i < info->module_count; i++)
        add_module(modules[i].start, modules[i].end - modules[i].start);
}

static void read_multiboot2_map(const struct multiboot2_map *map)
{
    const char *end = (const char *)map + map->tag.size;
    for (const char *at = (const char *)(map + 1); at < end; at += map->entry_size) {
        const struct multiboot2_map_entry *entry = (const void *)at;
        add_raw(entry->base, entry->length, entry->type);
    }
}

static void read_multiboot2_tag(const struct multiboot2_tag *tag, uint64_t address)
{
    const struct multiboot2_module *module = (const void *)tag;
    switch (tag->type) {
    case MULTIBOOT2_COMMAND_LINE: copy_command_line((const char *)(tag + 1)); break;
    case MULTIBOOT2_MAP: read_multiboot2_map((const void *)tag); break;
    case MULTIBOOT2_MODULE: add_module(module->start, module->end - module->start); break;
    case MULTIBOOT2_RSDP_OLD:           /* the tag holds a copy of the root pointer itself */
    case MULTIBOOT2_RSDP_NEW: boot_info.rsdp = address + sizeof(*tag); break;
    }
}

static void read_multiboot2(uint64_t address)
{
    const struct multiboot2_info *info = phys_to_virt(address);
    boot_info.protocol = "multiboot2";
    keep_info(address, info->total_size);
    uint64_t at = address + sizeof(*info);
    while (at < address + info->total_size) {
        const struct multiboot2_tag *tag = phys_to_virt(at);
        if (tag->type == MULTIBOOT2_END || tag->size < sizeof(*tag))
            break;
        read_multiboot2_tag(tag, at);
        at += align_up(tag->size, 8);
    }
}

/* `map=BASE,LENGTH,TYPE`: one more entry, as if the firmware had said so. For machines with memory maps that the one at hand
 * does not have. */
static void add_from_command_line(void)
{
    char value[OPTION_MAX];
    for (unsigned i = 0; option_at("map", i, value); i++) {
        uint64_t numbers[3];
        const char *at = value;
        for (unsigned n = 0; n < 3; n++) {
            numbers[n] = read_number(&at);
            if (*at != (n < 2 ? ',' : '\0'))
                panic("map=%s is not BASE,LENGTH,TYPE", value);
            at++;
        }
        add_raw(numbers[0], numbers[1], (uint32_t)numbers[2]);
    }
}

void boot_info_read(uint32_t magic, uint64_t info)
{
    reserve(0, 0x100000, RESERVED_LOW_MEMORY);
    reserve(image_to_phys(__image_start), (uint64_t)(__image_end - __image_start), RESERVED_KERNEL_IMAGE);

    switch (magic) {
    case PVH_MAGIC: read_pvh(info); break;
    case MULTIBOOT1_MAGIC: read_multiboot1(info); break;
    case MULTIBOOT2_MAGIC: read_multiboot2(info); break;
    default: panic("booted by something unknown (magic 0x%x)", magic);
    }
    add_from_command_line();
    boot_map_count = normalise_map(raw_map, raw_count, boot_map);
    if (boot_map_count == 0)
        panic("the loader gave no memory map");
    print("boot: %s, command line \"%s\", %lu modules, rsdp 0x%lx\n", boot_info.protocol, boot_info.command_line,
          boot_info.module_count, boot_info.rsdp);
    memory_map_print();
}
