/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loops: the engine of event loops, a thread per core, with workers beside them.
 *
 * The first core runs on the thread that calls run, and takes the signals: a server of one core is
 * one thread, which spares it the kernel's counting of references to descriptors that threads share
 * (docs/decisions/0043).
 *
 * Boot happens on the cores' own threads, so that memory is first touched where it is used: each
 * makes itself; when all are made the first one lays the roads between them; then all listen.
 */
#include "base/hooks.h"
#include "models/engine.h"
#include "models/workers.h"
#include "runtime/conn.h"
#include "runtime/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct core_thread {
    struct pc_runtime *runtime;
    unsigned index;
    bool started;
    struct pc_thread thread;
    char name[24];
};

struct loops {
    struct pc_workers *workers; /* NULL: none */
    _Atomic(unsigned) made_count;
    _Atomic(bool) connected;
    _Atomic(int) trouble; /* the first core that could not boot says why */
    struct core_thread threads[];
};

static struct loops *loops_of(struct pc_runtime *runtime)
{
    return runtime->engine_state;
}

/* ---- Workers ---- */

static void offload(struct pc_runtime *runtime, struct pc_call *call)
{
    call->control.kind = PC_CONTROL_CALL;
    pc_workers_post(loops_of(runtime)->workers, &call->control);
}

static void dispatch(struct pc_runtime *runtime, struct pc_conn *conn)
{
    conn->control.kind = PC_CONTROL_CONN;
    pc_workers_post(loops_of(runtime)->workers, &conn->control);
}

/* ---- A core's thread ---- */

static void connect_all(struct pc_runtime *runtime)
{
    for (unsigned from = 0; from < runtime->core_count; from++) {
        for (unsigned to = 0; to < runtime->core_count; to++) {
            if (from != to) {
                pc_mailbox_connect(runtime->cores[from]->mailbox, runtime->cores[to]->mailbox);
            }
        }
    }
}

/* Wait for the others, a few milliseconds at boot. False: one of them failed. */
static bool meet(struct pc_runtime *runtime, unsigned index)
{
    struct loops *loops = loops_of(runtime);
    const struct pc_kernel *kernel = runtime->kernel;
    /* Pairs with the other cores' additions: their cores[] entries are seen. */
    atomic_fetch_add_explicit(&loops->made_count, 1, memory_order_acq_rel);
    while (atomic_load_explicit(&loops->made_count, memory_order_acquire) < runtime->core_count) {
        kernel->sched_yield(kernel);
    }
    if (atomic_load_explicit(&loops->trouble, memory_order_acquire) != 0) {
        return false;
    }
    if (index == 0) {
        connect_all(runtime);
        atomic_store_explicit(&loops->connected, true, memory_order_seq_cst);
    }
    while (!atomic_load_explicit(&loops->connected, memory_order_acquire)) {
        kernel->sched_yield(kernel);
    }
    return true;
}

static void say_trouble(struct loops *loops, int trouble)
{
    int none = 0;
    atomic_compare_exchange_strong_explicit(&loops->trouble, &none, trouble, memory_order_acq_rel,
                                            memory_order_relaxed);
}

static void core_main(void *ctx)
{
    struct core_thread *self = ctx;
    struct pc_runtime *runtime = self->runtime;
    struct loops *loops = loops_of(runtime);
    struct pc_core *core = NULL;
    int outcome = pc_core_create(runtime, self->index, runtime->poller, &core);
    if (outcome < 0) {
        say_trouble(loops, outcome);
    } else {
        runtime->cores[self->index] = core;
    }
    if (meet(runtime, self->index)) {
        outcome = pc_core_listen(core, &runtime->listen_fds[self->index * runtime->address_count],
                                 runtime->address_count);
        if (self->index == 0 && runtime->signal_fd >= 0 && outcome == 0) {
            outcome = pc_core_watch_signals(core);
        }
        for (unsigned i = 0; i < runtime->address_count && outcome == 0; i++) {
            runtime->listen_fds[self->index * runtime->address_count + i] = -1; /* the core's now */
        }
        if (outcome < 0) {
            /* The others are running: all drain, and the trouble is told at the end. */
            say_trouble(loops, outcome);
            pc_runtime_stop(runtime);
        }
        while (pc_core_turn(core)) {
            PC_POINT("core.turn");
        }
    }
}

/* ---- Life ---- */

static int loops_create(struct pc_runtime *runtime)
{
    struct loops *loops =
        calloc(1, sizeof(*loops) + runtime->core_count * sizeof(struct core_thread));
    if (loops == NULL) {
        return -ENOMEM;
    }
    runtime->engine_state = loops;
    if (runtime->worker_count == 0) {
        return 0;
    }
    runtime->offload = offload;
    if (runtime->preset->workers == PC_WORKERS_ALL) {
        runtime->dispatch = dispatch;
    }
    return pc_workers_create(runtime, runtime->worker_count, runtime->core_count, &loops->workers);
}

static struct pc_thread *core_thread(struct pc_runtime *runtime, unsigned index)
{
    struct core_thread *core = &loops_of(runtime)->threads[index];
    core->runtime = runtime;
    core->index = index;
    snprintf(core->name, sizeof(core->name), "percore-%u", index);
    core->thread = (struct pc_thread){
        .run = core_main, .ctx = core, .name = core->name, .cpu = runtime->plan.seats[index].cpu};
    return &core->thread;
}

/* Those that run wait for this one: let them see that it will not come. */
static void core_missing(struct loops *loops, int trouble)
{
    say_trouble(loops, trouble);
    atomic_fetch_add_explicit(&loops->made_count, 1, memory_order_acq_rel);
}

static int loops_run(struct pc_runtime *runtime)
{
    struct loops *loops = loops_of(runtime);
    const struct pc_kernel *kernel = runtime->kernel;
    int outcome = loops->workers != NULL ? pc_workers_start(loops->workers) : 0;
    for (unsigned i = 1; i < runtime->core_count; i++) {
        if (outcome == 0) {
            outcome = kernel->thread_start(kernel, core_thread(runtime, i));
            loops->threads[i].started = outcome == 0;
        }
        if (outcome < 0) {
            core_missing(loops, outcome);
        }
    }
    if (outcome == 0) {
        outcome = kernel->thread_here(kernel, core_thread(runtime, 0));
    }
    if (outcome < 0) {
        core_missing(loops, outcome);
    }
    for (unsigned i = 1; i < runtime->core_count; i++) {
        if (loops->threads[i].started) {
            (void)kernel->thread_join(kernel, &loops->threads[i].thread); /* only we join */
        }
    }
    if (loops->workers != NULL) {
        pc_workers_stop(loops->workers);
    }
    return atomic_load_explicit(&loops->trouble, memory_order_acquire);
}

static void loops_stop(struct pc_runtime *runtime)
{
    /* Pairs with the store in meet: whoever connects later looks at `stopping` before it sleeps. */
    if (atomic_load_explicit(&loops_of(runtime)->connected, memory_order_seq_cst)) {
        for (unsigned i = 0; i < runtime->core_count; i++) {
            pc_core_ring(runtime->cores[i]);
        }
    }
}

static void loops_destroy(struct pc_runtime *runtime)
{
    struct loops *loops = loops_of(runtime);
    if (loops == NULL) {
        return;
    }
    for (unsigned i = 0; i < runtime->core_count; i++) {
        pc_core_destroy(runtime->cores[i]);
        runtime->cores[i] = NULL;
    }
    pc_workers_destroy(loops->workers);
    free(loops);
    runtime->engine_state = NULL;
}

const struct pc_engine pc_engine_loops = {
    .name = "loops",
    .create = loops_create,
    .run = loops_run,
    .stop = loops_stop,
    .destroy = loops_destroy,
};
