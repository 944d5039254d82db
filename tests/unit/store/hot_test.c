/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    What hot.h promises: the bounds of SpaceSaving, exactly and under fading; samples that
 *         stand for what was asked; keys that were hot are let go.
 * Method  Zipf streams from a printed seed beside an exact count of every key; a clock that the
 *         test moves.
 */
#include "store/hot.h"

#include "measure/popularity.h"
#include "store/slice.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 5000, SECONDS = 60, REQUESTS_A_SECOND = 5000 };

#define SEED_DEFAULT 20261122

/* Rounding of sums of doubles, in requests of millions. */
#define ROUNDING 1e-3

struct twin {
    struct pc_hot hot;
    double counts[KEYS]; /* exact, faded with the clock */
    double total;
    char names[KEYS][12];
    uint32_t now;
    struct pc_random random;
    struct pc_zipf zipf;
};

static uint64_t seed;

static struct pc_key key_of(struct twin *twin, unsigned number)
{
    char *name = twin->names[number];
    const int bytes = snprintf(name, sizeof(twin->names[number]), "key%u", number);
    /* A poor hash on purpose: names must be compared. */
    return (struct pc_key){.at = name, .bytes = (uint32_t)bytes, .hash = number % 97};
}

static struct twin *twin_create(double alpha)
{
    struct twin *twin = calloc(1, sizeof(*twin));
    assert_non_null(twin);
    pc_hot_init(&twin->hot, seed);
    pc_random_init(&twin->random, seed + 1);
    pc_zipf_init(&twin->zipf, alpha, KEYS);
    twin->now = 1;
    return twin;
}

static unsigned twin_draw(struct twin *twin)
{
    return (unsigned)pc_zipf_draw(&twin->zipf, &twin->random) - 1;
}

static void twin_pass(struct twin *twin, uint32_t seconds)
{
    const double fade = exp2(-(double)seconds / PC_HOT_HALF_LIFE_S);
    twin->now += seconds;
    twin->total *= fade;
    for (unsigned i = 0; i < KEYS; i++) {
        twin->counts[i] *= fade;
    }
}

static int place_of(const struct pc_hot *hot, const struct pc_key *key)
{
    for (unsigned i = 0; i < hot->key_count; i++) {
        if (hot->key_bytes[i] == key->bytes && memcmp(hot->keys[i], key->at, key->bytes) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Notes are not sampled, so the bounds of the algorithm hold to the request. */
static void check_bounds(struct twin *twin)
{
    const struct pc_hot *hot = &twin->hot;
    double sum = 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < hot->key_count; i++) {
        sum += hot->counts[i];
        assert_true(hot->excesses[i] <= twin->total / PC_HOT_KEYS + ROUNDING);
    }
    assert_true(fabs(sum - twin->total) < ROUNDING);
    assert_true(fabs(hot->requests - twin->total) < ROUNDING);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct pc_key key = key_of(twin, i);
        const int at = place_of(hot, &key);
        if (at < 0) {
            assert_true(twin->counts[i] <= twin->total / PC_HOT_KEYS + ROUNDING);
            continue;
        }
        kept++;
        assert_true(twin->counts[i] <= hot->counts[at] + ROUNDING);
        assert_true(hot->counts[at] - hot->excesses[at] <= twin->counts[i] + ROUNDING);
    }
    assert_int_equal(kept, hot->key_count);
}

static void bounds_hold_on_zipf_streams(void **state)
{
    static const double alphas[] = {0.5, 0.8, 0.99, 1.2, 2};
    (void)state;
    for (unsigned a = 0; a < PC_COUNT_OF(alphas); a++) {
        struct twin *twin = twin_create(alphas[a]);
        for (unsigned second = 0; second < SECONDS; second++) {
            for (unsigned i = 0; i < REQUESTS_A_SECOND; i++) {
                const unsigned number = twin_draw(twin);
                const uint32_t requests = 1 + (uint32_t)pc_random_below(&twin->random, 3);
                const struct pc_key key = key_of(twin, number);
                pc_hot_note(&twin->hot, &key, requests, twin->now);
                twin->counts[number] += requests;
                twin->total += requests;
            }
            check_bounds(twin);
            twin_pass(twin, 1 + (uint32_t)pc_random_below(&twin->random, 3));
        }
        free(twin);
    }
}

static void samples_stand_for_what_was_asked(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1.2);
    double asked[KEYS] = {0};
    /* A steady stream that ends in mid-second, as a look at it does on average. */
    for (unsigned half = 0; half < 2 * SECONDS + 1; half++) {
        for (unsigned i = 0; i < 50000; i++) {
            const unsigned number = twin_draw(twin);
            const struct pc_key key = key_of(twin, number);
            pc_hot_count(&twin->hot, &key, twin->now);
            asked[number]++;
        }
        twin->now += half % 2;
    }
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    pc_hot_list_add(list, &twin->hot, twin->now);
    assert_true(list->count > 5);
    assert_true(fabs(list->rate - 100000) < 5000);
    for (unsigned i = 0; i < 5; i++) {
        const struct pc_hot_key *key = &list->keys[i];
        const double rate = asked[i] / (SECONDS + 0.5);
        assert_int_equal(key->key_bytes, 4);
        assert_memory_equal(key->key, key_of(twin, i).at, 4);
        /* Five deviations: the seed is fixed unless somebody sets another. */
        assert_true(fabs(key->rate - rate) < 2.5 * key->rate_error);
        assert_true(key->rate_error < rate / 4);
    }
    free(list);
    free(twin);
}

static void one_request_in_a_gap_is_looked_at(void **state)
{
    (void)state;
    struct pc_random random;
    pc_random_init(&random, seed);
    uint64_t sum = 0;
    uint32_t least = UINT32_MAX, most = 0;
    for (unsigned i = 0; i < 100000; i++) {
        const uint32_t gap = pc_hot_gap(&random);
        sum += gap;
        least = gap < least ? gap : least;
        most = gap > most ? gap : most;
    }
    assert_int_equal(least, 1);
    assert_int_equal(most, 2 * PC_HOT_GAP - 1);
    assert_true(fabs((double)sum / 100000 - PC_HOT_GAP) < 1);
}

static void what_was_hot_gives_way(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1);
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    const struct pc_key old = key_of(twin, 1), new = key_of(twin, 2);
    pc_hot_note(&twin->hot, &old, 1000000, 100);
    /* Six half-lives later a hundredth of the requests is enough to come before it. */
    pc_hot_note(&twin->hot, &new, 20000, 100 + 6 * PC_HOT_HALF_LIFE_S);
    pc_hot_list_add(list, &twin->hot, 100 + 6 * PC_HOT_HALF_LIFE_S);
    assert_int_equal(list->count, 2);
    assert_memory_equal(list->keys[0].key, "key2", 4);
    assert_memory_equal(list->keys[1].key, "key1", 4);
    /* A day later nothing of it is left. */
    memset(list, 0, sizeof(*list));
    pc_hot_list_add(list, &twin->hot, 100 + 24 * 3600);
    assert_int_equal(list->count, 0);
    assert_true(list->rate < 1);
    free(list);
    free(twin);
}

static void lists_merge_and_keys_add_up(void **state)
{
    enum { EACH = 40, COMMON = 7 };
    (void)state;
    struct twin *one = twin_create(1), *two = twin_create(1);
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    for (unsigned i = 0; i < EACH; i++) {
        const struct pc_key even = key_of(one, 2 * i), odd = key_of(two, 2 * i + 1);
        pc_hot_note(&one->hot, &even, 10000 + 200 * i, 1);
        pc_hot_note(&two->hot, &odd, 10000 + 200 * i + 100, 1);
    }
    /* Not the hottest of either; of both together it is. */
    const struct pc_key common = key_of(one, COMMON);
    pc_hot_note(&one->hot, &common, 15000, 1);
    pc_hot_list_add(list, &one->hot, 1);
    pc_hot_list_add(list, &two->hot, 1);
    assert_int_equal(list->count, PC_HOT_LIST_MAX);
    for (unsigned i = 0; i < PC_HOT_LIST_MAX; i++) {
        char want[12];
        const int bytes = snprintf(want, sizeof(want), "key%u", i == 0 ? COMMON : 2 * EACH - i);
        assert_int_equal(list->keys[i].key_bytes, bytes);
        assert_memory_equal(list->keys[i].key, want, (size_t)bytes);
        const unsigned number = 2 * EACH - i;
        const double count = i == 0 ? 15000 + 10000 + 100 * COMMON : 10000 + 100 * number;
        assert_true(fabs(list->keys[i].rate - count / 0.5) < 1);
    }
    free(list);
    free(one);
    free(two);
}

static void a_clock_that_lags_fades_nothing(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1);
    const struct pc_key key = key_of(twin, 1);
    pc_hot_note(&twin->hot, &key, 1000, 100);
    pc_hot_note(&twin->hot, &key, 1000, 99);
    assert_true(twin->hot.counts[0] == 2000);
    free(twin);
}

static void what_is_forgotten_starts_from_nothing(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1);
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    for (unsigned i = 0; i < 2 * PC_HOT_KEYS; i++) {
        const struct pc_key key = key_of(twin, i);
        pc_hot_note(&twin->hot, &key, 1000, 100);
    }
    pc_hot_forget(&twin->hot);
    pc_hot_list_add(list, &twin->hot, 100);
    assert_int_equal(list->count, 0);
    assert_true(list->rate == 0);
    const struct pc_key key = key_of(twin, 1);
    pc_hot_note(&twin->hot, &key, 1000, 50);
    pc_hot_list_add(list, &twin->hot, 50);
    assert_int_equal(list->count, 1);
    assert_true(list->rate == 2000 && list->keys[0].rate == 2000);
    free(list);
    free(twin);
}

static void one_look_alone_says_nothing(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1);
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    const struct pc_key key = key_of(twin, 1);
    pc_hot_note(&twin->hot, &key, PC_HOT_GAP, 1);
    pc_hot_list_add(list, &twin->hot, 1);
    assert_int_equal(list->count, 0);
    pc_hot_note(&twin->hot, &key, PC_HOT_GAP, 1);
    pc_hot_list_add(list, &twin->hot, 1);
    assert_int_equal(list->count, 1);
    free(list);
    free(twin);
}

static void long_keys_are_kept_whole(void **state)
{
    (void)state;
    struct twin *twin = twin_create(1);
    struct pc_hot_list *list = calloc(1, sizeof(*list));
    assert_non_null(list);
    char names[2][PC_KEY_BYTES_MAX];
    memset(names, '\xff', sizeof(names));
    names[1][PC_KEY_BYTES_MAX - 1] = '\0';
    for (unsigned i = 0; i < 2; i++) {
        const struct pc_key key = {.at = names[i], .bytes = PC_KEY_BYTES_MAX, .hash = 7};
        pc_hot_note(&twin->hot, &key, 1000 * (2 - i), 1);
    }
    pc_hot_list_add(list, &twin->hot, 1);
    assert_int_equal(list->count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(list->keys[i].key_bytes, PC_KEY_BYTES_MAX);
        assert_memory_equal(list->keys[i].key, names[i], PC_KEY_BYTES_MAX);
    }
    free(list);
    free(twin);
}

int main(void)
{
    const char *text = getenv("PC_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
    printf("seed %" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_on_zipf_streams),
        cmocka_unit_test(samples_stand_for_what_was_asked),
        cmocka_unit_test(one_request_in_a_gap_is_looked_at),
        cmocka_unit_test(what_was_hot_gives_way),
        cmocka_unit_test(lists_merge_and_keys_add_up),
        cmocka_unit_test(a_clock_that_lags_fades_nothing),
        cmocka_unit_test(what_is_forgotten_starts_from_nothing),
        cmocka_unit_test(one_look_alone_says_nothing),
        cmocka_unit_test(long_keys_are_kept_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
