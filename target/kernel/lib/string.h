/* Knows bytes and zero-terminated strings. The four mem functions are also what the compiler calls of its own accord. */
#ifndef LIB_STRING_H
#define LIB_STRING_H

#include <stdbool.h>
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);

size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
bool starts_with(const char *s, const char *prefix);

/* True if all `size` bytes are `byte`. */
bool is_filled(const void *memory, unsigned char byte, size_t size);

#endif
