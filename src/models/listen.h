/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen: the listening sockets of a runtime, opened before any thread runs.
 *
 * Each TCP address gets one socket per core with SO_REUSEPORT, same options and backlog; a unix
 * socket cannot be shared so and belongs to the first core, which hands connections over.
 *
 * Core     boot.
 */
#ifndef PC_MODELS_LISTEN_H
#define PC_MODELS_LISTEN_H

#include "runtime/runtime.h"

/* Open what config.listen names. On failure `trouble` says which address and why. */
int pc_listen_open(struct pc_runtime *runtime, char *trouble, size_t trouble_bytes);

/* Remove unix sockets; the descriptors belong to whoever listened, those nobody took are closed. */
void pc_listen_close(struct pc_runtime *runtime);

#endif
