/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result: what a run measured, for the files that show it.
 *
 * Owner    The program's main thread.
 * Memory   The heap; fini gives it back.
 * Units    As the names say; times of seconds are those from the start of the measured time.
 */
#ifndef PC_PROGRAMS_LOAD_RESULT_H
#define PC_PROGRAMS_LOAD_RESULT_H

#include "measure/driver.h"
#include "measure/tally.h"
#include "programs/load/server.h"

#include <stdbool.h>
#include <stdint.h>

/* One second (or what was left of it) of the run. */
struct pc_load_second {
    double at_s, length_s;
    uint64_t scheduled, received, errors;
    uint64_t response_ns_p50, response_ns_p99, response_ns_p999, response_ns_max;
    uint64_t lag_ns_p99;
};

struct pc_load_result {
    enum pc_driver_outcome outcome;
    char trouble[320];
    struct pc_tally *tally;
    double measured_s; /* length of the measured time, shorter when the run ended early */
    double rate;       /* asked for; closed: 0 */
    uint64_t hash, hashed_count;
    struct pc_link_health health;
    uint64_t stamp_spread_ns;
    char congestion[16];
    struct pc_load_second *seconds;
    unsigned second_count, second_room;
    struct pc_load_server server;
    bool partial, wrong, invalid; /* each has its exit code */
};

int pc_load_result_init(struct pc_load_result *result);
void pc_load_result_fini(struct pc_load_result *result);

/* Room for one more second; NULL: no memory. */
struct pc_load_second *pc_load_result_second(struct pc_load_result *result);

/* Judge: set partial, wrong and invalid. `lag_gate_ns` 0: lag is never too large. */
void pc_load_result_judge(struct pc_load_result *result, bool closed, uint64_t lag_gate_ns);

int pc_load_result_exit(const struct pc_load_result *result);

/* Answered requests per second of the measured time. */
double pc_load_result_throughput(const struct pc_load_result *result);

double pc_load_result_cpu_us(const struct pc_load_result *result);

#endif
