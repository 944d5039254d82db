/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_conns: `stats conns`, the sockets of this process as the kernel knows them.
 *
 * The cache sees no sockets, so it asks for each descriptor what it is. That needs nobody's help on
 * another core, and is done in windows so that ten thousand connections stop nobody for long.
 */
#include "services/cache_totals.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Descriptors looked at in one go, at up to six short system calls each. */
enum { WINDOW = 64, FD_COUNT_DEFAULT = 1 << 16 };

/* Lies in the extra block, where the totals of other pages do. */
struct walk {
    int next_fd, fd_count;
};

/* Descriptors are below this: the size of the kernel's table for this process. */
static int fd_count(void)
{
    char text[4096];
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return FD_COUNT_DEFAULT;
    }
    const ssize_t bytes = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read from */
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *row = strstr(text, "\nFDSize:");
    return row != NULL ? atoi(row + 8) : FD_COUNT_DEFAULT;
}

/* As memcached prints addresses: tcp:host:port, tcp6:[host]:port, unix:path. */
static void print_address(char *into, size_t room, const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        (void)snprintf(into, room, "tcp:%s:%u", host, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        (void)inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        (void)snprintf(into, room, "tcp6:[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        const struct sockaddr_un *local = (const struct sockaddr_un *)address;
        (void)snprintf(into, room, "unix:%s", local->sun_path);
    }
}

static void say(struct pc_cache_op *op, int fd, const char *what, const char *value)
{
    char name[40];
    (void)snprintf(name, sizeof(name), "%d:%s", fd, what);
    pc_cache_say_text(op, name, value);
}

static void say_socket(struct pc_cache_op *op, int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t bytes = sizeof(here);
    int listens = 0;
    socklen_t int_bytes = sizeof(listens);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&here, &bytes) != 0 ||
        (here.ss_family != AF_INET && here.ss_family != AF_INET6 && here.ss_family != AF_UNIX)) {
        return;
    }
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 16];
    bytes = sizeof(there);
    if (listens == 0 && getpeername(fd, (struct sockaddr *)&there, &bytes) != 0) {
        return; /* it closed a moment ago, or is no connection */
    }
    print_address(text, sizeof(text), listens != 0 ? &here : &there);
    say(op, fd, "addr", text);
    if (listens == 0) {
        print_address(text, sizeof(text), &here);
        say(op, fd, "listen_addr", text);
    }
    say(op, fd, "state", listens != 0 ? "conn_listening" : "conn_read");
    struct tcp_info info = {0};
    socklen_t info_bytes = sizeof(info);
    if (listens == 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_bytes) == 0) {
        (void)snprintf(text, sizeof(text), "%u", info.tcpi_last_data_recv / 1000);
        say(op, fd, "secs_since_last_cmd", text);
    }
}

bool pc_cache_say_conns(struct pc_cache_op *op)
{
    struct walk *walk = op->extra;
    if (walk->fd_count == 0) {
        walk->fd_count = fd_count();
    }
    for (unsigned i = 0; i < WINDOW && walk->next_fd < walk->fd_count; i++) {
        say_socket(op, walk->next_fd++);
    }
    return walk->next_fd >= walk->fd_count;
}
