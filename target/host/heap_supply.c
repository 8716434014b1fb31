/* Knows where heaps get their arenas from on the host. What has no memory cannot be touched. Stands in for the kernel's
 * file of the same name. */

#define _GNU_SOURCE
#include <sys/mman.h>

#include "heap/heap_manager.h"
#include "layout.h"
#include "lib/panic.h"

enum { REGIONS = 64 };

static struct { uintptr_t base; size_t size; } regions[REGIONS];

/* Its number, or that of a free place with base 0. */
static unsigned find(uintptr_t base)
{
    for (unsigned i = 0; i < REGIONS; i++)
        if (regions[i].base == base)
            return i;
    panic("host: no region at 0x%lx", base);
}

static uintptr_t reserve(struct heap *heap, size_t size)
{
    (void)heap;
    void *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return 0;
    unsigned number = find(0);
    regions[number].base = (uintptr_t)base;
    regions[number].size = size;
    return (uintptr_t)base;
}

static bool commit(struct heap *heap, uintptr_t base, size_t size)
{
    (void)heap;
    return mprotect((void *)base, size, PROT_READ | PROT_WRITE) == 0;
}

static void decommit(struct heap *heap, uintptr_t base, size_t size)
{
    (void)heap;
    mmap((void *)base, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

static void release(struct heap *heap, uintptr_t base)
{
    (void)heap;
    unsigned number = find(base);
    munmap((void *)base, regions[number].size);
    regions[number].base = 0;
}

const struct heap_supply heap_supply_system = { reserve, commit, decommit, release };
