/* Knows another way to keep a heap: pools of equal slots, their sizes powers of two.
 *
 * Theory
 *  1. A request is rounded up to a power of two from 2 to 2048 bytes and gets a slot of a pool of that size. What is larger
 *     gets whole pages (heap_runs.c).
 *  2. A pool is a run of pages: a header with a bit for each slot, then the slots. The record of any of its pages says which
 *     size it has, so a slot needs no header of its own, and 2 bytes cost 2 bytes and a bit.
 *  3. Slots lie at multiples of their size. So alignment costs nothing, and an address inside a slot is known as such.
 *  4. Pools with room are in a list for each size; full ones are in none. A pool that is wholly free goes back unless it is
 *     the only one with room.
 *
 * Invariants
 *     pool.size == owner of its pages; pool.slots == what its pages have room for behind the header
 *     pool.used == number of 1 bits; bits from `slots` on are 0
 *     a pool is in open[its class], once, if used < slots; else in none; next.prev == pool
 *     and what heap_runs.c says about its runs */

#include "heap/heap_pools.h"

#include "heap/heap_kinds.h"
#include "lib/bits.h"
#include "lib/print.h"
#include "lib/string.h"

enum { SMALLEST = 2, WHOLE_PAGES = 1 };

static struct heap_pools *pools_of(struct heap *heap) { return (struct heap_pools *)heap; }
static const struct heap_pools *seen_pools(const struct heap *heap) { return (const struct heap_pools *)heap; }

/* --- pools ----------------------------------------------------------------------------------------------------------- */

static unsigned class_of(size_t size) { return (unsigned)__builtin_ctzl(size) - 1; }

static uintptr_t slot_at(const struct heap_pool *pool, uint64_t slot)
{
    return (uintptr_t)pool + pool->first + slot * pool->size;
}

/* So that a header takes no more than an eighth. */
static size_t pool_bytes(size_t slot_size) { return slot_size < 256 ? PAGE_SIZE : 4 * PAGE_SIZE; }

/* Where the first slot lies: behind a header with a bit for each slot that there could be. */
static uint32_t first_offset(size_t slot_size)
{
    size_t header = sizeof(struct heap_pool) + bits_words(pool_bytes(slot_size) / slot_size) * sizeof(uint64_t);
    return (uint32_t)align_up(header, slot_size);
}

static void open(struct heap *heap, struct heap_pool *pool)
{
    struct heap_pool **first = &pools_of(heap)->open[class_of(pool->size)];
    pool->prev = NULL;
    pool->next = *first;
    if (pool->next)
        pool->next->prev = pool;
    *first = pool;
}

static void close(struct heap *heap, struct heap_pool *pool)
{
    *(pool->prev ? &pool->prev->next : &pools_of(heap)->open[class_of(pool->size)]) = pool->next;
    if (pool->next)
        pool->next->prev = pool->prev;
    pool->next = pool->prev = NULL;
}

static void count_free_slots(struct heap *heap, const struct heap_pool *pool, uint64_t sign)
{
    heap->free_chunks += sign * pool->slots;
    heap->free_bytes += sign * pool->slots * pool->size;
}

static struct heap_pool *make_pool(struct heap *heap, size_t slot_size)
{
    size_t bytes = pool_bytes(slot_size);
    struct heap_pool *pool = (struct heap_pool *)heap_runs_alloc(heap, &pools_of(heap)->runs, bytes, PAGE_SIZE, slot_size);
    if (!pool)
        return NULL;
    uint32_t first = first_offset(slot_size);
    memset(pool, 0, first);
    pool->magic = HEAP_POOL_MAGIC;
    pool->size = (uint32_t)slot_size;
    pool->slots = (uint32_t)((bytes - first) / slot_size);
    pool->first = first;
    count_free_slots(heap, pool, 1);
    open(heap, pool);
    return pool;
}

static void drop_pool(struct heap *heap, struct heap_pool *pool)
{
    count_free_slots(heap, pool, (uint64_t)-1);
    close(heap, pool);
    heap_runs_free(heap, &pools_of(heap)->runs, (uintptr_t)pool);
}

/* --- slots ----------------------------------------------------------------------------------------------------------- */

static void *take_slot(struct heap *heap, size_t size)
{
    struct heap_pool *pool = pools_of(heap)->open[class_of(size)];
    if (!pool && !(pool = make_pool(heap, size)))
        return NULL;
    uint64_t slot = bits_find(pool->bits, false, 0, pool->slots);
    bits_set(pool->bits, slot);
    heap_uncount(heap, true, size);
    heap_count(heap, false, size);
    if (++pool->used == pool->slots)
        close(heap, pool);
    return (void *)slot_at(pool, slot);
}

static void give_slot(struct heap *heap, struct heap_pool *pool, uintptr_t address)
{
    bits_clear(pool->bits, (address - slot_at(pool, 0)) / pool->size);
    heap_uncount(heap, false, pool->size);
    heap_count(heap, true, pool->size);
    heap_junk(heap, (void *)address, pool->size);
    if (pool->used-- == pool->slots)
        open(heap, pool);
    if (pool->used == 0 && (pool->next || pool->prev))
        drop_pool(heap, pool);
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

static bool pools_init(struct heap *heap)
{
    heap_runs_init(heap, &pools_of(heap)->runs, 0, false);
    return true;
}

static size_t round_to_power(size_t size)
{
    size_t power = SMALLEST;
    while (power < size)
        power *= 2;
    return power;
}

static void *take_pages(struct heap *heap, size_t size, size_t align)
{
    uintptr_t first = heap_runs_alloc(heap, &pools_of(heap)->runs, size, align, WHOLE_PAGES);
    if (first)
        heap_count(heap, false, heap_runs_size(heap, &pools_of(heap)->runs, first));
    return (void *)first;
}

static void *pools_alloc(struct heap *heap, size_t size, size_t align)
{
    size_t needed = size > align ? size : align;
    if (needed > HEAP_POOLS_LARGEST)
        return take_pages(heap, size, align > PAGE_SIZE ? align : PAGE_SIZE);
    return take_slot(heap, round_to_power(needed));
}

/* NULL if `memory` is a chunk of whole pages. */
static struct heap_pool *pool_with(const struct heap *heap, const void *memory)
{
    const struct heap_runs *runs = &seen_pools(heap)->runs;
    if (heap_runs_page(heap, runs, (uintptr_t)memory)->owner == WHOLE_PAGES)
        return NULL;
    return (struct heap_pool *)heap_runs_first(heap, runs, (uintptr_t)memory);
}

static size_t pools_size_of(const struct heap *heap, const void *memory)
{
    const struct heap_pool *pool = pool_with(heap, memory);
    return pool ? pool->size : heap_runs_size(heap, &seen_pools(heap)->runs, (uintptr_t)memory);
}

static void pools_free(struct heap *heap, void *memory)
{
    struct heap_pool *pool = pool_with(heap, memory);
    if (pool) {
        give_slot(heap, pool, (uintptr_t)memory);
        return;
    }
    heap_uncount(heap, false, pools_size_of(heap, memory));
    heap_runs_free(heap, &pools_of(heap)->runs, (uintptr_t)memory);
}

static bool pools_resize(struct heap *heap, void *memory, size_t wanted)
{
    struct heap_pool *pool = pool_with(heap, memory);
    if (pool || wanted <= HEAP_POOLS_LARGEST)
        return pool && wanted <= pool->size;
    heap_uncount(heap, false, pools_size_of(heap, memory));
    bool done = heap_runs_resize(heap, &pools_of(heap)->runs, (uintptr_t)memory, wanted);
    heap_count(heap, false, pools_size_of(heap, memory));
    return done;
}

static const char *why_not_a_slot(const struct heap_pool *pool, uintptr_t address)
{
    if (address < slot_at(pool, 0) || address >= slot_at(pool, pool->slots))
        return "it lies in a pool, but not in one of its slots";
    if ((address - slot_at(pool, 0)) % pool->size)
        return "it lies inside a slot, not at its start";
    return bits_get(pool->bits, (address - slot_at(pool, 0)) / pool->size) ? NULL : "it is free already";
}

static const char *pools_refusal(const struct heap *heap, const void *memory)
{
    uintptr_t first = heap_runs_first(heap, &seen_pools(heap)->runs, (uintptr_t)memory);
    if (!first)
        return "it lies in a free page";
    const struct heap_pool *pool = pool_with(heap, memory);
    if (pool)
        return why_not_a_slot(pool, (uintptr_t)memory);
    return (uintptr_t)memory == first ? NULL : "it lies inside a chunk, not at its start";
}

/* --- walking --------------------------------------------------------------------------------------------------------- */

static bool is_sound(const struct heap_pool *pool, size_t slot_size)
{
    uint32_t first = first_offset(slot_size);
    return pool->magic == HEAP_POOL_MAGIC && pool->size == slot_size && pool->first == first
           && pool->slots == (pool_bytes(slot_size) - first) / slot_size;
}

static bool is_class(uint64_t owner)
{
    return owner >= SMALLEST && owner <= HEAP_POOLS_LARGEST && !(owner & (owner - 1));
}

static bool each_slot(const struct heap_pool *pool, heap_visit *visit, void *context)
{
    for (uint64_t slot = 0; slot < pool->slots; slot++) {
        struct heap_block block = { slot_at(pool, slot), pool->size, !bits_get(pool->bits, slot) };
        if (!visit(context, &block))
            return false;
    }
    return true;
}

static bool each_in_run(const struct heap *heap, uintptr_t first, heap_visit *visit, void *context)
{
    const struct heap_runs *runs = &seen_pools(heap)->runs;
    uint64_t owner = heap_runs_page(heap, runs, first)->owner;
    if (is_class(owner))
        return is_sound((struct heap_pool *)first, owner) && each_slot((struct heap_pool *)first, visit, context);
    struct heap_block block = { first, heap_runs_size(heap, runs, first), false };
    return owner == WHOLE_PAGES && visit(context, &block);
}

static bool pools_each(const struct heap *heap, heap_visit *visit, void *context)
{
    const struct heap_runs *runs = &seen_pools(heap)->runs;
    uintptr_t first = heap_runs_next(heap, runs, heap->start);
    for (; first < heap->end; first = heap_runs_next(heap, runs, first + PAGE_SIZE))
        if (!each_in_run(heap, first, visit, context))
            return false;
    return true;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static uint64_t count_used(const struct heap_pool *pool)
{
    return bits_count(pool->bits, bits_words(pool->slots));
}

static const char *check_pool(const struct heap_pool *pool, size_t slot_size)
{
    if (!is_sound(pool, slot_size))
        return "a pool's header says what the record of its pages says";
    if (pool->used != count_used(pool))
        return "pool.used == number of 1 bits";
    return bits_find(pool->bits, true, pool->slots, bits_words(pool->slots) * WORD_BITS) != bits_words(pool->slots) * WORD_BITS
               ? "bits beyond the last slot are 0" : NULL;
}

static bool has_room(const struct heap *heap, const struct heap_pool *pool, unsigned class)
{
    uintptr_t address = (uintptr_t)pool;
    return address >= heap->start && address < heap->end && is_aligned(address, PAGE_SIZE)
           && heap_runs_first(heap, &seen_pools(heap)->runs, address) == address
           && heap_runs_page(heap, &seen_pools(heap)->runs, address)->owner == (uint64_t)SMALLEST << class
           && pool->used < pool->slots;
}

/* The pools in all lists, counted; or a broken rule. */
static const char *check_lists(const struct heap *heap, uint64_t limit, uint64_t *listed)
{
    for (unsigned class = 0; class < HEAP_POOLS_CLASSES; class++) {
        const struct heap_pool *prev = NULL, *pool = seen_pools(heap)->open[class];
        for (; pool && *listed <= limit; prev = pool, pool = pool->next, ++*listed)
            if (!has_room(heap, pool, class) || pool->prev != prev)
                return "open lists hold pools of their size that have room, linked both ways";
    }
    return NULL;
}

static const char *pools_check(const struct heap *heap)
{
    const struct heap_runs *runs = &seen_pools(heap)->runs;
    const char *broken = heap_runs_check(heap, runs);
    uint64_t with_room = 0, listed = 0;
    uintptr_t first = heap_runs_next(heap, runs, heap->start);
    for (; !broken && first < heap->end; first = heap_runs_next(heap, runs, first + PAGE_SIZE)) {
        uint64_t owner = heap_runs_page(heap, runs, first)->owner;
        const struct heap_pool *pool = (const struct heap_pool *)first;
        if (owner == WHOLE_PAGES)
            continue;
        broken = is_class(owner) ? check_pool(pool, owner) : "a run's owner is a size, or whole pages";
        with_room += !broken && pool->used < pool->slots;
    }
    if (!broken)
        broken = check_lists(heap, with_room, &listed);
    return broken ? broken : listed == with_room ? NULL : "every pool with room is in its list, once";
}

/* --- report ---------------------------------------------------------------------------------------------------------- */

static void report_class(const struct heap *heap, size_t size)
{
    const struct heap_runs *runs = &seen_pools(heap)->runs;
    uint64_t pools = 0, used = 0, slots = 0;
    uintptr_t first = heap_runs_next(heap, runs, heap->start);
    for (; first < heap->end; first = heap_runs_next(heap, runs, first + PAGE_SIZE))
        if (heap_runs_page(heap, runs, first)->owner == size) {
            pools++;
            used += count_used((const struct heap_pool *)first);
            slots += ((const struct heap_pool *)first)->slots;
        }
    print("report class heap=%s size=%lu pools=%lu used=%lu free=%lu open=%p\n", heap->name, size, pools, used, slots - used,
          (void *)seen_pools(heap)->open[class_of(size)]);
}

static void pools_report(const struct heap *heap)
{
    for (size_t size = SMALLEST; size <= HEAP_POOLS_LARGEST; size *= 2)
        report_class(heap, size);
}

const struct heap_operations heap_pools_operations = {
    .name = "pools", .instance_size = sizeof(struct heap_pools), .alignment = SMALLEST, .reuses = true, .shrinks = true,
    .init = pools_init, .alloc = pools_alloc, .free = pools_free, .resize = pools_resize, .size_of = pools_size_of,
    .refusal = pools_refusal, .each = pools_each, .check = pools_check, .report = pools_report,
};
