/* Knows what the kernel sees of its heap. */
#ifndef HEAP_H
#define HEAP_H

#include <stdint.h>

/* Serves chunks out of [start, start + size), at random, and keeps some. */
void heap_work(char *start, uint64_t size);

/* Every chunk, used and free, by the shadow. */
void heap_report(void);

#endif
