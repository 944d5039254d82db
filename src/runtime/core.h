/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core: one pinned thread with its loop and its memory; a turn is one pass of the loop.
 *
 *          ┌─ poll ── what the kernel has: all of it is collected before any of it runs
 *          │  letters  calls and answers of other cores, connections handed over
 *          │  run      ready connections: receive, parse, serve, send
 *          │  timers
 *          │  steps    a little upkeep of the places owned here
 *          │  post     lay the places down; what the others must know, and their bells
 *          │  drain    when stopping: close what is idle, settle, leave
 *          └─ rest     nothing to do: poll the mailbox briefly, then sleep
 *
 * Owner    The thread that calls pc_core_turn. A test may run many cores in one thread.
 * Memory   Created by its own thread at boot (first touch). Connections are type-stable.
 * Limits   limits.h: every phase has its budget.
 * Cost     A turn that serves one request reads the clock twice.
 */
#ifndef PC_RUNTIME_CORE_H
#define PC_RUNTIME_CORE_H

#include "base/list.h"
#include "runtime/baton.h"
#include "runtime/lane.h"
#include "runtime/limits.h"
#include "runtime/mailbox.h"
#include "runtime/poller/poller.h"
#include "runtime/runtime.h"

struct pc_conn;
struct pc_listener;

/* What control letters carry. */
enum pc_control_kind {
    PC_CONTROL_HANDOVER, /* struct pc_handover: a connection accepted elsewhere */
    PC_CONTROL_CALL,     /* struct pc_call: a worker has done it */
    PC_CONTROL_CONN,     /* struct pc_conn: a worker has run its batch */
    PC_CONTROL_BATON,    /* struct pc_baton: what was borrowed here is back */
};

struct pc_core {
    struct pc_lane lane;
    struct pc_poller *poller;
    struct pc_mailbox *mailbox;
    struct pc_list ready;   /* connections to run in this turn or the next */
    struct pc_list starved; /* connections not read until memory or credits come back */
    struct pc_conn **conns; /* by handle.index; the table of all that were ever made here */
    uint32_t conn_count, conn_room;
    struct pc_list conns_free;
    unsigned open_count;   /* connections with a descriptor */
    unsigned zombie_count; /* without, but with unanswered calls */
    unsigned jobs_out;     /* calls and connections that are with workers */
    struct pc_listener *listeners;
    unsigned listener_count;
    bool accepting;           /* a listener has more to accept than its budget allowed */
    uint64_t timeout_ns;      /* of the next poll */
    uint64_t spin_ns;         /* how long to poll the mailbox before sleep: adapts */
    uint64_t slept_ns;        /* when the last sleep began */
    uint64_t step_ns;         /* when places are due for upkeep */
    int beat_fd;              /* wakes a sleeper for upkeep; -1: every sleep has its own limit */
    struct pc_timer deadline; /* of a drain */
    bool sleeping, stepping, draining, settled;
    bool credits_missing; /* calls wait in an outbox */
    /* Calls to places of this core that wait until those are back, oldest first. */
    struct pc_letter *parked, **parked_last;
    struct pc_baton baton; /* of its places; its word is everybody's */
    struct pc_ready reports[PC_READY_COUNT_MAX];
};

/* A connection on its way to the core that will own it. */
struct pc_handover {
    struct pc_control control;
    int fd;
};

/* Make core `index` and open the places it owns; it has no mail road yet.
 * Core: boot, on the core's own thread. */
int pc_core_create(struct pc_runtime *runtime, unsigned index, const struct pc_poller_ops *poller,
                   struct pc_core **out_core);

/* All connections are gone. Closes its places. NULL is fine.  Core: boot. */
void pc_core_destroy(struct pc_core *core);

/* Take the listening sockets (negative ones are left out); from now on they are polled.
 * Core: owner, once. */
int pc_core_listen(struct pc_core *core, const int *fds, unsigned fd_count);

/* Have it take the runtime's signals too.  Core: owner, once. */
int pc_core_watch_signals(struct pc_core *core);

/* One pass of the loop; false: the core has left, with all others.  Core: owner. */
bool pc_core_turn(struct pc_core *core);

/* Wake it.  Core: any, signal-safe. */
void pc_core_ring(struct pc_core *core);

/* Leave a control letter and wake it if it sleeps; true: it did.  Core: any. */
bool pc_core_send_control(struct pc_core *core, struct pc_control *control);

/* Post `call` where it must run; false: it may run here and now.  Lane: any. */
bool pc_core_call(struct pc_lane *lane, struct pc_call *call);

/* Buffers are full, or a credit is missing: nothing is read until that ends.  Core: owner. */
bool pc_core_starved(struct pc_core *core);

/* The call is answered: its connection goes on.  Core: the one that posted it. */
void pc_core_answered(struct pc_call *call);

/* Set `conn` aside until then.  Core: owner. */
void pc_core_starve(struct pc_core *core, struct pc_conn *conn);

static inline struct pc_core *pc_core_of(struct pc_lane *lane)
{
    PC_ASSERT(lane->kind == PC_LANE_CORE);
    return PC_CONTAINER_OF(lane, struct pc_core, lane);
}

#endif
