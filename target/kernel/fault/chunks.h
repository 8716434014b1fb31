/* Knows the chunks of the kernel's heap, for whoever wants to break one. */
#ifndef FAULT_CHUNKS_H
#define FAULT_CHUNKS_H

#include "heap/heap_kinds.h"

static inline bool heap_is(const struct heap_operations *kind) { return kernel_heap.operations == kind; }

static inline bool heap_is_listed(void) { return heap_is(&heap_list_operations) || heap_is(&heap_next_operations); }
static inline bool heap_is_sorted(void) { return heap_is(&heap_avl_operations) || heap_is(&heap_redblack_operations); }

/* Bytes in front of each payload; 0 where chunks have no headers. */
size_t chunk_header(void);

static inline void *header_of(uintptr_t payload) { return (void *)(payload - chunk_header()); }

/* Three neighbours by address, of the states that the letters say: `u` used, `f` free, `.` any or none. False if there are no
 * such. The second is the one that was looked for: it has `least` to `most` bytes. */
bool find_neighbours(const char states[3], size_t least, size_t most, struct heap_block found[3]);

/* A used chunk of `least` bytes, or a free one. */
bool find_chunk_that_is(bool free, size_t least, struct heap_block *found);

#endif
