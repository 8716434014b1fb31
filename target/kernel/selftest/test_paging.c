/* Knows which accesses must go through and which must fault. It tries them: what counts is the processor's answer. */

#include "arch/cpu.h"
#include "arch/probe.h"
#include "arch/x86.h"
#include "boot/memory_map.h"
#include "layout.h"
#include "lib/format.h"
#include "lib/string.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/vm.h"
#include "selftest/selftest.h"

enum { RETURN_INSTRUCTION = 0xc3 };

/* Rights as the processor grants them, in letters. Execution is only tried where a `ret` lies. */
static bool grants(uint64_t address, const char *wanted)
{
    char got[4];
    bool can_read = probe_read(address);
    bool can_execute = can_read && *(uint8_t *)address == RETURN_INSTRUCTION && probe_execute(address);
    format_text(got, sizeof(got), "%c%c%c", can_read ? 'r' : '-', probe_write(address) ? 'w' : '-', can_execute ? 'x' : '-');
    return strcmp(got, wanted) == 0;
}

/* The same letters without the x that a processor without NX cannot take away. */
static const char *with_nx(const char *with, const char *without) { return cpu_features.nx ? with : without; }

static const uint8_t rodata_return = RETURN_INSTRUCTION;
static uint8_t data_return = RETURN_INSTRUCTION;
static uint8_t bss_return;

/* A `ret` in .text, found where every function has one. */
static uint64_t text_return(void)
{
    const uint8_t *at = (const uint8_t *)__text_start;
    while (*at != RETURN_INSTRUCTION)
        at++;
    return (uint64_t)at;
}

static uint64_t alias(const void *address) { return DIRECT_MAP + image_to_phys(address); }

void test_image_rights(void)
{
    bss_return = RETURN_INSTRUCTION;
    volatile uint8_t stack_return = RETURN_INSTRUCTION;
    EXPECT(grants(text_return(), "r-x"));
    EXPECT(grants((uint64_t)&rodata_return, with_nx("r--", "r-x")));
    EXPECT(grants((uint64_t)&data_return, with_nx("rw-", "rwx")));
    EXPECT(grants((uint64_t)&bss_return, with_nx("rw-", "rwx")));
    EXPECT(grants((uint64_t)&stack_return, with_nx("rw-", "rwx")));
    EXPECT(grants((uint64_t)__stack_start - 1, "---"));                 /* the guard */
    EXPECT(grants((uint64_t)__stack_start - PAGE_SIZE, "---"));
    EXPECT(grants((uint64_t)__image_end, "---"));
}

void test_direct_map(void)
{
    EXPECT(grants(alias((void *)text_return()), with_nx("r--", "r-x")));
    EXPECT(grants(alias(&rodata_return), with_nx("r--", "r-x")));
    EXPECT(grants(alias(&data_return), with_nx("rw-", "rwx")));
    EXPECT(page_translate(&kernel_space, DIRECT_MAP + 0x1000).physical == 0x1000);

    EXPECT(!page_translate(&kernel_space, 0x0000800000001000).mapped);  /* not canonical */
    EXPECT(grants(0x1000, "---") && grants(0x100000, "---"));           /* no identity map */
    EXPECT(grants(DIRECT_MAP + 0xa0000, "---"));                        /* video memory is not RAM */
    for (uint64_t i = 0; i < boot_map_count; i++) {
        uint64_t first = map_first_frame(&boot_map[i]), end = map_end_frame(&boot_map[i]);
        bool is_ram = boot_map[i].type == MEMORY_USABLE || boot_map[i].type == MEMORY_ACPI;
        if (first >= end || end > (VM_START - DIRECT_MAP) >> PAGE_SHIFT)
            continue;
        EXPECT(probe_read(DIRECT_MAP + (first << PAGE_SHIFT)) == is_ram);
        EXPECT(probe_read(DIRECT_MAP + (end << PAGE_SHIFT) - 1) == is_ram);
    }
}

static bool page_grants(uint64_t page, unsigned rights, const char *wanted)
{
    if (!vm_commit(&kernel_space, page, PAGE_SIZE, RIGHTS_RW))
        return false;
    memset((void *)page, RETURN_INSTRUCTION, PAGE_SIZE);
    uint64_t physical = page_unmap(&kernel_space, page);
    bool right = grants(page, "---") && page_map(&kernel_space, page, physical, rights)
              && page_translate(&kernel_space, page + 5).physical == physical + 5 && grants(page, wanted);
    vm_decommit(&kernel_space, page, PAGE_SIZE);
    return right && grants(page, "---");
}

void test_page_rights(void)
{
    uint64_t page = vm_reserve(&kernel_space, PAGE_SIZE, VM_DATA, "test");
    EXPECT(page_grants(page, RIGHTS_R, with_nx("r--", "r-x")));
    EXPECT(page_grants(page, RIGHTS_RW, with_nx("rw-", "rwx")));
    EXPECT(page_grants(page, RIGHTS_RX, "r-x"));
    vm_release(&kernel_space, page);
}

static void map_again(void *page) { page_map(&kernel_space, (uint64_t)page, 0, RIGHTS_R); }
static void unmap(void *page) { page_unmap(&kernel_space, (uint64_t)page); }
static void remap(void *page) { page_remap(&kernel_space, (uint64_t)page, 0); }

/* RAM behind the image: pages of the direct map are large there. */
#define IN_LARGE_PAGE (DIRECT_MAP + ((uint64_t)4 << 20) + PAGE_SIZE)

static bool refuses(void (*operation)(void *), uint64_t page)
{
    return probe_panics(operation, (void *)page) && !kernel_space.lock.locked;
}

void test_page_refuses(void)
{
    uint64_t page = vm_reserve(&kernel_space, PAGE_SIZE, VM_DATA, "test");
    EXPECT(refuses(unmap, page) && refuses(remap, page));
    EXPECT(vm_commit(&kernel_space, page, PAGE_SIZE, RIGHTS_RW) && refuses(map_again, page));
    EXPECT(refuses(map_again, IN_LARGE_PAGE) && refuses(unmap, IN_LARGE_PAGE) && refuses(remap, IN_LARGE_PAGE));
    vm_release(&kernel_space, page);
}

/* --- the check fires ------------------------------------------------------------------------------------------------- */

/* The entry at `level` on the way to `address`. */
static uint64_t *entry_of(uint64_t address, unsigned level)
{
    uint64_t physical = read_cr3();
    for (unsigned at = 4; ; at--) {
        uint64_t *entry = (uint64_t *)phys_to_virt(physical & ENTRY_ADDRESS) + (address >> (12 + 9 * (at - 1))) % ENTRIES;
        if (at == level)
            return entry;
        physical = *entry;
    }
}

static bool finds_changed(uint64_t *entry, uint64_t value, const char *rule)
{
    uint64_t saved = *entry;
    *entry = value;
    const char *broken = paging_check(&kernel_space);
    *entry = saved;
    write_cr3(read_cr3());
    return broken && strcmp(broken, rule) == 0;
}

void test_paging_check(void)
{
    uint64_t *leaf = entry_of((uint64_t)__bss_start, 1);
    EXPECT(finds_changed(leaf, *leaf | ENTRY_USER, "no entry has the user bit"));
    if (cpu_features.nx)
        EXPECT(finds_changed(leaf, *leaf & ~ENTRY_NX, "no leaf is writable and executable"));
    EXPECT(finds_changed(leaf, *leaf & ~(uint64_t)ENTRY_WRITE, "the image is mapped with its sections' rights"));

    uint64_t *text_alias = entry_of(alias(__text_start), 1);
    EXPECT(finds_changed(text_alias, *text_alias | ENTRY_WRITE, "the direct map shows all RAM"));
    EXPECT(finds_changed(text_alias, *text_alias + PAGE_SIZE, "the direct map shows all RAM"));

    EXPECT(finds_changed(entry_of(0, 4), *entry_of(DIRECT_MAP, 4), "the lower half is empty"));

    uint64_t *guard = entry_of((uint64_t)__stack_start - PAGE_SIZE, 1);
    EXPECT(finds_changed(guard, *leaf, "the page below the boot stack is not mapped"));
}
