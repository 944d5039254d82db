/* SPDX-License-Identifier: Apache-2.0 */
/* histogram: everything but recording, which is inline. */
#include "base/histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t counters_of(enum pc_histogram_digits digits)
{
    return digits == PC_HISTOGRAM_TWO_DIGITS ? PC_HISTOGRAM_TWO_DIGITS_COUNTERS
                                             : PC_HISTOGRAM_THREE_DIGITS_COUNTERS;
}

size_t pc_histogram_bytes(enum pc_histogram_digits digits)
{
    return sizeof(struct pc_histogram) + counters_of(digits) * sizeof(uint64_t);
}

struct pc_histogram *pc_histogram_init(void *memory, enum pc_histogram_digits digits)
{
    PC_ASSERT(digits == PC_HISTOGRAM_TWO_DIGITS || digits == PC_HISTOGRAM_THREE_DIGITS);
    struct pc_histogram *histogram = memory;
    histogram->digits = digits;
    histogram->half_bits = digits == PC_HISTOGRAM_TWO_DIGITS ? 7 : 10;
    histogram->counter_count = counters_of(digits);
    pc_histogram_clear(histogram);
    return histogram;
}

struct pc_histogram *pc_histogram_create(enum pc_histogram_digits digits)
{
    void *memory = malloc(pc_histogram_bytes(digits));
    return memory == NULL ? NULL : pc_histogram_init(memory, digits);
}

void pc_histogram_destroy(struct pc_histogram *histogram)
{
    free(histogram);
}

void pc_histogram_clear(struct pc_histogram *histogram)
{
    histogram->clamped_count = 0;
    histogram->value_min = UINT64_MAX;
    histogram->value_max = 0;
    histogram->value_sum = 0;
    memset(histogram->counts, 0, histogram->counter_count * sizeof(histogram->counts[0]));
}

static void add_limits(struct pc_histogram *into, uint64_t least, uint64_t greatest)
{
    if (least < into->value_min) {
        PC_HISTOGRAM_SET(into->value_min, least);
    }
    if (greatest > into->value_max) {
        PC_HISTOGRAM_SET(into->value_max, greatest);
    }
}

void pc_histogram_add(struct pc_histogram *into, const struct pc_histogram *from)
{
    PC_ASSERT(into->digits == from->digits);
    for (uint32_t i = 0; i < from->counter_count; i++) {
        const uint64_t count = PC_HISTOGRAM_GET(from->counts[i]);
        if (count != 0) {
            PC_HISTOGRAM_SET(into->counts[i], into->counts[i] + count);
        }
    }
    const uint64_t sum = PC_HISTOGRAM_GET(from->value_sum);
    const uint64_t clamped = PC_HISTOGRAM_GET(from->clamped_count);
    PC_HISTOGRAM_SET(into->value_sum, into->value_sum + sum);
    PC_HISTOGRAM_SET(into->clamped_count, into->clamped_count + clamped);
    add_limits(into, PC_HISTOGRAM_GET(from->value_min), PC_HISTOGRAM_GET(from->value_max));
}

void pc_histogram_difference(struct pc_histogram *into, const struct pc_histogram *now,
                             const struct pc_histogram *before)
{
    PC_ASSERT(into->digits == now->digits && now->digits == before->digits);
    pc_histogram_clear(into);
    for (uint32_t i = 0; i < now->counter_count; i++) {
        const uint64_t count = PC_HISTOGRAM_GET(now->counts[i]) - before->counts[i];
        into->counts[i] = count;
        if (count != 0) {
            add_limits(into, pc_histogram_index_low(now, i), pc_histogram_index_high(now, i));
        }
    }
    into->value_sum = PC_HISTOGRAM_GET(now->value_sum) - before->value_sum;
    into->clamped_count = PC_HISTOGRAM_GET(now->clamped_count) - before->clamped_count;
}

uint64_t pc_histogram_count(const struct pc_histogram *histogram)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < histogram->counter_count; i++) {
        total += PC_HISTOGRAM_GET(histogram->counts[i]);
    }
    return total;
}

double pc_histogram_mean(const struct pc_histogram *histogram)
{
    const uint64_t total = pc_histogram_count(histogram);
    return total == 0 ? 0 : (double)PC_HISTOGRAM_GET(histogram->value_sum) / (double)total;
}

uint64_t pc_histogram_index_low(const struct pc_histogram *histogram, uint32_t index)
{
    const uint32_t half = UINT32_C(1) << histogram->half_bits;
    if (index < 2 * half) {
        return index;
    }
    const uint32_t bucket = (index >> histogram->half_bits) - 1;
    return (uint64_t)((index & (half - 1)) + half) << bucket;
}

uint64_t pc_histogram_index_high(const struct pc_histogram *histogram, uint32_t index)
{
    const uint32_t halves = index >> histogram->half_bits;
    const uint32_t bucket = halves < 2 ? 0 : halves - 1;
    return pc_histogram_index_low(histogram, index) + (UINT64_C(1) << bucket) - 1;
}

uint64_t pc_histogram_quantile(const struct pc_histogram *histogram, double fraction)
{
    const uint64_t total = pc_histogram_count(histogram);
    if (total == 0) {
        return 0;
    }
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    uint64_t rank = (uint64_t)ceil(fraction * (double)total);
    rank = rank == 0 ? 1 : rank > total ? total : rank;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < histogram->counter_count; i++) {
        seen += PC_HISTOGRAM_GET(histogram->counts[i]);
        if (seen >= rank) {
            const uint64_t high = pc_histogram_index_high(histogram, i);
            const uint64_t greatest = PC_HISTOGRAM_GET(histogram->value_max);
            return high < greatest ? high : greatest;
        }
    }
    return PC_HISTOGRAM_GET(histogram->value_max);
}

uint64_t pc_histogram_count_above(const struct pc_histogram *histogram, uint64_t value)
{
    if (value >= PC_HISTOGRAM_VALUE_MAX) {
        return 0;
    }
    uint64_t total = 0;
    for (uint32_t i = pc_histogram_index(histogram, value) + 1; i < histogram->counter_count; i++) {
        total += PC_HISTOGRAM_GET(histogram->counts[i]);
    }
    return total;
}

bool pc_histogram_equal(const struct pc_histogram *a, const struct pc_histogram *b)
{
    return a->digits == b->digits && a->clamped_count == b->clamped_count &&
           a->value_min == b->value_min && a->value_max == b->value_max &&
           a->value_sum == b->value_sum &&
           memcmp(a->counts, b->counts, a->counter_count * sizeof(a->counts[0])) == 0;
}
