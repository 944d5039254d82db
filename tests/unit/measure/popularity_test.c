/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Keys are as popular as the law says, for exponents below, at and above 1.
 * Method  Fixed seeds, 10^7 draws against the exact weights by chi-square. Two samplers that people
 *         really write are put to the same test and must fail it.
 */
#include "measure/popularity.h"

#include "base/check.h"
#include "measure/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 10000000, KEYS = 5000, SEED = 77 };

static double zipf_p(double alpha, const uint64_t *observed)
{
    double *expected = malloc(KEYS * sizeof(expected[0])), sum = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        expected[k] = pow(k + 1, -alpha);
        sum += expected[k];
    }
    for (unsigned k = 0; k < KEYS; k++) {
        expected[k] *= DRAWS / sum;
    }
    const double p = pc_statistics_fit_p(observed, expected, KEYS);
    free(expected);
    return p;
}

static const double alphas[] = {0.3, 0.99, 1, 1.2, 2.7};

static void zipf_passes_chi_square(void **state)
{
    uint64_t *observed = malloc(KEYS * sizeof(observed[0]));
    for (size_t a = 0; a < PC_COUNT_OF(alphas); a++) {
        memset(observed, 0, KEYS * sizeof(observed[0]));
        struct pc_zipf zipf;
        pc_zipf_init(&zipf, alphas[a], KEYS);
        struct pc_random random;
        pc_random_init(&random, SEED + a);
        for (unsigned i = 0; i < DRAWS; i++) {
            const uint64_t k = pc_zipf_draw(&zipf, &random);
            assert_in_range(k, 1, KEYS);
            observed[k - 1]++;
        }
        const double p = zipf_p(alphas[a], observed);
        print_message("alpha %.2f: p = %.4f\n", alphas[a], p);
        assert_true(p > 0.01);
    }
    free(observed);
}

/* A continuous Pareto variable cut to integers: close to Zipf, often written, and wrong. */
static uint64_t broken_draw(double alpha, struct pc_random *random)
{
    const double u = pc_random_unit(random), end = KEYS + 1, e = 1 - alpha;
    const double x = fabs(e) < 1e-9 ? pow(end, u) : pow(1 + u * (pow(end, e) - 1), 1 / e);
    return x > KEYS ? KEYS : (uint64_t)x;
}

static void broken_zipf_fails_chi_square(void **state)
{
    uint64_t *observed = malloc(KEYS * sizeof(observed[0]));
    for (size_t a = 0; a < PC_COUNT_OF(alphas); a++) {
        memset(observed, 0, KEYS * sizeof(observed[0]));
        struct pc_random random;
        pc_random_init(&random, SEED + a);
        for (unsigned i = 0; i < DRAWS; i++) {
            observed[broken_draw(alphas[a], &random) - 1]++;
        }
        assert_true(zipf_p(alphas[a], observed) < 0.01);
    }
    free(observed);
}

static void slightly_wrong_exponent_fails_chi_square(void **state)
{
    uint64_t *observed = calloc(KEYS, sizeof(observed[0]));
    struct pc_zipf zipf;
    pc_zipf_init(&zipf, 0.98, KEYS);
    struct pc_random random;
    pc_random_init(&random, SEED);
    for (unsigned i = 0; i < DRAWS; i++) {
        observed[pc_zipf_draw(&zipf, &random) - 1]++;
    }
    assert_true(zipf_p(0.99, observed) < 0.01);
    free(observed);
}

static void uniform_passes_chi_square(void **state)
{
    static uint64_t observed[KEYS];
    static double expected[KEYS];
    const struct pc_popularity_config config = {
        .kind = PC_POPULARITY_UNIFORM, .key_count = KEYS, .key_seed = 3};
    struct pc_popularity popularity;
    pc_popularity_init(&popularity, &config, SEED);
    for (unsigned i = 0; i < DRAWS / 10; i++) {
        observed[pc_popularity_draw(&popularity, 0).key]++;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        expected[i] = DRAWS / 10.0 / KEYS;
    }
    assert_true(pc_statistics_fit_p(observed, expected, KEYS) > 0.01);
}

static void ranks_and_keys_are_one_to_one(void **state)
{
    enum { COUNT = 30030 }; /* many divisors */
    static uint8_t seen[COUNT];
    static uint64_t key_of[COUNT];
    const struct pc_popularity_config config = {
        .kind = PC_POPULARITY_UNIFORM, .key_count = COUNT, .key_seed = 9};
    struct pc_popularity popularity;
    pc_popularity_init(&popularity, &config, SEED);
    unsigned found = 0;
    for (unsigned i = 0; i < 40 * COUNT; i++) {
        const struct pc_pick pick = pc_popularity_draw(&popularity, 0);
        assert_true(pick.rank < COUNT && pick.key < COUNT);
        if (!seen[pick.rank]) {
            seen[pick.rank] = 1;
            key_of[pick.rank] = pick.key + 1;
            found++;
        }
        assert_int_equal(key_of[pick.rank], pick.key + 1);
    }
    assert_int_equal(found, COUNT);
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < COUNT; i++) {
        assert_false(seen[key_of[i] - 1]);
        seen[key_of[i] - 1] = 1;
    }
}

static double share_of_key(struct pc_popularity *popularity, uint64_t key, uint64_t at_ns)
{
    enum { COUNT = 200000 };
    unsigned hits = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        hits += pc_popularity_draw(popularity, at_ns).key == key;
    }
    return (double)hits / COUNT;
}

/* The key drawn most often at a time. */
static uint64_t hottest(struct pc_popularity *popularity, uint64_t at_ns)
{
    static unsigned counts[KEYS];
    memset(counts, 0, sizeof(counts));
    uint64_t best = 0;
    for (unsigned i = 0; i < 100000; i++) {
        const uint64_t key = pc_popularity_draw(popularity, at_ns).key;
        counts[key]++;
        best = counts[key] > counts[best] ? key : best;
    }
    return best;
}

static void hot_key_takes_its_share(void **state)
{
    const struct pc_popularity_config config = {
        .kind = PC_POPULARITY_HOT_SHARE, .key_count = KEYS, .hot_share = 0.4, .key_seed = 4};
    struct pc_popularity popularity;
    pc_popularity_init(&popularity, &config, SEED);
    const uint64_t hot = hottest(&popularity, 0);
    assert_true(fabs(share_of_key(&popularity, hot, 0) - (0.4 + 0.6 / KEYS)) < 0.01);
}

static void hot_set_moves_and_everyone_agrees_where_to(void **state)
{
    const struct pc_popularity_config config = {.kind = PC_POPULARITY_MOVING,
                                                .key_count = KEYS,
                                                .hot_share = 0.5,
                                                .hot_count = 1,
                                                .period_ns = 1000,
                                                .key_seed = 4};
    struct pc_popularity a, b;
    pc_popularity_init(&a, &config, SEED);
    pc_popularity_init(&b, &config, SEED + 1);
    const uint64_t first = hottest(&a, 999), second = hottest(&a, 1000);
    assert_true(first != second);
    assert_int_equal(first, hottest(&b, 0));
    assert_int_equal(second, hottest(&b, 1999));
    assert_true(fabs(share_of_key(&b, second, 1500) - 0.5) < 0.01);
    assert_true(share_of_key(&b, first, 1500) < 0.01);
}

static void flash_rises_stays_and_decays(void **state)
{
    const uint64_t second = 1000000000;
    const struct pc_popularity_config config = {.kind = PC_POPULARITY_FLASH,
                                                .key_count = KEYS,
                                                .alpha = 0.99,
                                                .hot_share = 0.5,
                                                .period_ns = 41 * second,
                                                .key_seed = 4};
    assert_true(fabs(pc_popularity_flash_share(&config, second / 2) - 0.25) < 1e-9);
    assert_true(fabs(pc_popularity_flash_share(&config, 5 * second) - 0.5) < 1e-9);
    assert_true(fabs(pc_popularity_flash_share(&config, 41 * second) - 0.5 / M_E) < 1e-9);
    struct pc_popularity popularity;
    pc_popularity_init(&popularity, &config, SEED);
    const uint64_t hot = hottest(&popularity, 5 * second);
    assert_true(fabs(share_of_key(&popularity, hot, 5 * second) - 0.5) < 0.01);
    assert_true(share_of_key(&popularity, hot, 0) < 0.01);
    assert_true(hottest(&popularity, 46 * second) != hot);
}

static void sequence_visits_every_key_in_turn(void **state)
{
    const struct pc_popularity_config config = {.kind = PC_POPULARITY_SEQUENTIAL, .key_count = 7};
    struct pc_popularity popularity;
    pc_popularity_init(&popularity, &config, SEED);
    unsigned seen = 0;
    for (unsigned i = 0; i < 28; i++) {
        const struct pc_pick pick = pc_popularity_draw(&popularity, 0);
        assert_int_equal(pick.rank, i % 7);
        seen = (i % 7 == 0 ? 0 : seen) | 1u << pick.key;
        assert_true(i % 7 != 6 || seen == 0x7f);
    }
}

static void one_key_is_enough(void **state)
{
    struct pc_zipf zipf;
    struct pc_random random;
    pc_random_init(&random, SEED);
    for (double alpha = 0; alpha < 10; alpha += 0.5) {
        pc_zipf_init(&zipf, alpha, 1);
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(pc_zipf_draw(&zipf, &random), 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zipf_passes_chi_square),
        cmocka_unit_test(broken_zipf_fails_chi_square),
        cmocka_unit_test(slightly_wrong_exponent_fails_chi_square),
        cmocka_unit_test(uniform_passes_chi_square),
        cmocka_unit_test(ranks_and_keys_are_one_to_one),
        cmocka_unit_test(hot_key_takes_its_share),
        cmocka_unit_test(hot_set_moves_and_everyone_agrees_where_to),
        cmocka_unit_test(flash_rises_stays_and_decays),
        cmocka_unit_test(sequence_visits_every_key_in_turn),
        cmocka_unit_test(one_key_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
