/* Knows what each kind of heap costs: instructions for each request, and memory beside what was asked for.
 *
 * Theory
 *  1. Every request is counted by itself (scenario/counting.h), as a caller makes it: lock, refusals and books included.
 *  2. Each kind of work has a heap of its own that begins empty, so that none finds what another has left. The sizes are the
 *     same for every kind of heap: the numbers behind them begin anew too.
 *  3. Memory is looked at when the work is done and everything that it holds is held. `committed` is what the heap has taken
 *     from the system by then, `payload` what its used chunks hold, `asked` what callers asked for of that.
 *  4. Boot it with `poison=0`: else filling freed memory is most of what is counted.
 *
 * The figures stand on the serial line, between `bench begin` and `bench end`: see target/README.md. */

#include "heap/heap_kinds.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "scenario/counting.h"
#include "scenario/random.h"
#include "scenario/scenarios.h"

enum { LIMIT = 96 << 20, HELD_MOST = 512, STEPS = 4096, RAMP = 512 };

static union any_heap measured;

static struct held { void *memory; size_t size; } held[HELD_MOST + RAMP];
static uint64_t held_count, held_first;         /* those from held_first on, so that the oldest can go first */
static struct cost alloc_cost, resize_cost, free_cost;

/* --- one request ----------------------------------------------------------------------------------------------------- */

static void take_aligned(size_t size, size_t align)
{
    count_begin();
    void *memory = heap_alloc_aligned(&measured.heap, size, align);
    note(&alloc_cost, count_end(), memory != NULL);
    if (memory)
        held[held_count++] = (struct held) { memory, size };
}

static void take(size_t size) { take_aligned(size, 1); }

static void resize_any(size_t size)
{
    struct held *one = &held[random_below(held_count)];
    count_begin();
    void *memory = heap_realloc(&measured.heap, one->memory, size);
    note(&resize_cost, count_end(), memory != NULL);
    if (memory)
        *one = (struct held) { memory, size };
}

static void give(uint64_t index)
{
    void *memory = held[index].memory;
    count_begin();
    heap_free(&measured.heap, memory);
    note(&free_cost, count_end(), true);
}

static void give_any(void)
{
    uint64_t index = random_below(held_count);
    give(index);
    held[index] = held[--held_count];
}

/* --- work ------------------------------------------------------------------------------------------------------------ */

static size_t small_size(void) { return 16 + random_below(113); }
static size_t mixed_size(void) { return 1 + random_below((uint64_t)1 << random_below(17)); }
static size_t same_size(void) { return 48; }
static size_t page_size(void) { return 4096 * (1 + random_below(8)); }
static size_t medium_size(void) { return 64 + random_below(961); }

static void take_small(void) { take(small_size()); }
static void take_mixed(void) { take(mixed_size()); }
static void take_same(void) { take(same_size()); }
static void take_pages(void) { take(page_size()); }
static void take_any_alignment(void) { take_aligned(small_size(), (size_t)64 << random_below(7)); }

/* A coin decides whether one is taken, or any given back. */
static void churn_by(void (*take_one)(void))
{
    for (int step = 0; step < STEPS; step++)
        if (held_count && (held_count == HELD_MOST || random_below(2)))
            give_any();
        else
            take_one();
    while (held_count < HELD_MOST / 2)
        take_one();
}

static void small(void) { churn_by(take_small); }
static void mixed(void) { churn_by(take_mixed); }
static void same(void) { churn_by(take_same); }
static void whole_pages(void) { churn_by(take_pages); }

/* For devices and page tables: aligned to 64 bytes up to a page. */
static void aligned(void) { churn_by(take_any_alignment); }

/* Who was first taken is first given back: a queue of messages. */
static void queue(void)
{
    for (int step = 0; step < STEPS / 2; step++) {
        take(small_size());
        if (held_count - held_first > HELD_MOST / 2)
            give(held_first++);
        if (held_first == HELD_MOST / 2) {
            for (uint64_t i = held_first; i < held_count; i++)
                held[i - held_first] = held[i];
            held_count -= held_first;
            held_first = 0;
        }
    }
    for (uint64_t i = held_first; i < held_count; i++)
        held[i - held_first] = held[i];
    held_count -= held_first;
    held_first = 0;
}

/* Who was last taken is first given back. */
static void stack(void)
{
    for (int step = 0; step < STEPS; step++)
        if (held_count && (held_count == HELD_MOST || random_below(2)))
            give(--held_count);
        else
            take(small_size());
    while (held_count < HELD_MOST / 2)
        take(small_size());
}

/* Every second of many is given back; what is asked for then is larger than the gaps. */
static void ramp(void)
{
    while (held_count < RAMP)
        take(medium_size());
    for (uint64_t i = 0; i < RAMP / 2; i++) {
        give(2 * i);
        held[i] = held[2 * i + 1];
    }
    held_count = RAMP / 2;
    for (int i = 0; i < RAMP / 4; i++)
        take(1100 + random_below(1000));
}

/* Buffers that become larger and smaller. */
static void resize(void)
{
    while (held_count < HELD_MOST / 2)
        take(medium_size());
    for (int step = 0; step < STEPS; step++)
        resize_any(medium_size());
}

struct work { const char *name; void (*run)(void); };

static const struct work works[] = {
    { "small", small }, { "mixed", mixed }, { "same", same }, { "queue", queue }, { "stack", stack }, { "ramp", ramp },
    { "pages", whole_pages }, { "aligned", aligned }, { "resize", resize },
};

/* --- the whole ------------------------------------------------------------------------------------------------------- */

static void tell(const char *kind, const char *work, const char *op, const struct cost *cost)
{
    if (!cost->count)
        return;
    print("bench cost kind=%s work=%s op=%s count=%lu failed=%lu total=%lu worst=%lu\n", kind, work, op, cost->count, cost->failed,
          cost->total, cost->worst);
}

static void tell_memory(const char *kind, const char *work)
{
    struct heap_survey survey = heap_survey(&measured.heap);
    uint64_t asked = 0;
    for (uint64_t i = 0; i < held_count; i++)
        asked += held[i].size;
    print("bench memory kind=%s work=%s chunks=%lu asked=%lu payload=%lu free=%lu largest=%lu committed=%lu\n", kind, work,
          survey.chunks[0], asked, survey.bytes[0], survey.bytes[1], survey.largest_free, measured.committed);
}

static void measure(const struct heap_operations *kind, const struct work *work)
{
    alloc_cost = resize_cost = free_cost = (struct cost) { 0 };
    held_count = held_first = 0;
    random_seed(1);
    if (!heap_init(&measured.heap, kind, &heap_supply_system, "measured", LIMIT))
        panic("bench: no room for a heap of kind %s", kind->name);
    work->run();
    tell_memory(kind->name, work->name);
    while (held_count)
        give_any();
    tell(kind->name, work->name, "alloc", &alloc_cost);
    tell(kind->name, work->name, "resize", &resize_cost);
    tell(kind->name, work->name, "free", &free_cost);
    heap_destroy(&measured.heap);
}

void bench_heaps(void)
{
    print("bench begin\n");
    print("bench heaps poison=%d redzone=%d\n", kernel_heap.poison, kernel_heap.redzone);
    calibrate();
    for (unsigned i = 0; i < HEAP_KINDS; i++)
        for (unsigned j = 0; j < sizeof(works) / sizeof(*works); j++)
            measure(heap_kinds[i], &works[j]);
    print("bench end\n");
}
