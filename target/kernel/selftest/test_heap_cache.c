/* Knows what caches of objects must do, what they must refuse, and that their check fires. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "layout.h"
#include "lib/string.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

enum { OBJECTS = 400, STEPS = 10000, CHECK_EVERY = 500, LIMIT = 4 << 20 };

static struct heap_slab slabs;
static struct heap *const heap = (struct heap *)&slabs;

struct thing { uint64_t constructed, zero, value; char rest[56]; };        /* 80 bytes */

static unsigned constructed;

static void construct(void *object)
{
    memset(object, 0, sizeof(struct thing));
    ((struct thing *)object)->constructed = ++constructed;
}

static bool begin(void)
{
    if (slabs.operations)
        heap_destroy(heap);             /* of a test that failed */
    constructed = 0;
    bool begun = heap_init(heap, &heap_slab_operations, &heap_supply_system, "test", LIMIT);
    slabs.redzone = false;              /* which caches do not build */
    return begun;
}

static bool is_on_lists(const struct cache *cache, uint64_t full, uint64_t partial, uint64_t empty)
{
    return cache->full.count == full && cache->partial.count == partial && cache->empty.count == empty && !heap_check(heap);
}

/* --- what they must do ----------------------------------------------------------------------------------------------- */

/* 4096 = 49 * 80 + 176, of which the header takes 48 + 2 * 49, rounded to 152. 24 are left: three colours more. */
void test_cache_slabs(void)
{
    static void *objects[3 * 49];
    EXPECT(begin());
    struct cache *things = cache_create(&slabs, "things", 80, 8, NULL);
    EXPECT(things && things->capacity == 49 && things->colours == 4 && !things->header_off && is_on_lists(things, 0, 0, 0));
    for (unsigned i = 0; i < 3 * 49; i++)
        EXPECT((objects[i] = cache_alloc(things)) && is_on_lists(things, (i + 1) / 49, (i + 1) % 49 != 0, 0));
    for (unsigned i = 0; i < 3; i++)    /* each slab a colour further up */
        EXPECT((uintptr_t)objects[49 * i] % PAGE_SIZE == 8 * i && (char *)objects[49 * i + 1] == (char *)objects[49 * i] + 80);
    cache_free(things, objects[0]);
    EXPECT(is_on_lists(things, 2, 1, 0) && cache_alloc(things) == objects[0]);
    for (unsigned i = 0; i < 3 * 49; i++)
        cache_free(things, objects[i]);
    EXPECT(is_on_lists(things, 0, 0, 1) && things->used == 0);          /* two of them went back */
    cache_destroy(things);
    EXPECT(heap_check(heap) == NULL && heap->used_chunks == 0 && heap->free_chunks == 0);
    heap_destroy(heap);
}

/* 1000 bytes: four in a page leave 96, less than an eighth. 1400: two leave 1296, too much; five in two pages leave 1192,
 * too much; eight in three pages 1088, eleven in four 984. */
void test_cache_large(void)
{
    EXPECT(begin());
    struct cache *fours = cache_create(&slabs, "fours", 1000, 8, NULL), *odd = cache_create(&slabs, "odd", 1400, 8, NULL);
    struct cache *pages = cache_create(&slabs, "pages", PAGE_SIZE, PAGE_SIZE, NULL);
    EXPECT(fours && fours->header_off && fours->slab_bytes == PAGE_SIZE && fours->capacity == 4 && fours->colours == 13);
    EXPECT(odd && odd->slab_bytes == 3 * PAGE_SIZE && odd->capacity == 8);
    EXPECT(pages && pages->capacity == 1 && pages->colours == 1);
    void *four = cache_alloc(fours), *one = cache_alloc(odd), *page = cache_alloc(pages);
    EXPECT(four && one && page && (uintptr_t)page % PAGE_SIZE == 0 && slabs.headers.used == 3 && heap_check(heap) == NULL);
    cache_free(fours, four);
    cache_free(odd, one);
    cache_free(pages, page);
    cache_destroy(fours);
    cache_destroy(odd);
    cache_destroy(pages);
    EXPECT(slabs.headers.used == 0 && slabs.records.used == 0 && heap_check(heap) == NULL);
    heap_destroy(heap);
}

void test_cache_constructor(void)
{
    EXPECT(begin());
    slabs.poison = false;
    struct cache *things = cache_create(&slabs, "things", sizeof(struct thing), 8, construct);
    struct thing *thing = cache_alloc(things);
    EXPECT(thing && constructed == 49 && thing->constructed == 1);      /* all of the slab's, once */
    thing->value = 7;
    cache_free(things, thing);
    EXPECT(cache_alloc(things) == thing && thing->value == 7 && constructed == 49);
    heap_destroy(heap);

    EXPECT(begin());
    slabs.poison = true;                /* each time, for what is free is junk */
    things = cache_create(&slabs, "things", sizeof(struct thing), 8, construct);
    thing = cache_alloc(things);
    EXPECT(thing && constructed == 1 && thing->zero == 0);
    cache_free(things, thing);
    EXPECT(is_filled(thing, HEAP_JUNK, sizeof(*thing)));
    EXPECT(cache_alloc(things) == thing && thing->constructed == 2 && thing->zero == 0);
    heap_destroy(heap);
}

/* Three caches, in the slabs of one heap, beside chunks of its own. */
void test_cache_random(void)
{
    static const size_t sizes[] = { 24, 80, 1400 };
    static struct { unsigned char *object; unsigned char byte; } held[OBJECTS];
    struct cache *caches[3];
    EXPECT(begin());
    memset(held, 0, sizeof(held));
    for (unsigned i = 0; i < 3; i++)
        EXPECT((caches[i] = cache_create(&slabs, "random", sizes[i], 8, NULL)));
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)random_below(OBJECTS), kind = i % 4;
        if (!held[i].object) {
            held[i].byte = (unsigned char)random_below(256);
            held[i].object = kind == 3 ? heap_alloc(heap, 80) : cache_alloc(caches[kind]);
            EXPECT(held[i].object && memset(held[i].object, held[i].byte, kind == 3 ? 80 : sizes[kind]));
        } else {
            EXPECT(is_filled(held[i].object, held[i].byte, kind == 3 ? 80 : sizes[kind]));
            kind == 3 ? heap_free(heap, held[i].object) : cache_free(caches[kind], held[i].object);
            held[i].object = NULL;
        }
        if (step % CHECK_EVERY == 0)
            EXPECT(heap_check(heap) == NULL);
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        i % 4 == 3 ? heap_free(heap, held[i].object) : cache_free(caches[i % 4], held[i].object);
    EXPECT(heap_check(heap) == NULL && heap->used_chunks == 0 && heap->committed < 80 << 10);
    heap_destroy(heap);
}

/* An empty slab that is kept does not stand in the way of those who find no other memory. */
void test_cache_reaps(void)
{
    void *page = NULL, *next, *small;
    EXPECT(begin());
    while ((next = heap_alloc(heap, PAGE_SIZE)))
        page = next;
    EXPECT(page && heap_alloc(heap, 16) == NULL);
    heap_free(heap, page);
    EXPECT((small = heap_alloc(heap, 16)) && heap_alloc(heap, 32) == NULL);
    heap_free(heap, small);
    EXPECT(is_on_lists(&slabs.sizes[0], 0, 0, 1));
    EXPECT((small = heap_alloc(heap, 32)) && is_on_lists(&slabs.sizes[0], 0, 0, 0));
    heap_free(heap, small);
    EXPECT(heap_alloc(heap, PAGE_SIZE) == page && is_on_lists(&slabs.sizes[1], 0, 0, 0));
    heap_destroy(heap);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static struct cache *refusing;

static void free_it(void *object) { cache_free(refusing, object); }
static void destroy_it(void *cache) { cache_destroy(cache); }
static void create_it(void *unused)
{
    (void)unused;
    cache_create(&slabs, "things", 80, 8, NULL);
}

static void alloc_it(void *cache) { cache_alloc(cache); }
static void free_to_heap(void *object) { heap_free(heap, object); }

static bool refuses(struct cache *cache, void *object)
{
    refusing = cache;
    return probe_panics(free_it, object) && starts_with(probe_panic_text, "cache things: free of ") && !slabs.lock.locked;
}

void test_cache_refuses(void)
{
    EXPECT(begin());
    struct cache *things = cache_create(&slabs, "things", 80, 8, NULL), *others = cache_create(&slabs, "others", 80, 8, NULL);
    char *thing = cache_alloc(things), *other = cache_alloc(others);
    char *chunk = heap_alloc(heap, 80), *pages = heap_alloc(heap, 9000);
    EXPECT(thing && other && chunk && pages);
    EXPECT(refuses(things, other) && refuses(things, chunk) && refuses(things, pages) && refuses(things, things));
    EXPECT(refuses(things, thing + 8) && refuses(things, thing + 80) && refuses(things, thing - 80));
    EXPECT(refuses(things, &slabs) && refuses(things, (void *)slabs.end) && refuses(things, (void *)8));
    EXPECT(probe_panics(destroy_it, things) && !slabs.lock.locked);     /* one is used */
    EXPECT(probe_panics(free_to_heap, things) && !slabs.lock.locked);
    cache_free(things, thing);
    EXPECT(refuses(things, thing) && heap_check(heap) == NULL);
    slabs.redzone = true;
    EXPECT(probe_panics(create_it, NULL) && !slabs.lock.locked);
    slabs.redzone = false;
    thing[8] = 1;                       /* after it was freed */
    EXPECT(!slabs.poison || (probe_panics(alloc_it, things) && !slabs.lock.locked));
    heap_destroy(heap);
}

/* --- the check fires ------------------------------------------------------------------------------------------------- */

static bool finds_changed(void *memory, size_t size, uint64_t value, const char *rule)
{
    uint64_t saved = 0;
    memcpy(&saved, memory, size);
    memcpy(memory, &value, size);
    const char *broken = heap_check(heap);
    memcpy(memory, &saved, size);
    return broken && strcmp(broken, rule) == 0;
}

#define FINDS(field, value, rule) EXPECT(finds_changed(&(field), sizeof(field), (uint64_t)(value), rule))

void test_cache_check(void)
{
    EXPECT(begin());
    struct cache *things = cache_create(&slabs, "things", 80, 8, NULL), *others = cache_create(&slabs, "others", 80, 8, NULL);
    void *freed = cache_alloc(things);
    EXPECT(cache_alloc(things) && cache_alloc(others) && heap_check(heap) == NULL);
    cache_free(things, freed);
    struct slab *slab = things->partial.first;
    FINDS(things->partial.first, 0, "count == length of the list");
    FINDS(things->partial.first, 0x123, "lists lead to slabs");
    FINDS(things->partial.first, others->partial.first, "slab.cache == the cache whose list it is in");
    FINDS(things->full.first, slab, "count == length of the list");
    FINDS(things->partial.count, 2, "count == length of the list");
    FINDS(slab->next, slab, "count == length of the list");
    FINDS(slab->prev, slab, "slab.next.prev == slab");
    FINDS(slab->cache, others, "slab.cache == the cache whose list it is in");
    FINDS(slab->cache, 0x40, "lists lead to slabs");
    FINDS(slab->memory, slab->memory + PAGE_SIZE, "lists lead to slabs");
    FINDS(slab->objects, slab->objects + 4, "objects start at memory + colour * align");
    FINDS(slab->objects, slab->objects + 4 * 8, "objects start at memory + colour * align");
    FINDS(slab->used, 0, "a slab is in the list that fits its number of used objects");
    FINDS(slab->used, 2, "the list of free objects leads to capacity - used of them");
    FINDS(slab->free, 49, "the list of free objects leads to capacity - used of them");
    FINDS(slab->free, 1, "the list of free objects leads to capacity - used of them");           /* which is used */
    FINDS(slab->next_free[0], 0, "the list of free objects leads to capacity - used of them");      /* round and round */
    FINDS(slab->next_free[1], SLAB_END, "an object is used, or in the list of free ones");
    FINDS(things->used, 2, "cache.used == sum over its slabs");
    FINDS(things->colours, 5, "a slab has room for its objects, the colours and the header");
    FINDS(slabs.caches, 0x50, "the list of caches leads to caches");
    FINDS(slabs.caches, slabs.caches->next, "every run that is a slab is in a list of its cache");
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}
