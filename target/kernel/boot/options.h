/* Knows the words of the command line: `key=value`, separated by spaces. */
#ifndef BOOT_OPTIONS_H
#define BOOT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { OPTION_MAX = 64 };       /* longer words are cut */

/* Copies the value of the last word that starts with `key=` to `value`. False when there is none. */
bool option(const char *key, char value[OPTION_MAX]);

/* As a number: decimal, or hexadecimal with 0x. `otherwise` when there is no such word; a panic when it is no number. */
uint64_t option_number(const char *key, uint64_t otherwise);

/* The same for the `index`th word with that key; for keys that may come more than once. */
bool option_at(const char *key, unsigned index, char value[OPTION_MAX]);

/* Reads a number at *text and moves on behind it. A panic when there is none. */
uint64_t read_number(const char **text);

/* Names every word on the serial line that has none of these keys. `keys` ends with NULL. */
void options_complain(const char *const *keys);

#endif
