/* SPDX-License-Identifier: Apache-2.0 */
/* statistics: the few special functions and tests that load and lab need. */
#include "measure/statistics.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define ROUNDS_MAX 10000
#define TINY       1e-300

/* Lower regularised incomplete gamma by its power series; good for x < a + 1. */
static double gamma_series(double a, double x)
{
    double term = 1 / a, sum = term;
    for (unsigned i = 1; i < ROUNDS_MAX && fabs(term) > fabs(sum) * 1e-16; i++) {
        term *= x / (a + i);
        sum += term;
    }
    return sum * exp(-x + a * log(x) - lgamma(a));
}

/* Upper regularised incomplete gamma by a continued fraction (Lentz); good for x > a + 1. */
static double gamma_fraction(double a, double x)
{
    double b = x + 1 - a, c = 1 / TINY, d = 1 / b, value = d;
    for (unsigned i = 1; i < ROUNDS_MAX; i++) {
        const double an = -(double)i * (i - a);
        b += 2;
        d = an * d + b;
        d = 1 / (fabs(d) < TINY ? TINY : d);
        c = b + an / c;
        c = fabs(c) < TINY ? TINY : c;
        value *= d * c;
        if (fabs(d * c - 1) < 1e-15) {
            break;
        }
    }
    return value * exp(-x + a * log(x) - lgamma(a));
}

double pc_statistics_chi_square_p(double statistic, double freedom)
{
    if (statistic <= 0) {
        return 1;
    }
    const double a = freedom / 2, x = statistic / 2;
    return x < a + 1 ? 1 - gamma_series(a, x) : gamma_fraction(a, x);
}

double pc_statistics_fit_p(const uint64_t *observed, const double *expected, size_t count)
{
    double statistic = 0, seen = 0, awaited = 0, rest = 0;
    for (size_t i = 0; i < count; i++) {
        rest += expected[i];
    }
    size_t cells = 0;
    for (size_t i = 0; i < count; i++) {
        seen += (double)observed[i];
        awaited += expected[i];
        rest -= expected[i];
        /* The last cell takes a remainder that would be too small to stand alone. */
        if (i + 1 < count && (awaited < 5 || rest < 5)) {
            continue;
        }
        statistic += (seen - awaited) * (seen - awaited) / awaited;
        cells++;
        seen = awaited = 0;
    }
    return cells < 2 ? 1 : pc_statistics_chi_square_p(statistic, (double)(cells - 1));
}

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double pc_statistics_exponential_a2(double *gaps, size_t count)
{
    PC_ASSERT(count > 1);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        gaps[i] = gaps[i] < 0.5 ? 0.5 : gaps[i];
        sum += gaps[i];
    }
    qsort(gaps, count, sizeof(gaps[0]), by_value);
    const double mean = sum / (double)count;
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        const double low = log(-expm1(-gaps[i] / mean));
        const double high = -gaps[count - 1 - i] / mean;
        total += (2 * (double)i + 1) * (low + high);
    }
    const double a2 = -(double)count - total / (double)count;
    return a2 * (1 + 0.6 / (double)count);
}

/* Continued fraction of the incomplete beta function (Lentz). */
static double beta_fraction(double x, double a, double b)
{
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < TINY ? TINY : d);
    double value = d;
    for (unsigned m = 1; m < ROUNDS_MAX; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        const double steps[] = {even, odd};
        double change = 1;
        for (unsigned s = 0; s < 2; s++) {
            d = 1 + steps[s] * d;
            d = 1 / (fabs(d) < TINY ? TINY : d);
            c = 1 + steps[s] / c;
            c = fabs(c) < TINY ? TINY : c;
            change = c * d;
            value *= change;
        }
        if (fabs(change - 1) < 1e-15) {
            break;
        }
    }
    return value;
}

static double beta_regularised(double x, double a, double b)
{
    if (x <= 0 || x >= 1) {
        return x <= 0 ? 0 : 1;
    }
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(x, a, b) / a
                                     : 1 - front * beta_fraction(1 - x, b, a) / b;
}

double pc_statistics_student_p(double t, double freedom)
{
    return beta_regularised(freedom / (freedom + t * t), freedom / 2, 0.5);
}

struct ranked {
    double value;
    size_t index;
};

static int by_ranked(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    return (left->value > right->value) - (left->value < right->value);
}

/* Ranks from 1; equal values share the mean of theirs. */
static void ranks_fill(const double *values, size_t count, struct ranked *order, double *ranks)
{
    for (size_t i = 0; i < count; i++) {
        order[i] = (struct ranked){values[i], i};
    }
    qsort(order, count, sizeof(order[0]), by_ranked);
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        while (end < count && order[end].value <= order[i].value) {
            end++;
        }
        for (size_t j = i; j < end; j++) {
            ranks[order[j].index] = (double)(i + end + 1) / 2;
        }
        i = end;
    }
}

static double correlation(const double *a, const double *b, size_t count)
{
    const double mean = ((double)count + 1) / 2; /* of any ranking */
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (a[i] - mean) * (b[i] - mean);
        aa += (a[i] - mean) * (a[i] - mean);
        bb += (b[i] - mean) * (b[i] - mean);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

int pc_statistics_spearman(const double *a, const double *b, size_t count, double *out_rho,
                           double *out_p)
{
    if (count < 3) {
        return -EINVAL;
    }
    struct ranked *order = malloc(count * sizeof(order[0]));
    double *ranks = malloc(2 * count * sizeof(ranks[0]));
    const bool ready = order != NULL && ranks != NULL;
    if (ready) {
        ranks_fill(a, count, order, ranks);
        ranks_fill(b, count, order, ranks + count);
        const double rho = correlation(ranks, ranks + count, count);
        const double rest = 1 - rho * rho;
        *out_rho = rho;
        *out_p = rest < 1e-12 ? 0
                              : pc_statistics_student_p(rho * sqrt((double)(count - 2) / rest),
                                                        (double)(count - 2));
    }
    free(order);
    free(ranks);
    return ready ? 0 : -ENOMEM;
}

double pc_statistics_median(double *values, size_t count)
{
    PC_ASSERT(count > 0);
    qsort(values, count, sizeof(values[0]), by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double pc_statistics_variation(const double *values, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    const double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) {
        squares += (values[i] - mean) * (values[i] - mean);
    }
    return count < 2 || mean <= 0 ? 0 : sqrt(squares / (double)(count - 1)) / mean;
}

/* Chance that [low, n + 1 - low] covers the median: 1 - 2 P(Binomial(n, 1/2) < low). */
static double median_coverage(size_t count, size_t low)
{
    double tail = 0;
    const double n = (double)count;
    for (size_t k = 0; k < low; k++) {
        const double i = (double)k;
        tail += exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2));
    }
    return 1 - 2 * tail;
}

int pc_statistics_median_ranks(size_t count, double confidence, size_t *out_low, size_t *out_high,
                               double *out_coverage)
{
    size_t best = 0;
    for (size_t low = 1; low <= (count + 1) / 2; low++) {
        if (median_coverage(count, low) < confidence) {
            break;
        }
        best = low;
    }
    if (best == 0) {
        return -ERANGE;
    }
    *out_low = best;
    *out_high = count + 1 - best;
    *out_coverage = median_coverage(count, best);
    return 0;
}
