/* Knows what a page heap with guards looks like in memory. */
#ifndef HEAP_HEAP_GUARD_H
#define HEAP_HEAP_GUARD_H

#include "heap/heap_manager.h"
#include "heap/heap_runs.h"

/* The owner of a run is the size of its chunk, whose payload ends where the run's memory ends. */
struct heap_guard {
    HEAP_COMMON
    struct heap_runs runs;
};

#endif
