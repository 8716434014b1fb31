/* Knows the address spaces that there are. */

#include "mm/space.h"

#include "layout.h"

struct address_space kernel_space = { .lock.name = "kernel-space", .regions = { .start = VM_START, .end = VM_END } };
