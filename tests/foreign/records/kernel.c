/* A kernel with a record for each frame, and buddies on lists of these records.
 *
 *  1. Record i is about the frame i places above 1 MiB. Links between records are their numbers, in 32 bits; NONE ends a
 *     list, and is also the link back of its first record.
 *  2. The record of a free block's first frame says so, has the block's order, and is on the list of that order. All other
 *     records say that they are not the first frame of a free block.
 *  3. Blocks are aligned to their size, counted in records. A freed block merges with its buddy as long as that is free and
 *     whole.
 *
 *     record r is on list n <=> r.is_first and r.order == n;  no two buddies are both free, below the highest order
 *
 * Its heap is in heap.c. */

#include "ground.h"

#include "heap_shadow.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "mm/early.h"

void kmain(uint32_t magic, uint64_t info);

#define NONE UINT32_MAX

enum { BASE = 0x100000, ORDERS = 10, MAPPED_PAGES = 12, HEAP_PAGES = 32 };

struct frame_record {
    uint32_t next, prev;        /* numbers of records, while this is the first of a free block */
    uint16_t order;
    bool is_first;
};

const unsigned frames_most_order = 4;

static struct frame_record *records;
static uint32_t record_count;
static uint32_t free_blocks[ORDERS];    /* the first record of each list */

/* --- lists ----------------------------------------------------------------------------------------------------------- */

static void push(uint32_t block, unsigned order)
{
    uint32_t next = free_blocks[order];
    records[block] = (struct frame_record) { .next = next, .prev = NONE, .order = (uint16_t)order, .is_first = true };
    if (next != NONE)
        records[next].prev = block;
    free_blocks[order] = block;
}

static void unlink(uint32_t block)
{
    const struct frame_record *record = &records[block];
    if (record->prev == NONE)
        free_blocks[record->order] = record->next;
    else
        records[record->prev].next = record->next;
    if (record->next != NONE)
        records[record->next].prev = record->prev;
    records[block].is_first = false;
}

/* --- blocks ---------------------------------------------------------------------------------------------------------- */

static uint32_t buddy_of(uint32_t block, unsigned order) { return block ^ (uint32_t)1 << order; }

static bool is_free_block(uint32_t block, unsigned order)
{
    return block < record_count && records[block].is_first && records[block].order == order;
}

void frames_init(uint64_t end)
{
    record_count = (uint32_t)(end - (BASE >> PAGE_SHIFT));
    records = early_alloc(record_count * sizeof(*records), RESERVED_PMM_METADATA);
    for (unsigned order = 0; order < ORDERS; order++)
        free_blocks[order] = NONE;
}

uint64_t frames_take(unsigned order)
{
    unsigned from = order;
    while (from < ORDERS && free_blocks[from] == NONE)
        from++;
    if (from == ORDERS)
        return NO_FRAME;
    uint32_t block = free_blocks[from];
    unlink(block);
    while (from-- > order)
        push(buddy_of(block, from), from);      /* the upper half goes back */
    return block + (BASE >> PAGE_SHIFT);
}

void frames_give(uint64_t first, unsigned order)
{
    uint32_t block = (uint32_t)(first - (BASE >> PAGE_SHIFT));
    if (records[block].is_first)
        panic("record %u is free already", block);
    for (; order < ORDERS - 1 && is_free_block(buddy_of(block, order), order); order++) {
        unlink(buddy_of(block, order));
        block &= ~((uint32_t)1 << order);
    }
    push(block, order);
}

/* --------------------------------------------------------------------------------------------------------------------- */

static unsigned length_of(unsigned order)
{
    unsigned length = 0;
    for (uint32_t block = free_blocks[order]; block != NONE; block = records[block].next)
        length++;
    return length;
}

void kmain(uint32_t magic, uint64_t info)
{
    ground_init(magic, info);
    frames_work();
    char *mapped = map_pages(MAPPED_PAGES + HEAP_PAGES);
    heap_work(mapped + MAPPED_PAGES * PAGE_SIZE, HEAP_PAGES * PAGE_SIZE);
    report_begin();
    print("report records at=0x%lx count=%u\n", (uint64_t)records, record_count);
    for (unsigned order = 0; order < ORDERS; order++)
        print("report order number=%u blocks=%u\n", order, length_of(order));
    print("report mapped start=0x%lx pages=%u\n", (uint64_t)mapped, MAPPED_PAGES);
    report_frames();
    heap_report();
    report_end();
    rest();
}
