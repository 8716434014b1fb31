/* Knows how to turn any bytes into calls of a heap, and to hold its answers against a shadow. The first byte chooses the
 * kind, the second what is around it, the rest what is done. A wrong answer aborts. What a caller has is poisoned while
 * the heap works: it may neither write there, which the shadow would see, nor read. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sanitizer/asan_interface.h>

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
void selftest_failed(const char *why, const char *file, int line);

static union any_heap subject, parent;

#define INSIST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s: %s (%s:%d)\n", subject.operations->name, #condition, __FILE__, __LINE__); \
            abort(); \
        } \
    } while (0)

enum { SLOTS = 24, LIMIT = 1 << 20 };

static struct slot { unsigned char *memory; size_t size; unsigned char byte; } slots[SLOTS];

static const uint8_t *input, *input_end;

static uint64_t next_byte(void) { return input < input_end ? *input++ : 0; }
static struct slot *next_slot(void) { return &slots[next_byte() % SLOTS]; }

/* All orders of magnitude up to 64 KiB; now and then more than there is. */
static size_t next_size(void)
{
    uint64_t order = next_byte(), value = next_byte() << 8 | next_byte();
    return order == 255 ? SIZE_MAX - value : order == 254 ? (size_t)LIMIT + value : value >> order % 16;
}

static bool is_apart(const struct slot *one)
{
    for (const struct slot *other = slots; other < slots + SLOTS; other++)
        if (other != one && other->memory && one->memory < other->memory + other->size
            && other->memory < one->memory + one->size)
            return false;
    return true;
}

static void hide(const struct slot *slot) { ASAN_POISON_MEMORY_REGION(slot->memory, slot->size); }
static void show(const struct slot *slot) { ASAN_UNPOISON_MEMORY_REGION(slot->memory, slot->size); }

static void for_each_live(void (*what)(const struct slot *))
{
    for (const struct slot *slot = slots; slot < slots + SLOTS; slot++)
        if (slot->memory)
            what(slot);
}

static void fill(struct slot *slot, size_t size)
{
    slot->size = size;
    INSIST((uintptr_t)slot->memory >= subject.start && (uintptr_t)slot->memory + size <= subject.end && is_apart(slot));
    slot->byte = (unsigned char)next_byte();
    memset(slot->memory, slot->byte, size);
    hide(slot);
}

static void take(struct slot *slot, size_t size, size_t align)
{
    slot->memory = heap_alloc_aligned(&subject.heap, size, align);
    INSIST(size <= LIMIT || !slot->memory);
    INSIST((uintptr_t)slot->memory % align == 0);
    if (slot->memory)
        fill(slot, size);
}

static void give_back(struct slot *slot)
{
    show(slot);
    INSIST(is_filled(slot->memory, slot->byte, slot->size));
    heap_free(&subject.heap, slot->memory);
    slot->memory = NULL;
}

static void resize(struct slot *slot, size_t size)
{
    show(slot);
    unsigned char *moved = heap_realloc(&subject.heap, slot->memory, size);
    size_t common = size < slot->size ? size : slot->size;
    INSIST(is_filled(moved ? moved : slot->memory, slot->byte, moved ? common : slot->size));
    if (moved) {
        slot->memory = moved;
        fill(slot, size);
    } else {
        hide(slot);
    }
}

static void free_it(void *memory) { heap_free(&subject.heap, memory); }

/* An address that is nobody's must be refused, wherever it lies: what seems to be its header may be a caller's bytes. */
static void misuse(void)
{
    uint64_t span = subject.limit - subject.base + 2 * PAGE_SIZE, at = next_byte() << 16 | next_byte() << 8 | next_byte();
    const struct slot *slot = next_slot();
    unsigned char *anywhere = (unsigned char *)(subject.base - PAGE_SIZE + at % span);
    unsigned char *memory = slot->memory && at % 2 ? slot->memory + at % (slot->size + 64) : anywhere;
    for (const struct slot *other = slots; other < slots + SLOTS; other++)
        if (other->memory == memory)
            return;
    for_each_live(show);
    INSIST(probe_panics(free_it, memory) && !subject.lock.locked);
    for_each_live(hide);
}

static void step(void)
{
    struct slot *slot = next_slot();
    switch (next_byte() % 6) {
    case 0: misuse(); break;
    case 1: INSIST(!heap_check(&subject.heap)); break;
    case 2:
        if (slot->memory)
            resize(slot, next_size());
        break;
    default:
        if (slot->memory)
            give_back(slot);
        else
            take(slot, next_size(), (size_t)1 << next_byte() % 14);
    }
}

static bool begin(void)
{
    const struct heap_operations *kind = heap_kinds[next_byte() % HEAP_KINDS];
    uint64_t around = next_byte();
    memset(slots, 0, sizeof(slots));
    bool chained = around & 4;
    if (chained && !heap_init(&parent.heap, &heap_tags_operations, &heap_supply_system, "parent", 2 * LIMIT))
        return false;
    bool begun = chained ? heap_init_chained(&subject.heap, kind, &parent.heap, "child", LIMIT)
                         : heap_init(&subject.heap, kind, &heap_supply_system, "fuzzed", LIMIT);
    subject.poison = around & 1;
    subject.redzone = around & 2 && !kind->unmaps;
    return begun;
}

static void end(void)
{
    INSIST(!heap_check(&subject.heap));
    for (struct slot *slot = slots; slot < slots + SLOTS; slot++)
        if (slot->memory)
            give_back(slot);
    INSIST(!heap_check(&subject.heap) && subject.used_chunks == 0);
    heap_destroy(&subject.heap);
    if (parent.operations) {
        INSIST(!heap_check(&parent.heap) && parent.used_chunks == 0);
        heap_destroy(&parent.heap);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input = bytes;
    input_end = bytes + size;
    if (!begin())
        abort();
    while (input < input_end)
        step();
    end();
    return 0;
}

void selftest_failed(const char *why, const char *file, int line) { fprintf(stderr, "%s (%s:%d)\n", why, file, line); abort(); }
