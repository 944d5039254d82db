/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paced: an open-loop client of a cache that keeps its connections between slices of load.
 *
 * A thread for each CPU of --cpus, pinned, in real time where that is allowed, asleep between
 * requests. Each has --connections of its own and makes its share of a Poisson rate; a response
 * counts from when the request was meant to be sent. Every byte of an answer is compared. Commands
 * come on standard input, so that several of these take turns:
 *
 *   load                          store every key; prints "loaded N"
 *   keep INDEX...                 use only these connections; the others stay open and idle
 *   run MS RATE ASK KEYS SEED     ASK get, set or mix (nine gets to a set); KEYS uniform, zipf or
 *                                 hot; prints "ran REQUESTS SERVER_CPU_NS CLIENT_CPU_NS LAG_P99_NS"
 *                                 and "VALUE_NS:COUNT" for each response time that occurred
 *
 * It begins with "ready" and the local port of each connection; index i is of thread i modulo the
 * threads.
 *
 * Owner    Connections belong to their thread while a slice runs, to main in between.
 * Limits   PENDING_MAX requests on their way on a connection; with more the server is too slow, and
 *          the client ends.
 * Units    SERVER_CPU_NS is the CPU clock of the process --server-pid, all its threads.
 */
#include "base/check.h"
#include "base/histogram.h"
#include "measure/arrivals.h"
#include "measure/popularity.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_BYTES = 12,
    VALUE_BYTES = 100,
    VALUES = 26, /* a key's value is that of its number modulo this */
    MESSAGE_BYTES_MAX = 256,
    PENDING_MAX = 1024, /* a power of two */
    CONNECTIONS_MAX = 256,
    WORKERS_MAX = 8,
    EVENTS = 64,
    RECEIVE_BYTES = 64 * 1024,
    LOAD_BATCH = 64,
    SILENCE_MS = 10000,
};

enum ask { ASK_GET, ASK_SET, ASK_MIX };
static const char *const asks[] = {"get", "set", "mix"};

struct pending {
    uint64_t intended_ns;
    uint32_t key;
    bool stores;
};

struct connection {
    int fd;
    uint32_t first, next;  /* of `pending`, modulo 2^32 */
    uint32_t answer_bytes; /* how much of the first answer has come and was right */
    struct pending pending[PENDING_MAX];
};

/* What main tells of one slice. */
struct slice {
    uint64_t start_ns, length_ns, seed;
    double rate;
    enum ask ask;
    enum pc_popularity_kind keys;
};

struct worker {
    struct client *client;
    pthread_t thread;
    unsigned index;
    int cpu, epoll_fd;
    struct connection *connections[CONNECTIONS_MAX];
    unsigned connection_count, turn;
    struct pc_popularity popularity;
    struct pc_random luck;
    struct pc_histogram *responses, *lags;
    uint64_t cpu_ns;
    uint32_t unanswered;
    uint8_t receive[RECEIVE_BYTES];
};

struct client {
    uint16_t port;
    uint32_t key_count;
    clockid_t server_clock;
    unsigned worker_count, connection_count; /* connections of all workers */
    struct connection *connections[WORKERS_MAX * CONNECTIONS_MAX];
    struct slice slice;
    uint8_t values[VALUES][VALUE_BYTES];
    struct worker workers[WORKERS_MAX];
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("paced: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        die("clock: %s", strerror(errno));
    }
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* ---- What is sent, and what must come back ---- */

static size_t print_request(const struct client *client, uint32_t key, bool stores, uint8_t *into)
{
    if (!stores) {
        return (size_t)sprintf((char *)into, "get key:%08u\r\n", key);
    }
    size_t count = (size_t)sprintf((char *)into, "set key:%08u 0 0 %d\r\n", key, VALUE_BYTES);
    memcpy(into + count, client->values[key % VALUES], VALUE_BYTES);
    count += VALUE_BYTES;
    memcpy(into + count, "\r\n", 2);
    return count + 2;
}

static size_t print_answer(const struct client *client, uint32_t key, bool stores, uint8_t *into)
{
    if (stores) {
        memcpy(into, "STORED\r\n", 8);
        return 8;
    }
    size_t count = (size_t)sprintf((char *)into, "VALUE key:%08u 0 %d\r\n", key, VALUE_BYTES);
    memcpy(into + count, client->values[key % VALUES], VALUE_BYTES);
    count += VALUE_BYTES;
    memcpy(into + count, "\r\nEND\r\n", 7);
    return count + 7;
}

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

/* ---- A slice, on its thread ---- */

static void ask(struct worker *worker, uint64_t intended_ns, uint64_t now_ns)
{
    const struct client *client = worker->client;
    const struct slice *slice = &client->slice;
    struct connection *connection = worker->connections[worker->turn++ % worker->connection_count];
    if (connection->next - connection->first == PENDING_MAX) {
        die("the server is too slow: %d requests wait on a connection", PENDING_MAX);
    }
    const uint32_t key = (uint32_t)pc_popularity_draw(&worker->popularity, intended_ns).key;
    const bool stores =
        slice->ask == ASK_SET || (slice->ask == ASK_MIX && pc_random_below(&worker->luck, 10) == 0);
    connection->pending[connection->next++ % PENDING_MAX] =
        (struct pending){slice->start_ns + intended_ns, key, stores};
    worker->unanswered++;
    uint8_t message[MESSAGE_BYTES_MAX];
    send_all(connection->fd, message, print_request(client, key, stores, message));
    pc_histogram_record(worker->lags, now_ns - slice->start_ns - intended_ns);
}

static void check(struct worker *worker, struct connection *connection, const uint8_t *bytes,
                  size_t count)
{
    while (count > 0) {
        if (connection->first == connection->next) {
            die("%zu bytes more than were asked for", count);
        }
        const struct pending *first = &connection->pending[connection->first % PENDING_MAX];
        uint8_t answer[MESSAGE_BYTES_MAX];
        const size_t whole = print_answer(worker->client, first->key, first->stores, answer);
        const size_t part = pc_min_size(whole - connection->answer_bytes, count);
        if (memcmp(answer + connection->answer_bytes, bytes, part) != 0) {
            die("wrong answer: '%.*s'", (int)part, (const char *)bytes);
        }
        connection->answer_bytes += (uint32_t)part;
        bytes += part;
        count -= part;
        if (connection->answer_bytes == whole) {
            connection->answer_bytes = 0;
            connection->first++;
            worker->unanswered--;
            pc_histogram_record(worker->responses, read_ns(CLOCK_MONOTONIC) - first->intended_ns);
        }
    }
}

/* Take what has come, waiting for it at most so long. */
static bool hear(struct worker *worker, uint64_t wait_ns)
{
    struct epoll_event events[EVENTS];
    const struct timespec wait = {(time_t)(wait_ns / 1000000000U), (long)(wait_ns % 1000000000U)};
    const int count = epoll_pwait2(worker->epoll_fd, events, EVENTS, &wait, NULL);
    if (count < 0) {
        die("epoll: %s", strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        const ssize_t got = recv(connection->fd, worker->receive, RECEIVE_BYTES, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            die("receive: %s", got == 0 ? "closed by the server" : strerror(errno));
        }
        check(worker, connection, worker->receive, got > 0 ? (size_t)got : 0);
    }
    return count > 0;
}

static void drive(struct worker *worker, struct pc_arrivals *arrivals)
{
    const struct slice *slice = &worker->client->slice;
    uint64_t intended_ns = pc_arrivals_next(arrivals);
    for (;;) {
        const uint64_t now_ns = read_ns(CLOCK_MONOTONIC);
        while (intended_ns < slice->length_ns && slice->start_ns + intended_ns <= now_ns) {
            ask(worker, intended_ns, read_ns(CLOCK_MONOTONIC));
            intended_ns = pc_arrivals_next(arrivals);
        }
        if (intended_ns < slice->length_ns) {
            const uint64_t then_ns = read_ns(CLOCK_MONOTONIC);
            const uint64_t due_ns = slice->start_ns + intended_ns;
            (void)hear(worker, due_ns > then_ns ? due_ns - then_ns : 0);
        } else if (worker->unanswered == 0) {
            return;
        } else if (!hear(worker, SILENCE_MS * UINT64_C(1000000))) {
            die("no answer for %d ms", SILENCE_MS);
        }
    }
}

static void *worker_run(void *ctx)
{
    struct worker *worker = ctx;
    struct client *client = worker->client;
    const struct slice *slice = &client->slice;
    const struct sched_param first = {.sched_priority = 1};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)worker->cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        die("cpu %d: %s", worker->cpu, strerror(errno));
    }
    (void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &first); /* without: later, not wrong */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);              /* likewise */
    struct pc_arrivals arrivals;
    pc_arrivals_init(&arrivals, &(struct pc_arrivals_config){.kind = PC_ARRIVALS_POISSON,
                                                             .rate = slice->rate,
                                                             .seed = slice->seed,
                                                             .share_index = worker->index,
                                                             .share_count = client->worker_count});
    pc_popularity_init(&worker->popularity,
                       &(struct pc_popularity_config){.kind = slice->keys,
                                                      .key_count = client->key_count,
                                                      .alpha = 0.99,
                                                      .hot_share = 0.5,
                                                      .key_seed = slice->seed},
                       slice->seed * WORKERS_MAX + worker->index);
    pc_random_init(&worker->luck, slice->seed * WORKERS_MAX + worker->index + 1);
    drive(worker, &arrivals);
    worker->cpu_ns = read_ns(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

/* ---- Commands ---- */

static void say_slice(struct client *client, uint64_t server_ns)
{
    struct pc_histogram *responses = client->workers[0].responses, *lags = client->workers[0].lags;
    uint64_t cpu_ns = client->workers[0].cpu_ns;
    for (unsigned i = 1; i < client->worker_count; i++) {
        pc_histogram_add(responses, client->workers[i].responses);
        pc_histogram_add(lags, client->workers[i].lags);
        cpu_ns += client->workers[i].cpu_ns;
    }
    printf("ran %llu %llu %llu %llu", (unsigned long long)pc_histogram_count(responses),
           (unsigned long long)server_ns, (unsigned long long)cpu_ns,
           (unsigned long long)pc_histogram_quantile(lags, 0.99));
    for (uint32_t i = 0; i < responses->counter_count; i++) {
        if (responses->counts[i] > 0) {
            printf(" %llu:%llu", (unsigned long long)pc_histogram_index_high(responses, i),
                   (unsigned long long)responses->counts[i]);
        }
    }
    printf("\n");
}

static void client_run(struct client *client)
{
    const uint64_t server_ns = read_ns(client->server_clock);
    client->slice.start_ns = read_ns(CLOCK_MONOTONIC) + 1000000;
    for (unsigned i = 0; i < client->worker_count; i++) {
        struct worker *worker = &client->workers[i];
        pc_histogram_clear(worker->responses);
        pc_histogram_clear(worker->lags);
        if (worker->connection_count == 0) {
            die("thread %u has no connection left", i);
        }
        if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0) {
            die("no thread");
        }
    }
    for (unsigned i = 0; i < client->worker_count; i++) {
        pthread_join(client->workers[i].thread, NULL);
    }
    say_slice(client, read_ns(client->server_clock) - server_ns);
}

/* Every key, a batch at a time, over the first connection. */
static void client_load(struct client *client)
{
    static uint8_t batch[LOAD_BATCH * MESSAGE_BYTES_MAX];
    const int fd = client->connections[0]->fd;
    for (uint32_t key = 0; key < client->key_count;) {
        size_t bytes = 0, wanted = 0;
        for (unsigned i = 0; i < LOAD_BATCH && key < client->key_count; i++, key++) {
            bytes += print_request(client, key, true, batch + bytes);
            wanted += strlen("STORED\r\n");
        }
        send_all(fd, batch, bytes);
        if (recv(fd, batch, wanted, MSG_WAITALL) != (ssize_t)wanted) {
            die("the server stored less than it was asked to");
        }
        for (size_t at = 0; at < wanted; at += strlen("STORED\r\n")) {
            if (memcmp(batch + at, "STORED\r\n", strlen("STORED\r\n")) != 0) {
                die("store refused: '%.*s'", (int)(wanted - at), (const char *)batch + at);
            }
        }
    }
    printf("loaded %u\n", client->key_count);
}

static void client_keep(struct client *client, char *words)
{
    for (unsigned i = 0; i < client->worker_count; i++) {
        client->workers[i].connection_count = 0;
    }
    unsigned kept = 0;
    for (char *word = strtok(words, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        const unsigned long index = strtoul(word, NULL, 10);
        if (index >= client->connection_count) {
            die("no connection %lu", index);
        }
        struct worker *worker = &client->workers[index % client->worker_count];
        worker->connections[worker->connection_count++] = client->connections[index];
        kept++;
    }
    printf("kept %u\n", kept);
}

static void slice_read(struct slice *slice, const char *line)
{
    char ask_name[8], keys_name[16];
    unsigned long milliseconds;
    unsigned long long seed;
    if (sscanf(line, "%lu %lf %7s %15s %llu", &milliseconds, &slice->rate, ask_name, keys_name,
               &seed) != 5 ||
        slice->rate <= 0 || pc_popularity_kind_find(keys_name, &slice->keys) != 0) {
        die("run takes MS RATE ASK KEYS SEED, not '%s'", line);
    }
    slice->length_ns = milliseconds * UINT64_C(1000000);
    slice->seed = seed;
    for (slice->ask = ASK_GET; strcmp(asks[slice->ask], ask_name) != 0; slice->ask++) {
        if (slice->ask == ASK_MIX) {
            die("nobody asks '%s'", ask_name);
        }
    }
}

static void client_commands(struct client *client)
{
    char line[4096];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (strcmp(line, "load\n") == 0) {
            client_load(client);
        } else if (strncmp(line, "keep ", 5) == 0) {
            client_keep(client, line + 5);
        } else if (strncmp(line, "run ", 4) == 0) {
            slice_read(&client->slice, line + 4);
            client_run(client);
        } else {
            die("unknown command: %s", line);
        }
        fflush(stdout);
    }
}

/* ---- Start ---- */

static void connection_open(struct client *client, unsigned index)
{
    const int on = 1;
    struct worker *worker = &client->workers[index % client->worker_count];
    struct connection *connection = calloc(1, sizeof(*connection));
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons(client->port),
                               .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof(name);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (connection == NULL || fd < 0 || connect(fd, (struct sockaddr *)&name, bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &bytes) != 0 ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("connect to %u: %s", client->port, strerror(errno));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    /* Without pacing timers where the kernel offers it; the server's end is left as found. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
    connection->fd = fd;
    client->connections[index] = connection;
    worker->connections[worker->connection_count++] = connection;
    printf(" %u", ntohs(name.sin_port));
}

static unsigned number(const char *text, unsigned long max)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value == 0 || value > max) {
        die("'%s' is not a number of 1 to %lu", text, max);
    }
    return (unsigned)value;
}

static void cpus_read(struct client *client, char *words)
{
    for (char *word = strtok(words, ","); word != NULL; word = strtok(NULL, ",")) {
        if (client->worker_count == WORKERS_MAX) {
            die("more than %d CPUs", WORKERS_MAX);
        }
        client->workers[client->worker_count++].cpu = atoi(word);
    }
}

static void flags_read(struct client *client, int argc, char **argv, unsigned *out_connections)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},        {"cpus", required_argument, NULL, 'u'},
        {"connections", required_argument, NULL, 'c'}, {"keys", required_argument, NULL, 'k'},
        {"server-pid", required_argument, NULL, 's'},  {NULL, 0, NULL, 0}};
    for (int flag; (flag = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (flag) {
        case 'p':
            client->port = (uint16_t)number(optarg, UINT16_MAX);
            break;
        case 'u':
            cpus_read(client, optarg);
            break;
        case 'c':
            *out_connections = number(optarg, CONNECTIONS_MAX);
            break;
        case 'k':
            client->key_count = number(optarg, 100000000);
            break;
        case 's':
            if (clock_getcpuclockid((pid_t)number(optarg, INT32_MAX), &client->server_clock) != 0) {
                die("no process %s", optarg);
            }
            break;
        default:
            exit(2);
        }
    }
    if (client->port == 0 || client->worker_count == 0 || client->key_count == 0 ||
        client->server_clock == 0) {
        die("needs --port, --cpus, --keys and --server-pid");
    }
}

int main(int argc, char **argv)
{
    struct client *client = calloc(1, sizeof(*client));
    unsigned connections = 8;
    if (client == NULL) {
        return 1;
    }
    flags_read(client, argc, argv, &connections);
    for (unsigned i = 0; i < VALUES; i++) {
        for (unsigned at = 0; at < VALUE_BYTES; at++) {
            client->values[i][at] = (uint8_t)('a' + (i + at) % 26);
        }
    }
    for (unsigned i = 0; i < client->worker_count; i++) {
        struct worker *worker = &client->workers[i];
        worker->client = client;
        worker->index = i;
        worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        worker->responses = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
        worker->lags = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
        if (worker->epoll_fd < 0 || worker->responses == NULL || worker->lags == NULL) {
            die("start: %s", strerror(errno));
        }
    }
    printf("ready");
    client->connection_count = connections * client->worker_count;
    for (unsigned i = 0; i < client->connection_count; i++) {
        connection_open(client, i);
    }
    printf("\n");
    fflush(stdout);
    client_commands(client);
    return 0;
}
