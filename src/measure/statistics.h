/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statistics: is this sample what it claims to be, and how sure can we be of its median?
 *
 * Memory   Borrowed; functions that must sort say that they reorder their input.
 * Limits   Sample sizes up to 2^31; p-values are asymptotic, good from some dozens of samples on.
 * Core     any: nothing here has state.
 * Source   named at each function.
 */
#ifndef PC_MEASURE_STATISTICS_H
#define PC_MEASURE_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

/* Chance that a sum of `freedom` squared standard normals exceeds `statistic`.
 * Source: the regularised incomplete gamma function, by its series or Lentz's fraction. */
double pc_statistics_chi_square_p(double statistic, double freedom);

/* Chi-square p of `observed` counts against `expected` ones (same sum). Neighbouring cells are
 * joined until each expects at least five. */
double pc_statistics_fit_p(const uint64_t *observed, const double *expected, size_t count);

/* Anderson-Darling's A², corrected for an exponential whose mean is taken from the sample;
 * reorders `gaps`. Zero gaps count as the smallest one a clock of one unit can tell.
 * Source: Stephens, JASA 69 (1974): A² (1 + 0.6 / n). */
double pc_statistics_exponential_a2(double *gaps, size_t count);

/* A² beyond which exponentiality is rejected at 1 % (D'Agostino and Stephens 1986) and at 0.1 %
 * (the quantile of 10^6 simulated samples of 200 gaps). */
#define PC_STATISTICS_A2_ONE_PERCENT  1.959
#define PC_STATISTICS_A2_ONE_PERMILLE 2.943

/* Spearman's rank correlation of two series, ties sharing their mean rank; `out_p` gets the
 * two-sided p. Returns -ENOMEM or -EINVAL (fewer than three pairs). */
int pc_statistics_spearman(const double *a, const double *b, size_t count, double *out_rho,
                           double *out_p);

/* Two-sided p of Student's t. */
double pc_statistics_student_p(double t, double freedom);

/* Median, and standard deviation over mean; the median reorders its input. */
double pc_statistics_median(double *values, size_t count);
double pc_statistics_variation(const double *values, size_t count);

/* The narrowest symmetric pair of order statistics that covers the median with at least
 * `confidence`: ranks from 1, and their exact coverage. Returns -ERANGE if even the extremes do
 * not cover it. */
int pc_statistics_median_ranks(size_t count, double confidence, size_t *out_low, size_t *out_high,
                               double *out_coverage);

#endif
