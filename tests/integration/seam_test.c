/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal     One service runs unchanged under every model, and its replies come complete, in order
 *          and byte for byte; nothing it was promised is broken.
 * Method   The test service inside this process, on the real kernel; a client with many pipelined
 *          connections of seeded depths, cuts and ends verifies every byte. 10^5 requests a model,
 *          10^7 where PC_TEST_SCALE is long.
 */
#include "base/check.h"
#include "runtime/kernel.h"
#include "scale.h"
#include "seam_client.h"
#include "test_service.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTION_COUNT_MAX 200000

struct world {
    const char *model;
    unsigned core_count, worker_count;
    unsigned place_count;
    bool shared, lent, workers;
    uint64_t request_count;
    unsigned open_count;
};

struct server {
    struct pc_runtime *runtime;
    pthread_t thread;
    int outcome;
};

static void *server_main(void *ctx)
{
    struct server *server = ctx;
    server->outcome = pc_runtime_run(server->runtime);
    return NULL;
}

static uint64_t seed_take(void)
{
    const char *given = getenv("PC_TEST_SEED");
    uint64_t seed = 1;
    if (given != NULL) {
        seed = strtoull(given, NULL, 0);
    } else {
        const struct pc_kernel *kernel = pc_kernel_linux();
        assert_int_equal(kernel->random_bytes(kernel, &seed, sizeof(seed)), 0);
    }
    return seed;
}

/* Every kind of thing the service can do was done. */
static void tally_is_complete(const struct pc_test_tally *tally, const struct world *world)
{
    for (unsigned i = 0; i < PC_COUNT_OF(tally->parsed); i++) {
        assert_true(tally->parsed[i] > 0);
    }
    for (unsigned i = 0; i < PC_COUNT_OF(tally->served); i++) {
        assert_true(tally->served[i] > 0);
    }
    for (unsigned i = 0; i < PC_COUNT_OF(tally->bodies); i++) {
        assert_true(tally->bodies[i] > 0);
    }
    assert_true(tally->calls_done > 0);
    assert_true(tally->holds_taken > 0 && tally->copies > 0 && tally->reserves > 0);
    assert_true(tally->reserves_across > 0 && tally->extras > 0);
    /* One in 10 000 requests: a small world may have none. */
    assert_true(tally->bodies_cut > 0 || world->request_count < 100000);
    assert_int_equal(tally->refused, 0);
    assert_int_equal(tally->places_opened, world->place_count);
    assert_int_equal(tally->places_closed, world->place_count);
    /* Where all places are shared, calls are done at once, except on the loop of a pool that ends
     * what a peer left behind. */
    if (!world->shared) {
        assert_true((world->core_count > 1) == (tally->calls_later > 0));
    }
    assert_true(world->lent == (tally->calls_borrowed > 0));
}

static void world_run(const struct world *world)
{
    uint64_t seed = seed_take();
    print_message("model %s, %u cores, seed %#llx\n", world->model, world->core_count,
                  (unsigned long long)seed);
    struct pc_test_service *service = pc_test_service_create(&(struct pc_test_service_config){
        .seed = seed,
        .place_count = world->place_count,
        .places_shared = world->shared,
        .places_lent = world->lent,
        .workers = world->workers,
        .connection_count = CONNECTION_COUNT_MAX,
    });
    assert_non_null(service);
    static const char *const listen[] = {"127.0.0.1:0"};
    struct pc_config config = {
        .listen = listen,
        .listen_count = 1,
        .model = world->model,
        .core_count = world->core_count,
        .worker_count = world->worker_count,
        .affinity = -1,
        .place_count = world->place_count,
        .places_shared = world->shared,
        .places_lent = world->lent,
        .signals_declined = true,
        .seed = seed,
    };
    struct server server = {0};
    char trouble[256] = "";
    if (pc_runtime_create(&config, pc_test_service_rows(service), service, &server.runtime, trouble,
                          sizeof(trouble)) < 0) {
        fail_msg("%s", trouble);
    }
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
    struct seam_client_config client = {
        .seed = seed,
        .address = pc_runtime_address(server.runtime, 0),
        .open_count = world->open_count,
        .request_count = world->request_count,
        .call_count_max = PC_TEST_CALL_COUNT_MAX,
        .connection_count_max = CONNECTION_COUNT_MAX,
    };
    struct seam_client_result result;
    seam_client_run(&client, &result);
    pc_runtime_stop(server.runtime);
    assert_int_equal(pthread_join(server.thread, NULL), 0);
    uint64_t accepted = pc_runtime_counter(server.runtime, "accepted");
    uint64_t closed = pc_runtime_counter(server.runtime, "closed");
    uint64_t bad = pc_runtime_counter(server.runtime, "bad_requests");
    pc_runtime_destroy(server.runtime);
    const char *broken = pc_test_service_settled(service);
    if (broken != NULL) {
        print_message("  the service says: %s\n", broken);
    }
    assert_string_equal(result.trouble, "");
    assert_string_equal(broken != NULL ? broken : "", "");
    assert_int_equal(server.outcome, 0);
    assert_int_equal(accepted, result.connections);
    assert_int_equal(closed, result.connections);
    assert_int_equal(bad, result.malformed);
    struct pc_test_tally tally;
    pc_test_service_tally(service, &tally);
    tally_is_complete(&tally, world);
    print_message(
        "  %llu replies on %llu connections: %llu half-closed, %llu reset, %llu hung up "
        "on, %llu malformed, %llu abandoned; %llu of %llu calls elsewhere, %llu borrowed\n",
        (unsigned long long)result.verified, (unsigned long long)result.connections,
        (unsigned long long)result.half_closed, (unsigned long long)result.reset,
        (unsigned long long)result.hung_up, (unsigned long long)result.malformed,
        (unsigned long long)result.abandoned, (unsigned long long)tally.calls_later,
        (unsigned long long)tally.calls_posted, (unsigned long long)tally.calls_borrowed);
    pc_test_service_destroy(service);
}

/* ---- Drains ---- */

#define ARRIVALS 40

struct arrivals {
    const char *port;
    int fds[ARRIVALS];
    _Atomic(unsigned) count;
};

static void *arrive(void *ctx)
{
    struct arrivals *arrivals = ctx;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(arrivals->port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < ARRIVALS; i++) {
        arrivals->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(arrivals->fds[i] >= 0);
        /* Refused once the listeners are closed. */
        (void)connect(arrivals->fds[i], (struct sockaddr *)&address, sizeof(address));
        atomic_fetch_add(&arrivals->count, 1);
    }
    return NULL;
}

/* Silent connections arrive on all cores, and go from core to core, while the drain begins. */
static void drain_among_arrivals(const char *model, unsigned core_count, unsigned stop_after)
{
    struct pc_test_service *service =
        pc_test_service_create(&(struct pc_test_service_config){.workers = true});
    assert_non_null(service);
    static const char *const listen[] = {"127.0.0.1:0"};
    struct pc_config config = {.listen = listen,
                               .listen_count = 1,
                               .model = model,
                               .core_count = core_count,
                               .worker_count = 1,
                               .affinity = -1,
                               .drain_ns = UINT64_C(20000000000),
                               .signals_declined = true};
    struct server server = {0};
    assert_int_equal(pc_runtime_create(&config, pc_test_service_rows(service), service,
                                       &server.runtime, NULL, 0),
                     0);
    assert_int_equal(pthread_create(&server.thread, NULL, server_main, &server), 0);
    struct arrivals arrivals = {.port = strrchr(pc_runtime_address(server.runtime, 0), ':') + 1};
    pthread_t arriving;
    assert_int_equal(pthread_create(&arriving, NULL, arrive, &arrivals), 0);
    while (atomic_load(&arrivals.count) < stop_after) {
        sched_yield();
    }
    pc_runtime_stop(server.runtime);
    assert_int_equal(pthread_join(server.thread, NULL), 0);
    assert_int_equal(pthread_join(arriving, NULL), 0);
    assert_int_equal(server.outcome, 0);
    assert_int_equal(pc_runtime_counter(server.runtime, "accepted"),
                     pc_runtime_counter(server.runtime, "closed"));
    pc_runtime_destroy(server.runtime);
    for (unsigned i = 0; i < ARRIVALS; i++) {
        close(arrivals.fds[i]);
    }
    pc_test_service_destroy(service);
}

static void a_drain_lets_silent_arrivals_go(void **state)
{
    for (unsigned i = 0; i < pc_test_scale(60, 2000); i++) {
        drain_among_arrivals("per-core", 4, i % ARRIVALS);
    }
    for (unsigned i = 0; i < pc_test_scale(10, 200); i++) {
        drain_among_arrivals("thread-pool", 0, i % ARRIVALS);
        drain_among_arrivals("thread-per-connection", 0, i % ARRIVALS);
    }
}

static void one_core_keeps_every_promise(void **state)
{
    world_run(&(struct world){.model = "per-core",
                              .core_count = 1,
                              .place_count = 5,
                              .request_count = pc_test_scale(30000, 1000000),
                              .open_count = 24});
}

static void two_cores_and_workers_keep_every_promise(void **state)
{
    world_run(&(struct world){.model = "per-core",
                              .core_count = 2,
                              .worker_count = 2,
                              .place_count = 7,
                              .workers = true,
                              .request_count = pc_test_scale(100000, 10000000),
                              .open_count = 24});
}

static void four_cores_keep_every_promise(void **state)
{
    world_run(&(struct world){.model = "per-core",
                              .core_count = 4,
                              .place_count = 16,
                              .request_count = pc_test_scale(30000, 1000000),
                              .open_count = 24});
}

/* Few connections, so that cores sleep and are borrowed from. */
static void cores_that_lend_keep_every_promise(void **state)
{
    world_run(&(struct world){.model = "per-core",
                              .core_count = 3,
                              .place_count = 12,
                              .lent = true,
                              .request_count = pc_test_scale(30000, 3000000),
                              .open_count = 3});
}

static void threads_keep_every_promise(void **state)
{
    world_run(&(struct world){.model = "thread-per-connection",
                              .place_count = 5,
                              .shared = true,
                              .workers = true,
                              .request_count = pc_test_scale(100000, 10000000),
                              .open_count = 24});
}

static void a_pool_keeps_every_promise(void **state)
{
    world_run(&(struct world){.model = "thread-pool",
                              .worker_count = 4,
                              .place_count = 5,
                              .shared = true,
                              .workers = true,
                              .request_count = pc_test_scale(100000, 10000000),
                              .open_count = 24});
}

int main(int argc, char **argv)
{
    /* Some of the cases: a pattern of their names. */
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_lets_silent_arrivals_go),
        cmocka_unit_test(one_core_keeps_every_promise),
        cmocka_unit_test(two_cores_and_workers_keep_every_promise),
        cmocka_unit_test(four_cores_keep_every_promise),
        cmocka_unit_test(cores_that_lend_keep_every_promise),
        cmocka_unit_test(threads_keep_every_promise),
        cmocka_unit_test(a_pool_keeps_every_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
