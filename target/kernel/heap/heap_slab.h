/* Knows what a slab heap looks like in memory. */
#ifndef HEAP_HEAP_SLAB_H
#define HEAP_HEAP_SLAB_H

#include "heap/cache.h"
#include "heap/heap_manager.h"
#include "heap/heap_runs.h"

enum {
    SLAB_SIZES = 15,                /* caches of sizes that serve as a general heap */
    SLAB_LARGEST = 3072,            /* what is larger gets whole pages */
    SLAB_USED = 0xffff,             /* in slab.next: this object is used */
    SLAB_END = 0xfffe,              /* this one is free, and the last of the list */
    SLAB_WHOLE_PAGES = 1,           /* owner of a run that is one large chunk; that of others is the slab's header */
    SLAB_HEADER_MOST = 192,         /* bytes of a header that does not lie in its slab */
};

/* A slab's header: at the end of its pages, or an object of the cache of headers. */
struct slab {
    struct cache *cache;            /* whose it is */
    struct slab *next, *prev;       /* in the cache's list that fits `used` */
    uintptr_t memory;               /* its pages */
    uintptr_t objects;              /* the first object: memory + colour * align */
    uint32_t used;                  /* objects */
    uint16_t free;                  /* number of the first free object, or SLAB_END */
    uint16_t next_free[];           /* one for each object: the next free one, SLAB_END, or SLAB_USED */
};

struct heap_slab {
    HEAP_COMMON
    struct heap_runs runs;
    struct cache *caches;           /* all of them, newest first */
    struct cache records;           /* of struct cache, for cache_create */
    struct cache headers;           /* of slab headers that do not lie in their slab */
    struct cache sizes[SLAB_SIZES];
};

/* --- between cache.c and heap_slab.c, with the heap's lock held ------------------------------------------------------ */

/* Fills in a cache and adds it to the heap's list. */
void cache_init(struct cache *cache, struct heap_slab *heap, const char *name, size_t size, size_t align,
                void (*construct)(void *object));

/* An object, or NULL. */
void *cache_take(struct cache *cache);

/* This object of the slab, which is used, is free from now on. */
void slab_put(struct slab *slab, void *object);

/* Gives back the pages of all empty slabs. True if there were any. */
bool slabs_reap(struct heap_slab *heap);

/* The slab that `address`, which lies in the arena, belongs to; NULL if it is none. */
struct slab *slab_of(const struct heap_slab *heap, const void *address);

/* Why there is no used object at `address`, or NULL if there is one. */
const char *slab_refusal(const struct slab *slab, const void *address);

/* Whether memory at such an address may be looked at as a slab's header, or a cache. */
bool is_slab(const struct heap_slab *heap, const struct slab *slab);
bool is_cache(const struct heap_slab *heap, const struct cache *cache);

/* The first rule found broken, or NULL. */
const char *caches_check(const struct heap_slab *heap);

void caches_report(const struct heap_slab *heap);

static inline void *slab_object(const struct slab *slab, uint64_t number)
{
    return (void *)(slab->objects + number * slab->cache->stride);
}

#endif
