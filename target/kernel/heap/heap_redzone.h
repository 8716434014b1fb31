/* Knows what lies around a payload in a heap with redzones, and in front of it who asked for it. */
#ifndef HEAP_HEAP_REDZONE_H
#define HEAP_HEAP_REDZONE_H

#include "heap/heap_manager.h"

/* At the start of the kind's payload. */
struct heap_redzone {
    uint64_t size;              /* of the payload that the caller got, as asked for */
    uint64_t front;             /* it begins so many bytes from here; what lies in between is HEAP_FENCE */
    const void *caller;         /* where the code that asked for it goes on */
};

/* How many bytes of a kind's payload lie in front of the caller's, and how large the whole must be. */
size_t heap_redzone_front(size_t align);
size_t heap_redzone_outer(const struct heap *heap, size_t front, size_t size);

/* Builds the fence in the kind's payload `chunk`. Returns the caller's. */
void *heap_redzone_build(const struct heap *heap, void *chunk, struct heap_redzone zone);

/* Finds the kind's payload that the caller's was made of. Returns why that cannot be a used chunk, or NULL. */
const char *heap_redzone_find(const struct heap *heap, void *memory, void **chunk);

/* The rule that the bytes around the caller's payload break, or NULL. */
const char *heap_redzone_check(const struct heap *heap, const void *chunk);

#endif
