/* Knows how text is made from values.
 *
 * Conversions: %c %s %d %u %x %p %%, with l or z for 64-bit integers, a width, `0` to pad with zeros, `-` to pad on the
 * right, and a precision for %s. %p prints 0x. */
#ifndef LIB_FORMAT_H
#define LIB_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* Gives each character of the text to `put`. */
void format(void (*put)(void *context, char c), void *context, const char *pattern, va_list arguments);

/* Writes at most `size` bytes including the final 0. Returns the length that the whole text has. */
size_t format_text(char *buffer, size_t size, const char *pattern, ...) __attribute__((format(printf, 3, 4)));
size_t format_text_list(char *buffer, size_t size, const char *pattern, va_list arguments);

#endif
