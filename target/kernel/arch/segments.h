/* Knows the descriptor table (GDT) and the task-state segment (TSS) with its interrupt stacks. */
#ifndef ARCH_SEGMENTS_H
#define ARCH_SEGMENTS_H

#include <stdint.h>

/* Indexes into the TSS's interrupt stack table; 0 means: stay on the stack in use. */
enum { IST_NONE, IST_DOUBLE_FAULT, IST_NMI, IST_MACHINE_CHECK, IST_COUNT };

/* What LGDT and LIDT take. */
struct descriptor_pointer { uint16_t limit; uint64_t base; } __attribute__((packed));

void segments_init(void);
void segments_set_interrupt_stack(unsigned index, uint64_t top);

#endif
