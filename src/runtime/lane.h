/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane: where service code runs, with the memory and the clock it uses there.
 *
 * A lane is a core's loop, a pool worker, or the thread of one connection. It is always passed in;
 * nothing finds its lane in a thread-local.
 *
 * Owner    The thread that runs it.
 * Memory   Embedded in a core, a worker or a connection's thread.
 * Cost     The clock is read once a turn; pc_lane_now_ns is a load.
 */
#ifndef PC_RUNTIME_LANE_H
#define PC_RUNTIME_LANE_H

#include "runtime/block.h"
#include "runtime/kernel.h"
#include "runtime/limits.h"
#include "runtime/timer.h"

#include <percore/service.h>

struct pc_slot;
struct pc_counters;

enum pc_lane_kind { PC_LANE_CORE, PC_LANE_WORKER, PC_LANE_THREAD };

struct pc_lane {
    enum pc_lane_kind kind;
    unsigned index; /* among all lanes of the runtime */
    /* Connections change lanes while they run: their input must not share blocks. */
    bool input_alone;
    bool heavy; /* this turn did more than light requests */
    struct pc_runtime *runtime;
    const struct pc_kernel *kernel;
    const struct pc_service *service;
    void *app;
    size_t reply_bytes_max;
    uint64_t heavy_classes; /* bit class mod 64: not light */
    uint64_t now_ns;
    struct pc_slot *straight[PC_PARSE_BATCH]; /* for what is served at once; made when needed */
    struct pc_slot *slots;                    /* free ones */
    unsigned slot_count;
    struct pc_block *landing; /* where the next connection's bytes are received */
    struct pc_counters *counters;
    struct pc_wheel wheel;
    struct pc_block_pool blocks;
};

/* Core: boot, on the lane's thread. `runtime` must have its kernel, service and app. */
void pc_lane_init(struct pc_lane *lane, struct pc_runtime *runtime, enum pc_lane_kind kind,
                  unsigned index, struct pc_counters *counters);

/* All connections of the lane must be gone.  Core: boot. */
void pc_lane_fini(struct pc_lane *lane);

/* Read the clock for this turn.  Core: owner. */
uint64_t pc_lane_tick(struct pc_lane *lane);

#endif
