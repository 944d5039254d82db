/* SPDX-License-Identifier: Apache-2.0 */
/* world: the fibers of a runtime and of its clients, and what they check. */
#include "world_parts.h"

#include "base/check.h"
#include "base/hooks.h"
#include "models/engine.h"
#include "runtime/core.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* Nothing on the way to an answer takes longer than a listener's pause. */
#define PATIENCE_NS UINT64_C(150000000)
/* After a drain's deadline the runtime has this long to leave. */
#define LEAVE_NS UINT64_C(2000000000)

#define YIELD_NS 20000

static void say(struct world *world, const char *trouble)
{
    if (world->trouble[0] == '\0') {
        snprintf(world->trouble, sizeof(world->trouble), "%s", trouble);
    }
}

void pc_world_fail(struct world *world, const char *trouble)
{
    say(world, trouble);
    pc_fibers_stop(world->fibers, world->trouble);
}

/* ---- Threads and time ---- */

static bool wait_over(void *ctx)
{
    struct wait *wait = ctx;
    return wait->condition(wait->ctx) || wait->world->script->now_ns >= wait->until_ns;
}

static void world_block(struct pc_script *script, pc_script_condition_fn *condition, void *ctx,
                        uint64_t until_ns)
{
    struct world *world = script->ctx;
    struct wait wait = {world, condition, ctx, until_ns};
    unsigned index = pc_fiber_index(world->fibers);
    world->waits[index] = &wait;
    pc_fiber_block_until(world->fibers, wait_over, &wait);
    world->waits[index] = NULL;
}

/* Everybody waits: time jumps to the next thing that happens by itself. Nobody may be waiting for
 * an answer over a long jump: it means that somebody sleeps who should work. */
static bool world_stuck(void *ctx)
{
    struct world *world = ctx;
    const struct pc_world_config *config = world->config;
    const char *broken = config->broken != NULL ? config->broken(config->ctx) : NULL;
    if (broken != NULL) {
        say(world, broken);
        return false;
    }
    uint64_t next_ns = pc_script_next_ns(world->script);
    bool somebody = false;
    for (unsigned i = 0; i < FIBERS_MAX; i++) {
        if (world->waits[i] != NULL && world->waits[i]->until_ns < next_ns) {
            next_ns = world->waits[i]->until_ns;
        }
        somebody = somebody || (world->waits[i] != NULL && world->waits_for_answer[i]);
    }
    if (next_ns == PC_FOREVER) {
        say(world, "all sleep, and somebody waits");
        return false;
    }
    if (somebody && !world->stopping && next_ns > world->script->now_ns + PATIENCE_NS) {
        say(world, "all sleep for long, and somebody waits");
        return false;
    }
    if (world->stopping && next_ns > world->stop_ns + world->drain_ns + LEAVE_NS) {
        say(world, "the drain does not end");
        return false;
    }
    world->script->now_ns = next_ns;
    return true;
}

/* A thread of the runtime; its handle is its number among these. */
struct thread {
    struct world *world;
    struct pc_thread *thread;
    bool ended;
};

static void thread_main(void *ctx)
{
    struct thread *thread = ctx;
    thread->thread->run(thread->thread->ctx);
    thread->ended = true;
}

static bool thread_ended(void *ctx)
{
    const struct thread *thread = ctx;
    return thread->ended;
}

static struct world *world_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct pc_script, kernel)->ctx;
}

static int world_thread_start(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    struct world *world = world_of(kernel);
    struct thread *mine = malloc(sizeof(*mine));
    if (mine == NULL) {
        return -ENOMEM;
    }
    *mine = (struct thread){.world = world, .thread = thread};
    thread->handle = (uintptr_t)mine;
    (void)pc_fiber_spawn(world->fibers, thread->name, thread_main, mine);
    return 0;
}

static int world_thread_join(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    struct thread *mine = (struct thread *)thread->handle;
    pc_script_wait(world_of(kernel)->script, thread_ended, mine, PC_FOREVER);
    free(mine);
    return 0;
}

static int world_thread_here(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    thread->run(thread->ctx);
    return 0;
}

static bool never(void *ctx)
{
    return false;
}

/* Whoever yields comes back when the others wait or some time has passed: a loop of yields at the
 * highest priority would starve those it waits for. */
static void world_sched_yield(const struct pc_kernel *kernel)
{
    struct world *world = world_of(kernel);
    pc_script_wait(world->script, never, NULL, world->script->now_ns + YIELD_NS);
}

/* ---- Timers at the places ---- */

static void timer_arm(struct place_timer *timer, struct pc_lane *lane)
{
    struct world *world = timer->world;
    uint64_t delay_ns = pc_random_below(&world->script->random, world->timer_ns_max) + 1;
    timer->due_ns = pc_lane_now_ns(lane) + delay_ns;
    pc_timer_arm(&timer->timer, lane, delay_ns);
}

static void timer_fire(struct pc_timer *timer, struct pc_lane *lane)
{
    struct place_timer *mine = PC_CONTAINER_OF(timer, struct place_timer, timer);
    if (pc_lane_now_ns(lane) < mine->due_ns) {
        pc_world_fail(mine->world, "a timer is early");
    }
    if (++mine->fires < TIMER_FIRES_MAX) {
        timer_arm(mine, lane);
    }
}

static int world_place_open(void *app, int32_t place, struct pc_lane *lane)
{
    struct world *world = world_of(pc_lane_runtime(lane)->kernel);
    const struct pc_service *service = world->config->service;
    if (place < TIMERS_MAX) {
        struct place_timer *timer = &world->timers[place];
        *timer = (struct place_timer){.timer = {.fire = timer_fire}, .world = world};
        timer_arm(timer, lane);
    }
    return service->place_open != NULL ? service->place_open(app, place, lane) : 0;
}

/* ---- The runtime, and its end ---- */

static void runtime_main(void *ctx)
{
    struct world *world = ctx;
    world->outcome = pc_runtime_run(world->runtime);
}

static bool clients_left(void *ctx)
{
    const struct world *world = ctx;
    return world->clients_left == 0;
}

static bool connections_gone(void *ctx)
{
    const struct world *world = ctx;
    return pc_runtime_connections(world->runtime) == 0;
}

static void stopper_main(void *ctx)
{
    struct world *world = ctx;
    pc_script_wait(world->script, clients_left, world, world->stop_at_ns);
    if (world->clients_left == 0) {
        bool *waits = &world->waits_for_answer[pc_fiber_index(world->fibers)];
        *waits = true;
        pc_script_wait(world->script, connections_gone, world, PC_FOREVER);
        *waits = false;
    }
    world->stopping = true;
    world->stop_ns = world->script->now_ns;
    pc_runtime_stop(world->runtime);
}

/* ---- A world from its seed ---- */

static unsigned rate_draw(struct pc_random *random)
{
    static const unsigned rates[] = {0, 0, 2, 4, 16, 64};
    return rates[pc_random_below(random, PC_COUNT_OF(rates))];
}

static void plan_draw(struct pc_script_plan *plan, struct pc_random *random, bool calm)
{
    static const size_t pipes[] = {512, 4096, 65536};
    plan->pipe_bytes = pipes[pc_random_below(random, PC_COUNT_OF(pipes))];
    plan->step_ns_max = 1 + pc_random_below(random, 3000);
    if (calm) {
        return;
    }
    plan->completions = pc_random_below(random, 2) == 0;
    plan->part_arrives = rate_draw(random);
    plan->late_report = rate_draw(random);
    plan->needless_report = rate_draw(random) * 4;
    plan->short_send = rate_draw(random);
    plan->send_in_flight = plan->completions ? 1 : 0;
    plan->ghost_report = plan->completions ? 2 : rate_draw(random);
    plan->accept_fails = rate_draw(random);
    plan->wait_interrupted = rate_draw(random);
    plan->held_back = rate_draw(random);
    plan->held_ns_max = 1 + pc_random_below(random, 5000000);
    plan->stall = rate_draw(random) * 2;
    plan->stall_ns_max = 400000;
}

static void clients_make(struct world *world, struct pc_random *random)
{
    const struct pc_world_config *config = world->config;
    world->clients = calloc(config->client_count, sizeof(struct client));
    world->clients_left = config->client_count;
    for (unsigned i = 0; i < config->client_count; i++) {
        struct client *client = &world->clients[i];
        client->world = world;
        client->index = i;
        pc_random_init(&client->random, pc_random_next(random));
        (void)pc_fiber_spawn(world->fibers, "client", pc_world_client_main, client);
    }
}

/* What the runtime says of itself after it ran. */
static void look_back(struct world *world)
{
    struct pc_runtime *runtime = world->runtime;
    if (world->outcome != 0) {
        say(world, world->outcome < 0 ? "the runtime failed" : "a drain cut somebody");
    }
    if (pc_runtime_connections(runtime) != 0) {
        say(world, "a connection was forgotten");
    }
    if (pc_runtime_counter(runtime, "accepted") != pc_runtime_counter(runtime, "closed")) {
        say(world, "not every accepted connection was closed");
    }
    for (unsigned i = 0; i < runtime->core_count; i++) {
        struct pc_core *core = runtime->cores[i];
        struct pc_block *landing = core->lane.landing;
        uint64_t kept = landing != NULL ? sizeof(*landing) + landing->size : 0;
        pc_block_pool_trim(&core->lane.blocks);
        if (core->lane.blocks.bytes_out != kept) {
            say(world, "a core has lost a block");
        }
        if (!pc_mailbox_settled(core->mailbox) || pc_mailbox_has_mail(core->mailbox)) {
            say(world, "a letter was left");
        }
    }
}

static void tally_fill(struct world *world, struct pc_world_tally *tally)
{
    struct pc_runtime *runtime = world->runtime;
    tally->steps += pc_fibers_steps(world->fibers);
    tally->elapsed_ns += world->script->now_ns - runtime->start_ns;
    tally->requests += pc_runtime_counter(runtime, "requests");
    tally->letters += pc_runtime_counter(runtime, "letters_received");
    tally->handed_over += pc_runtime_counter(runtime, "handed_over");
    tally->sends_short += pc_runtime_counter(runtime, "sends_short");
    tally->half_closed += pc_runtime_counter(runtime, "half_closed");
    tally->resets += pc_runtime_counter(runtime, "resets");
    tally->timers_fired += pc_runtime_counter(runtime, "timers_fired");
    tally->accept_pauses += pc_runtime_counter(runtime, "accept_pauses");
    tally->jobs += pc_runtime_counter(runtime, "jobs");
    tally->read_pauses += pc_runtime_counter(runtime, "read_pauses");
    tally->credit_waits += pc_runtime_counter(runtime, "credit_waits");
    tally->cap_core += pc_runtime_counter(runtime, "cap_core");
    tally->polls_paid += pc_runtime_counter(runtime, "polls_paid");
    tally->borrowed += pc_runtime_counter(runtime, "borrowed");
    tally->borrow_refused += pc_runtime_counter(runtime, "borrow_refused");
    tally->borrow_missed += pc_runtime_counter(runtime, "borrow_missed");
    tally->batons_wanted += pc_runtime_counter(runtime, "batons_wanted");
    tally->calls_parked += pc_runtime_counter(runtime, "calls_parked");
}

static bool runtime_make(struct world *world, uint64_t seed)
{
    const struct pc_world_config *config = world->config;
    static const char *const listen[] = {"127.0.0.1:7000"};
    const struct pc_config runtime_config = {.listen = listen,
                                             .listen_count = 1,
                                             .model = config->model,
                                             .core_count = config->core_count,
                                             .worker_count = config->worker_count,
                                             .place_count = config->place_count,
                                             .places_shared = config->places_shared,
                                             .places_lent = config->places_lent,
                                             .idle_ns = world->idle_ns,
                                             .drain_ns = world->drain_ns,
                                             .core_bytes_max = world->core_bytes_max,
                                             .signals_declined = true,
                                             .seed = seed | 1,
                                             .kernel = &world->script->kernel};
    world->service = *config->service;
    world->service.place_open = world_place_open;
    char trouble[256] = "cannot create the runtime";
    if (pc_runtime_create(&runtime_config, &world->service, config->app, &world->runtime, trouble,
                          sizeof(trouble)) < 0) {
        say(world, trouble);
        return false;
    }
    world->runtime->spins = world->spins;
    world->runtime->credit_count = world->credit_count;
    if (config->made != NULL) {
        config->made(config->ctx, world->runtime);
    }
    world->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(7000)};
    return true;
}

/* So few that calls wait for them, in half of the worlds. */
static unsigned credits_draw(uint64_t seed)
{
    static const unsigned counts[] = {0, 0, 0, 0, 1, 2, 8, 16};
    struct pc_random random;
    pc_random_init(&random, seed ^ UINT64_C(0xc4ed17));
    return counts[pc_random_below(&random, PC_COUNT_OF(counts))];
}

static struct world *world_make(const struct pc_world_config *config)
{
    struct world *world = calloc(1, sizeof(*world));
    struct pc_random random;
    pc_random_init(&random, config->seed);
    world->config = config;
    world->script = &world->machine.script;
    pc_script_init(world->script, pc_random_next(&random));
    world->script->ctx = world;
    world->script->block = world_block;
    world->script->kernel.thread_start = world_thread_start;
    world->script->kernel.thread_join = world_thread_join;
    world->script->kernel.thread_here = world_thread_here;
    world->script->kernel.sched_yield = world_sched_yield;
    plan_draw(&world->script->plan, &random, config->calm);
    if (pc_random_below(&random, 3) == 0) {
        world->machine.interrupts = config->calm ? 0 : rate_draw(&random);
        script_kernel_install(&world->machine);
    }
    world->idle_ns = pc_random_below(&random, 4) == 0 ? UINT64_C(300000000) : 0;
    world->drain_ns = UINT64_C(600000000000); /* slow readers have their time */
    world->timer_ns_max = 1 + pc_random_below(&random, 8000000);
    /* So little that a few connections use it up and others wait, but more than all begun requests.
     */
    world->core_bytes_max = pc_random_below(&random, 6) == 0 ? 400 * 1024 : 0;
    world->spins = pc_random_below(&random, 2) == 0;
    world->credit_count = config->few_credits ? credits_draw(config->seed) : 0;
    if (config->credit_count != 0) {
        world->credit_count = config->credit_count;
    }
    bool stops_early = pc_random_below(&random, 4) == 0 && !config->to_the_end;
    world->stop_at_ns =
        stops_early ? world->script->now_ns + pc_random_below(&random, 8000000) : PC_FOREVER;
    const uint64_t step_count_max =
        config->step_count_max != 0 ? config->step_count_max : 4 * 1000 * 1000;
    const struct pc_fibers_config fibers_config = {.seed = pc_random_next(&random),
                                                   .fiber_count_max = FIBERS_MAX,
                                                   .step_count_max = step_count_max,
                                                   .stuck = world_stuck,
                                                   .ctx = world};
    world->fibers = pc_fibers_create(&fibers_config);
    if (runtime_make(world, pc_random_next(&random))) {
        (void)pc_fiber_spawn(world->fibers, "runtime", runtime_main, world);
        (void)pc_fiber_spawn(world->fibers, "stopper", stopper_main, world);
        clients_make(world, &random);
    }
    return world;
}

/* The trouble's text outlives its world. */
static const char *trouble_keep(const struct world *world)
{
    static char kept[sizeof(world->trouble)];
    memcpy(kept, world->trouble, sizeof(kept));
    return kept[0] != '\0' ? kept : NULL;
}

static void emit(void *ctx, const char *line)
{
    fprintf(ctx, "  %s\n", line);
}

const char *pc_world_run(const struct pc_world_config *config, struct pc_world_tally *tally,
                         FILE *report)
{
    struct world *world = world_make(config);
    if (world->runtime != NULL) {
        enum pc_fibers_end end = pc_fibers_run(world->fibers);
        if (end != PC_FIBERS_DONE) {
            say(world, pc_fibers_reason(world->fibers));
        } else {
            look_back(world);
            if (tally != NULL) {
                tally_fill(world, tally);
            }
        }
    }
    bool destroyed = world->trouble[0] == '\0';
    if (destroyed) {
        pc_runtime_destroy(world->runtime);
        if (pc_script_open_count(world->script) != 0) {
            say(world, "a descriptor was forgotten");
        }
        const char *unsettled = config->settled != NULL ? config->settled(config->ctx) : NULL;
        if (unsettled != NULL) {
            say(world, unsettled);
        }
    }
    if (world->trouble[0] != '\0' && report != NULL) {
        if (!destroyed && world->runtime != NULL) {
            (void)pc_counters_print(world->runtime->counters, world->runtime->lane_count, emit,
                                    report); /* no memory: none */
        }
        fprintf(report, "world of seed %llu, %s, %u cores, %s, at %.6f s: %s\n",
                (unsigned long long)config->seed, config->model, config->core_count,
                world->machine.plain.recv != NULL ? "epoll" : "scripted",
                (double)world->script->now_ns / 1e9, world->trouble);
        pc_fibers_report(world->fibers, report);
    }
    const char *trouble = trouble_keep(world);
    pc_fibers_destroy(world->fibers);
    pc_script_fini(world->script);
    free(world->clients);
    free(world);
    return trouble;
}
