/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_test: worlds of the test service, which does everything a service may do.
 *
 * Goal    Whatever the schedule and the machine's moods, each request is answered once, in order,
 *         byte for byte; each promise to the service is kept; each of twelve planted mistakes shows
 *         within 1000 seeds.
 * Method  A world a seed (world.h), with the service's own checks and its checker as clients.
 */
#include "seeds.h"

#include "base/check.h"
#include "checker.h"
#include "scale.h"
#include "test_service.h"
#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS_TO_FIND = 1000 };

/* ---- A checker as a client's talk ---- */

struct scene {
    bool storms; /* many clients, deep pipelines, many calls: limits are reached */
    struct pc_test_service *service;
};

static size_t checker_pull(void *state, uint8_t *out, size_t room)
{
    return pc_checker_pull(state, out, room);
}

static bool checker_push(void *state, const uint8_t *bytes, size_t count)
{
    return pc_checker_push(state, bytes, count);
}

static bool checker_sent(void *state)
{
    return pc_checker_sent(state);
}

/* A bad request is seen before its last byte is sent. */
static bool checker_done(void *state)
{
    const struct pc_checker *checker = state;
    return checker->pulled_count == checker->config.request_count && pc_checker_done(checker);
}

static const char *checker_trouble(void *state)
{
    const struct pc_checker *checker = state;
    return checker->trouble;
}

static void talk_begin(void *ctx, unsigned connection, uint64_t seed, struct pc_world_talk *out)
{
    struct pc_checker *checker = malloc(sizeof(*checker));
    assert_non_null(checker);
    const struct scene *scene = ctx;
    const bool storms = scene->storms;
    struct pc_random random;
    pc_random_init(&random, seed);
    bool deep = storms || pc_random_below(&random, 8) == 0;
    bool large = !deep && pc_random_below(&random, 5) == 0;
    const struct pc_checker_config config = {
        .seed = pc_random_next(&random),
        .connection = connection,
        .request_count = 1 + pc_random_below(&random, deep ? 200 : 16),
        .depth = storms || pc_random_below(&random, 2) == 0 ? 0 : 1 + pc_random_below(&random, 32),
        .padding_bytes_max = large ? 4000 : 100,
        .content_bytes_max = large ? 20000 : 400,
        .body_bytes_max = large ? 40000 : 300,
        .body_one_in = storms ? 0 : (uint32_t)pc_random_below(&random, 8),
        .call_count_max = storms ? 3 : (unsigned)pc_random_below(&random, 4),
        .end = (enum pc_test_end)pc_random_below(&random, 3),
    };
    pc_checker_init(checker, &config);
    *out = (struct pc_world_talk){.state = checker,
                                  .pull = checker_pull,
                                  .push = checker_push,
                                  .sent = checker_sent,
                                  .done = checker_done,
                                  .trouble = checker_trouble,
                                  .end = free,
                                  .hangs_up = config.end != PC_TEST_END_NONE};
}

static const char *settled(void *ctx)
{
    const struct scene *scene = ctx;
    return pc_test_service_settled(scene->service);
}

static const char *broken(void *ctx)
{
    const struct scene *scene = ctx;
    return pc_test_service_trouble(scene->service);
}

/* ---- A world ---- */

static struct pc_world_tally tally;
static struct pc_test_tally service_tally;

static const char *service_world(uint64_t seed, FILE *report)
{
    struct pc_random random;
    pc_random_init(&random, seed ^ 0x73657276);
    struct scene scene = {.storms = pc_random_below(&random, 8) == 0};
    bool pool = !scene.storms && pc_random_below(&random, 3) == 0;
    unsigned core_count = pool ? 1 : 1 + (unsigned)pc_random_below(&random, 4);
    unsigned client_count = 1 + (unsigned)pc_random_below(&random, 5);
    unsigned connection_count = 1 + (unsigned)pc_random_below(&random, 4);
    if (scene.storms) {
        core_count = 2;
        client_count = 10;
        connection_count = 1;
    }
    const struct pc_test_service_config service_config = {
        .seed = pc_random_next(&random),
        .place_count = pool ? 0 : core_count * (1 + (unsigned)pc_random_below(&random, 3)),
        .workers = pool || pc_random_below(&random, 4) == 0,
        .connection_count = client_count * connection_count,
        .places_lent = pc_random_below(&random, 2) == 0,
    };
    struct pc_test_service *service = pc_test_service_create(&service_config);
    assert_non_null(service);
    scene.service = service;
    const struct pc_world_config config = {
        .seed = pc_random_next(&random),
        .model = pool ? "thread-pool" : "per-core",
        .core_count = core_count,
        .worker_count = 1 + (unsigned)pc_random_below(&random, 3),
        .place_count = service_config.place_count,
        .places_lent = service_config.places_lent,
        .few_credits = true,
        .service = pc_test_service_rows(service),
        .app = service,
        .client_count = client_count,
        .connection_count = connection_count,
        .talk = talk_begin,
        .settled = settled,
        .broken = broken,
        .ctx = &scene,
    };
    const char *trouble = pc_world_run(&config, &tally, report);
    pc_test_service_tally(service, &service_tally);
    if (trouble == NULL) {
        pc_test_service_destroy(service);
    }
    return trouble;
}

/* ---- Cases ---- */

static void service_worlds_are_well(void **state)
{
    (void)state;
    assert_true(pc_seeds_all_well("service worlds", pc_test_scale(1000, 100000), service_world));
}

/* Seeds that exercise nothing would be well too. */
static void worlds_meet_every_limit(void **state)
{
    (void)state;
    if (getenv("PC_SEED") != NULL) {
        return;
    }
    tally = (struct pc_world_tally){0};
    uint64_t borrowed_awake = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        assert_null(service_world(seed, stderr));
        borrowed_awake += service_tally.calls_borrowed_awake;
    }
    print_message("150 worlds: %" PRIu64 " steps, %" PRIu64 " requests, %" PRIu64
                  " letters, %" PRIu64 " jobs, %" PRIu64 " read pauses, %" PRIu64
                  " waits for credits, %" PRIu64 " waits for memory, %" PRIu64 " polls paid\n",
                  tally.steps, tally.requests, tally.letters, tally.jobs, tally.read_pauses,
                  tally.credit_waits, tally.cap_core, tally.polls_paid);
    print_message("lending: %" PRIu64 " borrowed, %" PRIu64 " from who was awake, %" PRIu64
                  " refused, %" PRIu64 " missed, %" PRIu64 " wanted back, %" PRIu64
                  " calls parked\n",
                  tally.borrowed, borrowed_awake, tally.borrow_refused, tally.borrow_missed,
                  tally.batons_wanted, tally.calls_parked);
    assert_true(tally.letters > 0 && tally.jobs > 0 && tally.cap_core > 0 && tally.polls_paid > 0);
    assert_true(borrowed_awake > 0 && borrowed_awake < tally.borrowed);
    assert_true(tally.borrow_refused > 0 && tally.borrow_missed > 0 && tally.batons_wanted > 0 &&
                tally.calls_parked > 0);
}

static void find(enum pc_bug bug, const char *name)
{
    if (getenv("PC_SEED") == NULL) {
        assert_true(pc_seeds_find(bug, name, SEEDS_TO_FIND, service_world) > 0);
    }
}

static void bell_without_recheck_is_found(void **state)
{
    (void)state;
    find(PC_BUG_BELL_WITHOUT_RECHECK, "bell without re-check");
}

static void lost_more_is_found(void **state)
{
    (void)state;
    find(PC_BUG_LOST_MORE, "lost MORE");
}

static void credit_leak_is_found(void **state)
{
    (void)state;
    find(PC_BUG_CREDIT_LEAK, "credit leak");
}

static void swapped_replies_are_found(void **state)
{
    (void)state;
    find(PC_BUG_SWAPPED_REPLIES, "swapped replies");
}

static void stale_handle_is_found(void **state)
{
    (void)state;
    find(PC_BUG_STALE_HANDLE, "stale handle");
}

static void ignored_rdhup_is_found(void **state)
{
    (void)state;
    find(PC_BUG_RDHUP_IGNORED, "RDHUP ignored");
}

static void early_timer_is_found(void **state)
{
    (void)state;
    find(PC_BUG_EARLY_TIMER, "early timer");
}

static void double_release_is_found(void **state)
{
    (void)state;
    find(PC_BUG_DOUBLE_RELEASE, "double release");
}

static void entering_untaken_is_found(void **state)
{
    (void)state;
    find(PC_BUG_ENTERED_UNTAKEN, "entered without the baton");
}

static void silent_return_is_found(void **state)
{
    (void)state;
    find(PC_BUG_GIVEN_BACK_SILENTLY, "given back silently");
}

static void lending_what_is_wanted_is_found(void **state)
{
    (void)state;
    find(PC_BUG_LENT_TWICE, "lent again while wanted");
}

static void borrowing_out_of_turn_is_found(void **state)
{
    (void)state;
    find(PC_BUG_BYPASS_UNSETTLED, "borrowed out of turn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worlds_meet_every_limit),
        cmocka_unit_test(service_worlds_are_well),
        cmocka_unit_test(bell_without_recheck_is_found),
        cmocka_unit_test(lost_more_is_found),
        cmocka_unit_test(credit_leak_is_found),
        cmocka_unit_test(swapped_replies_are_found),
        cmocka_unit_test(stale_handle_is_found),
        cmocka_unit_test(ignored_rdhup_is_found),
        cmocka_unit_test(early_timer_is_found),
        cmocka_unit_test(double_release_is_found),
        cmocka_unit_test(entering_untaken_is_found),
        cmocka_unit_test(silent_return_is_found),
        cmocka_unit_test(lending_what_is_wanted_is_found),
        cmocka_unit_test(borrowing_out_of_turn_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
