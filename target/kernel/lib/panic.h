/* Knows the end: what is wrong, then a stop that a debugger can see. */
#ifndef LIB_PANIC_H
#define LIB_PANIC_H

/* Whoever refuses something gives its own lock back first, so that a debugger finds the manager at rest. */
void panic(const char *pattern, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Where every panic ends: the symbol to break on. */
void panic_stop(void) __attribute__((noreturn));

#endif
