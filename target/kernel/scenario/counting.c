/* Knows how to count the instructions of single requests. */

#include "scenario/counting.h"

#include "arch/cpu.h"
#include "lib/print.h"

static uint64_t begun;
static uint64_t overhead;               /* what an empty request is counted as */

/* Neither is inlined or takes arguments: what they add is the same wherever they are called. */
__attribute__((noinline)) void count_begin(void) { begun = read_tsc(); }
__attribute__((noinline)) uint64_t count_end(void) { return read_tsc() - begun - overhead; }

void note(struct cost *cost, uint64_t instructions, bool granted)
{
    cost->count++;
    cost->failed += !granted;
    cost->total += instructions;
    cost->worst = instructions > cost->worst ? instructions : cost->worst;
}

void calibrate(void)
{
    overhead = 0;
    count_begin();
    overhead = count_end();
    count_begin();
    __asm__ volatile("mov $1000, %%ecx\n1: dec %%ecx\n\tjnz 1b" : : : "ecx", "cc");
    print("bench calibration expected=2001 counted=%lu\n", count_end());
}
