/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime: what all lanes of one runtime share; every word says who writes it.
 *
 * Owner    Whoever created it, at boot; then see each member.
 * Memory   One allocation per array, freed by pc_runtime_destroy.
 */
#ifndef PC_RUNTIME_RUNTIME_H
#define PC_RUNTIME_RUNTIME_H

#include "base/check.h"
#include "runtime/counters.h"
#include "runtime/kernel.h"
#include "runtime/log.h"
#include "runtime/topology.h"

#include <percore/service.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>

struct pc_core;
struct pc_conn;
struct pc_engine;
struct pc_preset;
struct pc_poller_ops;

/* The connections of one core, counted where every acceptor looks: any core adds one by
 * compare-and-swap when it hands a connection over, the owner subtracts when one closes. */
struct pc_share {
    alignas(PC_CACHE_LINE) _Atomic(unsigned) open_count;
};

struct pc_runtime {
    /* Written at boot, read by all. */
    struct pc_config config; /* defaults filled in */
    const struct pc_service *service;
    void *app;
    const struct pc_kernel *kernel;
    struct pc_log *log;
    const struct pc_preset *preset;
    const struct pc_engine *engine;
    void *engine_state;
    const struct pc_poller_ops *poller;
    const char *poller_why;
    struct pc_plan plan;
    char plan_text[160];
    int *listen_fds;  /* core_count (or one) rows of address_count; -1: not on that core */
    char **addresses; /* as text, with the ports that were given */
    unsigned address_count;
    int signal_fd;           /* -1: the application takes its signals itself */
    sigset_t signals_before; /* what was blocked when the runtime was created */
    struct pc_core **cores;  /* core_count; NULL where lanes are not cores */
    unsigned core_count;
    struct pc_share *shares;       /* one per core */
    struct pc_counters **counters; /* lane_count */
    unsigned lane_count, worker_count;
    bool spins;            /* a core may poll before it sleeps: CPUs are not shared */
    unsigned credit_count; /* of each pair of cores; 0: pc_mailbox_credits. Tests set it */
    bool lends;            /* the places of a core that is not there may be borrowed */
    uint64_t start_ns;
    /* Installed by the model: run a call on a worker; run a connection's batch on a worker. NULL:
     * there are no workers, or they take no batches. */
    void (*offload)(struct pc_runtime *, struct pc_call *);
    void (*dispatch)(struct pc_runtime *, struct pc_conn *);
    /* Take what signals have come; the lane on the thread that called run watches signal_fd. */
    void (*take_signals)(struct pc_runtime *);

    /* The second of expiry; any lane, compare-and-swap to the maximum. */
    alignas(PC_CACHE_LINE) _Atomic(uint32_t) second;
    /* Set once by pc_runtime_stop and by the deadline, read by every lane each turn. */
    alignas(PC_CACHE_LINE) _Atomic(bool) stopping;
    _Atomic(bool) cutting;
    /* Cores that accept no more, and cores that drained; each adds itself once. Nobody settles
     * before all have closed; all leave when all have settled. */
    alignas(PC_CACHE_LINE) _Atomic(unsigned) closed_count;
    _Atomic(unsigned) settled_count;
    _Atomic(unsigned) cut_count;
};

/* Advance the second of expiry to `now_ns`.  Core: any. */
void pc_runtime_tick(struct pc_runtime *runtime, uint64_t now_ns);

static inline bool pc_runtime_stopping(const struct pc_runtime *runtime)
{
    return atomic_load_explicit(&runtime->stopping, memory_order_acquire);
}

static inline bool pc_runtime_cutting(const struct pc_runtime *runtime)
{
    return atomic_load_explicit(&runtime->cutting, memory_order_acquire);
}

#endif
