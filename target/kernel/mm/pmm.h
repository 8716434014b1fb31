/* Knows what any physical memory manager offers: frames by number, single or in runs. Not how it keeps account of them.
 *
 * A frame is 4 KiB of physical memory; frame N is [N * 4096, (N + 1) * 4096). Frame 0 is never handed out, so NO_FRAME can
 * be 0. Freeing what is not allocated is refused with a panic that names the frame.
 *
 * Which manager serves is chosen once, at boot, by `pmm=NAME`: see pmm_manager.h. */
#ifndef MM_PMM_H
#define MM_PMM_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

enum { NO_FRAME = 0 };

/*  frames == every frame number below the end of RAM, holes included
 *  used   == reserved + allocated
 *  usable == frames - reserved
 *  free   == frames - used */
struct pmm_counts { uint64_t frames, used, free, reserved, usable; };

/* What a device may ask of a run of frames. */
struct pmm_wish {
    uint64_t count;             /* frames, consecutive */
    uint64_t align;             /* the first is a multiple of this; a power of two */
    uint64_t below;             /* all lie under this frame number; 0: anywhere */
    uint64_t boundary;          /* no multiple of this lies inside the run; a power of two >= count; 0: no matter */
};

/* Orders of the blocks that the processor can map as one page. */
enum { ORDER_4K = 0, ORDER_2M = 9, ORDER_1G = 18 };

/* Physical addresses have 52 bits at the most (SDM volume 3, 4.1.4): so many of them number a frame. */
enum { FRAME_NUMBER_BITS = 52 - PAGE_SHIFT };

/* Takes all usable RAM of the boot map that nothing reserves. What mm/early.c handed out is taken over as used. */
void pmm_init(void);

/* False until pmm_init has run: then frames come from mm/early.c. */
extern bool pmm_handed_over;
bool pmm_is_up(void);

/* NO_FRAME when there is none left. The contents are whatever was there. */
uint64_t pmm_alloc(void);

/* The first frame of `count` consecutive ones, a multiple of `align` (a power of two, in frames), or NO_FRAME. NO_FRAME
 * only if there is no such run: a manager that cannot see one is searched for it. */
uint64_t pmm_alloc_contiguous(uint64_t count, uint64_t align);
uint64_t pmm_alloc_where(const struct pmm_wish *wish);

/* A run of 2^order frames, aligned to its size. NO_FRAME for an order that no machine has room for. */
uint64_t pmm_alloc_block(unsigned order);
void pmm_free_block(uint64_t first, unsigned order);

/* Takes these very frames, if all of them are free. */
bool pmm_claim(uint64_t first, uint64_t count);

/* One frame; those of a run go back one by one, or together. */
void pmm_free(uint64_t frame);
void pmm_free_run(uint64_t first, uint64_t count);

/* Makes frames that were kept from the manager its own, as free ones: memory that is reclaimed. */
void pmm_add(uint64_t first, uint64_t count);

bool pmm_is_used(uint64_t frame);
struct pmm_counts pmm_counts(void);

/* The first rule found broken, or NULL. */
const char *pmm_check(void);

/* --- zones ----------------------------------------------------------------------------------------------------------- */

/* Ranges that old devices can reach: 24 and 32 address bits. Frames below the limit of one and above those before it. */
enum pmm_zone { ZONE_ISA, ZONE_LOW, ZONE_HIGH, ZONES };

/* Where they end, in frames. */
#define ISA_END     ((uint64_t)1 << (24 - PAGE_SHIFT))
#define LOW_END     ((uint64_t)1 << (32 - PAGE_SHIFT))
#define HIGH_END    ((uint64_t)1 << FRAME_NUMBER_BITS)

struct pmm_zone_limits { const char *name; uint64_t first, end; };     /* frames */
extern const struct pmm_zone_limits pmm_zones[ZONES];

enum pmm_zone pmm_zone_of(uint64_t frame);

/* --- survey ---------------------------------------------------------------------------------------------------------- */

/* What is free, counted from the manager's own structures on another way than its counters. */
struct pmm_survey {
    uint64_t free, runs, largest_run;
    struct { uint64_t usable, free, largest_run; } zone[ZONES];     /* runs are cut at a zone's borders */
    const char *broken;         /* a rule that the free frames break, or NULL */
};
struct pmm_survey pmm_survey(void);

/* Calls `visit` for every run of free frames, in pieces and in any order, until it returns false. It must not come back to
 * the manager. */
bool pmm_each_free(bool (*visit)(void *context, uint64_t first, uint64_t count), void *context);

#endif
