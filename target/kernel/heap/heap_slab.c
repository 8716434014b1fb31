/* Knows how caches serve as a general heap.
 *
 * Theory
 *  1. There is a cache for each of a few sizes. A request gets an object of the smallest that suffices; what it does not need
 *     of it is lost, a third at the most (Bonwick's kmem_alloc). What is larger than all of them gets whole pages.
 *  2. A size is also an alignment: objects of 3 * 2^n bytes lie at multiples of 2^n. An aligned request gets an object of a
 *     size that is aligned enough, or whole pages.
 *  3. The caches of records and of headers are the heap's own. They are no chunks: a walk leaves them out, and so do the books.
 *
 * Invariants
 *     every run of pages is a slab that a cache has in a list (cache.c), or one large chunk (heap_runs.c) */

#include "heap/heap_slab.h"

#include "heap/heap_kinds.h"
#include "lib/panic.h"
#include "lib/print.h"

enum { OBJECT_HEAP_LIMIT = 64 << 20 };

static const struct { uint32_t size; const char *name; } sizes[SLAB_SIZES] = {
    { 16, "size-16" },     { 32, "size-32" },     { 48, "size-48" },     { 64, "size-64" },     { 96, "size-96" },
    { 128, "size-128" },   { 192, "size-192" },   { 256, "size-256" },   { 384, "size-384" },   { 512, "size-512" },
    { 768, "size-768" },   { 1024, "size-1024" }, { 1536, "size-1536" }, { 2048, "size-2048" }, { SLAB_LARGEST, "size-3072" },
};

static struct heap_slab *slab_heap(struct heap *heap) { return (struct heap_slab *)heap; }
static const struct heap_slab *seen_slab_heap(const struct heap *heap) { return (const struct heap_slab *)heap; }

static size_t largest_power_in(size_t size) { return size & -size; }

static bool init(struct heap *heap)
{
    struct heap_slab *slabs = slab_heap(heap);
    heap_runs_init(heap, &slabs->runs, 0, false);
    cache_init(&slabs->records, slabs, "cache-records", sizeof(struct cache), sizeof(uint64_t), NULL);
    cache_init(&slabs->headers, slabs, "slab-headers", SLAB_HEADER_MOST, sizeof(uint64_t), NULL);
    slabs->records.internal = slabs->headers.internal = 1;
    for (unsigned i = 0; i < SLAB_SIZES; i++)
        cache_init(&slabs->sizes[i], slabs, sizes[i].name, sizes[i].size, largest_power_in(sizes[i].size), NULL);
    return heap->start < heap->limit;
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

/* NULL: whole pages. */
static struct cache *cache_for(struct heap_slab *slabs, size_t size, size_t align)
{
    for (unsigned i = 0; i < SLAB_SIZES; i++)
        if (slabs->sizes[i].stride >= size && slabs->sizes[i].align >= align)
            return &slabs->sizes[i];
    return NULL;
}

static void *alloc_pages(struct heap *heap, size_t size, size_t align)
{
    struct heap_runs *runs = &slab_heap(heap)->runs;
    if (align < PAGE_SIZE)
        align = PAGE_SIZE;
    uintptr_t memory = heap_runs_alloc(heap, runs, size, align, SLAB_WHOLE_PAGES);
    if (!memory && slabs_reap(slab_heap(heap)))
        memory = heap_runs_alloc(heap, runs, size, align, SLAB_WHOLE_PAGES);
    if (memory)
        heap_count(heap, false, heap_runs_size(heap, runs, memory));
    return (void *)memory;
}

static void *alloc(struct heap *heap, size_t size, size_t align)
{
    struct cache *cache = cache_for(slab_heap(heap), size, align);
    return cache ? cache_take(cache) : alloc_pages(heap, size, align);
}

static size_t size_of(const struct heap *heap, const void *memory)
{
    const struct slab *slab = slab_of(seen_slab_heap(heap), memory);
    return slab ? slab->cache->size : heap_runs_size(heap, &seen_slab_heap(heap)->runs, (uintptr_t)memory);
}

static void free_chunk(struct heap *heap, void *memory)
{
    struct slab *slab = slab_of(slab_heap(heap), memory);
    if (slab) {
        slab_put(slab, memory);
        return;
    }
    heap_uncount(heap, false, size_of(heap, memory));
    heap_runs_free(heap, &slab_heap(heap)->runs, (uintptr_t)memory);
}

/* An object stays where it is if another of the same cache would take its place. */
static bool resize(struct heap *heap, void *memory, size_t size)
{
    struct heap_slab *slabs = slab_heap(heap);
    const struct slab *slab = slab_of(slabs, memory);
    size_t old = size_of(heap, memory);
    if (slab || size <= SLAB_LARGEST)
        return slab && size <= old && cache_for(slabs, size, 1) == slab->cache;
    if (!heap_runs_resize(heap, &slabs->runs, (uintptr_t)memory, size))
        return false;
    heap_uncount(heap, false, old);
    heap_count(heap, false, size_of(heap, memory));
    return true;
}

static const char *refusal(const struct heap *heap, const void *memory)
{
    const struct heap_slab *slabs = seen_slab_heap(heap);
    uintptr_t first = heap_runs_first(heap, &slabs->runs, (uintptr_t)memory);
    if (!first)
        return "its page is free: freed before, or never a chunk";
    const struct slab *slab = slab_of(slabs, memory);
    if (!slab)
        return first == (uintptr_t)memory ? NULL : "it lies inside a chunk";
    if (slab->cache < slabs->sizes || slab->cache >= slabs->sizes + SLAB_SIZES)
        return "it belongs to a cache, or to the heap itself";
    return slab_refusal(slab, memory);
}

/* --- walking --------------------------------------------------------------------------------------------------------- */

static bool each_object(const struct slab *slab, heap_visit *visit, void *context)
{
    for (uint64_t i = 0; i < slab->cache->capacity && !slab->cache->internal; i++)
        if (!visit(context, &(struct heap_block) { (uintptr_t)slab_object(slab, i), slab->cache->size,
                                                   slab->next_free[i] != SLAB_USED }))
            return false;
    return true;
}

static bool each(const struct heap *heap, heap_visit *visit, void *context)
{
    const struct heap_slab *slabs = seen_slab_heap(heap);
    for (uintptr_t at = heap_runs_next(heap, &slabs->runs, heap->start); at < heap->end;
         at = heap_runs_next(heap, &slabs->runs, at + PAGE_SIZE)) {
        const struct slab *slab = slab_of(slabs, (void *)at);
        if (slab && !is_slab(slabs, slab))
            return false;
        if (slab ? !each_object(slab, visit, context)
                 : !visit(context, &(struct heap_block) { at, heap_runs_size(heap, &slabs->runs, at), false }))
            return false;
    }
    return true;
}

static const char *check(const struct heap *heap)
{
    const char *broken = heap_runs_check(heap, &seen_slab_heap(heap)->runs);
    return broken ? broken : caches_check(seen_slab_heap(heap));
}

static void report(const struct heap *heap) { caches_report(seen_slab_heap(heap)); }

const struct heap_operations heap_slab_operations = {
    .name = "slab", .instance_size = sizeof(struct heap_slab), .alignment = HEAP_ALIGN,
    .reuses = true, .shrinks = true,
    .init = init, .alloc = alloc, .free = free_chunk, .resize = resize, .size_of = size_of,
    .refusal = refusal, .each = each, .check = check, .report = report,
};

/* --- the kernel's objects -------------------------------------------------------------------------------------------- */

struct heap_slab object_heap;

void object_heap_init(void)
{
    if (!heap_init((struct heap *)&object_heap, &heap_slab_operations, &heap_supply_system, "objects", OBJECT_HEAP_LIMIT))
        panic("heap objects: no address range left");
    object_heap.redzone = false;
}
