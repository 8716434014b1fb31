/* Knows how a heap of another layout is put to work, and held against a second set of books that it never sees. */
#ifndef HEAP_SHADOW_H
#define HEAP_SHADOW_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { UNIT = 16 };     /* bytes; a chunk has a header of one unit, and a payload of some */

/* --- what a kernel brings along -------------------------------------------------------------------------------------- */

/* An arena of `size` bytes, all of it one free chunk. */
void heap_begin(char *start, uint64_t size);

/* A payload for `size` bytes, or NULL. */
char *heap_take(uint64_t size);
void heap_give(char *payload);

/* How many units the payload has that is taken for so many bytes. */
uint64_t heap_units(uint64_t size);

/* --- what is done with it -------------------------------------------------------------------------------------------- */

/* Takes chunks and gives them back, at random. Some stay taken. */
void heap_work(char *start, uint64_t size);

/* Every chunk, used and free, and what they sum up to, from the shadow. */
void heap_report(void);

#ifdef __cplusplus
}
#endif

#endif
