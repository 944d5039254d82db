/* SPDX-License-Identifier: Apache-2.0 */
/* workers: the queue of jobs and the threads that take them. */
#include "models/workers.h"

#include "base/hooks.h"
#include "models/engine.h"
#include "runtime/conn.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct pc_worker {
    struct pc_lane lane;
    struct pc_workers *workers;
    struct pc_thread thread;
    bool started;
};

/* `sleeper_count` sleep on the semaphore and have not yet been given a wake-up. */
struct pc_workers {
    struct pc_runtime *runtime;
    unsigned worker_count;
    int semaphore_fd;
    pthread_mutex_t lock; /* guards the members below */
    struct pc_control *head, *tail;
    unsigned sleeper_count;
    bool stopping;
    struct pc_worker workers[];
};

/* ---- The queue ---- */

static void wake(struct pc_workers *workers, uint64_t count)
{
    const struct pc_kernel *kernel = workers->runtime->kernel;
    /* It fails only when 2^64 - 2 wake-ups are pending. */
    (void)kernel->write(kernel, workers->semaphore_fd, &count, sizeof(count));
}

void pc_workers_post(struct pc_workers *workers, struct pc_control *job)
{
    job->next = NULL;
    pthread_mutex_lock(&workers->lock);
    if (workers->tail == NULL) {
        workers->head = job;
    } else {
        workers->tail->next = job;
    }
    workers->tail = job;
    bool sleeper = workers->sleeper_count > 0;
    workers->sleeper_count -= sleeper;
    pthread_mutex_unlock(&workers->lock);
    PC_POINT("workers.posted");
    if (sleeper) {
        wake(workers, 1);
    }
}

enum take { TAKE_JOB, TAKE_SLEEP, TAKE_STOP };

/* The oldest job; if there is none, and `may_sleep`, the caller counts as a sleeper. */
static enum take take(struct pc_workers *workers, bool may_sleep, struct pc_control **out_job)
{
    enum take outcome = TAKE_JOB;
    pthread_mutex_lock(&workers->lock);
    struct pc_control *job = workers->head;
    if (job != NULL) {
        workers->head = job->next;
        if (workers->head == NULL) {
            workers->tail = NULL;
        }
        *out_job = job;
    } else if (workers->stopping) {
        outcome = TAKE_STOP;
    } else {
        outcome = TAKE_SLEEP;
        workers->sleeper_count += may_sleep;
    }
    pthread_mutex_unlock(&workers->lock);
    return outcome;
}

/* ---- A worker ---- */

static void job_run(struct pc_worker *worker, struct pc_control *job)
{
    struct pc_lane *lane = &worker->lane;
    struct pc_core *home;
    pc_lane_tick(lane);
    pc_count(&lane->counters->jobs);
    if (job->kind == PC_CONTROL_CALL) {
        struct pc_call *call = PC_CONTAINER_OF(job, struct pc_call, control);
        home = pc_core_of(pc_call_lane(call));
        call->work(call, lane);
    } else {
        struct pc_conn *conn = PC_CONTAINER_OF(job, struct pc_conn, control);
        home = conn->core;
        conn->more = pc_exchange_run(&conn->exchange, lane) == PC_RUN_BUDGET;
    }
    PC_POINT("worker.done");
    pc_core_send_control(home, job);
}

bool pc_worker_turn(struct pc_worker *worker)
{
    struct pc_control *job;
    if (take(worker->workers, false, &job) != TAKE_JOB) {
        return false;
    }
    job_run(worker, job);
    return true;
}

static void worker_main(void *ctx)
{
    struct pc_worker *worker = ctx;
    struct pc_workers *workers = worker->workers;
    const struct pc_kernel *kernel = workers->runtime->kernel;
    for (;;) {
        struct pc_control *job;
        switch (take(workers, true, &job)) {
        case TAKE_JOB:
            job_run(worker, job);
            break;
        case TAKE_SLEEP: {
            uint64_t one;
            /* An interrupted read is a wake-up too many: the queue is looked at again. */
            (void)kernel->read(kernel, workers->semaphore_fd, &one, sizeof(one));
            break;
        }
        case TAKE_STOP:
            return;
        }
    }
}

/* ---- Life ---- */

int pc_workers_create(struct pc_runtime *runtime, unsigned worker_count, unsigned lane_first,
                      struct pc_workers **out_workers)
{
    size_t bytes = sizeof(struct pc_workers) + worker_count * sizeof(struct pc_worker);
    bytes = (bytes + PC_CACHE_LINE - 1) & ~(size_t)(PC_CACHE_LINE - 1);
    struct pc_workers *workers = aligned_alloc(PC_CACHE_LINE, bytes);
    if (workers == NULL) {
        return -ENOMEM;
    }
    *workers = (struct pc_workers){.runtime = runtime, .worker_count = worker_count};
    workers->semaphore_fd =
        runtime->kernel->eventfd(runtime->kernel, 0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (workers->semaphore_fd < 0) {
        int trouble = workers->semaphore_fd;
        free(workers);
        return trouble;
    }
    pthread_mutex_init(&workers->lock, NULL);
    for (unsigned i = 0; i < worker_count; i++) {
        struct pc_worker *worker = &workers->workers[i];
        worker->workers = workers;
        worker->started = false;
        pc_lane_init(&worker->lane, runtime, PC_LANE_WORKER, lane_first + i,
                     runtime->counters[lane_first + i]);
    }
    *out_workers = workers;
    return 0;
}

void pc_workers_destroy(struct pc_workers *workers)
{
    if (workers == NULL) {
        return;
    }
    for (unsigned i = 0; i < workers->worker_count; i++) {
        pc_lane_fini(&workers->workers[i].lane);
    }
    (void)workers->runtime->kernel->close(workers->runtime->kernel, workers->semaphore_fd);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

int pc_workers_start(struct pc_workers *workers)
{
    const struct pc_kernel *kernel = workers->runtime->kernel;
    for (unsigned i = 0; i < workers->worker_count; i++) {
        struct pc_worker *worker = &workers->workers[i];
        worker->thread = (struct pc_thread){
            .run = worker_main, .ctx = worker, .name = "percore-work", .cpu = -1};
        int outcome = kernel->thread_start(kernel, &worker->thread);
        if (outcome < 0) {
            return outcome;
        }
        worker->started = true;
    }
    return 0;
}

void pc_workers_stop(struct pc_workers *workers)
{
    const struct pc_kernel *kernel = workers->runtime->kernel;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_mutex_unlock(&workers->lock);
    wake(workers, workers->worker_count);
    for (unsigned i = 0; i < workers->worker_count; i++) {
        if (workers->workers[i].started) {
            (void)kernel->thread_join(kernel, &workers->workers[i].thread); /* it was started */
        }
    }
}
