/* Knows where the kernel's heaps get their arenas from: the kernel's address ranges. */

#include "heap/heap_manager.h"
#include "mm/paging.h"
#include "mm/vm.h"

static uintptr_t reserve(struct heap *heap, size_t size) { return vm_reserve(&kernel_space, size, VM_HEAP, heap->name); }
static void release(struct heap *heap, uintptr_t base) { (void)heap; vm_release(&kernel_space, base); }
static void decommit(struct heap *heap, uintptr_t base, size_t size) { (void)heap; vm_decommit(&kernel_space, base, size); }

static bool commit(struct heap *heap, uintptr_t base, size_t size)
{
    (void)heap;
    return vm_commit(&kernel_space, base, size, RIGHTS_RW);
}

const struct heap_supply heap_supply_system = { reserve, commit, decommit, release };
