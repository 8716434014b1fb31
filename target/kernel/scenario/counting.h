/* Knows how to count the instructions of single requests.
 *
 * Theory
 *  1. Under QEMU's `-icount shift=0` the time-stamp counter goes up by one with every instruction that the guest executes, so
 *     the difference of two readings is a number of instructions, the same in every run. Elsewhere it is not: a loop whose
 *     instructions are counted by hand is measured first, for whoever reads the figures.
 *  2. Every request is measured by itself, from its arguments to its return, so that the worst one is seen. */
#ifndef SCENARIO_COUNTING_H
#define SCENARIO_COUNTING_H

#include <stdbool.h>
#include <stdint.h>

struct cost { uint64_t count, failed, total, worst; };  /* requests, those refused, instructions of all, of the dearest */

/* Finds out what counting itself costs, and prints how many instructions the loop of 2001 is counted as. */
void calibrate(void);

/* Also where a debugger may stop, to count in another way. */
void count_begin(void);
uint64_t count_end(void);

void note(struct cost *cost, uint64_t instructions, bool granted);

#endif
