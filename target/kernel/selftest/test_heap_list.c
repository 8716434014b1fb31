/* Knows what list heaps must refuse beyond what all heaps must, that their check fires, and where next fit looks. */

#include "arch/probe.h"
#include "heap/heap_kinds.h"
#include "lib/string.h"
#include "selftest/selftest.h"

enum { HEADER = sizeof(struct heap_list_chunk) };

static struct heap_list list;
static struct heap *const heap = (struct heap *)&list;

static bool begin(const struct heap_operations *kind)
{
    if (list.operations)
        heap_destroy(heap);             /* of a test that failed */
    bool begun = heap_init(heap, kind, &heap_supply_system, "test", 1 << 20);
    heap->redzone = false;              /* this is about the kind alone */
    return begun;
}

static void free_it(void *memory) { heap_free(heap, memory); }
static bool refuses_to_free(void *memory) { return probe_panics(free_it, memory) && !list.lock.locked; }

void test_heap_list_refuses(void)
{
    EXPECT(begin(&heap_list_operations));
    char *a = heap_alloc(heap, 100), *b = heap_alloc(heap, 100), *c = heap_alloc(heap, 100);
    EXPECT(a && b && c);
    memset(b, 0, 100);
    memcpy(b + 16, b - HEADER, HEADER);
    EXPECT(refuses_to_free(b + 16 + HEADER));                           /* even where something looks like a header */
    struct heap_list_chunk *chunk = (struct heap_list_chunk *)b - 1;
    chunk->size += HEAP_ALIGN;
    EXPECT(refuses_to_free(b));                                         /* a chunk whose header was overwritten */
    chunk->size -= HEAP_ALIGN;
    EXPECT(refuses_to_free((void *)list.start));
    heap_destroy(heap);
}

static bool finds_changed(void *memory, unsigned char byte, const char *rule)
{
    unsigned char *at = memory, saved = *at;
    *at = byte;
    const char *broken = heap_check(heap);
    *at = saved;
    return broken && strcmp(broken, rule) == 0;
}

void test_heap_list_check(void)
{
    EXPECT(begin(&heap_list_operations));
    char *a = heap_alloc(heap, 64), *b = heap_alloc(heap, 64), *c = heap_alloc(heap, 64);
    EXPECT(a && b && c);
    heap_free(heap, b);
    struct heap_list_chunk *used = (struct heap_list_chunk *)a - 1, *free = (struct heap_list_chunk *)b - 1;
    EXPECT(finds_changed(&used->magic, 0, "every header has its magic"));
    EXPECT(finds_changed(&free->prev, 8, "chunk.next.prev == chunk"));
    EXPECT(finds_changed(&used->size, 80, "chunks tile the arena"));
    EXPECT(finds_changed(&used->size, 63, "sizes are multiples of HEAP_ALIGN and stay inside the arena"));
    EXPECT(finds_changed(&list.tail, 1, "tail is the last chunk"));
    EXPECT(finds_changed(&list.head, 1, "head == start"));
    EXPECT(finds_changed(&used->free, 1, "no two free chunks touch"));
    list.committed -= 4096;
    EXPECT(strcmp(heap_check(heap), "committed == end - start") == 0);
    list.committed += 4096;

    /* The rules of all heaps. */
    EXPECT(finds_changed(&free->free, 0, "used_chunks == number of used chunks"));
    EXPECT(finds_changed(&list.used_chunks, 0, "used_chunks == number of used chunks"));
    EXPECT(finds_changed(&list.free_chunks, 0, "free_chunks == number of free chunks"));
    EXPECT(finds_changed(&list.used_bytes, 1, "used_bytes == sum over used chunks"));
    EXPECT(finds_changed(&list.free_bytes, 1, "free_bytes == sum over free chunks"));
    EXPECT(finds_changed(&list.end, 1, "base, start, end, limit are whole pages, in this order"));
    EXPECT(heap_check(heap) == NULL);
    heap_destroy(heap);
}

/* A gap at the head is left alone until the search has gone round. */
void test_heap_next(void)
{
    EXPECT(begin(&heap_next_operations));
    char *a = heap_alloc(heap, 64), *b = heap_alloc(heap, 64);
    EXPECT(a && b && a < b);
    heap_free(heap, a);
    char *c = heap_alloc(heap, 64);
    EXPECT(c > b);                                                      /* first fit would have taken a's place */
    struct heap_list_chunk *rover = list.rover;
    EXPECT((char *)(rover + 1) == c);
    list.rover = (struct heap_list_chunk *)((char *)rover + 16);
    EXPECT(strcmp(heap_check(heap), "rover is a chunk of the list") == 0);
    list.rover = rover;
    char *d = heap_alloc(heap, list.tail->size), *e = heap_alloc(heap, 64);
    EXPECT(d > c && e == a);                                            /* round */
    heap_free(heap, d);
    d = heap_alloc(heap, 64);
    heap_free(heap, c);
    heap_free(heap, d);
    EXPECT(list.rover == rover && heap_check(heap) == NULL);            /* d's chunk is part of c's now */
    heap_destroy(heap);
}
