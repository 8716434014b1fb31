/* Knows the end. */

#include "lib/panic.h"
#include "arch/cpu.h"
#include "arch/interrupts.h"
#include "arch/probe.h"
#include "arch/trap.h"
#include "lib/format.h"
#include "lib/print.h"

static unsigned depth;

__attribute__((noinline, used, section(".text.stops"))) void panic_stop(void)
{
    for (;;)
        halt();
}

void panic(const char *pattern, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, pattern);
    format_text_list(text, sizeof(text), pattern, arguments);
    va_end(arguments);

    probe_caught_panic(text);
    interrupts_disable();       /* nothing goes on behind it */
    if (depth++)                /* panicked while reporting a panic: the words only, nothing that could fail again */
        print("panic again: %s\n", text);
    else {
        print("panic: %s\n", text);
        print_backtrace((uint64_t)__builtin_frame_address(0));
    }
    panic_stop();
}
