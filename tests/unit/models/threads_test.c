/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a drain under thread-per-connection closes no connection while replies are on their way to
 * its peer, and waits for a peer that takes nothing no longer than PC_LINGER_NS. Method: the engine
 * on the real kernel, but for a clock that only waiting moves, and what the kernel says of bytes
 * that are not acknowledged or not sent, which the test makes up.
 */
#include "base/bytes.h"
#include "runtime/kernel.h"
#include "runtime/limits.h"
#include "runtime/timer.h"
#include "services/echo.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants those above. */
#include <cmocka.h>

enum { FOR_EVER = -1, NO_INFO = -2 };

struct watched {
    struct pc_kernel kernel;
    int unacked_count, unsent_count; /* answers that say so, one kind after the other */
    _Atomic(uint64_t) now_ns;
    _Atomic(int) asked_count;        /* how often the kernel was asked */
    _Atomic(int) asked_fd;           /* of which socket */
    _Atomic(int) asked_before_close; /* asked_count when that socket was closed */
    _Atomic(uint64_t) waited_ns;
};

static struct watched *watched_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct watched, kernel);
}

static int watched_getsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                              void *value, socklen_t *bytes)
{
    struct watched *watched = watched_of(kernel);
    if (level != IPPROTO_TCP || name != TCP_INFO) {
        return pc_kernel_linux()->getsockopt(kernel, fd, level, name, value, bytes);
    }
    const int index = atomic_fetch_add(&watched->asked_count, 1);
    atomic_store(&watched->asked_fd, fd);
    if (watched->unacked_count == NO_INFO) {
        return -EOPNOTSUPP;
    }
    struct tcp_info *info = value;
    *info = (struct tcp_info){0};
    if (watched->unacked_count == FOR_EVER || index < watched->unacked_count) {
        info->tcpi_unacked = 1;
    } else if (index < watched->unacked_count + watched->unsent_count) {
        info->tcpi_notsent_bytes = 1;
    }
    return 0;
}

/* To wait for nothing but time takes none here. */
static int watched_poll(const struct pc_kernel *kernel, struct pollfd *fds, nfds_t count,
                        uint64_t timeout_ns)
{
    struct watched *watched = watched_of(kernel);
    if (count > 0) {
        return pc_kernel_linux()->poll(kernel, fds, count, timeout_ns);
    }
    atomic_fetch_add(&watched->waited_ns, timeout_ns);
    atomic_fetch_add(&watched->now_ns, timeout_ns);
    return 0;
}

static int watched_close(const struct pc_kernel *kernel, int fd)
{
    struct watched *watched = watched_of(kernel);
    if (atomic_load(&watched->asked_fd) == fd) {
        atomic_store(&watched->asked_before_close, atomic_load(&watched->asked_count));
    }
    return pc_kernel_linux()->close(kernel, fd);
}

static uint64_t watched_clock_ns(const struct pc_kernel *kernel)
{
    return atomic_load(&watched_of(kernel)->now_ns);
}

static void *run(void *runtime)
{
    assert_int_equal(pc_runtime_run(runtime), 0);
    return NULL;
}

static int peer_connect(const char *address)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* One peer asks, is answered, and stays while the server drains. */
static void drain(struct watched *watched)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    const struct pc_service echo = pc_echo_service(1024, false);
    const struct pc_config config = {.listen = listen,
                                     .listen_count = 1,
                                     .model = "thread-per-connection",
                                     .affinity = -1,
                                     .drain_ns = 20 * PC_LINGER_NS,
                                     .signals_declined = true,
                                     .kernel = &watched->kernel};
    struct pc_runtime *runtime;
    char trouble[128] = "";
    watched->kernel = *pc_kernel_linux();
    watched->kernel.getsockopt = watched_getsockopt;
    watched->kernel.poll = watched_poll;
    watched->kernel.close = watched_close;
    watched->kernel.clock_ns = watched_clock_ns;
    watched->now_ns = PC_LINGER_NS;
    watched->asked_fd = -1;
    assert_int_equal(pc_runtime_create(&config, &echo, NULL, &runtime, trouble, sizeof(trouble)),
                     0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, runtime), 0);
    const int peer = peer_connect(pc_runtime_address(runtime, 0));
    uint8_t frame[5] = {[4] = 'x'}, said[5];
    pc_be32_store(frame, 1);
    assert_int_equal(send(peer, frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
    assert_int_equal(recv(peer, said, sizeof(said), MSG_WAITALL), sizeof(said));
    assert_memory_equal(said, frame, sizeof(frame));
    pc_runtime_stop(runtime);
    assert_int_equal(recv(peer, said, sizeof(said), 0), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pc_runtime_counter(runtime, "drain_cut"), 0);
    pc_runtime_destroy(runtime);
    close(peer);
}

static void a_drain_closes_when_the_peer_has_it_all(void **state)
{
    struct watched watched = {.unacked_count = 5, .unsent_count = 3};
    drain(&watched);
    assert_int_equal(watched.asked_before_close, 9);
    assert_int_equal(watched.asked_count, 9);
    assert_int_equal(watched.waited_ns, 8 * PC_TICK_NS);
}

static void a_drain_waits_a_while_for_a_peer_that_takes_nothing(void **state)
{
    struct watched watched = {.unacked_count = FOR_EVER};
    drain(&watched);
    assert_true(watched.waited_ns >= PC_LINGER_NS);
    assert_true(watched.waited_ns < PC_LINGER_NS + PC_TICK_NS);
    assert_int_equal(watched.asked_before_close, watched.asked_count);
}

/* A unix socket, say. */
static void a_drain_does_not_wait_where_nobody_can_tell(void **state)
{
    struct watched watched = {.unacked_count = NO_INFO};
    drain(&watched);
    assert_int_equal(watched.asked_count, 1);
    assert_int_equal(watched.waited_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_closes_when_the_peer_has_it_all),
        cmocka_unit_test(a_drain_waits_a_while_for_a_peer_that_takes_nothing),
        cmocka_unit_test(a_drain_does_not_wait_where_nobody_can_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
