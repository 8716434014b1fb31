/* Knows what kmalloc and its family must do, whichever heap serves. */

#include "heap/heap.h"
#include "heap/heap_kinds.h"
#include "lib/string.h"
#include "selftest/selftest.h"

static bool is_at(const void *memory, size_t align) { return memory && (uintptr_t)memory % align == 0; }

void test_heap_interface(void)
{
    char *nothing = kmalloc(0), *one = kmalloc(1), *sixteen = kmalloc(16);
    EXPECT(nothing && one && nothing != one && is_at(sixteen, 16));
    kfree(nothing);
    kfree(one);
    kfree(sixteen);
    kfree(NULL);

    char *aligned = kmalloc_aligned(100, 1024);
    EXPECT(is_at(aligned, 1024));
    kfree(aligned);

    char *zeroed = kcalloc(100, 7);
    EXPECT(zeroed && is_filled(zeroed, 0, 700));
    kfree(zeroed);
    EXPECT(kcalloc((size_t)1 << 60, 32) == NULL);
    EXPECT(kmalloc(SIZE_MAX) == NULL && kmalloc((size_t)1 << 40) == NULL);
    EXPECT(kmalloc_aligned(1, (size_t)1 << 63) == NULL && kmalloc_aligned(SIZE_MAX, 1 << 20) == NULL);

    char *text = krealloc(NULL, 20);
    EXPECT(text);
    memcpy(text, "nineteen characters", 20);
    EXPECT((text = krealloc(text, 5000)) && strcmp(text, "nineteen characters") == 0);
    EXPECT((text = krealloc(text, 20)) && strcmp(text, "nineteen characters") == 0);
    EXPECT(krealloc(text, SIZE_MAX) == NULL && strcmp(text, "nineteen characters") == 0);
    kfree(text);
}
