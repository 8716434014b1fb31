/* Knows what a heap of boundary tags looks like in memory. */
#ifndef HEAP_HEAP_TAGS_H
#define HEAP_HEAP_TAGS_H

#include "heap/heap_manager.h"

/* The word in front of a payload and the one behind it. */
#define HEAP_TAG_MAGIC  0x7461670000000000ul    /* "tag" in a dump */
#define HEAP_TAG_SIZE   0x000000fffffffff0ul    /* of the payload */
#define HEAP_TAG_USED   1ul

/* At the start of a free payload: others in its bin. */
struct heap_tags_links { struct heap_tags_links *next, *prev; };

enum { HEAP_TAGS_BINS = 64, HEAP_TAGS_EXACT = 32 };

struct heap_tags {
    HEAP_COMMON
    struct heap_tags_links *bin[HEAP_TAGS_BINS];
    uint64_t filled;            /* bit n: bin n is not empty */
};

#endif
