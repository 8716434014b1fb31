/* Knows what a heap looks like in memory that keeps its free chunks in a tree, by size. Which tree, kinds `avl` and
 * `redblack` say. */
#ifndef HEAP_HEAP_SORTED_H
#define HEAP_HEAP_SORTED_H

#include "heap/heap_manager.h"
#include "lib/tree.h"

#define HEAP_SORTED_MAGIC 0x454c4954454c4954        /* "TILETILE" in a dump, but for the address */

/* In front of every payload. */
struct heap_sorted_chunk {
    uint64_t magic;                         /* HEAP_SORTED_MAGIC ^ its own address: a copy of a header is none */
    uint64_t free;                          /* 1 free, 0 used */
    uint64_t size;                          /* of the payload; behind it the next chunk starts, or the arena ends */
    struct heap_sorted_chunk *below;        /* the chunk that ends where this one starts; NULL for the first */
    struct tree_node node[];                /* at the start of a free payload: one */
};

struct heap_sorted {
    HEAP_COMMON
    struct heap_sorted_chunk *top;          /* the chunk that ends the arena */
    struct tree tree;                       /* the free chunks */
    const struct heap_sorting *sorting;
};

/* A kind of tree. */
struct heap_sorting {
    void (*insert)(struct tree *tree, struct tree_node *node);
    void (*remove)(struct tree *tree, struct tree_node *node);
    const char *(*check)(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                         const void *context);
    tree_before *before;
};

bool heap_sorted_init(struct heap *heap, const struct heap_sorting *sorting);
void *heap_sorted_alloc(struct heap *heap, size_t size, size_t align);
void heap_sorted_free(struct heap *heap, void *memory);
bool heap_sorted_resize(struct heap *heap, void *memory, size_t size);
size_t heap_sorted_size_of(const struct heap *heap, const void *memory);
const char *heap_sorted_refusal(const struct heap *heap, const void *memory);
bool heap_sorted_each(const struct heap *heap, heap_visit *visit, void *context);
const char *heap_sorted_check(const struct heap *heap);
void heap_sorted_report(const struct heap *heap);

/* What the operations of such a kind have in common. */
#define HEAP_SORTED_OPERATIONS \
    .instance_size = sizeof(struct heap_sorted), .alignment = HEAP_ALIGN, .links = sizeof(struct tree_node), \
    .merges = true, .reuses = true, .shrinks = true, \
    .alloc = heap_sorted_alloc, .free = heap_sorted_free, .resize = heap_sorted_resize, .size_of = heap_sorted_size_of, \
    .refusal = heap_sorted_refusal, .each = heap_sorted_each, .check = heap_sorted_check, .report = heap_sorted_report

static inline struct heap_sorted_chunk *heap_sorted_chunk_of(const struct tree_node *node)
{
    return (struct heap_sorted_chunk *)((uintptr_t)node - offsetof(struct heap_sorted_chunk, node));
}

#endif
