/* Knows what each frame is used for: one record per frame number. A kernel built with BARE keeps none of this; every
 * function is then nothing, and no manager works differently. */
#ifndef MM_PAGE_H
#define MM_PAGE_H

#include <stdint.h>

enum page_type {
    PAGE_ABSENT,                /* no RAM there, or the firmware's */
    PAGE_RESERVED,              /* RAM that a reserved range covers: reserved_ranges says what it is */
    PAGE_FREE,
    PAGE_ALLOCATED,             /* taken from the manager, by somebody who said no more */
    PAGE_TABLE,                 /* of pages */
    PAGE_VM,                    /* owner: the address in the kernel's ranges that maps it */
    PAGE_VM_RECORDS,            /* region records */
    PAGE_DMA,                   /* owner: the struct dma_buffer */
    PAGE_POOL,                  /* kept in reserve: mm/pool.c */
    PAGE_TYPES,
};

struct page {
    uint64_t owner;             /* means what the type says; 0 if that says nothing */
    uint32_t references;        /* 1 while somebody holds the frame, else 0 */
    uint8_t type;
    uint8_t order;              /* of the block of 2^order frames that this one was allocated in; 0 when alone */
    uint16_t unused;
};

#ifndef BARE

extern struct page *pages;      /* pages[N] is about frame N */
extern uint64_t page_count;

void pages_init(uint64_t frames);

/* With the lock of the physical manager held. */
void pages_freed(uint64_t first, uint64_t count);
void pages_allocated(uint64_t first, uint64_t count);
void pages_set_order(uint64_t first, unsigned order);

/* The first rule found broken, or NULL. `free` has a bit for each of `frames` frames. */
const char *pages_check(const uint64_t *free, uint64_t frames);

/* These take it themselves. */
void page_own(uint64_t frame, enum page_type type, uint64_t owner);
struct page page_of(uint64_t frame);        /* all 0 if there is no such frame */

/* A frame of the pool is somebody's from now on. Waits for nobody. */
void page_leave_pool(uint64_t frame);

#else

static inline void pages_init(uint64_t frames) { (void)frames; }
static inline void pages_freed(uint64_t first, uint64_t count) { (void)first; (void)count; }
static inline void pages_allocated(uint64_t first, uint64_t count) { (void)first; (void)count; }
static inline void page_own(uint64_t frame, enum page_type type, uint64_t owner) { (void)frame; (void)type; (void)owner; }
static inline void page_leave_pool(uint64_t frame) { (void)frame; }
static inline void pages_set_order(uint64_t first, unsigned order) { (void)first; (void)order; }
static inline const char *pages_check(const uint64_t *free, uint64_t frames) { (void)free; (void)frames; return 0; }

#endif

const char *page_type_name(unsigned type);

#endif
