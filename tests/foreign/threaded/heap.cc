/* A heap in static members of a class, of chunks one behind the other.
 *
 *  1. A header is 16 bytes: a word whose top bit says that the chunk is used and whose other bits count the payload's
 *     units of 16 bytes, then a magic that holds the header's own address.
 *  2. A free chunk's payload begins with the link to the next free one of its bin, xored with its own address >> 12.
 *     Bin n has chunks of 4^n up to 4^(n + 1) units (exclusive).
 *  3. A payload has an odd number of units, so that what is left of a chunk always has room for a header and a link.
 *  4. Free neighbours are merged, in a walk over all headers: there is no way back, no counter and no lock.
 *
 *     the first header is at first, each next one behind the payload before it, the last payload ends at end */

#include "heap_shadow.h"

extern "C" {
#include "lib/panic.h"
}

namespace mm {

struct Link { uint64_t next; };
struct Bin { Link *first; };

struct Chunk {
    uint64_t word;
    uint64_t magic;

    bool used() const { return word >> 63; }
    uint64_t units() const { return word << 1 >> 1; }
    char *payload() { return reinterpret_cast<char *>(this + 1); }
    Link *link() { return reinterpret_cast<Link *>(payload()); }
    Chunk *behind() { return this + 1 + units(); }
    uint64_t own_magic() const { return 0xdeadbeef00000000 | static_cast<uint32_t>(reinterpret_cast<uint64_t>(this)); }
    void set(bool used, uint64_t units)
    {
        word = static_cast<uint64_t>(used) << 63 | units;
        magic = own_magic();
    }
};

class Heap {
    static constexpr unsigned bin_count = 7;
    static Chunk *first, *end;
    static Bin bins[bin_count];

    static Bin *bin_of(uint64_t units);
    static void put(Chunk *chunk);
    static void pull(Chunk *chunk);
    static void cut(Chunk *chunk, uint64_t units);
    static void merge();

public:
    static void init(char *start, uint64_t size);
    static char *take(uint64_t units);
    static void give(char *payload);
};

Chunk *Heap::first, *Heap::end;
Bin Heap::bins[Heap::bin_count];

/* Encodes a link, and decodes one. */
static uint64_t veiled(const Link *at, uint64_t next) { return next ^ reinterpret_cast<uint64_t>(at) >> 12; }
static Link *next_of(const Link *at) { return reinterpret_cast<Link *>(veiled(at, at->next)); }

Bin *Heap::bin_of(uint64_t units)
{
    Bin *bin = bins;
    for (; units >= 4; units /= 4)
        bin++;
    return bin;
}

void Heap::put(Chunk *chunk)
{
    Bin *bin = bin_of(chunk->units());
    chunk->link()->next = veiled(chunk->link(), reinterpret_cast<uint64_t>(bin->first));
    bin->first = chunk->link();
}

void Heap::pull(Chunk *chunk)
{
    Bin *bin = bin_of(chunk->units());
    Link *after = next_of(chunk->link());
    if (bin->first == chunk->link()) {
        bin->first = after;
        return;
    }
    Link *before = bin->first;
    while (next_of(before) != chunk->link())
        before = next_of(before);
    before->next = veiled(before, reinterpret_cast<uint64_t>(after));
}

/* What is behind the first `units` becomes a free chunk. */
void Heap::cut(Chunk *chunk, uint64_t units)
{
    uint64_t had = chunk->units();
    chunk->set(true, units);
    if (units == had)
        return;
    chunk->behind()->set(false, had - units - 1);
    put(chunk->behind());
}

void Heap::merge()
{
    for (Chunk *chunk = first; chunk != end; chunk = chunk->behind())
        while (!chunk->used() && chunk->behind() != end && !chunk->behind()->used()) {
            Chunk *next = chunk->behind();
            pull(chunk);
            pull(next);
            chunk->set(false, chunk->units() + 1 + next->units());
            put(chunk);
        }
}

void Heap::init(char *start, uint64_t size)
{
    first = reinterpret_cast<Chunk *>(start);
    end = reinterpret_cast<Chunk *>(start + size);
    first->set(false, size / 16 - 1);
    put(first);
}

char *Heap::take(uint64_t units)
{
    for (Chunk *chunk = first; chunk != end; chunk = chunk->behind()) {
        if (chunk->magic != chunk->own_magic())
            panic("the header at 0x%lx is broken", reinterpret_cast<uint64_t>(chunk));
        if (chunk->used() || chunk->units() < units)
            continue;
        pull(chunk);
        cut(chunk, units);
        return chunk->payload();
    }
    return nullptr;
}

void Heap::give(char *payload)
{
    Chunk *chunk = reinterpret_cast<Chunk *>(payload) - 1;
    chunk->set(false, chunk->units());
    put(chunk);
    merge();
}

}

void heap_begin(char *start, uint64_t size) { mm::Heap::init(start, size); }
uint64_t heap_units(uint64_t size) { return (size + UNIT - 1) / UNIT | 1; }
char *heap_take(uint64_t size) { return mm::Heap::take(heap_units(size)); }
void heap_give(char *payload) { mm::Heap::give(payload); }
