/* SPDX-License-Identifier: Apache-2.0 */
/*
 * combination: every way in which a cache can share its slices among cores, and a cache for each.
 *
 * A new row of the table of ownership modes is in it by itself.
 *
 * Core     boot.
 */
#ifndef PC_TESTS_COMBINATION_H
#define PC_TESTS_COMBINATION_H

#include <percore/service.h>
#include <stdbool.h>
#include <stdint.h>

struct pc_cache;
struct pc_owners;

struct pc_combination {
    char name[64]; /* for people */
    char mode[32]; /* a row of modes.def */
    bool lends;    /* a core that sleeps lends its slices */
    unsigned core_count;
};

/* Each row on 1, 2 and 4 cores, without lending and, where it is legal and there is another core to
 * lend to, with it. */
void pc_combinations_visit(void (*visit)(const struct pc_combination *combination));

/* A cache of the combination, and what a runtime must know of it. Stops the process where there is
 * no memory. */
struct pc_test_cache {
    struct pc_owners *owners;
    struct pc_cache *cache;
    unsigned place_count;
    bool places_shared, places_lent;
};

void pc_test_cache_init(struct pc_test_cache *cache, const struct pc_combination *combination,
                        uint64_t limit_bytes, uint64_t seed);
/* After the runtime that ran it is gone. */
void pc_test_cache_fini(struct pc_test_cache *cache);

#endif
