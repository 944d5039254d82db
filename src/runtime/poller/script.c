/* SPDX-License-Identifier: Apache-2.0 */
/* script: the invented machine: its sockets, and the bytes between them. */
#include "runtime/poller/script.h"

#include "base/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define PC_SCRIPT_PIPE_BYTES 65536u

bool pc_script_chance(struct pc_script *script, unsigned rate)
{
    return rate != 0 && pc_random_below(&script->random, rate) == 0;
}

void pc_script_charge(struct pc_script *script)
{
    uint64_t most_ns = pc_script_chance(script, script->plan.stall) ? script->plan.stall_ns_max
                                                                    : script->plan.step_ns_max;
    if (most_ns > 0) {
        script->now_ns += pc_random_below(&script->random, most_ns);
    }
}

/* ---- Sockets ---- */

int pc_script_fd(const struct pc_script *script, const struct pc_script_socket *socket)
{
    return PC_SCRIPT_FD_FIRST + (int)(socket - script->sockets);
}

struct pc_script_socket *pc_script_socket(struct pc_script *script, int fd)
{
    int index = fd - PC_SCRIPT_FD_FIRST;
    if (index < 0 || index >= PC_SCRIPT_SOCKET_MAX ||
        script->sockets[index].kind == PC_SCRIPT_FREE) {
        return NULL;
    }
    return &script->sockets[index];
}

/* The lowest free number, as a real kernel does it: a number used after its close is soon wrong. */
struct pc_script_socket *pc_script_socket_make(struct pc_script *script, enum pc_script_kind kind)
{
    for (unsigned i = 0; i < PC_SCRIPT_SOCKET_MAX; i++) {
        struct pc_script_socket *socket = &script->sockets[i];
        if (socket->kind == PC_SCRIPT_FREE) {
            *socket = (struct pc_script_socket){.kind = kind};
            script->socket_count = i < script->socket_count ? script->socket_count : i + 1;
            return socket;
        }
    }
    return NULL;
}

static void socket_free(struct pc_script_socket *socket)
{
    free(socket->in.room);
    *socket = (struct pc_script_socket){.kind = PC_SCRIPT_FREE};
}

unsigned pc_script_open_count(const struct pc_script *script)
{
    unsigned count = 0;
    for (unsigned i = 0; i < script->socket_count; i++) {
        count += script->sockets[i].kind != PC_SCRIPT_FREE;
    }
    return count;
}

uint64_t pc_script_next_ns(const struct pc_script *script)
{
    uint64_t next_ns = PC_FOREVER;
    for (unsigned i = 0; i < script->socket_count; i++) {
        const struct pc_script_socket *socket = &script->sockets[i];
        if (socket->kind == PC_SCRIPT_STREAM && socket->news &&
            socket->in.held_ns > script->now_ns && socket->in.held_ns < next_ns) {
            next_ns = socket->in.held_ns;
        }
    }
    return next_ns;
}

/* ---- Pipes ---- */

static bool pipe_init(struct pc_script *script, struct pc_script_pipe *pipe)
{
    *pipe = (struct pc_script_pipe){.room = malloc(script->plan.pipe_bytes)};
    return pipe->room != NULL;
}

static void pipe_put(struct pc_script *script, struct pc_script_pipe *pipe, const uint8_t *from,
                     size_t bytes)
{
    size_t size = script->plan.pipe_bytes;
    for (size_t done = 0; done < bytes;) {
        size_t at = (pipe->begin + pipe->count) % size;
        size_t piece = pc_min_size(bytes - done, size - at);
        memcpy(pipe->room + at, from + done, piece);
        pipe->count += piece;
        done += piece;
    }
}

static void pipe_get(struct pc_script *script, struct pc_script_pipe *pipe, uint8_t *into,
                     size_t bytes)
{
    size_t size = script->plan.pipe_bytes;
    for (size_t done = 0; done < bytes;) {
        size_t piece = pc_min_size(bytes - done, size - pipe->begin);
        memcpy(into + done, pipe->room + pipe->begin, piece);
        pipe->begin = (pipe->begin + piece) % size;
        done += piece;
    }
    pipe->count -= bytes;
    pipe->arrived -= bytes;
}

static void pipe_drop(struct pc_script_pipe *pipe)
{
    pipe->count = pipe->arrived = 0;
}

/* Something changed for whoever holds `socket`. */
static void tell(struct pc_script *script, struct pc_script_socket *socket)
{
    if (!socket->news && pc_script_chance(script, script->plan.held_back)) {
        socket->in.held_ns =
            script->now_ns + pc_random_below(&script->random, script->plan.held_ns_max + 1);
    }
    socket->news = true;
}

static void reset(struct pc_script *script, struct pc_script_socket *socket)
{
    pipe_drop(&socket->in);
    socket->reset = true;
    tell(script, socket);
}

void pc_script_arrive(struct pc_script *script, struct pc_script_socket *socket)
{
    struct pc_script_pipe *pipe = &socket->in;
    size_t missing = pipe->count - pipe->arrived;
    if (missing > 0 && pc_script_chance(script, script->plan.part_arrives)) {
        missing = pc_random_below(&script->random, missing + 1);
    }
    pipe->arrived += missing;
    pipe->end_arrived = pipe->ended && pipe->arrived == pipe->count;
}

ssize_t pc_script_take(struct pc_script *script, struct pc_script_socket *socket, void *into,
                       size_t bytes)
{
    struct pc_script_pipe *pipe = &socket->in;
    if (socket->reset) {
        return -ECONNRESET;
    }
    size_t count = pc_min_size(bytes, pipe->arrived);
    if (count == 0) {
        return pipe->end_arrived ? 0 : -EAGAIN;
    }
    pipe_get(script, pipe, into, count);
    return (ssize_t)count;
}

void pc_script_shut_out(struct pc_script *script, struct pc_script_socket *socket)
{
    if (!socket->shut_out) {
        socket->shut_out = true;
        socket->peer->in.ended = true;
        tell(script, socket->peer);
    }
}

bool pc_script_can_give(const struct pc_script *script, const struct pc_script_socket *socket)
{
    return socket->reset || socket->shut_out || socket->peer == NULL ||
           socket->peer->in.count < script->plan.pipe_bytes;
}

size_t pc_script_pieces_bytes(const struct iovec *pieces, unsigned piece_count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < piece_count; i++) {
        bytes += pieces[i].iov_len;
    }
    return bytes;
}

ssize_t pc_script_give(struct pc_script *script, struct pc_script_socket *socket,
                       const struct iovec *pieces, unsigned piece_count, size_t bytes_max)
{
    if (socket->reset || socket->shut_out) {
        return -EPIPE;
    }
    struct pc_script_socket *peer = socket->peer;
    size_t wanted = pc_min_size(bytes_max, pc_script_pieces_bytes(pieces, piece_count));
    if (peer == NULL) {
        /* The bytes leave; what comes back is a reset. */
        reset(script, socket);
        return (ssize_t)wanted;
    }
    size_t count = pc_min_size(wanted, script->plan.pipe_bytes - peer->in.count);
    if (count == 0) {
        return -EAGAIN;
    }
    size_t left = count;
    for (unsigned i = 0; left > 0; i++) {
        size_t piece = pc_min_size(left, pieces[i].iov_len);
        pipe_put(script, &peer->in, pieces[i].iov_base, piece);
        left -= piece;
    }
    tell(script, peer);
    return (ssize_t)count;
}

/* ---- Connections ---- */

static struct pc_script_socket *listener_choose(struct pc_script *script, uint16_t port)
{
    struct pc_script_socket *chosen = NULL;
    uint64_t seen = 0;
    for (unsigned i = 0; i < script->socket_count; i++) {
        struct pc_script_socket *socket = &script->sockets[i];
        if (socket->kind == PC_SCRIPT_LISTENER && socket->port == port &&
            pc_random_below(&script->random, ++seen) == 0) {
            chosen = socket;
        }
    }
    return chosen;
}

uint16_t pc_script_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

int pc_script_connect(struct pc_script *script, struct pc_script_socket *socket,
                      const struct sockaddr *address)
{
    struct pc_script_socket *listener = listener_choose(script, pc_script_port(address));
    if (listener == NULL || listener->backlog_count == PC_SCRIPT_BACKLOG_MAX) {
        return -ECONNREFUSED;
    }
    struct pc_script_socket *other = pc_script_socket_make(script, PC_SCRIPT_STREAM);
    if (other == NULL) {
        return -ENFILE;
    }
    if (!pipe_init(script, &other->in) || !pipe_init(script, &socket->in)) {
        socket_free(other);
        return -ENOMEM;
    }
    socket->kind = PC_SCRIPT_STREAM;
    socket->peer = other;
    other->peer = socket;
    listener->backlog[listener->backlog_count++] = other;
    listener->due |= PC_READY_ACCEPT;
    return 0;
}

int pc_script_accept(struct pc_script *script, struct pc_script_socket *listener)
{
    if (listener->backlog_count == 0) {
        return -EAGAIN;
    }
    if (pc_script_chance(script, script->plan.accept_fails)) {
        return -EMFILE;
    }
    struct pc_script_socket *socket = listener->backlog[0];
    listener->backlog_count--;
    memmove(listener->backlog, listener->backlog + 1,
            listener->backlog_count * sizeof(struct pc_script_socket *));
    return pc_script_fd(script, socket);
}

static void stream_close(struct pc_script *script, struct pc_script_socket *socket)
{
    struct pc_script_socket *peer = socket->peer;
    if (peer != NULL) {
        peer->peer = NULL;
        if (socket->abortive || socket->in.count > 0) {
            /* Bytes that nobody read: the peer may lose what it has not read yet. */
            reset(script, peer);
        } else if (!peer->in.ended) {
            peer->in.ended = true;
            tell(script, peer);
        }
    }
    socket_free(socket);
}

void pc_script_close(struct pc_script *script, struct pc_script_socket *socket)
{
    if (socket->kind == PC_SCRIPT_STREAM) {
        stream_close(script, socket);
        return;
    }
    for (unsigned i = 0; i < socket->backlog_count; i++) {
        socket->backlog[i]->abortive = true;
        stream_close(script, socket->backlog[i]);
    }
    socket_free(socket);
}

/* ---- Waiting ---- */

void pc_script_wait(struct pc_script *script, pc_script_condition_fn *condition, void *ctx,
                    uint64_t until_ns)
{
    if (script->block != NULL) {
        script->block(script, condition, ctx, until_ns);
        return;
    }
    while (!condition(ctx) && script->now_ns < until_ns) {
        uint64_t next_ns = pc_script_next_ns(script);
        next_ns = next_ns < until_ns ? next_ns : until_ns;
        if (next_ns == PC_FOREVER) {
            return; /* interrupted: nobody else could ever change anything */
        }
        script->now_ns = next_ns;
    }
}

void pc_script_init(struct pc_script *script, uint64_t seed)
{
    memset(script, 0, sizeof(*script));
    pc_script_table_fill(&script->kernel);
    pc_random_init(&script->random, seed);
    script->now_ns = 1000000000u;
    script->plan.pipe_bytes = PC_SCRIPT_PIPE_BYTES;
}

void pc_script_fini(struct pc_script *script)
{
    for (unsigned i = 0; i < script->socket_count; i++) {
        if (script->sockets[i].kind != PC_SCRIPT_FREE) {
            socket_free(&script->sockets[i]);
        }
    }
}
