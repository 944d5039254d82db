/* SPDX-License-Identifier: Apache-2.0 */
/* script_table: the invented machine as a table of system calls. */
#include "runtime/poller/script.h"

#include "base/hooks.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>

#define PC_SCRIPT_PORT_FIRST 20000
/* Reading a clock takes this long at most, so that a loop on it ends. */
#define PC_SCRIPT_CLOCK_NS 200

static struct pc_script *script_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct pc_script, kernel);
}

static void call(struct pc_script *script, const char *name)
{
    (void)name; /* nobody listens in builds without hooks */
    pc_script_charge(script);
    PC_POINT(name);
}

/* ---- Sockets ---- */

static int table_socket(const struct pc_kernel *kernel, int family, int type, int protocol)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: socket");
    struct pc_script_socket *socket = pc_script_socket_make(script, PC_SCRIPT_FRESH);
    return socket != NULL ? pc_script_fd(script, socket) : -EMFILE;
}

/* Whether a socket without a share in the port's group stands in the way. */
static bool port_taken(const struct pc_script *script, const struct pc_script_socket *socket,
                       uint16_t port)
{
    for (unsigned i = 0; i < script->socket_count; i++) {
        const struct pc_script_socket *other = &script->sockets[i];
        if (other != socket && other->kind != PC_SCRIPT_FREE && other->port == port &&
            !(other->reuse_port && socket->reuse_port)) {
            return true;
        }
    }
    return false;
}

static int table_bind(const struct pc_kernel *kernel, int fd, const struct sockaddr *address,
                      socklen_t bytes)
{
    struct pc_script *script = script_of(kernel);
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_FRESH) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6) {
        return -EAFNOSUPPORT;
    }
    uint16_t port = pc_script_port(address);
    if (port == 0) {
        port = (uint16_t)(PC_SCRIPT_PORT_FIRST + script->port_last++);
    }
    if (port_taken(script, socket, port)) {
        return -EADDRINUSE;
    }
    socket->port = port;
    return 0;
}

static int table_listen(const struct pc_kernel *kernel, int fd, int backlog)
{
    struct pc_script_socket *socket = pc_script_socket(script_of(kernel), fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_FRESH || socket->port == 0) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    socket->kind = PC_SCRIPT_LISTENER;
    return 0;
}

static int table_accept4(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                         socklen_t *bytes, int flags)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: accept");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    return socket == NULL ? -EBADF : pc_script_accept(script, socket);
}

static int table_connect(const struct pc_kernel *kernel, int fd, const struct sockaddr *address,
                         socklen_t bytes)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: connect");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_FRESH) {
        return socket == NULL ? -EBADF : -EISCONN;
    }
    return pc_script_connect(script, socket, address);
}

static bool all_arrived(const struct pc_script_pipe *pipe)
{
    return pipe->arrived == pipe->count && pipe->end_arrived == pipe->ended;
}

/* Plain calls are those of the test's clients: everything written has arrived. */
static ssize_t table_recv(const struct pc_kernel *kernel, int fd, void *into, size_t bytes,
                          int flags)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: recv");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL) {
        return -EBADF;
    }
    pc_script_arrive(script, socket);
    ssize_t count = pc_script_take(script, socket, into, bytes);
    socket->news = !all_arrived(&socket->in);
    return count;
}

static ssize_t send_pieces(struct pc_script *script, int fd, const struct iovec *pieces,
                           unsigned piece_count)
{
    call(script, "kernel: send");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_STREAM) {
        return socket == NULL ? -EBADF : -ENOTCONN;
    }
    size_t bytes_max = SIZE_MAX;
    if (pc_script_chance(script, script->plan.short_send)) {
        bytes_max =
            1 + pc_random_below(&script->random, pc_script_pieces_bytes(pieces, piece_count));
    }
    return pc_script_give(script, socket, pieces, piece_count, bytes_max);
}

static ssize_t table_send(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes,
                          int flags)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)from, .iov_len = bytes};
    return send_pieces(script_of(kernel), fd, &piece, 1);
}

static ssize_t table_sendmsg(const struct pc_kernel *kernel, int fd, const struct msghdr *message,
                             int flags)
{
    return send_pieces(script_of(kernel), fd, message->msg_iov, (unsigned)message->msg_iovlen);
}

static int table_shutdown(const struct pc_kernel *kernel, int fd, int how)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: shutdown");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_STREAM || socket->peer == NULL) {
        return socket == NULL ? -EBADF : -ENOTCONN;
    }
    if (how != SHUT_RD) {
        pc_script_shut_out(script, socket);
    }
    return 0;
}

static int table_setsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                            const void *value, socklen_t bytes)
{
    struct pc_script_socket *socket = pc_script_socket(script_of(kernel), fd);
    if (socket == NULL) {
        return -EBADF;
    }
    if (level == SOL_SOCKET && name == SO_REUSEPORT) {
        socket->reuse_port = true;
    } else if (level == SOL_SOCKET && name == SO_LINGER) {
        const struct linger *linger = value;
        socket->abortive = linger->l_onoff != 0 && linger->l_linger == 0;
    }
    return 0;
}

static int table_getsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                            void *value, socklen_t *bytes)
{
    struct pc_script_socket *socket = pc_script_socket(script_of(kernel), fd);
    if (socket == NULL || level != SOL_SOCKET || name != SO_ERROR || *bytes != sizeof(int)) {
        return socket == NULL ? -EBADF : -ENOPROTOOPT;
    }
    *(int *)value = socket->reset ? ECONNRESET : 0;
    return 0;
}

static int table_getsockname(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                             socklen_t *bytes)
{
    struct pc_script_socket *socket = pc_script_socket(script_of(kernel), fd);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (socket == NULL || *bytes < sizeof(name)) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    name.sin_port = htons(socket->port);
    memcpy(address, &name, sizeof(name));
    *bytes = sizeof(name);
    return 0;
}

static int table_close(const struct pc_kernel *kernel, int fd)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: close");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL) {
        return -EBADF;
    }
    pc_script_close(script, socket);
    return 0;
}

/* ---- Events and waiting ---- */

static int table_eventfd(const struct pc_kernel *kernel, unsigned start, int flags)
{
    struct pc_script *script = script_of(kernel);
    struct pc_script_socket *socket = pc_script_socket_make(script, PC_SCRIPT_EVENT);
    if (socket == NULL) {
        return -EMFILE;
    }
    socket->value = start;
    socket->semaphore = (flags & EFD_SEMAPHORE) != 0;
    socket->nonblocking = (flags & EFD_NONBLOCK) != 0;
    return pc_script_fd(script, socket);
}

static bool event_rang(void *ctx)
{
    const struct pc_script_socket *socket = ctx;
    return socket->value > 0;
}

static ssize_t table_read(const struct pc_kernel *kernel, int fd, void *into, size_t bytes)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: read");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_EVENT || bytes != sizeof(uint64_t)) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    if (socket->value == 0 && !socket->nonblocking) {
        pc_script_wait(script, event_rang, socket, PC_FOREVER);
    }
    if (socket->value == 0) {
        return socket->nonblocking ? -EAGAIN : -EINTR;
    }
    uint64_t value = socket->semaphore ? 1 : socket->value;
    socket->value -= value;
    memcpy(into, &value, sizeof(value));
    return sizeof(value);
}

static ssize_t table_write(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes)
{
    struct pc_script *script = script_of(kernel);
    call(script, "kernel: write");
    struct pc_script_socket *socket = pc_script_socket(script, fd);
    if (socket == NULL || socket->kind != PC_SCRIPT_EVENT || bytes != sizeof(uint64_t)) {
        return socket == NULL ? -EBADF : -EINVAL;
    }
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    socket->value += value;
    return sizeof(value);
}

struct polling {
    struct pc_script *script;
    struct pollfd *fds;
    nfds_t count;
};

static short events_of(const struct pc_script *script, const struct pc_script_socket *socket)
{
    short events = 0;
    switch (socket->kind) {
    case PC_SCRIPT_EVENT:
        return (short)(POLLOUT | (socket->value > 0 ? POLLIN : 0));
    case PC_SCRIPT_LISTENER:
        return socket->backlog_count > 0 ? POLLIN : 0;
    case PC_SCRIPT_STREAM:
        if (socket->in.count > 0 || socket->in.ended) {
            events |= POLLIN;
        }
        if (socket->reset) {
            events |= POLLIN | POLLERR | POLLHUP;
        }
        if (pc_script_can_give(script, socket)) {
            events |= POLLOUT;
        }
        return events;
    case PC_SCRIPT_FREE:
    case PC_SCRIPT_FRESH:
        break;
    }
    return POLLNVAL;
}

static int poll_count(struct polling *polling)
{
    int count = 0;
    for (nfds_t i = 0; i < polling->count; i++) {
        struct pollfd *entry = &polling->fds[i];
        const struct pc_script_socket *socket = pc_script_socket(polling->script, entry->fd);
        short events = socket != NULL ? events_of(polling->script, socket) : POLLNVAL;
        entry->revents = (short)(events & (entry->events | POLLERR | POLLHUP | POLLNVAL));
        count += entry->revents != 0;
    }
    return count;
}

static bool poll_ready(void *ctx)
{
    return poll_count(ctx) > 0;
}

static int table_poll(const struct pc_kernel *kernel, struct pollfd *fds, nfds_t count,
                      uint64_t timeout_ns)
{
    struct pc_script *script = script_of(kernel);
    struct polling polling = {.script = script, .fds = fds, .count = count};
    call(script, "kernel: poll");
    if (timeout_ns > 0) {
        pc_script_wait(script, poll_ready, &polling,
                       timeout_ns == PC_FOREVER ? PC_FOREVER : script->now_ns + timeout_ns);
    }
    return poll_count(&polling);
}

/* ---- Time, luck, and what this machine does not have ---- */

static uint64_t table_clock_ns(const struct pc_kernel *kernel)
{
    struct pc_script *script = script_of(kernel);
    PC_POINT("kernel: clock");
    if (script->plan.step_ns_max > 0) {
        script->now_ns += pc_random_below(&script->random, PC_SCRIPT_CLOCK_NS);
    }
    return script->now_ns;
}

static uint64_t table_realtime_ns(const struct pc_kernel *kernel)
{
    return script_of(kernel)->now_ns;
}

static uint64_t table_realtime_s(const struct pc_kernel *kernel)
{
    return script_of(kernel)->now_ns / 1000000000u;
}

/* Whoever looks at its own CPU time is working. */
static uint64_t table_thread_cpu_ns(const struct pc_kernel *kernel)
{
    struct pc_script *script = script_of(kernel);
    script->now_ns += 1 + pc_random_below(&script->random, 100 * PC_SCRIPT_CLOCK_NS);
    return script->now_ns;
}

static int table_random_bytes(const struct pc_kernel *kernel, void *into, size_t bytes)
{
    uint8_t *at = into;
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)pc_random_next(&script_of(kernel)->random);
    }
    return 0;
}

static void table_sched_yield(const struct pc_kernel *kernel)
{
    call(script_of(kernel), "kernel: yield");
}

static int no_thread(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    return -EAGAIN;
}

static int no_epoll(const struct pc_kernel *kernel, int flags)
{
    return -ENOSYS;
}

static int no_timerfd(const struct pc_kernel *kernel, uint64_t period_ns)
{
    return -ENOSYS;
}

static int no_signal_mask(const struct pc_kernel *kernel, int how, const sigset_t *set,
                          sigset_t *out_old)
{
    return -ENOSYS;
}

static int no_lstat(const struct pc_kernel *kernel, const char *path, struct stat *out)
{
    return -ENOENT;
}

static int no_unlink(const struct pc_kernel *kernel, const char *path)
{
    return -ENOENT;
}

bool pc_script_owns(const struct pc_kernel *kernel)
{
    return kernel->socket == table_socket;
}

void pc_script_table_fill(struct pc_kernel *kernel)
{
    const struct pc_kernel *real = pc_kernel_linux();
    *kernel = (struct pc_kernel){
        .socket = table_socket,
        .bind = table_bind,
        .listen = table_listen,
        .accept4 = table_accept4,
        .connect = table_connect,
        .recv = table_recv,
        .send = table_send,
        .sendmsg = table_sendmsg,
        .shutdown = table_shutdown,
        .setsockopt = table_setsockopt,
        .getsockopt = table_getsockopt,
        .getsockname = table_getsockname,
        .getpeername = table_getsockname, /* everybody is at the same address here */
        .close = table_close,
        .read = table_read,
        .write = table_write,
        .lstat = no_lstat,
        .unlink = no_unlink,
        .epoll_create1 = no_epoll,
        .poll = table_poll,
        .eventfd = table_eventfd,
        .timerfd = no_timerfd,
        .signal_mask = no_signal_mask,
        .clock_ns = table_clock_ns,
        .realtime_ns = table_realtime_ns,
        .realtime_s = table_realtime_s,
        .thread_cpu_ns = table_thread_cpu_ns,
        .thread_start = no_thread,
        .thread_join = no_thread,
        .sched_yield = table_sched_yield,
        .mmap = real->mmap,
        .munmap = real->munmap,
        .madvise = real->madvise,
        .random_bytes = table_random_bytes,
    };
}
