/* Knows the buffers that devices read and write by themselves: they see physical memory, and not all of it. */
#ifndef MM_DMA_H
#define MM_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/spinlock.h"

struct dma_buffer {
    uint64_t physical;          /* whole frames from here on, contiguous */
    uint64_t address;           /* where the kernel sees the same bytes */
    uint64_t size;              /* bytes, as asked for */
    uint64_t align;             /* physical is a multiple of this */
    uint64_t limit;             /* all lies below this physical address; 0: anywhere */
    uint64_t boundary;          /* no multiple of this lies inside; 0: no matter */
    const char *name;
    struct dma_buffer *next;
};

struct dma {
    struct cache *records;      /* where they come from */
    struct dma_buffer *first;   /* every buffer there is, newest first */
    uint64_t count;
    uint64_t moved;             /* frames that were moved out of the way, ever */
    struct spinlock lock;
};
extern struct dma dma;

void dma_init(void);

/* Powers of two: align, and boundary unless 0; boundary >= size and >= a page. Where no such run is free, pages of the
 * kernel's ranges are moved elsewhere to make one. NULL when that is not enough. `name` must stay valid. */
struct dma_buffer *dma_alloc(uint64_t size, uint64_t align, uint64_t limit, uint64_t boundary, const char *name);
void dma_free(struct dma_buffer *buffer);

/* The first rule found broken, or NULL. */
const char *dma_check(void);

#endif
