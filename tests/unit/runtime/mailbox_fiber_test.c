/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox_fiber_test: whatever the interleaving, no letter is lost, doubled, reordered or slept on.
 *
 * Goal    Thousands of schedules of small traffic between two to four cores and one outside thread
 *         end with everything answered and every credit at home; two planted bugs do not survive.
 * Method  Each core is a fiber with the loop of a real one: drain, work, flush, sleep. A lost bell
 * or credit shows as a deadlock, which the scheduler sees at once. Under ThreadSanitizer a switch
 * orders nothing, so a missing release or acquire shows as a race.
 */
#include "mailbox_traffic.h"

#include "base/hooks.h"
#include "fiber.h"
#include "scale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct pc_fibers *fibers;
    struct traffic traffic;
    _Atomic bool bells[TRAFFIC_CORES_MAX];
};

static void ring(void *ctx, unsigned index)
{
    struct world *world = ctx;
    PC_POINT("test: about to ring");
    /* Pairs with the load in bell_rang, as an eventfd would. */
    atomic_store_explicit(&world->bells[index], true, memory_order_release);
}

static bool bell_rang(void *ctx)
{
    _Atomic bool *bell = ctx;
    return atomic_load_explicit(bell, memory_order_acquire);
}

static void wait_for_bell(void *ctx, unsigned index)
{
    struct world *world = ctx;
    pc_fiber_block_until(world->fibers, bell_rang, &world->bells[index]);
    atomic_store_explicit(&world->bells[index], false, memory_order_relaxed);
}

static void stop_run(void *ctx, const char *what)
{
    struct world *world = ctx;
    pc_fibers_stop(world->fibers, what);
}

static void pass_point(void *ctx)
{
    struct world *world = ctx;
    pc_fiber_point(world->fibers, "outside");
}

static void run_core(void *ctx)
{
    traffic_run_core(ctx);
}

static void run_outside(void *ctx)
{
    struct world *world = ctx;
    traffic_run_outside(&world->traffic, pass_point);
}

static void world_open(struct world *world, uint64_t seed)
{
    static const char *const names[] = {"core 0", "core 1", "core 2", "core 3"};
    struct pc_random random;
    pc_random_init(&random, seed);
    const struct pc_fibers_config fibers_config = {.seed = pc_random_next(&random),
                                                   .stack_bytes = 64 * 1024,
                                                   .step_count_max = 200 * 1000,
                                                   .unordered = true};
    const struct traffic_config traffic_config = {
        .seed = pc_random_next(&random),
        .core_count = 2 + (unsigned)pc_random_below(&random, TRAFFIC_CORES_MAX - 1),
        .credits = 1u << pc_random_below(&random, 4),
        .request_count = 1 + (unsigned)pc_random_below(&random, 24),
        .note_count = 6,
        .batch_max = 6,
        .wait = wait_for_bell,
        .ring = ring,
        .fail = stop_run,
        .ctx = world};
    world->fibers = pc_fibers_create(&fibers_config);
    assert_non_null(world->fibers);
    assert_int_equal(traffic_open(&world->traffic, &traffic_config), 0);
    for (unsigned i = 0; i < traffic_config.core_count; i++) {
        pc_fiber_spawn(world->fibers, names[i], run_core, &world->traffic.cores[i]);
    }
    pc_fiber_spawn(world->fibers, "outside", run_outside, world);
}

/* True if the schedule of this seed shows a fault; `loud` prints how. */
static bool seed_fails(uint64_t seed, bool loud)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world_open(world, seed);
    bool failed =
        pc_fibers_run(world->fibers) != PC_FIBERS_DONE || !traffic_settled(&world->traffic);
    if (failed && loud) {
        print_message("test seed %llu\n", (unsigned long long)seed);
        pc_fibers_report(world->fibers, stderr);
    }
    pc_fibers_destroy(world->fibers);
    traffic_close(&world->traffic);
    free(world);
    return failed;
}

static void every_schedule_settles(void **state)
{
    (void)state;
    const uint64_t seeds = pc_test_scale(3000, 300000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        assert_false(seed_fails(seed, true));
    }
}

#ifdef PC_HOOKS
static void find_planted(enum pc_bug bug, const char *name)
{
    unsigned found = 0;
    uint64_t first = 0;
    pc_planted_bug = bug;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        if (seed_fails(seed, false)) {
            first = found++ == 0 ? seed : first;
        }
    }
    pc_planted_bug = PC_BUG_NONE;
    print_message("%s: in %u of 1000 seeds, first in seed %u\n", name, found, (unsigned)first);
    assert_true(found > 0);
}

static void bell_without_recheck_is_found(void **state)
{
    (void)state;
    find_planted(PC_BUG_BELL_WITHOUT_RECHECK, "bell without re-check");
}

static void credit_leak_is_found(void **state)
{
    (void)state;
    find_planted(PC_BUG_CREDIT_LEAK, "credit leak");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schedule_settles),
#ifdef PC_HOOKS
        cmocka_unit_test(bell_without_recheck_is_found),
        cmocka_unit_test(credit_leak_is_found),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
