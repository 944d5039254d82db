/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: no timer fires early, none is lost or fires twice, whatever its function does to others.
 * Method: a fake clock. A seeded play of arms, disarms and advances runs beside a naive twin, which
 * keeps a due time per timer; every firing and every promise of the next due time is checked
 * against it. PC_SEED=n plays that seed only.
 */
#include "runtime/timer.h"

#include "base/check.h"
#include "base/hooks.h"
#include "scale.h"
#include "timer_play.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     PC_TICK_NS
#define SECOND (1000 * MS)
#define DAY    (UINT64_C(86400) * SECOND)

#define ALL 1000000u /* a budget nothing here uses up */

struct counted {
    struct pc_timer timer;
    struct pc_wheel *wheel;
    unsigned fired_count;
    uint64_t fired_ns;
    uint64_t again_ns; /* arms itself anew, so much later; 0: does not */
};

static void count_fire(struct pc_timer *timer, struct pc_lane *lane)
{
    struct counted *counted = PC_CONTAINER_OF(timer, struct counted, timer);
    counted->fired_count++;
    counted->fired_ns = lane->now_ns;
    lane->fired_count++;
    if (counted->again_ns != 0) {
        pc_wheel_arm(counted->wheel, timer, timer->due_ns + counted->again_ns);
    }
}

static unsigned advance(struct pc_wheel *wheel, struct pc_lane *lane, uint64_t now_ns)
{
    lane->now_ns = now_ns;
    unsigned before = lane->fired_count;
    unsigned fired = pc_wheel_advance(wheel, now_ns, lane, ALL);
    assert_int_equal(lane->fired_count - before, fired);
    return fired;
}

static void timer_is_never_early(void **state)
{
    const uint64_t starts[] = {0, 1, 999999, 63 * MS, 64 * MS - 1, 4096 * MS - 3 * MS, 3 * DAY + 7};
    const uint64_t delays[] = {1,      MS - 1,    MS,       MS + 1,   64 * MS,
                               SECOND, 4096 * MS, 20 * DAY, 900 * DAY};
    for (size_t i = 0; i < PC_COUNT_OF(starts); i++) {
        for (size_t j = 0; j < PC_COUNT_OF(delays); j++) {
            struct pc_wheel wheel;
            struct pc_lane lane = {0};
            struct counted counted = {.timer.fire = count_fire};
            uint64_t due_ns = starts[i] + delays[j];
            uint64_t tick_ns = (due_ns + MS - 1) / MS * MS;
            pc_wheel_init(&wheel, starts[i]);
            pc_wheel_arm(&wheel, &counted.timer, due_ns);
            assert_int_equal(advance(&wheel, &lane, starts[i]), 0);
            assert_int_equal(advance(&wheel, &lane, due_ns - 1), 0);
            assert_true(pc_timer_armed(&counted.timer));
            assert_int_equal(advance(&wheel, &lane, tick_ns), 1);
            assert_false(pc_timer_armed(&counted.timer));
            assert_int_equal(advance(&wheel, &lane, tick_ns + DAY), 0);
        }
    }
}

static void due_time_in_the_past_fires_next_time(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted counted = {.timer.fire = count_fire};
    pc_wheel_init(&wheel, DAY);
    pc_wheel_arm(&wheel, &counted.timer, 5);
    assert_true(pc_wheel_next_ns(&wheel) <= DAY);
    assert_int_equal(advance(&wheel, &lane, DAY), 1);
    assert_int_equal(pc_wheel_next_ns(&wheel), UINT64_MAX);
}

static void rearm_moves_and_disarm_forgets(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted first = {.timer.fire = count_fire};
    struct counted second = {.timer.fire = count_fire};
    pc_wheel_init(&wheel, 0);
    pc_timer_disarm(&first.timer); /* never armed: harmless */
    pc_wheel_arm(&wheel, &first.timer, 5 * MS);
    pc_wheel_arm(&wheel, &second.timer, 5 * MS);
    pc_wheel_arm(&wheel, &first.timer, 9 * MS);
    pc_timer_disarm(&second.timer);
    pc_timer_disarm(&second.timer);
    assert_int_equal(pc_wheel_next_ns(&wheel), 9 * MS);
    assert_int_equal(advance(&wheel, &lane, 8 * MS), 0);
    assert_int_equal(advance(&wheel, &lane, 9 * MS), 1);
    assert_int_equal(first.fired_count, 1);
    assert_int_equal(second.fired_count, 0);
}

static void a_wheel_that_goes_leaves_no_timer_armed(void **state)
{
    static const uint64_t due_ns[] = {0, 1 * MS, 70 * MS, 5 * SECOND, DAY, 400 * DAY};
    struct counted counted[PC_COUNT_OF(due_ns)];
    {
        struct pc_wheel wheel;
        struct pc_lane lane = {0};
        pc_wheel_init(&wheel, 0);
        for (unsigned i = 0; i < PC_COUNT_OF(due_ns); i++) {
            counted[i] = (struct counted){.timer.fire = count_fire};
            pc_wheel_arm(&wheel, &counted[i].timer, due_ns[i]);
        }
        /* One is on its way down, one is late. */
        (void)pc_wheel_advance(&wheel, 69 * MS, &lane, 1);
        pc_wheel_fini(&wheel);
        assert_true(pc_wheel_next_ns(&wheel) == UINT64_MAX);
    }
    for (unsigned i = 0; i < PC_COUNT_OF(due_ns); i++) {
        assert_false(pc_timer_armed(&counted[i].timer));
        pc_timer_disarm(&counted[i].timer);
    }
}

static void self_arming_for_the_past_lets_advance_end(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted counted = {.timer.fire = count_fire, .wheel = &wheel, .again_ns = 1};
    pc_wheel_init(&wheel, DAY);
    pc_wheel_arm(&wheel, &counted.timer, 0);
    for (unsigned i = 0; i < 100; i++) {
        unsigned fired = advance(&wheel, &lane, DAY + i * MS / 4);
        assert_true(fired == 1 || fired == 2);
    }
}

static void period_does_not_drift(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted counted = {.timer.fire = count_fire, .wheel = &wheel, .again_ns = 7 * MS};
    pc_wheel_init(&wheel, 0);
    pc_wheel_arm(&wheel, &counted.timer, 7 * MS);
    for (uint64_t now_ns = 0; now_ns <= 70 * SECOND; now_ns += MS / 2) {
        (void)advance(&wheel, &lane, now_ns);
    }
    assert_int_equal(counted.fired_count, 10000);
    assert_int_equal(counted.fired_ns, 70 * SECOND);
}

/* Four centuries are 10^13 ticks: a wheel that visits each would outlast the time limit. */
static void idle_centuries_cost_nothing(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted counted = {.timer.fire = count_fire};
    uint64_t due_ns = 146000 * DAY;
    pc_wheel_init(&wheel, 0);
    pc_wheel_arm(&wheel, &counted.timer, due_ns);
    assert_int_equal(advance(&wheel, &lane, due_ns - 1), 0);
    assert_int_equal(advance(&wheel, &lane, due_ns), 1);
    assert_int_equal(advance(&wheel, &lane, 200000 * DAY), 0);
    pc_wheel_arm(&wheel, &counted.timer, UINT64_MAX);
    assert_int_equal(advance(&wheel, &lane, 210000 * DAY), 0);
    assert_true(pc_timer_armed(&counted.timer));
}

static void sleeper_wakes_seldom(void **state)
{
    struct pc_wheel wheel;
    struct pc_lane lane = {0};
    struct counted counted = {.timer.fire = count_fire};
    uint64_t now_ns = 12345678;
    uint64_t due_ns = now_ns + 11 * DAY + 7 * SECOND + 1;
    pc_wheel_init(&wheel, now_ns);
    assert_int_equal(pc_wheel_next_ns(&wheel), UINT64_MAX);
    pc_wheel_arm(&wheel, &counted.timer, due_ns);
    for (unsigned wakes = 0; counted.fired_count == 0; wakes++) {
        assert_true(wakes <= PC_WHEEL_LEVELS);
        uint64_t next_ns = pc_wheel_next_ns(&wheel);
        assert_true(next_ns > now_ns && next_ns < due_ns + MS);
        now_ns = next_ns;
        (void)advance(&wheel, &lane, now_ns);
    }
    assert_true(counted.fired_ns >= due_ns);
}

static void disarmed_timers_do_not_wake(void **state)
{
    struct pc_wheel wheel;
    struct counted counted = {.timer.fire = count_fire};
    pc_wheel_init(&wheel, 0);
    for (uint64_t due_ns = MS; due_ns < 100 * DAY; due_ns += due_ns / 2 + MS) {
        pc_wheel_arm(&wheel, &counted.timer, due_ns);
    }
    pc_timer_disarm(&counted.timer);
    assert_int_equal(pc_wheel_next_ns(&wheel), UINT64_MAX);
}

static void budget_bounds_an_advance_and_loses_nothing(void **state)
{
    enum { COUNT = 1000, BUDGET = 7 };
    static struct counted many[COUNT];
    struct pc_wheel wheel;
    struct pc_lane lane = {.now_ns = SECOND};
    pc_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        many[i] = (struct counted){.timer.fire = count_fire};
        pc_wheel_arm(&wheel, &many[i].timer, 500 * MS + i % 3 * MS);
    }
    unsigned turns = 0;
    for (; pc_wheel_next_ns(&wheel) <= SECOND; turns++) {
        unsigned before = lane.fired_count;
        unsigned fired = pc_wheel_advance(&wheel, SECOND, &lane, BUDGET);
        assert_true(fired <= BUDGET);
        assert_int_equal(lane.fired_count - before, fired);
    }
    assert_int_equal(lane.fired_count, COUNT);
    assert_true(turns <= 2 * COUNT / BUDGET + 2); /* each is moved a level once, then fired */
}

static void wheel_agrees_with_naive_twin(void **state)
{
    const char *only = getenv("PC_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 0) : 1;
    uint64_t count = only != NULL ? 1 : pc_test_scale(1000, 100000);
    print_message("seeds %" PRIu64 " to %" PRIu64 "\n", first, first + count - 1);
    for (uint64_t seed = first; seed < first + count; seed++) {
        const char *broken = timer_play_seed(seed);
        if (broken != NULL) {
            fail_msg("PC_SEED=%" PRIu64 ": does not hold: %s", seed, broken);
        }
    }
}

static void planted_early_timer_is_found(void **state)
{
#ifdef PC_HOOKS
    pc_planted_bug = PC_BUG_EARLY_TIMER;
    uint64_t seed = 1;
    const char *broken = timer_play_seed(seed);
    while (broken == NULL && seed < 1000) {
        broken = timer_play_seed(++seed);
    }
    pc_planted_bug = PC_BUG_NONE;
    assert_non_null(broken);
    print_message("seed %" PRIu64 " shows: %s\n", seed, broken);
    assert_string_equal(broken, "no timer is early");
#else
    print_message("bugs can be planted in a build with -Dhooks=true only\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_is_never_early),
        cmocka_unit_test(due_time_in_the_past_fires_next_time),
        cmocka_unit_test(rearm_moves_and_disarm_forgets),
        cmocka_unit_test(a_wheel_that_goes_leaves_no_timer_armed),
        cmocka_unit_test(self_arming_for_the_past_lets_advance_end),
        cmocka_unit_test(period_does_not_drift),
        cmocka_unit_test(idle_centuries_cost_nothing),
        cmocka_unit_test(sleeper_wakes_seldom),
        cmocka_unit_test(disarmed_timers_do_not_wake),
        cmocka_unit_test(budget_bounds_an_advance_and_loses_nothing),
        cmocka_unit_test(wheel_agrees_with_naive_twin),
        cmocka_unit_test(planted_early_timer_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
