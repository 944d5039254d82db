/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Whatever is done to a slice, it answers as a naive map does, less what it evicted.
 * Method  Random operations of every kind on both, from printed seeds, with a fake clock,
 *         tiny segments, values over many of them, holds, bodies, flushes, bad hashes and memory
 *         that cannot be had. PC_TEST_SCALE=long plays a hundred times as many.
 */
#include "scale.h"
#include "slice_twin.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t draw_random(void *ctx, uint64_t bound)
{
    return pc_random_below(ctx, bound);
}

/* With `keeps_all` nothing may go, though there is less room than keys need. */
static void play(struct twin_config config, uint64_t seed, uint64_t op_count)
{
    struct pc_random random;
    pc_random_init(&random, seed);
    config.draw = draw_random;
    config.ctx = &random;
    print_message("seed %llu\n", (unsigned long long)seed);
    static struct twin twin;
    twin_create(&twin, &config);
    const uint64_t count = pc_test_scale(op_count, op_count * 100);
    for (uint64_t i = 0; i < count; i++) {
        twin_play(&twin);
    }
    if (config.keeps_all) {
        struct pc_slice_stats stats;
        pc_slice_stats(twin.slice, twin.now, &stats);
        assert_int_equal(twin.missing, 0);
        assert_int_equal(stats.evicted, 0);
        assert_true(stats.no_memory != 0);
        assert_true(stats.moved != 0);
    }
    twin_destroy(&twin);
}

static void roomy_slice_forgets_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        const struct twin_config config = {
            .segment_bytes = 64 * 1024,
            .segment_count = 512,
            .key_count = 64,
            .value_bytes_max = 20000,
        };
        struct pc_random random;
        pc_random_init(&random, seed);
        static struct twin twin;
        struct twin_config with = config;
        with.draw = draw_random;
        with.ctx = &random;
        twin_create(&twin, &with);
        for (uint64_t i = 0; i < 30000; i++) {
            twin_play(&twin);
        }
        assert_int_equal(twin.missing, 0);
        assert_int_equal(twin_evicted(&twin), 0);
        twin_destroy(&twin);
    }
}

static void tiny_slice_agrees(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        play((struct twin_config){.segment_bytes = 4096,
                                  .segment_count = 8 + (unsigned)seed * 6,
                                  .key_count = 300,
                                  .value_bytes_max = 3000 * seed},
             seed, 30000);
    }
}

static void crowded_slice_agrees(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        play((struct twin_config){.segment_bytes = 4096,
                                  .segment_count = 13,
                                  .key_count = 512,
                                  .value_bytes_max = 2000},
             100 + seed, 30000);
    }
}

static void full_slice_that_keeps_all_loses_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        play((struct twin_config){.segment_bytes = 4096,
                                  .segment_count = 10 + (unsigned)seed * 4,
                                  .key_count = 512,
                                  .value_bytes_max = 400 * seed * seed,
                                  .keeps_all = true},
             400 + seed, 30000);
    }
}

static void long_chains_agree(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        play((struct twin_config){.segment_bytes = 4096,
                                  .segment_count = 64,
                                  .key_count = 512,
                                  .value_bytes_max = 5000,
                                  .bad_hash = true},
             200 + seed, 20000);
    }
}

static void slice_agrees_when_memory_cannot_be_had(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        play((struct twin_config){.segment_bytes = 4096,
                                  .segment_count = 64,
                                  .key_count = 512,
                                  .value_bytes_max = 5000,
                                  .bad_hash = seed % 2 == 0,
                                  .fail_one_in = 1 + (unsigned)seed % 3},
             300 + seed, 20000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roomy_slice_forgets_nothing),
        cmocka_unit_test(tiny_slice_agrees),
        cmocka_unit_test(crowded_slice_agrees),
        cmocka_unit_test(full_slice_that_keeps_all_loses_nothing),
        cmocka_unit_test(long_chains_agree),
        cmocka_unit_test(slice_agrees_when_memory_cannot_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
