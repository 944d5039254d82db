/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    A stream is a function of its seed, and mixes, lives, weights and service laws have the
 *         shares that were asked for.
 * Method  Fixed seeds; chi-square where a law is discrete, means where it is not.
 */
#include "measure/traffic.h"

#include "base/check.h"
#include "measure/contents.h"
#include "measure/presets.h"
#include "measure/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 200000 };

static struct pc_traffic_config config_of(const char *preset_name)
{
    const struct pc_preset *preset = pc_preset_find(preset_name);
    assert_non_null(preset);
    struct pc_traffic_config config = {
        .multi_get_count = 10,
        .popularity = {.kind = preset->popularity,
                       .key_count = 10000,
                       .alpha = preset->alpha,
                       .hot_share = preset->hot_share,
                       .period_ns = preset->period_ns},
        .miss_share = preset->miss_share,
        .one_time_share = preset->one_time_share,
        .service_law = preset->service_law,
        .service_ns_mean = preset->service_ns_mean,
        .weights = preset->weights,
        .connection_count = 64,
        .seed = 1,
    };
    memcpy(config.mix, preset->mix, sizeof(config.mix));
    memcpy(config.lives, preset->lives, sizeof(config.lives));
    return config;
}

static uint64_t stream_hash(const struct pc_traffic_config *config, uint64_t gap_ns)
{
    struct pc_traffic *traffic = pc_traffic_create(config, 0, 1);
    for (unsigned i = 1; i <= 20000; i++) {
        struct pc_planned planned;
        pc_traffic_next(traffic, i * gap_ns, &planned);
    }
    const uint64_t hash = pc_traffic_hash(traffic);
    assert_int_equal(pc_traffic_hashed_count(traffic), PC_TRAFFIC_HASHED);
    pc_traffic_destroy(traffic);
    return hash;
}

static void same_seed_same_stream(void **state)
{
    size_t count;
    const struct pc_preset_row *rows = pc_presets(&count);
    assert_true(count >= 21);
    for (size_t i = 0; i < count; i++) {
        struct pc_traffic_config config = config_of(rows[i].name);
        const uint64_t hash = stream_hash(&config, 1000);
        assert_int_equal(hash, stream_hash(&config, 1000));
        assert_int_not_equal(hash, stream_hash(&config, 1001));
        config.seed = 2;
        assert_int_not_equal(hash, stream_hash(&config, 1000));
    }
}

static void mix_has_its_shares(void **state)
{
    const struct pc_traffic_config config = config_of("tw52");
    struct pc_traffic *traffic = pc_traffic_create(&config, 0, 1);
    uint64_t observed[PC_OPERATION_COUNT] = {0}, lives[3] = {0}, absent = 0, reads = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        struct pc_planned planned;
        pc_traffic_next(traffic, i, &planned);
        observed[planned.operation]++;
        lives[planned.life_s == 86400 ? 0 : planned.life_s == 1209600 ? 1 : 2]++;
        if (!pc_operation_writes(planned.operation)) {
            reads++;
            absent += pc_key_class_of(planned.key) == PC_KEY_ABSENT;
        }
    }
    const uint64_t seen[] = {observed[PC_OPERATION_GET], observed[PC_OPERATION_ADD],
                             observed[PC_OPERATION_GETS], observed[PC_OPERATION_CAS]};
    const double expected[] = {DRAWS * .91 / .99, DRAWS * .04 / .99, DRAWS * .02 / .99,
                               DRAWS * .02 / .99};
    const double lives_expected[] = {DRAWS * .65 / .99, DRAWS * .27 / .99, DRAWS * .07 / .99};
    assert_true(pc_statistics_fit_p(seen, expected, 4) > 0.01);
    assert_true(pc_statistics_fit_p(lives, lives_expected, 3) > 0.01);
    assert_true(fabs((double)absent / (double)reads - .019) < .002);
    pc_traffic_destroy(traffic);
}

static void one_time_keys_are_used_once(void **state)
{
    const struct pc_traffic_config config = config_of("tw12");
    static uint8_t seen[2 * DRAWS];
    unsigned one_time = 0;
    for (unsigned source = 0; source < 2; source++) {
        struct pc_traffic *traffic = pc_traffic_create(&config, source, 2);
        for (unsigned i = 0; i < DRAWS; i++) {
            struct pc_planned planned;
            pc_traffic_next(traffic, i, &planned);
            if (pc_key_class_of(planned.key) == PC_KEY_ONE_TIME) {
                const uint64_t number = planned.key - pc_key_of(PC_KEY_ONE_TIME, 0);
                assert_true(number < sizeof(seen));
                assert_int_equal(seen[number], 0);
                seen[number] = 1;
                one_time++;
            }
        }
        pc_traffic_destroy(traffic);
    }
    assert_true(fabs(one_time / (2.0 * DRAWS) - .81) < .01);
}

static void connections_carry_their_weights(void **state)
{
    struct pc_traffic_config config = config_of("hotconn");
    for (unsigned kind = 0; kind < PC_WEIGHTS_KIND_COUNT; kind++) {
        config.weights = kind;
        struct pc_traffic *traffic = pc_traffic_create(&config, 0, 1);
        uint64_t observed[64] = {0};
        double expected[64], sum = 0;
        for (unsigned i = 0; i < DRAWS; i++) {
            struct pc_planned planned;
            pc_traffic_next(traffic, i, &planned);
            observed[planned.connection]++;
        }
        for (unsigned i = 0; i < 64; i++) {
            expected[i] = kind == PC_WEIGHTS_EQUAL  ? 1
                          : kind == PC_WEIGHTS_ZIPF ? 1.0 / (i + 1)
                          : i < 6                   ? .9 / 6
                                                    : .1 / 58;
            sum += expected[i];
        }
        for (unsigned i = 0; i < 64; i++) {
            expected[i] *= DRAWS / sum;
        }
        assert_true(pc_statistics_fit_p(observed, expected, 64) > 0.01);
        const unsigned heavy = kind == PC_WEIGHTS_EQUAL ? 64 : 6;
        assert_int_equal(pc_traffic_connection_class(traffic, heavy - 1), 0);
        assert_int_equal(pc_traffic_connection_class(traffic, heavy), 1);
        pc_traffic_destroy(traffic);
    }
}

static void sources_share_connections_and_rate(void **state)
{
    struct pc_traffic_config config = config_of("hotconn");
    config.connection_count = 7;
    double share = 0;
    unsigned connections = 0;
    for (unsigned source = 0; source < 3; source++) {
        struct pc_traffic *traffic = pc_traffic_create(&config, source, 3);
        share += pc_traffic_share(traffic);
        connections += pc_traffic_connection_count(traffic);
        for (unsigned i = 0; i < 1000; i++) {
            struct pc_planned planned;
            pc_traffic_next(traffic, i, &planned);
            assert_true(planned.connection < pc_traffic_connection_count(traffic));
        }
        pc_traffic_destroy(traffic);
    }
    assert_int_equal(connections, 7);
    assert_true(fabs(share - 1) < 1e-9);
}

static void service_laws_have_their_mean(void **state)
{
    /* Relative standard deviations are below 23 (b999: 15.8, ln2: 7.3); 4e6 draws: three of them
     * are 3.5 %. */
    enum { COUNT = 4000000 };
    for (unsigned law = 0; law < PC_SERVICE_LAW_COUNT; law++) {
        struct pc_random random;
        pc_random_init(&random, 31 + law);
        double sum = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            sum += (double)pc_service_draw(law, 1e5, &random);
        }
        if (fabs(sum / COUNT / 1e5 - 1) > 0.035) {
            fail_msg("%s: mean %g", pc_service_law_name(law), sum / COUNT);
        }
    }
}

static void multi_get_walks_the_same_keys_twice(void **state)
{
    struct pc_traffic_config config = config_of("ycsb-b");
    memset(config.mix, 0, sizeof(config.mix));
    config.mix[PC_OPERATION_MULTI_GET] = 1;
    struct pc_traffic *traffic = pc_traffic_create(&config, 0, 1);
    uint64_t keys[2][10];
    struct pc_planned planned, unused;
    pc_traffic_next(traffic, 5, &planned);
    assert_int_equal(planned.key_count, 10);
    for (unsigned walk_index = 0; walk_index < 2; walk_index++) {
        struct pc_popularity walk;
        pc_traffic_more_begin(traffic, &planned, &walk);
        for (unsigned i = 1; i < planned.key_count; i++) {
            keys[walk_index][i] = pc_traffic_more_next(&walk, &planned);
        }
        pc_traffic_next(traffic, 6, &unused); /* the stream going on changes nothing */
    }
    assert_memory_equal(&keys[0][1], &keys[1][1], 9 * sizeof(keys[0][0]));
    pc_traffic_destroy(traffic);
}

static void deciles_follow_the_rank(void **state)
{
    struct pc_traffic_config config = config_of("ycsb-c");
    config.popularity.kind = PC_POPULARITY_UNIFORM;
    struct pc_traffic *traffic = pc_traffic_create(&config, 0, 1);
    uint64_t observed[PC_TRAFFIC_DECILES] = {0};
    double expected[PC_TRAFFIC_DECILES];
    for (unsigned i = 0; i < DRAWS; i++) {
        struct pc_planned planned;
        pc_traffic_next(traffic, i, &planned);
        observed[planned.decile]++;
    }
    for (unsigned i = 0; i < PC_TRAFFIC_DECILES; i++) {
        expected[i] = DRAWS / 10.0;
    }
    assert_true(pc_statistics_fit_p(observed, expected, PC_TRAFFIC_DECILES) > 0.01);
    pc_traffic_destroy(traffic);
}

static void mix_text_is_read_or_refused(void **state)
{
    double mix[PC_OPERATION_COUNT] = {[PC_OPERATION_TOUCH] = 7};
    const char *bad[] = {"",  "get=",  "get=x",   "get=-1", "got=1",       "get=1,",
                         ",", "get=0", "get=inf", "get==1", "get=1;set=1", "get=1 "};
    for (size_t i = 0; i < PC_COUNT_OF(bad); i++) {
        assert_true(pc_traffic_mix_parse(bad[i], mix) < 0);
    }
    assert_true(mix[PC_OPERATION_TOUCH] == 7);
    assert_int_equal(pc_traffic_mix_parse("get=0.9,set=0.1,meta-set", mix), 0);
    assert_true(mix[PC_OPERATION_GET] == 0.9 && mix[PC_OPERATION_SET] == 0.1);
    assert_true(mix[PC_OPERATION_META_SET] == 1 && mix[PC_OPERATION_TOUCH] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_stream),
        cmocka_unit_test(mix_has_its_shares),
        cmocka_unit_test(one_time_keys_are_used_once),
        cmocka_unit_test(connections_carry_their_weights),
        cmocka_unit_test(sources_share_connections_and_rate),
        cmocka_unit_test(service_laws_have_their_mean),
        cmocka_unit_test(multi_get_walks_the_same_keys_twice),
        cmocka_unit_test(deciles_follow_the_rank),
        cmocka_unit_test(mix_text_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
