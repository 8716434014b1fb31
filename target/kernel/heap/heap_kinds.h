/* Knows every kind of heap there is, and which one is the kernel's. */
#ifndef HEAP_HEAP_KINDS_H
#define HEAP_HEAP_KINDS_H

#include "heap/heap_buddy.h"
#include "heap/heap_bump.h"
#include "heap/heap_guard.h"
#include "heap/heap_list.h"
#include "heap/heap_manager.h"
#include "heap/heap_pools.h"
#include "heap/heap_slab.h"
#include "heap/heap_sorted.h"
#include "heap/heap_tags.h"

extern const struct heap_operations heap_list_operations, heap_next_operations, heap_avl_operations, heap_redblack_operations,
    heap_buddy_operations, heap_slab_operations, heap_tags_operations, heap_pools_operations, heap_bump_operations,
    heap_guard_operations;

enum { HEAP_KINDS = 10 };
extern const struct heap_operations *const heap_kinds[HEAP_KINDS];

/* Room for an instance of any kind. */
union any_heap {
    struct { HEAP_COMMON };
    struct heap heap;
    struct heap_list list;              /* and next */
    struct heap_sorted sorted;          /* avl and redblack */
    struct heap_buddy buddy;
    struct heap_slab slab;
    struct heap_tags tags;
    struct heap_pools pools;
    struct heap_bump bump;
    struct heap_guard guard;
};

/* The kernel's general heap. */
extern union any_heap kernel_heap;

#endif
