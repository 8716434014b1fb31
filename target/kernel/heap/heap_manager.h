/* Knows what a heap must bring along. heap/heap.c calls these, always with the heap's lock held, and keeps to itself what
 * all heaps have in common; a heap knows only its chunks.
 *
 * Words: a *chunk* is what one call hands out, with whatever is kept about it; its *payload* is the part that is handed
 * out. The *arena* is where chunks lie. A *kind* is one way to keep a heap, an *instance* one heap of that kind.
 *
 * A heap asks nobody for anything but its supply (ranges of addresses, memory for them), lib/panic.h and a lock, so the
 * same files work on the host and in programs. */
#ifndef HEAP_HEAP_MANAGER_H
#define HEAP_HEAP_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/spinlock.h"

enum {
    HEAP_ALIGN = 16,            /* of payloads, unless a kind says less */
    HEAP_JUNK = 0xdd,           /* every byte of freed memory: "dead" */
    HEAP_FENCE = 0xfd,          /* every byte that is in no payload and must not be written to */
};

struct heap;

/* Where an arena comes from. Bases and sizes are whole pages. */
struct heap_supply {
    uintptr_t (*reserve)(struct heap *heap, size_t size);       /* addresses without memory; 0 when there are none */
    bool (*commit)(struct heap *heap, uintptr_t base, size_t size);     /* memory for them; all or nothing */
    void (*decommit)(struct heap *heap, uintptr_t base, size_t size);
    void (*release)(struct heap *heap, uintptr_t base);         /* the addresses, with what memory they still have */
};

/* That of the system: mm/vm.c in the kernel, mmap on the host. */
extern const struct heap_supply heap_supply_system;

/* A chunk of the heap's parent. */
extern const struct heap_supply heap_supply_parent;

/* What every heap's struct begins with, so that heap/heap.c and a debugger find it at the same place in each. */
#define HEAP_COMMON \
    const char *name; \
    const struct heap_operations *operations;   /* the kind */ \
    uintptr_t start, end;       /* the arena: whole pages; all chunks lie in it */ \
    uintptr_t base, limit;      /* its region: the arena may grow up to the limit */ \
    uint64_t committed;         /* bytes of the region that have memory */ \
    uint64_t used_bytes;        /* payload of used chunks */ \
    uint64_t free_bytes;        /* payload of free chunks */ \
    uint64_t used_chunks, free_chunks; \
    const struct heap_supply *supply; \
    struct heap *parent;        /* the region is a chunk of this one; NULL: it is the system's */ \
    struct heap *next;          /* all heaps are a list: heaps.first */ \
    bool poison;                /* free payloads are HEAP_JUNK */ \
    bool redzone;               /* around every used payload: heap_redzone.h */ \
    struct spinlock lock;

struct heap { HEAP_COMMON };

/* One chunk, as a walker shows it. */
struct heap_block {
    uintptr_t address;          /* of the payload */
    size_t size;                /* of the payload: at least what was asked for */
    bool free;
};

/* False ends the walk. */
typedef bool heap_visit(void *context, const struct heap_block *block);

struct heap_operations {
    const char *name;
    size_t instance_size;
    size_t alignment;           /* no payload starts at less */
    size_t links;               /* so many bytes at the start of a free payload are the heap's own */
    bool merges;                /* when all chunks are free again, the free ones are as if none had ever been used */
    bool reuses;                /* freed memory is handed out again */
    bool shrinks;               /* most of the memory goes back when all chunks are free */
    bool unmaps;                /* freed memory is not there any more */

    /* base == start == end, nothing is committed, all else is 0. False when there is no memory to begin with. */
    bool (*init)(struct heap *heap);

    /* A payload of at least `size` > 0 bytes that starts at a multiple of `align`, a power of two >= alignment; NULL when
     * there is none. Both are no more than the region. With `poison` all of it but `links` bytes is HEAP_JUNK. */
    void *(*alloc)(struct heap *heap, size_t size, size_t align);

    /* The three below: `memory` is one that `refusal` has nothing against. */
    void (*free)(struct heap *heap, void *memory);

    /* Makes it hold `size` bytes where it is, if it can. NULL if the kind never can. */
    bool (*resize)(struct heap *heap, void *memory, size_t size);

    size_t (*size_of)(const struct heap *heap, const void *memory);

    /* Why `memory`, which lies in [start, end) and is aligned, is no used chunk's payload, or NULL if it is one. */
    const char *(*refusal)(const struct heap *heap, const void *memory);

    /* Visits every chunk once, by rising address. Ends in bounded time whatever the arena holds; false if it holds
     * nonsense. Where there is a second way to find the chunks beside that of `check`, goes that way. */
    bool (*each)(const struct heap *heap, heap_visit *visit, void *context);

    /* The first of the kind's own rules found broken, or NULL. */
    const char *(*check)(const struct heap *heap);

    /* Lines of its own for the report. May be NULL. */
    void (*report)(const struct heap *heap);
};

/* --- an instance ----------------------------------------------------------------------------------------------------- */

/* A heap in a region of its own that may grow to `limit` bytes. `heap` has operations->instance_size bytes. False when
 * there is no memory to begin with. `name` must stay valid. */
bool heap_init(struct heap *heap, const struct heap_operations *operations, const struct heap_supply *supply,
               const char *name, size_t limit);

/* The same with an arena of `size` bytes that is a chunk of `parent`. */
bool heap_init_chained(struct heap *heap, const struct heap_operations *operations, struct heap *parent, const char *name,
                       size_t size);

/* The end of it, whatever is still used; but not while another one rests on it. */
void heap_destroy(struct heap *heap);

/* As kmalloc and its family. */
void *heap_alloc(struct heap *heap, size_t size);
void *heap_alloc_aligned(struct heap *heap, size_t size, size_t align);
void *heap_calloc(struct heap *heap, size_t count, size_t size);
void *heap_realloc(struct heap *heap, void *memory, size_t size);
void heap_free(struct heap *heap, void *memory);

/* Where the code goes on that asked for this payload; NULL when the heap does not record that. */
const void *heap_caller(const struct heap *heap, void *memory);

/* Why `memory` is no payload that the kind has handed out, or NULL if it is one. With the lock held. */
const char *heap_refusal(const struct heap *heap, const void *memory);

/* As the kind's own `each`, but about the payloads that callers have: those inside redzones. The lock is held meanwhile, so
 * `visit` must not come back to the heap. */
bool heap_each(const struct heap *heap, heap_visit *visit, void *context);

/* What walking the arena finds: [0] about used chunks, [1] about free ones. */
struct heap_survey { uint64_t chunks[2], bytes[2], largest_free; const char *broken; };
struct heap_survey heap_survey(const struct heap *heap);

/* The first rule found broken, or NULL: the kind's, then those of all heaps. */
const char *heap_check(const struct heap *heap);

/* Every heap there is. */
struct all_heaps { struct heap *first; struct spinlock lock; };       /* in the order in which they came */
extern struct all_heaps heaps;
const char *heaps_check(void);

/* --- for the kinds --------------------------------------------------------------------------------------------------- */

/* Memory for [base, base + size), which lies below the limit: junk with `poison`. All or nothing. */
bool heap_commit(struct heap *heap, uintptr_t base, size_t size);
void heap_decommit(struct heap *heap, uintptr_t base, size_t size);

/* Moves `end` up by `needed` bytes, rounded up to pages, or by more if that is to be had. Returns by how many; 0: none. */
size_t heap_grow(struct heap *heap, size_t needed);

/* All of [from, end) is free. Moves `end` down if that is much. Returns by how many bytes. */
size_t heap_trim(struct heap *heap, uintptr_t from);

/* Memory that is nobody's any more. */
void heap_junk(const struct heap *heap, void *memory, size_t size);

/* A chunk comes to be, or ceases, in the books. */
static inline void heap_count(struct heap *heap, bool free, size_t size)
{
    *(free ? &heap->free_chunks : &heap->used_chunks) += 1;
    *(free ? &heap->free_bytes : &heap->used_bytes) += size;
}

static inline void heap_uncount(struct heap *heap, bool free, size_t size)
{
    *(free ? &heap->free_chunks : &heap->used_chunks) -= 1;
    *(free ? &heap->free_bytes : &heap->used_bytes) -= size;
}

#endif
