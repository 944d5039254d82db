/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll: the poller on edge-triggered epoll.
 *
 * A socket is registered once, for input, output and the peer's close, and never re-armed: an edge
 * tells of every change. The bell is an edge-triggered eventfd, which need not be read: every write
 * is an edge.
 */
#include "base/check.h"
#include "runtime/kernel.h"
#include "runtime/limits.h"
#include "runtime/poller/poller.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define PC_EPOLL_BELL UINT64_MAX

struct epoll_poller {
    struct pc_poller poller;
    const struct pc_kernel *kernel;
    int epoll_fd, bell_fd;
    struct epoll_event events[PC_READY_COUNT_MAX];
};

static struct epoll_poller *self(struct pc_poller *poller)
{
    return PC_CONTAINER_OF(poller, struct epoll_poller, poller);
}

static uint64_t handle_pack(struct pc_handle handle)
{
    return (uint64_t)handle.generation << 32 | handle.index;
}

static struct pc_handle handle_unpack(uint64_t word)
{
    return (struct pc_handle){.index = (uint32_t)word, .generation = (uint32_t)(word >> 32)};
}

static void epoll_destroy(struct pc_poller *poller)
{
    if (poller == NULL) {
        return;
    }
    struct epoll_poller *epoll = self(poller);
    if (epoll->bell_fd >= 0) {
        epoll->kernel->close(epoll->kernel, epoll->bell_fd);
    }
    if (epoll->epoll_fd >= 0) {
        epoll->kernel->close(epoll->kernel, epoll->epoll_fd);
    }
    free(epoll);
}

static int epoll_create_poller(const struct pc_kernel *kernel, struct pc_poller **out_poller)
{
    struct epoll_poller *epoll = calloc(1, sizeof(*epoll));
    if (epoll == NULL) {
        return -ENOMEM;
    }
    epoll->poller.ops = &pc_poller_epoll;
    epoll->kernel = kernel;
    epoll->bell_fd = -1;
    int outcome = epoll->epoll_fd = kernel->epoll_create1(kernel, EPOLL_CLOEXEC);
    if (outcome >= 0) {
        outcome = epoll->bell_fd = kernel->eventfd(kernel, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (outcome >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = PC_EPOLL_BELL};
        outcome = kernel->epoll_ctl(kernel, epoll->epoll_fd, EPOLL_CTL_ADD, epoll->bell_fd, &event);
    }
    if (outcome < 0) {
        epoll_destroy(&epoll->poller);
        return outcome;
    }
    *out_poller = &epoll->poller;
    return 0;
}

static uint32_t what_of(uint32_t events, struct pc_handle handle)
{
    if (handle.generation == 0) {
        return PC_READY_ACCEPT;
    }
    uint32_t what = 0;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        what |= PC_READY_RECEIVE;
    }
    if (events & EPOLLOUT) {
        what |= PC_READY_SEND;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        what |= PC_READY_END;
    }
    return what;
}

static int epoll_wait_ready(struct pc_poller *poller, uint64_t timeout_ns, struct pc_ready *ready,
                            unsigned ready_count)
{
    struct epoll_poller *epoll = self(poller);
    int count_max = (int)pc_min_size(ready_count, PC_READY_COUNT_MAX);
    int count = epoll->kernel->epoll_wait(epoll->kernel, epoll->epoll_fd, epoll->events, count_max,
                                          timeout_ns);
    if (count < 0) {
        return count == -EINTR ? 0 : count;
    }
    int reported = 0;
    for (int i = 0; i < count; i++) {
        const struct epoll_event *event = &epoll->events[i];
        if (event->data.u64 != PC_EPOLL_BELL) {
            struct pc_handle handle = handle_unpack(event->data.u64);
            ready[reported++] =
                (struct pc_ready){.handle = handle, .what = what_of(event->events, handle)};
        }
    }
    return reported;
}

static int epoll_adopt(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct epoll_poller *epoll = self(poller);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = handle_pack(handle)};
    return epoll->kernel->epoll_ctl(epoll->kernel, epoll->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void epoll_abandon(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    struct epoll_poller *epoll = self(poller);
    struct epoll_event unused = {0};
    /* It was registered, so this cannot fail in a way that anyone could mend. */
    (void)epoll->kernel->epoll_ctl(epoll->kernel, epoll->epoll_fd, EPOLL_CTL_DEL, fd, &unused);
}

static int epoll_arm(struct pc_poller *poller, int fd, struct pc_handle handle, bool armed)
{
    struct epoll_poller *epoll = self(poller);
    PC_ASSERT(handle.generation == 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = handle_pack(handle)};
    return epoll->kernel->epoll_ctl(epoll->kernel, epoll->epoll_fd,
                                    armed ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event);
}

static ssize_t epoll_receive(struct pc_poller *poller, int fd, struct pc_handle handle, void *into,
                             size_t bytes)
{
    const struct pc_kernel *kernel = self(poller)->kernel;
    ssize_t count;
    do {
        count = kernel->recv(kernel, fd, into, bytes, 0);
    } while (count == -EINTR);
    return count;
}

static ssize_t epoll_send(struct pc_poller *poller, int fd, struct pc_handle handle,
                          const struct iovec *pieces, unsigned piece_count)
{
    const struct pc_kernel *kernel = self(poller)->kernel;
    ssize_t count;
    do {
        if (PC_LIKELY(piece_count == 1)) {
            count = kernel->send(kernel, fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                                     .msg_iovlen = piece_count};
            count = kernel->sendmsg(kernel, fd, &message, MSG_NOSIGNAL);
        }
    } while (count == -EINTR);
    return count;
}

static int epoll_accept(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    const struct pc_kernel *kernel = self(poller)->kernel;
    int accepted;
    do {
        accepted = kernel->accept4(kernel, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (accepted == -EINTR);
    return accepted;
}

static int epoll_connect(struct pc_poller *poller, int fd, struct pc_handle handle,
                         const struct sockaddr *address, socklen_t bytes)
{
    struct epoll_poller *epoll = self(poller);
    int outcome = epoll->kernel->connect(epoll->kernel, fd, address, bytes);
    if (outcome < 0 && outcome != -EINPROGRESS) {
        return outcome;
    }
    int adopted = epoll_adopt(poller, fd, handle);
    return adopted < 0 ? adopted : outcome;
}

static void epoll_close(struct pc_poller *poller, int fd, struct pc_handle handle)
{
    /* Closing the only descriptor of a socket takes it out of the epoll set. */
    const struct pc_kernel *kernel = self(poller)->kernel;
    (void)kernel->close(kernel, fd); /* whatever it says, the descriptor is gone */
}

static void epoll_bell(struct pc_poller *poller)
{
    struct epoll_poller *epoll = self(poller);
    uint64_t one = 1;
    /* It fails only when 2^64 - 2 rings are pending: the core will wake. */
    (void)epoll->kernel->write(epoll->kernel, epoll->bell_fd, &one, sizeof(one));
}

const struct pc_poller_ops pc_poller_epoll = {
    .name = "epoll",
    .create = epoll_create_poller,
    .destroy = epoll_destroy,
    .wait = epoll_wait_ready,
    .adopt = epoll_adopt,
    .abandon = epoll_abandon,
    .arm = epoll_arm,
    .receive = epoll_receive,
    .send = epoll_send,
    .accept = epoll_accept,
    .connect = epoll_connect,
    .close = epoll_close,
    .bell = epoll_bell,
};
