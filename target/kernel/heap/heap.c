/* Knows what all heaps have in common: who may ask for what, where memory comes from, and which heap is the kernel's.
 *
 * Theory
 *  1. A heap knows its chunks and nothing else (heap_manager.h). Whether a request makes sense, whether a payload may be
 *     freed, what a resize does that cannot stay in place: that is decided here, once, for all.
 *  2. Most kinds keep [start, end) committed and move `end`. It grows by GROW_BY at least. What is free at the end goes back
 *     when it is TRIM_ABOVE bytes or more, all but about TRIM_KEEP of it. The distance between the two keeps a program that
 *     allocates and frees around one size from paying for pages each time.
 *  3. With `poison` a free payload is filled with HEAP_JUNK: reading freed memory shows at once, and writing it is found by
 *     heap_check, or else when the memory is handed out again.
 *
 * Invariants, of every heap
 *     base, start, end, limit whole pages; base <= start <= end <= limit; committed <= limit - base
 *     a walk meets chunks by rising address; no two overlap; each lies in [start, end)
 *     used_chunks, used_bytes, free_chunks, free_bytes == what a walk finds
 *     with `redzone` what heap_redzone.c says about every used chunk
 *     with `poison` every byte of a free payload is HEAP_JUNK, but for the kind's own links at its start
 *
 * Lock: heap.lock, then its parent's; the supply takes the address space's while it is held. The list of all heaps has a
 * lock of its own, in front of those of the heaps on it: heaps_check holds it while it looks at each. */

#include "heap/heap.h"

#include "boot/options.h"
#include "heap/heap_kinds.h"
#include "heap/heap_manager.h"
#include "heap/heap_redzone.h"
#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"

/* Where the caller of the function that this is written in goes on: all of the interface hands it down. */
#define CALLER __builtin_return_address(0)

enum {
    GROW_BY = 64 << 10,                 /* at least, if there is that much */
    TRIM_ABOVE = 256 << 10,
    TRIM_KEEP = 64 << 10,
    KERNEL_HEAP_LIMIT = 256 << 20,
};

const struct heap_operations *const heap_kinds[HEAP_KINDS] = {
    &heap_list_operations,              /* the first is the default */
    &heap_next_operations, &heap_avl_operations, &heap_redblack_operations, &heap_buddy_operations,
    &heap_slab_operations, &heap_tags_operations, &heap_pools_operations, &heap_bump_operations, &heap_guard_operations,
};

union any_heap kernel_heap;
struct all_heaps heaps = { .lock.name = "heaps" };

/* --- for the kinds --------------------------------------------------------------------------------------------------- */

void heap_junk(const struct heap *heap, void *memory, size_t size)
{
    if (heap->poison)
        memset(memory, HEAP_JUNK, size);
}

bool heap_commit(struct heap *heap, uintptr_t base, size_t size)
{
    if (!heap->supply->commit(heap, base, size))
        return false;
    heap->committed += size;
    heap_junk(heap, (void *)base, size);
    return true;
}

void heap_decommit(struct heap *heap, uintptr_t base, size_t size)
{
    heap->supply->decommit(heap, base, size);
    heap->committed -= size;
}

static bool extend(struct heap *heap, size_t size)
{
    if (size > heap->limit - heap->end || !heap_commit(heap, heap->end, size))
        return false;
    heap->end += size;
    return true;
}

size_t heap_grow(struct heap *heap, size_t needed)
{
    needed = align_up(needed, PAGE_SIZE);
    if (needed < GROW_BY && extend(heap, GROW_BY))
        return GROW_BY;
    return extend(heap, needed) ? needed : 0;
}

size_t heap_trim(struct heap *heap, uintptr_t from)
{
    if (heap->end - from < TRIM_ABOVE)
        return 0;
    uintptr_t new_end = align_up(from + TRIM_KEEP, PAGE_SIZE);
    size_t surplus = heap->end - new_end;
    heap->end = new_end;
    heap_decommit(heap, new_end, surplus);
    return surplus;
}

/* --- the interface --------------------------------------------------------------------------------------------------- */

static void insist_on_new(const struct heap *heap)
{
    lock(&heaps.lock);
    const struct heap *other = heaps.first;
    while (other && other != heap)
        other = other->next;
    unlock(&heaps.lock);
    if (other)
        panic("heap %s is to begin where it is already", heap->name);
}

static void add_to_all(struct heap *heap)
{
    struct heap **link = &heaps.first;
    lock(&heaps.lock);
    while (*link)
        link = &(*link)->next;
    *link = heap;
    unlock(&heaps.lock);
}

/* A heap that rests on this one, or NULL. */
static const struct heap *find_child(const struct heap *heap)
{
    const struct heap *child = heaps.first;
    while (child && child->parent != heap)
        child = child->next;
    return child;
}

static void take_from_all(struct heap *heap)
{
    lock(&heaps.lock);
    struct heap **link = &heaps.first;
    while (*link && *link != heap)
        link = &(*link)->next;
    bool found = *link;
    const struct heap *child = find_child(heap);
    if (found && !child)
        *link = heap->next;
    unlock(&heaps.lock);
    if (!found)
        panic("heap at %p, whose end is asked for, is none", (void *)heap);
    if (child)
        panic("heap %s cannot end: %s rests on it", heap->name, child->name);
}

/* The name, the kind, the supply and the parent are there. */
static bool build(struct heap *heap, size_t limit)
{
    uint64_t bytes;
    if (!pages_to_bytes(bytes_to_pages(limit), &bytes))
        return false;
    heap->lock.name = heap->name;
    heap->poison = option_number("poison", 1);
    /* Pages of its own for every chunk are better than a redzone; but who asked for a chunk stands there too. */
    heap->redzone = (option_number("redzone", 0) && !heap->operations->unmaps) || option_number("callers", 0);
    heap->base = heap->start = heap->end = heap->supply->reserve(heap, bytes);
    heap->limit = heap->base + bytes;
    if (!heap->base)
        return false;
    if (!heap->operations->init(heap)) {
        heap->supply->release(heap, heap->base);
        return false;
    }
    add_to_all(heap);
    return true;
}

bool heap_init(struct heap *heap, const struct heap_operations *operations, const struct heap_supply *supply,
               const char *name, size_t limit)
{
    insist_on_new(heap);
    memset(heap, 0, operations->instance_size);
    *heap = (struct heap) { .name = name, .operations = operations, .supply = supply };
    return build(heap, limit);
}

bool heap_init_chained(struct heap *heap, const struct heap_operations *operations, struct heap *parent, const char *name,
                       size_t size)
{
    insist_on_new(heap);
    memset(heap, 0, operations->instance_size);
    *heap = (struct heap) { .name = name, .operations = operations, .supply = &heap_supply_parent, .parent = parent };
    return build(heap, size);
}

void heap_destroy(struct heap *heap)
{
    take_from_all(heap);
    heap->supply->release(heap, heap->base);
    heap->operations = NULL;
}

/* A free payload, or one that was free until now. */
static bool is_junk(const struct heap *heap, const void *memory, size_t size)
{
    size_t links = heap->operations->links;
    return links >= size || is_filled((const char *)memory + links, HEAP_JUNK, size - links);
}

/* `caller` is where the code that asks for it goes on. So it is below. */
static void *allocate(struct heap *heap, size_t size, size_t align, const void *caller)
{
    if (!align || (align & (align - 1)))
        panic("heap %s: an alignment of %lu cannot be", heap->name, align);
    size_t room = heap->limit - heap->start, front = heap->redzone ? heap_redzone_front(align) : 0;
    if (size > room || align > room)    /* so no sum can overflow, here or in the kind */
        return NULL;
    size_t outer = heap->redzone ? heap_redzone_outer(heap, front, size) : size ? size : 1;
    if (outer > room)
        return NULL;
    if (align < heap->operations->alignment)
        align = heap->operations->alignment;
    lock(&heap->lock);
    void *chunk = heap->operations->alloc(heap, outer, align);
    bool spoilt = chunk && heap->poison && !is_junk(heap, chunk, heap->operations->size_of(heap, chunk));
    void *memory = chunk && heap->redzone ? heap_redzone_build(heap, chunk, (struct heap_redzone) { size, front, caller }) : chunk;
    unlock(&heap->lock);
    if (spoilt)
        panic("heap %s: the memory at %p was written to after it was freed", heap->name, chunk);
    return memory;
}

static void *allocate_zeroed(struct heap *heap, size_t count, size_t size, const void *caller)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *memory = allocate(heap, count * size, 1, caller);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

const char *heap_refusal(const struct heap *heap, const void *memory)
{
    uintptr_t address = (uintptr_t)memory;
    if (address < heap->start || address >= heap->end)
        return "it lies outside the arena";
    if (address % heap->operations->alignment)
        return "no payload starts at such an address";
    return heap->operations->refusal(heap, memory);
}

/* The kind's payload that the caller's is, or lies in. Returns why there is none, or NULL. */
static const char *find_chunk(const struct heap *heap, void *memory, void **chunk)
{
    *chunk = memory;
    return heap->redzone ? heap_redzone_find(heap, memory, chunk) : heap_refusal(heap, memory);
}

void heap_free(struct heap *heap, void *memory)
{
    if (!memory)
        return;
    void *chunk;
    lock(&heap->lock);
    const char *refusal = find_chunk(heap, memory, &chunk);
    if (!refusal)
        heap->operations->free(heap, chunk);
    unlock(&heap->lock);
    if (refusal)
        panic("heap %s: free of %p refused: %s", heap->name, memory, refusal);
}

/* Where it is, if the kind can. `*old_size` is then, and if not, how much of it the caller may have written to. */
static bool resize_in_place(struct heap *heap, void *chunk, size_t size, size_t *old_size, const void *caller)
{
    const struct heap_operations *operations = heap->operations;
    struct heap_redzone zone = { 0, 0, NULL };
    *old_size = operations->size_of(heap, chunk);
    if (heap->redzone) {
        zone = *(struct heap_redzone *)chunk;
        *old_size = zone.size;
    }
    size_t outer = heap->redzone ? heap_redzone_outer(heap, zone.front, size) : size ? size : 1;
    if (outer > heap->limit - heap->start || !operations->resize || !operations->resize(heap, chunk, outer))
        return false;
    if (heap->redzone)
        heap_redzone_build(heap, chunk, (struct heap_redzone) { size, zone.front, caller });
    return true;
}

/* To another place; the one that it had is free then. */
static void *move(struct heap *heap, void *memory, size_t old_size, size_t size, const void *caller)
{
    void *moved = allocate(heap, size, 1, caller);
    if (moved) {
        memcpy(moved, memory, old_size < size ? old_size : size);
        heap_free(heap, memory);
    }
    return moved;
}

static void *reallocate(struct heap *heap, void *memory, size_t size, const void *caller)
{
    if (!memory)
        return allocate(heap, size, 1, caller);
    if (size > heap->limit - heap->start)
        return NULL;
    void *chunk;
    size_t old_size;
    lock(&heap->lock);
    const char *refusal = find_chunk(heap, memory, &chunk);
    bool in_place = !refusal && resize_in_place(heap, chunk, size, &old_size, caller);
    unlock(&heap->lock);
    if (refusal)
        panic("heap %s: resizing of %p refused: %s", heap->name, memory, refusal);
    return in_place ? memory : move(heap, memory, old_size, size, caller);
}

void *heap_alloc(struct heap *heap, size_t size) { return allocate(heap, size, 1, CALLER); }
void *heap_alloc_aligned(struct heap *heap, size_t size, size_t align) { return allocate(heap, size, align, CALLER); }
void *heap_calloc(struct heap *heap, size_t count, size_t size) { return allocate_zeroed(heap, count, size, CALLER); }
void *heap_realloc(struct heap *heap, void *memory, size_t size) { return reallocate(heap, memory, size, CALLER); }

/* Whoever only looks takes the lock too, and that is all that they change. */
static struct spinlock *lock_of(const struct heap *heap) { return (struct spinlock *)&heap->lock; }

const void *heap_caller(const struct heap *heap, void *memory)
{
    void *chunk;
    lock(lock_of(heap));
    bool known = heap->redzone && !heap_redzone_find(heap, memory, &chunk);
    const void *caller = known ? ((struct heap_redzone *)chunk)->caller : NULL;
    unlock(lock_of(heap));
    return caller;
}

/* --- the survey and the check ---------------------------------------------------------------------------------------- */

struct walk { const struct heap *heap; uintptr_t last_end; struct heap_survey survey; };

static const char *why_not_possible(const struct walk *walk, const struct heap_block *block)
{
    const struct heap *heap = walk->heap;
    if (block->address < heap->start || block->address > heap->end || block->size > heap->end - block->address)
        return "chunks lie in the arena";
    if (block->address < walk->last_end)
        return "chunks do not overlap, and a walk meets them by address";
    if (block->free && heap->poison && !is_junk(heap, (void *)block->address, block->size))
        return "free payloads are junk";
    if (!block->free && heap->redzone && heap_redzone_check(heap, (void *)block->address))
        return "redzones are as they were made";
    return NULL;
}

static bool survey_block(void *context, const struct heap_block *block)
{
    struct walk *walk = context;
    struct heap_survey *survey = &walk->survey;
    survey->broken = why_not_possible(walk, block);
    if (survey->broken)
        return false;
    walk->last_end = block->address + block->size;
    survey->chunks[block->free]++;
    survey->bytes[block->free] += block->size;
    if (block->free && block->size > survey->largest_free)
        survey->largest_free = block->size;
    return true;
}

static struct heap_survey survey_locked(const struct heap *heap)
{
    struct walk walk = { .heap = heap };
    if (!heap->operations->each(heap, survey_block, &walk) && !walk.survey.broken)
        walk.survey.broken = "the chunks can be walked";
    return walk.survey;
}

struct heap_survey heap_survey(const struct heap *heap)
{
    lock(lock_of(heap));
    struct heap_survey survey = survey_locked(heap);
    unlock(lock_of(heap));
    return survey;
}

struct inner_walk { const struct heap *heap; heap_visit *visit; void *context; };

static bool visit_inner(void *context, const struct heap_block *block)
{
    const struct inner_walk *walk = context;
    const struct heap_redzone *zone = (const struct heap_redzone *)block->address;
    bool inner = walk->heap->redzone && !block->free;
    if (inner && heap_redzone_check(walk->heap, zone))
        return false;
    struct heap_block payload = inner ? (struct heap_block) { block->address + zone->front, zone->size, false } : *block;
    return walk->visit(walk->context, &payload);
}

bool heap_each(const struct heap *heap, heap_visit *visit, void *context)
{
    lock(lock_of(heap));
    bool whole = heap->operations->each(heap, visit_inner, &(struct inner_walk) { heap, visit, context });
    unlock(lock_of(heap));
    return whole;
}

static const char *check_borders(const struct heap *heap)
{
    if (!is_aligned(heap->base | heap->start | heap->end | heap->limit, PAGE_SIZE) || heap->base > heap->start
        || heap->start > heap->end || heap->end > heap->limit)
        return "base, start, end, limit are whole pages, in this order";
    return heap->committed > heap->limit - heap->base ? "committed <= limit - base" : NULL;
}

static const char *check_counters(const struct heap *heap, const struct heap_survey *survey)
{
    if (survey->chunks[0] != heap->used_chunks)
        return "used_chunks == number of used chunks";
    if (survey->chunks[1] != heap->free_chunks)
        return "free_chunks == number of free chunks";
    if (survey->bytes[0] != heap->used_bytes)
        return "used_bytes == sum over used chunks";
    return survey->bytes[1] != heap->free_bytes ? "free_bytes == sum over free chunks" : NULL;
}

static bool rests_on_parent(const struct heap *heap)
{
    struct heap *parent = heap->parent;
    void *chunk;
    lock(&parent->lock);
    bool rests = !find_chunk(parent, (void *)heap->base, &chunk)
                 && (uintptr_t)chunk + parent->operations->size_of(parent, chunk) >= heap->limit;
    unlock(&parent->lock);
    return rests;
}

static const char *check_locked(const struct heap *heap)
{
    const char *broken = check_borders(heap);
    if (!broken && heap->parent && !rests_on_parent(heap))
        broken = "the region is a used chunk of the parent";
    if (!broken)
        broken = heap->operations->check(heap);
    if (broken)
        return broken;
    struct heap_survey survey = survey_locked(heap);
    return survey.broken ? survey.broken : check_counters(heap, &survey);
}

const char *heap_check(const struct heap *heap)
{
    lock(lock_of(heap));
    const char *broken = check_locked(heap);
    unlock(lock_of(heap));
    return broken;
}

const char *heaps_check(void)
{
    const char *broken = NULL;
    lock(&heaps.lock);
    for (const struct heap *heap = heaps.first; heap && !broken; heap = heap->next)
        broken = heap_check(heap);
    unlock(&heaps.lock);
    return broken;
}

/* --- the kernel's ---------------------------------------------------------------------------------------------------- */

static const struct heap_operations *chosen_kind(void)
{
    char name[OPTION_MAX];
    if (!option("heap", name))
        return heap_kinds[0];
    for (unsigned i = 0; i < HEAP_KINDS; i++)
        if (strcmp(heap_kinds[i]->name, name) == 0)
            return heap_kinds[i];
    panic("there is no heap of the kind \"%s\"", name);
}

void kernel_heap_init(void)
{
    struct heap *heap = &kernel_heap.heap;
    if (!heap_init(heap, chosen_kind(), &heap_supply_system, "kernel", KERNEL_HEAP_LIMIT))
        panic("heap kernel: no memory to begin with");
    print("heap: %s (%s) at 0x%lx, %lu KiB of at most %d\n", heap->name, heap->operations->name, heap->start,
          heap->committed >> 10, KERNEL_HEAP_LIMIT >> 10);
}

void *kmalloc(size_t size) { return allocate(&kernel_heap.heap, size, 1, CALLER); }
void *kmalloc_aligned(size_t size, size_t align) { return allocate(&kernel_heap.heap, size, align, CALLER); }
void *kcalloc(size_t count, size_t size) { return allocate_zeroed(&kernel_heap.heap, count, size, CALLER); }
void *krealloc(void *memory, size_t size) { return reallocate(&kernel_heap.heap, memory, size, CALLER); }
void kfree(void *memory) { heap_free(&kernel_heap.heap, memory); }
