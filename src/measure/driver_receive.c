/* SPDX-License-Identifier: Apache-2.0 */
/* driver_receive: from the socket to the tally. Answers of one read are understood first, then the
 * clock is read, then all are recorded with that time. */
#include "base/check.h"
#include "measure/driver_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* In `step` of a ring's entry that was queued again: it is not to be recorded. */
#define STEP_MOVED UINT32_MAX

static void verdict_count(struct pc_driver *driver, const struct pc_flight *flight,
                          const struct pc_verdict *verdict)
{
    struct pc_tally *tally = driver->tally;
    /* A wrong value is wrong in the warm-up, too. */
    const uint32_t wrong =
        verdict->errors | verdict->mismatches | verdict->short_answers | verdict->reorders;
    if (PC_UNLIKELY(wrong != 0)) {
        pc_tally_count(tally, PC_TALLY_ERRORS, verdict->errors);
        pc_tally_count(tally, PC_TALLY_MISMATCHES, verdict->mismatches);
        pc_tally_count(tally, PC_TALLY_SHORT, verdict->short_answers);
        pc_tally_count(tally, PC_TALLY_REORDERS, verdict->reorders);
    }
    if (PC_UNLIKELY(verdict->trouble != NULL && driver->trouble[0] == '\0')) {
        snprintf(driver->trouble, sizeof(driver->trouble), "connection %u: %s answered \"%.*s\"",
                 flight->planned.connection, pc_operation_name(flight->planned.operation),
                 (int)pc_min_size(verdict->trouble_bytes, 160), verdict->trouble);
    }
    if (pc_driver_measures(driver, flight->planned.intended_ns)) {
        pc_tally_count(tally, PC_TALLY_HITS, verdict->hits);
        if (verdict->misses + verdict->refused > 0) {
            pc_tally_count(tally, PC_TALLY_MISSES, verdict->misses);
            pc_tally_count(tally, PC_TALLY_REFUSED, verdict->refused);
        }
    }
}

/* Understand what is at `at`; how many bytes were used. `*end` moves over the answered requests. */
static size_t answers_parse(struct pc_driver *driver, struct pc_link *link, const uint8_t *at,
                            size_t count, uint64_t *end)
{
    size_t used = 0;
    while (*end < link->next && used < count) {
        struct pc_flight *flight = pc_link_flight(link, *end);
        size_t bytes = 0;
        const enum pc_reading reading = driver->dialect.ops->read(
            &driver->dialect, flight, &link->answer, at + used, count - used, &bytes);
        used += bytes;
        if (reading == PC_READING_MORE) {
            return used;
        }
        verdict_count(driver, flight, &link->answer.verdict);
        memset(&link->answer, 0, offsetof(struct pc_answer_state, walk));
        if (reading == PC_READING_BAD) {
            pc_driver_fail(driver, PC_DRIVER_PROTOCOL, "%s",
                           driver->trouble[0] != '\0' ? driver->trouble : "not the protocol");
            return used;
        }
        (*end)++;
        if (reading == PC_READING_AGAIN) {
            const struct pc_flight copy = *flight;
            flight->step = STEP_MOVED;
            struct pc_flight *again = pc_link_push(link);
            if (again == NULL) {
                pc_driver_fail(driver, PC_DRIVER_NO_MEMORY, "out of memory for a second step");
                return used;
            }
            *again = copy;
        }
    }
    if (used < count && *end == link->next) {
        pc_driver_fail(driver, PC_DRIVER_PROTOCOL,
                       "connection %u: %zu bytes came that nobody asked for", link->handle.index,
                       count - used);
    }
    return used;
}

/* Of the read that is being recorded. */
struct reading {
    uint64_t now_ns, stamp_ns;
    /* Requests so far that were meant and sent at the same two times: one record for all. */
    uint64_t run, run_intended_ns, run_sent_ns;
    uint64_t split_count;
};

static void run_record(struct pc_driver *driver, const struct pc_link *link,
                       struct reading *reading)
{
    if (reading->run == 0) {
        return;
    }
    struct pc_tally *tally = driver->tally;
    const uint64_t response = reading->now_ns - (driver->start_ns + reading->run_intended_ns);
    const uint64_t from_send = reading->now_ns - reading->run_sent_ns;
    pc_histogram_record_times(tally->timed[PC_TIMED_RESPONSE], response, reading->run);
    pc_histogram_record_times(tally->timed[PC_TIMED_SEND], from_send, reading->run);
    pc_histogram_record_times(tally->classes[link->class_index], response, reading->run);
    pc_tally_count(tally, PC_TALLY_RECEIVED, reading->run);
    if (driver->config.stamps) {
        pc_tally_count(tally, PC_TALLY_STAMP_SHARED, reading->run - reading->split_count);
    }
    reading->run = reading->split_count = 0;
}

static void response_record(struct pc_driver *driver, const struct pc_link *link,
                            const struct pc_flight *flight, struct reading *reading, bool last)
{
    const struct pc_planned *planned = &flight->planned;
    if (!pc_driver_measures(driver, planned->intended_ns)) {
        return;
    }
    if (planned->intended_ns != reading->run_intended_ns ||
        flight->sent_ns != reading->run_sent_ns) {
        run_record(driver, link, reading);
        reading->run_intended_ns = planned->intended_ns;
        reading->run_sent_ns = flight->sent_ns;
    }
    reading->run++;
    struct pc_tally *tally = driver->tally;
    const uint64_t response = reading->now_ns - (driver->start_ns + planned->intended_ns);
    pc_histogram_record(tally->operations[planned->operation], response);
    pc_histogram_record(tally->deciles[planned->decile], response);
    /* The stamp is that of the last bytes read. */
    const uint64_t stamp_ns = reading->stamp_ns;
    if (last && stamp_ns >= flight->sent_ns && stamp_ns <= reading->now_ns) {
        pc_histogram_record(tally->timed[PC_TIMED_NETWORK], stamp_ns - flight->sent_ns);
        pc_histogram_record(tally->timed[PC_TIMED_CLIENT], reading->now_ns - stamp_ns);
        pc_tally_count(tally, PC_TALLY_STAMP_ALONE, 1);
        reading->split_count = 1;
    }
}

/* Record requests [oldest, end): the stamp, if any, belongs to the last of them. */
static void answered_record(struct pc_driver *driver, struct pc_link *link, uint64_t end,
                            uint64_t stamp_ns)
{
    const uint64_t now = pc_driver_now(driver);
    driver->last_received_ns = now;
    struct reading reading = {.now_ns = now, .stamp_ns = stamp_ns};
    unsigned answered = 0;
    for (uint64_t i = link->oldest; i < end; i++) {
        const struct pc_flight *flight = pc_link_flight(link, i);
        if (flight->step != STEP_MOVED) {
            response_record(driver, link, flight, &reading, i + 1 == end);
            answered++;
        }
    }
    run_record(driver, link, &reading);
    link->oldest = end;
    driver->backlog -= answered;
    if (link->at_depth) {
        pc_driver_free(driver, link, now);
    }
    if (driver->config.closed) {
        for (unsigned i = 0; i < answered; i++) {
            pc_driver_plan_here(driver, link, now);
        }
    }
    if (pc_link_waiting(link) > 0) {
        pc_driver_mark(driver, link);
    }
}

/* Bytes not understood yet stay in `in`, and are joined there by the next. */
static void bytes_keep(struct pc_driver *driver, struct pc_link *link, bool landed,
                       const uint8_t *rest, size_t rest_bytes)
{
    if (!landed) {
        pc_outbox_consume(&link->in, pc_outbox_count(&link->in) - rest_bytes);
    } else if (rest_bytes > 0) {
        uint8_t *room = pc_outbox_reserve(&link->in, rest_bytes);
        if (room == NULL) {
            pc_driver_fail(driver, PC_DRIVER_NO_MEMORY, "out of memory for an answer");
            return;
        }
        memcpy(room, rest, rest_bytes);
        pc_outbox_commit(&link->in, rest_bytes);
    }
}

/* One read and all it completes. Returns its bytes, 0 when nothing more is to be had now. */
static size_t read_once(struct pc_driver *driver, struct pc_link *link, size_t *out_room)
{
    const struct pc_driver_config *config = &driver->config;
    const size_t held = pc_outbox_count(&link->in);
    const bool landed = held == 0;
    size_t room = PC_DRIVER_LANDING_BYTES;
    uint8_t *into = driver->landing;
    if (!landed) {
        if (link->answer.wanted_bytes > held + room) {
            room = link->answer.wanted_bytes - held;
        }
        into = pc_outbox_reserve(&link->in, room);
        if (into == NULL) {
            pc_driver_fail(driver, PC_DRIVER_NO_MEMORY, "out of memory for an answer");
            return 0;
        }
    }
    uint64_t stamp = 0;
    const ssize_t count =
        config->stamps
            ? pc_stamps_receive(config->kernel, &driver->bridge, link->fd, into, room, &stamp)
            : driver->poller->ops->receive(driver->poller, link->fd, link->handle, into, room);
    if (count <= 0) {
        if (count != -EAGAIN) {
            pc_driver_fail(driver, PC_DRIVER_LOST, "connection %u: %s", link->handle.index,
                           count == 0 ? "closed by the server" : strerror((int)-count));
        }
        return 0;
    }
    *out_room = room;
    pc_tally_count(driver->tally, PC_TALLY_BYTES_RECEIVED, (uint64_t)count);
    if (!landed) {
        pc_outbox_commit(&link->in, (size_t)count);
    }
    const uint8_t *const at = landed ? into : pc_outbox_front(&link->in);
    const size_t all = held + (size_t)count;
    uint64_t end = link->oldest;
    const size_t used = answers_parse(driver, link, at, all, &end);
    if (end > link->oldest) {
        answered_record(driver, link, end, used == all ? stamp : 0);
    }
    bytes_keep(driver, link, landed, at + used, all - used);
    return (size_t)count;
}

void pc_driver_receive(struct pc_driver *driver, struct pc_link *link, bool ended)
{
    size_t count, room = 0;
    do {
        count = read_once(driver, link, &room);
    } while (count > 0 && (count == room || ended) && driver->outcome == PC_DRIVER_COMPLETE);
}
