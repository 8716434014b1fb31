/* Knows what the kernel in C sees of its heap in C++. */
#ifndef HEAP_H
#define HEAP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Serves chunks out of [start, start + size), at random, and keeps some. */
void heap_work(char *start, uint64_t size);

/* Every chunk, used and free, by the shadow. */
void heap_report(void);

#ifdef __cplusplus
}
#endif

#endif
