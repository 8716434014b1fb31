/* Knows the GDT and the TSS. In long mode segments do next to nothing, but the processor insists on having them. */

#include "arch/segments.h"
#include "arch/x86.h"

/* SDM volume 3, 7.7. */
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];            /* ist[0] is IST 1 */
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;            /* past the limit: no program touches a port */
} __attribute__((packed));

struct tss tss = { .io_map = sizeof(struct tss) };

uint64_t gdt[] = {
    [SELECTOR_CODE / 8] = DESCRIPTOR_CODE64,
    [SELECTOR_DATA / 8] = DESCRIPTOR_DATA,
    [SELECTOR_TSS / 8] = 0, 0,          /* a system descriptor takes two slots */
};

static void describe_tss(void)
{
    uint64_t base = (uint64_t)&tss;
    uint64_t limit = sizeof(tss) - 1;
    gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS | limit | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
}

void segments_init(void)
{
    describe_tss();
    struct descriptor_pointer pointer = { sizeof(gdt) - 1, (uint64_t)gdt };
    __asm__ volatile(
        "lgdt %0\n\t"
        "pushq %1\n\t"                  /* a far return is the way to load cs */
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "lretq\n"
        "1:\tmovl %2, %%eax\n\t"
        "movl %%eax, %%ds\n\t"
        "movl %%eax, %%es\n\t"
        "movl %%eax, %%ss\n\t"
        "movl %3, %%eax\n\t"
        "ltr %%ax"
        : : "m"(pointer), "i"(SELECTOR_CODE), "i"(SELECTOR_DATA), "i"(SELECTOR_TSS) : "rax", "memory");
}

void segments_set_interrupt_stack(unsigned index, uint64_t top)
{
    tss.ist[index - 1] = top;
}
