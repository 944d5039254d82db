/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script: an invented machine for tests: sockets as byte pipes in memory, a fake clock, and bad
 * luck drawn from a seed.
 *
 * It is a struct pc_kernel to those who make plain calls (listening, the clients of a test) and,
 * through the poller `scripted`, what a core waits on. Nothing real happens: no descriptor, no
 * packet, no time. The same seed and the same calls in the same order give the same run.
 *
 *   client ──send──▶ [pipe: written, partly arrived] ──receive──▶ core
 *   core   ──send──▶ [pipe] ──recv──▶ client
 *
 * Owner    The test that called init. One thread at a time; fibers take turns.
 * Memory   A pipe's room is allocated with its connection. fini frees what is left.
 * Limits   PC_SCRIPT_SOCKET_MAX sockets; plan.pipe_bytes a pipe; one send in flight a socket.
 * Units    Rates say "once in so many"; 0 means never. Times are nanoseconds of the fake clock.
 * Source   docs/decisions/0050-scripted-kernel.md.
 */
#ifndef PC_RUNTIME_POLLER_SCRIPT_H
#define PC_RUNTIME_POLLER_SCRIPT_H

#include "base/random.h"
#include "runtime/kernel.h"
#include "runtime/limits.h"
#include "runtime/poller/poller.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_SCRIPT_SOCKET_MAX = 256,
    PC_SCRIPT_BACKLOG_MAX = 64,
    PC_SCRIPT_GHOST_MAX = 32,
    PC_SCRIPT_FD_FIRST = 100000, /* no descriptor of the real process is that high */
};

/* What may go wrong, and how often. All zero: a machine without moods, and no time passes. */
struct pc_script_plan {
    bool completions;          /* bytes are there when reported, not before, as with io_uring */
    unsigned part_arrives;     /* of what was written, only a part arrives at first */
    unsigned late_report;      /* a report that is due waits for a later wait */
    unsigned needless_report;  /* a report of nothing */
    unsigned short_send;       /* fewer bytes are taken than there is room for */
    unsigned send_in_flight;   /* -EINPROGRESS: the bytes are taken later */
    unsigned ghost_report;     /* a closed socket's report comes after its close */
    unsigned accept_fails;     /* -EMFILE */
    unsigned wait_interrupted; /* a wait ends with nothing */
    unsigned held_back;        /* bytes arrive only after a time */
    uint64_t held_ns_max;
    uint64_t step_ns_max; /* each call takes up to this */
    unsigned stall;       /* a call takes up to stall_ns_max instead */
    uint64_t stall_ns_max;
    size_t pipe_bytes; /* 0: 64 KiB */
};

typedef bool pc_script_condition_fn(void *ctx);

struct pc_script_poller;

/* Bytes on their way to whoever holds this end. `arrived` of the `count` bytes may be received. */
struct pc_script_pipe {
    uint8_t *room;
    size_t begin, count, arrived;
    bool ended;       /* the other end will write no more */
    bool end_arrived; /* and that is known here */
    uint64_t held_ns; /* nothing new arrives before */
};

enum pc_script_kind {
    PC_SCRIPT_FREE,
    PC_SCRIPT_FRESH, /* neither connected nor listening */
    PC_SCRIPT_LISTENER,
    PC_SCRIPT_STREAM,
    PC_SCRIPT_EVENT,
};

struct pc_script_socket {
    enum pc_script_kind kind;
    /* A stream's. */
    struct pc_script_socket *peer; /* NULL: closed */
    struct pc_script_pipe in;
    bool reset, shut_out, abortive, reuse_port;
    /* Belongs to a poller. */
    struct pc_script_poller *poller;
    struct pc_handle handle;
    uint32_t due;    /* reports not yet given: enum pc_ready_what */
    bool news;       /* the pipe has something that no report has told */
    bool wants_room; /* a send was short: SEND is due when there is room */
    bool end_told;
    struct iovec pieces[PC_SEND_PIECES_MAX]; /* a send in flight */
    unsigned piece_count;
    /* A listener's. */
    uint16_t port;
    struct pc_script_socket *backlog[PC_SCRIPT_BACKLOG_MAX];
    unsigned backlog_count;
    /* An eventfd's. */
    uint64_t value;
    bool semaphore, nonblocking;
};

struct pc_script {
    struct pc_kernel kernel; /* first: a poller finds the machine from it */
    struct pc_script_plan plan;
    struct pc_random random;
    uint64_t now_ns;
    void *ctx; /* the test's */
    /* Let others run until `condition` holds or `until_ns` is reached. NULL: there are no others,
     * and the clock jumps to whatever comes next. */
    void (*block)(struct pc_script *, pc_script_condition_fn *condition, void *ctx,
                  uint64_t until_ns);
    uint16_t port_last;
    unsigned socket_count; /* sockets beyond it were never made */
    unsigned ghost_count;
    struct {
        struct pc_script_poller *poller;
        struct pc_ready report;
    } ghosts[PC_SCRIPT_GHOST_MAX];
    struct pc_script_socket sockets[PC_SCRIPT_SOCKET_MAX];
};

/* Fill the table and the machine; then change plan, block and the thread calls as needed. Threads
 * cannot be started unless the test brings thread_start and thread_join. */
void pc_script_init(struct pc_script *script, uint64_t seed);
void pc_script_fini(struct pc_script *script);

/* Sockets that are not closed: nothing may be forgotten. */
unsigned pc_script_open_count(const struct pc_script *script);

/* When something that is held back arrives by itself; PC_FOREVER: never. */
uint64_t pc_script_next_ns(const struct pc_script *script);

/* ---- For the poller ---- */

/* True once in `rate`; 0: never. */
bool pc_script_chance(struct pc_script *script, unsigned rate);
/* A call is made: time passes. */
void pc_script_charge(struct pc_script *script);
/* The socket of `fd`; NULL: there is none. */
struct pc_script_socket *pc_script_socket(struct pc_script *script, int fd);
/* Wait as `script->block` says. */
void pc_script_wait(struct pc_script *script, pc_script_condition_fn *condition, void *ctx,
                    uint64_t until_ns);
/* What was written arrives, all of it or a part. */
void pc_script_arrive(struct pc_script *script, struct pc_script_socket *socket);
/* Bytes that have arrived; 0: end; -EAGAIN; -ECONNRESET. */
ssize_t pc_script_take(struct pc_script *script, struct pc_script_socket *socket, void *into,
                       size_t bytes);
/* Bytes given to the peer's pipe, as many as it has room for; -EAGAIN, -EPIPE. */
ssize_t pc_script_give(struct pc_script *script, struct pc_script_socket *socket,
                       const struct iovec *pieces, unsigned piece_count, size_t bytes_max);
/* Room in the peer's pipe, or a reason to find out that there is no peer. */
bool pc_script_can_give(const struct pc_script *script, const struct pc_script_socket *socket);
int pc_script_accept(struct pc_script *script, struct pc_script_socket *listener);
int pc_script_connect(struct pc_script *script, struct pc_script_socket *socket,
                      const struct sockaddr *address);
void pc_script_close(struct pc_script *script, struct pc_script_socket *socket);

/* ---- For the table of system calls ---- */

/* A socket with the lowest free number; NULL: there are too many. */
struct pc_script_socket *pc_script_socket_make(struct pc_script *script, enum pc_script_kind kind);
int pc_script_fd(const struct pc_script *script, const struct pc_script_socket *socket);
uint16_t pc_script_port(const struct sockaddr *address);
size_t pc_script_pieces_bytes(const struct iovec *pieces, unsigned piece_count);
/* The peer reads to the end; it has one. */
void pc_script_shut_out(struct pc_script *script, struct pc_script_socket *socket);
void pc_script_table_fill(struct pc_kernel *kernel);

/* ---- For tests ---- */

/* For tests that give the machine other calls to wait with: have `poller` report what becomes due
 * for an eventfd; the poller that a socket belongs to, NULL: none. */
void pc_script_watch(struct pc_script_socket *socket, struct pc_poller *poller,
                     struct pc_handle handle);
struct pc_poller *pc_script_poller_of(const struct pc_script_socket *socket);

/* Is `kernel` such a machine? */
bool pc_script_owns(const struct pc_kernel *kernel);

#endif
