/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox_stress_test: the same traffic on real threads, with real bells.
 *
 * Goal    What the fibers cannot show: the machine's own reordering, and races ThreadSanitizer
 * sees. Method  A thread per core and one outside, eventfds for bells, many short rounds so that
 * the beginnings and ends, where bells matter, are many. A lost letter ends in the test's time
 * limit.
 */
#include "mailbox_traffic.h"

#include "scale.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct hall {
    struct traffic traffic;
    int bells[TRAFFIC_CORES_MAX];
};

static void fail_here(void *ctx, const char *what)
{
    (void)ctx;
    fprintf(stderr, "mailbox_stress_test: %s\n", what);
    abort();
}

static void ring(void *ctx, unsigned index)
{
    struct hall *hall = ctx;
    if (eventfd_write(hall->bells[index], 1) != 0) {
        fail_here(ctx, "an eventfd refuses");
    }
}

static void wait_for_bell(void *ctx, unsigned index)
{
    struct hall *hall = ctx;
    eventfd_t count;
    while (eventfd_read(hall->bells[index], &count) != 0) {
        if (errno != EINTR) {
            fail_here(ctx, "an eventfd cannot be read");
        }
    }
}

static void *run_core(void *ctx)
{
    traffic_run_core(ctx);
    return NULL;
}

static void *run_outside(void *ctx)
{
    struct hall *hall = ctx;
    traffic_run_outside(&hall->traffic, NULL);
    return NULL;
}

static void run_round(uint64_t seed, unsigned core_count, unsigned credits, unsigned request_count)
{
    struct hall hall;
    const struct traffic_config config = {.seed = seed,
                                          .core_count = core_count,
                                          .credits = credits,
                                          .request_count = request_count,
                                          .note_count = 100,
                                          .batch_max = 32,
                                          .wait = wait_for_bell,
                                          .ring = ring,
                                          .fail = fail_here,
                                          .ctx = &hall};
    assert_int_equal(traffic_open(&hall.traffic, &config), 0);
    pthread_t threads[TRAFFIC_CORES_MAX + 1];
    for (unsigned i = 0; i < core_count; i++) {
        hall.bells[i] = eventfd(0, EFD_CLOEXEC);
        assert_true(hall.bells[i] >= 0);
    }
    for (unsigned i = 0; i < core_count; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_core, &hall.traffic.cores[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[core_count], NULL, run_outside, &hall), 0);
    for (unsigned i = 0; i <= core_count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(traffic_settled(&hall.traffic));
    for (unsigned i = 0; i < core_count; i++) {
        assert_int_equal(close(hall.bells[i]), 0);
    }
    traffic_close(&hall.traffic);
}

static void short_rounds_settle(void **state)
{
    (void)state;
    const uint64_t rounds = pc_test_scale(200, 20000);
    for (uint64_t round = 0; round < rounds; round++) {
        run_round(round, 2 + (unsigned)(round % 3), 1u << (round % 6), 50);
    }
}

static void long_rounds_settle(void **state)
{
    (void)state;
    const unsigned requests = (unsigned)pc_test_scale(50000, 1000000);
    for (unsigned core_count = 2; core_count <= TRAFFIC_CORES_MAX; core_count++) {
        run_round(core_count, core_count, 0, requests);
        run_round(core_count, core_count, 4, requests / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_rounds_settle),
        cmocka_unit_test(long_rounds_settle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
