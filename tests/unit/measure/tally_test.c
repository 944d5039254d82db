/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Tallies of many threads add up to the one a single thread would have kept; an outbox
 * never loses or reorders a byte. Method  The same stream recorded once whole and once dealt out to
 * threads, with a seed.
 */
#include "measure/tally.h"

#include "base/random.h"
#include "measure/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void record(struct pc_tally *tally, uint64_t draw)
{
    const uint64_t response = draw >> 30, lag = response >> 3;
    pc_histogram_record(tally->timed[PC_TIMED_RESPONSE], response);
    pc_histogram_record(tally->timed[PC_TIMED_LAG], lag);
    pc_histogram_record(tally->operations[draw % PC_OPERATION_COUNT], response);
    pc_histogram_record(tally->deciles[draw % PC_TRAFFIC_DECILES], response);
    pc_histogram_record(tally->classes[draw % PC_CONNECTION_CLASSES], response);
    pc_tally_count(tally, draw % PC_TALLY_COUNT, draw % 7);
    tally->cpu_ns += draw % 1000;
}

static void threads_add_up_bit_for_bit(void **state)
{
    enum { THREADS = 5, COUNT = 50000 };
    struct pc_tally *whole = pc_tally_create(), *sum = pc_tally_create(), *parts[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        parts[i] = pc_tally_create();
    }
    struct pc_random random;
    pc_random_init(&random, 3);
    for (unsigned i = 0; i < COUNT; i++) {
        const uint64_t draw = pc_random_next(&random);
        record(whole, draw);
        record(parts[pc_random_below(&random, THREADS)], draw);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pc_tally_add(sum, parts[i]);
        pc_tally_destroy(parts[i]);
    }
    assert_memory_equal(whole->counters, sum->counters, sizeof(whole->counters));
    assert_int_equal(whole->cpu_ns, sum->cpu_ns);
    for (unsigned i = 0; i < PC_TIMED_COUNT; i++) {
        assert_true(pc_histogram_equal(whole->timed[i], sum->timed[i]));
    }
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        assert_true(pc_histogram_equal(whole->operations[i], sum->operations[i]));
    }
    for (unsigned i = 0; i < PC_TRAFFIC_DECILES; i++) {
        assert_true(pc_histogram_equal(whole->deciles[i], sum->deciles[i]));
    }
    assert_true(pc_histogram_equal(whole->classes[0], sum->classes[0]));
    pc_tally_destroy(whole);
    pc_tally_destroy(sum);
}

static void outbox_keeps_every_byte_in_order(void **state)
{
    struct pc_outbox outbox = {0};
    struct pc_random random;
    pc_random_init(&random, 4);
    uint64_t written = 0, read = 0;
    for (unsigned i = 0; i < 20000; i++) {
        const size_t put = pc_random_below(&random, i % 100 == 0 ? 20000 : 300);
        uint8_t *room = pc_outbox_reserve(&outbox, put);
        for (size_t b = 0; b < put; b++) {
            room[b] = (uint8_t)(written++ * 31 >> 3);
        }
        pc_outbox_commit(&outbox, put);
        const size_t take = pc_random_below(&random, pc_outbox_count(&outbox) + 1);
        for (size_t b = 0; b < take; b++) {
            assert_int_equal(pc_outbox_front(&outbox)[b], (uint8_t)(read++ * 31 >> 3));
        }
        pc_outbox_consume(&outbox, take);
        assert_int_equal(pc_outbox_count(&outbox), written - read);
    }
    pc_outbox_fini(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_add_up_bit_for_bit),
        cmocka_unit_test(outbox_keeps_every_byte_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
