/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn: one connection of a core: its socket, its exchange, its deadlines.
 *
 *   free ──open──▶ open ──shut──▶ zombie (calls unanswered) ──▶ free
 *                  │  ▲    └──────────────────────────────────▶ free
 *               dispatch back   (away: a worker runs its exchange)
 *
 * Owner    Its core, except that the exchange is the worker's while `away`.
 * Memory   Type-stable: once made, a connection is reused and never freed while the core lives. Its
 *          generation changes with each use; handles of earlier uses are refused.
 * Limits   Idle, a connection costs this struct, the session, and nothing else.
 * Order    Runs once a turn at most; a run ends with one send of all its replies.
 */
#ifndef PC_RUNTIME_CONN_H
#define PC_RUNTIME_CONN_H

#include "base/list.h"
#include "runtime/core.h"
#include "runtime/exchange.h"

struct pc_conn {
    struct pc_list ready; /* in core.ready, core.starved or core.conns_free, or in none */
    struct pc_control control;
    struct pc_core *core;
    struct pc_timer timer; /* idle, send and linger deadlines; armed when there is one */
    uint64_t active_ns;    /* the last time bytes moved, or a request was served */
    uint64_t looked_ns;    /* what active_ns was when it seemed idle and was looked at again */
    int fd;
    int32_t sent_result; /* of the send in flight, reported while away */
    struct pc_handle handle;
    bool readable;               /* an edge said so, and nothing has contradicted it since */
    bool end_seen;               /* the peer closed or reset: read to 0 */
    bool blocked;                /* the kernel takes no more until it reports SEND */
    bool in_flight;              /* the poller has bytes of ours until it reports SEND */
    bool paused;                 /* not read until enough replies were */
    bool starved;                /* in core.starved: not read for want of memory or credits */
    bool away;                   /* with a worker */
    bool more;                   /* the worker's run ended for want of budget */
    bool doomed;                 /* to be cut when the worker is done */
    bool lingering;              /* said all, waits for the peer's close so that it can read it */
    uint8_t why;                 /* it ends, or would: enum pc_close */
    bool shut;                   /* no descriptor: a zombie, or free */
    struct pc_exchange exchange; /* last: the session follows */
};

/* Own the connected socket `fd` from now on; on failure it is closed and counted.  Core: owner. */
int pc_conn_open(struct pc_core *core, int fd);

/* The connection `handle` names, or NULL if it is gone.  Core: owner. */
struct pc_conn *pc_conn_find(struct pc_core *core, struct pc_handle handle);

/* The kernel says something about it.  Core: owner. */
void pc_conn_report(struct pc_conn *conn, const struct pc_ready *report);

/* Have it run in this turn or the next.  Core: owner. */
void pc_conn_wake(struct pc_conn *conn);

/* Receive, parse, serve, send; close it if it is over.  Core: owner. */
void pc_conn_run(struct pc_conn *conn);

/* A worker has run its exchange.  Core: owner. */
void pc_conn_returned(struct pc_conn *conn);

/* Close it now, whatever it was doing; it lives on as a zombie while calls are unanswered. `why` is
 * told unless it was closing already.  Core: owner. */
void pc_conn_cut(struct pc_conn *conn, enum pc_close why);

/* Bytes a connection of this service takes. */
size_t pc_conn_bytes(const struct pc_service *service);

#endif
