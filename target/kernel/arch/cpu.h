/* Knows the processor's registers and instructions that C has no word for, and which features this processor has. */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* What CPUID says, as far as the kernel cares. Filled by cpu_init. */
struct cpu_features {
    bool nx, smep, smap, umip, global_pages, gigabyte_pages;
};
extern struct cpu_features cpu_features;

/* Reads the features and switches every protection on that there is. Before any page table with ENTRY_NX is loaded. */
void cpu_init(void);

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

#define CONTROL_REGISTER(name) \
    static inline uint64_t read_##name(void) \
    { uint64_t value; __asm__ volatile("mov %%" #name ", %0" : "=r"(value)); return value; } \
    static inline void write_##name(uint64_t value) \
    { __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); }

CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)

static inline uint64_t read_msr(uint32_t number)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void invalidate_page(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* Of the processor that executes this. The kernel starts no other than the first. */
static inline uint32_t processor_number(void) { return 0; }

/* For loops that wait. */
static inline void relax(void) { __asm__ volatile("pause"); }

static inline void halt(void) { __asm__ volatile("hlt"); }

#endif
