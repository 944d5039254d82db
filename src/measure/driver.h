/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver: one thread of a generator: plans requests, sends each as near to its time as it can,
 * and records what came of it.
 *
 * Owner    The thread in pc_driver_run. Others may look at its tally (peek), stop it, and read the
 *          rest once it has ended.
 * Order    Open loop: a request belongs to its connection from the moment it is planned. When the
 *          connection cannot take it, it waits there with its intended time; none is skipped.
 * Limits   PC_DRIVER_BACKLOG_MAX requests waiting or on their way; beyond, the server is too slow
 *          and the run ends early, saying so. No wait is longer than `silence_ns`.
 * Units    Nanoseconds of the monotonic clock; intended times count from `start_ns`.
 */
#ifndef PC_MEASURE_DRIVER_H
#define PC_MEASURE_DRIVER_H

#include "measure/arrivals.h"
#include "measure/dialect.h"
#include "measure/tally.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct pc_kernel;
struct pc_poller_ops;

/* 64 bytes each: a quarter of a gigabyte is more than anybody wants to wait for. */
#define PC_DRIVER_BACKLOG_MAX (UINT64_C(1) << 22)

/* Row: enumerator, name, what it means. */
/* clang-format off */
#define PC_DRIVER_OUTCOMES(row)                                                                    \
    row(PC_DRIVER_COMPLETE,    "complete",    "every request that was planned was answered")       \
    row(PC_DRIVER_STOPPED,     "stopped",     "ended early because somebody asked")                \
    row(PC_DRIVER_UNREACHABLE, "unreachable", "no connection could be made")                       \
    row(PC_DRIVER_LOST,        "lost",        "the server closed or reset a connection")           \
    row(PC_DRIVER_PROTOCOL,    "protocol",    "an answer was not the protocol")                    \
    row(PC_DRIVER_SILENT,      "silent",      "no answer came for longer than allowed")            \
    row(PC_DRIVER_BEHIND,      "behind",      "the rate is too much for server or generator")      \
    row(PC_DRIVER_NO_MEMORY,   "memory",      "the generator ran out of memory")                   \
    row(PC_DRIVER_SYSTEM,      "system",      "the system refused a socket or a poller")
/* clang-format on */

enum pc_driver_outcome {
#define PC_DRIVER_ENUM(name, text, help) name,
    PC_DRIVER_OUTCOMES(PC_DRIVER_ENUM)
#undef PC_DRIVER_ENUM
        PC_DRIVER_OUTCOME_COUNT,
};

/* Set by the program, read by all drivers of a run. */
struct pc_driver_signals {
    _Atomic(uint64_t) start_ns; /* 0: not yet; pairs with the acquire in pc_driver_run */
    _Atomic(bool) stop;         /* plan no more, take what comes within the grace, end */
};

struct pc_driver_config {
    const struct pc_kernel *kernel;
    const struct pc_poller_ops *poller;
    const struct sockaddr *address;
    socklen_t address_bytes;
    const struct pc_dialect_ops *dialect;
    const struct pc_contents *contents;
    struct pc_traffic_config traffic;
    struct pc_arrivals_config arrivals; /* seed and share are filled in */
    bool closed;
    unsigned depth; /* requests on their way per connection; 0: no limit (open loop) */
    uint64_t warmup_ns, duration_ns;
    uint64_t request_count; /* of this driver, measured ones; 0: until duration_ns */
    uint64_t reconnect_every;
    uint64_t silence_ns; /* longest time without any answer */
    const char *congestion;
    bool stamps;
    uint64_t inject_schedule_ns, inject_client_ns; /* delays planted to see where they show */
    unsigned index, count;
    struct pc_driver_signals *signals;
};

/* Of all connections of a driver, read from TCP_INFO when they end. */
struct pc_link_health {
    uint64_t connection_count, retransmit_count;
    uint64_t rtt_us_sum, rtt_us_max;
};

struct pc_driver;

int pc_driver_create(const struct pc_driver_config *config, struct pc_driver **out_driver);
void pc_driver_destroy(struct pc_driver *driver);

/* Connect, wait for the start, drive until the end. May block. */
enum pc_driver_outcome pc_driver_run(struct pc_driver *driver);

/* Wake it to look at the signals.  Core: any. */
void pc_driver_ring(struct pc_driver *driver);

/* All its connections are open.  Core: any. */
bool pc_driver_ready(const struct pc_driver *driver);

/* It has ended.  Core: any. */
bool pc_driver_ended(const struct pc_driver *driver);

/* How it ended. */
enum pc_driver_outcome pc_driver_outcome(const struct pc_driver *driver);

const struct pc_tally *pc_driver_tally(const struct pc_driver *driver);
const struct pc_traffic *pc_driver_traffic(const struct pc_driver *driver);
struct pc_link_health pc_driver_health(const struct pc_driver *driver);

/* One line about what went wrong, or the first ERROR a server answered; empty: nothing did. */
const char *pc_driver_trouble(const struct pc_driver *driver);

/* Spread of the last reading of the clock bridge, and the congestion control in use. */
uint64_t pc_driver_stamp_spread_ns(const struct pc_driver *driver);
const char *pc_driver_congestion(const struct pc_driver *driver);

const char *pc_driver_outcome_name(enum pc_driver_outcome outcome);
const char *pc_driver_outcome_help(enum pc_driver_outcome outcome);

#endif
