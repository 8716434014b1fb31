/* Knows arrays of bits in 64-bit words, bit 0 lowest. */
#ifndef LIB_BITS_H
#define LIB_BITS_H

#include <stdbool.h>
#include <stdint.h>

enum { WORD_BITS = 64 };

static inline uint64_t bits_words(uint64_t count) { return (count + WORD_BITS - 1) / WORD_BITS; }
static inline uint64_t bits_mask(uint64_t index) { return (uint64_t)1 << index % WORD_BITS; }
static inline bool bits_get(const uint64_t *bits, uint64_t index) { return bits[index / WORD_BITS] & bits_mask(index); }
static inline void bits_set(uint64_t *bits, uint64_t index) { bits[index / WORD_BITS] |= bits_mask(index); }
static inline void bits_clear(uint64_t *bits, uint64_t index) { bits[index / WORD_BITS] &= ~bits_mask(index); }
static inline void bits_flip(uint64_t *bits, uint64_t index) { bits[index / WORD_BITS] ^= bits_mask(index); }

/* The first index in [from, end) whose bit is `value`; `end` when there is none. */
static inline uint64_t bits_find(const uint64_t *bits, bool value, uint64_t from, uint64_t end)
{
    const uint64_t flip = value ? 0 : UINT64_MAX;
    while (from < end) {
        uint64_t rest = (bits[from / WORD_BITS] ^ flip) >> from % WORD_BITS;
        if (rest) {
            from += (uint64_t)__builtin_ctzll(rest);
            return from < end ? from : end;
        }
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return end;
}

/* How many bits are 1. */
static inline uint64_t bits_count(const uint64_t *bits, uint64_t words)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < words; i++)
        for (uint64_t left = bits[i]; left; left &= left - 1)
            count++;
    return count;
}

/* Makes all bits of [first, first + count) `value`. */
static inline void bits_fill(uint64_t *bits, bool value, uint64_t first, uint64_t count)
{
    for (uint64_t index = first, end = first + count; index < end;) {
        bool whole = index % WORD_BITS == 0 && end - index >= WORD_BITS;
        if (whole)
            bits[index / WORD_BITS] = value ? UINT64_MAX : 0;
        else if (value)
            bits_set(bits, index);
        else
            bits_clear(bits, index);
        index += whole ? WORD_BITS : 1;
    }
}

#endif
