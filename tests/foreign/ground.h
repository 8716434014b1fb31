/* Knows what the kernels of other layouts have in common. Below them lie the reference kernel's boot code and page tables;
 * each brings a manager of frames along, which serves the page tables too. What it hands out is held against a shadow, a
 * second set of books that it never sees; and from the shadow the kernel reports which frames are free. */
#ifndef GROUND_H
#define GROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/pmm.h"

/* --- what a kernel brings along -------------------------------------------------------------------------------------- */

/* The largest block that frames_take can be asked for has 2^this frames. */
extern const unsigned frames_most_order;

/* Prepares for frame numbers below `end`, none of them free. Memory comes from early_alloc. */
void frames_init(uint64_t end);

/* The first of 2^order consecutive frames, or NO_FRAME. */
uint64_t frames_take(unsigned order);

/* What frames_take gave, or at boot any one frame. */
void frames_give(uint64_t first, unsigned order);

/* --- what the ground does with it ------------------------------------------------------------------------------------ */

/* True once the manager has been given all that is free: for a debugger. */
extern bool frames_are_up;

/* Everything up to a manager that serves. */
void ground_init(uint32_t magic, uint64_t info);

/* Takes blocks and gives them back, at random, then every frame there is, then blocks again. Some stay taken. */
void frames_work(void);

/* Maps `count` fresh frames, writable, in a row at VM_START. Once. */
char *map_pages(uint64_t count);

/* Between the two, lines of the kernel's own, each "report", a subject, then key=value; report_frames says what is free. */
void report_begin(void);
void report_frames(void);
void report_end(void);

/* The debugger's stop point, then nothing for ever. */
void rest(void) __attribute__((noreturn));
void kernel_ready(void);

#endif
