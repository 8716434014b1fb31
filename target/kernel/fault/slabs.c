/* Knows the faults of slabs and pools. */

#include "fault/chunks.h"
#include "fault/faults.h"

static const char no_slabs[] = "this heap has no slabs";
static const char no_such_slab[] = "there is no slab for it";
static const char no_free_list[] = "a bitmap says which slots are free";

static bool heap_is_slab(void) { return heap_is(&heap_slab_operations); }

/* A slab of a cache of sizes that is neither full nor empty, and would not be with one object more or less in use. */
static struct slab *partial_slab(void)
{
    for (struct cache *cache = kernel_heap.slab.caches; cache; cache = cache->next)
        for (struct slab *slab = cache->partial.first; slab; slab = slab->next)
            if (!cache->internal && slab->used > 2 && slab->used + 2 < cache->capacity)
                return slab;
    return NULL;
}

static struct heap_pool *partial_pool(void)
{
    for (unsigned class = 0; class < HEAP_POOLS_CLASSES; class++)
        for (struct heap_pool *pool = kernel_heap.pools.open[class]; pool; pool = pool->next)
            if (pool->used > 2)
                return pool;
    return NULL;
}

/* An object was freed, and the count left as it was. */
const char *fault_count_mismatch(void)
{
    struct slab *slab = heap_is_slab() ? partial_slab() : NULL;
    struct heap_pool *pool = heap_is(&heap_pools_operations) ? partial_pool() : NULL;
    if (!heap_is_slab() && !heap_is(&heap_pools_operations))
        return no_slabs;
    if (!slab && !pool)
        return no_such_slab;
    if (slab)
        slab->used++;
    else
        pool->used++;
    fault_at_pointer(slab ? (void *)slab : (void *)pool);
    return NULL;
}

/* An object freed twice, with nobody asking whether it is free: the list of free ones runs in a circle. */
const char *fault_object_freed_twice(void)
{
    struct slab *slab = heap_is_slab() ? partial_slab() : NULL;
    if (!heap_is_slab())
        return heap_is(&heap_pools_operations) ? no_free_list : no_slabs;
    if (!slab)
        return no_such_slab;
    uint16_t number = slab->next_free[slab->free];
    slab->next_free[number] = slab->free;
    slab->free = number;
    slab->used--;
    slab->cache->used--;
    fault_at_pointer(slab_object(slab, number));
    return NULL;
}

/* An object of a slab behind this one that, counted in this one's stride, has a number. */
static uint64_t foreign_number(const struct slab *slab)
{
    for (struct cache *cache = kernel_heap.slab.caches; cache; cache = cache->next)
        for (const struct slab *other = cache->partial.first; other; other = other->next) {
            uint64_t number = (other->objects - slab->objects) / slab->cache->stride + 1;
            uint64_t address = slab->objects + number * slab->cache->stride;
            bool inside = address >= other->objects && address < other->objects + cache->capacity * cache->stride;
            if (cache != slab->cache && !cache->internal && other->objects > slab->objects && number < SLAB_END && inside)
                return number;
        }
    return 0;
}

/* Freed to a cache that it was not taken from: its number is that of no object there. */
const char *fault_freed_to_other_cache(void)
{
    if (!heap_is_slab())
        return no_slabs;
    for (struct cache *cache = kernel_heap.slab.caches; cache; cache = cache->next)
        for (struct slab *slab = cache->partial.first; slab; slab = slab->next) {
            uint64_t number = cache->internal ? 0 : foreign_number(slab);
            if (!number || slab->used < 3)
                continue;
            slab->free = (uint16_t)number;
            slab->used--;
            cache->used--;
            fault_at_pointer(slab);
            return NULL;
        }
    return no_such_slab;
}

static void push_slab(struct slab_list *list, struct slab *slab)
{
    slab->prev = NULL;
    slab->next = list->first;
    if (slab->next)
        slab->next->prev = slab;
    list->first = slab;
    list->count++;
}

static const char *misplace_slab(void)
{
    struct slab *slab = partial_slab();
    if (!slab)
        return no_such_slab;
    *(slab->prev ? &slab->prev->next : &slab->cache->partial.first) = slab->next;
    if (slab->next)
        slab->next->prev = slab->prev;
    slab->cache->partial.count--;
    push_slab(&slab->cache->full, slab);
    fault_at_pointer(slab);
    return NULL;
}

/* It has room, and nobody will find it any more. */
static const char *misplace_pool(void)
{
    struct heap_pool *pool = partial_pool();
    if (!pool)
        return no_such_slab;
    *(pool->prev ? &pool->prev->next : &kernel_heap.pools.open[__builtin_ctz(pool->size) - 1]) = pool->next;
    if (pool->next)
        pool->next->prev = pool->prev;
    pool->next = pool->prev = NULL;
    fault_at_pointer(pool);
    return NULL;
}

const char *fault_slab_misplaced(void)
{
    if (heap_is(&heap_pools_operations))
        return misplace_pool();
    return heap_is_slab() ? misplace_slab() : no_slabs;
}

/* Somebody writes behind what is his. */
const char *fault_free_list_smashed(void)
{
    struct slab *slab = heap_is_slab() ? partial_slab() : NULL;
    if (!heap_is_slab())
        return heap_is(&heap_pools_operations) ? no_free_list : no_slabs;
    if (!slab)
        return no_such_slab;
    slab->next_free[slab->free] = 0x4141;
    fault_at_pointer(&slab->next_free[slab->free]);
    return NULL;
}
