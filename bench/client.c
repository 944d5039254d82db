/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: a closed-loop client in one file, for ratios of server CPU only.
 *
 * One thread holds N connections; each sends D requests in one piece, waits for all D replies,
 * compares every byte of them, and sends the next D.  It says nothing about latency: a closed
 * loop waits with its server.  Commands come on standard input, so that one process keeps its
 * connections while others take their turns:
 *
 * What is asked, --ask (frames are echoed):
 *
 *   get    a key                             keys   KEYS_ASKED keys in one request
 *   set    store a key                       mix    nine gets, then a set in the mean
 *
 * `memcached` asks in classic text, `meta` with mg and ms, `redis` with GET, SET and MGET.
 *
 *   load              stores every key (all but frame); prints "loaded N"
 *   run MILLISECONDS  prints "ran REQUESTS WALL_NS SERVER_CPU_NS CLIENT_CPU_NS"; returns when
 *                     every request sent has been answered
 *   pipeline D        from now on D, at most what --pipeline said
 *
 * Owner    The only thread, pinned with --cpu.
 * Limits   CLIENT_SEND_BYTES for the D requests sent in one piece.
 * Units    SERVER_CPU_NS is the CPU clock of the process named with --server-pid, all its threads.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CLIENT_KEYS = 1000,
    CLIENT_KEYS_ASKED = 100, /* by one request of `keys` */
    CLIENT_MIX = 10,         /* one request in so many stores */
    CLIENT_BODY_BYTES_MAX = 64 * 1024,
    CLIENT_DEPTH_MAX = 256,
    CLIENT_SEND_BYTES = 1024 * 1024,
    CLIENT_RECEIVE_BYTES = 256 * 1024,
    CLIENT_EVENTS = 512,
    CLIENT_KEY_BYTES = 10,
    CLIENT_MESSAGE_OVERHEAD = 128, /* the words around a key and a value, in any protocol */
};

enum protocol { PROTOCOL_FRAME, PROTOCOL_MEMCACHED, PROTOCOL_META, PROTOCOL_REDIS };
static const char *const protocols[] = {"frame", "memcached", "meta", "redis"};

enum ask { ASK_GET, ASK_SET, ASK_MIX, ASK_KEYS };
static const char *const asks[] = {"get", "set", "mix", "keys"};

struct message {
    uint8_t *bytes;
    size_t count;
};

/* What is sent and what must come back. */
struct exchange {
    struct message request;
    struct message reply;
};

struct connection {
    int fd;
    unsigned reply_index;     /* the reply being received, of `depth` */
    size_t reply_bytes;       /* how much of it has come and was right */
    uint16_t *exchange_index; /* what was asked, in order */
};

struct client {
    enum protocol protocol;
    enum ask ask;
    const char *host;
    uint16_t port;
    unsigned connection_count;
    unsigned depth;
    unsigned depth_max;
    unsigned body_bytes;
    int cpu;
    uint64_t random;
    clockid_t server_clock;
    bool has_server_clock;
    int epoll_fd;
    uint64_t deadline_ns;
    uint64_t request_count;
    unsigned busy_count; /* connections that wait for replies */
    struct connection *connections;
    struct exchange exchanges[2 * CLIENT_KEYS]; /* of each key its reading, then its storing */
    struct epoll_event events[CLIENT_EVENTS];
    uint8_t send_bytes[CLIENT_SEND_BYTES];
    uint8_t receive_bytes[CLIENT_RECEIVE_BYTES];
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        die("clock: %s", strerror(errno));
    }
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* xorshift64*: Vigna 2014; only spreads keys. */
static uint64_t client_random(struct client *client)
{
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return client->random * 0x2545F4914F6CDD1DU;
}

static void message_add(struct message *message, const void *bytes, size_t count)
{
    memcpy(message->bytes + message->count, bytes, count);
    message->count += count;
}

__attribute__((format(printf, 2, 3))) static void message_print(struct message *message,
                                                                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    message->count += (size_t)vsnprintf((char *)message->bytes + message->count,
                                        CLIENT_MESSAGE_OVERHEAD, format, arguments);
    va_end(arguments);
}

static struct message message_create(size_t bytes)
{
    struct message message = {.bytes = malloc(bytes)};
    if (message.bytes == NULL) {
        die("out of memory");
    }
    return message;
}

/* The value every key has, the floor's included. */
static void fill_value(uint8_t *value, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        value[i] = (uint8_t)('a' + i % 26);
    }
}

static void print_key(char *key, unsigned index)
{
    (void)snprintf(key, CLIENT_KEY_BYTES + 1, "key:%06u", index % CLIENT_KEYS);
}

/* Bodies differ, so that swapped replies are seen. */
static void frame_init(struct exchange *exchange, unsigned index, uint8_t *value,
                       unsigned body_bytes)
{
    char key[CLIENT_KEY_BYTES + 1];
    const uint32_t frame_bytes = htobe32(body_bytes);
    print_key(key, index);
    memcpy(value, key, body_bytes < CLIENT_KEY_BYTES ? body_bytes : CLIENT_KEY_BYTES);
    message_add(&exchange->request, &frame_bytes, sizeof frame_bytes);
    message_add(&exchange->request, value, body_bytes);
    message_add(&exchange->reply, exchange->request.bytes, exchange->request.count);
}

static void read_init(struct exchange *exchange, const struct client *client, unsigned index,
                      const uint8_t *value)
{
    struct message *request = &exchange->request, *reply = &exchange->reply;
    const unsigned key_count = client->ask == ASK_KEYS ? CLIENT_KEYS_ASKED : 1;
    const unsigned body_bytes = client->body_bytes;
    const bool many = key_count > 1;
    char key[CLIENT_KEY_BYTES + 1];
    if (client->protocol == PROTOCOL_MEMCACHED) {
        message_print(request, "get");
    } else if (client->protocol == PROTOCOL_REDIS) {
        message_print(request, "*%u\r\n$%d\r\n%s\r\n", key_count + 1, many ? 4 : 3,
                      many ? "MGET" : "GET");
        if (many) {
            message_print(reply, "*%u\r\n", key_count);
        }
    }
    for (unsigned i = 0; i < key_count; i++) {
        print_key(key, index + i);
        if (client->protocol == PROTOCOL_MEMCACHED) {
            message_print(request, " %s", key);
            message_print(reply, "VALUE %s 0 %u\r\n", key, body_bytes);
        } else if (client->protocol == PROTOCOL_META) {
            message_print(request, "mg %s v\r\n", key);
            message_print(reply, "VA %u\r\n", body_bytes);
        } else {
            message_print(request, "$%d\r\n%s\r\n", CLIENT_KEY_BYTES, key);
            message_print(reply, "$%u\r\n", body_bytes);
        }
        message_add(reply, value, body_bytes);
        message_print(reply, "\r\n");
    }
    if (client->protocol == PROTOCOL_MEMCACHED) {
        message_print(request, "\r\n");
        message_print(reply, "END\r\n");
    }
}

static void store_init(struct exchange *exchange, const struct client *client, unsigned index,
                       const uint8_t *value)
{
    struct message *request = &exchange->request;
    const unsigned body_bytes = client->body_bytes;
    char key[CLIENT_KEY_BYTES + 1];
    print_key(key, index);
    switch (client->protocol) {
    case PROTOCOL_META:
        message_print(request, "ms %s %u\r\n", key, body_bytes);
        message_print(&exchange->reply, "HD\r\n");
        break;
    case PROTOCOL_REDIS:
        message_print(request, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%u\r\n", CLIENT_KEY_BYTES, key,
                      body_bytes);
        message_print(&exchange->reply, "+OK\r\n");
        break;
    default:
        message_print(request, "set %s 0 0 %u\r\n", key, body_bytes);
        message_print(&exchange->reply, "STORED\r\n");
        break;
    }
    message_add(request, value, body_bytes);
    message_print(request, "\r\n");
}

static void exchanges_init(struct client *client)
{
    const size_t bytes = (size_t)client->body_bytes + CLIENT_MESSAGE_OVERHEAD;
    const size_t key_count = client->ask == ASK_KEYS ? CLIENT_KEYS_ASKED : 1;
    uint8_t value[CLIENT_BODY_BYTES_MAX];
    fill_value(value, client->body_bytes);
    for (unsigned i = 0; i < CLIENT_KEYS; i++) {
        struct exchange *reading = &client->exchanges[i];
        struct exchange *storing = &client->exchanges[CLIENT_KEYS + i];
        *reading =
            (struct exchange){message_create(bytes * key_count), message_create(bytes * key_count)};
        if (client->protocol == PROTOCOL_FRAME) {
            frame_init(reading, i, value, client->body_bytes);
            continue;
        }
        *storing = (struct exchange){message_create(bytes), message_create(bytes)};
        read_init(reading, client, i, value);
        store_init(storing, client, i, value);
    }
}

/* Of a mix one in CLIENT_MIX stores. */
static uint16_t exchange_pick(struct client *client)
{
    const uint32_t luck = (uint32_t)(client_random(client) >> 32);
    const bool stores =
        client->ask == ASK_SET || (client->ask == ASK_MIX && luck / CLIENT_KEYS % CLIENT_MIX == 0);
    return (uint16_t)(luck % CLIENT_KEYS + (stores ? CLIENT_KEYS : 0));
}

static void connection_open(struct client *client, struct connection *connection)
{
    const int on = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(client->port)};
    if (inet_pton(AF_INET, client->host, &name.sin_addr) != 1) {
        die("no such address: %s", client->host);
    }
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&name, sizeof name) != 0) {
        die("connect to %s:%u: %s", client->host, client->port, strerror(errno));
    }
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Without pacing timers where the kernel offers it; the server's end is left as found. */
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
    connection->exchange_index = calloc(client->depth_max, sizeof *connection->exchange_index);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = connection};
    if (connection->exchange_index == NULL ||
        epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
        die("epoll: %s", strerror(errno));
    }
}

/* A blocking socket: what does not fit waits, and the server must read to make room. */
static void send_all(int fd, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        const ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0) {
            die("send: %s", strerror(errno));
        }
        bytes += sent;
        count -= (size_t)sent;
    }
}

static void connection_ask(struct client *client, struct connection *connection)
{
    struct message batch = {.bytes = client->send_bytes};
    for (unsigned i = 0; i < client->depth; i++) {
        const uint16_t index = exchange_pick(client);
        const struct message *request = &client->exchanges[index].request;
        if (batch.count + request->count > CLIENT_SEND_BYTES) {
            die("%u requests do not fit one send", client->depth);
        }
        connection->exchange_index[i] = index;
        message_add(&batch, request->bytes, request->count);
    }
    connection->reply_index = 0;
    connection->reply_bytes = 0;
    send_all(connection->fd, batch.bytes, batch.count);
}

/* Compares what came with what must come; true when the last reply of the batch is whole. */
static bool connection_check(struct client *client, struct connection *connection,
                             const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        if (connection->reply_index == client->depth) {
            die("%zu bytes more than were asked for", count);
        }
        const struct message *reply =
            &client->exchanges[connection->exchange_index[connection->reply_index]].reply;
        const size_t rest = reply->count - connection->reply_bytes;
        const size_t part = rest < count ? rest : count;
        if (memcmp(reply->bytes + connection->reply_bytes, bytes, part) != 0) {
            die("wrong reply: '%.*s', wanted '%.*s'", (int)part, (const char *)bytes, (int)part,
                (const char *)reply->bytes + connection->reply_bytes);
        }
        bytes += part;
        count -= part;
        connection->reply_bytes += part;
        if (connection->reply_bytes == reply->count) {
            connection->reply_bytes = 0;
            connection->reply_index++;
            client->request_count++;
        }
    }
    return connection->reply_index == client->depth;
}

/* Reads once; asks again while the slice lasts. */
static void connection_run(struct client *client, struct connection *connection, bool more)
{
    for (;;) {
        const ssize_t got =
            recv(connection->fd, client->receive_bytes, CLIENT_RECEIVE_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got <= 0) {
            die("receive: %s", got == 0 ? "closed by the server" : strerror(errno));
        }
        const bool done = connection_check(client, connection, client->receive_bytes, (size_t)got);
        if (done && more) {
            connection_ask(client, connection);
        } else if (done) {
            client->busy_count--;
        }
        if (got < CLIENT_RECEIVE_BYTES) {
            return;
        }
    }
}

static void client_run(struct client *client, uint64_t slice_ns)
{
    const uint64_t start_ns = clock_read_ns(CLOCK_MONOTONIC);
    const uint64_t client_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
    const uint64_t server_ns = client->has_server_clock ? clock_read_ns(client->server_clock) : 0;
    uint64_t now_ns = start_ns;
    client->request_count = 0;
    client->busy_count = client->connection_count;
    for (unsigned i = 0; i < client->connection_count; i++) {
        connection_ask(client, &client->connections[i]);
    }
    while (client->busy_count > 0) {
        const int count = epoll_wait(client->epoll_fd, client->events, CLIENT_EVENTS, 10000);
        if (count <= 0) {
            die("no reply for ten seconds");
        }
        now_ns = clock_read_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++) {
            connection_run(client, client->events[i].data.ptr, now_ns - start_ns < slice_ns);
        }
    }
    const uint64_t server_end_ns =
        client->has_server_clock ? clock_read_ns(client->server_clock) : 0;
    printf("ran %llu %llu %llu %llu\n", (unsigned long long)client->request_count,
           (unsigned long long)(now_ns - start_ns), (unsigned long long)(server_end_ns - server_ns),
           (unsigned long long)(clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - client_ns));
    fflush(stdout);
}

/* Stores every key over the first connection, one at a time. */
static void client_load(struct client *client)
{
    const int fd = client->connections[0].fd;
    for (unsigned i = 0; i < CLIENT_KEYS; i++) {
        char answer[16] = "";
        const struct exchange *storing = &client->exchanges[CLIENT_KEYS + i];
        const size_t bytes = storing->reply.count;
        send_all(fd, storing->request.bytes, storing->request.count);
        const ssize_t got = recv(fd, answer, bytes, MSG_WAITALL);
        if (got != (ssize_t)bytes || memcmp(answer, storing->reply.bytes, bytes) != 0) {
            die("store refused: '%s'", answer);
        }
    }
    printf("loaded %d\n", CLIENT_KEYS);
    fflush(stdout);
}

static void client_commands(struct client *client)
{
    char line[64];
    unsigned long milliseconds;
    unsigned depth;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "load\n") == 0 && client->protocol != PROTOCOL_FRAME) {
            client_load(client);
        } else if (sscanf(line, "run %lu", &milliseconds) == 1) {
            client_run(client, milliseconds * 1000000U);
        } else if (sscanf(line, "pipeline %u", &depth) == 1 && depth > 0 &&
                   depth <= client->depth_max) {
            client->depth = depth;
        } else {
            die("unknown command: %s", line);
        }
    }
}

static unsigned number(const char *name, const char *text, unsigned long max)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value > max) {
        die("--%s takes a number up to %lu, not '%s'", name, max, text);
    }
    return (unsigned)value;
}

static unsigned word(const char *name, const char *text, const char *const *words, unsigned last)
{
    for (unsigned i = 0; i <= last; i++) {
        if (strcmp(words[i], text) == 0) {
            return i;
        }
    }
    die("--%s does not take '%s'", name, text);
}

static void client_flags(struct client *client, int argc, char **argv)
{
    static const struct option options[] = {{"protocol", required_argument, NULL, 'x'},
                                            {"host", required_argument, NULL, 'h'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"pipeline", required_argument, NULL, 'd'},
                                            {"body-bytes", required_argument, NULL, 'b'},
                                            {"cpu", required_argument, NULL, 'u'},
                                            {"server-pid", required_argument, NULL, 's'},
                                            {"seed", required_argument, NULL, 'r'},
                                            {"ask", required_argument, NULL, 'a'},
                                            {NULL, 0, NULL, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (flag) {
        case 'x':
            client->protocol = (enum protocol)word("protocol", optarg, protocols, PROTOCOL_REDIS);
            break;
        case 'a':
            client->ask = (enum ask)word("ask", optarg, asks, ASK_KEYS);
            break;
        case 'h':
            client->host = optarg;
            break;
        case 'p':
            client->port = (uint16_t)number("port", optarg, UINT16_MAX);
            break;
        case 'c':
            client->connection_count = number("connections", optarg, 20000);
            break;
        case 'd':
            client->depth = number("pipeline", optarg, CLIENT_DEPTH_MAX);
            break;
        case 'b':
            client->body_bytes = number("body-bytes", optarg, CLIENT_BODY_BYTES_MAX);
            break;
        case 'u':
            client->cpu = (int)number("cpu", optarg, CPU_SETSIZE - 1);
            break;
        case 'r':
            client->random = number("seed", optarg, UINT32_MAX);
            break;
        case 's':
            if (clock_getcpuclockid((pid_t)number("server-pid", optarg, INT32_MAX),
                                    &client->server_clock) != 0) {
                die("no process %s", optarg);
            }
            client->has_server_clock = true;
            break;
        default:
            exit(2);
        }
    }
    if (client->port == 0 || client->connection_count == 0 || client->depth == 0) {
        die("needs --port, and --connections and --pipeline of at least 1");
    }
}

int main(int argc, char **argv)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return 1;
    }
    client->host = "127.0.0.1";
    client->connection_count = 1;
    client->depth = 1;
    client->body_bytes = 100;
    client->cpu = -1;
    client_flags(client, argc, argv);
    client->depth_max = client->depth;
    client->random = client->random * 2 + 0x9E3779B97F4A7C15U; /* never zero */
    if (client->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)client->cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) {
            die("cpu %d: %s", client->cpu, strerror(errno));
        }
    }
    exchanges_init(client);
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->connections = calloc(client->connection_count, sizeof *client->connections);
    if (client->epoll_fd < 0 || client->connections == NULL) {
        die("start: %s", strerror(errno));
    }
    for (unsigned i = 0; i < client->connection_count; i++) {
        connection_open(client, &client->connections[i]);
    }
    printf("ready\n");
    fflush(stdout);
    client_commands(client);
    return 0;
}
