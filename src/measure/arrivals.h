/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrivals: when each request of an open loop is meant to be sent.
 *
 * Owner    One thread draws. Several threads share a rate by `share_count` sources, one each: their
 *          union is the process asked for (bursts of all sources coincide).
 * Limits   Times are exact to a nanosecond and last for 500 years.
 * Units    Nanoseconds since the start of the run; rates are requests per second.
 * Cost     One logarithm a draw (fixed: none).
 * Source   docs of each kind below; the constants of `gpd` are those measured for Facebook's ETC
 *          pool (Atikoglu et al., SIGMETRICS 2012), rescaled to the rate.
 */
#ifndef PC_MEASURE_ARRIVALS_H
#define PC_MEASURE_ARRIVALS_H

#include "base/random.h"

#include <stdbool.h>
#include <stdint.h>

/* Row: enumerator, name, what it is. */
/* clang-format off */
#define PC_ARRIVALS_KINDS(row)                                                                     \
    row(PC_ARRIVALS_POISSON, "poisson", "independent users: exponential gaps")                     \
    row(PC_ARRIVALS_FIXED,   "fixed",   "equal gaps")                                              \
    row(PC_ARRIVALS_BURSTY,  "bursty",  "MMPP-2: five times the calm rate, 10 of 100 ms")          \
    row(PC_ARRIVALS_GPD,     "gpd",     "generalised Pareto, as Facebook's ETC pool")
/* clang-format on */

enum pc_arrivals_kind {
#define PC_ARRIVALS_ENUM(name, text, help) name,
    PC_ARRIVALS_KINDS(PC_ARRIVALS_ENUM)
#undef PC_ARRIVALS_ENUM
        PC_ARRIVALS_KIND_COUNT,
};

struct pc_arrivals_config {
    enum pc_arrivals_kind kind;
    double rate; /* of all shares together; > 0 */
    uint64_t seed;
    double share; /* of the rate that this source makes; 0: its part of share_count equal ones */
    unsigned share_index, share_count;
};

/* `next_ns` never decreases; `part_ns` is the fraction of a nanosecond that it leaves out. */
struct pc_arrivals {
    struct pc_random gaps, phases;
    enum pc_arrivals_kind kind;
    double gap_ns_mean; /* of this share; bursty: in the present phase */
    double part_ns;
    uint64_t next_ns;
    double phase_left_ns;
    bool in_burst;
    double calm_gap_ns, burst_gap_ns;
};

void pc_arrivals_init(struct pc_arrivals *arrivals, const struct pc_arrivals_config *config);

/* The intended time of the next request.  Core: owner. */
uint64_t pc_arrivals_next(struct pc_arrivals *arrivals);

/* The name of a kind, and the kind of a name: -ENOENT if there is none. */
const char *pc_arrivals_kind_name(enum pc_arrivals_kind kind);
int pc_arrivals_kind_find(const char *name, enum pc_arrivals_kind *out_kind);

#endif
