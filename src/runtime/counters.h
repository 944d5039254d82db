/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counters: what a lane did, counted where it runs and read from anywhere. Rows: counters.def.
 *
 * Owner    The lane that counts is the only writer of its block; a block is whole cache lines.
 * Memory   The heap, at boot. Histograms are 31 KiB each; short-lived lanes do without.
 * Limits   A counter wraps at 2^64.
 * Core     Counting: owner. Sums and the printer: any, and the values may be stale; sums of several
 *          counters are not of one instant.
 * Cost     A load, an add and a plain store; a histogram record a few more.
 */
#ifndef PC_RUNTIME_COUNTERS_H
#define PC_RUNTIME_COUNTERS_H

#include "base/check.h"
#include "base/histogram.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the time of a request goes; sampled, see pc_counters_sample. */
enum pc_stage {
    PC_STAGE_WAITING, /* from the poll that saw it to its parse */
    PC_STAGE_HOP,     /* from the post of a call to its work */
    PC_STAGE_SERVICE, /* in serve and work functions */
    PC_STAGE_SENDING, /* from the end of serve to the kernel */
    PC_STAGE_COUNT,
};

/* One in so many requests is stamped: four clock reads for each would cost a third of the floor. */
#define PC_STAGE_SAMPLE_EVERY 64

struct pc_counters {
    alignas(PC_CACHE_LINE) uint64_t sample_tick;
#define PC_COUNTER(name, help) uint64_t name;
#include "runtime/counters.def"
#undef PC_COUNTER
    /* Nanoseconds; NULL in a block that was created without. */
    struct pc_histogram *turn;
    struct pc_histogram *stages[PC_STAGE_COUNT];
};
static_assert(sizeof(struct pc_counters) % PC_CACHE_LINE == 0, "no two lanes share a line");

/* A block of zeros; NULL: no memory.  Core: boot. */
struct pc_counters *pc_counters_create(bool histograms);
void pc_counters_destroy(struct pc_counters *counters);

/* Pairs with the relaxed loads of the functions below; one writer, so no exchange is needed.
 * Core: owner. */
static inline void pc_count_add(uint64_t *counter, uint64_t amount)
{
    __atomic_store_n(counter, *counter + amount, __ATOMIC_RELAXED);
}

static inline void pc_count(uint64_t *counter)
{
    pc_count_add(counter, 1);
}

/* Whether the next request is one of those that are stamped.  Core: owner. */
static inline bool pc_counters_sample(struct pc_counters *counters)
{
    return counters->turn != NULL && ++counters->sample_tick % PC_STAGE_SAMPLE_EVERY == 0;
}

/* Core: owner. */
static inline void pc_counters_turn(struct pc_counters *counters, uint64_t turn_ns,
                                    uint64_t turn_count)
{
    if (counters->turn != NULL) {
        pc_histogram_record_times(counters->turn, turn_ns, turn_count);
    }
}

/* Core: owner. */
static inline void pc_counters_stage(struct pc_counters *counters, enum pc_stage stage, uint64_t ns)
{
    if (counters->turn != NULL) {
        pc_histogram_record(counters->stages[stage], ns);
    }
}

/* Add all that `from` counted, histograms too if both have them. A lane that ends leaves its
 * counts in a block that stays.  Core: owner of `into`; peek at `from`. */
void pc_counters_add(struct pc_counters *into, const struct pc_counters *from);

/* The sum of the counter called `name` over `block_count` blocks (NULLs are skipped); false, and
 * `*out_sum` untouched, if no row has that name.  Core: peek. */
bool pc_counters_sum(struct pc_counters *const *blocks, unsigned block_count, const char *name,
                     uint64_t *out_sum);

/* The rows, in order: for pages that show them all. NULL past the last.  Core: any. */
const char *pc_counters_name(unsigned index);
const char *pc_counters_help(unsigned index);

/* Gets one line, without a newline, that lives until it returns. */
typedef void pc_counters_emit_fn(void *ctx, const char *line);

/* Up to so many blocks, each one's share is said. */
enum { PC_COUNTERS_EACH_MAX = 64 };

/* Say all in logfmt, a line each: counters with their sum and each block's share, then the
 * histograms of all blocks together. -ENOMEM: the counters only.  Core: peek; allocates. */
int pc_counters_print(struct pc_counters *const *blocks, unsigned block_count,
                      pc_counters_emit_fn *emit, void *ctx);

#endif
