/* Knows the frames that are kept for those who cannot wait: interrupt context. */
#ifndef MM_POOL_H
#define MM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/spinlock.h"

enum { POOL_MAX = 32, POOL_RESERVE = 16 };

struct frame_pool {
    uint64_t frames[POOL_MAX];  /* frame numbers; used ones, from the manager's point of view */
    uint64_t count;             /* how many are there */
    uint64_t taken;             /* how many were ever taken */
    uint64_t refused;           /* how many requests found it empty */
    struct spinlock lock;
};
extern struct frame_pool frame_pool;

/* A frame from the pool, or NO_FRAME. Takes no lock but the pool's own and never looks further. */
uint64_t pool_take(void);

/* Fills the pool from the manager: outside of interrupts, whenever it is below POOL_RESERVE. False if it still is. */
bool pool_refill(void);

const char *pool_check(void);

#endif
