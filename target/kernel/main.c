/* Knows the order in which the kernel comes up. Read from here: each line leads to the file of that name. */

#include "arch/cpu.h"
#include "arch/segments.h"
#include "arch/serial.h"
#include "arch/trap.h"
#include "boot/acpi.h"
#include "boot/boot_info.h"
#include "fault/fault.h"
#include "heap/cache.h"
#include "heap/heap.h"
#include "mm/dma.h"
#include "mm/paging.h"
#include "mm/physmap.h"
#include "mm/pmm.h"
#include "mm/pool.h"
#include "mm/vm.h"
#include "scenario/report.h"
#include "scenario/scenario.h"

void kmain(uint32_t magic, uint64_t info);
void kernel_ready(void);
void idle(void) __attribute__((noreturn));

/* Where a debugger stops: everything is at rest, no lock is held. */
__attribute__((noinline, used, section(".text.stops"))) void kernel_ready(void)
{
    __asm__ volatile("");               /* keeps the call from being seen as without effect */
}

/* Awake: a halted processor would not see what a debugger writes into fault_request, for there are no interrupts. */
__attribute__((noinline)) void idle(void)
{
    for (;;) {
        if (fault_poll())
            kernel_ready();
        relax();
    }
}

void kmain(uint32_t magic, uint64_t info)
{
    serial_init();                      /* a voice */
    segments_init();                    /* GDT and TSS */
    traps_init();                       /* IDT: from here on a fault reports itself */
    cpu_init();                         /* WP, NX, SMEP, SMAP, UMIP */
    boot_info_read(magic, info);        /* memory map, modules, command line, from any of three loaders */
    acpi_save();                        /* the firmware's tables, copied while all of the low 4 GiB can be seen */
    paging_init(&kernel_space);         /* page tables: image and direct map; the boot tables are gone */
    pmm_init();                         /* frames, kept account of by the manager that the command line names */
    physmap_init();                     /* what lies at every physical address */
    vm_init(&kernel_space);             /* kernel address ranges */
    trap_stacks_init();                 /* stacks for double fault, NMI, machine check, with guards */
    kernel_heap_init();                 /* kmalloc, by the kind of heap that the command line names */
    object_heap_init();                 /* caches of the kernel's own objects */
    dma_init();                         /* buffers for devices; their records come from a cache */
    acpi_reclaim();                     /* the memory of the firmware's tables is frames now */
    pool_refill();                      /* frames for those who cannot wait */
    scenario_run();                     /* what the command line asks for */
    report();                           /* every manager's numbers, for whoever compares */
    fault_at_boot();                    /* breaks what the command line wants broken */
    kernel_ready();                     /* the debugger's stop point */
    idle();
}
