/* Knows bytes and zero-terminated strings. String instructions do the bulk, so that no compiler turns memset into a call
 * of memset. */

#include "lib/string.h"

#include <stdint.h>

void *memcpy(void *to, const void *from, size_t size)
{
    void *destination = to;
    size_t words = size / 8, rest = size % 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
    return destination;
}

void *memmove(void *to, const void *from, size_t size)
{
    if ((uintptr_t)to - (uintptr_t)from >= size)        /* `to` is not inside [from, from + size) */
        return memcpy(to, from, size);
    const unsigned char *last_from = (const unsigned char *)from + size - 1;
    unsigned char *last_to = (unsigned char *)to + size - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(size) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    void *destination = to;
    uint64_t word = (unsigned char)byte * 0x0101010101010101;
    size_t words = size / 8, rest = size % 8;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(word) : "memory");
    return destination;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *left = a, *right = b;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return left[i] - right[i];
    return 0;
}

size_t strlen(const char *s)
{
    size_t length = 0;
    while (s[length])
        length++;
    return length;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

bool starts_with(const char *s, const char *prefix)
{
    while (*prefix)
        if (*s++ != *prefix++)
            return false;
    return true;
}

bool is_filled(const void *memory, unsigned char byte, size_t size)
{
    const unsigned char *bytes = memory;
    uint64_t word = byte * 0x0101010101010101;
    for (; size >= 8; size -= 8, bytes += 8)
        if (*(const uint64_t *)bytes != word)
            return false;
    for (; size; size--, bytes++)
        if (*bytes != byte)
            return false;
    return true;
}
