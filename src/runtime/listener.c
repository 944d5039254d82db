/* SPDX-License-Identifier: Apache-2.0 */
/* listener: sockets that accept, the choice of a core, and the pause when descriptors are out. */
#include "runtime/listener.h"

#include "base/hooks.h"
#include "runtime/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

/* ---- Shares ---- */

static unsigned share_count(struct pc_runtime *runtime, unsigned index)
{
    return atomic_load_explicit(&runtime->shares[index].open_count, memory_order_acquire);
}

/* The core with the fewest: at a tie this one, then the lowest index. */
static unsigned share_least(struct pc_runtime *runtime, unsigned here, unsigned *out_least,
                            unsigned *out_total)
{
    unsigned best = here;
    *out_least = *out_total = share_count(runtime, here);
    for (unsigned i = 0; i < runtime->core_count; i++) {
        if (i != here) {
            unsigned count = share_count(runtime, i);
            *out_total += count;
            if (count < *out_least) {
                *out_least = count;
                best = i;
            }
        }
    }
    return best;
}

int pc_share_reserve(struct pc_runtime *runtime, unsigned here, bool stay)
{
    for (;;) {
        unsigned least, total;
        unsigned best = share_least(runtime, here, &least, &total);
        if (total >= runtime->config.connection_count_max) {
            return -EUSERS;
        }
        if (stay) {
            best = here;
            least = share_count(runtime, here);
        }
        PC_POINT("share.reserve");
        /* Fails if another core was faster: then this one may no longer have the fewest. Pairs with
         * itself and with the subtraction of the owner. */
        if (atomic_compare_exchange_strong_explicit(&runtime->shares[best].open_count, &least,
                                                    least + 1, memory_order_acq_rel,
                                                    memory_order_relaxed)) {
            return (int)best;
        }
    }
}

void pc_share_release(struct pc_runtime *runtime, unsigned index)
{
    unsigned before =
        atomic_fetch_sub_explicit(&runtime->shares[index].open_count, 1, memory_order_acq_rel);
    PC_ASSERT(before > 0);
    (void)before; /* looked at by the assertion only */
}

/* ---- Sockets ---- */

static int set_one(const struct pc_kernel *kernel, int fd, int level, int name)
{
    int one = 1;
    return kernel->setsockopt(kernel, fd, level, name, &one, sizeof(one));
}

/* Accepted sockets inherit what is set here: no call per connection. */
static int tcp_options(const struct pc_kernel *kernel, int fd, bool group)
{
    int outcome = set_one(kernel, fd, SOL_SOCKET, SO_REUSEADDR);
    if (outcome == 0 && group) {
        outcome = set_one(kernel, fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (outcome == 0) {
        outcome = set_one(kernel, fd, SOL_SOCKET, SO_KEEPALIVE);
    }
    if (outcome == 0) {
        outcome = set_one(kernel, fd, IPPROTO_TCP, TCP_NODELAY);
    }
    return outcome;
}

int pc_listener_bind(const struct pc_kernel *kernel, const struct sockaddr *address,
                     socklen_t bytes, bool group, int *out_fd)
{
    int fd =
        kernel->socket(kernel, address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    int outcome = address->sa_family == AF_UNIX ? 0 : tcp_options(kernel, fd, group);
    if (outcome == 0 && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        int only = !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
        outcome = kernel->setsockopt(kernel, fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
    }
    if (outcome == 0) {
        outcome = kernel->bind(kernel, fd, address, bytes);
    }
    if (outcome < 0) {
        (void)kernel->close(kernel, fd); /* the first trouble is the one to tell */
        return outcome;
    }
    *out_fd = fd;
    return 0;
}

int pc_listener_socket(const struct pc_kernel *kernel, const struct sockaddr *address,
                       socklen_t bytes, unsigned backlog_count, bool group, int *out_fd)
{
    int fd;
    int outcome = pc_listener_bind(kernel, address, bytes, group, &fd);
    if (outcome < 0) {
        return outcome;
    }
    outcome = kernel->listen(kernel, fd, (int)backlog_count);
    if (outcome < 0) {
        (void)kernel->close(kernel, fd); /* as above */
        return outcome;
    }
    *out_fd = fd;
    return 0;
}

/* ---- Accepting ---- */

static struct pc_handle listener_handle(const struct pc_listener *listener)
{
    return (struct pc_handle){.index = listener->index, .generation = 0};
}

static void pause_over(struct pc_timer *timer, struct pc_lane *lane)
{
    pc_listener_resume(PC_CONTAINER_OF(timer, struct pc_listener, timer));
}

int pc_listener_open(struct pc_listener *listener, struct pc_core *core, int fd, uint32_t index)
{
    *listener = (struct pc_listener){
        .core = core, .timer = {.fire = pause_over}, .fd = fd, .index = index, .open = true};
    return core->poller->ops->arm(core->poller, fd, listener_handle(listener), true);
}

void pc_listener_resume(struct pc_listener *listener)
{
    if (!listener->paused) {
        return;
    }
    listener->paused = false;
    pc_timer_disarm(&listener->timer);
    listener->waiting = listener->core->accepting = true;
}

static void listener_pause(struct pc_listener *listener, int error)
{
    struct pc_lane *lane = &listener->core->lane;
    listener->paused = true;
    listener->waiting = false;
    pc_count(&lane->counters->accept_pauses);
    PC_LOG(lane->runtime->log, PC_LOG_WARN, "accept_pause", pc_field_number("core", lane->index),
           pc_field_error("error", error));
    pc_timer_arm(&listener->timer, lane, PC_ACCEPT_PAUSE_NS);
}

static void refuse(struct pc_core *core, int fd)
{
    const struct pc_kernel *kernel = core->lane.kernel;
    const struct pc_view *words = &core->lane.service->refusal;
    pc_count(&core->lane.counters->cap_connections);
    if (words->count > 0) {
        /* A fresh socket has room for a line; if not, the close says it too. */
        (void)kernel->send(kernel, fd, words->at, words->count, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    (void)kernel->close(kernel, fd); /* nothing to do about a failure */
}

/* Give it to the core that has its place; if there is no memory for the letter, keep it. */
static void deliver(struct pc_core *core, int fd, unsigned to_index)
{
    struct pc_runtime *runtime = core->lane.runtime;
    if (to_index == core->lane.index) {
        (void)pc_conn_open(core, fd); /* counted there */
        return;
    }
    struct pc_handover *handover = malloc(sizeof(*handover));
    if (handover == NULL) {
        pc_share_release(runtime, to_index);
        pc_count(&core->lane.counters->memory_refusals);
        (void)core->lane.kernel->close(core->lane.kernel, fd); /* refused */
        return;
    }
    handover->control.kind = PC_CONTROL_HANDOVER;
    handover->fd = fd;
    pc_count(&core->lane.counters->handed_over);
    pc_core_send_control(runtime->cores[to_index], &handover->control);
}

static bool out_of_something(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* One connection; false: there is none now. */
static bool accept_one(struct pc_listener *listener)
{
    struct pc_core *core = listener->core;
    struct pc_runtime *runtime = core->lane.runtime;
    int fd = core->poller->ops->accept(core->poller, listener->fd, listener_handle(listener));
    if (fd < 0) {
        if (out_of_something(fd)) {
            listener_pause(listener, fd);
        }
        /* Others concern one connection, which is gone: the next may be fine. */
        return fd != -EAGAIN && !listener->paused;
    }
    pc_count(&core->lane.counters->accepted);
    bool stay = runtime->config.accept_by_hash || core->draining;
    int to_index = pc_share_reserve(runtime, core->lane.index, stay);
    if (to_index < 0) {
        refuse(core, fd);
    } else {
        deliver(core, fd, (unsigned)to_index);
    }
    return true;
}

void pc_listener_accept(struct pc_listener *listener)
{
    if (!listener->waiting || !listener->open || listener->paused) {
        listener->waiting = false;
        return;
    }
    for (unsigned i = 0; i < PC_ACCEPT_BUDGET; i++) {
        if (!accept_one(listener)) {
            listener->waiting = false;
            return;
        }
    }
}

void pc_listener_close(struct pc_listener *listener)
{
    if (!listener->open) {
        return;
    }
    pc_timer_disarm(&listener->timer);
    listener->paused = false;
    /* Closing a listener resets what waits in its backlog. */
    while (accept_one(listener)) {}
    pc_timer_disarm(&listener->timer);
    listener->open = listener->waiting = false;
    struct pc_poller *poller = listener->core->poller;
    (void)poller->ops->arm(poller, listener->fd, listener_handle(listener),
                           false); /* then closed */
    poller->ops->close(poller, listener->fd, listener_handle(listener));
}
