/* SPDX-License-Identifier: Apache-2.0 */
/* driver_send: from the schedule to the socket. */
#include "base/check.h"
#include "measure/driver_parts.h"

#include <string.h>

/* Own lag beyond which a request counts as late: twenty times the gate of a quiet machine. */
#define LATE_NS UINT64_C(1000000)

/* Room for one more request on `link`; NULL after a failure. */
static struct pc_flight *flight_queue(struct pc_driver *driver, struct pc_link *link)
{
    struct pc_flight *flight = pc_link_push(link);
    if (flight == NULL) {
        pc_driver_fail(driver, PC_DRIVER_NO_MEMORY, "out of memory with %llu requests waiting",
                       (unsigned long long)driver->backlog);
        return NULL;
    }
    flight->step = 0;
    driver->backlog++;
    return flight;
}

static void planned_count(struct pc_driver *driver, uint64_t intended_ns)
{
    if (pc_driver_measures(driver, intended_ns)) {
        pc_tally_count(driver->tally, PC_TALLY_SCHEDULED, 1);
        driver->measured_count++;
        if (driver->measured_count == driver->config.request_count) {
            driver->planning = false;
        }
    }
}

void pc_driver_plan_due(struct pc_driver *driver, uint64_t now_ns)
{
    const uint64_t passed = now_ns - driver->start_ns;
    const uint64_t injected = driver->config.inject_schedule_ns;
    if (driver->planning && passed > driver->due_ns &&
        passed - driver->due_ns > driver->config.silence_ns) {
        pc_driver_fail(driver, PC_DRIVER_BEHIND,
                       "the generator fell %.1f s behind its schedule: a lower --rate, or more "
                       "--threads",
                       (double)(passed - driver->due_ns) / 1e9);
        return;
    }
    for (unsigned i = 0; i < PC_DRIVER_PLAN_BATCH && driver->planning; i++) {
        if (driver->due_ns >= driver->window_end_ns) {
            driver->planning = false;
            return;
        }
        if (driver->due_ns + injected > passed) {
            return;
        }
        struct pc_planned planned;
        pc_traffic_next(driver->traffic, driver->due_ns, &planned);
        struct pc_link *link = &driver->links[planned.connection];
        struct pc_flight *flight = flight_queue(driver, link);
        if (flight == NULL) {
            return;
        }
        flight->planned = planned;
        planned_count(driver, driver->due_ns);
        pc_driver_mark(driver, link);
        driver->due_ns = pc_arrivals_next(&driver->arrivals);
    }
    if (driver->backlog > PC_DRIVER_BACKLOG_MAX) {
        pc_driver_fail(driver, PC_DRIVER_BEHIND,
                       "the server is too slow for this rate: %llu requests are waiting",
                       (unsigned long long)driver->backlog);
    }
}

void pc_driver_plan_here(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns)
{
    const uint64_t passed = now_ns - driver->start_ns;
    if (passed >= driver->window_end_ns) {
        driver->planning = false;
    }
    if (!driver->planning) {
        return;
    }
    struct pc_flight *flight = flight_queue(driver, link);
    if (flight != NULL) {
        pc_traffic_next(driver->traffic, passed, &flight->planned);
        planned_count(driver, passed);
    }
}

void pc_driver_free(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns)
{
    link->free_since_ns = now_ns;
    if (pc_link_waiting(link) > 0 || pc_outbox_count(&link->out) > 0) {
        pc_driver_mark(driver, link);
    }
}

static bool may_send(const struct pc_driver *driver, const struct pc_link *link)
{
    const unsigned depth = driver->config.depth;
    return pc_link_waiting(link) > 0 && !link->draining &&
           (depth == 0 || pc_link_in_flight(link) < depth);
}

/* Turn waiting requests into bytes; how many. */
static unsigned requests_write(struct pc_driver *driver, struct pc_link *link)
{
    unsigned count = 0;
    while (may_send(driver, link) && pc_outbox_count(&link->out) < PC_DRIVER_SEND_BYTES) {
        const struct pc_flight *flight = pc_link_flight(link, link->next);
        if (!driver->dialect.ops->write(&driver->dialect, flight, &link->out)) {
            pc_driver_fail(driver, PC_DRIVER_NO_MEMORY, "out of memory for a request");
            break;
        }
        link->next++;
        link->sent_here++;
        count++;
        link->draining = link->sent_here == driver->config.reconnect_every;
    }
    return count;
}

/* `count` requests with the same intended time are sent now. */
static void sent_record(struct pc_driver *driver, const struct pc_link *link, uint64_t intended_ns,
                        uint64_t now_ns, uint64_t count)
{
    struct pc_tally *tally = driver->tally;
    const uint64_t intended = driver->start_ns + intended_ns;
    const bool blocked = link->free_since_ns > intended;
    const uint64_t could = blocked ? link->free_since_ns : intended;
    const uint64_t own = now_ns > could ? now_ns - could : 0;
    pc_histogram_record_times(tally->timed[PC_TIMED_LAG], now_ns - intended, count);
    pc_histogram_record_times(tally->timed[PC_TIMED_OWN_LAG], own, count);
    pc_tally_count(tally, PC_TALLY_SENT, count);
    if (blocked) {
        pc_tally_count(tally, PC_TALLY_BLOCKED, count);
    }
    if (own > LATE_NS && !driver->config.closed) {
        pc_tally_count(tally, PC_TALLY_LATE, count);
    }
}

/* Stamp requests [begin, next); runs of one intended time, as a closed loop has, cost one record.
 */
static void sent_stamp(struct pc_driver *driver, struct pc_link *link, uint64_t begin,
                       uint64_t now_ns)
{
    uint64_t run = 0, run_intended_ns = 0;
    for (uint64_t i = begin; i < link->next; i++) {
        struct pc_flight *flight = pc_link_flight(link, i);
        const uint64_t intended_ns = flight->planned.intended_ns;
        flight->sent_ns = now_ns;
        if (flight->step > 0 || !pc_driver_measures(driver, intended_ns)) {
            continue;
        }
        if (run > 0 && intended_ns != run_intended_ns) {
            sent_record(driver, link, run_intended_ns, now_ns, run);
            run = 0;
        }
        run_intended_ns = intended_ns;
        run++;
    }
    if (run > 0) {
        sent_record(driver, link, run_intended_ns, now_ns, run);
    }
}

void pc_driver_send(struct pc_driver *driver, struct pc_link *link)
{
    pc_list_remove(&link->dirty);
    while (link->state == PC_LINK_OPEN && !link->socket_full) {
        const unsigned count = requests_write(driver, link);
        const size_t bytes = pc_outbox_count(&link->out);
        if (bytes == 0) {
            break;
        }
        const uint64_t now = pc_driver_now(driver);
        sent_stamp(driver, link, link->next - count, now);
        const ssize_t left = pc_link_flush(link, &driver->link_config);
        if (left < 0) {
            pc_driver_fail(driver, PC_DRIVER_LOST, "connection %u: %s while sending",
                           link->handle.index, strerror((int)-left));
            return;
        }
        pc_tally_count(driver->tally, PC_TALLY_BYTES_SENT, bytes - (size_t)left);
    }
    link->at_depth = pc_link_waiting(link) > 0 && !link->socket_full;
}
