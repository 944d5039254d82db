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
#include "runtime/mailbox.h"

#include "base/check.h"
#include "base/hooks.h"
#include "base/random.h"
#include "fiber.h"
#include "scale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CORES_MAX = 4, REQUESTS_MAX = 24, CONTROLS = 6 };
enum { CONTROL_NOTE = 1, CONTROL_STOP = 2 };

struct request {
    struct pc_letter letter;
    unsigned home, target;
    unsigned number; /* among those from home to target */
    bool served, answered;
};

struct world;

struct core {
    struct world *world;
    struct pc_mailbox *box;
    unsigned index;
    struct pc_random random;
    struct request requests[REQUESTS_MAX];
    unsigned posted, answered;
    unsigned numbers_out[CORES_MAX]; /* next number towards each core */
    unsigned numbers_in[CORES_MAX];  /* next request expected from each core */
    unsigned answers_in[CORES_MAX];  /* next answer expected from each core */
    unsigned notes_in;
    bool stopped;
    _Atomic bool bell;
    struct pc_control stop;
};

struct world {
    struct pc_fibers *fibers;
    struct core cores[CORES_MAX];
    unsigned core_count, request_count;
    struct pc_control notes[CONTROLS]; /* posted to core 0 from outside */
    _Atomic unsigned cores_done;
};

static void require(struct world *world, bool holds, const char *what)
{
    if (!holds) {
        pc_fibers_stop(world->fibers, what);
    }
}

static void ring(void *ctx, unsigned to_index)
{
    struct core *core = ctx;
    PC_POINT("test: about to ring");
    /* Pairs with the load in bell_rang, as an eventfd would. */
    atomic_store_explicit(&core->world->cores[to_index].bell, true, memory_order_release);
}

static void receive(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                    unsigned from_index)
{
    struct core *core = ctx;
    struct world *world = core->world;
    struct request *request = PC_CONTAINER_OF(letter, struct request, letter);
    if (kind == PC_LETTER_REQUEST) {
        require(world, request->home == from_index && request->target == core->index,
                "a request went astray");
        require(world, request->number == core->numbers_in[from_index]++, "requests changed order");
        require(world, !request->served, "a request came twice");
        request->served = true;
        pc_outbox_post(pc_mailbox_outbox(core->box, from_index), letter, PC_LETTER_ANSWER);
        return;
    }
    require(world, request->home == core->index && request->target == from_index,
            "an answer went astray");
    require(world, request->number == core->answers_in[from_index]++, "answers changed order");
    require(world, request->served && !request->answered, "an answer came twice or too early");
    request->answered = true;
    core->answered++;
}

static unsigned post_some(struct core *core)
{
    struct world *world = core->world;
    unsigned count = 0;
    unsigned wanted = (unsigned)pc_random_below(&core->random, 5);
    for (; count < wanted && core->posted < world->request_count; count++) {
        unsigned target = (unsigned)pc_random_below(&core->random, world->core_count - 1);
        target += target >= core->index;
        struct request *request = &core->requests[core->posted++];
        *request = (struct request){
            .home = core->index, .target = target, .number = core->numbers_out[target]++};
        pc_outbox_post(pc_mailbox_outbox(core->box, target), &request->letter, PC_LETTER_REQUEST);
    }
    return count;
}

static unsigned take_control(struct core *core)
{
    unsigned count = 0;
    struct pc_control *control = pc_mailbox_take_control(core->box);
    while (control != NULL) {
        struct pc_control *next = control->next;
        if (control->kind == CONTROL_STOP) {
            core->stopped = true;
        } else {
            struct world *world = core->world;
            require(world, control == &world->notes[core->notes_in], "control changed order");
            core->notes_in++;
        }
        control = next;
        count++;
    }
    return count;
}

static void post_control(struct core *core, unsigned to_index, struct pc_control *control)
{
    struct core *to = &core->world->cores[to_index];
    pc_mailbox_post_control(to->box, control);
    if (pc_mailbox_must_ring(to->box)) {
        ring(core, to_index);
    }
}

/* The last that has what it wanted tells all to stop. */
static void count_done(struct core *core)
{
    struct world *world = core->world;
    unsigned parties = world->core_count + 1;
    if (atomic_fetch_add_explicit(&world->cores_done, 1, memory_order_acq_rel) + 1 < parties) {
        return;
    }
    for (unsigned i = 0; i < world->core_count; i++) {
        world->cores[i].stop.kind = CONTROL_STOP;
        post_control(core, i, &world->cores[i].stop);
    }
}

static bool bell_rang(void *ctx)
{
    struct core *core = ctx;
    return atomic_load_explicit(&core->bell, memory_order_acquire);
}

static void core_sleep(struct core *core)
{
    if (!pc_mailbox_prepare_sleep(core->box)) {
        return;
    }
    pc_fiber_block_until(core->world->fibers, bell_rang, core);
    pc_mailbox_awake(core->box);
    atomic_store_explicit(&core->bell, false, memory_order_relaxed);
}

static void run_core(void *ctx)
{
    struct core *core = ctx;
    bool done = false;
    while (!core->stopped) {
        unsigned budget = 1 + (unsigned)pc_random_below(&core->random, 6);
        unsigned work = pc_mailbox_drain(core->box, budget, receive, core);
        work += take_control(core);
        work += post_some(core);
        work += pc_mailbox_flush(core->box, ring, core);
        if (!done && core->answered == core->world->request_count) {
            done = true;
            count_done(core);
        }
        if (work == 0 && core->posted == core->world->request_count) {
            core_sleep(core);
        }
    }
}

static void run_outside(void *ctx)
{
    struct world *world = ctx;
    for (unsigned i = 0; i < CONTROLS; i++) {
        world->notes[i].kind = CONTROL_NOTE;
        post_control(&world->cores[0], 0, &world->notes[i]);
        pc_fiber_point(world->fibers, "outside");
    }
    count_done(&world->cores[0]);
}

static void world_open(struct world *world, uint64_t seed)
{
    static const char *const names[] = {"core 0", "core 1", "core 2", "core 3"};
    struct pc_random random;
    pc_random_init(&random, seed);
    const struct pc_fibers_config config = {.seed = pc_random_next(&random),
                                            .stack_bytes = 64 * 1024,
                                            .step_count_max = 200 * 1000,
                                            .unordered = true};
    world->fibers = pc_fibers_create(&config);
    assert_non_null(world->fibers);
    world->core_count = 2 + (unsigned)pc_random_below(&random, CORES_MAX - 1);
    world->request_count = 1 + (unsigned)pc_random_below(&random, REQUESTS_MAX);
    unsigned credits = 1u << pc_random_below(&random, 4);
    for (unsigned i = 0; i < world->core_count; i++) {
        struct core *core = &world->cores[i];
        core->world = world;
        core->index = i;
        pc_random_init(&core->random, pc_random_next(&random));
        assert_int_equal(pc_mailbox_create(i, world->core_count, credits, &core->box), 0);
        pc_fiber_spawn(world->fibers, names[i], run_core, core);
    }
    for (unsigned i = 0; i < world->core_count; i++) {
        for (unsigned j = 0; j < world->core_count; j++) {
            if (i != j) {
                pc_mailbox_connect(world->cores[i].box, world->cores[j].box);
            }
        }
    }
    pc_fiber_spawn(world->fibers, "outside", run_outside, world);
}

static bool all_at_home(const struct world *world)
{
    bool home = world->cores[0].notes_in == CONTROLS;
    for (unsigned i = 0; i < world->core_count; i++) {
        const struct core *core = &world->cores[i];
        home = home && core->answered == world->request_count && pc_mailbox_settled(core->box) &&
               !pc_mailbox_has_mail(core->box);
    }
    return home;
}

/* True if the schedule of this seed shows a fault; `loud` prints how. */
static bool seed_fails(uint64_t seed, bool loud)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world_open(world, seed);
    enum pc_fibers_end end = pc_fibers_run(world->fibers);
    bool failed = end != PC_FIBERS_DONE || !all_at_home(world);
    if (failed && loud) {
        pc_fibers_report(world->fibers, stderr);
    }
    pc_fibers_destroy(world->fibers);
    for (unsigned i = 0; i < world->core_count; i++) {
        pc_mailbox_destroy(world->cores[i].box);
    }
    free(world);
    return failed;
}

static void every_schedule_ends_with_all_at_home(void **state)
{
    (void)state;
    const uint64_t seeds = pc_test_scale(3000, 100000);
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
        cmocka_unit_test(every_schedule_ends_with_all_at_home),
#ifdef PC_HOOKS
        cmocka_unit_test(bell_without_recheck_is_found),
        cmocka_unit_test(credit_leak_is_found),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
