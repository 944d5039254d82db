/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random: a small seeded generator; the same seed gives the same stream on every machine.
 *
 * Owner    Whoever holds the struct.
 * Limits   Not for secrets.
 * Source   SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one add and one mix a draw, any seed is
 * good.
 */
#ifndef PC_BASE_RANDOM_H
#define PC_BASE_RANDOM_H

#include <stdint.h>

struct pc_random {
    uint64_t state;
};

static inline void pc_random_init(struct pc_random *random, uint64_t seed)
{
    random->state = seed;
}

static inline uint64_t pc_random_next(struct pc_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The product of two 64-bit numbers; __extension__ because ISO C has no name for it. */
__extension__ typedef unsigned __int128 pc_product;

/* Uniform in [0, bound); bound > 0. The bias is below bound / 2^64. */
static inline uint64_t pc_random_below(struct pc_random *random, uint64_t bound)
{
    return (uint64_t)(((pc_product)pc_random_next(random) * bound) >> 64);
}

/* Uniform in [0, 1), 53 bits. */
static inline double pc_random_unit(struct pc_random *random)
{
    return (double)(pc_random_next(random) >> 11) * 0x1.0p-53;
}

#endif
