/* Knows how to do a thing that may fail badly and come back: touch an address that may fault, call a function that may
 * panic. The self-tests and the backtrace of a broken stack need it; no manager does. */
#ifndef ARCH_PROBE_H
#define ARCH_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct trap_frame;

/* True if the access went through. A write puts back the byte that was there; an execution calls the address, which must
 * hold a `ret`. */
bool probe_read(uint64_t address);
bool probe_write(uint64_t address);
bool probe_execute(uint64_t address);

/* True if `function(argument)` panicked; probe_panic_text then holds what it said. */
bool probe_panics(void (*function)(void *), void *argument);
extern char probe_panic_text[160];

/* For trap(): if a probe is under way, makes the frame return to it, as failed. */
bool probe_recover(struct trap_frame *frame);

/* For panic(): if a probe is under way that waits for a panic, does not return. */
void probe_caught_panic(const char *text);

#endif
