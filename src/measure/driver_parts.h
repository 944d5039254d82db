/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver_parts: what the files of the driver share: driver.c (life and loop), driver_send.c
 * (planning and sending), driver_receive.c (answers).
 *
 * Owner    The driver's thread; for the atomics see each.
 */
#ifndef PC_MEASURE_DRIVER_PARTS_H
#define PC_MEASURE_DRIVER_PARTS_H

#include "measure/driver.h"
#include "measure/link.h"
#include "measure/stamps.h"
#include "runtime/kernel.h"

enum {
    PC_DRIVER_LANDING_BYTES = 64 * 1024, /* one read; shared by all links, so it stays in cache */
    PC_DRIVER_SEND_BYTES = 64 * 1024,    /* encoded before a send: what a socket takes at once */
    PC_DRIVER_PLAN_BATCH = 256,          /* planned in a row, then answers have their turn */
    PC_DRIVER_TROUBLE_BYTES = 240,
    PC_DRIVER_CONGESTION_BYTES = 16,
};

/* The longest sleep: the stop flag and the silence are looked at this often. */
#define PC_DRIVER_WAIT_NS_MAX UINT64_C(50000000)

struct pc_driver {
    struct pc_driver_config config;
    struct pc_poller *poller;
    struct pc_link_config link_config;
    struct pc_link *links;
    unsigned link_count, open_count, retry_count;
    struct pc_traffic *traffic;
    struct pc_arrivals arrivals;
    struct pc_dialect dialect;
    struct pc_tally *tally;
    struct pc_list dirty, held;
    struct pc_stamp_bridge bridge;

    uint64_t start_ns;
    uint64_t due_ns;        /* intended time of the next request, from the start */
    uint64_t window_end_ns; /* from the start */
    uint64_t measured_count;
    bool planning;
    uint64_t backlog; /* planned and not answered, over all links */
    uint64_t last_received_ns;
    uint64_t planned_until_ns; /* when planning ended; 0: it goes on */
    uint64_t cpu_begin_ns;
    bool cpu_begun, cpu_ended;

    enum pc_driver_outcome outcome; /* COMPLETE while all goes well */
    char trouble[PC_DRIVER_TROUBLE_BYTES];
    char congestion[PC_DRIVER_CONGESTION_BYTES];
    struct pc_link_health health;
    _Atomic(bool) ready, ended; /* release; pair with the acquire of the program's looks */
    uint8_t landing[PC_DRIVER_LANDING_BYTES];
};

static inline bool pc_driver_measures(const struct pc_driver *driver, uint64_t intended_ns)
{
    return intended_ns >= driver->config.warmup_ns && intended_ns < driver->window_end_ns;
}

static inline uint64_t pc_driver_now(const struct pc_driver *driver)
{
    return driver->config.kernel->clock_ns(driver->config.kernel);
}

/* Keep the first failure and its line. */
void pc_driver_fail(struct pc_driver *driver, enum pc_driver_outcome outcome, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

static inline void pc_driver_mark(struct pc_driver *driver, struct pc_link *link)
{
    if (!pc_list_linked(&link->dirty)) {
        pc_list_append(&driver->dirty, &link->dirty);
    }
}

/* driver_send.c */

/* Plan what is due at `now_ns` (open loop). */
void pc_driver_plan_due(struct pc_driver *driver, uint64_t now_ns);

/* Plan the next request of a closed loop on `link`. */
void pc_driver_plan_here(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns);

/* Send what the link may send now. */
void pc_driver_send(struct pc_driver *driver, struct pc_link *link);

/* The link can send again from `now_ns` on. */
void pc_driver_free(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns);

/* driver_receive.c */

/* Take all that has arrived; `ended`: read on until the end or the error shows. */
void pc_driver_receive(struct pc_driver *driver, struct pc_link *link, bool ended);

#endif
