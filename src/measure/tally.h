/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tally: all that one generator thread counts and times, and how such tallies become one.
 *
 * Owner    The thread that records; anyone may add it to another tally meanwhile (peek).
 * Memory   About 2 MiB on the heap.
 * Units    Nanoseconds in every histogram.
 *
 * response is the headline: from the moment a request was meant to be sent. It is the sum of
 *
 *     lag       intended → sent
 *     network   sent → the kernel has the answer's last byte      (with receive stamps)
 *     client    the kernel has it → we have understood it         (with receive stamps)
 */
#ifndef PC_MEASURE_TALLY_H
#define PC_MEASURE_TALLY_H

#include "base/histogram.h"
#include "measure/traffic.h"

enum pc_tally_counter {
#define PC_TALLY(name, text, help) PC_TALLY_##name,
#include "measure/tally.def"
#undef PC_TALLY
    PC_TALLY_COUNT,
};

/* Row: enumerator, name, what is timed. */
/* clang-format off */
#define PC_TIMED_ROWS(row)                                                                         \
    row(PC_TIMED_RESPONSE, "response",       "intended to received")                               \
    row(PC_TIMED_LAG,      "lag",            "intended to sent")                                   \
    row(PC_TIMED_OWN_LAG,  "own_lag",        "could be sent to sent: our part of the lag")         \
    row(PC_TIMED_SEND,     "from_send",      "sent to received: others call it latency")           \
    row(PC_TIMED_NETWORK,  "network_server", "sent to received by the kernel")                     \
    row(PC_TIMED_CLIENT,   "client",         "received by the kernel to received")
/* clang-format on */

enum pc_timed {
#define PC_TIMED_ENUM(name, text, help) name,
    PC_TIMED_ROWS(PC_TIMED_ENUM)
#undef PC_TIMED_ENUM
        PC_TIMED_COUNT,
};

enum { PC_CONNECTION_CLASSES = 2 };

struct pc_tally {
    uint64_t counters[PC_TALLY_COUNT];
    uint64_t cpu_ns; /* of the thread, over the measured time */
    struct pc_histogram *timed[PC_TIMED_COUNT];
    /* response again, two digits each */
    struct pc_histogram *operations[PC_OPERATION_COUNT];
    struct pc_histogram *deciles[PC_TRAFFIC_DECILES];
    struct pc_histogram *classes[PC_CONNECTION_CLASSES];
};

/* NULL: no memory. */
struct pc_tally *pc_tally_create(void);
void pc_tally_destroy(struct pc_tally *tally);

/* Add all of `from`: exact, whatever the number of threads.  Core: owner of `into`; peek. */
void pc_tally_add(struct pc_tally *into, const struct pc_tally *from);

static inline void pc_tally_count(struct pc_tally *tally, enum pc_tally_counter counter,
                                  uint64_t count)
{
    PC_HISTOGRAM_SET(tally->counters[counter], tally->counters[counter] + count);
}

static inline uint64_t pc_tally_get(const struct pc_tally *tally, enum pc_tally_counter counter)
{
    return PC_HISTOGRAM_GET(tally->counters[counter]);
}

const char *pc_tally_counter_name(enum pc_tally_counter counter);
const char *pc_timed_name(enum pc_timed timed);

#endif
