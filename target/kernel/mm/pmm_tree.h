/* Knows what the byte-tree buddy manager looks like in memory. */
#ifndef MM_PMM_TREE_H
#define MM_PMM_TREE_H

#include "mm/pmm_manager.h"

struct pmm_tree {
    PMM_COMMON
    uint64_t height;            /* the root's block is 2^height frames: the smallest power of two >= frames */
    uint8_t *nodes;             /* nodes[1] is the root, nodes[2 n] and nodes[2 n + 1] are the halves of nodes[n]; the leaf of
                                 * frame f is nodes[2^height + f]. 0: nothing free below. k + 1: the largest free block
                                 * below is of 2^k frames */
};
extern struct pmm_tree pmm_tree;

#endif
