/* Knows how caches keep their objects.
 *
 * Theory
 *  1. The kernel takes and frees objects of few kinds all the time, and much of what it takes to make one is the same each
 *     time: locks, list heads, counters at 0. A cache does that once and keeps free objects constructed. (Bonwick, "The slab
 *     allocator: an object-caching kernel memory allocator", USENIX Summer 1994.)
 *  2. A slab is a run of pages cut into objects. All of its objects are of one size, so none is too small for the next
 *     request and there is nothing to merge. It goes back as a whole, when it is empty.
 *  3. Slabs are full, partial or empty, in a list of each. Partial ones serve first, so that others can become empty. One
 *     empty slab is kept, lest a program that allocates and frees around a slab's end pays for pages each time.
 *  4. Which objects are free is written in the slab's header, not in the objects: so they stay constructed, and nobody who
 *     writes to a freed one can lead the cache astray. `next_free` holds a list through the free ones; used ones say so,
 *     which makes a second free visible at once.
 *  5. Objects of less than an eighth of a page have the header at the end of their page. Larger ones would leave room for it
 *     only by losing a whole object: their headers lie elsewhere, in a cache of headers, and their slabs have as many pages
 *     as keep what is lost at the end to an eighth.
 *  6. What is left over at a slab's end is used for colours: the first object of each new slab starts a little further up, so
 *     that the same field of different slabs' objects does not always fall on the same lines of the processor's caches.
 *  7. An address leads to its page's record (heap_runs.c), that to the slab, and that back to its cache. So an object freed to
 *     a cache that it does not come from is noticed.
 *
 * Invariants, for every cache
 *     capacity * stride + (colours - 1) * align + (header in the slab ? its size : 0) <= slab_bytes; size <= stride
 *     slab.used == 0 in `empty`, == capacity in `full`, in between in `partial`; count == length of the list
 *     slab.next.prev == slab; slab.cache == the cache; the owner of all of the slab's pages == slab
 *     objects - memory == colour * align, with colour < colours
 *     next_free from `free` on: acyclic, capacity - used of them; all others are SLAB_USED
 *     cache.used == sum of slab.used; slabs in all lists of all caches == runs of pages that are slabs
 *
 * Lock: that of the heap. Constructors run with it held, and allocate nothing. */

#include "heap/cache.h"

#include "heap/heap_slab.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"

enum {
    PAGES_MOST = 8,                     /* of a slab */
    OFF_FROM = PAGE_SIZE / 8,           /* stride from which headers lie elsewhere */
    KEEP_EMPTY = 1,                     /* slabs */
};

_Static_assert(sizeof(struct slab) + PAGES_MOST * PAGE_SIZE / OFF_FROM * sizeof(uint16_t) <= SLAB_HEADER_MOST,
               "every header that lies elsewhere is an object of the cache of headers");

static struct heap *heap_of(const struct cache *cache) { return (struct heap *)cache->heap; }

static uint64_t header_size(uint64_t capacity)
{
    return align_up(sizeof(struct slab) + capacity * sizeof(uint16_t), sizeof(uint64_t));
}

/* --- the shape of a cache's slabs ------------------------------------------------------------------------------------ */

static void put_header_in(struct cache *cache)
{
    cache->slab_bytes = PAGE_SIZE;
    cache->capacity = PAGE_SIZE / cache->stride;
    while (cache->capacity * cache->stride + header_size(cache->capacity) > PAGE_SIZE)
        cache->capacity--;
}

static void put_header_off(struct cache *cache)
{
    cache->header_off = 1;
    for (cache->slab_bytes = PAGE_SIZE; cache->slab_bytes < PAGES_MOST * PAGE_SIZE; cache->slab_bytes += PAGE_SIZE)
        if (cache->slab_bytes >= cache->stride && cache->slab_bytes % cache->stride <= cache->slab_bytes / 8)
            break;
    cache->capacity = cache->slab_bytes / cache->stride;
}

void cache_init(struct cache *cache, struct heap_slab *heap, const char *name, size_t size, size_t align,
                void (*construct)(void *object))
{
    *cache = (struct cache) {
        .name = name, .heap = heap, .next = heap->caches, .construct = construct,
        .size = size, .stride = align_up(size, align), .align = align,
    };
    cache->stride < OFF_FROM ? put_header_in(cache) : put_header_off(cache);
    uint64_t taken = cache->capacity * cache->stride + (cache->header_off ? 0 : header_size(cache->capacity));
    cache->colours = (cache->slab_bytes - taken) / align + 1;
    heap->caches = cache;
}

/* --- lists ----------------------------------------------------------------------------------------------------------- */

static struct slab_list *list_for(struct cache *cache, const struct slab *slab)
{
    return slab->used == 0 ? &cache->empty : slab->used == cache->capacity ? &cache->full : &cache->partial;
}

static void enter(struct slab_list *list, struct slab *slab)
{
    slab->prev = NULL;
    slab->next = list->first;
    if (slab->next)
        slab->next->prev = slab;
    list->first = slab;
    list->count++;
}

static void leave(struct slab_list *list, struct slab *slab)
{
    *(slab->prev ? &slab->prev->next : &list->first) = slab->next;
    if (slab->next)
        slab->next->prev = slab->prev;
    list->count--;
}

/* --- slabs ----------------------------------------------------------------------------------------------------------- */

/* So many of the cache's objects come to be, or cease, in the heap's books. */
static void book(struct cache *cache, void (*how)(struct heap *heap, bool free, size_t size), bool free, uint64_t count)
{
    for (uint64_t i = 0; i < count && !cache->internal; i++)
        how(heap_of(cache), free, cache->size);
}

/* Where the header of a slab with these pages goes; NULL when there is no room for it. */
static struct slab *header_for(struct cache *cache, uintptr_t memory)
{
    if (cache->header_off)
        return cache_take(&cache->heap->headers);
    return (struct slab *)(memory + cache->slab_bytes - header_size(cache->capacity));
}

static void fill_in(struct cache *cache, struct slab *slab, uintptr_t memory)
{
    *slab = (struct slab) { .cache = cache, .memory = memory, .objects = memory + cache->next_colour * cache->align };
    cache->next_colour = (cache->next_colour + 1) % cache->colours;
    for (uint64_t i = 0; i < cache->capacity; i++) {
        slab->next_free[i] = (uint16_t)(i + 1 < cache->capacity ? i + 1 : SLAB_END);
        if (cache->construct && !heap_of(cache)->poison)
            cache->construct(slab_object(slab, i));
    }
}

static struct slab *make_slab(struct cache *cache)
{
    struct heap_runs *runs = &cache->heap->runs;
    uintptr_t memory = heap_runs_alloc(heap_of(cache), runs, cache->slab_bytes, PAGE_SIZE, SLAB_WHOLE_PAGES);
    if (!memory)
        return NULL;
    struct slab *slab = header_for(cache, memory);
    if (!slab) {
        heap_runs_free(heap_of(cache), runs, memory);
        return NULL;
    }
    fill_in(cache, slab, memory);
    for (uint64_t offset = 0; offset < cache->slab_bytes; offset += PAGE_SIZE)
        heap_runs_page(heap_of(cache), runs, memory + offset)->owner = (uint64_t)slab;
    enter(&cache->empty, slab);
    book(cache, heap_count, true, cache->capacity);
    return slab;
}

/* Which is empty. */
static void drop_slab(struct slab *slab)
{
    struct cache *cache = slab->cache;
    uintptr_t memory = slab->memory;
    leave(&cache->empty, slab);
    book(cache, heap_uncount, true, cache->capacity);
    if (cache->header_off)
        slab_put(slab_of(cache->heap, slab), slab);
    heap_runs_free(heap_of(cache), &cache->heap->runs, memory);
}

bool slabs_reap(struct heap_slab *heap)
{
    bool any = false;
    for (struct cache *cache = heap->caches; cache; cache = cache->next)
        for (; cache->empty.first; any = true)
            drop_slab(cache->empty.first);
    return any;
}

/* --- objects, with the lock held ------------------------------------------------------------------------------------- */

static struct slab *slab_with_room(struct cache *cache)
{
    if (cache->partial.first)
        return cache->partial.first;
    if (cache->empty.first)
        return cache->empty.first;
    struct slab *slab = make_slab(cache);
    return !slab && slabs_reap(cache->heap) ? make_slab(cache) : slab;
}

void *cache_take(struct cache *cache)
{
    struct slab *slab = slab_with_room(cache);
    if (!slab)
        return NULL;
    uint64_t number = slab->free;
    leave(list_for(cache, slab), slab);
    slab->free = slab->next_free[number];
    slab->next_free[number] = SLAB_USED;
    slab->used++;
    cache->used++;
    enter(list_for(cache, slab), slab);
    book(cache, heap_uncount, true, 1);
    book(cache, heap_count, false, 1);
    return slab_object(slab, number);
}

void slab_put(struct slab *slab, void *object)
{
    struct cache *cache = slab->cache;
    uint64_t number = ((uintptr_t)object - slab->objects) / cache->stride;
    if (!cache->internal)
        heap_junk(heap_of(cache), object, cache->size);
    leave(list_for(cache, slab), slab);
    slab->next_free[number] = slab->free;
    slab->free = (uint16_t)number;
    slab->used--;
    cache->used--;
    enter(list_for(cache, slab), slab);
    book(cache, heap_uncount, false, 1);
    book(cache, heap_count, true, 1);
    if (slab->used == 0 && cache->empty.count > KEEP_EMPTY)
        drop_slab(slab);
}

struct slab *slab_of(const struct heap_slab *heap, const void *address)
{
    uint64_t owner = heap_runs_page((const struct heap *)heap, &heap->runs, (uintptr_t)address)->owner;
    return owner == SLAB_WHOLE_PAGES ? NULL : (struct slab *)owner;
}

const char *slab_refusal(const struct slab *slab, const void *address)
{
    uint64_t offset = (uintptr_t)address - slab->objects, number = offset / slab->cache->stride;
    if (number >= slab->cache->capacity || offset % slab->cache->stride)
        return "no object starts at such an address";
    return slab->next_free[number] == SLAB_USED ? NULL : "it is free already";
}

/* --- the interface --------------------------------------------------------------------------------------------------- */

static bool is_power(uint64_t value) { return value && !(value & (value - 1)); }

struct cache *cache_create(struct heap_slab *heap, const char *name, size_t size, size_t align, void (*construct)(void *object))
{
    if (size == 0 || size > PAGES_MOST * PAGE_SIZE || !is_power(align) || align > PAGE_SIZE)
        panic("cache %s: objects of %lu bytes at multiples of %lu cannot be", name, size, align);
    if (heap->redzone)
        panic("cache %s: a heap with redzones has them around objects too, and caches build none", name);
    lock(&heap->lock);
    struct cache *cache = cache_take(&heap->records);
    if (cache)
        cache_init(cache, heap, name, size, align, construct);
    unlock(&heap->lock);
    return cache;
}

static bool is_spoilt(const struct cache *cache, const void *object)
{
    return heap_of(cache)->poison && !is_filled(object, HEAP_JUNK, cache->size);
}

void *cache_alloc(struct cache *cache)
{
    lock(&cache->heap->lock);
    void *object = cache_take(cache);
    bool spoilt = object && is_spoilt(cache, object);
    if (object && cache->construct && heap_of(cache)->poison)
        cache->construct(object);
    unlock(&cache->heap->lock);
    if (spoilt)
        panic("cache %s: the object at %p was written to after it was freed", cache->name, object);
    return object;
}

static const char *why_not_its_object(const struct cache *cache, const void *object)
{
    const struct heap_slab *heap = cache->heap;
    if ((uintptr_t)object < heap->start || (uintptr_t)object >= heap->end)
        return "it lies outside the arena";
    const struct slab *slab = slab_of(heap, object);
    if (!slab)
        return "it lies in no slab";
    return slab->cache == cache ? slab_refusal(slab, object) : "it belongs to another cache";
}

void cache_free(struct cache *cache, void *object)
{
    if (!object)
        return;
    lock(&cache->heap->lock);
    const char *refusal = why_not_its_object(cache, object);
    if (!refusal)
        slab_put(slab_of(cache->heap, object), object);
    unlock(&cache->heap->lock);
    if (refusal)
        panic("cache %s: free of %p refused: %s", cache->name, object, refusal);
}

static void forget(struct cache *cache)
{
    struct heap_slab *heap = cache->heap;
    struct cache **link = &heap->caches;
    while (*link != cache)
        link = &(*link)->next;
    *link = cache->next;
    while (cache->empty.first)
        drop_slab(cache->empty.first);
    slab_put(slab_of(heap, cache), cache);
}

void cache_destroy(struct cache *cache)
{
    struct heap_slab *heap = cache->heap;
    const char *name = cache->name;
    lock(&heap->lock);
    uint64_t used = cache->used;
    if (!used)
        forget(cache);
    unlock(&heap->lock);
    if (used)
        panic("cache %s: its end refused: %lu of its objects are used", name, used);
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

/* Lies in a run with memory, with `size` bytes before that ends. */
static bool is_readable(const struct heap_slab *heap, const void *memory, size_t size)
{
    const struct heap *common = (const struct heap *)heap;
    uintptr_t address = (uintptr_t)memory;
    if (address < heap->start || address >= heap->end || address % sizeof(uint64_t))
        return false;
    uintptr_t first = heap_runs_first(common, &heap->runs, address);
    return first && size <= first + heap_runs_size(common, &heap->runs, first) - address;
}

bool is_cache(const struct heap_slab *heap, const struct cache *cache)
{
    uintptr_t offset = (uintptr_t)cache - (uintptr_t)heap;
    bool inside = offset < sizeof(*heap) && offset % sizeof(uint64_t) == 0 && sizeof(*cache) <= sizeof(*heap) - offset;
    return (inside || is_readable(heap, cache, sizeof(*cache))) && cache->heap == heap && cache->stride > 0;
}

bool is_slab(const struct heap_slab *heap, const struct slab *slab)
{
    return is_readable(heap, slab, sizeof(*slab)) && is_cache(heap, slab->cache)
        && is_readable(heap, slab, header_size(slab->cache->capacity))
        && is_readable(heap, (const void *)slab->memory, slab->cache->slab_bytes) && slab_of(heap, (void *)slab->memory) == slab;
}

/* The list of free objects holds each once, and all others are used. */
static const char *check_objects(const struct slab *slab)
{
    uint64_t free = slab->cache->capacity - slab->used, used = 0;
    for (uint64_t number = slab->free; number != SLAB_END; number = slab->next_free[number])
        if (number >= slab->cache->capacity || free-- == 0)
            return "the list of free objects leads to capacity - used of them";
    for (uint64_t number = 0; number < slab->cache->capacity; number++)
        used += slab->next_free[number] == SLAB_USED;
    return free || used != slab->used ? "an object is used, or in the list of free ones" : NULL;
}

static const char *check_slab(const struct cache *cache, const struct slab *slab, const struct slab *prev)
{
    uint64_t colour = slab->objects - slab->memory;
    if (slab->cache != cache)
        return "slab.cache == the cache whose list it is in";
    if (slab->prev != prev)
        return "slab.next.prev == slab";
    if (colour % cache->align || colour / cache->align >= cache->colours)
        return "objects start at memory + colour * align";
    return check_objects(slab);
}

static const char *check_list(const struct cache *cache, const struct slab_list *list, uint64_t least, uint64_t most)
{
    const struct slab *prev = NULL;
    uint64_t left = list->count;
    for (const struct slab *slab = list->first; slab; prev = slab, slab = slab->next) {
        if (!is_slab(cache->heap, slab))
            return "lists lead to slabs";
        if (left-- == 0)
            break;
        if (slab->used < least || slab->used > most)
            return "a slab is in the list that fits its number of used objects";
        const char *broken = check_slab(cache, slab, prev);
        if (broken)
            return broken;
    }
    return left ? "count == length of the list" : NULL;
}

static uint64_t count_used(const struct slab_list *list)
{
    uint64_t used = 0;
    for (const struct slab *slab = list->first; slab; slab = slab->next)
        used += slab->used;
    return used;
}

static const char *check_cache(const struct cache *cache)
{
    uint64_t header = cache->header_off ? 0 : header_size(cache->capacity);
    if (cache->size > cache->stride || cache->stride % cache->align
        || cache->capacity * cache->stride + (cache->colours - 1) * cache->align + header > cache->slab_bytes)
        return "a slab has room for its objects, the colours and the header";
    const char *broken = check_list(cache, &cache->empty, 0, 0);
    if (!broken)
        broken = check_list(cache, &cache->partial, 1, cache->capacity - 1);
    if (!broken)
        broken = check_list(cache, &cache->full, cache->capacity, cache->capacity);
    if (!broken && cache->used != count_used(&cache->partial) + count_used(&cache->full))
        broken = "cache.used == sum over its slabs";
    return broken;
}

static uint64_t count_slab_runs(const struct heap_slab *heap)
{
    const struct heap *common = (const struct heap *)heap;
    uint64_t count = 0;
    for (uintptr_t at = heap_runs_next(common, &heap->runs, heap->start); at < heap->end;
         at = heap_runs_next(common, &heap->runs, at + PAGE_SIZE))
        count += slab_of(heap, (void *)at) != NULL;
    return count;
}

const char *caches_check(const struct heap_slab *heap)
{
    uint64_t slabs = 0;
    for (const struct cache *cache = heap->caches; cache; cache = cache->next) {
        const char *broken = is_cache(heap, cache) ? check_cache(cache) : "the list of caches leads to caches";
        if (broken)
            return broken;
        slabs += cache->empty.count + cache->partial.count + cache->full.count;
    }
    return slabs == count_slab_runs(heap) ? NULL : "every run that is a slab is in a list of its cache";
}

/* --- report ---------------------------------------------------------------------------------------------------------- */

static void report_slabs(const struct cache *cache, const struct slab_list *list, const char *which)
{
    for (const struct slab *slab = list->first; slab; slab = slab->next)
        print("report slab heap=%s cache=%s list=%s header=%p memory=0x%lx objects=0x%lx used=%u\n", cache->heap->name,
              cache->name, which, (void *)slab, slab->memory, slab->objects, slab->used);
}

void caches_report(const struct heap_slab *heap)
{
    for (const struct cache *cache = heap->caches; cache; cache = cache->next) {
        print("report cache heap=%s name=%s size=%lu stride=%lu align=%lu slab_bytes=%lu capacity=%lu colours=%lu header=%s"
              " used=%lu full=%lu partial=%lu empty=%lu\n",
              heap->name, cache->name, cache->size, cache->stride, cache->align, cache->slab_bytes, cache->capacity,
              cache->colours, cache->header_off ? "off" : "in", cache->used, cache->full.count, cache->partial.count,
              cache->empty.count);
        report_slabs(cache, &cache->full, "full");
        report_slabs(cache, &cache->partial, "partial");
        report_slabs(cache, &cache->empty, "empty");
    }
}
