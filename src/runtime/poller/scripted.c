/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scripted: the poller on an invented machine (script.h).
 *
 * It keeps the contract of poller.h and uses all the freedom that the contract leaves: reports come
 * late, in any order, needlessly, and for sockets that are closed; bytes arrive in parts; sends are
 * taken in parts, or later.
 */
#include "base/check.h"
#include "base/hooks.h"
#include "runtime/poller/script.h"

#include <errno.h>
#include <stdlib.h>

struct pc_script_poller {
    struct pc_poller poller;
    struct pc_script *script;
    bool rung;
};

static struct pc_script_poller *self(struct pc_poller *poller)
{
    return PC_CONTAINER_OF(poller, struct pc_script_poller, poller);
}

static int scripted_create(const struct pc_kernel *kernel, struct pc_poller **out_poller)
{
    if (!pc_script_owns(kernel)) {
        return -ENOTSUP;
    }
    struct pc_script_poller *scripted = calloc(1, sizeof(*scripted));
    if (scripted == NULL) {
        return -ENOMEM;
    }
    scripted->poller.ops = &pc_poller_scripted;
    scripted->script = PC_KERNEL_OWNER(kernel, struct pc_script, kernel);
    *out_poller = &scripted->poller;
    return 0;
}

/* ---- Reports ---- */

static bool has_report(const struct pc_script *script, const struct pc_script_socket *socket)
{
    if (socket->due != 0 || (socket->news && socket->in.held_ns <= script->now_ns)) {
        return true;
    }
    return (socket->wants_room || socket->piece_count > 0) && pc_script_can_give(script, socket);
}

static void report_arrivals(struct pc_script *script, struct pc_script_socket *socket,
                            uint32_t *what)
{
    struct pc_script_pipe *pipe = &socket->in;
    pc_script_arrive(script, socket);
    socket->news = pipe->arrived < pipe->count || (pipe->ended && !pipe->end_arrived);
    if (socket->news && pipe->arrived == 0 && !socket->reset) {
        return; /* nothing yet */
    }
    *what |= PC_READY_RECEIVE;
    if (pipe->end_arrived || socket->reset) {
        *what |= PC_READY_END;
        socket->end_told = true;
        socket->news = false;
    }
}

/* The bytes of a send in flight are read now, not when they were offered. */
static void report_flight(struct pc_script *script, struct pc_script_socket *socket,
                          struct pc_ready *report)
{
    size_t bytes_max = SIZE_MAX;
    if (pc_script_chance(script, script->plan.short_send)) {
        bytes_max = 1 + pc_random_below(&script->random, socket->pieces[0].iov_len);
    }
    ssize_t count = pc_script_give(script, socket, socket->pieces, socket->piece_count, bytes_max);
    if (count != -EAGAIN) {
        socket->piece_count = 0;
        report->what |= PC_READY_SEND;
        report->result = (int32_t)count;
    }
}

static bool report_one(struct pc_script *script, struct pc_script_socket *socket,
                       struct pc_ready *report)
{
    *report = (struct pc_ready){.handle = socket->handle, .what = socket->due};
    socket->due = 0;
    if (socket->news && socket->in.held_ns <= script->now_ns) {
        report_arrivals(script, socket, &report->what);
    }
    if (socket->piece_count > 0) {
        report_flight(script, socket, report);
    } else if (socket->wants_room && pc_script_can_give(script, socket)) {
        socket->wants_room = false;
        report->what |= PC_READY_SEND;
    }
    return report->what != 0;
}

static void shuffle(struct pc_script *script, struct pc_ready *ready, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned other = (unsigned)pc_random_below(&script->random, i);
        struct pc_ready kept = ready[i - 1];
        ready[i - 1] = ready[other];
        ready[other] = kept;
    }
}

/* A ghost likes to come when its slot is in use again. */
static bool ghost_comes(struct pc_script *script, const struct pc_script_poller *scripted,
                        struct pc_handle handle)
{
    unsigned rate = 16;
    for (unsigned i = 0; i < script->socket_count; i++) {
        const struct pc_script_socket *socket = &script->sockets[i];
        if (socket->poller == scripted && socket->handle.generation != 0 &&
            socket->handle.index == handle.index) {
            rate = 3;
        }
    }
    return pc_script_chance(script, rate);
}

static unsigned collect_ghosts(struct pc_script *script, struct pc_script_poller *scripted,
                               struct pc_ready *ready, unsigned count_max)
{
    unsigned count = 0;
    for (unsigned i = 0; i < script->ghost_count && count < count_max;) {
        if (script->ghosts[i].poller == scripted &&
            ghost_comes(script, scripted, script->ghosts[i].report.handle)) {
            ready[count++] = script->ghosts[i].report;
            script->ghosts[i] = script->ghosts[--script->ghost_count];
        } else {
            i++;
        }
    }
    return count;
}

static unsigned collect(struct pc_script_poller *scripted, struct pc_ready *ready,
                        unsigned count_max)
{
    struct pc_script *script = scripted->script;
    unsigned count = collect_ghosts(script, scripted, ready, count_max / 2);
    unsigned first = (unsigned)pc_random_below(&script->random, script->socket_count + 1);
    for (unsigned i = 0; i < script->socket_count && count < count_max; i++) {
        struct pc_script_socket *socket = &script->sockets[(first + i) % script->socket_count];
        if (socket->poller != scripted) {
            continue;
        }
        if (socket->kind == PC_SCRIPT_STREAM &&
            pc_script_chance(script, script->plan.needless_report)) {
            socket->due |= PC_READY_RECEIVE;
        }
        if (has_report(script, socket) && !pc_script_chance(script, script->plan.late_report)) {
            count += report_one(script, socket, &ready[count]);
        }
    }
    shuffle(script, ready, count);
    return count;
}

static bool something_to_report(void *ctx)
{
    const struct pc_script_poller *scripted = ctx;
    const struct pc_script *script = scripted->script;
    if (scripted->rung) {
        return true;
    }
    for (unsigned i = 0; i < script->socket_count; i++) {
        if (script->sockets[i].poller == scripted && has_report(script, &script->sockets[i])) {
            return true;
        }
    }
    return false;
}

static int scripted_wait(struct pc_poller *poller, uint64_t timeout_ns, struct pc_ready *ready,
                         unsigned ready_count)
{
    struct pc_script_poller *scripted = self(poller);
    struct pc_script *script = scripted->script;
    PC_POINT("poller: wait");
    pc_script_charge(script);
    unsigned count = 0;
    if (!pc_script_chance(script, script->plan.wait_interrupted)) {
        count = collect(scripted, ready, ready_count);
        if (count == 0 && !scripted->rung && timeout_ns > 0) {
            uint64_t until_ns = timeout_ns == PC_FOREVER ? PC_FOREVER : script->now_ns + timeout_ns;
            pc_script_wait(script, something_to_report, scripted, until_ns);
            count = collect(scripted, ready, ready_count);
        }
    }
    scripted->rung = false;
    return (int)count;
}

/* ---- Sockets ---- */

static struct pc_script_socket *owned(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct pc_script_socket *socket = pc_script_socket(self(poller)->script, fd);
    PC_ASSERT(socket != NULL && socket->poller == self(poller) &&
              socket->handle.index == handle.index &&
              socket->handle.generation == handle.generation);
    return socket;
}

static int scripted_adopt(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct pc_script_socket *socket = pc_script_socket(self(poller)->script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_STREAM || socket->poller != NULL) {
        return socket == NULL ? -EBADF : socket->poller != NULL ? -EEXIST : -EPERM;
    }
    socket->poller = self(poller);
    socket->handle = handle;
    socket->news = socket->in.count > 0 || socket->in.ended || socket->reset;
    socket->due = self(poller)->script->plan.completions ? 0 : PC_READY_SEND;
    return 0;
}

void pc_script_watch(struct pc_script_socket *socket, struct pc_poller *poller,
                     struct pc_handle handle)
{
    socket->poller = self(poller);
    socket->handle = handle;
}

struct pc_poller *pc_script_poller_of(const struct pc_script_socket *socket)
{
    return socket->poller != NULL ? &socket->poller->poller : NULL;
}

static void leave(struct pc_script_socket *socket)
{
    PC_ASSERT(socket->piece_count == 0);
    socket->poller = NULL;
    socket->due = 0;
    socket->wants_room = false;
}

static void scripted_abandon(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    leave(owned(poller, fd, handle));
}

static int scripted_arm(struct pc_poller *poller, int fd, struct pc_handle handle, bool armed)
{
    struct pc_script_socket *socket = pc_script_socket(self(poller)->script, fd);
    PC_ASSERT(handle.generation == 0);
    if (socket == NULL || socket->kind != PC_SCRIPT_LISTENER) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    if (armed == (socket->poller != NULL)) {
        return armed ? -EEXIST : -ENOENT;
    }
    if (!armed) {
        leave(socket);
        return 0;
    }
    socket->poller = self(poller);
    socket->handle = handle;
    socket->due = socket->backlog_count > 0 ? PC_READY_ACCEPT : 0;
    return 0;
}

static ssize_t scripted_receive(struct pc_poller *poller, int fd, struct pc_handle handle,
                                void *into, size_t bytes)
{
    struct pc_script *script = self(poller)->script;
    struct pc_script_socket *socket = owned(poller, fd, handle);
    PC_POINT("poller: receive");
    pc_script_charge(script);
    const struct pc_script_plan *plan = &script->plan;
    if (!plan->completions && socket->in.held_ns <= script->now_ns && pc_script_chance(script, 2)) {
        /* The wait's report has not come, but the bytes have. */
        pc_script_arrive(script, socket);
    }
    if (socket->end_told && bytes > 1 && pc_script_chance(script, plan->part_arrives)) {
        bytes = 1 + pc_random_below(&script->random, bytes);
    }
    return pc_script_take(script, socket, into, bytes);
}

static ssize_t send_later(struct pc_script_socket *socket, const struct iovec *pieces,
                          unsigned piece_count)
{
    for (unsigned i = 0; i < piece_count; i++) {
        socket->pieces[i] = pieces[i];
    }
    socket->piece_count = piece_count;
    return -EINPROGRESS;
}

static ssize_t scripted_send(struct pc_poller *poller, int fd, struct pc_handle handle,
                             const struct iovec *pieces, unsigned piece_count)
{
    struct pc_script *script = self(poller)->script;
    struct pc_script_socket *socket = owned(poller, fd, handle);
    PC_ASSERT(socket->piece_count == 0 && piece_count > 0 && piece_count <= PC_SEND_PIECES_MAX);
    PC_POINT("poller: send");
    pc_script_charge(script);
    if (pc_script_chance(script, script->plan.send_in_flight)) {
        return send_later(socket, pieces, piece_count);
    }
    size_t bytes = 0;
    for (unsigned i = 0; i < piece_count; i++) {
        bytes += pieces[i].iov_len;
    }
    size_t bytes_max = bytes;
    if (pc_script_chance(script, script->plan.short_send)) {
        bytes_max = pc_random_below(&script->random, bytes);
    }
    ssize_t count =
        bytes_max == 0 ? -EAGAIN : pc_script_give(script, socket, pieces, piece_count, bytes_max);
    socket->wants_room = count == -EAGAIN || (count >= 0 && (size_t)count < bytes);
    return count;
}

static int scripted_accept(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct pc_script *script = self(poller)->script;
    PC_POINT("poller: accept");
    pc_script_charge(script);
    return pc_script_accept(script, owned(poller, fd, handle));
}

static int scripted_connect(struct pc_poller *poller, int fd, struct pc_handle handle,
                            const struct sockaddr *address, socklen_t bytes)
{
    struct pc_script *script = self(poller)->script;
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    PC_POINT("poller: connect");
    if (socket == NULL || socket->kind != PC_SCRIPT_FRESH) {
        return socket == NULL ? -EBADF : -EISCONN;
    }
    int outcome = pc_script_connect(script, socket, address);
    if (outcome == 0) {
        outcome = scripted_adopt(poller, fd, handle);
    }
    if (outcome == 0) {
        socket->due |= PC_READY_SEND;
        outcome = -EINPROGRESS;
    }
    return outcome;
}

/* Nothing may come for this handle any more, but what had been collected already may. */
static void leave_ghost(struct pc_script *script, struct pc_script_socket *socket)
{
    if (script->ghost_count == PC_SCRIPT_GHOST_MAX ||
        !pc_script_chance(script, script->plan.ghost_report)) {
        return;
    }
    struct pc_ready report = {.handle = socket->handle};
    if (pc_script_chance(script, 3)) {
        report.what = PC_READY_RECEIVE | PC_READY_END;
    } else {
        report.what = PC_READY_SEND;
        report.result = pc_script_chance(script, 3) ? -ECANCELED
                                                    : (int32_t)pc_random_below(&script->random, 64);
    }
    script->ghosts[script->ghost_count].poller = socket->poller;
    script->ghosts[script->ghost_count++].report = report;
}

static void scripted_close(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct pc_script *script = self(poller)->script;
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    /* A listener may have been disarmed before. */
    PC_ASSERT(socket != NULL &&
              (socket->kind == PC_SCRIPT_LISTENER || socket == owned(poller, fd, handle)));
    PC_POINT("poller: close");
    pc_script_charge(script);
    if (socket->piece_count > 0) {
        if (pc_script_chance(script, 2)) {
            (void)pc_script_give(script, socket, socket->pieces, socket->piece_count,
                                 socket->pieces[0].iov_len); /* too late to tell anybody */
        }
        socket->piece_count = 0;
    }
    if (socket->kind == PC_SCRIPT_STREAM) {
        leave_ghost(script, socket);
    }
    pc_script_close(script, socket);
}

static void scripted_bell(struct pc_poller *poller)
{
    PC_POINT("poller: bell");
    self(poller)->rung = true;
}

static void scripted_destroy(struct pc_poller *poller)
{
    if (poller == NULL) {
        return;
    }
    struct pc_script_poller *scripted = self(poller);
    struct pc_script *script = scripted->script;
    for (unsigned i = 0; i < script->socket_count; i++) {
        if (script->sockets[i].poller == scripted) {
            script->sockets[i].piece_count = 0;
            leave(&script->sockets[i]);
        }
    }
    for (unsigned i = 0; i < script->ghost_count;) {
        if (script->ghosts[i].poller == scripted) {
            script->ghosts[i] = script->ghosts[--script->ghost_count];
        } else {
            i++;
        }
    }
    free(scripted);
}

const struct pc_poller_ops pc_poller_scripted = {
    .name = "scripted",
    .create = scripted_create,
    .destroy = scripted_destroy,
    .wait = scripted_wait,
    .adopt = scripted_adopt,
    .abandon = scripted_abandon,
    .arm = scripted_arm,
    .receive = scripted_receive,
    .send = scripted_send,
    .accept = scripted_accept,
    .connect = scripted_connect,
    .close = scripted_close,
    .bell = scripted_bell,
};
