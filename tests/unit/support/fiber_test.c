/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber_test: the scheduler of the simulations keeps its word.
 *
 * Goal    Runs repeat by seed, waits end when they may, deadlocks and endless runs are told apart,
 *         and known races of one and two preemptions are found.
 * Method  Small fibers over plain variables, with points of their own, so no test build is needed.
 */
#include "fiber.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct pc_fibers *fibers;
    unsigned value, rounds, ended;
    unsigned long now;
    bool flag, broken;
    bool wants[2];
    unsigned turn, inside;
};

static struct pc_fibers *open_world(struct world *world, uint64_t seed,
                                    enum pc_fiber_strategy strategy)
{
    const struct pc_fibers_config config = {
        .seed = seed, .strategy = strategy, .stack_bytes = 64 * 1024, .step_count_max = 20000};
    world->fibers = pc_fibers_create(&config);
    assert_non_null(world->fibers);
    return world->fibers;
}

static void run_loses_update(void *ctx)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < world->rounds; i++) {
        unsigned value = world->value;
        pc_fiber_point(world->fibers, "read");
        world->value = value + 1;
        pc_fiber_point(world->fibers, "wrote");
    }
    world->ended++;
}

/* Two fibers add without a lock; the result and the fingerprint tell one schedule from another. */
static unsigned add_twice(uint64_t seed, unsigned rounds, uint64_t *out_fingerprint)
{
    struct world world = {.rounds = rounds};
    struct pc_fibers *fibers = open_world(&world, seed, PC_FIBER_SEEDED);
    pc_fiber_spawn(fibers, "one", run_loses_update, &world);
    pc_fiber_spawn(fibers, "two", run_loses_update, &world);
    assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_DONE);
    assert_int_equal(world.ended, 2);
    *out_fingerprint = pc_fibers_fingerprint(fibers);
    pc_fibers_destroy(fibers);
    return world.value;
}

static void seed_repeats_a_run(void **state)
{
    (void)state;
    unsigned different = 0;
    uint64_t previous = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        uint64_t first, second;
        unsigned value = add_twice(seed, 20, &first);
        assert_int_equal(add_twice(seed, 20, &second), value);
        assert_true(first == second);
        different += first != previous;
        previous = first;
    }
    assert_true(different > 50);
}

static void lost_update_is_found(void **state)
{
    (void)state;
    unsigned lost = 0, kept = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        uint64_t fingerprint;
        unsigned value = add_twice(seed, 1, &fingerprint);
        lost += value == 1;
        kept += value == 2;
    }
    assert_int_equal(lost + kept, 200);
    assert_true(lost > 0 && kept > 0);
}

/* Peterson's lock with the two entry stores swapped: both get in only by a certain order of two
 * preemptions. With `broken` false it is correct. */
static bool may_enter(void *ctx)
{
    struct world *world = ctx;
    unsigned self = world->value;
    return !world->wants[1 - self] || world->turn == self;
}

static void run_peterson(void *ctx)
{
    struct world *world = ctx;
    unsigned self = pc_fiber_index(world->fibers);
    if (world->broken) {
        world->turn = 1 - self;
        pc_fiber_point(world->fibers, "turn given");
        world->wants[self] = true;
    } else {
        world->wants[self] = true;
        pc_fiber_point(world->fibers, "wants");
        world->turn = 1 - self;
    }
    for (;;) {
        pc_fiber_point(world->fibers, "spins");
        world->value = self;
        if (may_enter(world)) {
            break;
        }
    }
    world->inside++;
    pc_fiber_point(world->fibers, "inside");
    if (world->inside != 1) {
        pc_fibers_stop(world->fibers, "both inside");
    }
    world->inside--;
    world->wants[self] = false;
}

static unsigned peterson_failures(bool broken, enum pc_fiber_strategy strategy, unsigned seeds)
{
    unsigned failures = 0;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct world world = {.broken = broken};
        struct pc_fibers *fibers = open_world(&world, seed, strategy);
        pc_fiber_spawn(fibers, "zero", run_peterson, &world);
        pc_fiber_spawn(fibers, "one", run_peterson, &world);
        enum pc_fibers_end end = pc_fibers_run(fibers);
        assert_true(end == PC_FIBERS_DONE || end == PC_FIBERS_STOPPED);
        if (end == PC_FIBERS_STOPPED) {
            assert_string_equal(pc_fibers_reason(fibers), "both inside");
            failures++;
        }
        pc_fibers_destroy(fibers);
    }
    return failures;
}

static void two_preemptions_are_found_by_both_strategies(void **state)
{
    (void)state;
    assert_true(peterson_failures(true, PC_FIBER_RANDOM, 500) > 0);
    assert_true(peterson_failures(true, PC_FIBER_PRIORITY, 500) > 0);
    assert_int_equal(peterson_failures(false, PC_FIBER_RANDOM, 500), 0);
    assert_int_equal(peterson_failures(false, PC_FIBER_PRIORITY, 500), 0);
}

static bool flag_is_set(void *ctx)
{
    const struct world *world = ctx;
    return world->flag;
}

static void run_waits(void *ctx)
{
    struct world *world = ctx;
    pc_fiber_block_until(world->fibers, flag_is_set, world);
    if (!world->flag) {
        pc_fibers_stop(world->fibers, "woken without its condition");
    }
    world->ended++;
}

static void run_sets(void *ctx)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < 10; i++) {
        pc_fiber_point(world->fibers, "works");
    }
    world->flag = true;
}

static void waits_end_when_the_condition_holds(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct world world = {0};
        struct pc_fibers *fibers = open_world(&world, seed, PC_FIBER_SEEDED);
        pc_fiber_spawn(fibers, "waits", run_waits, &world);
        pc_fiber_spawn(fibers, "waits too", run_waits, &world);
        pc_fiber_spawn(fibers, "sets", run_sets, &world);
        assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_DONE);
        assert_int_equal(world.ended, 2);
        pc_fibers_destroy(fibers);
    }
}

static void deadlock_is_told(void **state)
{
    (void)state;
    struct world world = {0};
    struct pc_fibers *fibers = open_world(&world, 1, PC_FIBER_SEEDED);
    pc_fiber_spawn(fibers, "waits", run_waits, &world);
    pc_fiber_spawn(fibers, "waits too", run_waits, &world);
    assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_STUCK);
    assert_int_equal(world.ended, 0);
    pc_fibers_destroy(fibers);
}

static bool at_noon(void *ctx)
{
    const struct world *world = ctx;
    return world->now >= 12;
}

static void run_sleeps(void *ctx)
{
    struct world *world = ctx;
    pc_fiber_block_until(world->fibers, at_noon, world);
    world->ended++;
}

static bool advance_clock(void *ctx)
{
    struct world *world = ctx;
    return ++world->now <= 12;
}

static void idle_world_may_advance_its_clock(void **state)
{
    (void)state;
    struct world world = {0};
    const struct pc_fibers_config config = {.stuck = advance_clock, .ctx = &world};
    world.fibers = pc_fibers_create(&config);
    pc_fiber_spawn(world.fibers, "sleeps", run_sleeps, &world);
    assert_int_equal(pc_fibers_run(world.fibers), PC_FIBERS_DONE);
    assert_int_equal(world.now, 12);
    assert_int_equal(world.ended, 1);
    pc_fibers_destroy(world.fibers);
}

static void run_polls(void *ctx)
{
    struct world *world = ctx;
    while (!world->flag) {
        pc_fiber_point(world->fibers, "polls");
    }
    world->ended++;
}

/* A poll loop at the highest priority gives way in the end; alone it is cut off. */
static void poll_loops_neither_starve_nor_hang(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world world = {0};
        struct pc_fibers *fibers = open_world(&world, seed, PC_FIBER_PRIORITY);
        pc_fiber_spawn(fibers, "polls", run_polls, &world);
        pc_fiber_spawn(fibers, "sets", run_sets, &world);
        assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_DONE);
        pc_fibers_destroy(fibers);
    }
    struct world world = {0};
    struct pc_fibers *fibers = open_world(&world, 1, PC_FIBER_SEEDED);
    pc_fiber_spawn(fibers, "polls", run_polls, &world);
    assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_ENDLESS);
    assert_int_equal(world.ended, 0);
    pc_fibers_destroy(fibers);
}

static void run_spawns(void *ctx)
{
    struct world *world = ctx;
    pc_fiber_spawn(world->fibers, "child", run_sets, world);
    run_waits(ctx);
}

static void fibers_spawn_fibers(void **state)
{
    (void)state;
    struct world world = {0};
    struct pc_fibers *fibers = open_world(&world, 5, PC_FIBER_SEEDED);
    pc_fiber_spawn(fibers, "parent", run_spawns, &world);
    assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_DONE);
    assert_int_equal(world.ended, 1);
    pc_fibers_destroy(fibers);
}

/* The locals of a fiber are its own while others run on their stacks. */
static void run_keeps_locals(void *ctx)
{
    struct world *world = ctx;
    unsigned char bytes[4096];
    unsigned self = pc_fiber_index(world->fibers);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(self + 1);
        if (i % 64 == 0) {
            pc_fiber_point(world->fibers, "fills");
        }
    }
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        if (bytes[i] != self + 1) {
            pc_fibers_stop(world->fibers, "a local changed");
        }
    }
}

static void stacks_are_apart(void **state)
{
    (void)state;
    struct world world = {0};
    struct pc_fibers *fibers = open_world(&world, 3, PC_FIBER_RANDOM);
    for (unsigned i = 0; i < 16; i++) {
        pc_fiber_spawn(fibers, "fills", run_keeps_locals, &world);
    }
    assert_int_equal(pc_fibers_run(fibers), PC_FIBERS_DONE);
    assert_true(pc_fibers_steps(fibers) >= 16 * 64);
    pc_fibers_destroy(fibers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_repeats_a_run),
        cmocka_unit_test(lost_update_is_found),
        cmocka_unit_test(two_preemptions_are_found_by_both_strategies),
        cmocka_unit_test(waits_end_when_the_condition_holds),
        cmocka_unit_test(deadlock_is_told),
        cmocka_unit_test(idle_world_may_advance_its_clock),
        cmocka_unit_test(poll_loops_neither_starve_nor_hang),
        cmocka_unit_test(fibers_spawn_fibers),
        cmocka_unit_test(stacks_are_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
