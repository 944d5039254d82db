/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    A pool that keeps all refuses when it is full, loses nothing, and finds the room again of
 *         what was deleted, replaced or has expired.
 * Method  Small pools filled to the brim, and a clock that the test moves; slice_twin_test.c plays
 *         everything together.
 */
#include "store/slice.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { LIMIT_BYTES = 8 << 20, SEGMENT_BYTES = 64 * 1024, KEYS_MAX = 1 << 17, VALUE_BYTES = 100 };

struct world {
    struct pc_pool *pool;
    struct pc_slice *slice;
    uint32_t now;
};

static void world_open(struct world *world)
{
    *world = (struct world){.now = 10};
    const struct pc_pool_config pool = {
        .limit_bytes = LIMIT_BYTES,
        .segment_bytes = SEGMENT_BYTES,
        .slice_count = 1,
        .keeps_all = true,
    };
    assert_int_equal(pc_pool_create(&pool, &world->pool), 0);
    const struct pc_slice_config slice = {.pool = world->pool};
    assert_int_equal(pc_slice_create(&slice, &world->slice), 0);
}

static void world_close(struct world *world)
{
    pc_slice_destroy(world->slice);
    pc_pool_destroy(world->pool);
}

static struct pc_key key_number(char text[32], uint64_t number)
{
    const int bytes = snprintf(text, 32, "key-%012llu", (unsigned long long)number);
    return (struct pc_key){
        .at = text, .bytes = (uint32_t)bytes, .hash = XXH3_64bits_withSeed(text, (size_t)bytes, 0)};
}

/* The value begins with its number and version. */
static enum pc_slice_status put(struct world *world, uint64_t number, uint64_t version,
                                uint64_t bytes, uint32_t expiry)
{
    static uint8_t value[1 << 20];
    char text[32];
    const struct pc_key key = key_number(text, number);
    memcpy(value, &number, sizeof(number));
    memcpy(value + sizeof(number), &version, sizeof(version));
    const struct pc_store store = {.value = value, .value_bytes = bytes, .expiry = expiry};
    return pc_slice_store(world->slice, &key, &store, world->now, NULL);
}

static bool get(struct world *world, uint64_t number, uint64_t out[2])
{
    char text[32];
    const struct pc_key key = key_number(text, number);
    struct pc_value value;
    if (!pc_slice_find(world->slice, &key, world->now, PC_FIND_QUIET, &value)) {
        return false;
    }
    memcpy(out, value.at, 2 * sizeof(out[0]));
    return true;
}

static bool drop(struct world *world, uint64_t number)
{
    char text[32];
    const struct pc_key key = key_number(text, number);
    return pc_slice_delete(world->slice, &key, NULL, world->now) == PC_SLICE_OK;
}

static struct pc_slice_stats stats_of(const struct world *world)
{
    struct pc_slice_stats stats;
    pc_slice_stats(world->slice, world->now, &stats);
    return stats;
}

/* Store numbers from `from` on until one is refused; returns that. */
static uint64_t fill(struct world *world, uint64_t from, uint32_t expiry)
{
    for (uint64_t i = from; i < from + KEYS_MAX; i++) {
        const enum pc_slice_status status = put(world, i, 0, VALUE_BYTES, expiry);
        if (status == PC_SLICE_NO_MEMORY) {
            return i;
        }
        assert_int_equal(status, PC_SLICE_OK);
    }
    fail_msg("never full");
    return 0;
}

static void all_are_there(struct world *world, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        uint64_t said[2] = {0};
        assert_true(get(world, i, said));
        assert_int_equal(said[0], i);
    }
    assert_int_equal(stats_of(world).evicted, 0);
}

static void full_memory_refuses_and_keeps_what_it_has(void **state)
{
    struct world world;
    world_open(&world);
    const uint64_t end = fill(&world, 0, 0);
    /* 16 bytes of key, some 24 beside them, and segments that are open. */
    assert_true(end * (VALUE_BYTES + 40) > LIMIT_BYTES / 10 * 8);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(put(&world, end + i, 0, VALUE_BYTES, 0), PC_SLICE_NO_MEMORY);
        (void)pc_slice_step(world.slice, world.now, 1000);
        world.now += i % 100 == 0;
    }
    all_are_there(&world, 0, end);
    assert_int_equal(stats_of(&world).no_memory, 1001);
    world_close(&world);
}

static void what_is_deleted_makes_room_in_the_same_second(void **state)
{
    struct world world;
    world_open(&world);
    const uint64_t end = fill(&world, 0, 0);
    for (uint64_t i = 0; i < end; i += 3) {
        assert_true(drop(&world, i));
    }
    const uint64_t more = fill(&world, KEYS_MAX, 0) - KEYS_MAX;
    assert_true(more > end / 5);
    for (uint64_t i = 0; i < end; i++) {
        uint64_t said[2] = {0};
        assert_int_equal(get(&world, i, said), i % 3 != 0);
    }
    all_are_there(&world, KEYS_MAX, KEYS_MAX + more);
    world_close(&world);
}

static void replacing_for_ever_is_never_refused(void **state)
{
    struct world world;
    world_open(&world);
    const uint64_t end = fill(&world, 0, 0) / 4 * 3;
    static uint64_t versions[KEYS_MAX];
    memset(versions, 0, sizeof(versions));
    for (uint64_t i = end; drop(&world, i); i++) {}
    struct pc_random random;
    pc_random_init(&random, 7);
    for (uint64_t i = 0; i < 20 * end; i++) {
        const uint64_t number = pc_random_below(&random, end);
        /* Some longer, some shorter than before. */
        const uint64_t bytes = VALUE_BYTES - 20 + pc_random_below(&random, 40);
        assert_int_equal(put(&world, number, ++versions[number], bytes, 0), PC_SLICE_OK);
    }
    for (uint64_t i = 0; i < end; i++) {
        uint64_t said[2] = {0};
        assert_true(get(&world, i, said));
        assert_int_equal(said[1], versions[i]);
    }
    assert_int_equal(stats_of(&world).evicted, 0);
    world_close(&world);
}

static void values_in_chunks_move_together(void **state)
{
    enum { COUNT = 60, BYTES = 80000 };
    struct world world;
    world_open(&world);
    uint64_t versions[COUNT] = {0};
    struct pc_random random;
    pc_random_init(&random, 8);
    for (unsigned i = 0; i < 2000; i++) {
        const uint64_t number = i < COUNT ? i : pc_random_below(&random, COUNT);
        const uint64_t bytes = BYTES + pc_random_below(&random, 20000);
        enum pc_slice_status status;
        for (unsigned round = 0;
             (status = put(&world, number, versions[number] + 1, bytes, 0)) == PC_SLICE_LATER;
             round++) {
            assert_true(round < 1000);
            (void)pc_slice_step(world.slice, world.now, 1000);
        }
        assert_int_equal(status, PC_SLICE_OK);
        versions[number]++;
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t said[2] = {0};
        assert_true(get(&world, i, said));
        assert_int_equal(said[0], i);
        assert_int_equal(said[1], versions[i]);
    }
    assert_int_equal(stats_of(&world).evicted, 0);
    world_close(&world);
}

static void what_has_expired_among_the_living_makes_room(void **state)
{
    struct world world;
    world_open(&world);
    uint64_t end = 0;
    /* So near each other that they share segments. */
    while (put(&world, end, 0, VALUE_BYTES, end % 2 == 0 ? 100 : 101) == PC_SLICE_OK) {
        end++;
    }
    world.now = 100;
    for (unsigned i = 0; i < 10000 && stats_of(&world).item_count > end / 2; i++) {
        (void)pc_slice_step(world.slice, world.now, 100);
    }
    assert_int_equal(stats_of(&world).item_count, end / 2);
    assert_true(fill(&world, KEYS_MAX, 0) - KEYS_MAX > end / 3);
    assert_int_equal(stats_of(&world).evicted, 0);
    world_close(&world);
}

static void a_flush_makes_room_at_once(void **state)
{
    struct world world;
    world_open(&world);
    const uint64_t end = fill(&world, 0, 0);
    pc_slice_flush(world.slice, world.now);
    const uint64_t again = fill(&world, KEYS_MAX, 0) - KEYS_MAX;
    assert_true(again > end / 10 * 9);
    all_are_there(&world, KEYS_MAX, KEYS_MAX + again);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_memory_refuses_and_keeps_what_it_has),
        cmocka_unit_test(what_is_deleted_makes_room_in_the_same_second),
        cmocka_unit_test(replacing_for_ever_is_never_refused),
        cmocka_unit_test(values_in_chunks_move_together),
        cmocka_unit_test(what_has_expired_among_the_living_makes_room),
        cmocka_unit_test(a_flush_makes_room_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
