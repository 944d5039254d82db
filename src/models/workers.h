/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers: a pool of threads that takes work from loops: single calls, or whole batches.
 *
 * One queue under one mutex: any worker takes the oldest job. A worker that finds none sleeps on a
 * semaphore; a job wakes one sleeper. What is done goes back to its core as a control letter.
 *
 * Owner    The loops engine.
 * Memory   Jobs are embedded in what they move; the pool allocates nothing after create.
 * Order    First in, first taken. One connection is one job at a time, so its requests stay in
 * order. Cost     A lock and an unlock a side; a system call a side when a worker sleeps.
 */
#ifndef PC_MODELS_WORKERS_H
#define PC_MODELS_WORKERS_H

#include "runtime/runtime.h"

struct pc_workers;

/* Lanes `lane_first` and on are the workers'.  Core: boot. */
int pc_workers_create(struct pc_runtime *runtime, unsigned worker_count, unsigned lane_first,
                      struct pc_workers **out_workers);
void pc_workers_destroy(struct pc_workers *workers);

/* Core: boot. */
int pc_workers_start(struct pc_workers *workers);

/* All jobs are done and nobody posts any more. May block.  Core: boot. */
void pc_workers_stop(struct pc_workers *workers);

/* Post a job; its letter comes back when it is done.  Core: any loop. */
void pc_workers_post(struct pc_workers *workers, struct pc_control *job);

struct pc_worker;

/* Do one job if there is one; false: there is none.  Core: owner (the worker). */
bool pc_worker_turn(struct pc_worker *worker);

#endif
