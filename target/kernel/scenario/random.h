/* Knows how to make numbers that look random and are the same for the same seed. */
#ifndef SCENARIO_RANDOM_H
#define SCENARIO_RANDOM_H

#include <stdint.h>

void random_seed(uint64_t seed);

/* Evenly spread enough over [0, bound). */
uint64_t random_below(uint64_t bound);

#endif
