/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_test: worlds of the cache, whose clients' histories are judged.
 *
 * Goal    What concurrent clients are told of one key could have been told to one after the other,
 *         in every ownership mode, lending or not, on 1, 2 and 4 cores, whatever the schedule and
 *         the machine's moods; what is evicted does not come back. A stale read, a torn one, a life
 *         told too long, a write out of turn and a lost update, planted, are found.
 * Method  A world a seed (world.h) with plays as clients (linear_play.h), about 1000 requests a
 *         history. Stamps count what the clients send and read, in the order in which it happens.
 *         Fibers switch at every PC_POINT, inside the store too. PC_SEED=n repeats history n in
 *         every combination.
 */
#include "seeds.h"

#include "base/check.h"
#include "combination.h"
#include "linear_play.h"
#include "runtime/runtime.h"
#include "scale.h"
#include "services/cache.h"
#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Some connections are broken off, and leave a part of their share unsaid. */
#define LIMIT_BYTES      (UINT64_C(64) << 20)
#define LIMIT_BYTES_TINY (UINT64_C(2) << 20)

enum {
    REQUESTS = 1070,
    REQUESTS_TINY = 300, /* most of them many times larger */
    STEPS_TINY = 20 * 1000 * 1000,
    SEEDS_TO_FIND = 1000,
    SECONDS_AHEAD = 1000000, /* of the world's clock, which then never ticks itself */
};

/* What the next worlds are. */
static struct pc_combination combination;
static unsigned credit_count; /* of each pair of cores; 0: drawn */
static bool tiny;             /* so little memory that items vanish */
static uint64_t vanished;     /* keys of which something did */

static struct pc_world_tally tally;
static struct pc_play_tally play_tally;

/* ---- A play as the clients' talk ---- */

struct scene {
    struct pc_play *play;
    unsigned requests; /* a connection */
    struct pc_runtime *runtime;
    uint64_t second;
};

/* The clock of expiry goes on at once, for all cores. */
static void scene_tick(void *ctx, uint32_t seconds)
{
    struct scene *scene = ctx;
    scene->second += seconds;
    pc_runtime_tick(scene->runtime,
                    scene->runtime->start_ns + scene->second * UINT64_C(1000000000));
}

static void runtime_made(void *ctx, struct pc_runtime *runtime)
{
    struct scene *scene = ctx;
    scene->runtime = runtime;
    scene_tick(scene, SECONDS_AHEAD);
}

static size_t play_pull(void *state, uint8_t *out, size_t room)
{
    return pc_talk_pull(state, out, room);
}

static bool play_push(void *state, const uint8_t *bytes, size_t count)
{
    return pc_talk_push(state, bytes, count);
}

static bool play_sent(void *state)
{
    return pc_talk_sent(state);
}

static bool play_done(void *state)
{
    return pc_talk_done(state);
}

static const char *play_trouble(void *state)
{
    return pc_talk_trouble(state);
}

static void play_end(void *state)
{
    pc_talk_end(state);
}

static void talk_begin(void *ctx, unsigned connection, uint64_t seed, struct pc_world_talk *out)
{
    const struct scene *scene = ctx;
    *out = (struct pc_world_talk){.state = pc_talk_begin(scene->play, seed, scene->requests),
                                  .pull = play_pull,
                                  .push = play_push,
                                  .sent = play_sent,
                                  .done = play_done,
                                  .trouble = play_trouble,
                                  .end = play_end};
}

/* ---- A world ---- */

static const char *world_run(struct scene *scene, struct pc_random *random, FILE *report)
{
    struct pc_test_cache cache;
    pc_test_cache_init(&cache, &combination, tiny ? LIMIT_BYTES_TINY : LIMIT_BYTES,
                       pc_random_next(random));
    const unsigned client_count = 2 + (unsigned)pc_random_below(random, 9);
    const unsigned connection_count = 1 + (unsigned)pc_random_below(random, 4);
    const unsigned share = (tiny ? REQUESTS_TINY : REQUESTS) / (client_count * connection_count);
    scene->requests = share > 0 ? share : 1;
    const struct pc_world_config config = {
        .seed = pc_random_next(random),
        .model = "per-core",
        .core_count = combination.core_count,
        .place_count = cache.place_count,
        .places_shared = cache.places_shared,
        .places_lent = cache.places_lent,
        .to_the_end = true,
        .few_credits = true,
        .credit_count = credit_count,
        .step_count_max = tiny ? STEPS_TINY : 0,
        .service = &pc_cache_service,
        .app = cache.cache,
        .made = runtime_made,
        .client_count = client_count,
        .connection_count = connection_count,
        .talk = talk_begin,
        .ctx = scene,
    };
    const char *trouble = pc_world_run(&config, &tally, report);
    /* A world that failed has taken what its fibers held with it. */
    if (trouble == NULL) {
        trouble = pc_play_judge(scene->play, report);
        pc_test_cache_fini(&cache);
    }
    return trouble;
}

static const char *linear_world(uint64_t seed, FILE *report)
{
    static char kept[300];
    struct pc_random random;
    pc_random_init(&random, seed ^ 0x6c696e65);
    struct scene scene = {0};
    const struct pc_play_config config = {.seed = pc_random_next(&random),
                                          .prefix = "k",
                                          .vanishes = tiny,
                                          .tick = scene_tick,
                                          .ctx = &scene};
    scene.play = pc_play_create(&config);
    const char *trouble = world_run(&scene, &random, report);
    if (trouble != NULL) {
        snprintf(kept, sizeof(kept), "%s", trouble);
        return kept;
    }
    pc_play_tally(scene.play, &play_tally);
    pc_play_destroy(scene.play);
    return NULL;
}

/* ---- Cases ---- */

static void visit_histories(const struct pc_combination *next)
{
    combination = *next;
    const uint64_t count = pc_test_scale(5, 1000);
    assert_true(pc_seeds_all_well(next->name, count, linear_world));
}

static void every_combination_is_linear(void **state)
{
    (void)state;
    pc_combinations_visit(visit_histories);
}

/* A few histories in this process, to see that they are what they should be. */
static void visit_tally(const struct pc_combination *next)
{
    combination = *next;
    enum { COUNT = 3 };
    tally = (struct pc_world_tally){0};
    play_tally = (struct pc_play_tally){0};
    for (uint64_t seed = 1; seed <= COUNT; seed++) {
        assert_null(linear_world(seed, stderr));
    }
    print_message(
        "%s: %u histories, %" PRIu64 " calls of one key: %" PRIu64 " told, %" PRIu64
        " quiet, %" PRIu64 " cut off; %" PRIu64 " ticks; %.1f events beside each; %" PRIu64
        " steps to judge; %" PRIu64 " points, %" PRIu64 " letters, %" PRIu64 " borrowed\n",
        next->name, (unsigned)COUNT, play_tally.calls, play_tally.answered, play_tally.untold,
        play_tally.cut, play_tally.ticks, (double)play_tally.beside / (double)play_tally.calls,
        play_tally.steps, tally.steps, tally.letters, tally.borrowed);
    assert_true(play_tally.calls > COUNT * 900 && play_tally.untold > 0);
}

static void histories_are_long(void **state)
{
    (void)state;
    if (getenv("PC_SEED") == NULL) {
        pc_combinations_visit(visit_tally);
    }
}

/* Large values that nobody reads drive out what is read: what is gone is gone. */
static void visit_tiny(const struct pc_combination *next)
{
    const uint64_t count = pc_test_scale(0, 50);
    combination = *next;
    if (count == 0 && next->core_count != 2) {
        return; /* these worlds take long */
    }
    play_tally = (struct pc_play_tally){0};
    assert_null(linear_world(1, stderr));
    print_message("%s: %" PRIu64 " keys with something evicted\n", next->name, play_tally.vanished);
    vanished += play_tally.vanished;
    assert_true(count == 0 || pc_seeds_all_well(next->name, count, linear_world));
}

static void what_is_evicted_does_not_come_back(void **state)
{
    (void)state;
    if (getenv("PC_SEED") == NULL) {
        tiny = true;
        pc_combinations_visit(visit_tiny);
        tiny = false;
        assert_true(vanished > 0);
    }
}

static void find(enum pc_bug bug, const char *name, const char *mode, unsigned core_count,
                 bool lends)
{
    if (getenv("PC_SEED") != NULL) {
        return;
    }
    combination = (struct pc_combination){.lends = lends, .core_count = core_count};
    snprintf(combination.mode, sizeof(combination.mode), "%s", mode);
    print_message("%s%s, %u cores, %u credits: ", mode, lends ? " that lends" : "", core_count,
                  credit_count);
    assert_true(pc_seeds_find(bug, name, SEEDS_TO_FIND, linear_world) > 0);
}

/* A read that does not wait for what its connection asked of the slice before. However few calls
 * may be under way: even one to be waited for is enough. */
static void a_stale_read_is_found(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 2, 8, 16};
    for (unsigned i = 0; i < PC_COUNT_OF(counts); i++) {
        credit_count = counts[i];
        find(PC_BUG_PEEK_UNSETTLED, "stale read", "crew", 2, false);
        find(PC_BUG_PEEK_UNSETTLED, "stale read", "crew", 4, true);
    }
    credit_count = 0;
}

/* A copy that is not checked: parts of two versions, or of another item. */
static void a_torn_read_is_found(void **state)
{
    (void)state;
    find(PC_BUG_PEEK_UNCHECKED, "torn read", "crew", 2, false);
}

/* An item of this second whose rest of life is told as of the one before. */
static void a_life_too_long_is_found(void **state)
{
    (void)state;
    find(PC_BUG_PEEK_TWO_SECONDS, "life too long", "crew", 2, false);
}

/* A write in a borrowed slice that overtakes what its connection asked of the owner before. */
static void a_write_out_of_turn_is_found(void **state)
{
    (void)state;
    find(PC_BUG_BYPASS_UNSETTLED, "write out of turn", "crew", 2, true);
    find(PC_BUG_BYPASS_UNSETTLED, "write out of turn", "owned", 2, true);
}

/* A cas that does not compare: what was stored in between is gone. */
static void visit_lost_update(const struct pc_combination *next)
{
    find(PC_BUG_LOST_UPDATE, "lost update", next->mode, next->core_count, next->lends);
}

static void a_lost_update_is_found(void **state)
{
    (void)state;
    pc_combinations_visit(visit_lost_update);
}

int main(int argc, char **argv)
{
    /* Some of the cases: a pattern of their names. */
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_are_long),
        cmocka_unit_test(every_combination_is_linear),
        cmocka_unit_test(what_is_evicted_does_not_come_back),
        cmocka_unit_test(a_stale_read_is_found),
        cmocka_unit_test(a_torn_read_is_found),
        cmocka_unit_test(a_life_too_long_is_found),
        cmocka_unit_test(a_write_out_of_turn_is_found),
        cmocka_unit_test(a_lost_update_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
