/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads: the engine of blocking threads, one for each connection.
 *
 * The thread that calls run accepts, reaps threads that ended, does the upkeep of places and takes
 * the signals. Every other thread is one connection: receive, run the exchange, send, all blocking.
 * All calls are done at once, on the caller's thread: places must be shared.
 */
#include "base/list.h"
#include "models/engine.h"
#include "runtime/address.h"
#include "runtime/exchange.h"
#include "runtime/limits.h"
#include "runtime/listener.h"
#include "runtime/peer.h"

#include <errno.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/time.h>

/* Service code and one frame of sendmsg pieces; the rest is the margin for libraries. */
#define PC_THREAD_STACK_BYTES (256 * 1024)
#define PC_REAP_NS            1000000000u

struct threads;

/* One connection and its thread; in threads.live or, when it has ended, in threads.ended. */
struct thread_conn {
    struct pc_list node;
    struct threads *threads;
    struct pc_thread thread;
    struct pc_lane lane;
    int fd;
    enum pc_close why;           /* it ends */
    struct pc_exchange exchange; /* last: the session follows */
};

struct threads {
    struct pc_runtime *runtime;
    int stop_fd;          /* an eventfd: look at runtime.stopping */
    struct pc_lane lane;  /* the acceptor's */
    pthread_mutex_t lock; /* guards the lists and lanes_free */
    struct pc_list live, ended;
    unsigned live_count;
    unsigned lanes_free_count;
    unsigned lanes_free[]; /* indices into runtime.counters */
};

static struct threads *threads_of(struct pc_runtime *runtime)
{
    return runtime->engine_state;
}

/* ---- One connection ---- */

/* Send all there is. False: the peer is gone, or takes nothing. */
static bool send_all(struct thread_conn *conn)
{
    struct pc_lane *lane = &conn->lane;
    struct pc_exchange *exchange = &conn->exchange;
    while (exchange->output.bytes > 0) {
        struct iovec pieces[PC_SEND_PIECES_MAX];
        unsigned piece_count;
        (void)pc_chain_pieces(&exchange->output, SIZE_MAX, pieces, PC_SEND_PIECES_MAX,
                              &piece_count); /* what is taken is what counts */
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = piece_count};
        ssize_t count = lane->kernel->sendmsg(lane->kernel, conn->fd, &message, MSG_NOSIGNAL);
        pc_count(&lane->counters->sends);
        if (count >= 0) {
            pc_count_add(&lane->counters->bytes_out, (uint64_t)count);
            pc_exchange_sent(exchange, lane, (size_t)count);
        } else if (count != -EINTR) {
            pc_count(count == -EAGAIN ? &lane->counters->timeouts_send : &lane->counters->resets);
            conn->why = PC_CLOSE_ERROR;
            return false;
        }
    }
    return true;
}

/* Timers of the service fire while we wait. False: the idle limit has passed. */
static bool wait_readable(struct thread_conn *conn)
{
    struct pc_lane *lane = &conn->lane;
    uint64_t idle_ns = lane->runtime->config.idle_ns;
    uint64_t until_ns = idle_ns == 0 ? PC_FOREVER : pc_lane_tick(lane) + idle_ns;
    for (;;) {
        uint64_t due_ns = pc_wheel_next_ns(&lane->wheel);
        if (due_ns == PC_FOREVER && idle_ns == 0) {
            return true; /* recv itself may wait for ever */
        }
        due_ns = due_ns < until_ns ? due_ns : until_ns;
        struct pollfd poll = {.fd = conn->fd, .events = POLLIN};
        uint64_t now_ns = pc_lane_tick(lane);
        int ready =
            lane->kernel->poll(lane->kernel, &poll, 1, due_ns > now_ns ? due_ns - now_ns : 0);
        now_ns = pc_lane_tick(lane);
        (void)pc_wheel_advance(&lane->wheel, now_ns, lane, PC_LETTER_BUDGET); /* counted nowhere */
        if (ready > 0) {
            return true;
        }
        if (now_ns >= until_ns) {
            pc_count(&lane->counters->timeouts_idle);
            conn->why = PC_CLOSE_IDLE;
            return false;
        }
    }
}

static bool receive(struct thread_conn *conn);

/* A request pauses until then; what the peer sends is taken as far as there is use for it. False:
 * there will be no more. */
static bool wait_pause(struct thread_conn *conn, uint64_t until_ns)
{
    struct pc_lane *lane = &conn->lane;
    const uint64_t now_ns = pc_lane_tick(lane);
    if (now_ns >= until_ns) {
        return true;
    }
    const bool hungry = pc_exchange_hungry(&conn->exchange);
    struct pollfd poll = {.fd = conn->fd, .events = hungry ? POLLIN : 0};
    const int ready = lane->kernel->poll(lane->kernel, &poll, 1, until_ns - now_ns);
    pc_lane_tick(lane);
    return ready <= 0 || (hungry && receive(conn));
}

/* False: there will be no more. */
static bool receive(struct thread_conn *conn)
{
    struct pc_lane *lane = &conn->lane;
    struct pc_exchange *exchange = &conn->exchange;
    size_t room;
    uint8_t *into = pc_input_landing(exchange, lane, &room);
    if (into == NULL) {
        pc_count(&lane->counters->memory_refusals);
        conn->why = PC_CLOSE_ERROR;
        return false;
    }
    ssize_t count = -EAGAIN;
    if (wait_readable(conn)) {
        do {
            count = lane->kernel->recv(lane->kernel, conn->fd, into, room, 0);
        } while (count == -EINTR);
    }
    pc_count(&lane->counters->receives);
    pc_lane_tick(lane);
    pc_input_landed(exchange, lane, count > 0 ? (size_t)count : 0);
    if (count > 0) {
        pc_count_add(&lane->counters->bytes_in, (uint64_t)count);
    } else if (count == 0) {
        pc_exchange_end_of_input(exchange);
    } else if (count != -EAGAIN) {
        pc_count(&lane->counters->resets);
        conn->why = PC_CLOSE_ERROR;
    }
    return count >= 0;
}

static void log_trouble(struct thread_conn *conn)
{
    struct pc_exchange *exchange = &conn->exchange;
    struct pc_lane *lane = &conn->lane;
    pc_count(exchange->oversize ? &lane->counters->cap_frame : &lane->counters->bad_requests);
    PC_LOG(lane->runtime->log, PC_LOG_WARN, exchange->oversize ? "oversize" : "malformed",
           pc_field_number("fd", (uint64_t)conn->fd), pc_field_text("trouble", exchange->trouble));
    exchange->trouble = NULL;
    conn->why = PC_CLOSE_ERROR;
}

/* We end it: let the peer read what was said before a close with bytes unread resets it. */
static void linger(struct thread_conn *conn)
{
    const struct pc_kernel *kernel = conn->lane.kernel;
    struct timeval limit = {.tv_sec = PC_LINGER_NS / 1000000000u};
    (void)kernel->setsockopt(kernel, conn->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void)kernel->shutdown(kernel, conn->fd, SHUT_WR); /* a reset shows when we read */
    uint8_t scrap[4096];
    uint64_t until_ns = pc_lane_tick(&conn->lane) + PC_LINGER_NS;
    while (kernel->recv(kernel, conn->fd, scrap, sizeof(scrap), 0) > 0 &&
           pc_lane_tick(&conn->lane) < until_ns) {}
}

/* A drain has ended our reading, not the peer's sending: a close with bytes unread would take back
 * what is on its way out. Wait until the peer has it all. */
static void hand_out(struct thread_conn *conn)
{
    const struct pc_kernel *kernel = conn->lane.kernel;
    const uint64_t until_ns = pc_lane_tick(&conn->lane) + PC_LINGER_NS;
    do {
        struct tcp_info info = {0};
        socklen_t bytes = sizeof(info);
        if (kernel->getsockopt(kernel, conn->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0 ||
            (info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0)) {
            return;
        }
        (void)kernel->poll(kernel, NULL, 0, PC_TICK_NS); /* only time passes */
    } while (pc_lane_tick(&conn->lane) < until_ns);
}

static void converse(struct thread_conn *conn)
{
    struct pc_exchange *exchange = &conn->exchange;
    for (;;) {
        enum pc_run run = pc_exchange_run(exchange, &conn->lane);
        if (exchange->trouble != NULL) {
            log_trouble(conn);
        }
        if (!send_all(conn)) {
            break;
        }
        if (run == PC_RUN_BUDGET || pc_exchange_runnable(exchange)) {
            pc_lane_tick(&conn->lane);
            continue;
        }
        if (pc_exchange_over(exchange)) {
            if (exchange->stopped && !exchange->ended) {
                linger(conn);
            } else if (pc_runtime_stopping(conn->lane.runtime)) {
                conn->why = PC_CLOSE_DRAIN;
                hand_out(conn);
            }
            return;
        }
        const uint64_t pause_ns = pc_exchange_pause_ns(exchange, 0);
        if (pause_ns != 0 ? !wait_pause(conn, pause_ns) : !receive(conn)) {
            break;
        }
    }
    pc_exchange_abort(exchange, &conn->lane);
    while (exchange->open_count > 0) {
        (void)pc_exchange_run(exchange, &conn->lane); /* to its end, peer or none */
    }
}

static void conn_main(void *ctx)
{
    struct thread_conn *conn = ctx;
    struct threads *threads = conn->threads;
    struct pc_runtime *runtime = threads->runtime;
    pc_peer_opened(&conn->exchange, &conn->lane, conn->fd);
    converse(conn);
    pc_peer_shut(&conn->exchange, &conn->lane, conn->why);
    pc_exchange_fini(&conn->exchange, &conn->lane);
    pc_lane_fini(&conn->lane);
    pc_count(&conn->lane.counters->closed);
    pthread_mutex_lock(&threads->lock);
    (void)runtime->kernel->close(runtime->kernel, conn->fd); /* whatever it says, it is gone */
    pc_list_remove(&conn->node);
    pc_list_append(&threads->ended, &conn->node);
    threads->lanes_free[threads->lanes_free_count++] = conn->lane.index;
    threads->live_count--;
    pthread_mutex_unlock(&threads->lock);
    pc_share_release(runtime, 0);
    uint64_t one = 1;
    (void)runtime->kernel->write(runtime->kernel, threads->stop_fd, &one, sizeof(one));
}

/* ---- The acceptor ---- */

static void reap(struct threads *threads)
{
    for (;;) {
        pthread_mutex_lock(&threads->lock);
        struct pc_list *node = pc_list_take(&threads->ended);
        pthread_mutex_unlock(&threads->lock);
        if (node == NULL) {
            return;
        }
        struct thread_conn *conn = PC_CONTAINER_OF(node, struct thread_conn, node);
        const struct pc_kernel *kernel = threads->runtime->kernel;
        (void)kernel->thread_join(kernel, &conn->thread); /* it was started, and only we join */
        free(conn);
    }
}

static int conn_options(struct threads *threads, int fd)
{
    const struct pc_kernel *kernel = threads->runtime->kernel;
    uint64_t send_ns = threads->runtime->config.send_ns;
    struct timeval limit = {.tv_sec = (time_t)(send_ns / 1000000000u),
                            .tv_usec = (suseconds_t)(send_ns % 1000000000u / 1000)};
    return kernel->setsockopt(kernel, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static int conn_start(struct threads *threads, int fd)
{
    struct pc_runtime *runtime = threads->runtime;
    size_t bytes = sizeof(struct thread_conn) + runtime->service->session_bytes;
    bytes = (bytes + PC_CACHE_LINE - 1) & ~(size_t)(PC_CACHE_LINE - 1);
    struct thread_conn *conn = aligned_alloc(PC_CACHE_LINE, bytes);
    int outcome = conn == NULL ? -ENOMEM : conn_options(threads, fd);
    if (outcome < 0) {
        free(conn);
        return outcome;
    }
    pthread_mutex_lock(&threads->lock);
    unsigned lane_index = threads->lanes_free[--threads->lanes_free_count];
    *conn = (struct thread_conn){.threads = threads, .fd = fd};
    pc_list_append(&threads->live, &conn->node);
    threads->live_count++;
    pthread_mutex_unlock(&threads->lock);
    pc_lane_init(&conn->lane, runtime, PC_LANE_THREAD, lane_index, runtime->counters[lane_index]);
    pc_exchange_init(&conn->exchange, &conn->lane);
    conn->thread = (struct pc_thread){.run = conn_main,
                                      .ctx = conn,
                                      .name = "percore-conn",
                                      .cpu = -1,
                                      .stack_bytes = PC_THREAD_STACK_BYTES};
    outcome = runtime->kernel->thread_start(runtime->kernel, &conn->thread);
    if (outcome < 0) {
        pthread_mutex_lock(&threads->lock);
        pc_list_remove(&conn->node);
        threads->lanes_free[threads->lanes_free_count++] = lane_index;
        threads->live_count--;
        pthread_mutex_unlock(&threads->lock);
        pc_exchange_fini(&conn->exchange, &conn->lane);
        pc_lane_fini(&conn->lane);
        free(conn);
    }
    return outcome;
}

static void refuse(struct threads *threads, int fd, uint64_t *counter)
{
    const struct pc_kernel *kernel = threads->runtime->kernel;
    const struct pc_view *words = &threads->runtime->service->refusal;
    pc_count(counter);
    if (words->count > 0) {
        (void)kernel->send(kernel, fd, words->at, words->count, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    (void)kernel->close(kernel, fd); /* nothing to do about a failure */
}

/* All that wait at one socket; false: descriptors or memory are out. */
static bool accept_all(struct threads *threads, int listen_fd)
{
    struct pc_runtime *runtime = threads->runtime;
    struct pc_counters *counters = threads->lane.counters;
    for (;;) {
        int fd = runtime->kernel->accept4(runtime->kernel, listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -EAGAIN) {
            return true;
        }
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            pc_count(&counters->accept_pauses);
            PC_LOG(runtime->log, PC_LOG_WARN, "accept_pause", pc_field_error("error", fd));
            return false;
        }
        if (fd < 0) {
            continue; /* it concerns one connection, which is gone */
        }
        pc_count(&counters->accepted);
        if (pc_share_reserve(runtime, 0, true) < 0) {
            refuse(threads, fd, &counters->cap_connections);
        } else if (conn_start(threads, fd) < 0) {
            pc_share_release(runtime, 0);
            refuse(threads, fd, &counters->memory_refusals);
        }
    }
}

/* A little upkeep of every place; true: there is more. */
static bool places_step(struct threads *threads)
{
    const struct pc_runtime *runtime = threads->runtime;
    bool more = false;
    if (runtime->service->place_step != NULL) {
        for (unsigned i = 0; i < runtime->config.place_count; i++) {
            more |= runtime->service->place_step(runtime->app, (int32_t)i, &threads->lane);
        }
    }
    return more;
}

static void shut_live(struct threads *threads, int how)
{
    const struct pc_kernel *kernel = threads->runtime->kernel;
    pthread_mutex_lock(&threads->lock);
    for (struct pc_list *node = threads->live.next; node != &threads->live; node = node->next) {
        /* It may have been reset meanwhile: then its thread is ending anyway. */
        (void)kernel->shutdown(kernel, PC_CONTAINER_OF(node, struct thread_conn, node)->fd, how);
    }
    pthread_mutex_unlock(&threads->lock);
}

static unsigned live_count(struct threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    unsigned count = threads->live_count;
    pthread_mutex_unlock(&threads->lock);
    return count;
}

/* Sleep until something is to be accepted or reaped, somebody called stop, a signal came, or the
 * time is over. */
static void acceptor_wait(struct threads *threads, const int *fds, unsigned fd_count,
                          uint64_t timeout_ns)
{
    struct pc_runtime *runtime = threads->runtime;
    const struct pc_kernel *kernel = runtime->kernel;
    struct pollfd polls[PC_ADDRESS_COUNT_MAX + 2];
    polls[0] = (struct pollfd){.fd = threads->stop_fd, .events = POLLIN};
    polls[1] = (struct pollfd){.fd = runtime->signal_fd, .events = POLLIN}; /* -1: left out */
    for (unsigned i = 0; i < fd_count; i++) {
        polls[i + 2] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    }
    if (kernel->poll(kernel, polls, fd_count + 2, timeout_ns) <= 0) {
        return;
    }
    if (polls[0].revents != 0) {
        uint64_t count;
        (void)kernel->read(kernel, threads->stop_fd, &count, sizeof(count)); /* only to empty it */
    }
    if (polls[1].revents != 0) {
        runtime->take_signals(runtime);
    }
}

static void cut_live(struct threads *threads)
{
    unsigned count = live_count(threads);
    pc_count_add(&threads->lane.counters->drain_cut, count);
    atomic_fetch_add_explicit(&threads->runtime->cut_count, count, memory_order_relaxed);
    shut_live(threads, SHUT_RDWR);
}

static void drain(struct threads *threads, int *fds)
{
    struct pc_runtime *runtime = threads->runtime;
    for (unsigned i = 0; i < runtime->address_count; i++) {
        (void)accept_all(threads, fds[i]); /* what cannot be accepted now is reset by the close */
        (void)runtime->kernel->close(runtime->kernel, fds[i]);
        fds[i] = -1;
    }
    shut_live(threads, SHUT_RD);
    uint64_t cut_ns = pc_lane_tick(&threads->lane) + runtime->config.drain_ns;
    bool cut = false;
    while (live_count(threads) > 0) {
        uint64_t now_ns = pc_lane_tick(&threads->lane);
        if (!cut && (now_ns >= cut_ns || pc_runtime_cutting(runtime))) {
            cut = true;
            cut_live(threads);
        }
        uint64_t left_ns = now_ns < cut_ns ? cut_ns - now_ns : PC_REAP_NS;
        acceptor_wait(threads, NULL, 0, left_ns < PC_REAP_NS ? left_ns : PC_REAP_NS);
        reap(threads);
    }
    reap(threads);
}

static int threads_run(struct pc_runtime *runtime)
{
    struct threads *threads = threads_of(runtime);
    int *fds = runtime->listen_fds;
    bool paused = false;
    while (!pc_runtime_stopping(runtime)) {
        bool more = places_step(threads);
        uint64_t timeout_ns = more ? 0 : paused ? PC_ACCEPT_PAUSE_NS : PC_REAP_NS;
        acceptor_wait(threads, fds, paused ? 0 : runtime->address_count, timeout_ns);
        pc_lane_tick(&threads->lane);
        reap(threads);
        paused = false;
        for (unsigned i = 0; i < runtime->address_count; i++) {
            paused |= !accept_all(threads, fds[i]);
        }
    }
    drain(threads, fds);
    return 0;
}

/* ---- Life ---- */

static int places_open(struct threads *threads)
{
    const struct pc_runtime *runtime = threads->runtime;
    int outcome = 0;
    if (runtime->service->place_open != NULL) {
        for (unsigned i = 0; i < runtime->config.place_count && outcome >= 0; i++) {
            outcome = runtime->service->place_open(runtime->app, (int32_t)i, &threads->lane);
        }
    }
    return outcome;
}

static int threads_create(struct pc_runtime *runtime)
{
    unsigned lane_count = runtime->lane_count;
    struct threads *threads = aligned_alloc(
        PC_CACHE_LINE, (sizeof(*threads) + lane_count * sizeof(unsigned) + PC_CACHE_LINE - 1) &
                           ~(size_t)(PC_CACHE_LINE - 1));
    if (threads == NULL) {
        return -ENOMEM;
    }
    *threads = (struct threads){.runtime = runtime};
    threads->stop_fd = runtime->kernel->eventfd(runtime->kernel, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (threads->stop_fd < 0) {
        int trouble = threads->stop_fd;
        free(threads);
        return trouble;
    }
    runtime->engine_state = threads;
    pthread_mutex_init(&threads->lock, NULL);
    pc_list_init(&threads->live);
    pc_list_init(&threads->ended);
    /* Lane 0 is the acceptor's. */
    for (unsigned i = lane_count - 1; i > 0; i--) {
        threads->lanes_free[threads->lanes_free_count++] = i;
    }
    pc_lane_init(&threads->lane, runtime, PC_LANE_THREAD, 0, runtime->counters[0]);
    return places_open(threads);
}

static void threads_stop(struct pc_runtime *runtime)
{
    uint64_t one = 1;
    (void)runtime->kernel->write(runtime->kernel, threads_of(runtime)->stop_fd, &one, sizeof(one));
}

static void threads_destroy(struct pc_runtime *runtime)
{
    struct threads *threads = threads_of(runtime);
    if (threads == NULL) {
        return;
    }
    pc_lane_fini(&threads->lane);
    pthread_mutex_destroy(&threads->lock);
    (void)runtime->kernel->close(runtime->kernel, threads->stop_fd);
    free(threads);
    runtime->engine_state = NULL;
}

const struct pc_engine pc_engine_threads = {
    .name = "threads",
    .create = threads_create,
    .run = threads_run,
    .stop = threads_stop,
    .destroy = threads_destroy,
};
