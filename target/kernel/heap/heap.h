/* Knows the kernel's heap as everybody uses it. */
#ifndef HEAP_HEAP_H
#define HEAP_HEAP_H

#include <stddef.h>

/* Which kind of heap serves is chosen once, at boot, by `heap=NAME`: see heap_kinds.h and heap_manager.h. */
void kernel_heap_init(void);

/* Memory of at least `size` bytes, contents undefined; NULL when there is none. A size of 0 is a chunk too. Aligned to 16
 * bytes; in some kinds to less, but always suitable for what has that size: to the largest power of two that divides it. */
void *kmalloc(size_t size);

/* The same at a multiple of `align`, a power of two. */
void *kmalloc_aligned(size_t size, size_t align);

/* Zeroed memory for `count` items of `size` bytes. */
void *kcalloc(size_t count, size_t size);

/* The same contents, as far as they fit, in `size` bytes, aligned as kmalloc's; on NULL `memory` is untouched. */
void *krealloc(void *memory, size_t size);

/* NULL is allowed. Anything else that kmalloc did not return, or that was freed, is refused with a panic. */
void kfree(void *memory);

#endif
