/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Sizes follow their published laws: ETC's quantiles within 2 %.
 * Method  Fixed seeds; 10^7 draws, sorted by counting.
 */
#include "measure/sizes.h"

#include "base/check.h"
#include "base/random.h"
#include "measure/presets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 10000000, SIZE_MAX_SEEN = 1000001 };

static uint64_t counts[SIZE_MAX_SEEN];

static double counts_fill(const struct pc_sizes *sizes)
{
    memset(counts, 0, sizeof(counts));
    struct pc_random random;
    pc_random_init(&random, 41);
    double sum = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        const uint32_t size = pc_sizes_of(sizes, pc_random_next(&random));
        assert_true(size < SIZE_MAX_SEEN);
        counts[size]++;
        sum += size;
    }
    return sum / DRAWS;
}

static double quantile(double fraction)
{
    uint64_t seen = 0;
    for (unsigned size = 0; size < SIZE_MAX_SEEN; size++) {
        seen += counts[size];
        if ((double)seen >= fraction * DRAWS) {
            return size;
        }
    }
    return SIZE_MAX_SEEN;
}

static void assert_near(double value, double expected)
{
    if (fabs(value / expected - 1) > 0.02) {
        fail_msg("%g is not within 2 %% of %g", value, expected);
    }
}

static void etc_values_have_the_published_quantiles(void **state)
{
    const double mean = counts_fill(&pc_preset_find("etc")->value_sizes);
    assert_near(mean, 194);
    assert_near(quantile(0.5), 39);
    assert_near(quantile(0.9), 520);
    assert_near(quantile(0.99), 1899);
    assert_near(quantile(0.999), 4972);
    /* The table itself: its largest rows, then all of it. */
    assert_near((double)counts[2] / DRAWS, .17820);
    assert_near((double)counts[3] / DRAWS, .09239);
    assert_near((double)counts[11] / DRAWS, .08989);
    double small = 0;
    for (unsigned size = 0; size <= 14; size++) {
        small += (double)counts[size];
    }
    assert_near(small / DRAWS, .4415);
}

static void etc_keys_have_the_published_mean(void **state)
{
    const struct pc_sizes *sizes = &pc_preset_find("etc")->key_sizes;
    assert_near(counts_fill(sizes), 36.2);
    /* Quantiles of the law itself: x = mu + sigma ((-ln u)^-k - 1) / k. */
    const double fractions[] = {0.1, 0.5, 0.9, 0.99};
    for (size_t i = 0; i < PC_COUNT_OF(fractions); i++) {
        const double e = pow(-log(fractions[i]), -.078688);
        assert_near(quantile(fractions[i]) + 0.5, 30.7984 + 8.20449 * (e - 1) / .078688);
    }
}

static void uniform_sizes_cover_their_range(void **state)
{
    struct pc_sizes sizes;
    assert_int_equal(pc_sizes_parse("16-19", 1, 250, &sizes), 0);
    assert_near(counts_fill(&sizes), 17.5);
    for (unsigned size = 16; size <= 19; size++) {
        assert_near((double)counts[size] / DRAWS, 0.25);
    }
    assert_int_equal(counts[15] + counts[20], 0);
}

static void extremes_stay_inside_the_limits(void **state)
{
    const char *texts[] = {"etc",        "gev:30.8,8.2,0.5", "gpd:15,214,0.9",
                           "gpd:0,10,0", "gev:0,5,0",        "gev:20,5,-0.3"};
    for (size_t i = 0; i < PC_COUNT_OF(texts); i++) {
        struct pc_sizes sizes;
        assert_int_equal(pc_sizes_parse(texts[i], 3, 1000, &sizes), 0);
        const uint64_t draws[] = {0, 1, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
        uint32_t before = 0;
        for (size_t d = 0; d < PC_COUNT_OF(draws); d++) {
            const uint32_t size = pc_sizes_of(&sizes, draws[d]);
            assert_in_range(size, 3, 1000);
            assert_true(size >= before); /* inversion: monotone in the draw */
            before = size;
        }
    }
}

static void text_is_read_or_refused(void **state)
{
    struct pc_sizes sizes = {.low = 7};
    const char *bad[] = {"",          "x",    "-5",        "5-",      "9-3",
                         "0",         "1001", "10-1001",   "gev:1,2", "gev:1,0,.1",
                         "gpd:a,b,c", "100k", "gpd:1,2,3", "1-2-3"};
    for (size_t i = 0; i < PC_COUNT_OF(bad); i++) {
        assert_true(pc_sizes_parse(bad[i], 1, 1000, &sizes) < 0);
    }
    assert_int_equal(sizes.low, 7);
    assert_int_equal(pc_sizes_parse("100", 1, 1000, &sizes), 0);
    assert_int_equal(sizes.kind, PC_SIZES_FIXED);
    assert_int_equal(pc_sizes_of(&sizes, 12345), 100);
    assert_near(pc_sizes_mean(&sizes), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(etc_values_have_the_published_quantiles),
        cmocka_unit_test(etc_keys_have_the_published_mean),
        cmocka_unit_test(uniform_sizes_cover_their_range),
        cmocka_unit_test(extremes_stay_inside_the_limits),
        cmocka_unit_test(text_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
