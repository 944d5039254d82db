/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_test: the checker of histories is right before it judges anything.
 *
 * Goal    Known histories get the verdict they deserve; on small ones the checker agrees with a
 *         naive one that tries every order; long ones take no time worth a word.
 * Method  Histories by hand; random ones, half of them made by a true item and then often spoiled,
 *         judged by the checker and by brute force (linear_naive.h).
 */
#include "linear_parts.h"

#include "base/check.h"
#include "base/random.h"
#include "linear_naive.h"
#include "scale.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Histories by hand ---- */

#define VALUE(text) .value = (text), .value_bytes = sizeof(text) - 1
#define TELLS(text) .tells_value = true, .told_value = (text), .told_value_bytes = sizeof(text) - 1
#define UNIQUE(u)   .tells_unique = true, .told_unique = (u)

static enum pc_linear_verdict judge_with(const struct pc_linear_config *config,
                                         const struct pc_linear_call *calls, size_t count,
                                         uint64_t *out_steps)
{
    struct pc_linear *history = pc_linear_create(config);
    for (size_t i = 0; i < count; i++) {
        pc_linear_add(history, &calls[i]);
    }
    const enum pc_linear_verdict verdict = pc_linear_check(history, NULL);
    *out_steps = pc_linear_steps(history);
    pc_linear_destroy(history);
    return verdict;
}

static enum pc_linear_verdict judge(const struct pc_linear_call *calls, size_t count)
{
    uint64_t steps;
    return judge_with(&(struct pc_linear_config){0}, calls, count, &steps);
}

#define IS_LINEAR(...)                                                                             \
    do {                                                                                           \
        const struct pc_linear_call rows[] = {__VA_ARGS__};                                        \
        assert_int_equal(judge(rows, PC_COUNT_OF(rows)), PC_LINEAR_YES);                           \
    } while (0)
#define IS_NOT_LINEAR(...)                                                                         \
    do {                                                                                           \
        const struct pc_linear_call rows[] = {__VA_ARGS__};                                        \
        assert_int_equal(judge(rows, PC_COUNT_OF(rows)), PC_LINEAR_NO);                            \
    } while (0)

/* client, what, asked, answered, and the answer. */
#define CALL(c, w, from, to, a)                                                                    \
    .client = (c), .what = PC_LINEAR_##w, .asked = (from), .answered = (to), .answer = PC_LINEAR_##a
#define NEVER PC_LINEAR_NEVER

static void a_read_after_a_write_sees_it(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(1, GET, 3, 4, DONE), TELLS("a")});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(1, GET, 3, 4, ABSENT)});
}

static void a_stale_read_is_seen(void **state)
{
    (void)state;
    const struct pc_linear_call calls[] = {
        {CALL(0, SET, 1, 2, DONE), VALUE("a")},
        {CALL(0, SET, 3, 4, DONE), VALUE("b")},
        {CALL(1, GET, 5, 6, DONE), TELLS("a")},
    };
    assert_int_equal(judge(calls, 3), PC_LINEAR_NO);
    /* While the second is under way either may be read, but not back and forth. */
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(0, SET, 3, 9, DONE), VALUE("b")},
              {CALL(1, GET, 4, 5, DONE), TELLS("a")}, {CALL(1, GET, 6, 7, DONE), TELLS("b")});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(0, SET, 3, 9, DONE), VALUE("b")},
                  {CALL(1, GET, 4, 5, DONE), TELLS("b")}, {CALL(2, GET, 6, 7, DONE), TELLS("a")});
}

static void a_lost_update_is_seen(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("5")},
              {CALL(1, INCR, 3, 6, DONE), .delta = 1, .tells_number = true, .told_number = 7},
              {CALL(2, INCR, 3, 6, DONE), .delta = 1, .tells_number = true, .told_number = 6});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("5")},
                  {CALL(1, INCR, 3, 6, DONE), .delta = 1, .tells_number = true, .told_number = 6},
                  {CALL(2, INCR, 3, 6, DONE), .delta = 1, .tells_number = true, .told_number = 6});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("5")}, {CALL(1, INCR, 3, 6, DONE), .delta = 1},
                  {CALL(2, INCR, 3, 6, DONE), .delta = 1}, {CALL(0, GET, 7, 8, DONE), TELLS("6")});
}

static void counting_keeps_the_length(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("10")}, {CALL(0, DECR, 3, 4, DONE), .delta = 1},
              {CALL(0, GET, 5, 6, DONE), TELLS("9 ")}, {CALL(0, INCR, 7, 8, DONE), .delta = 91},
              {CALL(0, GET, 9, 10, DONE), TELLS("100")},
              {CALL(0, APPEND, 11, 12, DONE), VALUE("x")},
              {CALL(0, INCR, 13, 14, NOT_NUMBER), .delta = 1});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("10")}, {CALL(0, DECR, 3, 4, DONE), .delta = 1},
                  {CALL(0, GET, 5, 6, DONE), TELLS("9")});
}

static void two_compares_of_one_version_do_not_both_win(void **state)
{
    (void)state;
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")},
                  {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)},
                  {CALL(2, CAS, 5, 8, DONE), VALUE("b"), .unique = 7},
                  {CALL(3, CAS, 5, 8, DONE), VALUE("c"), .unique = 7});
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")},
              {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)},
              {CALL(2, CAS, 5, 8, EXISTS), VALUE("b"), .unique = 7},
              {CALL(3, CAS, 5, 8, DONE), VALUE("c"), .unique = 7},
              {CALL(1, GET, 9, 10, DONE), TELLS("c"), UNIQUE(8)});
}

static void a_compare_after_a_change_fails(void **state)
{
    (void)state;
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")},
                  {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)},
                  {CALL(0, SET, 5, 6, DONE), VALUE("a")},
                  {CALL(1, CAS, 7, 8, DONE), VALUE("c"), .unique = 7});
}

static void a_unique_is_of_one_version(void **state)
{
    (void)state;
    IS_NOT_LINEAR(
        {CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)},
        {CALL(0, SET, 5, 6, DONE), VALUE("b")}, {CALL(1, GET, 7, 8, DONE), TELLS("b"), UNIQUE(7)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")},
                  {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)},
                  {CALL(1, GET, 5, 6, DONE), TELLS("a"), UNIQUE(8)});
    /* A change that tells its own unique. */
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), UNIQUE(7)},
              {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(7)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), UNIQUE(7)},
                  {CALL(1, GET, 3, 4, DONE), TELLS("a"), UNIQUE(8)});
}

static void a_piece_is_joined_once(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("m")}, {CALL(1, APPEND, 3, 6, DONE), VALUE("x")},
              {CALL(2, PREPEND, 3, 6, DONE), VALUE("y")}, {CALL(3, GET, 7, 8, DONE), TELLS("ymx")});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("m")}, {CALL(1, APPEND, 3, 6, DONE), VALUE("x")},
                  {CALL(3, GET, 7, 8, DONE), TELLS("mxx")});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("m")},
                  {CALL(1, APPEND, 3, NEVER, UNTOLD), VALUE("x")},
                  {CALL(3, GET, 7, 8, DONE), TELLS("mxx")});
}

static void calls_of_one_client_keep_their_order(void **state)
{
    (void)state;
    /* Both are under way at once, sent one after the other. */
    IS_NOT_LINEAR({CALL(0, SET, 1, 9, DONE), VALUE("a")}, {CALL(0, GET, 2, 9, ABSENT)});
    IS_LINEAR({CALL(0, SET, 1, 9, DONE), VALUE("a")}, {CALL(1, GET, 2, 9, ABSENT)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 9, DONE), VALUE("a")}, {CALL(0, SET, 2, 9, DONE), VALUE("b")},
                  {CALL(1, GET, 10, 11, DONE), TELLS("a")});
}

static void a_quiet_call_is_over_when_a_later_answer_is_read(void **state)
{
    (void)state;
    IS_NOT_LINEAR({CALL(0, SET, 1, 4, UNTOLD), VALUE("a")}, {CALL(1, GET, 5, 6, ABSENT)});
    IS_LINEAR({CALL(0, SET, 1, 4, UNTOLD), VALUE("a")}, {CALL(1, GET, 3, 6, ABSENT)});
}

static void a_call_cut_off_happened_later_or_never(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, NEVER, UNTOLD), VALUE("a")}, {CALL(1, GET, 5, 6, ABSENT)},
              {CALL(1, GET, 7, 8, DONE), TELLS("a")});
    IS_LINEAR({CALL(0, SET, 1, NEVER, UNTOLD), VALUE("a")}, {CALL(1, GET, 5, 6, ABSENT)});
    IS_NOT_LINEAR({CALL(0, SET, 1, NEVER, UNTOLD), VALUE("a")},
                  {CALL(1, GET, 5, 6, DONE), TELLS("a")}, {CALL(1, GET, 7, 8, ABSENT)});
    /* The second happened, so the first had. */
    IS_NOT_LINEAR({CALL(0, SET, 1, NEVER, UNTOLD), VALUE("a")},
                  {CALL(0, APPEND, 2, NEVER, UNTOLD), VALUE("b")},
                  {CALL(1, GET, 5, 6, DONE), TELLS("ab")}, {CALL(1, GET, 7, 8, DONE), TELLS("a")});
    /* An add that was cut off is not over because it would have been refused at first. */
    IS_LINEAR({CALL(1, SET, 1, 2, DONE), VALUE("m")}, {CALL(0, ADD, 3, NEVER, UNTOLD), VALUE("a")},
              {CALL(1, DELETE, 4, 5, DONE)}, {CALL(1, GET, 6, 7, DONE), TELLS("a")});
}

static void flags_and_life_are_seen(void **state)
{
    (void)state;
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .flags = 3},
                  {CALL(1, GET, 3, 4, DONE), TELLS("a"), .told_flags = 4});
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .life = 1},
              {CALL(0, TOUCH, 3, 4, DONE), .life = 2, TELLS("a")},
              {CALL(1, GET, 5, 6, DONE), TELLS("a"), .tells_life = true, .told_life = 2});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .life = 1},
                  {CALL(0, TOUCH, 3, 4, DONE), .life = 2},
                  {CALL(1, GET, 5, 6, DONE), TELLS("a"), .tells_life = true, .told_life = 1});
}

static void an_item_vanishes_only_where_it_may(void **state)
{
    (void)state;
    const struct pc_linear_call calls[] = {
        {CALL(0, SET, 1, 2, DONE), VALUE("a")},
        {CALL(1, GET, 3, 4, ABSENT)},
        {CALL(1, GET, 5, 6, DONE), TELLS("a")},
    };
    const struct pc_linear_config vanishes = {.vanishes = true};
    uint64_t steps;
    assert_int_equal(judge(calls, 2), PC_LINEAR_NO);
    assert_int_equal(judge_with(&vanishes, calls, 2, &steps), PC_LINEAR_YES);
    /* Gone, it does not come back. */
    assert_int_equal(judge_with(&vanishes, calls, 3, &steps), PC_LINEAR_NO);
}

#define TICK(from, to, seconds) CALL(9, TICK, from, to, DONE), .delta = (seconds)

static void an_item_is_gone_when_its_life_is_over(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .life = 2}, {TICK(3, 4, 1)},
              {CALL(0, GET, 5, 6, DONE), TELLS("a"), .asked_second = 1}, {TICK(7, 8, 1)},
              {CALL(0, GET, 9, 10, ABSENT), .asked_second = 2});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .life = 2}, {TICK(3, 4, 1)},
                  {CALL(0, GET, 5, 6, ABSENT), .asked_second = 1});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a"), .life = 2}, {TICK(3, 4, 2)},
                  {CALL(0, GET, 5, 6, DONE), TELLS("a"), .asked_second = 2});
    /* Asked before a tick and done after it, it may count from either second; once gone it is. */
    IS_LINEAR({CALL(0, SET, 1, 6, DONE), VALUE("a"), .life = 1}, {TICK(2, 3, 1)},
              {CALL(1, GET, 7, 8, DONE), TELLS("a"), .asked_second = 1});
    IS_LINEAR({CALL(0, SET, 1, 6, DONE), VALUE("a"), .life = 1}, {TICK(2, 3, 1)},
              {CALL(1, GET, 7, 8, ABSENT), .asked_second = 1});
    IS_NOT_LINEAR({CALL(0, SET, 1, 6, DONE), VALUE("a"), .life = 1}, {TICK(2, 3, 1)},
                  {CALL(1, GET, 7, 8, ABSENT), .asked_second = 1},
                  {CALL(1, GET, 9, 10, DONE), TELLS("a"), .asked_second = 1});
}

static void a_flush_takes_what_is_there(void **state)
{
    (void)state;
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(1, FLUSH, 3, 6, DONE)},
              {CALL(0, GET, 4, 5, DONE), TELLS("a")}, {CALL(0, GET, 7, 8, ABSENT)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(1, FLUSH, 3, 6, DONE)},
                  {CALL(0, GET, 7, 8, DONE), TELLS("a")});
}

static void one_client_is_to_make_it_anew(void **state)
{
    (void)state;
#define MARKS(m) .claims = true, .tells_marks = true, .told_marks = (m)
    IS_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(0, STALE, 3, 4, DONE)},
              {CALL(1, GET, 5, 8, DONE), MARKS(PC_LINEAR_STALE_MARK | PC_LINEAR_CLAIMED)},
              {CALL(2, GET, 5, 8, DONE), MARKS(PC_LINEAR_STALE_MARK | PC_LINEAR_WON)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(0, STALE, 3, 4, DONE)},
                  {CALL(1, GET, 5, 8, DONE), MARKS(PC_LINEAR_STALE_MARK | PC_LINEAR_WON)},
                  {CALL(2, GET, 5, 8, DONE), MARKS(PC_LINEAR_STALE_MARK | PC_LINEAR_WON)});
    IS_NOT_LINEAR({CALL(0, SET, 1, 2, DONE), VALUE("a")}, {CALL(0, STALE, 3, 4, DONE)},
                  {CALL(1, GET, 5, 6, DONE), MARKS(0)});
#undef MARKS
}

static void uniques_that_grow_say_who_was_first(void **state)
{
    (void)state;
    const struct pc_linear_config grows = {.uniques_grow = true};
    const struct pc_linear_call calls[] = {
        {CALL(0, SET, 1, 9, DONE), VALUE("a"), UNIQUE(8)},
        {CALL(1, SET, 2, 9, DONE), VALUE("b"), UNIQUE(7)},
        {CALL(2, GET, 10, 11, DONE), TELLS("b")},
    };
    uint64_t steps;
    assert_int_equal(judge(calls, 3), PC_LINEAR_YES);
    assert_int_equal(judge_with(&grows, calls, 3, &steps), PC_LINEAR_NO);
}

/* ---- Small histories, and every order of them ---- */

static void the_checker_agrees_with_every_order(void **state)
{
    (void)state;
    const uint64_t seed = 20261122;
    struct pc_random random;
    pc_random_init(&random, seed);
    const uint64_t count = pc_test_scale(30000, 1000000);
    uint64_t linear = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct pc_small small;
        pc_small_draw(&small, &random);
        pc_small_answer(&small, &random);
        if (pc_random_below(&random, 2) == 0) {
            pc_small_spoil(&small, &random);
        }
        const bool expected = pc_small_is_linear(&small);
        linear += expected;
        uint64_t steps;
        if (judge_with(&small.config, small.calls, small.count, &steps) !=
            (expected ? PC_LINEAR_YES : PC_LINEAR_NO)) {
            struct pc_linear *history = pc_linear_create(&small.config);
            for (unsigned j = 0; j < small.count; j++) {
                pc_linear_add(history, &small.calls[j]);
            }
            (void)pc_linear_check(history, stderr);
            for (unsigned client = 0; client < history->client_count; client++) {
                for (unsigned j = 0; j < history->clients[client].count; j++) {
                    pc_linear_say_call(history, stderr, client, j);
                }
            }
            fail_msg("seed %" PRIu64 ", history %" PRIu64 ": every order says %s", seed, i,
                     expected ? "linear" : "not linear");
        }
    }
    print_message("%" PRIu64 " small histories, %" PRIu64 " linear\n", count, linear);
    assert_true(linear > count / 10 && linear < count - count / 10);
}

/* ---- Long ones ---- */

/* Eight clients with windows that overlap, two writes in three calls, answers of a true item. */
static void long_histories_take_few_steps(void **state)
{
    (void)state;
    enum { CLIENTS = 8, CALLS = 1000 };
    struct pc_random random;
    pc_random_init(&random, 7);
    struct pc_linear *history = pc_linear_create(&(struct pc_linear_config){0});
    static char texts[CALLS][8];
    const char *present = NULL;
    uint64_t clock = 0, free_at[CLIENTS] = {0};
    for (unsigned i = 0; i < CALLS; i++) {
        const unsigned client = (unsigned)pc_random_below(&random, CLIENTS);
        clock += 10;
        /* It happens at `clock`; it was asked before and is answered behind. */
        uint64_t asked = clock - pc_random_below(&random, clock < 40 ? clock : 40);
        asked = asked > free_at[client] ? asked : free_at[client] + 1;
        const uint64_t behind = asked > clock ? asked : clock;
        struct pc_linear_call call = {
            .client = client, .asked = asked, .answered = behind + pc_random_below(&random, 40)};
        free_at[client] = call.answered;
        if (asked > clock) {
            clock = asked;
        }
        call.answer = PC_LINEAR_DONE;
        if (pc_random_below(&random, 3) == 0) {
            call.what = PC_LINEAR_GET;
            call.answer = present != NULL ? PC_LINEAR_DONE : PC_LINEAR_ABSENT;
            call.tells_value = present != NULL;
            call.told_value = present;
            call.told_value_bytes = present != NULL ? strlen(present) : 0;
        } else {
            snprintf(texts[i], sizeof(texts[i]), "v%u", i);
            call.what = PC_LINEAR_SET;
            call.value = present = texts[i];
            call.value_bytes = strlen(present);
        }
        pc_linear_add(history, &call);
    }
    assert_int_equal(pc_linear_check(history, stderr), PC_LINEAR_YES);
    print_message("%u calls: %" PRIu64 " steps\n", CALLS, pc_linear_steps(history));
    assert_true(pc_linear_steps(history) < 100 * CALLS);
    pc_linear_destroy(history);
}

/* Twelve clients are cut off, each with six stores under way, of which one is seen, and one removes
 * what others go on to write. */
static void what_was_cut_off_does_not_multiply(void **state)
{
    (void)state;
    enum { CLIENTS = 12, STORES = 6, ROUNDS = 100 };
    struct pc_linear *history = pc_linear_create(&(struct pc_linear_config){0});
    for (unsigned i = 0; i < CLIENTS * STORES; i++) {
        const struct pc_linear_call call = {CALL(i / STORES, SET, 1 + i % STORES, NEVER, UNTOLD),
                                            VALUE("x"), .flags = 1000 + i};
        pc_linear_add(history, &call);
    }
    pc_linear_add(history, &(struct pc_linear_call){CALL(CLIENTS, DELETE, 8, NEVER, UNTOLD)});
    for (unsigned i = 0; i < ROUNDS; i++) {
        const uint64_t now = 10 + 10 * i;
        const struct pc_linear_call calls[] = {
            {CALL(20, SET, now, now + 3, DONE), VALUE("y"), .flags = 1},
            {CALL(21, SET, now + 1, now + 4, DONE), VALUE("z"), .flags = 2},
            {CALL(22, GET, now + 5, now + 6, DONE), TELLS("y"), .told_flags = 1},
            {CALL(22, GET, now + 7, now + 8, DONE), TELLS("x"), .told_flags = 1008},
        };
        for (unsigned j = 0; j < (i == ROUNDS / 2 ? 4u : 3u); j++) {
            pc_linear_add(history, &calls[j]);
        }
    }
    const uint64_t end = 20 + 10 * ROUNDS;
    pc_linear_add(history, &(struct pc_linear_call){CALL(22, GET, end, end + 1, ABSENT)});
    assert_int_equal(pc_linear_check(history, stderr), PC_LINEAR_YES);
    print_message("%u calls: %" PRIu64 " steps\n", pc_linear_count(history),
                  pc_linear_steps(history));
    assert_true(pc_linear_steps(history) < 1000000);
    pc_linear_destroy(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_after_a_write_sees_it),
        cmocka_unit_test(a_stale_read_is_seen),
        cmocka_unit_test(a_lost_update_is_seen),
        cmocka_unit_test(counting_keeps_the_length),
        cmocka_unit_test(two_compares_of_one_version_do_not_both_win),
        cmocka_unit_test(a_compare_after_a_change_fails),
        cmocka_unit_test(a_unique_is_of_one_version),
        cmocka_unit_test(a_piece_is_joined_once),
        cmocka_unit_test(calls_of_one_client_keep_their_order),
        cmocka_unit_test(a_quiet_call_is_over_when_a_later_answer_is_read),
        cmocka_unit_test(a_call_cut_off_happened_later_or_never),
        cmocka_unit_test(flags_and_life_are_seen),
        cmocka_unit_test(an_item_vanishes_only_where_it_may),
        cmocka_unit_test(an_item_is_gone_when_its_life_is_over),
        cmocka_unit_test(a_flush_takes_what_is_there),
        cmocka_unit_test(one_client_is_to_make_it_anew),
        cmocka_unit_test(uniques_that_grow_say_who_was_first),
        cmocka_unit_test(the_checker_agrees_with_every_order),
        cmocka_unit_test(long_histories_take_few_steps),
        cmocka_unit_test(what_was_cut_off_does_not_multiply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
