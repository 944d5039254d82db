/* SPDX-License-Identifier: Apache-2.0 */
/* script_kernel: epoll's calls in the words of the scripted poller. */
#include "script_kernel.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#define READY_MAX 64

static struct script_kernel *machine_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct script_kernel, script.kernel);
}

static int index_of(int fd)
{
    return fd - PC_SCRIPT_FD_FIRST;
}

/* Whoever is registered is known to the poller by its number. */
static struct pc_handle handle_of(const struct pc_script_socket *socket, int fd)
{
    return (struct pc_handle){.index = (uint32_t)index_of(fd),
                              .generation = socket->kind == PC_SCRIPT_LISTENER ? 0 : 1};
}

static bool interrupted(struct script_kernel *machine)
{
    return pc_script_chance(&machine->script, machine->interrupts);
}

/* The socket, if it is registered with an epoll. */
static struct pc_script_socket *registered(struct script_kernel *machine, int fd)
{
    struct pc_script_socket *socket = pc_script_socket(&machine->script, fd);
    return socket != NULL && socket->poller != NULL ? socket : NULL;
}

static struct pc_poller *poller_of(struct script_kernel *machine, int epoll_fd)
{
    int index = index_of(epoll_fd);
    return index >= 0 && index < PC_SCRIPT_SOCKET_MAX ? machine->pollers[index] : NULL;
}

/* ---- epoll ---- */

static int with_epoll_create1(const struct pc_kernel *kernel, int flags)
{
    struct script_kernel *machine = machine_of(kernel);
    int fd = machine->plain.eventfd(kernel, 0, EFD_NONBLOCK); /* a number of its own */
    if (fd < 0) {
        return fd;
    }
    int outcome = pc_poller_scripted.create(kernel, &machine->pollers[index_of(fd)]);
    return outcome < 0 ? outcome : fd;
}

static int epoll_add(struct pc_poller *poller, struct pc_script_socket *socket, int fd)
{
    switch (socket->kind) {
    case PC_SCRIPT_LISTENER:
        return pc_poller_scripted.arm(poller, fd, handle_of(socket, fd), true);
    case PC_SCRIPT_STREAM:
        return pc_poller_scripted.adopt(poller, fd, handle_of(socket, fd));
    case PC_SCRIPT_EVENT:
        pc_script_watch(socket, poller, handle_of(socket, fd));
        return 0;
    case PC_SCRIPT_FREE:
    case PC_SCRIPT_FRESH:
        break;
    }
    return -EPERM;
}

static int epoll_delete(struct pc_poller *poller, struct pc_script_socket *socket, int fd)
{
    if (socket->poller == NULL) {
        return -ENOENT;
    }
    if (socket->kind == PC_SCRIPT_LISTENER) {
        return pc_poller_scripted.arm(poller, fd, handle_of(socket, fd), false);
    }
    pc_poller_scripted.abandon(poller, fd, handle_of(socket, fd));
    return 0;
}

static int with_epoll_ctl(const struct pc_kernel *kernel, int epoll_fd, int what, int fd,
                          struct epoll_event *event)
{
    struct script_kernel *machine = machine_of(kernel);
    struct pc_poller *poller = poller_of(machine, epoll_fd);
    struct pc_script_socket *socket = pc_script_socket(&machine->script, fd);
    if (poller == NULL || socket == NULL) {
        return -EBADF;
    }
    if (what == EPOLL_CTL_DEL) {
        return epoll_delete(poller, socket, fd);
    }
    PC_ASSERT(what == EPOLL_CTL_ADD && (event->events & EPOLLET));
    machine->data[index_of(fd)] = event->data.u64;
    return epoll_add(poller, socket, fd);
}

static uint32_t events_of(const struct pc_ready *ready)
{
    uint32_t events = 0;
    if (ready->what & (PC_READY_RECEIVE | PC_READY_ACCEPT)) {
        events |= EPOLLIN;
    }
    if (ready->what & PC_READY_SEND) {
        events |= EPOLLOUT;
    }
    if (ready->what & PC_READY_END) {
        events |= EPOLLIN | EPOLLRDHUP;
    }
    return events;
}

static int with_epoll_wait(const struct pc_kernel *kernel, int epoll_fd, struct epoll_event *events,
                           int event_count_max, uint64_t timeout_ns)
{
    struct script_kernel *machine = machine_of(kernel);
    struct pc_poller *poller = poller_of(machine, epoll_fd);
    if (poller == NULL) {
        return -EBADF;
    }
    if (interrupted(machine)) {
        return -EINTR;
    }
    struct pc_ready ready[READY_MAX];
    unsigned count_max =
        (unsigned)event_count_max < READY_MAX ? (unsigned)event_count_max : READY_MAX;
    int count = pc_poller_scripted.wait(poller, timeout_ns, ready, count_max);
    for (int i = 0; i < count; i++) {
        events[i] = (struct epoll_event){.events = events_of(&ready[i]),
                                         .data.u64 = machine->data[ready[i].handle.index]};
    }
    return count;
}

/* ---- Calls on what is registered ---- */

static ssize_t with_recv(const struct pc_kernel *kernel, int fd, void *into, size_t bytes,
                         int flags)
{
    struct script_kernel *machine = machine_of(kernel);
    struct pc_script_socket *socket = registered(machine, fd);
    if (socket == NULL) {
        return machine->plain.recv(kernel, fd, into, bytes, flags);
    }
    if (interrupted(machine)) {
        return -EINTR;
    }
    return pc_poller_scripted.receive(pc_script_poller_of(socket), fd, handle_of(socket, fd), into,
                                      bytes);
}

static ssize_t with_sendmsg(const struct pc_kernel *kernel, int fd, const struct msghdr *message,
                            int flags)
{
    struct script_kernel *machine = machine_of(kernel);
    struct pc_script_socket *socket = registered(machine, fd);
    if (socket == NULL) {
        return machine->plain.sendmsg(kernel, fd, message, flags);
    }
    if (interrupted(machine)) {
        return -EINTR;
    }
    return pc_poller_scripted.send(pc_script_poller_of(socket), fd, handle_of(socket, fd),
                                   message->msg_iov, (unsigned)message->msg_iovlen);
}

static ssize_t with_send(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes,
                         int flags)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)from, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return with_sendmsg(kernel, fd, &message, flags);
}

static int with_accept4(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                        socklen_t *bytes, int flags)
{
    struct script_kernel *machine = machine_of(kernel);
    return interrupted(machine) ? -EINTR
                                : machine->plain.accept4(kernel, fd, address, bytes, flags);
}

static ssize_t with_write(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes)
{
    struct script_kernel *machine = machine_of(kernel);
    ssize_t count = machine->plain.write(kernel, fd, from, bytes);
    struct pc_script_socket *socket = registered(machine, fd);
    if (socket != NULL) {
        socket->due |= PC_READY_RECEIVE; /* every write is an edge */
    }
    return count;
}

static int with_close(const struct pc_kernel *kernel, int fd)
{
    struct script_kernel *machine = machine_of(kernel);
    struct pc_poller *poller = poller_of(machine, fd);
    if (poller != NULL) {
        machine->pollers[index_of(fd)] = NULL;
        pc_poller_scripted.destroy(poller);
    }
    return machine->plain.close(kernel, fd);
}

void script_kernel_install(struct script_kernel *machine)
{
    struct pc_kernel *kernel = &machine->script.kernel;
    machine->plain = *kernel;
    machine->script.plan.completions = false;
    machine->script.plan.send_in_flight = 0;
    machine->script.plan.ghost_report = 0;
    kernel->epoll_create1 = with_epoll_create1;
    kernel->epoll_ctl = with_epoll_ctl;
    kernel->epoll_wait = with_epoll_wait;
    kernel->recv = with_recv;
    kernel->send = with_send;
    kernel->sendmsg = with_sendmsg;
    kernel->accept4 = with_accept4;
    kernel->write = with_write;
    kernel->close = with_close;
}
