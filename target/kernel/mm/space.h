/* Knows what an address space is: page tables, and who has which addresses in them. What the tables say is mm/paging.c's to
 * know, and whose an address is mm/vm.c's. */
#ifndef MM_SPACE_H
#define MM_SPACE_H

#include <stdint.h>

#include "arch/spinlock.h"

struct vm_region {
    uint64_t base, size;        /* bytes, whole pages */
    uint64_t committed;         /* pages that have a frame */
    uint32_t kind;
    const char *name;
    struct vm_region *next, *prev;
};

struct vm_regions {
    uint64_t start, end;        /* all lie in here */
    struct vm_region *first, *last;     /* by address */
    uint64_t count;
    struct vm_region *spare;            /* records not in use, linked by next */
    uint64_t record_frames;             /* frames that hold records; never given back */
};

struct address_space {
    uint64_t root;              /* physical address of the table of level 4 */
    struct spinlock lock;       /* of all entries below the root, and of the regions */
    struct vm_regions regions;
};

/* The kernel's own, and the only one. */
extern struct address_space kernel_space;

#endif
