/* A made-up kernel with heaps of many layouts. Nothing of it runs: the tests write into its memory. */
#include <stddef.h>
#include <stdint.h>

struct chunk { uint32_t magic, free; uint64_t size; struct chunk *next, *prev; };
struct packed { uint64_t link; uint64_t word; };             /* link ^ key; size in units of 16, the lowest bit: used */
struct links { struct links *next, *prev; };
struct node { struct node *left, *right, *parent; uint64_t rank; };
struct tag { uint64_t word; };                                /* size | used */
struct sorted { uint64_t magic, free, size; struct sorted *below; };
struct bin { struct links *first; uint64_t count; };

struct slab_cache {
    const char *name;
    uint64_t stride, capacity, used;
    struct slab *full, *partial, *empty;
    uint64_t full_count, partial_count, empty_count;
    struct slab_cache *next;
};
struct slab {
    struct slab_cache *cache;
    struct slab *next, *prev;
    uint64_t objects, used, magic;
    uint64_t first;                                           /* link to the first free object */
    uint64_t bits;                                            /* 1: free */
    uint16_t free, next_free[15];
};
struct page_of { uint64_t state, pages, slab; };              /* state 1: the first of a run */

struct slab_cache *caches;
uint64_t nodes, height, origin;
struct page_of *pages;
uint64_t page_count;
struct slab some_slab;
struct chunk *head, *tail, *rover;
struct packed *ring;
uint64_t key;
uint64_t start, end, mark;
uint64_t used_bytes, free_bytes, used_chunks, free_chunks, chunks;
struct bin bins[4];
struct node *root;
uint64_t tree_count;
struct sorted *top;
struct tag some_tag;
struct sorted some_sorted;

void main(void) {}
