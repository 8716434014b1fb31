/* Knows what each scenario leaves behind. */
#ifndef SCENARIO_SCENARIOS_H
#define SCENARIO_SCENARIOS_H

#include "heap/heap_kinds.h"

void idle_scenario(void);       /* what booting leaves, nothing more */
void workload(void);            /* live and freed chunks of 1 B to 64 KiB, single frames and runs, a few address ranges */
void fragment(void);            /* every second chunk and every second frame freed */
void exhaust(void);             /* all frames taken, then all given back in another order: as before */
void grow(void);                /* the heap grew to several MiB and gave most of it back */
void churn(void);               /* 20 000 random steps */
void bench(void);               /* what each request costs, on the serial line; then as before */
void bench_heaps(void);         /* the same of heaps: every kind in turn, each work with a heap of its own */
void many_heaps(void);          /* a heap of every kind, with chunks in use and free, and one that rests on the kernel's */
void leaks(void);               /* chunks that nothing points to, beside others that are reached in every way */
void leaks_ready(void);         /* a stop within it */
void fault(void);               /* a write to the guard page below the boot stack: ends in a fault report */
void overflow(void);            /* recursion until the boot stack is used up: ends in a double fault, on a stack of its own */
void panic_scenario(void);      /* ends in a panic */

/* The heap that rests on the kernel's; without operations when there is none. */
extern union any_heap chained_heap;

#endif
