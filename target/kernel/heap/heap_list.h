/* Knows what a list heap looks like in memory. */
#ifndef HEAP_HEAP_LIST_H
#define HEAP_HEAP_LIST_H

#include "heap/heap_manager.h"

enum { HEAP_LIST_MAGIC = 0x4b4e4843 };          /* "CHNK" in a dump */

/* In front of every payload. */
struct heap_list_chunk {
    uint32_t magic;
    uint32_t free;              /* 1 free, 0 used */
    uint64_t size;              /* of the payload: this header not counted */
    struct heap_list_chunk *next, *prev;
};

struct heap_list {
    HEAP_COMMON
    struct heap_list_chunk *head, *tail;
    struct heap_list_chunk *rover;      /* with next fit: the chunk handed out last, or what it is part of; else NULL */
};

/* For heap_next.c, which differs in where a search starts. */
bool heap_list_init(struct heap *heap);
void *heap_list_alloc_from(struct heap *heap, struct heap_list_chunk *from, size_t wanted, size_t align);
void heap_list_free(struct heap *heap, void *memory);
bool heap_list_resize(struct heap *heap, void *memory, size_t wanted);
size_t heap_list_size_of(const struct heap *heap, const void *memory);
const char *heap_list_refusal(const struct heap *heap, const void *memory);
bool heap_list_each(const struct heap *heap, heap_visit *visit, void *context);
const char *heap_list_check(const struct heap *heap);

#endif
