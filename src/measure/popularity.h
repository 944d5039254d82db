/* SPDX-License-Identifier: Apache-2.0 */
/*
 * popularity: which key the next request is about.
 *
 * Owner    One thread draws; sources with the same config and different seeds share one notion of
 *          which keys are hot.
 * Limits   1 … 2^40 keys; a Zipf exponent of 0 … 10, 1 and beyond included.
 * Units    A rank counts from the most popular key, 0; a key is a number below key_count.
 * Cost     Zipf: one exponential and one logarithm for nearly every draw, whatever key_count is.
 * Source   Rejection-inversion: Hörmann and Derflinger, ACM TOMACS 6 (1996).
 */
#ifndef PC_MEASURE_POPULARITY_H
#define PC_MEASURE_POPULARITY_H

#include "base/random.h"

#include <stdint.h>

/* Row: enumerator, name, what it is. */
/* clang-format off */
#define PC_POPULARITY_KINDS(row)                                                                   \
    row(PC_POPULARITY_UNIFORM,    "uniform",    "every key alike")                                 \
    row(PC_POPULARITY_ZIPF,       "zipf",       "the key of rank k with weight 1 / k^alpha")       \
    row(PC_POPULARITY_HOT_SHARE,  "hot",        "one key takes a share, the rest as zipf")         \
    row(PC_POPULARITY_MOVING,     "moving",     "a hot set takes a share, another every period")   \
    row(PC_POPULARITY_FLASH,      "flash",      "a cold key rises in 1 s, stays 10, fades over 30")\
    row(PC_POPULARITY_SEQUENTIAL, "sequential", "ranks in turn")
/* clang-format on */

enum pc_popularity_kind {
#define PC_POPULARITY_ENUM(name, text, help) name,
    PC_POPULARITY_KINDS(PC_POPULARITY_ENUM)
#undef PC_POPULARITY_ENUM
        PC_POPULARITY_KIND_COUNT,
};

struct pc_popularity_config {
    enum pc_popularity_kind kind;
    uint64_t key_count;  /* > 0 */
    double alpha;        /* zipf, hot, moving, flash; 0: uniform */
    double hot_share;    /* hot, moving, flash: 0 … 1 */
    uint64_t hot_count;  /* moving: keys in the hot set */
    uint64_t period_ns;  /* moving: life of a hot set; flash: time between two hot keys */
    uint64_t walk_count; /* sequential: ranks that are walked; 0: all */
    uint64_t key_seed;   /* which key has which rank; the same for all who share a run */
};

/* Constants of the sampler, named as in the paper. */
struct pc_zipf {
    double alpha, count;
    double area_first, area_last; /* H(1.5) - 1 and H(n + 0.5) */
    double shortcut;              /* x this near to its integer needs no second look */
};

struct pc_popularity {
    struct pc_popularity_config config;
    struct pc_random random;
    struct pc_zipf zipf;
    uint64_t stride, offset; /* key = rank × stride + offset, modulo key_count: a permutation */
    uint64_t sequence;
};

struct pc_pick {
    uint64_t rank, key;
};

void pc_popularity_init(struct pc_popularity *popularity, const struct pc_popularity_config *config,
                        uint64_t seed);

/* The key of a request meant for `intended_ns` after the start.  Core: owner. */
struct pc_pick pc_popularity_draw(struct pc_popularity *popularity, uint64_t intended_ns);

/* Share of the requests that the flash key of its period takes at `age_ns` into it. */
double pc_popularity_flash_share(const struct pc_popularity_config *config, uint64_t age_ns);

/* A sampler of 1 … count with weight k^-alpha, on its own. */
void pc_zipf_init(struct pc_zipf *zipf, double alpha, uint64_t count);
uint64_t pc_zipf_draw(const struct pc_zipf *zipf, struct pc_random *random);

const char *pc_popularity_kind_name(enum pc_popularity_kind kind);
int pc_popularity_kind_find(const char *name, enum pc_popularity_kind *out_kind);

#endif
