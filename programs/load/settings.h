/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: the flags of percore load, and the plan of a run that they amount to.
 *
 * Errors   One line on standard error that names what is wrong and what is legal; exit 2.
 * Core     boot.
 */
#ifndef PC_PROGRAMS_LOAD_SETTINGS_H
#define PC_PROGRAMS_LOAD_SETTINGS_H

#include "measure/contents.h"
#include "measure/driver.h"
#include "measure/traffic.h"
#include "programs/common/options.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    PC_LOAD_FILL_KEYS_MAX = 100000, /* more is somebody else's decision */
    PC_LOAD_FILL_LIFE_S = 3600,
    PC_LOAD_RATES_MAX = 64,
};

/* As given; NULL or 0: not given. */
struct pc_load_settings {
    const char *rate, *arrivals, *weights, *preset, *mix, *popularity, *alpha, *hot_share;
    const char *miss_share, *key_bytes, *value_bytes, *prefix, *service_us, *sweep, *target_us;
    const char *stamps, *congestion, *poller, *json, *csv, *hdr, *html, *url;
    uint64_t depth, duration_ns, requests, warmup_ns, timeout_ns, connections, threads;
    uint64_t reconnect_every, multi_get, keys, hot_keys, period_ns, ttl, seed, server_pid;
    uint64_t lag_gate_us, inject_schedule_us, inject_client_us;
    bool closed, no_fill, tune, quiet, help;
};

struct pc_load_plan {
    const char *url;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    struct pc_contents *contents;   /* the plan's */
    struct pc_driver_config driver; /* of every thread; address and contents point into the plan */
    unsigned thread_count;
    uint64_t request_count;
    uint64_t fill_count;
    double rates[PC_LOAD_RATES_MAX]; /* of a sweep */
    unsigned rate_count;
    double target_us;
    uint64_t lag_gate_ns;
    const char *preset, *json, *csv, *hdr, *html;
    int server_pid; /* 0: none */
    bool tune, quiet;
};

/* Exit codes beyond those of every sub-command. */
enum pc_load_exit {
    PC_LOAD_EXIT_PARTIAL = 3, /* the run ended early; what was measured is shown */
    PC_LOAD_EXIT_WRONG = 4,   /* an answer was an error, or not true */
    PC_LOAD_EXIT_INVALID = 5, /* the generator's own lag is too large to be believed */
};

/* Read the command line. Returns -1 to go on, else the exit code. */
int pc_load_settings_read(int argc, char **argv, struct pc_load_settings *out_settings);

/* Turn settings into a plan: 0, or the exit code after a message. The plan must stay where it is.
 */
int pc_load_plan_init(struct pc_load_plan *plan, const struct pc_load_settings *settings);
void pc_load_plan_fini(struct pc_load_plan *plan);

#endif
