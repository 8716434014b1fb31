/* Knows caches: each hands out objects of one kind, and keeps those that are free as they were constructed. */
#ifndef HEAP_CACHE_H
#define HEAP_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_slab;

/* Slabs, linked both ways. */
struct slab_list {
    struct slab *first;
    uint64_t count;
};

struct cache {
    const char *name;
    struct heap_slab *heap;         /* where its slabs come from */
    struct cache *next;             /* all caches of that heap are a list */
    void (*construct)(void *object);        /* NULL: objects come as they are */
    uint64_t size;                  /* of an object, as asked for */
    uint64_t stride;                /* from one object to the next */
    uint64_t align;                 /* every object starts at a multiple of this */
    uint64_t slab_bytes;            /* of each slab: whole pages */
    uint64_t capacity;              /* objects in each slab */
    uint64_t colours;               /* a slab's first object lies at colour * align, with colour < colours */
    uint64_t next_colour;           /* of the next slab */
    uint64_t used;                  /* objects */
    uint8_t header_off;             /* a slab's header is an object of the heap's cache of headers, not at the slab's end */
    uint8_t internal;               /* its objects are the heap's own: no chunks, and in no books */
    struct slab_list full, partial, empty;
};

/* A cache of objects of `size` bytes at multiples of `align`, a power of two of at most a page. `construct` makes an object
 * of raw memory: once when its slab is made, not at every cache_alloc; whoever frees an object leaves it as constructed. Where
 * the heap poisons what is free, it is called at every cache_alloc instead. The heap must not have redzones. NULL when there is
 * no memory. `name` must stay valid. */
struct cache *cache_create(struct heap_slab *heap, const char *name, size_t size, size_t align, void (*construct)(void *object));

/* An object, or NULL when there is no memory. */
void *cache_alloc(struct cache *cache);

/* NULL is allowed. Anything else that is no used object of this very cache is refused with a panic. */
void cache_free(struct cache *cache, void *object);

/* The end of a cache none of whose objects is used; otherwise a panic. */
void cache_destroy(struct cache *cache);

/* --- the kernel's ---------------------------------------------------------------------------------------------------- */

/* Where the kernel's own objects live, whichever heap serves kmalloc. */
extern struct heap_slab object_heap;
void object_heap_init(void);

#endif
