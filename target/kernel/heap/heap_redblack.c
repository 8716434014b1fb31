/* Knows a heap that keeps its free chunks in a red-black tree (heap_sorted.c, lib/redblack.c).
 *
 * Theory
 *  1. The tree is sorted by size alone. Of several chunks that fit equally well the one that was freed first is taken: memory
 *     rests for as long as it can before it is used again, which gives a stale pointer time to be noticed. */

#include "heap/heap_kinds.h"
#include "heap/heap_sorted.h"
#include "lib/redblack.h"

static bool is_smaller(const struct tree_node *a, const struct tree_node *b)
{
    return heap_sorted_chunk_of(a)->size < heap_sorted_chunk_of(b)->size;
}

static const struct heap_sorting sorting = { redblack_insert, redblack_remove, redblack_check, is_smaller };

static bool init(struct heap *heap) { return heap_sorted_init(heap, &sorting); }

const struct heap_operations heap_redblack_operations = { .name = "redblack", .init = init, HEAP_SORTED_OPERATIONS };
