/* Knows the scenarios that end the kernel, to show what it says then. */

#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "scenario/scenarios.h"

void fault(void)
{
    volatile char *guard = __stack_start - 1;
    print("fault: writing to the guard page below the boot stack, %p\n", (void *)guard);
    *guard = 0;
    panic("fault: the guard page let a write through");
}

/* The volatile argument keeps the compiler from making a loop of it. */
static int descend(volatile int depth)
{
    return depth < 0 ? 0 : descend(depth + 1) + depth;
}

void overflow(void)
{
    print("overflow: using up the boot stack, %p to %p\n", (void *)__stack_start, (void *)__stack_end);
    panic("overflow: came back with %d", descend(0));
}

void panic_scenario(void)
{
    panic("asked for on the command line");
}
