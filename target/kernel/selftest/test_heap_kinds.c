/* Knows what a heap of any kind must do and what it must refuse. Each test works on an instance of its own and holds what
 * the heap says against a shadow: which chunks the test has, and what it wrote to them. Runs in the kernel and on the
 * host. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/format.h"
#include "lib/string.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

const struct heap_operations *tested_heap;

static union any_heap subject;

/* --- the shadow ------------------------------------------------------------------------------------------------------ */

enum { SHADOWS = 512 };

static struct shadow { unsigned char *memory; size_t size; unsigned char byte; } shadows[SHADOWS];

static bool begin_with(const struct heap_supply *supply, size_t limit)
{
    if (subject.operations)
        heap_destroy(&subject.heap);    /* of a test that failed */
    memset(shadows, 0, sizeof(shadows));
    return heap_init(&subject.heap, tested_heap, supply, "test", limit);
}

static bool begin(size_t limit) { return begin_with(&heap_supply_system, limit); }

static bool overlaps_another(const struct shadow *one)
{
    for (unsigned i = 0; i < SHADOWS; i++) {
        const struct shadow *other = &shadows[i];
        if (other != one && other->memory && one->memory < other->memory + other->size
            && other->memory < one->memory + one->size)
            return true;
    }
    return false;
}

/* What kmalloc promises. */
static bool is_aligned_payload(const void *memory, size_t size)
{
    size_t align = HEAP_ALIGN;
    while (align > tested_heap->alignment && (size ? size : 1) % align)
        align /= 2;
    return memory && (uintptr_t)memory % align == 0;
}

static bool fill(struct shadow *shadow, size_t size)
{
    shadow->size = size;
    shadow->byte = (unsigned char)random_below(256);
    if (!is_aligned_payload(shadow->memory, size) || overlaps_another(shadow))
        return false;
    memset(shadow->memory, shadow->byte, size);
    return true;
}

static bool is_intact(const struct shadow *shadow) { return is_filled(shadow->memory, shadow->byte, shadow->size); }

static bool take(struct shadow *shadow, size_t size)
{
    shadow->memory = heap_alloc(&subject.heap, size);
    return shadow->memory && fill(shadow, size);
}

static bool give_back(struct shadow *shadow)
{
    if (!is_intact(shadow))
        return false;
    heap_free(&subject.heap, shadow->memory);
    shadow->memory = NULL;
    return true;
}

static bool resize(struct shadow *shadow, size_t size)
{
    size_t common = size < shadow->size ? size : shadow->size;
    shadow->memory = heap_realloc(&subject.heap, shadow->memory, size);
    return shadow->memory && is_filled(shadow->memory, shadow->byte, common) && fill(shadow, size);
}

/* In an order that has nothing to do with that of taking. */
static bool give_back_all(void)
{
    unsigned start = (unsigned)random_below(SHADOWS);
    for (unsigned i = 0; i < SHADOWS; i++) {
        struct shadow *shadow = &shadows[(start + i * 77) % SHADOWS];
        if (shadow->memory && !give_back(shadow))
            return false;
    }
    return subject.used_chunks == 0 && subject.used_bytes == 0;
}

static void end(void) { heap_destroy(&subject.heap); }

/* --- what the walker says, against the shadow ------------------------------------------------------------------------ */

static bool is_ours(void *count, const struct heap_block *block)
{
    for (unsigned i = 0; i < SHADOWS && !block->free; i++)
        if ((uintptr_t)shadows[i].memory == block->address) {
            ++*(unsigned *)count;
            return shadows[i].size <= block->size;
        }
    return block->free;
}

static bool is_intact_heap(void)
{
    unsigned held = 0, seen = 0;
    for (unsigned i = 0; i < SHADOWS; i++)
        held += shadows[i].memory != NULL;
    return heap_check(&subject.heap) == NULL && heap_each(&subject.heap, is_ours, &seen) && seen == held
        && subject.used_chunks == held;
}

/* --- the tests ------------------------------------------------------------------------------------------------------- */

enum { STEPS = 10000, LIVE = 200, CHECK_EVERY = 500, LIMIT = 16 << 20 };

/* Small sizes often, large ones seldom. A heap that hands out nothing twice gets small ones only. */
static size_t random_size(void)
{
    return 1 + random_below((uint64_t)1 << random_below(tested_heap->reuses ? 18 : 11));
}

static bool step(void)
{
    struct shadow *shadow = &shadows[random_below(LIVE)];
    if (!shadow->memory)
        return take(shadow, random_size());
    return random_below(3) ? give_back(shadow) : is_intact(shadow) && resize(shadow, random_size());
}

void test_heap_random(void)
{
    EXPECT(begin(LIMIT));
    for (int i = 0; i < STEPS; i++) {
        EXPECT(step());
        if (i % CHECK_EVERY == 0)
            EXPECT(is_intact_heap());
    }
    EXPECT(give_back_all() && is_intact_heap());
    end();
}

/* Free neighbours become one: after all is given back, the free chunks are as they were. */
void test_heap_merges(void)
{
    EXPECT(begin(LIMIT));
    struct heap_survey before = heap_survey(&subject.heap);
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 100; i++)
            EXPECT(take(&shadows[i], 1 + random_below(200)));
        EXPECT(is_intact_heap() && give_back_all() && is_intact_heap());
    }
    struct heap_survey after = heap_survey(&subject.heap);
    EXPECT(after.chunks[0] == 0);
    if (tested_heap->merges)
        EXPECT(after.chunks[1] == before.chunks[1] && after.largest_free == before.largest_free);
    end();
}

void test_heap_grows(void)
{
    EXPECT(begin(LIMIT));
    uint64_t before = subject.committed;
    for (unsigned i = 0; i < 100; i++)
        EXPECT(take(&shadows[i], 32 << 10));
    uint64_t most = subject.committed;
    EXPECT(is_intact_heap() && most - before >= 90 * (32 << 10));
    EXPECT(give_back_all() && is_intact_heap());
    if (tested_heap->shrinks)
        EXPECT(subject.committed < most / 4);
    EXPECT(take(&shadows[0], 3 << 20) && give_back_all());          /* more at once than it ever had */
    end();
}

void test_heap_aligns(void)
{
    EXPECT(begin(LIMIT));
    for (unsigned i = 0; i < LIVE; i++) {
        size_t align = (size_t)1 << random_below(14), size = 1 + random_below(3000);
        shadows[i].memory = heap_alloc_aligned(&subject.heap, size, align);
        EXPECT(shadows[i].memory && (uintptr_t)shadows[i].memory % align == 0 && fill(&shadows[i], size));
    }
    EXPECT(is_intact_heap() && give_back_all() && is_intact_heap());
    end();
}

void test_heap_resizes(void)
{
    EXPECT(begin(LIMIT));
    EXPECT(take(&shadows[0], 1) && take(&shadows[1], 1));
    for (size_t size = 1; size < 200000; size += 1 + size / 3)
        EXPECT(resize(&shadows[0], size) && resize(&shadows[1], size) && is_intact_heap());
    for (size_t size = 200000; size > 0; size -= 1 + size / 3)
        EXPECT(resize(&shadows[1], size) && resize(&shadows[0], size) && is_intact_heap());
    EXPECT(heap_realloc(&subject.heap, shadows[0].memory, SIZE_MAX) == NULL && is_intact(&shadows[0]));
    EXPECT(heap_realloc(&subject.heap, shadows[0].memory, LIMIT) == NULL && is_intact(&shadows[0]));
    EXPECT(resize(&shadows[0], 0) && give_back_all() && is_intact_heap());
    end();
}

/* --- exhaustion ------------------------------------------------------------------------------------------------------ */

/* A supply that runs out: of memory, long before it runs out of addresses. */
static size_t left_to_commit;

static bool commit_while_it_lasts(struct heap *heap, uintptr_t base, size_t size)
{
    if (size > left_to_commit || !heap_supply_system.commit(heap, base, size))
        return false;
    left_to_commit -= size;
    return true;
}

static void decommit(struct heap *heap, uintptr_t base, size_t size)
{
    left_to_commit += size;
    heap_supply_system.decommit(heap, base, size);
}

/* Takes until there is no more. Returns how many bytes that were; 0 if something was wrong. */
static size_t take_all(void)
{
    size_t total = 0;
    for (unsigned i = 0; i < SHADOWS; i++) {
        size_t size = 1 + random_below(8000);
        if (shadows[i].memory)
            continue;
        shadows[i].memory = heap_alloc(&subject.heap, size);
        if (!shadows[i].memory)
            return is_intact_heap() ? total : 0;
        if (!fill(&shadows[i], size))
            return 0;
        total += size;
    }
    return 0;
}

static void exhaust(const struct heap_supply *supply, size_t limit, size_t expected)
{
    EXPECT(begin_with(supply, limit));
    EXPECT(take_all() >= expected);
    for (unsigned i = 0; i < SHADOWS; i += 2)
        EXPECT(!shadows[i].memory || give_back(&shadows[i]));
    EXPECT(is_intact_heap());
    if (tested_heap->reuses)
        EXPECT(take_all() > 0);
    EXPECT(give_back_all() && is_intact_heap());
    EXPECT(heap_alloc(&subject.heap, limit) == NULL && heap_alloc(&subject.heap, SIZE_MAX) == NULL);
    EXPECT(heap_calloc(&subject.heap, SIZE_MAX, SIZE_MAX) == NULL && is_intact_heap());
    end();
}

void test_heap_exhausts(void)
{
    struct heap_supply scarce = heap_supply_system;
    exhaust(&heap_supply_system, 1 << 20, 256 << 10);
    scarce.commit = commit_while_it_lasts;
    scarce.decommit = decommit;
    left_to_commit = 768 << 10;
    exhaust(&scarce, 4 << 20, 192 << 10);
}

/* --- misuse ---------------------------------------------------------------------------------------------------------- */

static void free_it(void *memory) { heap_free(&subject.heap, memory); }
static void resize_it(void *memory) { heap_realloc(&subject.heap, memory, 1); }

/* Says which heap and which address, and leaves the heap usable. */
static bool refuses(void *memory)
{
    char beginning[64];
    format_text(beginning, sizeof(beginning), "heap test: free of %p refused: ", memory);
    if (!probe_panics(free_it, memory) || !starts_with(probe_panic_text, beginning))
        return false;
    format_text(beginning, sizeof(beginning), "heap test: resizing of %p refused: ", memory);
    return probe_panics(resize_it, memory) && starts_with(probe_panic_text, beginning) && !subject.lock.locked;
}

void test_heap_refuses(void)
{
    static const size_t sizes[] = { 100, 5000, 40000 };
    EXPECT(begin(LIMIT));
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (unsigned j = 0; j < 3; j++)
            EXPECT(take(&shadows[j], sizes[i]));
        unsigned char *first = shadows[0].memory, *memory = shadows[1].memory;
        EXPECT(refuses(memory + 1) && refuses(memory + 8) && refuses(memory + 16) && refuses(memory + 64));
        EXPECT(refuses(memory + sizes[i] - 4));                         /* the last of it, and not aligned either */
        EXPECT(refuses((void *)subject.end) && refuses((void *)(subject.start - 16)) && refuses((void *)(subject.limit - 16)));
        EXPECT(refuses(&shadows) && refuses((void *)0x10));             /* not the heap's */
        EXPECT(give_back(&shadows[1]) && refuses(memory));              /* twice */
        EXPECT(give_back(&shadows[0]) && refuses(memory));              /* part of a free chunk now, if they merge */
        EXPECT(refuses(first));
        EXPECT(give_back_all() && refuses(memory) && refuses(first) && is_intact_heap());
    }
    end();
}

void test_heap_counts(void)
{
    static const uint64_t counts[ABSURDS] = ABSURD_COUNTS;
    static union any_heap child;
    EXPECT(begin(LIMIT) && take(&shadows[0], 100));
    uint64_t used = subject.used_chunks;
    for (unsigned i = 0; i < ABSURDS; i++) {
        EXPECT(!heap_alloc(&subject.heap, counts[i]) && !heap_alloc_aligned(&subject.heap, counts[i], PAGE_SIZE));
        EXPECT(!heap_calloc(&subject.heap, counts[i], PAGE_SIZE) && !heap_calloc(&subject.heap, PAGE_SIZE, counts[i]));
        EXPECT(!heap_realloc(&subject.heap, shadows[0].memory, counts[i]));
        EXPECT(!heap_init_chained(&child.heap, tested_heap, &subject.heap, "child", counts[i]));
    }
    EXPECT(!heap_init(&child.heap, tested_heap, &heap_supply_system, "child", SIZE_MAX));
    EXPECT(subject.used_chunks == used && give_back_all() && is_intact_heap());
    end();
}

/* --- callers --------------------------------------------------------------------------------------------------------- */

/* The calls are followed by something, so that each returns to the function that it stands in. */
static volatile unsigned calls;

__attribute__((noinline)) static void *ask(size_t size)
{
    void *memory = heap_alloc(&subject.heap, size);
    calls = calls + 1;
    return memory;
}

__attribute__((noinline)) static void *ask_for_zeroes(size_t size)
{
    void *memory = heap_calloc(&subject.heap, 1, size);
    calls = calls + 1;
    return memory;
}

__attribute__((noinline)) static void *ask_for_more(void *memory, size_t size)
{
    void *resized = heap_realloc(&subject.heap, memory, size);
    calls = calls + 1;
    return resized;
}

static bool was_asked_for_in(void *memory, const void *function)
{
    const char *caller = heap_caller(&subject.heap, memory);
    return caller > (const char *)function && caller < (const char *)function + 512;
}

/* Of every kind, those that have no redzones too: whoever called the interface, however the memory was come by. */
void test_heap_callers(void)
{
    EXPECT(begin(LIMIT));
    void *plain = ask(10);
    EXPECT(plain && (subject.redzone || !heap_caller(&subject.heap, plain)));
    heap_free(&subject.heap, plain);
    subject.redzone = true;
    for (size_t size = 1; size < 20000; size += size / 2 + 1) {
        void *memory = ask(size);
        EXPECT(is_aligned_payload(memory, size) && was_asked_for_in(memory, (const void *)ask));
        EXPECT((memory = ask_for_more(memory, 3 * size)) && was_asked_for_in(memory, (const void *)ask_for_more));
        EXPECT((memory = ask_for_more(memory, size)) && was_asked_for_in(memory, (const void *)ask_for_more));
        void *zeroes = ask_for_zeroes(size);
        EXPECT(zeroes && was_asked_for_in(zeroes, (const void *)ask_for_zeroes) && heap_check(&subject.heap) == NULL);
        heap_free(&subject.heap, memory);
        heap_free(&subject.heap, zeroes);
    }
    EXPECT(heap_check(&subject.heap) == NULL);
    end();
}

/* --- redzones -------------------------------------------------------------------------------------------------------- */

/* The first byte in front of it and behind it, whatever its size and alignment; found when it is given back. */
void test_heap_redzone(void)
{
    EXPECT(begin(LIMIT));
    if (tested_heap->unmaps)
        return end();
    subject.redzone = true;
    for (size_t size = 1; size < 20000; size += size / 2 + 1) {
        size_t align = (size_t)64 << random_below(8);
        unsigned char *memory = heap_alloc_aligned(&subject.heap, size, align);
        EXPECT(memory && heap_check(&subject.heap) == NULL);
        EXPECT(refuses(memory - align + 32));                           /* where it would be without the alignment */
        for (int i = 0; i < 2; i++) {
            unsigned char *outside = i ? memory - 1 : memory + size;
            *outside ^= 0xff;
            const char *broken = heap_check(&subject.heap);
            EXPECT(broken && strcmp(broken, "redzones are as they were made") == 0 && refuses(memory));
            *outside ^= 0xff;
        }
        EXPECT((memory = heap_realloc(&subject.heap, memory, size + 1)) != NULL && memory[size + 1] == HEAP_FENCE);
        memory[size] = 0;                                               /* where the fence began, and it does no more */
        unsigned char *next = heap_alloc(&subject.heap, 1), *moved = heap_realloc(&subject.heap, memory, 9 * size);
        EXPECT(next && moved && heap_check(&subject.heap) == NULL);
        EXPECT(moved == memory || !subject.poison || moved[size + 1] == HEAP_JUNK);     /* no more is copied than there was */
        heap_free(&subject.heap, moved);
        heap_free(&subject.heap, next);
    }
    EXPECT(heap_check(&subject.heap) == NULL);
    end();
}

/* --- poison ---------------------------------------------------------------------------------------------------------- */

static void take_all_there_is(void *unused)
{
    (void)unused;
    while (heap_alloc(&subject.heap, 1000))
        ;
}

void test_heap_poison(void)
{
    EXPECT(begin(1 << 20));
    if (!subject.poison)
        return end();                   /* poison=0 */
    EXPECT(take(&shadows[0], 1000) && take(&shadows[1], 1000));
    unsigned char *stale = shadows[0].memory;
    EXPECT(give_back(&shadows[0]) && heap_check(&subject.heap) == NULL);
    EXPECT(probe_read((uint64_t)stale) != tested_heap->unmaps);
    if (tested_heap->unmaps)
        return end();
    EXPECT(stale[500] == HEAP_JUNK);
    stale[500] = 0;
    const char *broken = heap_check(&subject.heap);
    EXPECT(broken && strcmp(broken, "free payloads are junk") == 0);
    EXPECT(!tested_heap->reuses || probe_panics(take_all_there_is, NULL));      /* found as it is handed out again */
    EXPECT(!subject.lock.locked);
    end();
}
