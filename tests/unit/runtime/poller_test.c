/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poller_test: the contract of poller.h, kept by every poller.
 *
 * Goal    What a core relies on holds for epoll on the real kernel and for `scripted` on an
 * invented one, calm or full of bad luck. Method  The same cases for each. Peers are plain
 * non-blocking sockets of the same kernel table, over loopback. A case waits for reports, never for
 * time.
 */
#include "base/check.h"
#include "base/hooks.h"
#include "runtime/kernel.h"
#include "runtime/poller/poller.h"
#ifdef PC_HOOKS
#include "script_kernel.h"
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A report that does not come within so many waits of so long will not come. */
#define WAIT_COUNT_MAX 400
#define WAIT_NS        UINT64_C(50000000)
#define PUMP_BYTES     (1024 * 1024)

struct bench {
    const struct pc_kernel *kernel;
    const struct pc_poller_ops *ops;
    struct pc_poller *poller;
    int listen_fd;
    struct sockaddr_in address;
};

static const struct pc_handle listener_handle = {.index = 3, .generation = 0};
static const struct pc_handle handle_a = {.index = 7, .generation = 2};
static const struct pc_handle handle_b = {.index = 9, .generation = 5};

static bool same(struct pc_handle a, struct pc_handle b)
{
    return a.index == b.index && a.generation == b.generation;
}

/* ---- The bench ---- */

/* Small buffers, so that much soon is too much. */
static void shrink(const struct pc_kernel *kernel, int fd, int name)
{
    int bytes = 32 * 1024;
    assert_int_equal(kernel->setsockopt(kernel, fd, SOL_SOCKET, name, &bytes, sizeof(bytes)), 0);
}

static void bench_open(struct bench *bench, const struct pc_kernel *kernel,
                       const struct pc_poller_ops *ops)
{
    *bench = (struct bench){.kernel = kernel, .ops = ops};
    assert_int_equal(ops->create(kernel, &bench->poller), 0);
    bench->listen_fd =
        kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(bench->listen_fd >= 0);
    shrink(kernel, bench->listen_fd, SO_SNDBUF);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(
        kernel->bind(kernel, bench->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(kernel->listen(kernel, bench->listen_fd, 16), 0);
    assert_int_equal(
        kernel->getsockname(kernel, bench->listen_fd, (struct sockaddr *)&bench->address, &bytes),
        0);
    assert_int_equal(ops->arm(bench->poller, bench->listen_fd, listener_handle, true), 0);
}

static void bench_close(struct bench *bench)
{
    bench->ops->close(bench->poller, bench->listen_fd, listener_handle);
    bench->ops->destroy(bench->poller);
}

/* All that is reported for `handle` until all of `wanted` was; the last result too. */
static uint32_t await(struct bench *bench, struct pc_handle handle, uint32_t wanted,
                      int32_t *out_result)
{
    uint32_t seen = 0;
    for (unsigned i = 0; i < WAIT_COUNT_MAX && (seen & wanted) != wanted; i++) {
        struct pc_ready ready[8];
        int count = bench->ops->wait(bench->poller, WAIT_NS, ready, PC_COUNT_OF(ready));
        assert_true(count >= 0);
        for (int j = 0; j < count; j++) {
            if (same(ready[j].handle, handle)) {
                seen |= ready[j].what;
                if ((ready[j].what & PC_READY_SEND) && out_result != NULL) {
                    *out_result = ready[j].result;
                }
            }
        }
    }
    assert_int_equal(seen & wanted, wanted);
    return seen;
}

static int peer_connect(struct bench *bench)
{
    const struct pc_kernel *kernel = bench->kernel;
    int fd = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    shrink(kernel, fd, SO_RCVBUF);
    int outcome =
        kernel->connect(kernel, fd, (struct sockaddr *)&bench->address, sizeof(bench->address));
    assert_true(outcome == 0 || outcome == -EINPROGRESS);
    return fd;
}

static int accept_one(struct bench *bench)
{
    for (unsigned i = 0; i < WAIT_COUNT_MAX; i++) {
        int fd = bench->ops->accept(bench->poller, bench->listen_fd, listener_handle);
        if (fd >= 0) {
            return fd;
        }
        assert_true(fd == -EAGAIN || fd == -EMFILE);
        if (fd == -EAGAIN) {
            (void)await(bench, listener_handle, PC_READY_ACCEPT, NULL);
        }
    }
    fail();
    return -1;
}

/* A connection between a peer and the poller, adopted as `handle`. */
static int pair(struct bench *bench, struct pc_handle handle, int *out_peer)
{
    *out_peer = peer_connect(bench);
    int fd = accept_one(bench);
    assert_int_equal(bench->ops->adopt(bench->poller, fd, handle), 0);
    return fd;
}

static void peer_send(struct bench *bench, int peer, const char *words)
{
    size_t left = strlen(words);
    while (left > 0) {
        ssize_t count = bench->kernel->send(bench->kernel, peer, words, left, MSG_NOSIGNAL);
        assert_true(count > 0);
        words += count;
        left -= (size_t)count;
    }
}

/* Read what comes until `count` bytes are there. */
static void receive_whole(struct bench *bench, int fd, struct pc_handle handle, char *into,
                          size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t here = bench->ops->receive(bench->poller, fd, handle, into + done, count - done);
        if (here == -EAGAIN) {
            (void)await(bench, handle, PC_READY_RECEIVE, NULL);
            continue;
        }
        assert_true(here > 0);
        done += (size_t)here;
    }
}

static void peer_close(struct bench *bench, int peer)
{
    assert_int_equal(bench->kernel->close(bench->kernel, peer), 0);
}

static void peer_reset(struct bench *bench, int peer)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(bench->kernel->setsockopt(bench->kernel, peer, SOL_SOCKET, SO_LINGER, &linger,
                                               sizeof(linger)),
                     0);
    peer_close(bench, peer);
}

/* ---- Cases ---- */

static void bell_ends_a_wait(struct bench *bench)
{
    struct pc_ready ready[4];
    bench->ops->bell(bench->poller);
    assert_int_equal(bench->ops->wait(bench->poller, PC_FOREVER, ready, 4), 0);
    bench->ops->bell(bench->poller);
    bench->ops->bell(bench->poller);
    assert_int_equal(bench->ops->wait(bench->poller, PC_FOREVER, ready, 4), 0);
}

static void wait_ends_at_its_timeout_not_before(struct bench *bench)
{
    const struct pc_kernel *kernel = bench->kernel;
    struct pc_ready ready[4];
    uint64_t begun_ns = kernel->clock_ns(kernel);
    uint64_t due_ns = begun_ns + 2000000;
    uint64_t now_ns;
    /* An interrupted wait may end early with nothing; a core then waits again. */
    while ((now_ns = kernel->clock_ns(kernel)) < due_ns) {
        assert_int_equal(bench->ops->wait(bench->poller, due_ns - now_ns, ready, 4), 0);
    }
    assert_true(now_ns - begun_ns < UINT64_C(5000000000));
}

static void listener_gives_each_connection_once(struct bench *bench)
{
    enum { COUNT = 5 };
    int peers[COUNT], fds[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        peers[i] = peer_connect(bench);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = accept_one(bench);
        for (unsigned j = 0; j < i; j++) {
            assert_int_not_equal(fds[i], fds[j]);
        }
    }
    int none;
    do {
        none = bench->ops->accept(bench->poller, bench->listen_fd, listener_handle);
    } while (none == -EMFILE);
    assert_int_equal(none, -EAGAIN);
    for (unsigned i = 0; i < COUNT; i++) {
        bench->kernel->close(bench->kernel, fds[i]);
        peer_close(bench, peers[i]);
    }
}

static void listener_reports_again_when_armed_again(struct bench *bench)
{
    assert_int_equal(bench->ops->arm(bench->poller, bench->listen_fd, listener_handle, false), 0);
    int peer = peer_connect(bench);
    struct pc_ready ready[4];
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bench->ops->wait(bench->poller, 0, ready, 4), 0);
    }
    assert_int_equal(bench->ops->arm(bench->poller, bench->listen_fd, listener_handle, true), 0);
    (void)await(bench, listener_handle, PC_READY_ACCEPT, NULL);
    int fd = accept_one(bench);
    bench->kernel->close(bench->kernel, fd);
    peer_close(bench, peer);
}

static void bytes_are_reported_and_received_in_order(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    char bytes[16];
    peer_send(bench, peer, "hello");
    (void)await(bench, handle_a, PC_READY_RECEIVE, NULL);
    receive_whole(bench, fd, handle_a, bytes, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(bench->ops->receive(bench->poller, fd, handle_a, bytes, sizeof(bytes)),
                     -EAGAIN);
    peer_send(bench, peer, "wor");
    peer_send(bench, peer, "ld");
    receive_whole(bench, fd, handle_a, bytes, 5);
    assert_memory_equal(bytes, "world", 5);
    bench->ops->close(bench->poller, fd, handle_a);
    peer_close(bench, peer);
}

static void bytes_older_than_adopt_are_reported(struct bench *bench)
{
    int peer = peer_connect(bench);
    int fd = accept_one(bench);
    char bytes[8];
    peer_send(bench, peer, "early");
    assert_int_equal(bench->ops->adopt(bench->poller, fd, handle_a), 0);
    (void)await(bench, handle_a, PC_READY_RECEIVE, NULL);
    receive_whole(bench, fd, handle_a, bytes, 5);
    assert_memory_equal(bytes, "early", 5);
    bench->ops->close(bench->poller, fd, handle_a);
    peer_close(bench, peer);
}

/* A short receive means that there is no more, so with END the end must be found by reading on. */
static void end_with_the_last_bytes_is_reported(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    char bytes[64];
    size_t done = 0;
    peer_send(bench, peer, "bye");
    assert_int_equal(bench->kernel->shutdown(bench->kernel, peer, SHUT_WR), 0);
    (void)await(bench, handle_a, PC_READY_RECEIVE | PC_READY_END, NULL);
    for (;;) {
        ssize_t count =
            bench->ops->receive(bench->poller, fd, handle_a, bytes + done, sizeof(bytes) - done);
        assert_true(count >= 0);
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    assert_int_equal(done, 3);
    assert_memory_equal(bytes, "bye", 3);
    bench->ops->close(bench->poller, fd, handle_a);
    peer_close(bench, peer);
}

/* Whoever reads less than there is goes on reading without another report. */
static void half_closed_peer_is_still_sent_to(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    assert_int_equal(bench->kernel->shutdown(bench->kernel, peer, SHUT_WR), 0);
    (void)await(bench, handle_a, PC_READY_END, NULL);
    char words[] = "late answer", bytes[16];
    size_t sent = 0, got = 0;
    while (got < sizeof(words)) {
        struct iovec piece = {.iov_base = words + sent, .iov_len = sizeof(words) - sent};
        ssize_t count =
            sent < sizeof(words) ? bench->ops->send(bench->poller, fd, handle_a, &piece, 1) : 0;
        if (count == -EAGAIN || count == -EINPROGRESS) {
            int32_t result = 0;
            (void)await(bench, handle_a, PC_READY_SEND, &result);
            count = count == -EINPROGRESS ? result : 0;
        }
        assert_true(count >= 0);
        sent += (size_t)count;
        ssize_t here =
            bench->kernel->recv(bench->kernel, peer, bytes + got, sizeof(bytes) - got, 0);
        assert_true(here > 0 || here == -EAGAIN);
        got += here > 0 ? (size_t)here : 0;
    }
    assert_memory_equal(bytes, words, sizeof(words));
    bench->ops->close(bench->poller, fd, handle_a);
    peer_close(bench, peer);
}

static void reset_is_reported_and_read(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    char byte;
    peer_reset(bench, peer);
    (void)await(bench, handle_a, PC_READY_END, NULL);
    assert_int_equal(bench->ops->receive(bench->poller, fd, handle_a, &byte, 1), -ECONNRESET);
    bench->ops->close(bench->poller, fd, handle_a);
}

/* More than any buffer holds: short, refused and later sends, and a report when it goes on. */
static void much_is_sent_whole_and_in_order(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    uint8_t *out = malloc(PUMP_BYTES), *in = malloc(PUMP_BYTES);
    assert_non_null(out);
    assert_non_null(in);
    for (size_t i = 0; i < PUMP_BYTES; i++) {
        out[i] = (uint8_t)(i * 7 + i / 251);
    }
    size_t sent = 0, got = 0;
    bool waits = false, refused = false;
    while (got < PUMP_BYTES) {
        while (sent < PUMP_BYTES && !waits) {
            size_t half = (PUMP_BYTES - sent) / 2;
            struct iovec pieces[] = {
                {.iov_base = out + sent, .iov_len = half},
                {.iov_base = out + sent + half, .iov_len = PUMP_BYTES - sent - half}};
            ssize_t count = bench->ops->send(bench->poller, fd, handle_a, pieces, 2);
            waits = count < (ssize_t)(PUMP_BYTES - sent);
            assert_true(count > 0 || count == -EAGAIN || count == -EINPROGRESS);
            sent += count > 0 ? (size_t)count : 0;
        }
        refused = refused || waits;
        ssize_t here = bench->kernel->recv(bench->kernel, peer, in + got, PUMP_BYTES - got, 0);
        assert_true(here > 0 || here == -EAGAIN);
        got += here > 0 ? (size_t)here : 0;
        struct pc_ready ready[4];
        int count = bench->ops->wait(bench->poller, here == -EAGAIN ? WAIT_NS : 0, ready, 4);
        for (int i = 0; i < count; i++) {
            if (same(ready[i].handle, handle_a) && (ready[i].what & PC_READY_SEND)) {
                assert_true(ready[i].result >= 0);
                sent += (size_t)ready[i].result;
                waits = false;
            }
        }
    }
    assert_true(refused);
    assert_memory_equal(in, out, PUMP_BYTES);
    free(in);
    free(out);
    bench->ops->close(bench->poller, fd, handle_a);
    peer_close(bench, peer);
}

static void abandoned_socket_is_silent_until_adopted(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    char bytes[8];
    bench->ops->abandon(bench->poller, fd, handle_a);
    peer_send(bench, peer, "moved");
    struct pc_ready ready[4];
    for (unsigned i = 0; i < 3; i++) {
        int count = bench->ops->wait(bench->poller, 0, ready, 4);
        for (int j = 0; j < count; j++) {
            assert_false(same(ready[j].handle, handle_a));
        }
    }
    assert_int_equal(bench->ops->adopt(bench->poller, fd, handle_b), 0);
    (void)await(bench, handle_b, PC_READY_RECEIVE, NULL);
    receive_whole(bench, fd, handle_b, bytes, 5);
    assert_memory_equal(bytes, "moved", 5);
    bench->ops->close(bench->poller, fd, handle_b);
    peer_close(bench, peer);
}

static void close_is_seen_by_the_peer(struct bench *bench)
{
    int peer, fd = pair(bench, handle_a, &peer);
    char byte;
    bench->ops->close(bench->poller, fd, handle_a);
    struct pollfd poll = {.fd = peer, .events = POLLIN};
    assert_int_equal(bench->kernel->poll(bench->kernel, &poll, 1, PC_FOREVER), 1);
    assert_int_equal(bench->kernel->recv(bench->kernel, peer, &byte, 1, 0), 0);
    peer_close(bench, peer);
}

static void connect_reports_its_success(struct bench *bench)
{
    const struct pc_kernel *kernel = bench->kernel;
    int fd = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int outcome = bench->ops->connect(bench->poller, fd, handle_b,
                                      (struct sockaddr *)&bench->address, sizeof(bench->address));
    assert_true(outcome == 0 || outcome == -EINPROGRESS);
    (void)await(bench, handle_b, PC_READY_SEND, NULL);
    int error = -1;
    socklen_t bytes = sizeof(error);
    assert_int_equal(kernel->getsockopt(kernel, fd, SOL_SOCKET, SO_ERROR, &error, &bytes), 0);
    assert_int_equal(error, 0);
    int other = accept_one(bench);
    kernel->close(kernel, other);
    bench->ops->close(bench->poller, fd, handle_b);
}

static void refused_connect_is_told(struct bench *bench)
{
    const struct pc_kernel *kernel = bench->kernel;
    /* A port that was just given back. */
    int gone = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(kernel->bind(kernel, gone, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(kernel->getsockname(kernel, gone, (struct sockaddr *)&address, &bytes), 0);
    assert_int_equal(kernel->close(kernel, gone), 0);
    int fd = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int outcome = bench->ops->connect(bench->poller, fd, handle_b, (struct sockaddr *)&address,
                                      sizeof(address));
    if (outcome == -EINPROGRESS) {
        (void)await(bench, handle_b, PC_READY_END, NULL);
        int error = 0;
        bytes = sizeof(error);
        assert_int_equal(kernel->getsockopt(kernel, fd, SOL_SOCKET, SO_ERROR, &error, &bytes), 0);
        outcome = -error;
        bench->ops->close(bench->poller, fd, handle_b);
    } else {
        kernel->close(kernel, fd);
    }
    assert_int_equal(outcome, -ECONNREFUSED);
}

static void reports_beyond_the_room_come_later(struct bench *bench)
{
    enum { COUNT = 6 };
    int peers[COUNT], fds[COUNT];
    bool told[COUNT] = {false};
    unsigned told_count = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        fds[i] = pair(bench, (struct pc_handle){20 + i, 1}, &peers[i]);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        peer_send(bench, peers[i], "x");
    }
    for (unsigned i = 0; i < WAIT_COUNT_MAX && told_count < COUNT; i++) {
        struct pc_ready ready[2];
        int count = bench->ops->wait(bench->poller, WAIT_NS, ready, 2);
        assert_true(count >= 0 && count <= 2);
        for (int j = 0; j < count; j++) {
            unsigned index = ready[j].handle.index - 20;
            if (index < COUNT && (ready[j].what & PC_READY_RECEIVE) && !told[index]) {
                told[index] = true;
                told_count++;
            }
        }
    }
    assert_int_equal(told_count, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        bench->ops->close(bench->poller, fds[i], (struct pc_handle){20 + i, 1});
        peer_close(bench, peers[i]);
    }
}

static void (*const cases[])(struct bench *) = {
    bell_ends_a_wait,
    wait_ends_at_its_timeout_not_before,
    listener_gives_each_connection_once,
    listener_reports_again_when_armed_again,
    bytes_are_reported_and_received_in_order,
    bytes_older_than_adopt_are_reported,
    end_with_the_last_bytes_is_reported,
    half_closed_peer_is_still_sent_to,
    reset_is_reported_and_read,
    much_is_sent_whole_and_in_order,
    abandoned_socket_is_silent_until_adopted,
    close_is_seen_by_the_peer,
    connect_reports_its_success,
    refused_connect_is_told,
    reports_beyond_the_room_come_later,
};

static void epoll_keeps_the_contract(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PC_COUNT_OF(cases); i++) {
        struct bench bench;
        bench_open(&bench, pc_kernel_linux(), &pc_poller_epoll);
        cases[i](&bench);
        bench_close(&bench);
    }
}

#ifdef PC_HOOKS
static void run_scripted(struct pc_script *script, const struct pc_script_plan *plan, uint64_t seed)
{
    for (unsigned i = 0; i < PC_COUNT_OF(cases); i++) {
        struct bench bench;
        pc_script_init(script, seed);
        script->plan = *plan;
        bench_open(&bench, &script->kernel, &pc_poller_scripted);
        cases[i](&bench);
        bench_close(&bench);
        assert_int_equal(pc_script_open_count(script), 0);
        pc_script_fini(script);
    }
}

static void scripted_keeps_the_contract(void **state)
{
    (void)state;
    struct pc_script *script = malloc(sizeof(*script));
    assert_non_null(script);
    const struct pc_script_plan calm = {.pipe_bytes = 65536};
    run_scripted(script, &calm, 1);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const struct pc_script_plan rough = {.completions = seed % 2 == 0,
                                             .part_arrives = 2,
                                             .late_report = 3,
                                             .needless_report = 16,
                                             .short_send = 4,
                                             .send_in_flight = seed % 2 == 0 ? 1 : 0,
                                             .ghost_report = 2,
                                             .accept_fails = 4,
                                             .wait_interrupted = 8,
                                             .held_back = 4,
                                             .held_ns_max = 1000000,
                                             .step_ns_max = 1000,
                                             .pipe_bytes = (size_t)1 << (10 + seed % 8)};
        run_scripted(script, &rough, seed);
    }
    free(script);
}

/* The real epoll.c, on calls that are interrupted, cut short and out of descriptors. */
static void epoll_keeps_the_contract_on_a_rough_kernel(void **state)
{
    (void)state;
    struct script_kernel *machine = calloc(1, sizeof(*machine));
    assert_non_null(machine);
    for (uint64_t seed = 0; seed < 20 * PC_COUNT_OF(cases); seed++) {
        struct bench bench;
        pc_script_init(&machine->script, seed);
        machine->script.plan = (struct pc_script_plan){.part_arrives = 2,
                                                       .late_report = 3,
                                                       .needless_report = 16,
                                                       .short_send = 4,
                                                       .accept_fails = 4,
                                                       .wait_interrupted = 8,
                                                       .held_back = 4,
                                                       .held_ns_max = 1000000,
                                                       .step_ns_max = 1000,
                                                       .pipe_bytes = (size_t)1 << (10 + seed % 8)};
        machine->interrupts = 3;
        script_kernel_install(machine);
        bench_open(&bench, &machine->script.kernel, &pc_poller_epoll);
        cases[seed % PC_COUNT_OF(cases)](&bench);
        bench_close(&bench);
        assert_int_equal(pc_script_open_count(&machine->script), 0);
        pc_script_fini(&machine->script);
    }
    free(machine);
}

static void the_kernel_decides_the_poller(void **state)
{
    (void)state;
    struct pc_poller *poller = NULL;
    const char *why;
    struct pc_script *script = malloc(sizeof(*script));
    assert_non_null(script);
    pc_script_init(script, 1);
    assert_int_equal(pc_poller_scripted.create(pc_kernel_linux(), &poller), -ENOTSUP);
    assert_null(poller);
    assert_ptr_equal(pc_poller_choose(NULL, pc_kernel_linux(), &why), &pc_poller_epoll);
    assert_ptr_equal(pc_poller_choose(NULL, &script->kernel, &why), &pc_poller_scripted);
    pc_script_fini(script);
    free(script);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epoll_keeps_the_contract),
#ifdef PC_HOOKS
        cmocka_unit_test(scripted_keeps_the_contract),
        cmocka_unit_test(epoll_keeps_the_contract_on_a_rough_kernel),
        cmocka_unit_test(the_kernel_decides_the_poller),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
