/* A heap of slabs whose headers lie at the end of their page, with the links of free objects behind the objects.
 *
 *  1. A slab is a page; from its start on lie objects of one size, each with a word behind it. That holds, while the object
 *     is free, the address of the next free one: so an object that is freed keeps what was in it.
 *  2. The header is in the last 32 bytes of the page: a page's number is all that leads from an object to it.
 *  3. All slabs of a class are on one list, whether they have room or not. No counters but that of each slab, no lock.
 *
 *     free -> object -> ... -> 0, in the slab, used less than capacity; capacity = 4064 / (size + 8) */

#include "slabs.h"

extern "C" {
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "scenario/random.h"
}

#include <stdint.h>

struct Class;

struct Slab {
    Class *owner;
    Slab *next;
    char *free;
    uint64_t used;
};

struct Class {
    uint64_t size;
    Slab *slabs;

    uint64_t capacity() const { return (4096 - sizeof(Slab)) / (size + 8); }
};

static Class classes[3] = { { 24, nullptr }, { 56, nullptr }, { 200, nullptr } };
static char *next_page, *pages_end;

static Slab *slab_of(char *object) { return reinterpret_cast<Slab *>((reinterpret_cast<uint64_t>(object) | 4095) + 1) - 1; }

static char *&link_behind(const Class &of, char *object) { return *reinterpret_cast<char **>(object + of.size); }

static Slab *add_slab(Class &of)
{
    if (next_page == pages_end)
        panic("slabs: no page is left");
    char *page = next_page;
    next_page += 4096;
    Slab *slab = slab_of(page);
    *slab = { &of, of.slabs, nullptr, 0 };
    for (uint64_t i = of.capacity(); i-- > 0;) {
        char *object = page + i * (of.size + 8);
        link_behind(of, object) = slab->free;
        slab->free = object;
    }
    return of.slabs = slab;
}

static char *take(Class &of)
{
    Slab *slab = of.slabs;
    while (slab && !slab->free)
        slab = slab->next;
    if (!slab)
        slab = add_slab(of);
    char *object = slab->free;
    slab->free = link_behind(of, object);
    slab->used++;
    return object;
}

static void give(char *object)
{
    Slab *slab = slab_of(object);
    link_behind(*slab->owner, object) = slab->free;
    slab->free = object;
    slab->used--;
}

/* --- the shadow: what is in use, in order of taking ------------------------------------------------------------------- */

struct Held { char *object; uint64_t size; };

static constexpr unsigned held_most = 400;
static Held held[held_most];
static unsigned held_count;

static bool is_held(const char *object)
{
    for (unsigned i = 0; i < held_count; i++)
        if (held[i].object == object)
            return true;
    return false;
}

static void take_one()
{
    Class &of = classes[random_below(3)];
    char *object = take(of);
    if (is_held(object))
        panic("slabs: %p was handed out twice", static_cast<void *>(object));
    memset(object, 0x5a, of.size);
    held[held_count++] = { object, of.size };
}

static void give_one()
{
    Held &one = held[random_below(held_count)];
    if (!is_filled(one.object, 0x5a, one.size))
        panic("slabs: the object at %p is not as it was left", static_cast<void *>(one.object));
    give(one.object);
    one = held[--held_count];
}

void slabs_work(char *start, char *end)
{
    next_page = start;
    pages_end = end;
    for (unsigned step = 0; step < 3000; step++)
        held_count && (held_count == held_most || random_below(5) < 2) ? give_one() : take_one();
    while (held_count > held_most / 2)
        give_one();
}

void slabs_report()
{
    for (const Class &of : classes)
        for (Slab *slab = of.slabs; slab; slab = slab->next)
            for (uint64_t i = 0; i < of.capacity(); i++) {
                char *object = reinterpret_cast<char *>(reinterpret_cast<uint64_t>(slab) & ~4095ul) + i * (of.size + 8);
                print("report %s address=0x%lx size=%lu\n", is_held(object) ? "used" : "free",
                      reinterpret_cast<uint64_t>(object), of.size);
            }
}
