/* Knows where everything lies in the kernel half of the address space (README.md draws it). For C, assembly and the linker
 * script alike. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define PAGE_SHIFT      12
#define PAGE_SIZE       0x1000

#define DIRECT_MAP      0xffff800000000000      /* all RAM: virtual = physical + DIRECT_MAP */
#define VM_START        0xffffc00000000000      /* ranges handed out by mm/vm.c: heap, stacks, arrays */
#define VM_END          0xffffe00000000000
#define KERNEL_BASE     0xffffffff80000000      /* where physical 0 would be in the image's addresses */
#define KERNEL_PHYSICAL 0x100000                /* where the image starts */

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From the linker script. Only their addresses mean anything. */
extern char __image_start[], __image_end[];
extern char __text_start[], __text_end[];
extern char __rodata_start[], __rodata_end[];
extern char __data_start[], __data_end[];
extern char __bss_start[], __bss_end[];
extern char __stack_start[], __stack_end[];

static inline bool is_code(const void *address) { return (const char *)address >= __text_start && (const char *)address < __text_end; }

/* Valid for physical addresses that the direct map covers: RAM, and below 4 GiB anything while the boot tables are on. */
static inline void *phys_to_virt(uint64_t physical) { return (void *)(physical + DIRECT_MAP); }

/* Valid for addresses inside the kernel image only. */
static inline uint64_t image_to_phys(const void *address) { return (uint64_t)address - KERNEL_BASE; }

/* `power` is a power of two. */
static inline uint64_t align_down(uint64_t value, uint64_t power) { return value & ~(power - 1); }
static inline uint64_t align_up(uint64_t value, uint64_t power) { return align_down(value + power - 1, power); }
static inline bool is_aligned(uint64_t value, uint64_t power) { return align_down(value, power) == value; }

/* How many pages hold so many bytes. */
static inline uint64_t bytes_to_pages(uint64_t bytes) { return (bytes >> PAGE_SHIFT) + !is_aligned(bytes, PAGE_SIZE); }

/* How many bytes so many pages hold. False when they are more than a number can say: to be asked of every count and size that
 * somebody else has named, for a shift alone would leave a few bytes of very many pages. */
static inline bool pages_to_bytes(uint64_t count, uint64_t *bytes)
{
    *bytes = count << PAGE_SHIFT;
    return count <= UINT64_MAX >> PAGE_SHIFT;
}

#endif
#endif
