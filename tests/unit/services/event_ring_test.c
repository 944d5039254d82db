/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    What the header of the ring promises: events come out as they went in, and what a reader
 *         misses is counted to the event.
 * Method  A ring and readers at random paces beside a list of all that was ever written; a clock
 * that the test moves.
 */
#include "services/event_ring.h"

#include "base/random.h"
#include "runtime/kernel.h"
#include "runtime/runtime.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { READERS = 3, EVENTS = 40000, ALL_KINDS = (1 << PC_EVENT_KIND_COUNT) - 1 };

static uint64_t now_ns = 1000;

static uint64_t test_realtime_ns(const struct pc_kernel *kernel)
{
    (void)kernel;
    return now_ns;
}

static const struct pc_kernel kernel = {.realtime_ns = test_realtime_ns};
static const struct pc_runtime runtime = {.kernel = &kernel};

struct world {
    struct pc_event_ring ring;
    _Atomic uint64_t number;
};

static struct world *world_open(void)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    pc_event_ring_init(&world->ring);
    assert_int_equal(pc_event_ring_open(&world->ring, &runtime), 0);
    return world;
}

static void world_close(struct world *world)
{
    pc_event_ring_close(&world->ring);
    pc_event_ring_fini(&world->ring);
    free(world);
}

static void put(struct world *world, enum pc_event_kind kind, const char *text, size_t text_bytes)
{
    const struct pc_event event = {
        .kind = (uint8_t)kind, .text_bytes = (uint8_t)text_bytes, .value_bytes = text_bytes * 3};
    pc_event_ring_write(&world->ring, &event, text, &world->number);
}

static void event_comes_out_as_it_went_in(void **state)
{
    struct world *world = world_open();
    struct pc_event_cursor cursor;
    struct pc_event event;
    uint8_t text[PC_EVENT_TEXT_BYTES_MAX];
    uint64_t missed = 0;
    (void)state;
    put(world, PC_EVENT_FETCHERS, "before", 6);
    pc_event_ring_join(&world->ring, &cursor);
    assert_false(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    now_ns = 77;
    put(world, PC_EVENT_FETCHERS, "first", 5);
    put(world, PC_EVENT_MUTATIONS, "", 0);
    assert_true(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    assert_int_equal(event.number, 2);
    assert_int_equal(event.realtime_ns, 77);
    assert_int_equal(event.kind, PC_EVENT_FETCHERS);
    assert_int_equal(event.value_bytes, 15);
    assert_int_equal(event.text_bytes, 5);
    assert_memory_equal(text, "first", 5);
    assert_true(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    assert_int_equal(event.number, 3);
    assert_false(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    assert_int_equal(missed, 0);
    world_close(world);
}

static void closed_ring_takes_nothing_and_opens_empty(void **state)
{
    struct world *world = world_open();
    struct pc_event_cursor cursor;
    struct pc_event event;
    uint8_t text[PC_EVENT_TEXT_BYTES_MAX];
    uint64_t missed = 0, written = 0, dropped = 0;
    (void)state;
    put(world, PC_EVENT_FETCHERS, "a", 1);
    pc_event_ring_close(&world->ring);
    put(world, PC_EVENT_FETCHERS, "b", 1);
    assert_int_equal(world->number, 1);
    assert_int_equal(pc_event_ring_open(&world->ring, &runtime), 0);
    pc_event_ring_join(&world->ring, &cursor);
    assert_false(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    put(world, PC_EVENT_FETCHERS, "c", 1);
    assert_true(pc_event_ring_next(&world->ring, &cursor, ALL_KINDS, &event, text, &missed));
    assert_memory_equal(text, "c", 1);
    assert_int_equal(missed, 0);
    pc_event_ring_sum(&world->ring, &written, &dropped);
    assert_int_equal(written, 2);
    assert_int_equal(dropped, 0);
    pc_event_ring_reset(&world->ring);
    pc_event_ring_sum(&world->ring, &written, &dropped);
    assert_int_equal(written, 2);
    world_close(world);
}

/* A reader's view of all that was ever written. */
struct twin {
    struct pc_event_cursor cursor;
    uint32_t kinds;
    uint64_t next; /* index of the first that it has neither read nor missed */
    uint64_t missed;
};

struct written {
    uint8_t kind, text_bytes;
};

static void fill_text(char *text, size_t bytes, uint64_t index)
{
    for (size_t i = 0; i < bytes; i++) {
        text[i] = (char)('a' + (index + i) % 26);
    }
}

/* Read one event, and find it among what was written: all of these kinds before it were missed. */
static bool twin_read(struct world *world, struct twin *twin, const struct written *all,
                      uint64_t count)
{
    struct pc_event event;
    char text[PC_EVENT_TEXT_BYTES_MAX], wanted[PC_EVENT_TEXT_BYTES_MAX];
    uint64_t missed = 0, passed = 0;
    const bool has = pc_event_ring_next(&world->ring, &twin->cursor, twin->kinds, &event,
                                        (uint8_t *)text, &missed);
    const uint64_t index = has ? event.number - 1 : count;
    for (uint64_t i = twin->next; i < index; i++) {
        passed += twin->kinds >> all[i].kind & 1;
    }
    assert_int_equal(missed, passed);
    twin->missed += missed;
    twin->next = has ? index + 1 : count;
    if (has) {
        assert_int_equal(event.kind, all[index].kind);
        assert_int_equal(event.text_bytes, all[index].text_bytes);
        fill_text(wanted, event.text_bytes, index);
        assert_memory_equal(text, wanted, event.text_bytes);
    }
    return has;
}

static void readers_at_any_pace_miss_what_they_are_told(void **state)
{
    struct world *world = world_open();
    struct pc_random random;
    const uint64_t seed = 20261122;
    struct twin twins[READERS] = {
        {.kinds = ALL_KINDS}, {.kinds = 1 << PC_EVENT_EVICTIONS}, {.kinds = 6}};
    struct written *all = calloc(EVENTS, sizeof(*all));
    char text[PC_EVENT_TEXT_BYTES_MAX];
    (void)state;
    assert_non_null(all);
    pc_random_init(&random, seed);
    for (unsigned i = 0; i < READERS; i++) {
        pc_event_ring_join(&world->ring, &twins[i].cursor);
    }
    for (uint64_t i = 0; i < EVENTS; i++) {
        all[i] = (struct written){.kind = (uint8_t)pc_random_below(&random, PC_EVENT_KIND_COUNT),
                                  .text_bytes = (uint8_t)pc_random_below(&random, 251)};
        fill_text(text, all[i].text_bytes, i);
        put(world, all[i].kind, text, all[i].text_bytes);
        /* The first keeps up but for its long absences, the others come seldom. */
        const bool away = i / 4000 % 2 == 1;
        for (unsigned r = 0; r < READERS; r++) {
            const uint64_t chance = r == 0 ? (away ? 0 : 60) : r == 1 ? 15 : 3;
            while (pc_random_below(&random, 100) < chance) {
                (void)twin_read(world, &twins[r], all, i + 1);
            }
        }
    }
    for (unsigned r = 0; r < READERS; r++) {
        while (twin_read(world, &twins[r], all, EVENTS)) {}
        print_message("seed %" PRIu64 ": reader %u missed %" PRIu64 "\n", seed, r, twins[r].missed);
    }
    assert_true(twins[0].missed > 0 && twins[2].missed > 0);
    uint64_t written = 0, dropped = 0;
    pc_event_ring_sum(&world->ring, &written, &dropped);
    assert_int_equal(written, EVENTS);
    assert_true(dropped > 0 && dropped <= twins[0].missed);
    free(all);
    world_close(world);
}

static void what_nobody_read_is_dropped(void **state)
{
    struct world *world = world_open();
    struct twin twin = {.kinds = ALL_KINDS};
    struct written *all = calloc(EVENTS, sizeof(*all));
    (void)state;
    assert_non_null(all);
    pc_event_ring_join(&world->ring, &twin.cursor);
    for (uint64_t i = 0; i < EVENTS; i++) {
        char text[PC_EVENT_TEXT_BYTES_MAX];
        all[i] = (struct written){.kind = i % 2, .text_bytes = 100 + i % 7};
        fill_text(text, all[i].text_bytes, i);
        put(world, all[i].kind, text, all[i].text_bytes);
        if (i < 100 || i % 5000 == 0) {
            assert_true(twin_read(world, &twin, all, i + 1));
        }
    }
    while (twin_read(world, &twin, all, EVENTS)) {}
    uint64_t written = 0, dropped = 0;
    pc_event_ring_sum(&world->ring, &written, &dropped);
    assert_true(twin.missed > 0);
    assert_int_equal(dropped, twin.missed);
    free(all);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_comes_out_as_it_went_in),
        cmocka_unit_test(closed_ring_takes_nothing_and_opens_empty),
        cmocka_unit_test(readers_at_any_pace_miss_what_they_are_told),
        cmocka_unit_test(what_nobody_read_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
