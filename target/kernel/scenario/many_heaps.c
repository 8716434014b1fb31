/* Knows the scenario that shows every kind of heap at work, beside each other. */

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "mm/dma.h"
#include "scenario/ledger.h"
#include "scenario/random.h"
#include "scenario/scenarios.h"

enum { LIMIT = 4 << 20, CHAINED = 256 << 10, CHUNKS = 60, STEPS = 600, BUFFERS = 3 };

/* One of each kind, named after it, and one that rests on the kernel's. For a debugger to look at. */
union any_heap heap_of_kind[HEAP_KINDS];
union any_heap chained_heap;

static void must(bool held)
{
    if (!held)
        panic("the scenario needs more memory than there is");
}

/* Anything up to 8 KiB, small sizes often. */
static size_t random_size(void) { return 1 + random_below((uint64_t)1 << random_below(14)); }

/* Takes, resizes and gives back; the ledger's chunks from `first` on are this heap's. */
static void work_on(struct heap *heap)
{
    uint64_t first = ledger.chunk_count;
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t held = ledger.chunk_count - first, what = random_below(4);
        if (held < CHUNKS / 2 || (held < CHUNKS && what < 2))
            must(hold_chunk_of(heap, random_size()));
        else if (what < 3)
            drop_chunk(first + random_below(held));
        else
            must(resize_chunk(first + random_below(held), random_size()));
    }
    print("heaps: %s holds %lu chunks\n", heap->name, ledger.chunk_count - first);
}

void many_heaps(void)
{
    for (unsigned i = 0; i < HEAP_KINDS; i++) {
        must(heap_init(&heap_of_kind[i].heap, heap_kinds[i], &heap_supply_system, heap_kinds[i]->name, LIMIT));
        work_on(&heap_of_kind[i].heap);
    }
    must(heap_init_chained(&chained_heap.heap, &heap_tags_operations, &kernel_heap.heap, "chained", CHAINED));
    for (unsigned i = 0; i < CHUNKS; i++)
        must(hold_chunk_of(&chained_heap.heap, 1 + random_below(1000)));
    for (unsigned i = 0; i < BUFFERS; i++)
        must(dma_alloc(PAGE_SIZE << i, PAGE_SIZE, 0, 0, "heaps"));      /* their records: objects of a cache */
}
