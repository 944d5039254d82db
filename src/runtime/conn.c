/* SPDX-License-Identifier: Apache-2.0 */
/* conn: receive, run the exchange, send; deadlines; the ways to end. */
#include "runtime/conn.h"

#include "base/hooks.h"
#include "runtime/listener.h"
#include "runtime/peer.h"
#include "runtime/place.h"

#include <errno.h>
#include <stdlib.h>

size_t pc_conn_bytes(const struct pc_service *service)
{
    return sizeof(struct pc_conn) + ((service->session_bytes + 15) & ~(size_t)15);
}

/* ---- The table ---- */

static bool table_grow(struct pc_core *core)
{
    uint32_t room = core->conn_room == 0 ? 64 : core->conn_room * 2;
    struct pc_conn **conns = realloc(core->conns, room * sizeof(struct pc_conn *));
    if (conns == NULL) {
        return false;
    }
    core->conns = conns;
    core->conn_room = room;
    return true;
}

static struct pc_conn *conn_make(struct pc_core *core)
{
    if (core->conn_count == core->conn_room && !table_grow(core)) {
        return NULL;
    }
    struct pc_conn *conn = calloc(1, pc_conn_bytes(core->lane.service));
    if (conn == NULL) {
        return NULL;
    }
    conn->core = core;
    conn->shut = true;
    conn->handle = (struct pc_handle){.index = core->conn_count, .generation = 1};
    core->conns[core->conn_count++] = conn;
    return conn;
}

struct pc_conn *pc_conn_find(struct pc_core *core, struct pc_handle handle)
{
    if (handle.index >= core->conn_count) {
        return NULL;
    }
    struct pc_conn *conn = core->conns[handle.index];
    if (conn->shut ||
        (conn->handle.generation != handle.generation && !PC_PLANTED(PC_BUG_STALE_HANDLE))) {
        return NULL;
    }
    return conn;
}

static void conn_free(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    pc_list_remove(&conn->ready);
    pc_exchange_fini(&conn->exchange, &core->lane);
    if (++conn->handle.generation == 0) {
        conn->handle.generation = 1;
    }
    pc_list_append(&core->conns_free, &conn->ready);
}

/* ---- Deadlines ---- */

static bool sending(const struct pc_conn *conn)
{
    return conn->blocked || conn->in_flight;
}

/* Others decide when it goes on: the peer, or whoever has the memory. */
static bool stuck(const struct pc_conn *conn)
{
    return sending(conn) || conn->starved;
}

static void conn_arm(struct pc_conn *conn, uint64_t limit_ns)
{
    struct pc_lane *lane = &conn->core->lane;
    if (limit_ns > 0 &&
        (!pc_timer_armed(&conn->timer) || conn->timer.due_ns > lane->now_ns + limit_ns)) {
        pc_wheel_arm(&lane->wheel, &conn->timer, lane->now_ns + limit_ns);
    }
}

/* A request pauses: run again when it is time. One whose time has come and that did not go on waits
 * for something else. */
static void conn_pause(struct pc_conn *conn)
{
    const struct pc_lane *lane = &conn->core->lane;
    const uint64_t until_ns = pc_exchange_pause_ns(&conn->exchange, lane->now_ns);
    if (until_ns != 0) {
        conn_arm(conn, until_ns - lane->now_ns);
    }
}

/* A core that was kept from running may not have heard yet of what the peer sent: before the peer
 * is called idle its socket is read once more. False: that was done, and nothing came. */
static bool conn_look(struct pc_conn *conn)
{
    if (conn->looked_ns == conn->active_ns) {
        return false;
    }
    conn->looked_ns = conn->active_ns;
    conn->readable = true;
    conn_arm(conn, PC_TICK_NS);
    pc_conn_wake(conn);
    return true;
}

/* Deadlines move with every byte; the timer is only armed anew when it fires. */
static void conn_deadline(struct pc_timer *timer, struct pc_lane *lane)
{
    struct pc_conn *conn = PC_CONTAINER_OF(timer, struct pc_conn, timer);
    const struct pc_config *config = &lane->runtime->config;
    uint64_t limit_ns = conn->lingering ? PC_LINGER_NS
                        : stuck(conn)   ? config->send_ns
                                        : config->idle_ns;
    if (conn->away) {
        conn_arm(conn, limit_ns); /* a worker has the exchange, and with it all that may wait */
        return;
    }
    if (PC_UNLIKELY(conn->exchange.pause_count > 0)) {
        conn_pause(conn);
        pc_conn_wake(conn); /* too early, it only looks */
    }
    if (limit_ns == 0) {
        return;
    }
    uint64_t due_ns = conn->active_ns + limit_ns;
    const bool serving = !conn->lingering && !stuck(conn);
    /* Only of a body that is on its way does the peer owe us something while a request is open. */
    const bool owed = conn->exchange.body_slot != NULL && pc_exchange_hungry(&conn->exchange);
    const bool waits = conn->exchange.open_count > 0 && !owed;
    if (serving && (waits || pc_list_linked(&conn->ready))) {
        due_ns = lane->now_ns + limit_ns;
    }
    if (due_ns > lane->now_ns) {
        conn_arm(conn, due_ns - lane->now_ns);
        return;
    }
    if (serving && conn_look(conn)) {
        return;
    }
    if (!conn->lingering) {
        pc_count(stuck(conn) ? &lane->counters->timeouts_send : &lane->counters->timeouts_idle);
    }
    pc_conn_cut(conn, stuck(conn) ? PC_CLOSE_ERROR : PC_CLOSE_IDLE);
}

/* ---- Open and shut ---- */

int pc_conn_open(struct pc_core *core, int fd)
{
    struct pc_list *free_node = pc_list_take(&core->conns_free);
    struct pc_conn *conn =
        free_node != NULL ? PC_CONTAINER_OF(free_node, struct pc_conn, ready) : conn_make(core);
    int outcome = conn == NULL ? -ENOMEM : core->poller->ops->adopt(core->poller, fd, conn->handle);
    if (outcome < 0) {
        pc_count(&core->lane.counters->memory_refusals);
        (void)core->lane.kernel->close(core->lane.kernel, fd); /* it was never ours to use */
        pc_share_release(core->lane.runtime, core->lane.index);
        if (conn != NULL) {
            pc_list_append(&core->conns_free, &conn->ready);
        }
        return outcome;
    }
    conn->fd = fd;
    conn->sent_result = 0;
    conn->timer = (struct pc_timer){.fire = conn_deadline};
    conn->active_ns = core->lane.now_ns;
    conn->looked_ns = 0;
    conn->readable = conn->end_seen = conn->blocked = conn->in_flight = conn->paused = false;
    conn->away = conn->more = conn->doomed = conn->starved = false;
    conn->lingering = conn->shut = false;
    conn->why = PC_CLOSE_NORMAL;
    pc_exchange_init(&conn->exchange, &core->lane);
    pc_peer_opened(&conn->exchange, &core->lane, fd);
    core->open_count++;
    conn_arm(conn, core->lane.runtime->config.idle_ns);
    if (PC_UNLIKELY(core->draining)) {
        /* It was handed over while the drain began: read once, like the others, then closed. */
        conn->readable = true;
        pc_conn_wake(conn);
    }
    return 0;
}

static void listeners_resume(struct pc_core *core)
{
    for (unsigned i = 0; i < core->listener_count; i++) {
        pc_listener_resume(&core->listeners[i]);
    }
}

/* The descriptor goes; what is left of the exchange ends in later runs. */
static void conn_shut(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    PC_ASSERT(!conn->shut && !conn->away);
    pc_timer_disarm(&conn->timer);
    pc_list_remove(&conn->ready);
    pc_peer_shut(&conn->exchange, &core->lane, conn->why);
    core->poller->ops->close(core->poller, conn->fd, conn->handle);
    conn->fd = -1;
    conn->shut = true;
    core->open_count--;
    pc_count(&core->lane.counters->closed);
    pc_share_release(core->lane.runtime, core->lane.index);
    listeners_resume(core);
    pc_exchange_abort(&conn->exchange, &core->lane);
    if (conn->exchange.open_count == 0) {
        conn_free(conn);
    } else {
        core->zombie_count++;
        pc_conn_wake(conn);
    }
}

void pc_conn_cut(struct pc_conn *conn, enum pc_close why)
{
    if (!conn->lingering) {
        conn->why = (uint8_t)why;
    }
    if (conn->away) {
        conn->doomed = true;
        return;
    }
    if (conn->exchange.reply_bytes > 0) {
        pc_count(&conn->core->lane.counters->replies_dropped);
    }
    conn_shut(conn);
}

static void zombie_run(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    (void)pc_exchange_run(&conn->exchange, &core->lane); /* it cannot run out of budget: no input */
    if (conn->exchange.open_count == 0) {
        core->zombie_count--;
        conn_free(conn);
    }
}

/* All is said, but the peer may still be sending: let it read before the descriptor goes. */
static void conn_linger(struct pc_conn *conn)
{
    struct pc_lane *lane = &conn->core->lane;
    (void)lane->kernel->shutdown(lane->kernel, conn->fd, SHUT_WR); /* a reset shows when we read */
    conn->lingering = true;
    conn->active_ns = lane->now_ns;
    conn_arm(conn, PC_LINGER_NS);
    if (conn->readable) {
        pc_conn_wake(conn);
    }
}

static void linger_run(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    struct pc_block *scrap = pc_block_borrow(&core->lane.blocks, PC_BLOCK_BYTES_USUAL);
    if (scrap == NULL) {
        conn_shut(conn);
        return;
    }
    ssize_t count =
        core->poller->ops->receive(core->poller, conn->fd, conn->handle, scrap->data, scrap->size);
    bool full = count == (ssize_t)scrap->size;
    pc_block_give_back(&core->lane.blocks, scrap);
    if (count == 0 || (count < 0 && count != -EAGAIN)) {
        conn_shut(conn);
    } else if (full || (count > 0 && conn->end_seen)) {
        pc_conn_wake(conn);
    } else {
        conn->readable = false;
    }
}

/* ---- Waking ---- */

void pc_conn_wake(struct pc_conn *conn)
{
    /* It may sit among the starved: the run decides anew whether it is read, and what it has to
     * serve may be what frees the memory. */
    if (PC_UNLIKELY(conn->starved)) {
        conn->starved = false;
        pc_list_remove(&conn->ready);
    }
    if (!pc_list_linked(&conn->ready)) {
        pc_list_append(&conn->core->ready, &conn->ready);
    }
}

/* What was in flight has left, or never will. False: the connection is gone. */
static bool conn_sent(struct pc_conn *conn)
{
    struct pc_counters *counters = conn->core->lane.counters;
    int32_t result = conn->sent_result;
    conn->sent_result = 0;
    if (result > 0) {
        pc_exchange_sent(&conn->exchange, &conn->core->lane, (size_t)result);
        pc_count_add(&counters->bytes_out, (uint64_t)result);
        conn->active_ns = conn->core->lane.now_ns;
    } else if (result < 0) {
        pc_count(&counters->resets);
        pc_conn_cut(conn, PC_CLOSE_ERROR);
        return false;
    }
    return true;
}

void pc_conn_report(struct pc_conn *conn, const struct pc_ready *report)
{
    if (conn->away && PC_PLANTED(PC_BUG_LOST_MORE)) {
        return;
    }
    bool wake = false;
    if ((report->what & PC_READY_END) && !PC_PLANTED(PC_BUG_RDHUP_IGNORED)) {
        conn->end_seen = true;
    }
    if (report->what & (PC_READY_RECEIVE | PC_READY_END)) {
        conn->readable = wake = true;
    }
    if ((report->what & PC_READY_SEND) && sending(conn)) {
        if (PC_UNLIKELY(conn->in_flight && report->result != 0)) {
            /* The worker has the exchange: its queue moves when the batch is back. */
            conn->sent_result = report->result;
            if (!conn->away && !conn_sent(conn)) {
                return;
            }
        }
        conn->blocked = conn->in_flight = false;
        wake = true;
    }
    if (wake && !conn->away) {
        pc_conn_wake(conn);
    }
}

/* ---- Receive and send ---- */

/* False: the connection is gone. */
static bool conn_receive(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    struct pc_counters *counters = core->lane.counters;
    size_t room;
    uint8_t *into = pc_input_landing(&conn->exchange, &core->lane, &room);
    if (into == NULL) {
        pc_count(&counters->memory_refusals);
        pc_conn_cut(conn, PC_CLOSE_ERROR);
        return false;
    }
    room = pc_min_size(room, PC_RUN_BYTES_MAX);
    ssize_t count = core->poller->ops->receive(core->poller, conn->fd, conn->handle, into, room);
    pc_count(&counters->receives);
    pc_input_landed(&conn->exchange, &core->lane, count > 0 ? (size_t)count : 0);
    if (count > 0) {
        pc_count_add(&counters->bytes_in, (uint64_t)count);
        conn->active_ns = core->lane.now_ns;
        conn->readable = (size_t)count == room || conn->end_seen;
    } else if (count == 0) {
        pc_exchange_end_of_input(&conn->exchange);
        conn->readable = false;
        if (!pc_exchange_over(&conn->exchange)) {
            pc_count(&counters->half_closed);
        }
    } else if (count == -EAGAIN) {
        conn->readable = false;
    } else {
        pc_count(&counters->resets);
        pc_conn_cut(conn, PC_CLOSE_ERROR);
        return false;
    }
    return true;
}

/* Send what there is, within the budget of a turn. False: the connection is gone. */
static bool conn_send(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    struct pc_exchange *exchange = &conn->exchange;
    struct pc_counters *counters = core->lane.counters;
    size_t budget = PC_SEND_BYTES_MAX;
    pc_places_lay_down(core); /* the kernel takes longer than we were there */
    while (exchange->output.bytes > 0 && budget > 0 && !sending(conn)) {
        struct iovec pieces[PC_SEND_PIECES_MAX];
        unsigned piece_count;
        size_t offered =
            pc_chain_pieces(&exchange->output, budget, pieces, PC_SEND_PIECES_MAX, &piece_count);
        ssize_t count =
            core->poller->ops->send(core->poller, conn->fd, conn->handle, pieces, piece_count);
        pc_count(&counters->sends);
        if (count >= 0) {
            pc_exchange_sent(exchange, &core->lane, (size_t)count);
            pc_count_add(&counters->bytes_out, (uint64_t)count);
            conn->active_ns = core->lane.now_ns;
            budget -= (size_t)count;
            conn->blocked = (size_t)count < offered;
        } else if (count == -EAGAIN) {
            conn->blocked = true;
        } else if (count == -EINPROGRESS) {
            conn->in_flight = true;
        } else {
            pc_count(&counters->resets);
            pc_conn_cut(conn, PC_CLOSE_ERROR);
            return false;
        }
    }
    if (sending(conn)) {
        pc_count(&counters->sends_short);
        conn_arm(conn, core->lane.runtime->config.send_ns);
    }
    return true;
}

/* ---- A run ---- */

static inline bool may_read(struct pc_conn *conn)
{
    if (!conn->readable) {
        return false;
    }
    size_t queued = conn->exchange.reply_bytes;
    if (queued > PC_REPLY_BYTES_HIGH && !conn->paused) {
        conn->paused = true;
        pc_count(&conn->core->lane.counters->read_pauses);
    } else if (queued <= PC_REPLY_BYTES_LOW) {
        conn->paused = false;
    }
    return !conn->paused && pc_exchange_hungry(&conn->exchange);
}

static void conn_trouble(struct pc_conn *conn)
{
    struct pc_exchange *exchange = &conn->exchange;
    struct pc_lane *lane = &conn->core->lane;
    pc_count(exchange->oversize ? &lane->counters->cap_frame : &lane->counters->bad_requests);
    PC_LOG(lane->runtime->log, PC_LOG_WARN, exchange->oversize ? "oversize" : "malformed",
           pc_field_number("core", lane->index), pc_field_number("fd", (uint64_t)conn->fd),
           pc_field_text("trouble", exchange->trouble));
    exchange->trouble = NULL;
    conn->why = PC_CLOSE_ERROR;
}

/* After the exchange has run: send, then decide what is next. */
static inline void conn_finish(struct pc_conn *conn, bool more)
{
    struct pc_core *core = conn->core;
    struct pc_exchange *exchange = &conn->exchange;
    if (PC_UNLIKELY(exchange->trouble != NULL)) {
        conn_trouble(conn);
    }
    if (!conn_send(conn)) {
        return;
    }
    if (PC_LIKELY(!more && !conn->readable && pc_exchange_quiet(exchange) && !core->draining)) {
        return;
    }
    if (!more && pc_exchange_over(exchange)) {
        if (exchange->stopped && !exchange->ended) {
            conn_linger(conn);
        } else {
            conn_shut(conn);
        }
        return;
    }
    if (PC_UNLIKELY(core->draining) && !conn->readable && pc_exchange_idle(exchange)) {
        conn->why = PC_CLOSE_DRAIN;
        conn_shut(conn);
        return;
    }
    bool unsent = exchange->output.bytes > 0 && !sending(conn);
    bool lost = more && PC_PLANTED(PC_BUG_LOST_MORE);
    if (unsent || (!lost && (more || pc_exchange_runnable(exchange)))) {
        pc_conn_wake(conn);
    } else if (may_read(conn)) {
        if (pc_core_starved(core)) {
            pc_core_starve(core, conn);
            conn_arm(conn, core->lane.runtime->config.send_ns);
        } else {
            pc_conn_wake(conn);
        }
    }
    if (PC_UNLIKELY(exchange->pause_count > 0)) {
        conn_pause(conn);
    }
}

static bool conn_dispatch(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    struct pc_runtime *runtime = core->lane.runtime;
    if (PC_LIKELY(runtime->dispatch == NULL)) {
        return false;
    }
    if (pc_exchange_runnable(&conn->exchange)) {
        conn->away = true;
        core->jobs_out++;
        runtime->dispatch(runtime, conn);
        return true;
    }
    return false;
}

void pc_conn_returned(struct pc_conn *conn)
{
    struct pc_core *core = conn->core;
    conn->away = false;
    core->jobs_out--;
    conn->exchange.lane = &core->lane;
    conn->active_ns = core->lane.now_ns; /* served until now, whatever it took */
    if (conn->doomed) {
        conn->doomed = false;
        pc_conn_cut(conn, (enum pc_close)conn->why);
        return;
    }
    if (!conn_sent(conn)) {
        return;
    }
    conn_finish(conn, conn->more);
    if (!conn->shut && conn->readable && !pc_list_linked(&conn->ready)) {
        pc_conn_wake(conn);
    }
}

/* Receive and serve until the socket is dry, the exchange is full, or the turn's share is used. */
static bool conn_serve(struct pc_conn *conn, bool *out_more)
{
    struct pc_core *core = conn->core;
    uint64_t before = core->lane.counters->bytes_in;
    *out_more = false;
    do {
        if (may_read(conn) && !pc_core_starved(core) && !conn_receive(conn)) {
            return false;
        }
        if (conn_dispatch(conn)) {
            return false;
        }
        *out_more = pc_exchange_run(&conn->exchange, &core->lane) == PC_RUN_BUDGET;
    } while (!*out_more && may_read(conn) && !pc_core_starved(core) &&
             core->lane.counters->bytes_in - before < PC_RUN_BYTES_MAX);
    return true;
}

/* The stage that began at `*since_ns` is over. */
static void stage_end(struct pc_lane *lane, enum pc_stage stage, uint64_t *since_ns)
{
    const uint64_t now_ns = lane->kernel->clock_ns(lane->kernel);
    pc_counters_stage(lane->counters, stage, now_ns - *since_ns);
    *since_ns = now_ns;
}

void pc_conn_run(struct pc_conn *conn)
{
    if (PC_UNLIKELY(conn->shut || conn->lingering || conn->away)) {
        if (conn->shut) {
            zombie_run(conn);
        } else if (conn->lingering) {
            linger_run(conn);
        }
        return;
    }
    struct pc_lane *lane = &conn->core->lane;
    uint64_t since_ns = lane->now_ns;
    const bool sampled = pc_counters_sample(lane->counters);
    if (PC_UNLIKELY(sampled)) {
        stage_end(lane, PC_STAGE_WAITING, &since_ns);
    }
    bool more;
    if (!conn_serve(conn, &more)) {
        return;
    }
    if (PC_UNLIKELY(sampled)) {
        stage_end(lane, PC_STAGE_SERVICE, &since_ns);
    }
    conn_finish(conn, more);
    if (PC_UNLIKELY(sampled)) {
        stage_end(lane, PC_STAGE_SENDING, &since_ns);
    }
}
