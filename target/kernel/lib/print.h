/* Knows where the kernel's words go: to the serial line. */
#ifndef LIB_PRINT_H
#define LIB_PRINT_H

void print(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

#endif
