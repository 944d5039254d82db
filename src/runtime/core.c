/* SPDX-License-Identifier: Apache-2.0 */
/* core: the phases of a turn, the way to sleep, and the way to leave. */
#include "runtime/core.h"

#include "base/hooks.h"
#include "runtime/conn.h"
#include "runtime/listener.h"
#include "runtime/place.h"

#include <errno.h>
#include <stdlib.h>

/* Handles among those that are no connections and no listeners. */
#define PC_CORE_SIGNALS UINT32_MAX
#define PC_CORE_BEAT    (UINT32_MAX - 1)

/* ---- Ringing and posting ---- */

void pc_core_ring(struct pc_core *core)
{
    core->poller->ops->bell(core->poller);
}

static void ring_index(void *ctx, unsigned to_index)
{
    struct pc_core *core = ctx;
    pc_count(&core->lane.counters->bells);
    pc_core_ring(core->lane.runtime->cores[to_index]);
}

bool pc_core_send_control(struct pc_core *core, struct pc_control *control)
{
    pc_mailbox_post_control(core->mailbox, control);
    const bool slept = pc_mailbox_must_ring(core->mailbox);
    if (slept) {
        pc_core_ring(core);
    }
    return slept;
}

/* Batches leave while the turn still runs, so that the owner can work beside us. */
static void outbox_flush_early(struct pc_core *core, struct pc_outbox *outbox, unsigned to_index)
{
    if (pc_outbox_waiting(outbox) < PC_POST_BATCH || pc_outbox_credits(outbox) == 0) {
        return;
    }
    unsigned count = pc_outbox_flush(outbox);
    pc_count_add(&core->lane.counters->letters_posted, count);
    pc_count(&core->lane.counters->batches_posted);
    if (count > 0 && pc_mailbox_must_ring(pc_outbox_receiver(outbox))) {
        ring_index(core, to_index);
    }
}

bool pc_core_call(struct pc_lane *lane, struct pc_call *call)
{
    struct pc_runtime *runtime = lane->runtime;
    if (lane->kind != PC_LANE_CORE) {
        PC_ASSERT(call->place == PC_PLACE_WORKERS || runtime->config.places_shared);
        return false;
    }
    struct pc_core *core = pc_core_of(lane);
    if (call->place == PC_PLACE_WORKERS) {
        if (runtime->offload == NULL) {
            return false;
        }
        core->jobs_out++;
        runtime->offload(runtime, call);
        return true;
    }
    PC_ASSERT(call->place >= 0 && (unsigned)call->place < runtime->config.place_count);
    unsigned owner = (unsigned)call->place % runtime->core_count;
    if (owner == lane->index || runtime->config.places_shared) {
        if (!pc_places_enter(core)) {
            pc_places_park(core, call);
            return true;
        }
        return false;
    }
    struct pc_outbox *outbox = pc_mailbox_outbox(core->mailbox, owner);
    pc_outbox_post(outbox, &call->letter, PC_LETTER_REQUEST);
    outbox_flush_early(core, outbox, owner);
    return true;
}

/* ---- Starving ---- */

bool pc_core_starved(struct pc_core *core)
{
    uint64_t bytes_max = core->lane.runtime->config.core_bytes_max;
    return core->credits_missing || (PC_UNLIKELY(core->lane.blocks.bytes_out > bytes_max) &&
                                     pc_block_pool_bytes_out(&core->lane.blocks) > bytes_max);
}

void pc_core_starve(struct pc_core *core, struct pc_conn *conn)
{
    pc_count(core->credits_missing ? &core->lane.counters->credit_waits
                                   : &core->lane.counters->cap_core);
    conn->starved = true;
    pc_list_append(&core->starved, &conn->ready);
}

static void feed_starved(struct pc_core *core)
{
    struct pc_list *node;
    while ((node = pc_list_take(&core->starved)) != NULL) {
        struct pc_conn *conn = PC_CONTAINER_OF(node, struct pc_conn, ready);
        conn->starved = false;
        pc_conn_wake(conn);
    }
}

/* ---- Phases ---- */

/* Who is not a connection: a listener, the signals, or the beat, which phase_steps makes use of. */
static void report_other(struct pc_core *core, uint32_t index)
{
    const struct pc_kernel *kernel = core->lane.kernel;
    uint64_t count;
    if (index == PC_CORE_SIGNALS) {
        core->lane.heavy = true;
        core->lane.runtime->take_signals(core->lane.runtime);
    } else if (index == PC_CORE_BEAT) {
        (void)kernel->read(kernel, core->beat_fd, &count, sizeof(count)); /* only to empty it */
    } else {
        core->listeners[index].waiting = core->accepting = true;
    }
}

static void phase_poll(struct pc_core *core)
{
    int count =
        core->poller->ops->wait(core->poller, core->timeout_ns, core->reports, PC_READY_COUNT_MAX);
    PC_ASSERT(count >= 0);
    pc_lane_tick(&core->lane);
    if (core->sleeping) {
        core->sleeping = false;
        pc_mailbox_awake(core->mailbox);
    }
    for (int i = 0; i < count; i++) {
        const struct pc_ready *report = &core->reports[i];
        if (PC_UNLIKELY(report->handle.generation == 0)) {
            report_other(core, report->handle.index);
            continue;
        }
        struct pc_conn *conn = pc_conn_find(core, report->handle);
        if (PC_LIKELY(conn != NULL)) {
            pc_conn_report(conn, report);
        }
    }
}

void pc_core_answered(struct pc_call *call)
{
    struct pc_exchange *exchange;
    if (pc_exchange_answered(call, &exchange)) {
        struct pc_conn *conn = PC_CONTAINER_OF(exchange, struct pc_conn, exchange);
        conn->active_ns = conn->core->lane.now_ns; /* its request was served until now */
        pc_conn_wake(conn);
    }
}

static void visit_letter(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                         unsigned from_index)
{
    struct pc_core *core = ctx;
    struct pc_call *call = PC_CONTAINER_OF(letter, struct pc_call, letter);
    if (kind == PC_LETTER_ANSWER) {
        pc_core_answered(call);
        return;
    }
    if (!pc_places_enter(core)) {
        pc_places_park(core, call);
        return;
    }
    call->work(call, &core->lane);
    pc_outbox_post(pc_mailbox_outbox(core->mailbox, from_index), letter, PC_LETTER_ANSWER);
}

static void visit_control(struct pc_core *core, struct pc_control *control)
{
    switch ((enum pc_control_kind)control->kind) {
    case PC_CONTROL_HANDOVER: {
        struct pc_handover *handover = PC_CONTAINER_OF(control, struct pc_handover, control);
        int fd = handover->fd;
        free(handover);
        if (pc_conn_open(core, fd) == 0) {
            pc_count(&core->lane.counters->adopted);
        }
        break;
    }
    case PC_CONTROL_CALL:
        core->jobs_out--;
        pc_core_answered(PC_CONTAINER_OF(control, struct pc_call, control));
        break;
    case PC_CONTROL_CONN:
        pc_conn_returned(PC_CONTAINER_OF(control, struct pc_conn, control));
        break;
    case PC_CONTROL_BATON:
        pc_places_returned(core);
        break;
    }
}

/* No other core writes letters, could be written to, or borrows. */
static bool is_alone(const struct pc_core *core)
{
    return core->lane.runtime->core_count == 1;
}

/* Publish what waits in the outboxes, and ring who sleeps; whoever is rung finds nobody here. */
static void post_all(struct pc_core *core)
{
    pc_places_lay_down(core);
    unsigned count = pc_mailbox_flush(core->mailbox, ring_index, core);
    if (count > 0) {
        pc_count_add(&core->lane.counters->letters_posted, count);
        pc_count(&core->lane.counters->batches_posted);
    }
}

static void phase_letters(struct pc_core *core)
{
    unsigned count =
        is_alone(core) ? 0 : pc_mailbox_drain(core->mailbox, PC_LETTER_BUDGET, visit_letter, core);
    if (count > 0) {
        pc_count_add(&core->lane.counters->letters_received, count);
        core->lane.heavy = true;
        post_all(core); /* the askers need not wait for our connections */
    }
    struct pc_control *control = pc_mailbox_take_control(core->mailbox);
    while (control != NULL) {
        struct pc_control *next = control->next;
        visit_control(core, control);
        control = next;
    }
}

static void phase_run(struct pc_core *core)
{
    if (PC_UNLIKELY(core->accepting)) {
        core->accepting = false;
        core->lane.heavy = true;
        for (unsigned i = 0; i < core->listener_count; i++) {
            pc_listener_accept(&core->listeners[i]);
            core->accepting |= core->listeners[i].waiting;
        }
    }
    /* Those that want to run again come behind the last of now. */
    struct pc_list *last = core->ready.prev;
    struct pc_list *node = NULL;
    while (node != last && (node = pc_list_take(&core->ready)) != NULL) {
        pc_conn_run(PC_CONTAINER_OF(node, struct pc_conn, ready));
    }
}

static void phase_timers(struct pc_core *core)
{
    if (pc_wheel_empty(&core->lane.wheel)) {
        return;
    }
    unsigned fired =
        pc_wheel_advance(&core->lane.wheel, core->lane.now_ns, &core->lane, PC_LETTER_BUDGET);
    if (fired > 0) {
        pc_count_add(&core->lane.counters->timers_fired, fired);
    }
}

static void phase_steps(struct pc_core *core)
{
    const struct pc_runtime *runtime = core->lane.runtime;
    if (runtime->service->place_step == NULL || core->lane.now_ns < core->step_ns ||
        !pc_places_enter(core)) {
        return;
    }
    core->stepping = false;
    core->lane.heavy = true;
    for (unsigned place = core->lane.index; place < runtime->config.place_count;
         place += runtime->core_count) {
        core->stepping |= runtime->service->place_step(runtime->app, (int32_t)place, &core->lane);
    }
    core->step_ns = core->stepping ? 0 : core->lane.now_ns + PC_STEP_BUSY_NS;
}

static void phase_post(struct pc_core *core)
{
    if (!is_alone(core)) {
        post_all(core);
        core->credits_missing = pc_mailbox_waiting(core->mailbox) > 0;
    }
    if (PC_UNLIKELY(!pc_list_empty(&core->starved)) && !pc_core_starved(core)) {
        feed_starved(core);
    }
}

/* ---- Draining ---- */

static void ring_all(struct pc_runtime *runtime)
{
    for (unsigned i = 0; i < runtime->core_count; i++) {
        pc_core_ring(runtime->cores[i]);
    }
}

/* Whoever's timer fires first says so to all. */
static void drain_over(struct pc_timer *timer, struct pc_lane *lane)
{
    struct pc_runtime *runtime = lane->runtime;
    /* Pairs with the load of every core's phase_drain. */
    atomic_store_explicit(&runtime->cutting, true, memory_order_seq_cst);
    ring_all(runtime);
}

static void drain_begin(struct pc_core *core)
{
    struct pc_lane *lane = &core->lane;
    core->draining = true;
    core->deadline.fire = drain_over;
    pc_wheel_arm(&lane->wheel, &core->deadline, lane->now_ns + lane->runtime->config.drain_ns);
    for (unsigned i = 0; i < core->listener_count; i++) {
        pc_listener_close(&core->listeners[i]);
    }
    PC_POINT("core.closed");
    /* Pairs with the load in is_settled: what was handed over from here is in the shares. */
    unsigned before =
        atomic_fetch_add_explicit(&core->lane.runtime->closed_count, 1, memory_order_acq_rel);
    if (before + 1 == core->lane.runtime->core_count) {
        ring_all(core->lane.runtime);
    }
    /* What has arrived is answered: everybody is read once more. */
    for (uint32_t i = 0; i < core->conn_count; i++) {
        struct pc_conn *conn = core->conns[i];
        if (!conn->shut) {
            conn->readable = true;
            if (!conn->away) {
                pc_conn_wake(conn);
            }
        }
    }
}

static void drain_cut(struct pc_core *core)
{
    struct pc_runtime *runtime = core->lane.runtime;
    for (uint32_t i = 0; i < core->conn_count; i++) {
        struct pc_conn *conn = core->conns[i];
        if (!conn->shut && !conn->doomed) {
            if (!conn->lingering) {
                pc_count(&core->lane.counters->drain_cut);
                atomic_fetch_add_explicit(&runtime->cut_count, 1, memory_order_relaxed);
            }
            pc_conn_cut(conn, PC_CLOSE_DRAIN);
        }
    }
}

/* Nothing of ours is under way, here or elsewhere. While another core still accepts, it may hand a
 * connection to us; after that it is in our share, from before it was posted. */
static bool is_settled(const struct pc_core *core)
{
    const struct pc_runtime *runtime = core->lane.runtime;
    if (atomic_load_explicit(&runtime->closed_count, memory_order_acquire) != runtime->core_count) {
        return false;
    }
    unsigned share =
        atomic_load_explicit(&runtime->shares[core->lane.index].open_count, memory_order_acquire);
    return share == 0 && core->open_count == 0 && core->zombie_count == 0 && core->jobs_out == 0 &&
           pc_mailbox_settled(core->mailbox);
}

/* True: all cores have settled. */
static bool phase_drain(struct pc_core *core)
{
    struct pc_runtime *runtime = core->lane.runtime;
    if (PC_LIKELY(!pc_runtime_stopping(runtime))) {
        return false;
    }
    if (!core->draining) {
        drain_begin(core);
    }
    if (pc_runtime_cutting(runtime)) {
        drain_cut(core);
    }
    if (!core->settled && is_settled(core)) {
        core->settled = true;
        PC_POINT("core.settled");
        unsigned before =
            atomic_fetch_add_explicit(&runtime->settled_count, 1, memory_order_acq_rel);
        if (before + 1 == runtime->core_count) {
            ring_all(runtime);
        }
    }
    /* Whoever borrowed here has settled since, so the letter it owes us is on its way. */
    return !pc_places_away(core) &&
           atomic_load_explicit(&runtime->settled_count, memory_order_acquire) ==
               runtime->core_count;
}

/* ---- Rest ---- */

static bool has_work(const struct pc_core *core)
{
    return !pc_list_empty(&core->ready) || core->accepting ||
           (core->stepping && !pc_places_away(core));
}

/* True: mail came within so long. */
static bool poll_mailbox(struct pc_core *core, uint64_t limit_ns)
{
    const struct pc_kernel *kernel = core->lane.kernel;
    const uint64_t until_ns = kernel->clock_ns(kernel) + limit_ns;
    do {
        if (pc_mailbox_has_mail(core->mailbox)) {
            pc_count(&core->lane.counters->polls_paid);
            return true;
        }
        pc_cpu_relax();
    } while (kernel->clock_ns(kernel) < until_ns);
    pc_count(&core->lane.counters->polls_lost);
    return false;
}

/* Look for mail a little longer before sleeping: another core is likely to write at once. The time
 * doubles when it paid and halves when it did not, so an idle core does not burn its CPU. */
static bool poll_briefly(struct pc_core *core)
{
    if (!core->lane.runtime->spins || is_alone(core)) {
        return false;
    }
    if (pc_places_away(core)) {
        /* The borrower is at it, and done sooner than it could wake us: no habit to learn. */
        return poll_mailbox(core, PC_SPIN_NS_MAX);
    }
    if (pc_mailbox_settled(core->mailbox) && core->spin_ns < PC_SPIN_NS_MIN) {
        return false;
    }
    const uint64_t limit_ns = core->spin_ns < PC_SPIN_NS_MIN ? PC_SPIN_NS_MIN : core->spin_ns;
    if (poll_mailbox(core, limit_ns)) {
        core->spin_ns = limit_ns * 2 < PC_SPIN_NS_MAX ? limit_ns * 2 : PC_SPIN_NS_MAX;
        return true;
    }
    core->spin_ns = core->spin_ns / 2;
    return false;
}

static void rest(struct pc_core *core)
{
    core->timeout_ns = 0;
    if (has_work(core) || poll_briefly(core)) {
        return;
    }
    if (!pc_mailbox_prepare_sleep(core->mailbox)) {
        return;
    }
    core->sleeping = true;
    pc_count(&core->lane.counters->sleeps);
    uint64_t due_ns =
        pc_wheel_empty(&core->lane.wheel) ? PC_FOREVER : pc_wheel_next_ns(&core->lane.wheel);
    if (core->lane.service->place_step != NULL && core->beat_fd < 0) {
        uint64_t step_ns = core->lane.now_ns + PC_STEP_IDLE_NS;
        due_ns = due_ns < step_ns ? due_ns : step_ns;
    }
    if (due_ns == PC_FOREVER) {
        core->timeout_ns = PC_FOREVER;
    } else if (due_ns > core->lane.now_ns) {
        core->timeout_ns = due_ns - core->lane.now_ns;
    }
    /* A stop that came after phase_drain looked has rung the bell before we sleep. */
}

/* A look at the clock costs a hundredth of a turn that serves one request: turns of light work
 * alone, which their budgets bound, are measured one in PC_TURN_SAMPLE_EVERY. */
static void turn_measure(struct pc_core *core)
{
    struct pc_lane *lane = &core->lane;
    uint64_t turn_index = lane->counters->turns;
    pc_count(&lane->counters->turns);
    uint64_t weight = lane->heavy ? 1 : PC_TURN_SAMPLE_EVERY;
    if (!lane->heavy && turn_index % PC_TURN_SAMPLE_EVERY != 0) {
        return;
    }
    lane->heavy = false;
    uint64_t turn_ns = lane->kernel->clock_ns(lane->kernel) - lane->now_ns;
    pc_counters_turn(lane->counters, turn_ns, weight);
    if (PC_UNLIKELY(turn_ns > PC_STALL_NS)) {
        pc_count(&lane->counters->stalls);
        PC_LOG(lane->runtime->log, PC_LOG_WARN, "stall", pc_field_number("core", lane->index),
               pc_field_number("turn_us", turn_ns / 1000));
    }
}

bool pc_core_turn(struct pc_core *core)
{
    phase_poll(core);
    phase_letters(core);
    phase_run(core);
    phase_timers(core);
    phase_steps(core);
    phase_post(core);
    turn_measure(core);
    if (PC_UNLIKELY(phase_drain(core))) {
        return false;
    }
    rest(core);
    return true;
}

/* ---- Boot ---- */

int pc_core_listen(struct pc_core *core, const int *fds, unsigned fd_count)
{
    core->listeners = calloc(fd_count, sizeof(*core->listeners));
    if (core->listeners == NULL && fd_count > 0) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < fd_count; i++) {
        if (fds[i] < 0) {
            continue;
        }
        unsigned index = core->listener_count;
        int outcome = pc_listener_open(&core->listeners[index], core, fds[i], index);
        if (outcome < 0) {
            return outcome;
        }
        core->listener_count++;
    }
    return 0;
}

static int watch(struct pc_core *core, int fd, uint32_t index)
{
    return core->poller->ops->arm(core->poller, fd, (struct pc_handle){.index = index}, true);
}

int pc_core_watch_signals(struct pc_core *core)
{
    return watch(core, core->lane.runtime->signal_fd, PC_CORE_SIGNALS);
}

/* A sleep with a limit of its own has the kernel set and remove a timer, which costs a lone
 * connection a tenth of its request: one timer that beats all along is cheaper. */
static int beat_open(struct pc_core *core)
{
    const struct pc_kernel *kernel = core->lane.kernel;
    if (core->lane.service->place_step == NULL) {
        return 0;
    }
    core->beat_fd = kernel->timerfd(kernel, PC_STEP_IDLE_NS);
    return core->beat_fd < 0 ? 0 : watch(core, core->beat_fd, PC_CORE_BEAT);
}

static int places_open(struct pc_core *core)
{
    const struct pc_runtime *runtime = core->lane.runtime;
    if (runtime->service->place_open == NULL) {
        return 0;
    }
    for (unsigned place = core->lane.index; place < runtime->config.place_count;
         place += runtime->core_count) {
        int outcome = runtime->service->place_open(runtime->app, (int32_t)place, &core->lane);
        if (outcome < 0) {
            return outcome;
        }
    }
    return 0;
}

int pc_core_create(struct pc_runtime *runtime, unsigned index, const struct pc_poller_ops *poller,
                   struct pc_core **out_core)
{
    struct pc_core *core = aligned_alloc(PC_CACHE_LINE, (sizeof(*core) + PC_CACHE_LINE - 1) &
                                                            ~(size_t)(PC_CACHE_LINE - 1));
    if (core == NULL) {
        return -ENOMEM;
    }
    *core = (struct pc_core){.beat_fd = -1};
    pc_lane_init(&core->lane, runtime, PC_LANE_CORE, index, runtime->counters[index]);
    core->lane.input_alone = runtime->dispatch != NULL;
    pc_list_init(&core->ready);
    pc_list_init(&core->starved);
    pc_list_init(&core->conns_free);
    core->parked_last = &core->parked;
    pc_baton_init(&core->baton);
    core->baton.control.kind = PC_CONTROL_BATON;
    int outcome = poller->create(runtime->kernel, &core->poller);
    if (outcome == 0) {
        outcome =
            pc_mailbox_create(index, runtime->core_count, runtime->credit_count, &core->mailbox);
    }
    if (outcome == 0) {
        outcome = places_open(core);
    }
    if (outcome == 0) {
        outcome = beat_open(core);
    }
    if (outcome < 0) {
        pc_core_destroy(core);
        return outcome;
    }
    *out_core = core;
    return 0;
}

void pc_core_destroy(struct pc_core *core)
{
    if (core == NULL) {
        return;
    }
    pc_lane_fini(&core->lane); /* before those whose timers may be armed */
    for (uint32_t i = 0; i < core->conn_count; i++) {
        free(core->conns[i]);
    }
    free(core->conns);
    for (unsigned i = 0; i < core->listener_count; i++) {
        if (core->listeners[i].open) {
            core->poller->ops->close(core->poller, core->listeners[i].fd,
                                     (struct pc_handle){.index = i});
        }
    }
    free(core->listeners);
    if (core->beat_fd >= 0) {
        (void)core->lane.kernel->close(core->lane.kernel, core->beat_fd); /* nothing was written */
    }
    pc_mailbox_destroy(core->mailbox);
    if (core->poller != NULL) {
        core->poller->ops->destroy(core->poller);
    }
    free(core);
}
