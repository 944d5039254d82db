/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal     What concurrent clients are told of one key could have been told to one after the other,
 *          in every ownership mode, lending or not, on 1, 2 and 4 cores; per connection and key,
 *          effects come in order; once a reply is read, all before it have taken effect, quiet ones
 *          too. What is evicted does not come back. A lost update and a stale read, planted in a
 *          build with hooks, are found.
 * Method   The cache inside this process, on the real kernel. Eight connections from one thread
 *          ask at random (linear_play.h), pipelined, in seeded cuts; some are cut off. The clock of
 *          expiry goes on only where a history says so. Each history of 1000 requests is judged
 *          key by key (linear.h). 1000 histories a combination where PC_TEST_SCALE is long;
 *          PC_SEED=n makes the requests of history n alone, many times: the interleaving is the
 *          kernel's.
 */
#include "base/check.h"
#include "base/hooks.h"
#include "base/random.h"
#include "combination.h"
#include "linear_play.h"
#include "runtime/kernel.h"
#include "runtime/runtime.h"
#include "scale.h"
#include "services/cache.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_BYTES      (UINT64_C(64) << 20)
#define LIMIT_BYTES_TINY (UINT64_C(2) << 20)

enum {
    LINKS = 8,
    REQUESTS = 1000,
    CUTS_MAX = 6,            /* connections cut off a history */
    HISTORIES_A_SERVER = 25, /* what they write fits many times: nothing is evicted */
    HISTORIES_TO_FIND = 300,
    CHUNK_BYTES = 65536,
    PATIENCE_MS = 60000,
    SECONDS_AHEAD = 1000000, /* of the real clock, which then never ticks itself */
};

/* ---- The server ---- */

struct server {
    const struct pc_combination *combination;
    bool tiny; /* so little memory that items vanish */
    struct pc_test_cache cache;
    struct pc_runtime *runtime;
    pthread_t thread;
    int outcome;
    uint16_t port;
    uint64_t second;
};

static void *server_main(void *ctx)
{
    struct server *server = ctx;
    server->outcome = pc_runtime_run(server->runtime);
    return NULL;
}

/* The clock of expiry goes on at once, for all cores. */
static void server_tick(void *ctx, uint32_t seconds)
{
    struct server *server = ctx;
    server->second += seconds;
    pc_runtime_tick(server->runtime,
                    server->runtime->start_ns + server->second * UINT64_C(1000000000));
}

static void server_start(struct server *server, const struct pc_combination *combination, bool tiny,
                         uint64_t seed)
{
    *server = (struct server){.combination = combination, .tiny = tiny};
    pc_test_cache_init(&server->cache, combination, tiny ? LIMIT_BYTES_TINY : LIMIT_BYTES, seed);
    static const char *const listen[] = {"127.0.0.1:0"};
    const struct pc_config config = {.listen = listen,
                                     .listen_count = 1,
                                     .model = "per-core",
                                     .core_count = combination->core_count,
                                     .affinity = -1,
                                     .place_count = server->cache.place_count,
                                     .places_shared = server->cache.places_shared,
                                     .places_lent = server->cache.places_lent,
                                     .signals_declined = true,
                                     .seed = seed};
    char trouble[256] = "";
    if (pc_runtime_create(&config, &pc_cache_service, server->cache.cache, &server->runtime,
                          trouble, sizeof(trouble)) < 0) {
        fail_msg("%s", trouble);
    }
    server_tick(server, SECONDS_AHEAD);
    server->port = (uint16_t)atoi(strrchr(pc_runtime_address(server->runtime, 0), ':') + 1);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void server_stop(struct server *server)
{
    pc_runtime_stop(server->runtime);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    assert_int_equal(server->outcome, 0);
    pc_runtime_destroy(server->runtime);
    pc_test_cache_fini(&server->cache);
}

/* ---- Connections ---- */

struct link {
    int fd;
    struct pc_talk *talk;
    unsigned requests;
    bool cut; /* is broken off somewhere, and followed by another */
    size_t at, end;
    char chunk[CHUNK_BYTES];
};

struct client {
    struct server *server;
    struct pc_play *play;
    struct pc_random random;
    struct link links[LINKS];
    unsigned cuts_left;
    char trouble[200];
};

static void say(struct client *client, const char *what)
{
    if (client->trouble[0] == '\0') {
        snprintf(client->trouble, sizeof(client->trouble), "%s", what);
    }
}

static void link_open(struct client *client, struct link *link, unsigned requests)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(client->server->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(link->fd >= 0);
    assert_int_equal(connect(link->fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    link->at = link->end = 0;
    link->cut = client->cuts_left > 0 && pc_random_below(&client->random, 4) == 0;
    link->requests = requests;
    const uint64_t now =
        link->cut ? pc_random_below(&client->random, (uint64_t)requests + 1) : requests;
    client->cuts_left -= link->cut;
    link->requests -= (unsigned)now;
    link->talk = pc_talk_begin(client->play, pc_random_next(&client->random), (unsigned)now);
}

static void link_close(struct client *client, struct link *link)
{
    if (pc_talk_trouble(link->talk) != NULL) {
        say(client, pc_talk_trouble(link->talk));
    }
    pc_talk_end(link->talk);
    close(link->fd);
    link->fd = -1;
}

/* Gone with what it asked; what is left is asked by another. */
static void link_cut(struct client *client, struct link *link)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (pc_random_below(&client->random, 2) == 0) {
        (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    link_close(client, link);
    link_open(client, link, link->requests);
}

static void link_send(struct client *client, struct link *link)
{
    if (link->at == link->end) {
        const bool piecewise = pc_random_below(&client->random, 8) == 0;
        const size_t room = piecewise ? 1 + pc_random_below(&client->random, 40) : CHUNK_BYTES;
        link->at = 0;
        link->end = pc_talk_pull(link->talk, link->chunk, room);
    }
    if (link->at < link->end) {
        const ssize_t count = send(link->fd, link->chunk + link->at, link->end - link->at,
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) {
            link->at += (size_t)count;
        } else if (errno != EAGAIN) {
            say(client, strerror(errno));
        }
    }
    if (link->cut && link->at == link->end && pc_talk_sent(link->talk)) {
        link_cut(client, link);
    }
}

static void link_receive(struct client *client, struct link *link)
{
    char bytes[8192];
    const ssize_t count = recv(link->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) {
        if (!pc_talk_push(link->talk, bytes, (size_t)count)) {
            say(client, pc_talk_trouble(link->talk));
        } else if (pc_talk_done(link->talk) && !link->cut) {
            link_close(client, link);
        }
    } else if (count == 0) {
        say(client, "the server closed a connection");
    } else if (errno != EAGAIN) {
        say(client, strerror(errno));
    }
}

/* False: all are through. */
static bool round_run(struct client *client)
{
    struct pollfd polls[LINKS];
    bool any = false;
    for (unsigned i = 0; i < LINKS; i++) {
        const struct link *link = &client->links[i];
        polls[i] = (struct pollfd){.fd = link->fd, .events = POLLIN};
        if (link->fd >= 0) {
            any = true;
            const bool sends = link->at < link->end || pc_talk_may_pull(link->talk) ||
                               (link->cut && pc_talk_sent(link->talk));
            polls[i].events |= sends ? POLLOUT : 0;
        }
    }
    if (any && poll(polls, LINKS, PATIENCE_MS) == 0) {
        say(client, "no progress for a minute");
    }
    const unsigned first = (unsigned)pc_random_below(&client->random, LINKS);
    for (unsigned i = 0; any && i < LINKS && client->trouble[0] == '\0'; i++) {
        struct link *link = &client->links[(first + i) % LINKS];
        const short events = polls[(first + i) % LINKS].revents;
        if ((events & (POLLIN | POLLHUP | POLLERR)) && pc_random_below(&client->random, 4) != 0) {
            link_receive(client, link);
        }
        if (link->fd >= 0 && (events & POLLOUT) && pc_random_below(&client->random, 4) != 0) {
            link_send(client, link);
        }
    }
    return any && client->trouble[0] == '\0';
}

/* ---- A history ---- */

/* NULL: it is linear; else what is wrong. */
static const char *history_run(struct server *server, uint64_t seed, unsigned number, FILE *report,
                               struct pc_play_tally *tally)
{
    static char kept[300];
    struct client *client = calloc(1, sizeof(*client));
    assert_non_null(client);
    char prefix[40];
    pc_random_init(&client->random, seed);
    snprintf(prefix, sizeof(prefix), "h%u-%04x-", number,
             (unsigned)pc_random_below(&client->random, 65536));
    const struct pc_play_config config = {.seed = pc_random_next(&client->random),
                                          .prefix = prefix,
                                          .vanishes = server->tiny,
                                          .tick = server_tick,
                                          .ctx = server};
    client->server = server;
    client->play = pc_play_create(&config);
    client->cuts_left = pc_random_below(&client->random, 3) == 0 ? CUTS_MAX : 0;
    for (unsigned i = 0; i < LINKS; i++) {
        link_open(client, &client->links[i], REQUESTS / LINKS);
    }
    while (round_run(client)) {}
    for (unsigned i = 0; i < LINKS; i++) {
        if (client->links[i].fd >= 0) {
            link_close(client, &client->links[i]);
        }
    }
    const char *trouble = pc_play_judge(client->play, report);
    if (client->trouble[0] != '\0') {
        trouble = client->trouble;
    }
    snprintf(kept, sizeof(kept), "%s", trouble != NULL ? trouble : "");
    pc_play_tally(client->play, tally);
    pc_play_destroy(client->play);
    free(client);
    return kept[0] != '\0' ? kept : NULL;
}

static uint64_t seed_first(void)
{
    const char *only = getenv("PC_SEED");
    uint64_t seed;
    if (only != NULL) {
        return strtoull(only, NULL, 0);
    }
    const struct pc_kernel *kernel = pc_kernel_linux();
    assert_int_equal(kernel->random_bytes(kernel, &seed, sizeof(seed)), 0);
    return seed >> 16;
}

/* Keys in all combinations. */
static uint64_t vanished;

static void combination_run(const struct pc_combination *combination, bool tiny, uint64_t count)
{
    const uint64_t seed = seed_first(), step = getenv("PC_SEED") == NULL;
    struct server server;
    struct pc_play_tally tally = {0};
    for (uint64_t i = 0; i < count; i++) {
        if (i % HISTORIES_A_SERVER == 0) {
            server_start(&server, combination, tiny, seed + i);
        }
        const char *trouble = history_run(&server, seed + i * step, (unsigned)i, stderr, &tally);
        if (trouble != NULL) {
            fail_msg("%s, PC_SEED=%" PRIu64 ": %s", combination->name, seed + i * step, trouble);
        }
        if (i % HISTORIES_A_SERVER == HISTORIES_A_SERVER - 1 || i + 1 == count) {
            server_stop(&server);
        }
    }
    print_message("%s: %" PRIu64 " histories from seed %" PRIu64 ", %" PRIu64
                  " calls of one key: %" PRIu64 " told, %" PRIu64 " quiet, %" PRIu64
                  " cut off; %" PRIu64 " ticks, %" PRIu64 " flushes, %" PRIu64
                  " keys with something evicted; %" PRIu64 " steps, at most %" PRIu64 " a key\n",
                  combination->name, count, seed, tally.calls, tally.answered, tally.untold,
                  tally.cut, tally.ticks, tally.flushes, tally.vanished, tally.steps,
                  tally.steps_most);
    assert_true(tally.answered > tally.calls / 2);
    vanished += tally.vanished;
}

/* ---- Cases ---- */

static void visit(const struct pc_combination *combination)
{
    combination_run(combination, false, pc_test_scale(8, 1000));
}

static void every_combination_is_linear(void **state)
{
    (void)state;
    pc_combinations_visit(visit);
    assert_int_equal(vanished, 0);
}

/* Large values that nobody reads drive out what is read: what is gone is gone. */
static void visit_tiny(const struct pc_combination *combination)
{
    combination_run(combination, true, pc_test_scale(4, 200));
}

static void what_is_evicted_does_not_come_back(void **state)
{
    (void)state;
    pc_combinations_visit(visit_tiny);
    assert_true(vanished > 0);
}

#ifdef PC_HOOKS
/* Histories of a server with a planted bug, until one shows it. */
static void find(enum pc_bug bug, const char *name, const struct pc_combination *combination)
{
    struct server server;
    struct pc_play_tally tally = {0};
    const uint64_t seed = seed_first();
    const char *trouble = NULL;
    unsigned count = 0;
    pc_planted_bug = bug;
    server_start(&server, combination, false, seed);
    while (trouble == NULL && count < HISTORIES_TO_FIND) {
        trouble = history_run(&server, seed + count, count, NULL, &tally);
        count++;
    }
    server_stop(&server);
    pc_planted_bug = PC_BUG_NONE;
    print_message("%s, %s: history %u, seed %" PRIu64 ": %s\n", combination->name, name, count,
                  seed + count - 1, trouble != NULL ? trouble : "not found");
    assert_non_null(trouble);
}

static void visit_lost_update(const struct pc_combination *combination)
{
    find(PC_BUG_LOST_UPDATE, "lost update", combination);
}

static void visit_stale_read(const struct pc_combination *combination)
{
    if (strcmp(combination->mode, "crew") == 0 && combination->core_count > 1) {
        find(PC_BUG_PEEK_UNSETTLED, "stale read", combination);
    }
}

/* A cas that does not compare. */
static void a_lost_update_is_found(void **state)
{
    (void)state;
    pc_combinations_visit(visit_lost_update);
}

/* A read that does not wait for what its connection asked of the slice before. */
static void a_stale_read_is_found(void **state)
{
    (void)state;
    pc_combinations_visit(visit_stale_read);
}
#endif

int main(int argc, char **argv)
{
    /* Some of the cases: a pattern of their names. */
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_is_linear),
        cmocka_unit_test(what_is_evicted_does_not_come_back),
#ifdef PC_HOOKS
        cmocka_unit_test(a_lost_update_is_found),
        cmocka_unit_test(a_stale_read_is_found),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
