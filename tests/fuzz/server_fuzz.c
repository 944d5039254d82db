/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: no stream of bytes breaks the cache server, and where it is cut changes no answer.
 * Method: the whole server in this thread, turn by turn: epoll, connections, the cache, slices with
 * little memory, at the other end of a socketpair. Only listening and time are invented. The input
 * is played twice, once in large pieces and once in small ones with turns and reads in between; the
 * answers must have a known form and be the same, and two more clients must find a sound server.
 *
 * Input: a byte of settings, four that seed the cuts, then acts. An act is what is sent until all
 * is answered; 0xfe 0xed N ends one, N seconds pass, and the next begins on the same connection.
 */
#include "base/check.h"
#include "base/random.h"
#include "models/engine.h"
#include "replies.h"
#include "runtime/core.h"
#include "services/cache.h"
#include "store/owners/owners.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CORES_MAX = 2,
    INPUT_BYTES_MAX = 64 * 1024,
    SETTINGS_BYTES = 5,
    SAID_BYTES_MAX = 4 << 20, /* who asks for more is not listened to any longer */
    VALUE_BYTES_MAX = 40 * 1024,
    TIGHT_BYTES = 768 * 1024, /* 12 segments: evictions, refusals, reservations that must wait */
    ROOMY_BYTES = 4 << 20,
    SEND_BUFFER_BYTES = 2048,
    QUIET_ROUNDS = 3,
    ROUNDS_MAX = 100000,
};

enum { SETTING_TWO_CORES = 1, SETTING_TIGHT = 2, SETTING_SMALL_BUFFER = 4, SETTING_MODE_SHIFT = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The real kernel, less listening and time: eventfds stand for listeners, and what they accept was
 * put there by the test. */
struct machine {
    struct pc_kernel kernel;
    uint64_t now_ns;
    int listeners[CORES_MAX];
    unsigned listener_count;
    int caller;     /* a server's end of a socketpair that waits to be accepted; -1: none */
    int open_count; /* descriptors of the server */
};

struct server {
    struct machine machine;
    struct pc_owners *owners;
    struct pc_cache *cache;
    struct pc_runtime *runtime;
    unsigned core_count;
};

struct peer {
    int fd;
    bool ended; /* the server will say no more */
    bool enough;
    uint8_t *said;
    size_t said_bytes;
};

struct cut {
    bool small;
    struct pc_random random;
};

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

/* ---- The machine ---- */

static struct machine *machine_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct machine, kernel);
}

static int counted(struct machine *machine, int fd)
{
    machine->open_count += fd >= 0;
    return fd;
}

static int machine_socket(const struct pc_kernel *kernel, int family, int type, int protocol)
{
    struct machine *machine = machine_of(kernel);
    const struct pc_kernel *real = pc_kernel_linux();
    return counted(machine, real->eventfd(real, 0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static int machine_bind(const struct pc_kernel *kernel, int fd, const struct sockaddr *address,
                        socklen_t bytes)
{
    return 0;
}

static int machine_listen(const struct pc_kernel *kernel, int fd, int backlog)
{
    struct machine *machine = machine_of(kernel);
    machine->listeners[machine->listener_count++ % CORES_MAX] = fd;
    return 0;
}

static int machine_getsockname(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                               socklen_t *bytes)
{
    *(struct sockaddr_in *)address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(11211)};
    return 0;
}

static int machine_setsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                              const void *value, socklen_t bytes)
{
    return 0;
}

static int machine_accept(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                          socklen_t *bytes, int flags)
{
    struct machine *machine = machine_of(kernel);
    const int caller = machine->caller;
    machine->caller = -1;
    return caller < 0 ? -EAGAIN : counted(machine, caller);
}

static int machine_close(const struct pc_kernel *kernel, int fd)
{
    machine_of(kernel)->open_count--;
    return pc_kernel_linux()->close(kernel, fd);
}

static int machine_epoll_create(const struct pc_kernel *kernel, int flags)
{
    return counted(machine_of(kernel), pc_kernel_linux()->epoll_create1(kernel, flags));
}

static int machine_eventfd(const struct pc_kernel *kernel, unsigned start, int flags)
{
    return counted(machine_of(kernel), pc_kernel_linux()->eventfd(kernel, start, flags));
}

/* The kernel's timers know nothing of invented time; a core does without. */
static int machine_timerfd(const struct pc_kernel *kernel, uint64_t period_ns)
{
    return -ENOSYS;
}

/* Whoever would sleep looks again at its next turn. */
static int machine_epoll_wait(const struct pc_kernel *kernel, int epoll_fd,
                              struct epoll_event *events, int event_count_max, uint64_t timeout_ns)
{
    return pc_kernel_linux()->epoll_wait(kernel, epoll_fd, events, event_count_max, 0);
}

static uint64_t machine_clock(const struct pc_kernel *kernel)
{
    return machine_of(kernel)->now_ns;
}

static uint64_t machine_realtime_s(const struct pc_kernel *kernel)
{
    return machine_of(kernel)->now_ns / 1000000000;
}

static void machine_init(struct machine *machine)
{
    *machine = (struct machine){
        .kernel = *pc_kernel_linux(), .now_ns = UINT64_C(1700000000000000000), .caller = -1};
    struct pc_kernel *kernel = &machine->kernel;
    kernel->socket = machine_socket;
    kernel->bind = machine_bind;
    kernel->listen = machine_listen;
    kernel->getsockname = machine_getsockname;
    kernel->setsockopt = machine_setsockopt;
    kernel->accept4 = machine_accept;
    kernel->close = machine_close;
    kernel->epoll_create1 = machine_epoll_create;
    kernel->eventfd = machine_eventfd;
    kernel->timerfd = machine_timerfd;
    kernel->epoll_wait = machine_epoll_wait;
    kernel->clock_ns = kernel->realtime_ns = kernel->thread_cpu_ns = machine_clock;
    kernel->realtime_s = machine_realtime_s;
}

/* ---- The server ---- */

/* The names of the ownership modes are words of one line. */
static const char *mode_choose(unsigned choice, char *name, size_t name_bytes)
{
    unsigned count = 0;
    for (const char *at = pc_owners_mode_names(); *at != '\0'; at++) {
        count += *at == ' ';
    }
    const char *from = pc_owners_mode_names();
    for (unsigned i = 0; i < choice % count; i++) {
        from = strchr(from, ' ') + 1;
    }
    (void)snprintf(name, name_bytes, "%.*s", (int)strcspn(from, " "), from);
    return name;
}

static void server_cores_make(struct server *server)
{
    struct pc_runtime *runtime = server->runtime;
    for (unsigned i = 0; i < server->core_count; i++) {
        int outcome = pc_core_create(runtime, i, runtime->poller, &runtime->cores[i]);
        check(outcome == 0, "a core is made");
    }
    if (server->core_count == 2) {
        pc_mailbox_connect(runtime->cores[0]->mailbox, runtime->cores[1]->mailbox);
        pc_mailbox_connect(runtime->cores[1]->mailbox, runtime->cores[0]->mailbox);
    }
    for (unsigned i = 0; i < server->core_count; i++) {
        server->machine.listeners[i] = runtime->listen_fds[i];
        int outcome = pc_core_listen(runtime->cores[i], &runtime->listen_fds[i], 1);
        check(outcome == 0, "a core listens");
        runtime->listen_fds[i] = -1;
    }
}

static void server_open(struct server *server, uint8_t settings)
{
    static const char *const listen[] = {"127.0.0.1:11211"};
    char mode[32], trouble[128] = "";
    const uint64_t limit_bytes = settings & SETTING_TIGHT ? TIGHT_BYTES : ROOMY_BYTES;
    server->core_count = settings & SETTING_TWO_CORES ? 2 : 1;
    machine_init(&server->machine);
    const struct pc_owners_config owners_config = {
        .mode = mode_choose(settings >> SETTING_MODE_SHIFT, mode, sizeof(mode)),
        .core_count = server->core_count,
        .limit_bytes = limit_bytes,
        .value_bytes_max = VALUE_BYTES_MAX,
        .seed = 1};
    int outcome = pc_owners_create(&owners_config, &server->owners);
    check(outcome == 0, "there is a store");
    const struct pc_cache_settings cache_settings = {.owners = server->owners,
                                                     .limit_bytes = limit_bytes,
                                                     .value_bytes_max = VALUE_BYTES_MAX,
                                                     .connection_count_max = 16};
    outcome = pc_cache_create(&cache_settings, &server->cache);
    check(outcome == 0, "there is a cache");
    const struct pc_config config = {.listen = listen,
                                     .listen_count = 1,
                                     .poller = "epoll",
                                     .core_count = server->core_count,
                                     .place_count = server->owners->place_count,
                                     .places_shared = server->owners->mode->any_lane,
                                     .send_ns = UINT64_C(3600000000000000),
                                     .signals_declined = true,
                                     .seed = 1,
                                     .kernel = &server->machine.kernel};
    outcome = pc_runtime_create(&config, &pc_cache_service, server->cache, &server->runtime,
                                trouble, sizeof(trouble));
    check(outcome == 0, trouble);
    server_cores_make(server);
}

static void server_turn(struct server *server, unsigned core_index)
{
    check(pc_core_turn(server->runtime->cores[core_index]), "a core stays while nobody says stop");
}

/* True: all cores sleep until something comes. */
static bool server_round(struct server *server)
{
    bool sleeping = true;
    for (unsigned i = 0; i < server->core_count; i++) {
        server_turn(server, i);
        sleeping &= server->runtime->cores[i]->sleeping;
    }
    return sleeping;
}

/* Whether the store has had to choose what to keep: then turns and cuts decide who is kept. */
static bool server_was_short(const struct server *server)
{
    bool was_short = false;
    for (unsigned i = 0; i < server->owners->place_count; i++) {
        struct pc_slice_stats stats;
        pc_slice_stats(pc_owners_slice(server->owners, i), 1, &stats);
        was_short |= stats.evicted + stats.no_memory + stats.hold_refused > 0;
    }
    return was_short;
}

static void server_close(struct server *server)
{
    struct pc_runtime *runtime = server->runtime;
    pc_runtime_stop(runtime);
    bool left[CORES_MAX] = {false};
    unsigned left_count = 0;
    for (unsigned i = 0; i < ROUNDS_MAX && left_count < server->core_count; i++) {
        const unsigned core = i % server->core_count;
        if (!left[core] && !pc_core_turn(runtime->cores[core])) {
            left[core] = true;
            left_count++;
        }
    }
    check(left_count == server->core_count, "a drain ends");
    pc_runtime_destroy(runtime);
    pc_cache_destroy(server->cache);
    pc_owners_destroy(server->owners);
    check(server->machine.open_count == 0, "no descriptor is forgotten");
}

/* ---- Those who talk to it ---- */

static void peer_open(struct peer *peer, struct server *server, unsigned core, bool small_buffer)
{
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0,
          "there is a socketpair");
    if (small_buffer) {
        const int bytes = SEND_BUFFER_BYTES;
        check(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0,
              "a buffer can be small");
    }
    *peer = (struct peer){.fd = ends[0], .said = malloc(SAID_BYTES_MAX)};
    check(peer->said != NULL, "there is memory");
    server->machine.caller = ends[1];
    const uint64_t one = 1;
    check(write(server->machine.listeners[core], &one, sizeof(one)) == sizeof(one),
          "a listener can be told");
    for (unsigned i = 0; i < QUIET_ROUNDS; i++) {
        (void)server_round(server);
    }
    check(server->machine.caller < 0, "who calls is accepted");
}

static void peer_close(struct peer *peer)
{
    check(close(peer->fd) == 0, "a peer's end is open until now");
    free(peer->said);
}

/* True: something was read, or the end was. */
static bool peer_read(struct peer *peer, size_t bytes_max)
{
    if (peer->ended || peer->enough) {
        return false;
    }
    const ssize_t count = recv(peer->fd, peer->said + peer->said_bytes,
                               pc_min_size(bytes_max, SAID_BYTES_MAX - peer->said_bytes), 0);
    if (count > 0) {
        peer->said_bytes += (size_t)count;
        peer->enough = peer->said_bytes == SAID_BYTES_MAX;
        return true;
    }
    /* A server that hung up need not read what else we said: then its close is a reset. */
    peer->ended = count == 0 || errno == ECONNRESET;
    check(peer->ended || errno == EAGAIN, "a socketpair has no other trouble");
    return peer->ended;
}

/* Read until everybody sleeps and nothing comes any more. */
static void settle(struct server *server, struct peer *peer)
{
    unsigned quiet = 0;
    for (unsigned i = 0; quiet < QUIET_ROUNDS; i++) {
        check(i < ROUNDS_MAX, "a server comes to rest");
        const bool sleeping = server_round(server);
        quiet = peer_read(peer, SAID_BYTES_MAX) || !sleeping ? 0 : quiet + 1;
    }
}

static size_t cut_draw(struct cut *cut)
{
    return cut->small
               ? 1 + pc_random_below(&cut->random, UINT64_C(1) << pc_random_below(&cut->random, 12))
               : INPUT_BYTES_MAX;
}

/* Send all of it, in pieces; between them some of the cores take a turn, and we read a little. */
static void act(struct server *server, struct peer *peer, struct cut *cut, const uint8_t *bytes,
                size_t count)
{
    while (count > 0 && !peer->ended && !peer->enough) {
        const ssize_t sent = send(peer->fd, bytes, pc_min_size(cut_draw(cut), count), MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
        } else if (errno != EAGAIN) {
            break; /* it hung up; what it said before can still be read */
        }
        if (!cut->small) {
            (void)server_round(server);
            (void)peer_read(peer, SAID_BYTES_MAX);
            continue;
        }
        for (uint64_t turns = pc_random_below(&cut->random, 4); turns > 0; turns--) {
            server_turn(server, (unsigned)pc_random_below(&cut->random, server->core_count));
        }
        if (pc_random_below(&cut->random, 2) == 0) {
            (void)peer_read(peer, cut_draw(cut));
        }
    }
    settle(server, peer);
}

static const uint8_t *act_end(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *mark = memmem(at, (size_t)(end - at), "\xfe\xed", 2);
    return mark != NULL && end - mark >= 3 ? mark : NULL;
}

static void acts(struct server *server, struct peer *peer, struct cut *cut, const uint8_t *at,
                 const uint8_t *end)
{
    const uint8_t *mark;
    while ((mark = act_end(at, end)) != NULL) {
        act(server, peer, cut, at, (size_t)(mark - at));
        server->machine.now_ns += mark[2] * UINT64_C(1000000000);
        settle(server, peer);
        at = mark + 3;
    }
    act(server, peer, cut, at, (size_t)(end - at));
}

/* Whatever happened to the others: one that comes later is served as ever. */
static void witness(struct server *server, unsigned core)
{
    static const char asked[] = "set w 0 0 1\r\nx\r\nget w\r\nmn\r\n";
    static const char answer[] = "STORED\r\nVALUE w 0 1\r\nx\r\nEND\r\nMN\r\n";
    struct peer peer;
    struct cut cut = {.small = false};
    peer_open(&peer, server, core, false);
    act(server, &peer, &cut, (const uint8_t *)asked, sizeof(asked) - 1);
    check(peer.said_bytes == sizeof(answer) - 1 &&
              memcmp(peer.said, answer, sizeof(answer) - 1) == 0,
          "a witness is served");
    peer_close(&peer);
}

/* Play it once; false: what was said depends on what the store had to give up. */
static bool play(const uint8_t *data, size_t size, bool small, struct pc_replies *replies,
                 bool *out_enough)
{
    struct server *server = calloc(1, sizeof(*server));
    struct peer peer;
    struct cut cut = {.small = small};
    check(server != NULL, "there is memory");
    pc_random_init(&cut.random, (uint64_t)data[1] << 24 | data[2] << 16 | data[3] << 8 | data[4]);
    server_open(server, data[0]);
    peer_open(&peer, server, 0, small && (data[0] & SETTING_SMALL_BUFFER));
    acts(server, &peer, &cut, data + SETTINGS_BYTES, data + size);
    if (!peer.enough) {
        check(shutdown(peer.fd, SHUT_WR) == 0, "a peer can say that it is done");
        settle(server, &peer);
        check(peer.ended, "a half-closed connection is ended");
    }
    pc_replies_init(replies);
    check(pc_replies_read(replies, peer.said, peer.said_bytes), replies->trouble);
    check(peer.enough || replies->at == peer.said + peer.said_bytes, "a reply is whole");
    *out_enough = peer.enough;
    peer_close(&peer);
    for (unsigned i = 0; i < server->core_count; i++) {
        witness(server, i);
    }
    const bool repeatable = !server_was_short(server);
    server_close(server);
    free(server);
    return repeatable;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS_BYTES || size > INPUT_BYTES_MAX) {
        return 0;
    }
    struct pc_replies whole, pieces;
    bool whole_enough, pieces_enough;
    bool repeatable = play(data, size, false, &whole, &whole_enough);
    repeatable &= play(data, size, true, &pieces, &pieces_enough);
    if (repeatable) {
        const size_t common = pc_min_size(whole.text_bytes, pieces.text_bytes);
        check(whole_enough == pieces_enough, "cuts do not change how much is said");
        check(whole_enough || whole.text_bytes == pieces.text_bytes,
              "cuts do not change how much is said");
        check(common == 0 || memcmp(whole.text, pieces.text, common) == 0,
              "cuts do not change what is said");
    }
    pc_replies_fini(&whole);
    pc_replies_fini(&pieces);
    return 0;
}
