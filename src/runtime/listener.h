/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener: a listening socket on one core, and the choice of the core that gets the connection.
 *
 * The kernel spreads connections over the listeners by a hash, unevenly; right after accept a
 * connection goes to the core with the fewest.
 *
 * Owner    Its core. The shares of all cores are read and, by compare-and-swap, written by any.
 * Limits   PC_ACCEPT_BUDGET a turn; config.connection_count_max in all (cores that accept at the
 *          same moment may exceed it by one each).
 * Errors   Out of descriptors or memory: accepting pauses for PC_ACCEPT_PAUSE_NS or until a
 *          connection closes; what waits in the backlog is accepted then.
 */
#ifndef PC_RUNTIME_LISTENER_H
#define PC_RUNTIME_LISTENER_H

#include "runtime/core.h"

struct pc_listener {
    struct pc_core *core;
    struct pc_timer timer; /* ends a pause */
    int fd;
    uint32_t index;
    bool open;
    bool waiting; /* there may be more to accept */
    bool paused;
};

/* Open a socket at `address` (see address.h) that does not listen yet. `group`: several will be
 * there.  Core: boot. */
int pc_listener_bind(const struct pc_kernel *kernel, const struct sockaddr *address,
                     socklen_t bytes, bool group, int *out_fd);

/* Open a listening socket for `address`. `group`: several will listen there.
 * Core: boot. */
int pc_listener_socket(const struct pc_kernel *kernel, const struct sockaddr *address,
                       socklen_t bytes, unsigned backlog_count, bool group, int *out_fd);

int pc_listener_open(struct pc_listener *listener, struct pc_core *core, int fd, uint32_t index);

/* Accept what waits, up to the budget; sets listener->waiting if there is more.  Core: owner. */
void pc_listener_accept(struct pc_listener *listener);

/* A connection closed: a paused listener looks again.  Core: owner. */
void pc_listener_resume(struct pc_listener *listener);

/* Accept all that waits in the backlog, then close.  Core: owner. */
void pc_listener_close(struct pc_listener *listener);

/* Reserve a place for one connection: the core it goes to, or -EUSERS at the cap.
 * Core: any. */
int pc_share_reserve(struct pc_runtime *runtime, unsigned here, bool stay);
void pc_share_release(struct pc_runtime *runtime, unsigned index);

#endif
