/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Every value is found again to the promised digits, quantiles are those of the sorted
 *         values, and parts added together are bit for bit the whole.
 * Method  Fixed seeds; a sorted array is the twin that quantiles are compared with.
 */
#include "base/histogram.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void layout_is_that_of_hdrhistogram(void **state)
{
    struct pc_histogram *three = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    struct pc_histogram *two = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
    assert_int_equal(three->counter_count, 28672);
    assert_int_equal(two->counter_count, 3968);
    assert_int_equal(pc_histogram_index(three, 0), 0);
    assert_int_equal(pc_histogram_index(three, 2047), 2047);
    assert_int_equal(pc_histogram_index(three, 2048), 2048);
    assert_int_equal(pc_histogram_index(three, 2049), 2048);
    assert_int_equal(pc_histogram_index(three, 4096), 3072);
    assert_true(pc_histogram_index(three, PC_HISTOGRAM_VALUE_MAX) < three->counter_count);
    assert_true(pc_histogram_index(two, PC_HISTOGRAM_VALUE_MAX) < two->counter_count);
    pc_histogram_destroy(three);
    pc_histogram_destroy(two);
}

static void counters_tile_the_range(void **state)
{
    const enum pc_histogram_digits digits[] = {PC_HISTOGRAM_TWO_DIGITS, PC_HISTOGRAM_THREE_DIGITS};
    for (size_t d = 0; d < PC_COUNT_OF(digits); d++) {
        struct pc_histogram *histogram = pc_histogram_create(digits[d]);
        uint64_t expected_low = 0;
        for (uint32_t i = 0; i < histogram->counter_count; i++) {
            const uint64_t low = pc_histogram_index_low(histogram, i);
            const uint64_t high = pc_histogram_index_high(histogram, i);
            assert_int_equal(low, expected_low);
            assert_int_equal(pc_histogram_index(histogram, low), i);
            assert_int_equal(pc_histogram_index(histogram, high), i);
            if (low > 0) {
                const double error = (double)(high - low) / (double)low;
                assert_true(error <= pow(10, -(double)digits[d]));
            }
            expected_low = high + 1;
        }
        pc_histogram_destroy(histogram);
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    enum { COUNT = 200000 };
    uint64_t *values = malloc(COUNT * sizeof(values[0]));
    struct pc_histogram *histogram = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    struct pc_random random;
    pc_random_init(&random, 11);
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (uint64_t)(1000 * exp(14 * pc_random_unit(&random)));
        sum += values[i];
        pc_histogram_record(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), by_value);
    const double fractions[] = {0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    for (size_t i = 0; i < PC_COUNT_OF(fractions); i++) {
        const double rank = ceil(fractions[i] * COUNT);
        const uint64_t exact = values[rank < 1 ? 0 : (size_t)rank - 1];
        const uint64_t found = pc_histogram_quantile(histogram, fractions[i]);
        assert_int_equal(pc_histogram_index(histogram, exact),
                         pc_histogram_index(histogram, found));
        assert_true(found >= exact);
    }
    assert_int_equal(pc_histogram_quantile(histogram, 1), values[COUNT - 1]);
    assert_int_equal(histogram->value_min, values[0]);
    assert_int_equal(pc_histogram_count(histogram), COUNT);
    assert_true(fabs(pc_histogram_mean(histogram) - (double)sum / COUNT) < 1e-6);
    size_t above = COUNT;
    while (above > 0 && values[above - 1] > 1000000) {
        above--;
    }
    const uint64_t border =
        pc_histogram_index_high(histogram, pc_histogram_index(histogram, 1000000));
    size_t expected = 0;
    for (size_t i = above; i < COUNT; i++) {
        expected += values[i] > border;
    }
    assert_int_equal(pc_histogram_count_above(histogram, 1000000), expected);
    free(values);
    pc_histogram_destroy(histogram);
}

static void parts_added_are_the_whole_bit_for_bit(void **state)
{
    enum { PARTS = 7, COUNT = 100000 };
    const enum pc_histogram_digits digits[] = {PC_HISTOGRAM_TWO_DIGITS, PC_HISTOGRAM_THREE_DIGITS};
    for (size_t d = 0; d < PC_COUNT_OF(digits); d++) {
        struct pc_histogram *parts[PARTS];
        for (size_t i = 0; i < PARTS; i++) {
            parts[i] = pc_histogram_create(digits[d]);
        }
        struct pc_histogram *whole = pc_histogram_create(digits[d]);
        struct pc_histogram *sum = pc_histogram_create(digits[d]);
        struct pc_random random;
        pc_random_init(&random, 12);
        for (size_t i = 0; i < COUNT; i++) {
            /* One in a few hundred lies beyond the range. */
            const uint64_t value = pc_random_next(&random) >> (20 + pc_random_below(&random, 30));
            pc_histogram_record(whole, value);
            pc_histogram_record(parts[pc_random_below(&random, PARTS)], value);
        }
        assert_true(whole->clamped_count > 0);
        for (size_t i = 0; i < PARTS; i++) {
            pc_histogram_add(sum, parts[i]);
        }
        assert_true(pc_histogram_equal(whole, sum));
        pc_histogram_record(sum, 5);
        assert_false(pc_histogram_equal(whole, sum));
        for (size_t i = 0; i < PARTS; i++) {
            pc_histogram_destroy(parts[i]);
        }
        pc_histogram_destroy(whole);
        pc_histogram_destroy(sum);
    }
}

static void difference_is_what_came_between(void **state)
{
    struct pc_histogram *now = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    struct pc_histogram *before = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    struct pc_histogram *between = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    pc_histogram_record(now, 10);
    pc_histogram_add(before, now);
    pc_histogram_record_times(now, 1500, 3);
    pc_histogram_record(now, 70);
    pc_histogram_difference(between, now, before);
    assert_int_equal(pc_histogram_count(between), 4);
    assert_int_equal(between->value_sum, 4570);
    assert_int_equal(between->value_min, 70);
    assert_int_equal(between->value_max, 1500);
    assert_int_equal(pc_histogram_quantile(between, 0.25), 70);
    pc_histogram_destroy(now);
    pc_histogram_destroy(before);
    pc_histogram_destroy(between);
}

static void empty_and_out_of_range(void **state)
{
    struct pc_histogram *histogram = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
    assert_int_equal(pc_histogram_count(histogram), 0);
    assert_int_equal(pc_histogram_quantile(histogram, 0.5), 0);
    assert_true(pc_histogram_mean(histogram) == 0);
    pc_histogram_record(histogram, UINT64_MAX);
    assert_int_equal(histogram->clamped_count, 1);
    assert_int_equal(pc_histogram_quantile(histogram, 0.5), PC_HISTOGRAM_VALUE_MAX);
    assert_int_equal(pc_histogram_count_above(histogram, UINT64_MAX), 0);
    pc_histogram_clear(histogram);
    pc_histogram_record(histogram, 0);
    assert_int_equal(pc_histogram_quantile(histogram, 1), 0);
    assert_int_equal(pc_histogram_count(histogram), 1);
    pc_histogram_destroy(histogram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_that_of_hdrhistogram),
        cmocka_unit_test(counters_tile_the_range),
        cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
        cmocka_unit_test(parts_added_are_the_whole_bit_for_bit),
        cmocka_unit_test(difference_is_what_came_between),
        cmocka_unit_test(empty_and_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
