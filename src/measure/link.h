/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link: one connection of a generator: its socket, the requests that wait for it, those on their
 * way.
 *
 * Owner    The driver's thread.
 * Memory   The ring of requests doubles when it is full: no request is ever dropped.
 * Order    Requests leave in the order they were queued; answers are held against the oldest.
 * Units    Nanoseconds of the monotonic clock.
 *
 *     ring      oldest ………… next ………… end
 *               answered →   sent →   queued
 */
#ifndef PC_MEASURE_LINK_H
#define PC_MEASURE_LINK_H

#include "base/list.h"
#include "measure/dialect.h"
#include "measure/outbox.h"
#include "runtime/poller/poller.h"

#include <stdbool.h>
#include <stdint.h>

struct pc_kernel;

enum pc_link_state {
    PC_LINK_CLOSED,
    PC_LINK_CONNECTING,
    PC_LINK_OPEN,
    PC_LINK_RETRYING, /* a unix socket whose backlog is full: try again */
};

/* oldest ≤ next ≤ end, all counted from the beginning of the run. */
struct pc_link {
    int fd;
    struct pc_handle handle;
    enum pc_link_state state;
    bool socket_full; /* a report will say when it is not */
    bool draining;    /* nothing more is sent until the connection was renewed */
    bool at_depth;
    unsigned class_index;
    uint64_t oldest, next, end;
    struct pc_flight *ring;
    uint64_t ring_mask;
    uint64_t sent_here;     /* since the connection was opened */
    uint64_t free_since_ns; /* from then on nothing but the driver kept a request from leaving */
    struct pc_outbox out, in;
    struct pc_answer_state answer;
    struct pc_list dirty; /* in the driver's list while there is something to send */
    struct pc_list held;  /* in the driver's list while an injected delay holds its answers back */
    uint64_t held_until_ns;
};

/* What a socket of a link is made with. */
struct pc_link_config {
    const struct pc_kernel *kernel;
    struct pc_poller *poller;
    const struct sockaddr *address;
    socklen_t address_bytes;
    const char *congestion; /* NULL: the system's; ignored where the kernel lacks it */
    bool stamps;
};

int pc_link_init(struct pc_link *link, uint32_t index);
void pc_link_fini(struct pc_link *link);

/* Begin to connect: state becomes OPEN, CONNECTING or RETRYING. Negative errno: it failed. */
int pc_link_connect(struct pc_link *link, const struct pc_link_config *config);

/* A report came while CONNECTING: OPEN, or the negative errno that the connection failed with. */
int pc_link_connected(struct pc_link *link, const struct pc_link_config *config);

void pc_link_close(struct pc_link *link, const struct pc_link_config *config);

/* Queue a request, which the caller fills in; NULL: no memory. */
struct pc_flight *pc_link_push(struct pc_link *link);

static inline struct pc_flight *pc_link_flight(const struct pc_link *link, uint64_t index)
{
    return &link->ring[index & link->ring_mask];
}

static inline uint64_t pc_link_waiting(const struct pc_link *link)
{
    return link->end - link->next;
}

static inline uint64_t pc_link_in_flight(const struct pc_link *link)
{
    return link->next - link->oldest;
}

/* Give the kernel what is in `out`: bytes left over, or a negative errno. */
ssize_t pc_link_flush(struct pc_link *link, const struct pc_link_config *config);

#endif
