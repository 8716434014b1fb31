/* Knows what the scenarios hold. Two arrays, each in an address range that is committed as it fills. */

#include "scenario/ledger.h"

#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/format.h"
#include "lib/panic.h"
#include "lib/string.h"
#include "mm/paging.h"
#include "mm/pmm.h"
#include "mm/vm.h"

enum { CHUNKS_MAX = 1 << 16 };

struct ledger ledger;

static uint64_t serial;
static uint64_t chunks_end, frames_end;         /* where the committed part of each array ends */

void ledger_init(void)
{
    uint64_t chunks = vm_reserve(&kernel_space, CHUNKS_MAX * sizeof(*ledger.chunks), VM_DATA, "ledger-chunks");
    uint64_t frames = vm_reserve(&kernel_space, pmm_counts().usable * sizeof(*ledger.frames), VM_DATA, "ledger-frames");
    if (!chunks || !frames)
        panic("ledger: no room");
    ledger.chunks = (struct ledger_chunk *)chunks;
    ledger.frames = (uint64_t *)frames;
    chunks_end = chunks;
    frames_end = frames;
}

static bool make_room(uint64_t *committed_end, const void *needed_end)
{
    for (; *committed_end < (uint64_t)needed_end; *committed_end += PAGE_SIZE)
        if (!vm_commit(&kernel_space, *committed_end, PAGE_SIZE, RIGHTS_RW))
            return false;
    return true;
}

static bool make_room_for_chunk(void)
{
    return ledger.chunk_count < CHUNKS_MAX && make_room(&chunks_end, &ledger.chunks[ledger.chunk_count + 1]);
}

bool ledger_make_room_for_frames(uint64_t count)
{
    return make_room(&frames_end, &ledger.frames[ledger.frame_count + count]);
}

/* --- chunks ---------------------------------------------------------------------------------------------------------- */

enum { TEXT_MAX = 64 };

/* A sentence that a person recognises in a dump, as much of it as fits the chunk. Returns how much. */
static size_t make_text(const struct ledger_chunk *chunk, char text[TEXT_MAX])
{
    size_t length = format_text(text, TEXT_MAX, "chunk %lu of %lu bytes", chunk->serial, chunk->size) + 1;
    return length < chunk->size ? length : chunk->size;
}

/* What fills the rest. */
static unsigned char pattern_of(const struct ledger_chunk *chunk) { return (unsigned char)(0x80 | chunk->serial); }

static void fill(const struct ledger_chunk *chunk)
{
    char text[TEXT_MAX];
    size_t length = make_text(chunk, text);
    memcpy(chunk->address, text, length);
    memset(chunk->address + length, pattern_of(chunk), chunk->size - length);
}

static void verify(const struct ledger_chunk *chunk)
{
    char text[TEXT_MAX];
    size_t length = make_text(chunk, text);
    if (memcmp(chunk->address, text, length) != 0 || !is_filled(chunk->address + length, pattern_of(chunk), chunk->size - length))
        panic("ledger: somebody wrote to chunk %lu at %p, %lu bytes", chunk->serial, (void *)chunk->address, chunk->size);
}

bool hold_chunk(size_t size) { return hold_chunk_of(&kernel_heap.heap, size); }

bool hold_chunk_of(struct heap *heap, size_t size)
{
    if (!make_room_for_chunk())
        return false;
    struct ledger_chunk chunk = { heap_alloc(heap, size), size, ++serial, heap };
    if (!chunk.address)
        return false;
    fill(&chunk);
    ledger.chunks[ledger.chunk_count++] = chunk;
    return true;
}

void drop_chunk(uint64_t index)
{
    struct ledger_chunk chunk = ledger.chunks[index];
    ledger.chunks[index] = ledger.chunks[--ledger.chunk_count];
    verify(&chunk);
    heap_free(chunk.heap, chunk.address);
}

bool resize_chunk(uint64_t index, size_t size)
{
    struct ledger_chunk *chunk = &ledger.chunks[index];
    verify(chunk);
    char *resized = heap_realloc(chunk->heap, chunk->address, size);
    if (!resized)
        return false;
    *chunk = (struct ledger_chunk) { resized, size, ++serial, chunk->heap };
    fill(chunk);
    return true;
}

/* --- frames ---------------------------------------------------------------------------------------------------------- */

bool hold_frame(void) { return hold_frame_run(1, 1); }

bool hold_frame_run(uint64_t count, uint64_t align)
{
    if (!ledger_make_room_for_frames(count))
        return false;
    uint64_t first = count == 1 && align == 1 ? pmm_alloc() : pmm_alloc_contiguous(count, align);
    if (first == NO_FRAME)
        return false;
    for (uint64_t i = 0; i < count; i++)
        ledger.frames[ledger.frame_count++] = first + i;
    return true;
}

void drop_frame(uint64_t index)
{
    uint64_t frame = ledger.frames[index];
    ledger.frames[index] = ledger.frames[--ledger.frame_count];
    pmm_free(frame);
}
