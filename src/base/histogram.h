/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram: how often each value occurred, to two or three significant digits, in fixed memory.
 *
 * Owner    One core records. Others may look while it does (peek): what they see of each counter
 *          is true, the counters together may be a few records apart.
 * Memory   The caller's (init in `pc_histogram_bytes`) or the heap's (create). Nothing grows.
 * Limits   0 … 100 s in nanoseconds (PC_HISTOGRAM_VALUE_MAX); above, a value counts as the largest
 *          and in `clamped_count`. A counter holds 2^64 - 1.
 * Units    Values are whatever the caller records, nanoseconds by habit; counts are records.
 * Cost     Record: a bit scan, a shift and four plain stores; no branch that data can upset.
 * Source   The layout of HdrHistogram (Gil Tene), lowest value 1: 27 buckets of 2048 steps for
 *          three digits, 30 of 256 for two, so that its tools read what we write.
 */
#ifndef PC_BASE_HISTOGRAM_H
#define PC_BASE_HISTOGRAM_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 100 s in nanoseconds: longer than any deadline we set. */
#define PC_HISTOGRAM_VALUE_MAX UINT64_C(100000000000)

/* Significant decimal digits kept of every value. */
enum pc_histogram_digits {
    PC_HISTOGRAM_TWO_DIGITS = 2,
    PC_HISTOGRAM_THREE_DIGITS = 3,
};

/* Counters in each layout: (buckets + 1) × half of the steps in a bucket. */
enum {
    PC_HISTOGRAM_TWO_DIGITS_COUNTERS = (30 + 1) * 128,
    PC_HISTOGRAM_THREE_DIGITS_COUNTERS = (27 + 1) * 1024,
};

/* The sum of `counts` is the number of records; value_min > value_max means that there are none. */
struct pc_histogram {
    uint32_t digits;
    uint32_t half_bits;     /* log2 of half the steps of a bucket: 7 or 10 */
    uint32_t counter_count; /* length of `counts` */
    uint64_t clamped_count;
    uint64_t value_min, value_max;
    uint64_t value_sum;
    uint64_t counts[];
};

/* Bytes that init needs, suitably aligned for any object. */
size_t pc_histogram_bytes(enum pc_histogram_digits digits);

/* Make an empty histogram in `memory`. */
struct pc_histogram *pc_histogram_init(void *memory, enum pc_histogram_digits digits);

/* NULL: no memory. */
struct pc_histogram *pc_histogram_create(enum pc_histogram_digits digits);
void pc_histogram_destroy(struct pc_histogram *histogram);

/* Forget all records.  Core: owner. */
void pc_histogram_clear(struct pc_histogram *histogram);

/* The counter a value belongs to; `value` ≤ PC_HISTOGRAM_VALUE_MAX. */
static inline uint32_t pc_histogram_index(const struct pc_histogram *histogram, uint64_t value)
{
    const uint64_t step_mask = (UINT64_C(2) << histogram->half_bits) - 1;
    const uint32_t bucket =
        63 - (uint32_t)__builtin_clzll(value | step_mask) - histogram->half_bits;
    return (bucket << histogram->half_bits) + (uint32_t)(value >> bucket);
}

/* Every store of the owner pairs with the relaxed loads of a peek (add, difference, count). */
#define PC_HISTOGRAM_SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)
#define PC_HISTOGRAM_GET(place)        __atomic_load_n(&(place), __ATOMIC_RELAXED)

/* Count `value` `times` times.  Core: owner. */
static inline void pc_histogram_record_times(struct pc_histogram *histogram, uint64_t value,
                                             uint64_t times)
{
    if (PC_UNLIKELY(value > PC_HISTOGRAM_VALUE_MAX)) {
        value = PC_HISTOGRAM_VALUE_MAX;
        PC_HISTOGRAM_SET(histogram->clamped_count, histogram->clamped_count + times);
    }
    uint64_t *counter = &histogram->counts[pc_histogram_index(histogram, value)];
    PC_HISTOGRAM_SET(*counter, *counter + times);
    PC_HISTOGRAM_SET(histogram->value_sum, histogram->value_sum + value * times);
    if (value < histogram->value_min) {
        PC_HISTOGRAM_SET(histogram->value_min, value);
    }
    if (value > histogram->value_max) {
        PC_HISTOGRAM_SET(histogram->value_max, value);
    }
}

/* Count `value` once.  Core: owner. */
static inline void pc_histogram_record(struct pc_histogram *histogram, uint64_t value)
{
    pc_histogram_record_times(histogram, value, 1);
}

/* Add all records of `from`, which has as many digits. Exact: the result is what one histogram
 * would hold had it recorded both streams.  Core: owner of `into`; peek at `from`. */
void pc_histogram_add(struct pc_histogram *into, const struct pc_histogram *from);

/* `into` becomes what was recorded in `now` since the older copy `before`; all have as many
 * digits. Its least and greatest value are known to its digits only.
 * Core: owner of `into`; peek at `now`. */
void pc_histogram_difference(struct pc_histogram *into, const struct pc_histogram *now,
                             const struct pc_histogram *before);

/* Number of records.  Core: peek. */
uint64_t pc_histogram_count(const struct pc_histogram *histogram);

/* Mean of the records, exact up to rounding; 0 if there are none.  Core: peek. */
double pc_histogram_mean(const struct pc_histogram *histogram);

/* The value that `fraction` (0 … 1) of the records do not exceed: the largest value its counter
 * stands for, at most the largest recorded; 0 if there are none.  Core: peek. */
uint64_t pc_histogram_quantile(const struct pc_histogram *histogram, double fraction);

/* Least and greatest value that counter `index` stands for. */
uint64_t pc_histogram_index_low(const struct pc_histogram *histogram, uint32_t index);
uint64_t pc_histogram_index_high(const struct pc_histogram *histogram, uint32_t index);

/* Records whose value is greater than what `value` stands for.  Core: peek. */
uint64_t pc_histogram_count_above(const struct pc_histogram *histogram, uint64_t value);

/* Whether both hold the same counters, sums and limits, bit for bit. */
bool pc_histogram_equal(const struct pc_histogram *a, const struct pc_histogram *b);

#endif
