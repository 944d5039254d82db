/* SPDX-License-Identifier: Apache-2.0 */
/* link: sockets and rings. */
#include "measure/link.h"

#include "base/check.h"
#include "measure/stamps.h"
#include "runtime/kernel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum { RING_FIRST = 16 };

int pc_link_init(struct pc_link *link, uint32_t index)
{
    *link = (struct pc_link){.fd = -1, .handle = {.index = index}};
    link->ring = malloc(RING_FIRST * sizeof(link->ring[0]));
    link->ring_mask = RING_FIRST - 1;
    return link->ring == NULL ? -ENOMEM : 0;
}

void pc_link_fini(struct pc_link *link)
{
    free(link->ring);
    link->ring = NULL;
    pc_outbox_fini(&link->out);
    pc_outbox_fini(&link->in);
}

/* Settings that help but whose absence changes no result: refusals are ignored. */
static void socket_tune(int fd, const struct pc_link_config *config)
{
    const struct pc_kernel *kernel = config->kernel;
    if (config->address->sa_family != AF_UNIX) {
        const int one = 1;
        (void)kernel->setsockopt(kernel, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (config->congestion != NULL) {
            (void)kernel->setsockopt(kernel, fd, IPPROTO_TCP, TCP_CONGESTION, config->congestion,
                                     (socklen_t)strlen(config->congestion));
        }
    }
    if (config->stamps) {
        (void)pc_stamps_enable(kernel, fd);
    }
}

int pc_link_connect(struct pc_link *link, const struct pc_link_config *config)
{
    const struct pc_kernel *kernel = config->kernel;
    const int fd = kernel->socket(kernel, config->address->sa_family,
                                  SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    socket_tune(fd, config);
    link->handle.generation++;
    link->sent_here = 0;
    link->socket_full = false;
    const int outcome = config->poller->ops->connect(config->poller, fd, link->handle,
                                                     config->address, config->address_bytes);
    if (outcome == 0 || outcome == -EINPROGRESS) {
        link->fd = fd;
        link->state = outcome == 0 ? PC_LINK_OPEN : PC_LINK_CONNECTING;
        return 0;
    }
    (void)kernel->close(kernel, fd); /* whatever it says, the descriptor is gone */
    link->state = outcome == -EAGAIN ? PC_LINK_RETRYING : PC_LINK_CLOSED;
    return outcome == -EAGAIN ? 0 : outcome;
}

int pc_link_connected(struct pc_link *link, const struct pc_link_config *config)
{
    const struct pc_kernel *kernel = config->kernel;
    int error = 0;
    socklen_t bytes = sizeof(error);
    const int outcome = kernel->getsockopt(kernel, link->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (outcome < 0 || error != 0) {
        return outcome < 0 ? outcome : -error;
    }
    link->state = PC_LINK_OPEN;
    return 0;
}

void pc_link_close(struct pc_link *link, const struct pc_link_config *config)
{
    if (link->fd >= 0) {
        config->poller->ops->close(config->poller, link->fd, link->handle);
    }
    link->fd = -1;
    link->state = PC_LINK_CLOSED;
    pc_list_remove(&link->dirty);
    pc_list_remove(&link->held);
    pc_outbox_clear(&link->in);
    pc_outbox_clear(&link->out);
    link->answer = (struct pc_answer_state){0};
}

static bool ring_grow(struct pc_link *link)
{
    const uint64_t room = 2 * (link->ring_mask + 1);
    struct pc_flight *bigger = malloc(room * sizeof(bigger[0]));
    if (bigger == NULL) {
        return false;
    }
    for (uint64_t i = link->oldest; i < link->end; i++) {
        bigger[i & (room - 1)] = *pc_link_flight(link, i);
    }
    free(link->ring);
    link->ring = bigger;
    link->ring_mask = room - 1;
    return true;
}

struct pc_flight *pc_link_push(struct pc_link *link)
{
    if (PC_UNLIKELY(link->end - link->oldest > link->ring_mask) && !ring_grow(link)) {
        return NULL;
    }
    return pc_link_flight(link, link->end++);
}

ssize_t pc_link_flush(struct pc_link *link, const struct pc_link_config *config)
{
    const size_t count = pc_outbox_count(&link->out);
    if (count == 0) {
        return 0;
    }
    const struct iovec piece = {.iov_base = pc_outbox_front(&link->out), .iov_len = count};
    const ssize_t sent =
        config->poller->ops->send(config->poller, link->fd, link->handle, &piece, 1);
    if (sent >= 0) {
        pc_outbox_consume(&link->out, (size_t)sent);
        link->socket_full = (size_t)sent < count;
        return (ssize_t)pc_outbox_count(&link->out);
    }
    if (sent != -EAGAIN) {
        return sent;
    }
    link->socket_full = true;
    return (ssize_t)count;
}
