/* Knows runs of pages in a heap's region: for kinds that hand out whole pages, or cut pages into small objects. */
#ifndef HEAP_HEAP_RUNS_H
#define HEAP_HEAP_RUNS_H

#include "heap/heap_manager.h"
#include "layout.h"

enum { HEAP_PAGE_FREE, HEAP_PAGE_FIRST, HEAP_PAGE_REST };

/* About one page of the arena. */
struct heap_page {
    uint64_t owner;             /* in all pages of a run: whose it is, as the kind says; 0 in a free page */
    uint32_t state;             /* free, the first of a run, or another of it */
    uint32_t count;             /* first: pages in the run; another: how many lie before it; free: 0 */
};

/* To be part of a kind's struct. */
struct heap_runs {
    struct heap_page *pages;    /* at the base of the region; pages[i] is about the page at start + i * PAGE_SIZE */
    uint64_t count;             /* pages that the region has room for */
    uint64_t known;             /* of them, those whose records have memory: all below `end`, at least */
    uint64_t hint;              /* where a search starts */
    uint32_t guard;             /* so many pages at the end of each run have no memory */
    bool roves;                 /* addresses just given back are the last to be used again; else the lowest are taken */
};

/* `start` and `end` move up behind the records. */
void heap_runs_init(struct heap *heap, struct heap_runs *runs, uint32_t guard, bool roves);

/* A run with `size` bytes of memory at least, at a multiple of `align`; 0 when there is none. */
uintptr_t heap_runs_alloc(struct heap *heap, struct heap_runs *runs, size_t size, size_t align, uint64_t owner);
void heap_runs_free(struct heap *heap, struct heap_runs *runs, uintptr_t first);

/* Makes the run hold `size` bytes where it is, if it can. */
bool heap_runs_resize(struct heap *heap, struct heap_runs *runs, uintptr_t first, size_t size);

/* The record of the page at `address`, which lies in [start, end). */
static inline struct heap_page *heap_runs_page(const struct heap *heap, const struct heap_runs *runs, uintptr_t address)
{
    return &runs->pages[(address - heap->start) >> PAGE_SHIFT];
}

/* Where the run begins that `address` lies in; 0 if it lies in none. */
uintptr_t heap_runs_first(const struct heap *heap, const struct heap_runs *runs, uintptr_t address);

/* Bytes of memory in the run that begins at `first`. */
static inline size_t heap_runs_size(const struct heap *heap, const struct heap_runs *runs, uintptr_t first)
{
    return (size_t)(heap_runs_page(heap, runs, first)->count - runs->guard) << PAGE_SHIFT;
}

/* The first run that begins at `from` or later; `end` when there is none. */
uintptr_t heap_runs_next(const struct heap *heap, const struct heap_runs *runs, uintptr_t from);

/* The first rule found broken, or NULL. */
const char *heap_runs_check(const struct heap *heap, const struct heap_runs *runs);

#endif
