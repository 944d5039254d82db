/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer: what a service is told of a connection as such: that it begins, from where, and why it
 * ends.
 *
 * Cost     Nothing for a service that does not ask; else one system call a connection.
 */
#ifndef PC_RUNTIME_PEER_H
#define PC_RUNTIME_PEER_H

#include <percore/service.h>

struct pc_exchange;

/* Its exchange has just been made.  Core: owner, which `lane` is. */
void pc_peer_opened(struct pc_exchange *exchange, struct pc_lane *lane, int fd);

/* Its descriptor is about to be closed.  Core: owner. */
void pc_peer_shut(struct pc_exchange *exchange, struct pc_lane *lane, enum pc_close why);

#endif
