/* Knows the faults of heaps whose chunks have headers. */

#include "fault/chunks.h"

#include "fault/faults.h"
#include "heap/heap_redzone.h"
#include "lib/string.h"

static const char no_headers[] = "chunks of this heap have no headers";
static const char no_lists[] = "this heap finds free chunks by walking over all of them";
static const char no_merging[] = "this heap merges nothing";
static const char no_such_chunks[] = "there are no chunks for it";

size_t chunk_header(void)
{
    if (heap_is_listed())
        return sizeof(struct heap_list_chunk);
    if (heap_is_sorted())
        return sizeof(struct heap_sorted_chunk);
    if (heap_is(&heap_tags_operations))
        return sizeof(uint64_t);
    return heap_is(&heap_bump_operations) ? sizeof(struct heap_bump_chunk) : 0;
}

/* --- looking for chunks ---------------------------------------------------------------------------------------------- */

struct search { const char *states; size_t least, most; struct heap_block window[3]; unsigned seen; bool found; };

static bool is_state(char state, const struct heap_block *block)
{
    return state == '.' || (block->address && block->free == (state == 'f'));
}

/* The window is about the chunk in its middle, so it is looked at one chunk later. */
static bool slide(void *context, const struct heap_block *block)
{
    struct search *search = context;
    struct heap_block *window = search->window;
    window[0] = window[1];
    window[1] = window[2];
    window[2] = *block;
    search->found = ++search->seen > 1 && window[1].size >= search->least && window[1].size <= search->most
                    && is_state(search->states[0], &window[0]) && is_state(search->states[1], &window[1])
                    && is_state(search->states[2], &window[2]);
    return !search->found;
}

bool find_neighbours(const char states[3], size_t least, size_t most, struct heap_block found[3])
{
    struct search search = { .states = states, .least = least, .most = most };
    kernel_heap.operations->each(&kernel_heap.heap, slide, &search);
    memcpy(found, search.window, sizeof(search.window));
    return search.found;
}

bool find_chunk_that_is(bool free, size_t least, struct heap_block *found)
{
    struct heap_block window[3];
    bool there = find_neighbours(free ? ".f." : ".u.", least, SIZE_MAX, window);
    *found = window[1];
    return there;
}

/* --- headers --------------------------------------------------------------------------------------------------------- */

static uint64_t *size_in(uintptr_t payload)
{
    if (heap_is_listed())
        return &((struct heap_list_chunk *)header_of(payload))->size;
    if (heap_is_sorted())
        return &((struct heap_sorted_chunk *)header_of(payload))->size;
    return heap_is(&heap_bump_operations) ? &((struct heap_bump_chunk *)header_of(payload))->size : header_of(payload);
}

/* The tags of a chunk say that it is used, or not; its size is as it was. */
static void retag(const struct heap_block *block, bool used)
{
    uint64_t tag = HEAP_TAG_MAGIC | block->size | (used ? HEAP_TAG_USED : 0);
    memcpy((char *)block->address - sizeof(tag), &tag, sizeof(tag));
    memcpy((char *)block->address + block->size, &tag, sizeof(tag));
}

/* A string that is longer than what was asked for it. */
const char *fault_header_overrun(void)
{
    static const char tail[24] = "tail of one long string";
    struct heap_block chunks[3];
    if (!chunk_header())
        return no_headers;
    if (!find_neighbours(".uu", 0, SIZE_MAX, chunks))
        return no_such_chunks;
    memcpy((char *)chunks[1].address + chunks[1].size, tail, sizeof(tail));
    fault_at_pointer(header_of(chunks[2].address));
    return NULL;
}

/* The size in a header was rounded up after the chunk had been cut off. */
const char *fault_size_grown(void)
{
    struct heap_block chunks[3];
    if (!chunk_header())
        return no_headers;
    if (!find_neighbours(".uu", 0, SIZE_MAX, chunks))
        return no_such_chunks;
    *size_in(chunks[1].address) += HEAP_ALIGN;
    fault_at_pointer(header_of(chunks[1].address));
    return NULL;
}

static bool keep_last(void *context, const struct heap_block *block)
{
    *(struct heap_block *)context = *block;
    return true;
}

/* The last chunk believes that the arena is larger than it is. */
const char *fault_end_overrun(void)
{
    struct heap_block last = { 0, 0, false };
    if (!chunk_header())
        return no_headers;
    kernel_heap.operations->each(&kernel_heap.heap, keep_last, &last);
    if (!last.address)
        return no_such_chunks;
    *size_in(last.address) += 4096;
    fault_at_pointer(header_of(last.address));
    return NULL;
}

/* One word was written to a wrong place. */
const char *fault_magic_broken(void)
{
    struct heap_block chunks[3];
    if (!chunk_header())
        return no_headers;
    if (!find_neighbours("uuu", 0, SIZE_MAX, chunks))
        return no_such_chunks;
    *(uint32_t *)((char *)header_of(chunks[1].address) + (heap_is(&heap_tags_operations) ? 4 : 0)) = 0;
    fault_at_pointer(header_of(chunks[1].address));
    return NULL;
}

/* The first chunk's size was set before it was known that the header is not part of it. */
const char *fault_first_size(void)
{
    struct heap_block chunks[3];
    if (!chunk_header())
        return no_headers;
    if (!find_neighbours(".u.", 0, SIZE_MAX, chunks) || chunks[0].address)
        return "the first chunk is free";
    *size_in(chunks[1].address) += chunk_header() + (heap_is(&heap_tags_operations) ? sizeof(uint64_t) : 0);
    fault_at_pointer(header_of(chunks[1].address));
    return NULL;
}

/* --- states and lists ------------------------------------------------------------------------------------------------ */

static void enter_bin(const struct heap_block *block)
{
    uint64_t number = block->size / HEAP_ALIGN - 1;             /* an exact bin's */
    struct heap_tags_links *links = (struct heap_tags_links *)block->address;
    *links = (struct heap_tags_links) { .next = kernel_heap.tags.bin[number] };
    if (links->next)
        links->next->prev = links;
    kernel_heap.tags.bin[number] = links;
    kernel_heap.tags.filled |= (uint64_t)1 << number;
}

/* What a chunk is in the books, and in its own header. */
static void set_free(const struct heap_block *block)
{
    heap_uncount(&kernel_heap.heap, false, block->size);
    heap_count(&kernel_heap.heap, true, block->size);
    heap_junk(&kernel_heap.heap, (void *)block->address, block->size);
    if (heap_is(&heap_tags_operations)) {
        retag(block, false);
        enter_bin(block);
    } else if (heap_is_sorted()) {
        struct heap_sorted_chunk *chunk = header_of(block->address);
        chunk->free = 1;
        kernel_heap.sorted.sorting->insert(&kernel_heap.sorted.tree, chunk->node);
    } else {
        ((struct heap_list_chunk *)header_of(block->address))->free = 1;
    }
}

/* A free that looks at neither neighbour. */
static const char *free_without_merging(void)
{
    struct heap_block chunks[3];
    if (!find_neighbours("uuf", 0, HEAP_TAGS_EXACT * HEAP_ALIGN, chunks))
        return no_such_chunks;
    set_free(&chunks[1]);
    fault_at_pointer(header_of(chunks[1].address));
    return NULL;
}

static const char *leave_buddies_apart(void)
{
    struct heap_buddy *buddy = &kernel_heap.buddy;
    struct heap_block block;
    if (!find_chunk_that_is(true, 2 * BUDDY_SMALLEST, &block))
        return no_such_chunks;
    uint64_t height = (uint64_t)__builtin_ctzll(block.size / BUDDY_SMALLEST);
    uint64_t node = ((uint64_t)1 << (buddy->height - height)) + (block.address - buddy->origin) / block.size;
    buddy->nodes[node] = (uint8_t)height;
    heap_uncount(&kernel_heap.heap, true, block.size);
    heap_count(&kernel_heap.heap, true, block.size / 2);
    heap_count(&kernel_heap.heap, true, block.size / 2);
    fault_at_pointer(&buddy->nodes[node]);
    return NULL;
}

const char *fault_unmerged_chunks(void)
{
    if (heap_is(&heap_buddy_operations))
        return leave_buddies_apart();
    return heap_is_listed() || heap_is_sorted() || heap_is(&heap_tags_operations) ? free_without_merging() : no_merging;
}

/* The first of the first bin that has any. */
static const char *drop_from_bin(void)
{
    for (unsigned i = 0; i < HEAP_TAGS_BINS; i++) {
        struct heap_tags_links *links = kernel_heap.tags.bin[i];
        if (!links)
            continue;
        kernel_heap.tags.bin[i] = links->next;
        if (links->next)
            links->next->prev = NULL;
        else
            kernel_heap.tags.filled &= ~((uint64_t)1 << i);
        fault_at_pointer(header_of((uintptr_t)links));
        return NULL;
    }
    return no_such_chunks;
}

/* Taken out of the index, as for an allocation that then failed. */
const char *fault_missing_from_list(void)
{
    struct heap_block block;
    if (heap_is(&heap_tags_operations))
        return drop_from_bin();
    if (!heap_is_sorted())
        return no_lists;
    if (!find_chunk_that_is(true, 0, &block))
        return no_such_chunks;
    struct heap_sorted_chunk *chunk = header_of(block.address);
    kernel_heap.sorted.sorting->remove(&kernel_heap.sorted.tree, chunk->node);
    fault_at_pointer(chunk);
    return NULL;
}

/* Next fit goes on from a chunk that has become part of another one. */
static const char *leave_rover_behind(void)
{
    struct heap_block block;
    if (!find_chunk_that_is(false, 64, &block))
        return no_such_chunks;
    kernel_heap.list.rover = (struct heap_list_chunk *)(block.address + HEAP_ALIGN);
    fault_at_pointer(kernel_heap.list.rover);
    return NULL;
}

/* Handed out, and not taken from the index. */
const char *fault_used_on_list(void)
{
    struct heap_block block;
    if (heap_is(&heap_next_operations))
        return leave_rover_behind();
    if (!heap_is_sorted() && !heap_is(&heap_tags_operations))
        return no_lists;
    if (!find_chunk_that_is(true, 0, &block))
        return no_such_chunks;
    heap_uncount(&kernel_heap.heap, true, block.size);
    heap_count(&kernel_heap.heap, false, block.size);
    if (heap_is_sorted())
        ((struct heap_sorted_chunk *)header_of(block.address))->free = 0;
    else
        retag(&block, true);
    fault_at_pointer(header_of(block.address));
    return NULL;
}

/* A chunk was split at the end, and the pointer to the last one left where it was. */
const char *fault_stale_tail(void)
{
    if (heap_is_listed()) {
        struct heap_list *list = &kernel_heap.list;
        if (list->tail == list->head)
            return no_such_chunks;
        list->tail = list->tail->prev;
        fault_at_pointer(list->tail);
        return NULL;
    }
    if (!heap_is_sorted())
        return "this heap keeps no pointer to its last chunk";
    kernel_heap.sorted.top = kernel_heap.sorted.top->below;
    fault_at_pointer(kernel_heap.sorted.top);
    return NULL;
}

/* --- bytes and numbers ----------------------------------------------------------------------------------------------- */

/* A byte of the fence changes, `behind` the caller's bytes or in front of them. */
static const char *touch_fence(bool behind)
{
    struct heap_block block;
    if (!kernel_heap.redzone)
        return "the kernel was booted without redzones";
    if (!find_chunk_that_is(false, 64, &block))
        return no_such_chunks;
    struct heap_redzone *zone = (struct heap_redzone *)block.address;
    unsigned char *payload = (unsigned char *)zone + zone->front;
    payload[behind ? zone->size : (size_t)-1] ^= 0xff;
    fault_at_pointer(header_of(block.address));
    return NULL;
}

const char *fault_overrun_by_one(void) { return touch_fence(true); }

static const char *touch_page_in_front(void)
{
    struct heap_block chunks[3];
    if (!find_neighbours(".u.", 0, SIZE_MAX, chunks) || chunks[1].address % 4096 == 0)
        return no_such_chunks;
    ((unsigned char *)chunks[1].address)[-1] ^= 0xff;
    fault_at(chunks[1].address);
    return NULL;
}

const char *fault_underrun(void) { return heap_is(&heap_guard_operations) ? touch_page_in_front() : touch_fence(false); }

/* Whoever freed it still has a pointer to it. */
const char *fault_used_after_free(void)
{
    struct heap_block block;
    if (!kernel_heap.poison)
        return "the kernel was booted without poison";
    if (heap_is(&heap_guard_operations))
        return "what was freed is not there any more, so a write to it faults at once";
    if (!find_chunk_that_is(true, kernel_heap.operations->links + sizeof(uint64_t), &block))
        return no_such_chunks;
    *(uint32_t *)(block.address + kernel_heap.operations->links) = 1;
    fault_at_pointer(header_of(block.address));
    return NULL;
}

/* Two processors added at once, and one sum was lost. */
const char *fault_heap_counter(void)
{
    kernel_heap.used_bytes -= 48;
    fault_at_pointer(&kernel_heap.used_bytes);
    return NULL;
}

/* The sum of the mark and the size was compared, and had wrapped. */
const char *fault_mark_past_end(void)
{
    if (!heap_is(&heap_bump_operations))
        return "this heap has no mark";
    kernel_heap.bump.mark = kernel_heap.end + 64;
    fault_at_pointer(&kernel_heap.bump.mark);
    return NULL;
}

/* An early return between taking and using. What is noted is the complement: a pointer to it would be a pointer to it. */
const char *fault_pointer_lost(void)
{
    void *lost = heap_alloc(&kernel_heap.heap, 200);
    if (!lost)
        return no_such_chunks;
    memset(lost, 0, 200);
    fault_at(~(uint64_t)lost);
    return NULL;
}
