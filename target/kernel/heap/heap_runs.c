/* Knows how to keep account of runs of pages.
 *
 * Theory
 *  1. A record for every page of the region says whether the page is free and, if not, where its run begins. So whose any
 *     address is can be told without looking at the address itself, which may have no memory.
 *  2. The records lie at the base of the region, in front of the arena, and get memory as `end` moves up.
 *  3. A free page has no memory. A run gets its memory when it is taken and loses it when it is given back.
 *  4. A search goes from a hint and steps over runs. Where runs do not rove, nothing below the hint is free.
 *  5. `end` is where the last run ends.
 *
 * Invariants
 *     start == base + the records' pages; records of [start, end) have memory
 *     a first page with count n is followed by n - 1 others that count 1, 2, ...; all have its owner
 *     a free page has owner 0 and count 0; the page before `end` is not free
 *     without roving: no page below the hint is free
 *     committed == the records' memory + that of all runs */

#include "heap/heap_runs.h"

#include "lib/string.h"

static uint64_t number_of(const struct heap *heap, uintptr_t address) { return (address - heap->start) >> PAGE_SHIFT; }
static uintptr_t address_of(const struct heap *heap, uint64_t page) { return heap->start + (page << PAGE_SHIFT); }

/* --- the records ----------------------------------------------------------------------------------------------------- */

void heap_runs_init(struct heap *heap, struct heap_runs *runs, uint32_t guard, bool roves)
{
    uint64_t count = (heap->limit - heap->base) >> PAGE_SHIFT;
    runs->pages = (struct heap_page *)heap->base;
    heap->start = heap->end = heap->base + align_up(count * sizeof(*runs->pages), PAGE_SIZE);
    runs->count = (heap->limit - heap->start) >> PAGE_SHIFT;
    runs->guard = guard;
    runs->roves = roves;
}

/* Memory for the records of the pages below `needed`. */
static bool make_known(struct heap *heap, struct heap_runs *runs, uint64_t needed)
{
    enum { AT_ONCE = PAGE_SIZE / sizeof(struct heap_page) };
    for (; runs->known < needed; runs->known += AT_ONCE) {
        struct heap_page *more = &runs->pages[runs->known];
        if (!heap_commit(heap, (uintptr_t)more, PAGE_SIZE))
            return false;
        memset(more, 0, PAGE_SIZE);
    }
    return true;
}

static void write_run(struct heap_runs *runs, uint64_t first, uint64_t count, uint64_t owner)
{
    runs->pages[first] = (struct heap_page) { owner, HEAP_PAGE_FIRST, (uint32_t)count };
    for (uint64_t i = 1; i < count; i++)
        runs->pages[first + i] = (struct heap_page) { owner, HEAP_PAGE_REST, (uint32_t)i };
}

static void write_free(struct heap *heap, struct heap_runs *runs, uint64_t first, uint64_t count)
{
    memset(&runs->pages[first], 0, count * sizeof(*runs->pages));
    if (!runs->roves && first < runs->hint)
        runs->hint = first;
    while (heap->end > heap->start && runs->pages[number_of(heap, heap->end) - 1].state == HEAP_PAGE_FREE)
        heap->end -= PAGE_SIZE;
}

/* --- finding --------------------------------------------------------------------------------------------------------- */

/* How many free pages there are at `first`, up to `wanted`. Beyond `end` all are free. */
static uint64_t count_free(const struct heap *heap, const struct heap_runs *runs, uint64_t first, uint64_t wanted)
{
    uint64_t end = number_of(heap, heap->end), count = 0;
    while (count < wanted && first + count < end && runs->pages[first + count].state == HEAP_PAGE_FREE)
        count++;
    return first + count >= end ? wanted : count;
}

/* The number of the first page of such a run, which begins in [from, to); `to` when there is none. */
static uint64_t find_between(const struct heap *heap, const struct heap_runs *runs, uint64_t from, uint64_t to, uint64_t count,
                             size_t align)
{
    uint64_t page = from;
    while (page < to) {
        page = number_of(heap, align_up(address_of(heap, page), align));
        if (page >= to || count > runs->count - page)
            return to;
        uint64_t free = count_free(heap, runs, page, count);
        if (free == count)
            return page;
        page += free;
        page += runs->pages[page].state == HEAP_PAGE_FIRST ? runs->pages[page].count : 1;
    }
    return to;
}

static uint64_t find(const struct heap *heap, const struct heap_runs *runs, uint64_t count, size_t align)
{
    uint64_t page = find_between(heap, runs, runs->hint, runs->count, count, align);
    if (page < runs->count || !runs->roves)
        return page;
    page = find_between(heap, runs, 0, runs->hint, count, align);
    return page < runs->hint ? page : runs->count;
}

/* --- the interface --------------------------------------------------------------------------------------------------- */

uintptr_t heap_runs_alloc(struct heap *heap, struct heap_runs *runs, size_t size, size_t align, uint64_t owner)
{
    uint64_t count = bytes_to_pages(size) + runs->guard, page = find(heap, runs, count, align);
    if (page == runs->count || !make_known(heap, runs, page + count))
        return 0;
    uintptr_t first = address_of(heap, page);
    if (!heap_commit(heap, first, align_up(size, PAGE_SIZE)))
        return 0;
    write_run(runs, page, count, owner);
    if (address_of(heap, page + count) > heap->end)
        heap->end = address_of(heap, page + count);
    if (runs->roves || page == runs->hint)
        runs->hint = page + count;
    return first;
}

void heap_runs_free(struct heap *heap, struct heap_runs *runs, uintptr_t first)
{
    uint64_t page = number_of(heap, first);
    heap_decommit(heap, first, heap_runs_size(heap, runs, first));
    write_free(heap, runs, page, runs->pages[page].count);
}

static bool lengthen(struct heap *heap, struct heap_runs *runs, uint64_t page, uint64_t count)
{
    uint64_t old = runs->pages[page].count, more = count - old, next = page + old;
    uintptr_t memory_end = address_of(heap, next - runs->guard);
    if (more > runs->count - next || count_free(heap, runs, next, more) < more || !make_known(heap, runs, page + count)
        || !heap_commit(heap, memory_end, more << PAGE_SHIFT))
        return false;
    write_run(runs, page, count, runs->pages[page].owner);
    if (address_of(heap, page + count) > heap->end)
        heap->end = address_of(heap, page + count);
    return true;
}

bool heap_runs_resize(struct heap *heap, struct heap_runs *runs, uintptr_t first, size_t size)
{
    uint64_t page = number_of(heap, first), old = runs->pages[page].count, count = bytes_to_pages(size) + runs->guard;
    if (count > old)
        return lengthen(heap, runs, page, count);
    if (count < old) {
        heap_decommit(heap, address_of(heap, page + count - runs->guard), (old - count) << PAGE_SHIFT);
        runs->pages[page].count = (uint32_t)count;
        write_free(heap, runs, page + count, old - count);
    }
    return true;
}

uintptr_t heap_runs_first(const struct heap *heap, const struct heap_runs *runs, uintptr_t address)
{
    const struct heap_page *page = heap_runs_page(heap, runs, address);
    uintptr_t start = align_down(address, PAGE_SIZE);
    if (page->state == HEAP_PAGE_REST)
        start -= (uintptr_t)page->count << PAGE_SHIFT;
    return page->state == HEAP_PAGE_FREE ? 0 : start;
}

uintptr_t heap_runs_next(const struct heap *heap, const struct heap_runs *runs, uintptr_t from)
{
    while (from < heap->end && heap_runs_page(heap, runs, from)->state != HEAP_PAGE_FIRST)
        from += PAGE_SIZE;
    return from;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static const char *check_run(const struct heap_runs *runs, uint64_t page, uint64_t end)
{
    const struct heap_page *first = &runs->pages[page];
    if (first->state != HEAP_PAGE_FIRST || first->count <= runs->guard || first->count > end - page)
        return "runs lie one after the other, below end";
    for (uint64_t i = 1; i < first->count; i++)
        if (first[i].state != HEAP_PAGE_REST || first[i].count != i || first[i].owner != first->owner)
            return "every page of a run says where it begins and whose it is";
    return NULL;
}

static const char *check_free(const struct heap_runs *runs, uint64_t page)
{
    if (runs->pages[page].owner || runs->pages[page].count)
        return "a free page has no owner and no count";
    return !runs->roves && page < runs->hint ? "no page below the hint is free" : NULL;
}

const char *heap_runs_check(const struct heap *heap, const struct heap_runs *runs)
{
    uint64_t end = number_of(heap, heap->end), memory = runs->known * sizeof(*runs->pages);
    if ((uintptr_t)runs->pages != heap->base || end > runs->known || end > runs->count)
        return "the records of [start, end) have memory";
    if (end && runs->pages[end - 1].state == HEAP_PAGE_FREE)
        return "end is where the last run ends";
    for (uint64_t page = 0; page < end;) {
        bool free = runs->pages[page].state == HEAP_PAGE_FREE;
        const char *broken = free ? check_free(runs, page) : check_run(runs, page, end);
        if (broken)
            return broken;
        memory += free ? 0 : (uint64_t)(runs->pages[page].count - runs->guard) << PAGE_SHIFT;
        page += free ? 1 : runs->pages[page].count;
    }
    return memory == heap->committed ? NULL : "committed == the records' memory + that of all runs";
}
