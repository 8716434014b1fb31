/* Knows the generator: xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"). */

#include "scenario/random.h"

static uint64_t state;

void random_seed(uint64_t seed)
{
    state = seed ? seed : 0x9e3779b97f4a7c15;   /* a state of 0 would stay 0 */
}

static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

uint64_t random_below(uint64_t bound)
{
    return (next() >> 11) % bound;
}
