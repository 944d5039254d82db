/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor_epoll: the server somebody writes by hand for exactly one job, the denominator of our
 * ratios.
 *
 * One thread, one edge-triggered epoll set, one recv and one send for everything that arrived
 * together, and no second recv after a short read.  Received bytes go to one buffer that stays in
 * the cache; a connection owns memory only while half a request or an unsent reply is waiting.
 * `echo` sends whole frames back from where they were received. The others answer as a cache that
 * always hits would, with the same 100 bytes, look nothing up and keep nothing:
 *
 *   get     get <key>                        mg      mg <key> v
 *   mix     get <key>, set <key> 0 0 <n>     mg-mix  mg <key> v, ms <key> <n>
 *   keys    get <key> <key> ...
 *
 * Owner    The only thread.
 * Limits   FLOOR_BYTES for a frame or a line; anything else that is not served closes the
 * connection. Use      floor_epoll echo|get|mg|mix|mg-mix|keys PORT [ADDRESS]
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FLOOR_BYTES = 64 * 1024, /* what one recv may bring; the longest frame or line */
    FLOOR_EVENTS = 512,
    FLOOR_BACKLOG = 4096,
    FLOOR_KEY_BYTES_MAX = 250, /* memcached's limit */
    FLOOR_VALUE_BYTES = 100,
    FLOOR_REPLY_BYTES_MAX = 512, /* "VALUE ", a key, the tail */
};

struct connection {
    int fd;
    uint32_t held_bytes; /* the start of a request whose end has not come */
    uint8_t *held;
    size_t unsent_bytes; /* a reply the socket had no room for; nothing is read until it is gone */
    uint8_t *unsent;
};

struct server;

/* Serves what is whole of `count` bytes of input; returns how much that was, or -1. */
typedef ssize_t serve_fn(struct server *server, struct connection *connection, size_t count);

struct server {
    int epoll_fd;
    int listen_fd;
    serve_fn *serve;
    size_t tail_bytes;
    uint8_t tail[FLOOR_VALUE_BYTES + 32]; /* " 0 100\r\n", the value, "\r\nEND\r\n" */
    size_t value_bytes;
    uint8_t value[FLOOR_VALUE_BYTES + 32]; /* "VA 100\r\n", the value, "\r\n" */
    struct epoll_event events[FLOOR_EVENTS];
    uint8_t in[FLOOR_BYTES];
    uint8_t out[FLOOR_BYTES];
};

static void connection_close(struct connection *connection)
{
    (void)close(connection->fd); /* nobody is left to tell */
    free(connection->held);
    free(connection->unsent);
    free(connection);
}

static bool connection_watch(struct server *server, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) == 0;
}

static bool connection_keep_unsent(struct server *server, struct connection *connection,
                                   const uint8_t *bytes, size_t count)
{
    uint8_t *unsent = realloc(connection->unsent, connection->unsent_bytes + count);
    if (unsent == NULL) {
        return false;
    }
    memcpy(unsent + connection->unsent_bytes, bytes, count);
    connection->unsent = unsent;
    connection->unsent_bytes += count;
    return connection_watch(server, connection, EPOLLIN | EPOLLOUT);
}

/* False when the connection is lost.  What the socket does not take is kept. */
static bool connection_send(struct server *server, struct connection *connection,
                            const uint8_t *bytes, size_t count)
{
    ssize_t sent = 0;
    if (connection->unsent_bytes == 0) {
        sent = send(connection->fd, bytes, count, MSG_NOSIGNAL);
        if (sent == (ssize_t)count) {
            return true;
        }
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                return false;
            }
            sent = 0;
        }
    }
    return connection_keep_unsent(server, connection, bytes + sent, count - (size_t)sent);
}

static bool connection_flush(struct server *server, struct connection *connection)
{
    const ssize_t sent =
        send(connection->fd, connection->unsent, connection->unsent_bytes, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    connection->unsent_bytes -= (size_t)sent;
    if (connection->unsent_bytes > 0) {
        memmove(connection->unsent, connection->unsent + sent, connection->unsent_bytes);
        return true;
    }
    free(connection->unsent);
    connection->unsent = NULL;
    return connection_watch(server, connection, EPOLLIN);
}

/* Sends back the whole frames among `count` bytes; returns their size, or -1. */
static ssize_t serve_echo(struct server *server, struct connection *connection, size_t count)
{
    size_t used = 0;
    while (count - used >= sizeof(uint32_t)) {
        uint32_t body_bytes;
        memcpy(&body_bytes, server->in + used, sizeof body_bytes);
        body_bytes = be32toh(body_bytes);
        if (body_bytes > FLOOR_BYTES - sizeof(uint32_t)) {
            return -1;
        }
        if (count - used - sizeof(uint32_t) < body_bytes) {
            break;
        }
        used += sizeof(uint32_t) + body_bytes;
    }
    if (used > 0 && !connection_send(server, connection, server->in, used)) {
        return -1;
    }
    return (ssize_t)used;
}

/* One line and what belongs to it: [at, line_end] ends with the line feed, `end` is the end of the
 * input, `to` is moved behind the reply. Returns the bytes used; 0: not whole; -1. */
typedef ptrdiff_t answer_fn(const struct server *server, const uint8_t *at, const uint8_t *line_end,
                            const uint8_t *end, uint8_t **to);

/* Answers the whole requests among `count` bytes; each use has its own `answer` inlined. */
static inline __attribute__((always_inline)) ssize_t
serve_lines(struct server *server, struct connection *connection, size_t count, answer_fn *answer)
{
    const uint8_t *at = server->in;
    const uint8_t *const end = server->in + count;
    uint8_t *to = server->out;
    const uint8_t *line_end;
    while ((line_end = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if (line_end == at || line_end[-1] != '\r') {
            return -1;
        }
        if (server->out + FLOOR_BYTES - to < FLOOR_REPLY_BYTES_MAX) {
            if (!connection_send(server, connection, server->out, (size_t)(to - server->out))) {
                return -1;
            }
            to = server->out;
        }
        const ptrdiff_t used = answer(server, at, line_end, end, &to);
        if (used < 0) {
            return -1;
        }
        if (used == 0) {
            break;
        }
        at += used;
    }
    if (to > server->out &&
        !connection_send(server, connection, server->out, (size_t)(to - server->out))) {
        return -1;
    }
    return at - server->in;
}

static inline void say(uint8_t **to, const void *bytes, size_t count)
{
    memcpy(*to, bytes, count);
    *to += count;
}

static inline ptrdiff_t answer_get(const struct server *server, const uint8_t *at,
                                   const uint8_t *line_end, const uint8_t *end, uint8_t **to)
{
    const ptrdiff_t key_bytes = line_end - at - 5; /* "get " and '\r' */
    if (key_bytes < 1 || key_bytes > FLOOR_KEY_BYTES_MAX || memcmp(at, "get ", 4) != 0) {
        return -1;
    }
    say(to, "VALUE ", 6);
    say(to, at + 4, (size_t)key_bytes);
    say(to, server->tail, server->tail_bytes);
    return line_end + 1 - at;
}

static inline ptrdiff_t answer_mg(const struct server *server, const uint8_t *at,
                                  const uint8_t *line_end, const uint8_t *end, uint8_t **to)
{
    const ptrdiff_t key_bytes = line_end - at - 6; /* "mg ", " v" and '\r' */
    if (key_bytes < 1 || key_bytes > FLOOR_KEY_BYTES_MAX || memcmp(at, "mg ", 3) != 0 ||
        line_end[-2] != 'v' || line_end[-3] != ' ') {
        return -1;
    }
    say(to, server->value, server->value_bytes);
    return line_end + 1 - at;
}

/* The body behind a line that ends in its size; 0: it is not whole. */
static inline ptrdiff_t stored_bytes(const uint8_t *at, const uint8_t *line_end, const uint8_t *end)
{
    ptrdiff_t body_bytes = 0, unit = 1;
    for (const uint8_t *digit = line_end - 2; *digit != ' '; digit--, unit *= 10) {
        if (digit <= at || *digit < '0' || *digit > '9' || unit > FLOOR_BYTES) {
            return -1;
        }
        body_bytes += (*digit - '0') * unit;
    }
    const ptrdiff_t bytes = line_end + 1 - at + body_bytes + 2;
    if (body_bytes > FLOOR_BYTES) {
        return -1;
    }
    return end - at < bytes ? 0 : bytes;
}

static inline ptrdiff_t answer_mix(const struct server *server, const uint8_t *at,
                                   const uint8_t *line_end, const uint8_t *end, uint8_t **to)
{
    if (*at == 'g') {
        return answer_get(server, at, line_end, end, to);
    }
    const ptrdiff_t used =
        line_end - at < 12 || memcmp(at, "set ", 4) != 0 ? -1 : stored_bytes(at, line_end, end);
    if (used > 0) {
        say(to, "STORED\r\n", 8);
    }
    return used;
}

static inline ptrdiff_t answer_mg_mix(const struct server *server, const uint8_t *at,
                                      const uint8_t *line_end, const uint8_t *end, uint8_t **to)
{
    if (line_end - at < 7) {
        return -1;
    }
    if (at[1] == 'g') {
        return answer_mg(server, at, line_end, end, to);
    }
    const ptrdiff_t used = memcmp(at, "ms ", 3) != 0 ? -1 : stored_bytes(at, line_end, end);
    if (used > 0) {
        say(to, "HD\r\n", 4);
    }
    return used;
}

/* All keys of a line; their replies must fit the output. */
static inline ptrdiff_t answer_keys(const struct server *server, const uint8_t *at,
                                    const uint8_t *line_end, const uint8_t *end, uint8_t **to)
{
    if (line_end - at < 6 || memcmp(at, "get ", 4) != 0) {
        return -1;
    }
    const uint8_t *const text_end = line_end - 1;
    for (const uint8_t *key = at + 4; key < text_end;) {
        const uint8_t *space = memchr(key, ' ', (size_t)(text_end - key));
        const uint8_t *const key_end = space != NULL ? space : text_end;
        if (key_end - key > FLOOR_KEY_BYTES_MAX ||
            server->out + FLOOR_BYTES - *to < FLOOR_REPLY_BYTES_MAX) {
            return -1;
        }
        say(to, "VALUE ", 6);
        say(to, key, (size_t)(key_end - key));
        say(to, server->tail, server->tail_bytes - 5);
        key = key_end + 1;
    }
    say(to, "END\r\n", 5);
    return line_end + 1 - at;
}

#define FLOOR_SERVE(name)                                                                          \
    static ssize_t serve_##name(struct server *server, struct connection *connection,              \
                                size_t count)                                                      \
    {                                                                                              \
        return serve_lines(server, connection, count, answer_##name);                              \
    }
FLOOR_SERVE(get)
FLOOR_SERVE(mg)
FLOOR_SERVE(mix)
FLOOR_SERVE(mg_mix)
FLOOR_SERVE(keys)

/* Keeps the unserved end of the input until more comes. */
static bool connection_hold(struct connection *connection, const uint8_t *bytes, size_t count)
{
    if (count == 0) {
        return true;
    }
    connection->held = malloc(count);
    if (connection->held == NULL) {
        return false;
    }
    memcpy(connection->held, bytes, count);
    connection->held_bytes = (uint32_t)count;
    return true;
}

/* Puts what was held in front of the input; returns its size. */
static size_t connection_unhold(struct connection *connection, uint8_t *into)
{
    const size_t held_bytes = connection->held_bytes;
    if (held_bytes > 0) {
        memcpy(into, connection->held, held_bytes);
        free(connection->held);
        connection->held = NULL;
        connection->held_bytes = 0;
    }
    return held_bytes;
}

/* False when the connection has ended. */
static bool connection_run(struct server *server, struct connection *connection, uint32_t events)
{
    const bool ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    for (;;) {
        if (connection->unsent_bytes > 0) {
            if (!connection_flush(server, connection)) {
                return false;
            }
            if (connection->unsent_bytes > 0) {
                return true;
            }
        }
        const size_t held_bytes = connection_unhold(connection, server->in);
        const size_t room = FLOOR_BYTES - held_bytes;
        const ssize_t got = recv(connection->fd, server->in + held_bytes, room, 0);
        if (got <= 0) {
            return got < 0 && errno == EAGAIN &&
                   connection_hold(connection, server->in, held_bytes);
        }
        const size_t count = held_bytes + (size_t)got;
        const ssize_t used = server->serve(server, connection, count);
        if (used < 0 || (used == 0 && count == FLOOR_BYTES) ||
            !connection_hold(connection, server->in + used, count - (size_t)used)) {
            return false;
        }
        /* Edge-triggered: after a short read the next byte brings a new event, except the end. */
        if ((size_t)got < room && !ended && connection->unsent_bytes == 0) {
            return true;
        }
    }
}

static void server_accept(struct server *server)
{
    for (;;) {
        const int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                                    .data.ptr = connection};
        if (connection == NULL || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            free(connection);
            (void)close(fd); /* refused: the client sees the end */
            continue;
        }
        connection->fd = fd;
    }
}

static int server_listen(struct server *server, const char *address, uint16_t port)
{
    const int on = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &name.sin_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    /* Accepted sockets inherit TCP_NODELAY. */
    if (server->listen_fd < 0 || server->epoll_fd < 0 ||
        setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(server->listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(server->listen_fd, (struct sockaddr *)&name, sizeof name) != 0 ||
        listen(server->listen_fd, FLOOR_BACKLOG) != 0) {
        return -1;
    }
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event);
}

static void server_make_tail(struct server *server)
{
    const size_t head_bytes =
        (size_t)snprintf((char *)server->tail, sizeof server->tail, " 0 %d\r\n", FLOOR_VALUE_BYTES);
    uint8_t *value = server->tail + head_bytes;
    for (unsigned i = 0; i < FLOOR_VALUE_BYTES; i++) {
        value[i] = (uint8_t)('a' + i % 26);
    }
    memcpy(value + FLOOR_VALUE_BYTES, "\r\nEND\r\n", 7);
    server->tail_bytes = head_bytes + FLOOR_VALUE_BYTES + 7;
    const size_t meta_bytes = (size_t)snprintf((char *)server->value, sizeof server->value,
                                               "VA %d\r\n", FLOOR_VALUE_BYTES);
    memcpy(server->value + meta_bytes, value, FLOOR_VALUE_BYTES + 2);
    server->value_bytes = meta_bytes + FLOOR_VALUE_BYTES + 2;
}

static void server_run(struct server *server)
{
    for (;;) {
        const int count = epoll_wait(server->epoll_fd, server->events, FLOOR_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = server->events[i].data.ptr;
            if (connection == NULL) {
                server_accept(server);
            } else if (!connection_run(server, connection, server->events[i].events)) {
                connection_close(connection);
            }
        }
    }
}

static serve_fn *serve_find(const char *name)
{
    static const struct {
        const char *name;
        serve_fn *serve;
    } rows[] = {{"echo", serve_echo}, {"get", serve_get},       {"mg", serve_mg},
                {"mix", serve_mix},   {"mg-mix", serve_mg_mix}, {"keys", serve_keys}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].serve;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    serve_fn *serve = argc < 3 ? NULL : serve_find(argv[1]);
    if (serve == NULL) {
        fprintf(stderr, "use: floor_epoll echo|get|mg|mix|mg-mix|keys PORT [ADDRESS]\n");
        return 2;
    }
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return 1;
    }
    server->serve = serve;
    server_make_tail(server);
    if (server_listen(server, argc > 3 ? argv[3] : "127.0.0.1", (uint16_t)atoi(argv[2])) != 0) {
        fprintf(stderr, "floor_epoll: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    server_run(server);
}
