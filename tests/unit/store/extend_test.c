/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    A value in chunks grows by what is added to it: little of it is copied, and whoever sends
 *         what it was before goes on undisturbed.
 * Method  One slice, values of more than half of its memory, and a plain buffer beside each.
 */
#include "store/slice.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { LIMIT_BYTES = 8 << 20, SEGMENT_BYTES = 64 << 10, VALUE_BYTES_MAX = 7 << 20 };

struct world {
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct pc_key key;
    uint8_t *twin; /* twice the room, filled from the middle */
    uint64_t from, bytes;
    struct pc_random random;
};

static void world_open(struct world *world)
{
    *world = (struct world){.key = {"grows", 5, XXH3_64bits_withSeed("grows", 5, 0)}};
    const struct pc_pool_config pool = {
        .limit_bytes = LIMIT_BYTES, .segment_bytes = SEGMENT_BYTES, .slice_count = 1};
    assert_int_equal(pc_pool_create(&pool, &world->pool), 0);
    const struct pc_slice_config slice = {.pool = world->pool, .value_bytes_max = VALUE_BYTES_MAX};
    assert_int_equal(pc_slice_create(&slice, &world->slice), 0);
    world->twin = malloc(2 * VALUE_BYTES_MAX);
    assert_non_null(world->twin);
    world->from = VALUE_BYTES_MAX;
    pc_random_init(&world->random, 7);
}

static void world_close(struct world *world)
{
    struct pc_pool_stats stats;
    pc_slice_destroy(world->slice);
    pc_pool_stats(world->pool, &stats);
    assert_int_equal(stats.segment_count, 0);
    assert_int_equal(stats.held_count, 0);
    pc_pool_destroy(world->pool);
    free(world->twin);
}

/* New bytes of the twin, for a store of that mode. */
static uint8_t *twin_add(struct world *world, enum pc_store_mode mode, uint64_t bytes)
{
    world->from -= mode == PC_STORE_PREPEND ? bytes : 0;
    uint8_t *at = world->twin + world->from + (mode == PC_STORE_PREPEND ? 0 : world->bytes);
    for (uint64_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)pc_random_next(&world->random);
    }
    world->bytes += bytes;
    return at;
}

static enum pc_slice_status add(struct world *world, enum pc_store_mode mode, uint64_t bytes)
{
    const struct world before = *world;
    const struct pc_store store = {
        .mode = mode, .value = twin_add(world, mode, bytes), .value_bytes = bytes};
    const enum pc_slice_status status = pc_slice_store(world->slice, &world->key, &store, 10, NULL);
    if (status != PC_SLICE_OK) {
        *world = before;
    }
    return status;
}

/* The same as a body that is received in place. */
static enum pc_slice_status receive(struct world *world, enum pc_store_mode mode, uint64_t bytes)
{
    const struct pc_store store = {.mode = mode, .value_bytes = bytes};
    struct pc_reservation body;
    assert_int_equal(pc_slice_reserve(world->slice, &world->key, &store, 10, &body), PC_SLICE_OK);
    struct pc_reservation pieces = body;
    const uint8_t *from = twin_add(world, mode, bytes);
    do {
        memcpy(pieces.at, from, pieces.piece_bytes);
        from += pieces.piece_bytes;
    } while (pc_reservation_next(world->pool, &pieces));
    return pc_slice_commit(world->slice, &world->key, &store, 10, &body, NULL);
}

static struct pc_value find(const struct world *world)
{
    struct pc_value value = {0};
    assert_true(pc_slice_find(world->slice, &world->key, 10, PC_FIND_QUIET, &value));
    return value;
}

/* The value is what was added; returns its pieces. */
static unsigned same(const struct world *world, const struct pc_value *value, uint64_t from,
                     uint64_t bytes)
{
    struct pc_value view = *value;
    unsigned count = 0;
    assert_int_equal(view.value_bytes, bytes);
    do {
        assert_memory_equal(view.at, world->twin + from, view.piece_bytes);
        from += view.piece_bytes;
        bytes -= view.piece_bytes;
        count++;
    } while (pc_value_next(world->pool, &view));
    assert_int_equal(bytes, 0);
    return count;
}

static struct pc_slice_stats stats_of(const struct world *world)
{
    struct pc_slice_stats stats;
    pc_slice_stats(world->slice, 10, &stats);
    return stats;
}

static void a_value_of_most_of_the_memory_grows_at_both_ends(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(receive(&world, PC_STORE_SET, 5 << 20), PC_SLICE_OK);
    for (unsigned i = 0; i < 2000; i++) {
        const uint64_t bytes = pc_random_next(&world.random) % 200;
        assert_int_equal(add(&world, i % 2 == 0 ? PC_STORE_APPEND : PC_STORE_PREPEND, bytes),
                         PC_SLICE_OK);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(
            receive(&world, i % 2 == 0 ? PC_STORE_APPEND : PC_STORE_PREPEND, 20000 + 13 * i),
            PC_SLICE_OK);
        assert_int_equal(add(&world, PC_STORE_APPEND, 70000), PC_SLICE_OK);
    }
    const struct pc_value value = find(&world);
    /* A segment of the memory holds a chunk or two; those that are being joined are few. */
    assert_in_range(same(&world, &value, world.from, world.bytes), 80, 200);
    assert_int_equal(stats_of(&world).evicted, 0);
    assert_in_range(stats_of(&world).item_bytes, world.bytes, world.bytes + 200 * 24 + 100);
    world_close(&world);
}

static void what_is_added_one_by_one_is_joined(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(add(&world, PC_STORE_SET, 10000), PC_SLICE_OK);
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(add(&world, i % 3 == 0 ? PC_STORE_PREPEND : PC_STORE_APPEND, 3),
                         PC_SLICE_OK);
    }
    const struct pc_value value = find(&world);
    assert_in_range(same(&world, &value, world.from, world.bytes), 2, 40);
    world_close(&world);
}

static void who_sends_a_value_sees_nothing_of_what_is_added(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(receive(&world, PC_STORE_SET, 200000), PC_SLICE_OK);
    struct pc_value held = find(&world);
    const uint64_t from = world.from;
    assert_true(pc_value_hold(world.slice, &held));
    /* Somebody always sends the last of it: nothing is joined, until there are too many pieces. */
    struct pc_value last = find(&world);
    assert_true(pc_value_hold(world.slice, &last));
    enum pc_slice_status status = PC_SLICE_OK;
    for (unsigned added = 0; status == PC_SLICE_OK; added++) {
        assert_in_range(added, 0, 10000);
        status = add(&world, added % 2 == 0 ? PC_STORE_APPEND : PC_STORE_PREPEND, 1);
        struct pc_value again = find(&world);
        assert_true(pc_value_hold(world.slice, &again));
        pc_value_release(world.pool, &last);
        last = again;
    }
    assert_int_equal(status, PC_SLICE_LATER);
    assert_in_range(same(&world, &last, world.from, world.bytes), 4000, 6000);
    (void)same(&world, &held, from, 200000);
    pc_value_release(world.pool, &last);
    pc_value_release(world.pool, &held);
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(add(&world, i % 2 == 0 ? PC_STORE_APPEND : PC_STORE_PREPEND, 1),
                         PC_SLICE_OK);
    }
    const struct pc_value value = find(&world);
    assert_in_range(same(&world, &value, world.from, world.bytes), 2, 2000);
    world_close(&world);
}

static void nothing_is_added_by_nothing(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_int_equal(receive(&world, PC_STORE_SET, 200000), PC_SLICE_OK);
    const uint64_t cas = find(&world).cas;
    assert_int_equal(add(&world, PC_STORE_APPEND, 0), PC_SLICE_OK);
    assert_int_equal(add(&world, PC_STORE_PREPEND, 0), PC_SLICE_OK);
    const struct pc_value value = find(&world);
    assert_true(value.cas > cas);
    (void)same(&world, &value, world.from, world.bytes);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_of_most_of_the_memory_grows_at_both_ends),
        cmocka_unit_test(what_is_added_one_by_one_is_joined),
        cmocka_unit_test(who_sends_a_value_sees_nothing_of_what_is_added),
        cmocka_unit_test(nothing_is_added_by_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
