/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Each kind of arrival has the law it is named for, whatever the number of shares.
 * Method  Fixed seeds; Anderson-Darling for Poisson, moments for the rest. A sampler broken on
 *         purpose must fail the same test that the real one passes.
 */
#include "measure/arrivals.h"

#include "base/check.h"
#include "measure/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GAPS = 100000, SEED = 2026 };

static void gaps_fill(const struct pc_arrivals_config *config, double *gaps, size_t count)
{
    struct pc_arrivals arrivals;
    pc_arrivals_init(&arrivals, config);
    uint64_t before = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t next = pc_arrivals_next(&arrivals);
        assert_true(next >= before);
        gaps[i] = (double)(next - before);
        before = next;
    }
}

static void mean_and_scv(const double *gaps, size_t count, double *out_mean, double *out_scv)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += gaps[i];
    }
    const double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) {
        squares += (gaps[i] - mean) * (gaps[i] - mean);
    }
    *out_mean = mean;
    *out_scv = squares / (double)count / (mean * mean);
}

static void poisson_gaps_pass_anderson_darling(void **state)
{
    double *gaps = malloc(GAPS * sizeof(gaps[0]));
    const struct pc_arrivals_config config = {
        .kind = PC_ARRIVALS_POISSON, .rate = 50000, .seed = SEED, .share_count = 1};
    gaps_fill(&config, gaps, GAPS);
    assert_true(pc_statistics_exponential_a2(gaps, GAPS) < PC_STATISTICS_A2_ONE_PERCENT);
    free(gaps);
}

static void broken_poisson_fails_anderson_darling(void **state)
{
    /* Each gap moves a twentieth of the way to its neighbour: a plot would not show it. */
    double *gaps = malloc(GAPS * sizeof(gaps[0]));
    const struct pc_arrivals_config config = {
        .kind = PC_ARRIVALS_POISSON, .rate = 50000, .seed = SEED, .share_count = 1};
    gaps_fill(&config, gaps, GAPS);
    for (size_t i = 0; i + 1 < GAPS; i++) {
        gaps[i] = 0.95 * gaps[i] + 0.05 * gaps[i + 1];
    }
    assert_true(pc_statistics_exponential_a2(gaps, GAPS) > PC_STATISTICS_A2_ONE_PERCENT);
    free(gaps);
}

static int by_time(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void shares_together_are_poisson_at_the_whole_rate(void **state)
{
    enum { SHARES = 3 };
    double *times = malloc(GAPS * sizeof(times[0]));
    struct pc_arrivals shares[SHARES];
    uint64_t next[SHARES];
    for (unsigned s = 0; s < SHARES; s++) {
        const struct pc_arrivals_config config = {.kind = PC_ARRIVALS_POISSON,
                                                  .rate = 20000,
                                                  .seed = SEED,
                                                  .share_index = s,
                                                  .share_count = SHARES};
        pc_arrivals_init(&shares[s], &config);
        next[s] = pc_arrivals_next(&shares[s]);
    }
    for (size_t i = 0; i < GAPS; i++) {
        unsigned first = 0;
        for (unsigned s = 1; s < SHARES; s++) {
            first = next[s] < next[first] ? s : first;
        }
        times[i] = (double)next[first];
        next[first] = pc_arrivals_next(&shares[first]);
    }
    const double rate = GAPS / (times[GAPS - 1] / 1e9);
    assert_true(fabs(rate / 20000 - 1) < 0.01);
    for (size_t i = GAPS - 1; i > 0; i--) {
        times[i] -= times[i - 1];
    }
    assert_true(pc_statistics_exponential_a2(times, GAPS) < PC_STATISTICS_A2_ONE_PERCENT);
    free(times);
}

static void fixed_shares_interleave_evenly(void **state)
{
    enum { SHARES = 4, EACH = 1000 };
    double times[SHARES * EACH];
    for (unsigned s = 0; s < SHARES; s++) {
        const struct pc_arrivals_config config = {.kind = PC_ARRIVALS_FIXED,
                                                  .rate = 3000,
                                                  .seed = 1,
                                                  .share_index = s,
                                                  .share_count = SHARES};
        struct pc_arrivals arrivals;
        pc_arrivals_init(&arrivals, &config);
        for (unsigned i = 0; i < EACH; i++) {
            times[s * EACH + i] = (double)pc_arrivals_next(&arrivals);
        }
    }
    qsort(times, PC_COUNT_OF(times), sizeof(times[0]), by_time);
    for (size_t i = 0; i < PC_COUNT_OF(times); i++) {
        assert_true(fabs(times[i] - (double)(i + 1) * 1e9 / 3000) < 2);
    }
}

static void gpd_has_the_variation_of_etc(void **state)
{
    enum { COUNT = 1000000 };
    double *gaps = malloc(COUNT * sizeof(gaps[0]));
    const struct pc_arrivals_config config = {
        .kind = PC_ARRIVALS_GPD, .rate = 52700, .seed = SEED, .share_count = 1};
    gaps_fill(&config, gaps, COUNT);
    double mean, scv;
    mean_and_scv(gaps, COUNT, &mean, &scv);
    assert_true(fabs(mean / (1e9 / 52700) - 1) < 0.01);
    assert_true(fabs(scv / 1.45 - 1) < 0.03); /* 1 / (1 - 2 × 0.154971) */
    free(gaps);
}

static void bursts_are_fives_of_the_calm_rate(void **state)
{
    enum { COUNT = 2000000 };
    const struct pc_arrivals_config config = {
        .kind = PC_ARRIVALS_BURSTY, .rate = 2000, .seed = SEED, .share_count = 1};
    struct pc_arrivals arrivals;
    pc_arrivals_init(&arrivals, &config);
    double calm = 0, burst = 0, calm_ns = 0, burst_ns = 0;
    uint64_t before = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const bool was_burst = arrivals.in_burst;
        const uint64_t next = pc_arrivals_next(&arrivals);
        if (was_burst && arrivals.in_burst) {
            burst++;
            burst_ns += (double)(next - before);
        } else if (!was_burst && !arrivals.in_burst) {
            calm++;
            calm_ns += (double)(next - before);
        }
        before = next;
    }
    assert_true(fabs(COUNT / ((double)before / 1e9) / 2000 - 1) < 0.02);
    assert_true(fabs(burst / burst_ns / (calm / calm_ns) / 5 - 1) < 0.02);
    /* A tenth of the time at five times the rate is 5 / 14 of the requests. */
    assert_true(fabs(burst / COUNT / (5.0 / 14) - 1) < 0.05);
}

static void bursts_of_all_shares_coincide(void **state)
{
    struct pc_arrivals shares[2];
    for (unsigned s = 0; s < 2; s++) {
        const struct pc_arrivals_config config = {.kind = PC_ARRIVALS_BURSTY,
                                                  .rate = 1000000,
                                                  .seed = SEED,
                                                  .share_index = s,
                                                  .share_count = 2};
        pc_arrivals_init(&shares[s], &config);
    }
    unsigned same = 0, looks = 1000;
    for (unsigned i = 1; i <= looks; i++) {
        bool in_burst[2];
        for (unsigned s = 0; s < 2; s++) {
            while (pc_arrivals_next(&shares[s]) < i * UINT64_C(1000000)) {}
            in_burst[s] = shares[s].in_burst;
        }
        same += in_burst[0] == in_burst[1];
    }
    assert_true(same > looks * 99 / 100);
}

static void same_seed_same_times(void **state)
{
    for (unsigned kind = 0; kind < PC_ARRIVALS_KIND_COUNT; kind++) {
        struct pc_arrivals_config config = {
            .kind = kind, .rate = 1234, .seed = 5, .share_count = 1};
        struct pc_arrivals a, b, c;
        pc_arrivals_init(&a, &config);
        pc_arrivals_init(&b, &config);
        config.seed = 6;
        pc_arrivals_init(&c, &config);
        unsigned differ = 0;
        for (unsigned i = 0; i < 1000; i++) {
            const uint64_t next = pc_arrivals_next(&a);
            assert_int_equal(next, pc_arrivals_next(&b));
            differ += next != pc_arrivals_next(&c);
        }
        assert_true(kind == PC_ARRIVALS_FIXED ? differ == 0 : differ > 900);
        enum pc_arrivals_kind found;
        assert_int_equal(pc_arrivals_kind_find(pc_arrivals_kind_name(kind), &found), 0);
        assert_int_equal(found, kind);
    }
    enum pc_arrivals_kind found;
    assert_true(pc_arrivals_kind_find("poison", &found) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poisson_gaps_pass_anderson_darling),
        cmocka_unit_test(broken_poisson_fails_anderson_darling),
        cmocka_unit_test(shares_together_are_poisson_at_the_whole_rate),
        cmocka_unit_test(fixed_shares_interleave_evenly),
        cmocka_unit_test(gpd_has_the_variation_of_etc),
        cmocka_unit_test(bursts_are_fives_of_the_calm_rate),
        cmocka_unit_test(bursts_of_all_shares_coincide),
        cmocka_unit_test(same_seed_same_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
