/* Knows a heap that keeps its free chunks in an AVL tree (heap_sorted.c, lib/avl.c).
 *
 * Theory
 *  1. The tree is sorted by size and, among equal sizes, by address. So of several chunks that fit equally well the lowest is
 *     taken: what is used gathers at the bottom of the arena, and the top can be given back. */

#include "heap/heap_kinds.h"
#include "heap/heap_sorted.h"
#include "lib/avl.h"

static bool is_smaller_or_lower(const struct tree_node *a, const struct tree_node *b)
{
    uint64_t size = heap_sorted_chunk_of(a)->size, other = heap_sorted_chunk_of(b)->size;
    return size < other || (size == other && a < b);
}

static const struct heap_sorting sorting = { avl_insert, avl_remove, avl_check, is_smaller_or_lower };

static bool init(struct heap *heap) { return heap_sorted_init(heap, &sorting); }

const struct heap_operations heap_avl_operations = { .name = "avl", .init = init, HEAP_SORTED_OPERATIONS };
