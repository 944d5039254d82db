/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hits_client: one stream of requests to several memcached servers at once, and what each had.
 *
 * A batch of keys is drawn; every server is asked for all of them in one line, then given those it
 * missed, and every reply is checked: the key, the length and the first bytes of each value. All
 * servers see the same keys, lengths and times to live, and the same seconds pass for them. A key
 * drawn twice in a batch counts twice.
 *
 *   hits_client MIX SEED MEGABYTES WARM REQUESTS PORT...
 *
 * What fits is MEGABYTES divided by the mean of key and value, without a word about overheads; each
 * mix has four times as many keys. Keys are 16 bytes, values 100 to 300 bytes by key unless said.
 *
 *   zipf-0.8 zipf-0.99 zipf-1.2   the key of rank k with weight 1 / k^alpha
 *   ttl     zipf-0.99; by key a quarter each lives 2, 8, 32 seconds, and for ever
 *   scan    30 % walk over three times what fits, round and round; 70 % zipf-0.99 over once
 *   shift   zipf-0.99; after 40 % of all requests, warm-up included, other keys with ten times
 *           the length, four times what fits of those; after 70 % the first again
 *
 * Prints one JSON object: for each port what came of the REQUESTS that follow the warm-up, and of
 * all, to be compared with the server's own counters.
 */
#include "base/check.h"
#include "base/random.h"
#include "measure/popularity.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 32,
    SERVERS_MAX = 8,
    KEY_BYTES = 16,
    VALUE_BYTES_MIN = 100,
    VALUE_BYTES_MAX = 300,
    LARGE_FACTOR = 10,
    KEYS_OF_FIT = 4,
    BUFFER_BYTES = 256 * 1024,
};

static_assert(BATCH * (VALUE_BYTES_MAX * LARGE_FACTOR + 64) <= BUFFER_BYTES, "a batch fits");

struct mix {
    const char *name;
    double alpha;
    bool lives, scans, shifts;
};

static const struct mix mixes[] = {
    {.name = "zipf-0.8", .alpha = 0.8},
    {.name = "zipf-0.99", .alpha = 0.99},
    {.name = "zipf-1.2", .alpha = 1.2},
    {.name = "ttl", .alpha = 0.99, .lives = true},
    {.name = "scan", .alpha = 0.99, .scans = true},
    {.name = "shift", .alpha = 0.99, .shifts = true},
};

struct request {
    char key[KEY_BYTES + 1];
    uint32_t value_bytes;
    uint32_t ttl_s;
};

struct stream {
    const struct mix *mix;
    struct pc_random random;
    struct pc_zipf zipf, zipf_large;
    uint64_t fit_count;
    uint64_t scan_next;
    uint64_t drawn, total;
};

struct counts {
    uint64_t gets, hits, stored, refused;
};

struct server {
    int fd;
    uint16_t port;
    bool missed[BATCH];
    size_t got_bytes, used_bytes;
    struct counts all, measured;
    char input[BUFFER_BYTES];
};

static char output[BUFFER_BYTES];
static char filler[VALUE_BYTES_MAX * LARGE_FACTOR];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("hits_client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* ---- What is asked ---- */

static uint64_t spread(uint64_t number)
{
    struct pc_random random;
    pc_random_init(&random, number);
    return pc_random_next(&random);
}

static void request_make(const struct mix *mix, char space, uint64_t number, uint32_t factor,
                         struct request *out_request)
{
    static const uint32_t lives_s[] = {2, 8, 32, 0};
    const uint64_t bits = spread(number);
    (void)snprintf(out_request->key, sizeof(out_request->key), "%c%015" PRIx64, space,
                   number & UINT64_C(0xfffffffffffffff));
    out_request->value_bytes =
        factor * (VALUE_BYTES_MIN + (uint32_t)(bits % (VALUE_BYTES_MAX - VALUE_BYTES_MIN + 1)));
    out_request->ttl_s = mix->lives ? lives_s[bits >> 62] : 0;
}

static void stream_draw(struct stream *stream, struct request *out_request)
{
    const uint64_t at = stream->drawn++;
    if (stream->mix->scans && pc_random_below(&stream->random, 100) < 30) {
        request_make(stream->mix, 's', stream->scan_next, 1, out_request);
        stream->scan_next = (stream->scan_next + 1) % (stream->fit_count * (KEYS_OF_FIT - 1));
        return;
    }
    if (stream->mix->shifts && at * 10 >= stream->total * 4 && at * 10 < stream->total * 7) {
        request_make(stream->mix, 'l', pc_zipf_draw(&stream->zipf_large, &stream->random),
                     LARGE_FACTOR, out_request);
        return;
    }
    request_make(stream->mix, 'k', pc_zipf_draw(&stream->zipf, &stream->random), 1, out_request);
}

static void stream_init(struct stream *stream, const struct mix *mix, uint64_t seed,
                        uint64_t megabytes, uint64_t total)
{
    const uint64_t mean = (VALUE_BYTES_MIN + VALUE_BYTES_MAX) / 2;
    const uint64_t fit = (megabytes << 20) / (KEY_BYTES + mean);
    const uint64_t fit_large = (megabytes << 20) / (KEY_BYTES + mean * LARGE_FACTOR);
    *stream = (struct stream){.mix = mix, .total = total, .fit_count = fit};
    pc_random_init(&stream->random, seed);
    pc_zipf_init(&stream->zipf, mix->alpha, mix->scans ? fit : fit * KEYS_OF_FIT);
    pc_zipf_init(&stream->zipf_large, mix->alpha, fit_large * KEYS_OF_FIT);
}

/* ---- Asking ---- */

static void server_open(struct server *server, uint16_t port)
{
    const int on = 1;
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server->port = port;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->fd < 0 || connect(server->fd, (struct sockaddr *)&name, sizeof(name)) != 0) {
        die("connect to %u: %s", port, strerror(errno));
    }
    (void)setsockopt(server->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void send_all(const struct server *server, const char *bytes, size_t count)
{
    while (count > 0) {
        const ssize_t sent = send(server->fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0) {
            die("send to %u: %s", server->port, strerror(errno));
        }
        bytes += sent;
        count -= (size_t)sent;
    }
}

static void receive_more(struct server *server)
{
    const ssize_t got =
        recv(server->fd, server->input + server->got_bytes, BUFFER_BYTES - server->got_bytes, 0);
    if (got <= 0) {
        die("receive from %u: %s", server->port, got == 0 ? "closed" : strerror(errno));
    }
    server->got_bytes += (size_t)got;
}

/* The next `count` bytes of the replies, waiting for them. */
static const char *take(struct server *server, size_t count)
{
    while (server->got_bytes - server->used_bytes < count) {
        receive_more(server);
    }
    const char *at = server->input + server->used_bytes;
    server->used_bytes += count;
    return at;
}

/* The next line, its end left out. */
static const char *take_line(struct server *server, size_t *out_bytes)
{
    size_t looked = server->used_bytes;
    for (;;) {
        const char *end = memchr(server->input + looked, '\n', server->got_bytes - looked);
        if (end != NULL) {
            const char *at = server->input + server->used_bytes;
            server->used_bytes = (size_t)(end - server->input) + 1;
            *out_bytes = (size_t)(end - at) - 1;
            return at;
        }
        looked = server->got_bytes;
        receive_more(server);
    }
}

static void replies_end(struct server *server)
{
    if (server->used_bytes != server->got_bytes) {
        die("%u said more than it was asked for", server->port);
    }
    server->used_bytes = 0;
    server->got_bytes = 0;
}

static void ask(struct server *servers, unsigned server_count, const struct request *requests)
{
    size_t bytes = 3;
    memcpy(output, "get", 3);
    for (unsigned i = 0; i < BATCH; i++) {
        output[bytes] = ' ';
        memcpy(output + bytes + 1, requests[i].key, KEY_BYTES);
        bytes += 1 + KEY_BYTES;
    }
    memcpy(output + bytes, "\r\n", 2);
    for (unsigned i = 0; i < server_count; i++) {
        send_all(&servers[i], output, bytes + 2);
    }
}

/* Values come in the order of the keys; a key passed over was missed. */
static void hear(struct server *server, const struct request *requests)
{
    unsigned next = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        server->missed[i] = true;
    }
    for (;;) {
        char want[64];
        size_t line_bytes;
        const char *line = take_line(server, &line_bytes);
        if (line_bytes == 3 && memcmp(line, "END", 3) == 0) {
            break;
        }
        if (line_bytes < 6 + KEY_BYTES || memcmp(line, "VALUE ", 6) != 0) {
            die("%u: '%.*s'", server->port, (int)line_bytes, line);
        }
        while (next < BATCH && memcmp(line + 6, requests[next].key, KEY_BYTES) != 0) {
            next++;
        }
        if (next == BATCH) {
            die("%u: not asked for: '%.*s'", server->port, (int)line_bytes, line);
        }
        const uint32_t value_bytes = requests[next].value_bytes;
        const int bytes =
            snprintf(want, sizeof(want), "VALUE %s 0 %" PRIu32, requests[next].key, value_bytes);
        if ((size_t)bytes != line_bytes || memcmp(want, line, line_bytes) != 0) {
            die("%u: '%.*s', wanted '%s'", server->port, (int)line_bytes, line, want);
        }
        const char *value = take(server, value_bytes + 2);
        if (memcmp(value, requests[next].key, KEY_BYTES) != 0) {
            die("%u: the value of %s is another's", server->port, requests[next].key);
        }
        server->missed[next++] = false;
    }
    replies_end(server);
}

static void store_missed(struct server *server, const struct request *requests)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        if (!server->missed[i]) {
            continue;
        }
        const uint32_t value_bytes = requests[i].value_bytes;
        bytes += (size_t)snprintf(output + bytes, 64, "set %s 0 %" PRIu32 " %" PRIu32 "\r\n",
                                  requests[i].key, requests[i].ttl_s, value_bytes);
        memcpy(output + bytes, requests[i].key, KEY_BYTES);
        memcpy(output + bytes + KEY_BYTES, filler, value_bytes - KEY_BYTES);
        memcpy(output + bytes + value_bytes, "\r\n", 2);
        bytes += value_bytes + 2;
    }
    send_all(server, output, bytes);
}

static void count_batch(struct server *server, bool measured)
{
    struct counts batch = {.gets = BATCH};
    for (unsigned i = 0; i < BATCH; i++) {
        size_t line_bytes;
        if (!server->missed[i]) {
            batch.hits++;
            continue;
        }
        const char *line = take_line(server, &line_bytes);
        if (line_bytes == 6 && memcmp(line, "STORED", 6) == 0) {
            batch.stored++;
        } else if (line_bytes > 12 && memcmp(line, "SERVER_ERROR", 12) == 0) {
            batch.refused++;
        } else {
            die("%u: '%.*s'", server->port, (int)line_bytes, line);
        }
    }
    replies_end(server);
    struct counts *const sums[] = {&server->all, measured ? &server->measured : NULL};
    for (unsigned i = 0; i < PC_COUNT_OF(sums) && sums[i] != NULL; i++) {
        sums[i]->gets += batch.gets;
        sums[i]->hits += batch.hits;
        sums[i]->stored += batch.stored;
        sums[i]->refused += batch.refused;
    }
}

static void print_counts(const char *name, const struct counts *counts)
{
    printf("\"%s\": {\"gets\": %" PRIu64 ", \"hits\": %" PRIu64 ", \"stored\": %" PRIu64
           ", \"refused\": %" PRIu64 "}",
           name, counts->gets, counts->hits, counts->stored, counts->refused);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    const uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value > max) {
        die("'%s' is not a number up to %" PRIu64, text, max);
    }
    return value;
}

static const struct mix *mix_find(const char *name)
{
    for (size_t i = 0; i < PC_COUNT_OF(mixes); i++) {
        if (strcmp(mixes[i].name, name) == 0) {
            return &mixes[i];
        }
    }
    die("no mix '%s'", name);
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc > 6 + SERVERS_MAX) {
        die("MIX SEED MEGABYTES WARM REQUESTS PORT...");
    }
    const uint64_t warm = number(argv[4], UINT64_C(1) << 40);
    const uint64_t total = warm + number(argv[5], UINT64_C(1) << 40);
    const unsigned server_count = (unsigned)argc - 6;
    static struct server servers[SERVERS_MAX];
    struct request requests[BATCH];
    struct stream stream;
    stream_init(&stream, mix_find(argv[1]), number(argv[2], UINT64_MAX), number(argv[3], 1 << 20),
                total);
    memset(filler, 'v', sizeof(filler));
    for (unsigned i = 0; i < server_count; i++) {
        server_open(&servers[i], (uint16_t)number(argv[6 + i], UINT16_MAX));
    }
    const time_t start = time(NULL);
    while (stream.drawn < total) {
        const bool measured = stream.drawn >= warm;
        for (unsigned i = 0; i < BATCH; i++) {
            stream_draw(&stream, &requests[i]);
        }
        ask(servers, server_count, requests);
        for (unsigned i = 0; i < server_count; i++) {
            hear(&servers[i], requests);
            store_missed(&servers[i], requests);
        }
        for (unsigned i = 0; i < server_count; i++) {
            count_batch(&servers[i], measured);
        }
    }
    printf("{\"seconds\": %ld, \"servers\": [", (long)(time(NULL) - start));
    for (unsigned i = 0; i < server_count; i++) {
        printf("%s{", i == 0 ? "" : ", ");
        print_counts("all", &servers[i].all);
        fputs(", ", stdout);
        print_counts("measured", &servers[i].measured);
        putchar('}');
    }
    puts("]}");
    return 0;
}
