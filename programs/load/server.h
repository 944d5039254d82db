/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: the other side of a measurement: what its process spent, and what its `stats` say.
 *
 * Core     boot, and the program's main thread before and after a run.
 * Errors   What cannot be read is left out and said to be absent, never guessed.
 */
#ifndef PC_PROGRAMS_LOAD_SERVER_H
#define PC_PROGRAMS_LOAD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_load_plan;

/* Numbers of one process, summed over its threads. */
struct pc_load_process {
    bool known;
    uint64_t cpu_ns, run_delay_ns;
    uint64_t switches_voluntary, switches_forced;
};

struct pc_load_stat {
    char name[64];
    double value;
};

struct pc_load_stats {
    struct pc_load_stat *rows;
    unsigned count;
};

struct pc_load_server {
    struct pc_load_process before, after;
    struct pc_load_stats stats_before, stats_after;
};

struct pc_load_process pc_load_process_read(int pid);

/* The numeric rows of `stats` from a memcached server; empty where there are none. */
struct pc_load_stats pc_load_stats_read(const struct pc_load_plan *plan);

/* How much a row grew; false: absent on one side. */
bool pc_load_stats_growth(const struct pc_load_server *server, const char *name, double *out);

void pc_load_server_fini(struct pc_load_server *server);

#endif
