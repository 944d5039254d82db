/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seeds: run one scenario over many seeds, in child processes, so that a crash names its seed too.
 *
 * PC_SEED=n runs seed n alone, in this process: for a debugger.
 *
 * Core     boot.
 */
#ifndef PC_TESTS_SEEDS_H
#define PC_TESTS_SEEDS_H

#include "base/hooks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* NULL: all was well. `report` may be NULL; else it gets the details. */
typedef const char *pc_seed_fn(uint64_t seed, FILE *report);

/* Seeds 1 to `count`; true if all were well. Says which was not, and how to repeat it. */
bool pc_seeds_all_well(const char *name, uint64_t count, pc_seed_fn *run);

/* The first of the seeds 1 to `count` that shows the planted bug; 0: none does. */
uint64_t pc_seeds_find(enum pc_bug bug, const char *name, uint64_t count, pc_seed_fn *run);

#endif
