/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    The tests that judge samples are right themselves.
 * Method  Textbook values, and the false alarm rate over many simulated samples.
 */
#include "measure/statistics.h"

#include "base/check.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_close(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.9g is not %.9g", value, expected);
    }
}

static void chi_square_matches_its_tables(void **state)
{
    assert_close(pc_statistics_chi_square_p(3.841459, 1), 0.05, 1e-6);
    assert_close(pc_statistics_chi_square_p(18.307038, 10), 0.05, 1e-6);
    assert_close(pc_statistics_chi_square_p(135.806723, 100), 0.01, 1e-6);
    assert_close(pc_statistics_chi_square_p(2, 2), exp(-1), 1e-12); /* two: exponential */
    assert_close(pc_statistics_chi_square_p(5000, 5000), 0.4973, 1e-3);
    assert_close(pc_statistics_chi_square_p(0, 5), 1, 0);
    assert_true(pc_statistics_chi_square_p(1e5, 5) < 1e-300);
}

static void cells_that_expect_little_are_joined(void **state)
{
    const uint64_t observed[] = {50, 3, 2, 1, 0, 1};
    const double expected[] = {48, 4, 2, 1, 1, 1};
    /* Two cells are left: 48 and the other nine. */
    const double statistic = 4.0 / 48 + 4.0 / 9;
    assert_close(pc_statistics_fit_p(observed, expected, 6),
                 pc_statistics_chi_square_p(statistic, 1), 1e-12);
}

static void anderson_darling_is_wrong_as_often_as_it_says(void **state)
{
    enum { SAMPLES = 20000, COUNT = 200 };
    struct pc_random random;
    pc_random_init(&random, 19);
    unsigned one_percent = 0, one_permille = 0;
    for (unsigned s = 0; s < SAMPLES; s++) {
        double gaps[COUNT];
        for (unsigned i = 0; i < COUNT; i++) {
            gaps[i] = -1e6 * log1p(-pc_random_unit(&random));
        }
        const double a2 = pc_statistics_exponential_a2(gaps, COUNT);
        one_percent += a2 > PC_STATISTICS_A2_ONE_PERCENT;
        one_permille += a2 > PC_STATISTICS_A2_ONE_PERMILLE;
    }
    print_message("beyond 1 %%: %u, beyond 0.1 %%: %u of %u\n", one_percent, one_permille, SAMPLES);
    assert_close((double)one_percent / SAMPLES, 0.01, 0.003);
    assert_close((double)one_permille / SAMPLES, 0.001, 0.0007);
}

static void spearman_matches_known_pairs(void **state)
{
    const double a[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const double b[] = {3, 1, 7, 2, 6, 4, 10, 5, 9, 8};
    double rho, p;
    assert_int_equal(pc_statistics_spearman(a, b, 10, &rho, &p), 0);
    double squares = 0;
    for (unsigned i = 0; i < 10; i++) {
        squares += (a[i] - b[i]) * (a[i] - b[i]);
    }
    assert_close(rho, 1 - 6 * squares / 990, 1e-12);
    assert_true(p > 0 && p < 0.05);
    const double falling[] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    assert_int_equal(pc_statistics_spearman(a, falling, 10, &rho, &p), 0);
    assert_close(rho, -1, 1e-12);
    assert_close(p, 0, 1e-9);
    const double tied[] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    assert_int_equal(pc_statistics_spearman(a, tied, 10, &rho, &p), 0);
    assert_close(rho, 0, 0);
    assert_close(p, 1, 1e-9);
    assert_true(pc_statistics_spearman(a, b, 2, &rho, &p) < 0);
}

static void student_matches_its_tables(void **state)
{
    assert_close(pc_statistics_student_p(2.228139, 10), 0.05, 1e-6);
    assert_close(pc_statistics_student_p(-2.763262, 28), 0.01, 1e-6);
    assert_close(pc_statistics_student_p(0, 5), 1, 1e-12);
    assert_close(pc_statistics_student_p(1, 1), 0.5, 1e-12); /* Cauchy */
}

static void median_ranks_have_their_exact_coverage(void **state)
{
    size_t low, high;
    double coverage;
    assert_int_equal(pc_statistics_median_ranks(6, 0.95, &low, &high, &coverage), 0);
    assert_int_equal(low, 1);
    assert_int_equal(high, 6);
    assert_close(coverage, 0.96875, 1e-9);
    assert_int_equal(pc_statistics_median_ranks(10, 0.95, &low, &high, &coverage), 0);
    assert_int_equal(low, 2);
    assert_close(coverage, 0.978516, 1e-6);
    assert_int_equal(pc_statistics_median_ranks(20, 0.95, &low, &high, &coverage), 0);
    assert_int_equal(low, 6);
    assert_int_equal(high, 15);
    assert_close(coverage, 0.958611, 1e-6);
    assert_true(pc_statistics_median_ranks(5, 0.95, &low, &high, &coverage) < 0);
}

static void median_and_variation(void **state)
{
    double odd[] = {5, 1, 9}, even[] = {4, 1, 3, 2};
    assert_close(pc_statistics_median(odd, 3), 5, 0);
    assert_close(pc_statistics_median(even, 4), 2.5, 0);
    const double values[] = {90, 110, 100};
    assert_close(pc_statistics_variation(values, 3), 0.1, 1e-12);
    assert_close(pc_statistics_variation(values, 1), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chi_square_matches_its_tables),
        cmocka_unit_test(cells_that_expect_little_are_joined),
        cmocka_unit_test(anderson_darling_is_wrong_as_often_as_it_says),
        cmocka_unit_test(spearman_matches_known_pairs),
        cmocka_unit_test(student_matches_its_tables),
        cmocka_unit_test(median_ranks_have_their_exact_coverage),
        cmocka_unit_test(median_and_variation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
