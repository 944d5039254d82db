/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    What the header of the slice promises, each promise by itself.
 * Method  Small pools and a clock that the test moves; slice_twin_test.c plays everything together.
 */
#include "store/slice.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { SLICES_MAX = 4, VALUE_BYTES_MAX = 4 << 20 };

struct world {
    struct pc_pool *pool;
    struct pc_slice *slices[SLICES_MAX];
    unsigned slice_count;
    uint32_t now;
};

static uint8_t *filler; /* VALUE_BYTES_MAX bytes that differ from place to place */

static void world_open(struct world *world, uint64_t limit_bytes, uint32_t segment_bytes,
                       unsigned slice_count)
{
    *world = (struct world){.slice_count = slice_count, .now = 10};
    const struct pc_pool_config pool = {
        .limit_bytes = limit_bytes,
        .segment_bytes = segment_bytes,
        .slice_count = slice_count,
    };
    assert_int_equal(pc_pool_create(&pool, &world->pool), 0);
    for (unsigned i = 0; i < slice_count; i++) {
        const struct pc_slice_config slice = {
            .pool = world->pool,
            .index = i,
            .value_bytes_max = VALUE_BYTES_MAX,
        };
        assert_int_equal(pc_slice_create(&slice, &world->slices[i]), 0);
    }
}

static void world_close(struct world *world)
{
    for (unsigned i = 0; i < world->slice_count; i++) {
        pc_slice_destroy(world->slices[i]);
    }
    struct pc_pool_stats stats;
    pc_pool_stats(world->pool, &stats);
    assert_int_equal(stats.segment_count, 0);
    assert_int_equal(stats.held_count, 0);
    pc_pool_destroy(world->pool);
}

static struct pc_key key_of(const char *text)
{
    const uint32_t bytes = (uint32_t)strlen(text);
    return (struct pc_key){
        .at = text, .bytes = bytes, .hash = XXH3_64bits_withSeed(text, bytes, 0)};
}

static struct pc_key key_number(char text[32], uint64_t number)
{
    snprintf(text, 32, "key-%012llu", (unsigned long long)number);
    return key_of(text);
}

static enum pc_slice_status put_at(struct world *world, unsigned slice, const struct pc_key *key,
                                   uint64_t bytes, uint32_t expiry)
{
    const struct pc_store store = {.value = filler, .value_bytes = bytes, .expiry = expiry};
    return pc_slice_store(world->slices[slice], key, &store, world->now, NULL);
}

static void put_numbers(struct world *world, unsigned slice, uint64_t from, uint64_t to,
                        uint64_t bytes, uint32_t expiry)
{
    char text[32];
    for (uint64_t i = from; i < to; i++) {
        const struct pc_key key = key_number(text, i);
        assert_int_equal(put_at(world, slice, &key, bytes, expiry), PC_SLICE_OK);
    }
}

static bool has(struct world *world, unsigned slice, const char *text)
{
    const struct pc_key key = key_of(text);
    struct pc_value value;
    return pc_slice_find(world->slices[slice], &key, world->now, PC_FIND_HIT, &value);
}

static uint64_t count_numbers(struct world *world, unsigned slice, uint64_t from, uint64_t to)
{
    char text[32];
    uint64_t count = 0;
    for (uint64_t i = from; i < to; i++) {
        const struct pc_key key = key_number(text, i);
        struct pc_value value;
        count += pc_slice_find(world->slices[slice], &key, world->now, PC_FIND_QUIET, &value);
    }
    return count;
}

static struct pc_slice_stats stats_of(const struct world *world, unsigned slice)
{
    struct pc_slice_stats stats;
    pc_slice_stats(world->slices[slice], world->now, &stats);
    return stats;
}

static void bytes_are(const struct world *world, const struct pc_value *value, const uint8_t *bytes)
{
    struct pc_value view = *value;
    uint64_t offset = 0;
    do {
        assert_memory_equal(view.at, bytes + offset, view.piece_bytes);
        offset += view.piece_bytes;
        assert_int_equal(view.left_bytes, view.value_bytes - offset);
    } while (pc_value_next(world->pool, &view));
    assert_int_equal(offset, value->value_bytes);
}

static void stored_item_is_found_with_its_numbers(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 0, 1);
    const struct pc_key key = key_of("a key");
    const struct pc_store store = {
        .flags = 0xfeedbeef, .expiry = 99, .value = "some bytes", .value_bytes = 10};
    uint64_t cas = 0;
    assert_int_equal(pc_slice_store(world.slices[0], &key, &store, 10, &cas), PC_SLICE_OK);
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[0], &key, 11, PC_FIND_HIT, &value));
    assert_int_equal(value.value_bytes, 10);
    assert_memory_equal(value.at, "some bytes", 10);
    assert_int_equal(value.flags, 0xfeedbeef);
    assert_int_equal(value.expiry, 99);
    assert_int_equal(value.cas, cas);
    assert_false(value.fetched);
    assert_int_equal(value.accessed, 10);
    assert_true(pc_slice_find(world.slices[0], &key, 98, PC_FIND_HIT, &value));
    assert_true(value.fetched);
    assert_int_equal(value.accessed, 11);
    assert_false(pc_slice_find(world.slices[0], &key, 99, PC_FIND_HIT, &value));
    assert_int_equal(stats_of(&world, 0).expired, 1);
    world_close(&world);
}

static void item_costs_under_24_bytes(void **state)
{
    const uint64_t counts[] = {50000, 90000, 130000, 170000, 210000};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct world world;
        world_open(&world, 64 << 20, 0, 1);
        put_numbers(&world, 0, 0, counts[i], 100, 1000000);
        const struct pc_slice_stats stats = stats_of(&world, 0);
        assert_int_equal(stats.item_count, counts[i]);
        const double each = (double)(stats.item_bytes + stats.index_bytes) / (double)counts[i];
        print_message("%llu items of 16 + 100 bytes: %.2f more each\n",
                      (unsigned long long)counts[i], each - 116);
        assert_true(each - 116 < 24);
        world_close(&world);
    }
}

static void cas_numbers_name_their_slice_and_never_repeat(void **state)
{
    struct world world;
    world_open(&world, 16 << 20, 0, 3);
    uint64_t last[3] = {0};
    char text[32];
    for (unsigned i = 0; i < 300; i++) {
        const struct pc_key key = key_number(text, i % 7);
        const struct pc_store store = {.value = filler, .value_bytes = i};
        uint64_t cas = 0;
        assert_int_equal(pc_slice_store(world.slices[i % 3], &key, &store, 10, &cas), PC_SLICE_OK);
        assert_int_equal(cas & 3, i % 3);
        assert_true(cas > last[i % 3]);
        last[i % 3] = cas;
    }
    world_close(&world);
}

static void read_items_outlive_unread_ones(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 1);
    put_numbers(&world, 0, 0, 2000, 100, 0);
    uint64_t found = 0;
    for (uint64_t i = 0; i < 400000; i++) {
        char text[32];
        const struct pc_key key = key_number(text, i % 2000);
        struct pc_value value;
        found +=
            i % 20 == 0 && pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &value);
        put_numbers(&world, 0, 1000000 + i, 1000001 + i, 100, 0);
    }
    /* Every twentieth of the keys was read 200 times, the others never. */
    uint64_t read_left = 0;
    for (uint64_t i = 0; i < 2000; i += 20) {
        read_left += count_numbers(&world, 0, i, i + 1);
    }
    assert_int_equal(found, 20000);
    assert_int_equal(read_left, 100);
    assert_int_equal(count_numbers(&world, 0, 0, 2000), 100);
    assert_true(stats_of(&world, 0).moved > 0);
    world_close(&world);
}

struct heard {
    struct world *world;
    uint64_t count, bytes;
};

static void hear(void *ctx, const struct pc_key *key, const struct pc_value *value)
{
    struct heard *heard = ctx;
    struct pc_value found;
    char text[32];
    memcpy(text, key->at, key->bytes);
    text[key->bytes] = '\0';
    const struct pc_key again = key_of(text);
    /* It cannot be found any more, but read. */
    assert_false(
        pc_slice_find(heard->world->slices[0], &again, heard->world->now, PC_FIND_QUIET, &found));
    assert_memory_equal(value->at, filler, 100);
    heard->count++;
    heard->bytes += value->value_bytes;
}

static void ear_hears_every_eviction_while_it_listens(void **state)
{
    struct world world;
    _Atomic uint32_t listens = 0;
    struct heard heard = {.world = &world};
    const struct pc_slice_ear ear = {.listens = &listens, .evicted = hear, .ctx = &heard};
    (void)state;
    world_open(&world, 4 << 20, 64 << 10, 1);
    pc_slice_tell(world.slices[0], &ear);
    put_numbers(&world, 0, 0, 40000, 100, 0);
    const uint64_t before = stats_of(&world, 0).evicted;
    assert_true(before > 0);
    assert_int_equal(heard.count, 0);
    atomic_store(&listens, 1);
    put_numbers(&world, 0, 40000, 50000, 100, 0);
    const uint64_t evicted = stats_of(&world, 0).evicted - before;
    assert_true(evicted > 0);
    assert_int_equal(heard.count, evicted);
    assert_int_equal(heard.bytes, 100 * heard.count);
    world_close(&world);
}

static void seeing_leaves_no_trace(void **state)
{
    struct world world;
    struct pc_slice_stats before, after;
    const struct pc_key key = key_of("a"), other = key_of("b");
    uint64_t bytes;
    (void)state;
    world_open(&world, 4 << 20, 64 << 10, 1);
    struct pc_slice *slice = world.slices[0];
    assert_int_equal(pc_slice_see(slice, &key, world.now, &bytes), PC_SEEN_ABSENT);
    assert_int_equal(put_at(&world, 0, &key, 1000, world.now + 5), PC_SLICE_OK);
    assert_int_equal(put_at(&world, 0, &other, 300000, 0), PC_SLICE_OK);
    pc_slice_stats(slice, world.now, &before);
    assert_int_equal(pc_slice_see(slice, &key, world.now, &bytes), PC_SEEN_FOUND);
    assert_int_equal(bytes, 1000);
    assert_int_equal(pc_slice_see(slice, &other, world.now, &bytes), PC_SEEN_FOUND);
    assert_int_equal(bytes, 300000);
    assert_int_equal(pc_slice_see(slice, &key, world.now + 5, &bytes), PC_SEEN_EXPIRED);
    assert_int_equal(bytes, 0);
    pc_slice_stats(slice, world.now, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    pc_slice_flush(slice, world.now);
    assert_int_equal(pc_slice_see(slice, &key, world.now, &bytes), PC_SEEN_FLUSHED);
    world_close(&world);
}

static void expired_segments_come_back_without_being_asked_for(void **state)
{
    struct world world;
    world_open(&world, 32 << 20, 64 * 1024, 1);
    put_numbers(&world, 0, 0, 50000, 100, 40);
    put_numbers(&world, 0, 50000, 60000, 100, 0);
    const uint64_t before = stats_of(&world, 0).segment_count;
    world.now = 40;
    unsigned steps = 0;
    while (pc_slice_step(world.slices[0], world.now, 500)) {
        steps++;
    }
    const struct pc_slice_stats stats = stats_of(&world, 0);
    assert_int_equal(stats.item_count, 10000);
    assert_int_equal(stats.expired, 50000);
    assert_int_equal(stats.reclaimed, 50000);
    assert_int_equal(stats.evicted, 0);
    assert_true(before - stats.segment_count > 90);
    /* Nothing is done beyond the budget of a step. */
    assert_true(steps >= 50000 / 500);
    world_close(&world);
}

static void flush_takes_effect_at_once_and_memory_comes_back(void **state)
{
    struct world world;
    world_open(&world, 32 << 20, 64 * 1024, 1);
    put_numbers(&world, 0, 0, 50000, 100, 0);
    pc_slice_flush(world.slices[0], world.now);
    assert_false(has(&world, 0, "key-000000000007"));
    put_numbers(&world, 0, 7, 8, 100, 0);
    assert_true(has(&world, 0, "key-000000000007"));
    const uint64_t index_before = stats_of(&world, 0).index_bytes;
    while (pc_slice_step(world.slices[0], world.now, 1000)) {}
    const struct pc_slice_stats stats = stats_of(&world, 0);
    assert_int_equal(stats.item_count, 1);
    assert_int_equal(stats.flushed, 50000);
    assert_true(has(&world, 0, "key-000000000007"));
    assert_true(stats.segment_count < 8);
    assert_true(stats.index_bytes < index_before / 4);
    world_close(&world);
}

static void a_read_that_meets_a_dead_item_is_told_why(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 64 * 1024, 1);
    const struct pc_key mortal = key_of("mortal"), flushed = key_of("flushed");
    assert_int_equal(put_at(&world, 0, &mortal, 10, world.now + 5), PC_SLICE_OK);
    world.now += 5;
    assert_false(has(&world, 0, "mortal"));
    assert_false(has(&world, 0, "mortal"));
    assert_int_equal(put_at(&world, 0, &flushed, 10, 0), PC_SLICE_OK);
    pc_slice_flush(world.slices[0], world.now);
    assert_false(has(&world, 0, "flushed"));
    assert_false(has(&world, 0, "never there"));
    assert_int_equal(stats_of(&world, 0).found_expired, 1);
    assert_int_equal(stats_of(&world, 0).found_flushed, 1);
    world_close(&world);
}

/* A body that was on its way in when all was flushed is stored later and read: its segment, which
 * is worth passing over, also holds an item that was flushed. */
static void flushed_item_stays_gone_when_its_segment_is_kept(void **state)
{
    enum { BODY_BYTES = 3500 };
    struct world world;
    struct pc_reservation reservation;
    struct pc_peeked peeked;
    uint8_t value[8];
    const struct pc_key small = key_of("small"), large = key_of("large");
    const struct pc_store store = {.value_bytes = BODY_BYTES};
    (void)state;
    world_open(&world, 40 * 4096, 4096, 1);
    struct pc_slice *slice = world.slices[0];
    assert_int_equal(put_at(&world, 0, &small, 4, 0), PC_SLICE_OK);
    assert_int_equal(pc_slice_reserve(slice, &large, &store, world.now, &reservation), PC_SLICE_OK);
    assert_int_equal(reservation.piece_bytes, BODY_BYTES);
    memset(reservation.at, 'x', BODY_BYTES);
    pc_slice_flush(slice, world.now);
    assert_int_equal(pc_slice_commit(slice, &large, &store, world.now, &reservation, NULL),
                     PC_SLICE_OK);
    /* Stores alone, so that nobody looks for what was flushed before something has to go. */
    for (uint64_t i = 0; i < 2000; i++) {
        (void)has(&world, 0, "large");
        put_numbers(&world, 0, i, i + 1, 100, 0);
        assert_int_not_equal(pc_slice_peek(slice, &small, world.now, value, sizeof(value), &peeked),
                             PC_PEEK_HIT);
    }
    assert_true(stats_of(&world, 0).evicted > 0);
    assert_true(has(&world, 0, "large"));
    world_close(&world);
}

static void held_value_survives_deletion_and_pressure(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 64 * 1024, 1);
    const struct pc_key key = key_of("large");
    assert_int_equal(put_at(&world, 0, &key, 150000, 0), PC_SLICE_OK);
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &value));
    assert_true(value.piece_bytes < value.value_bytes);
    assert_true(pc_value_hold(world.slices[0], &value));
    assert_int_equal(pc_slice_delete(world.slices[0], &key, NULL, world.now), PC_SLICE_OK);
    put_numbers(&world, 0, 0, 200000, 100, 0);
    bytes_are(&world, &value, filler);
    pc_value_release(world.pool, &value);
    assert_false(value.held);
    put_numbers(&world, 0, 0, 100000, 100, 0);
    world_close(&world);
}

static void holds_are_refused_beyond_an_eighth(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 64 * 1024, 1); /* 64 segments: 8 may be held */
    char text[32];
    struct pc_value held[64];
    unsigned count = 0;
    bool refused = false;
    for (unsigned i = 0; i < 40 && !refused; i++) {
        const struct pc_key key = key_number(text, i);
        assert_int_equal(put_at(&world, 0, &key, 60000, 0), PC_SLICE_OK);
        assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &held[count]));
        refused = !pc_value_hold(world.slices[0], &held[count]);
        count += !refused;
    }
    assert_true(refused);
    assert_true(count >= 4 && count <= 8);
    assert_int_equal(stats_of(&world, 0).hold_refused, 1);
    for (unsigned i = 0; i < count; i++) {
        pc_value_release(world.pool, &held[i]);
    }
    /* One value is held whatever its size. */
    const struct pc_key key = key_of("large");
    assert_int_equal(put_at(&world, 0, &key, 2 << 20, 0), PC_SLICE_OK);
    assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &held[0]));
    assert_true(pc_value_hold(world.slices[0], &held[0]));
    bytes_are(&world, &held[0], filler);
    pc_value_release(world.pool, &held[0]);
    world_close(&world);
}

static void one_huge_value_gets_memory_from_all_slices(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 4); /* 128 segments, 32 a slice */
    for (unsigned i = 0; i < 4; i++) {
        put_numbers(&world, i, 0, 30000, 100, 0);
    }
    const struct pc_key key = key_of("huge");
    enum pc_slice_status status = PC_SLICE_LATER;
    unsigned rounds = 0;
    for (; status == PC_SLICE_LATER && rounds < 100; rounds++) {
        status = put_at(&world, 2, &key, VALUE_BYTES_MAX, 0);
        for (unsigned i = 0; i < 4; i++) {
            (void)pc_slice_step(world.slices[i], world.now, 2000);
        }
    }
    assert_int_equal(status, PC_SLICE_OK);
    assert_true(rounds > 1);
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[2], &key, world.now, PC_FIND_HIT, &value));
    bytes_are(&world, &value, filler);
    world_close(&world);
}

static void idle_slice_gives_memory_to_a_busy_one(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 2);
    put_numbers(&world, 0, 0, 80000, 100, 0);
    assert_true(stats_of(&world, 0).segment_count > 100);
    for (uint64_t i = 0; i < 600; i++) {
        world.now++;
        put_numbers(&world, 1, i * 1000, i * 1000 + 1000, 100, 0);
        (void)pc_slice_step(world.slices[0], world.now, 5000);
        (void)pc_slice_step(world.slices[1], world.now, 5000);
    }
    assert_true(stats_of(&world, 1).segment_count > 64);
    world_close(&world);
}

static void first_store_of_a_slice_always_has_room(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 64 * 1024, 2);
    put_numbers(&world, 0, 0, 100000, 100, 0);
    put_numbers(&world, 1, 0, 10000, 100, 0);
    assert_int_equal(count_numbers(&world, 1, 9600, 10000), 400);
    world_close(&world);
}

static void lowered_limit_is_kept_after_some_steps(void **state)
{
    struct world world;
    world_open(&world, 16 << 20, 64 * 1024, 2);
    put_numbers(&world, 0, 0, 100000, 100, 0);
    put_numbers(&world, 1, 0, 100000, 100, 0);
    assert_int_equal(pc_pool_limit(world.pool, 6 << 20), 6 << 20);
    for (unsigned i = 0; i < 1000; i++) {
        (void)pc_slice_step(world.slices[i % 2], world.now, 1000);
    }
    struct pc_pool_stats stats;
    pc_pool_stats(world.pool, &stats);
    assert_true(stats.used_bytes <= 6 << 20);
    put_numbers(&world, 0, 0, 1000, 100, 0);
    assert_int_equal(count_numbers(&world, 0, 0, 1000), 1000);
    /* It is never so low that a slice cannot live, and can be raised to what it was at boot. */
    assert_true(pc_pool_limit(world.pool, 1) > 0);
    assert_true(pc_pool_limit(world.pool, UINT64_MAX) <= 16 << 20);
    world_close(&world);
}

static void raised_limit_is_used(void **state)
{
    const struct pc_pool_config config = {.limit_bytes = 4 << 20,
                                          .limit_bytes_max = 64 << 20,
                                          .segment_bytes = 65536,
                                          .slice_count = 1};
    struct world world = {.now = 1, .slice_count = 1};
    struct pc_pool_stats stats;
    assert_int_equal(pc_pool_create(&config, &world.pool), 0);
    assert_int_equal(
        pc_slice_create(&(struct pc_slice_config){.pool = world.pool}, &world.slices[0]), 0);
    put_numbers(&world, 0, 0, 100000, 100, 0);
    pc_pool_stats(world.pool, &stats);
    assert_true(stats.used_bytes <= 4 << 20);
    assert_int_equal(pc_pool_limit(world.pool, 32 << 20), 32 << 20);
    put_numbers(&world, 0, 0, 100000, 100, 0);
    assert_int_equal(count_numbers(&world, 0, 0, 100000), 100000);
    pc_pool_stats(world.pool, &stats);
    assert_true(stats.used_bytes > 13 << 20 && stats.used_bytes <= 32 << 20);
    assert_int_equal(pc_pool_limit(world.pool, UINT64_MAX), 64 << 20);
    world_close(&world);
}

static void index_and_segments_stay_within_the_limit(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 2);
    uint64_t most = 0;
    for (unsigned i = 0; i < 300000; i++) {
        put_numbers(&world, i % 2, i, i + 1, i % 3 == 0 ? 0 : 20, 0);
        struct pc_pool_stats stats;
        pc_pool_stats(world.pool, &stats);
        if (stats.used_bytes > most) {
            most = stats.used_bytes;
        }
    }

    assert_true(most <= (8 << 20) + 3 * 64 * 1024);
    world_close(&world);
}

static void refused_set_leaves_no_old_value(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 0, 1);
    const struct pc_key key = key_of("k");
    assert_int_equal(put_at(&world, 0, &key, 10, 0), PC_SLICE_OK);
    assert_int_equal(put_at(&world, 0, &key, VALUE_BYTES_MAX + 1, 0), PC_SLICE_TOO_LARGE);
    assert_false(has(&world, 0, "k"));
    const struct pc_store append = {
        .mode = PC_STORE_APPEND, .value = filler, .value_bytes = VALUE_BYTES_MAX};
    assert_int_equal(put_at(&world, 0, &key, 10, 0), PC_SLICE_OK);
    assert_int_equal(pc_slice_store(world.slices[0], &key, &append, world.now, NULL),
                     PC_SLICE_TOO_LARGE);
    assert_true(has(&world, 0, "k"));
    world_close(&world);
}

static void body_is_invisible_until_it_is_committed(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 1);
    const struct pc_key key = key_of("body");
    const struct pc_store store = {.value_bytes = 300000, .flags = 5};
    struct pc_reservation body;
    assert_int_equal(pc_slice_reserve(world.slices[0], &key, &store, world.now, &body),
                     PC_SLICE_OK);
    struct pc_reservation pieces = body;
    uint64_t offset = 0;
    do {
        memcpy(pieces.at, filler + offset, pieces.piece_bytes);
        offset += pieces.piece_bytes;
    } while (pc_reservation_next(world.pool, &pieces));
    assert_int_equal(offset, 300000);
    assert_false(has(&world, 0, "body"));
    /* Neither eviction nor a flush takes what is on its way in. */
    put_numbers(&world, 0, 0, 100000, 100, 0);
    pc_slice_flush(world.slices[0], world.now);
    while (pc_slice_step(world.slices[0], world.now, 1000)) {}
    assert_int_equal(pc_slice_commit(world.slices[0], &key, &store, world.now, &body, NULL),
                     PC_SLICE_OK);
    while (pc_slice_step(world.slices[0], world.now, 1000)) {}
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &value));
    assert_int_equal(value.flags, 5);
    bytes_are(&world, &value, filler);
    world_close(&world);
}

static void number_that_came_as_a_body_is_counted(void **state)
{
    struct world world;
    world_open(&world, 8 << 20, 64 * 1024, 1);
    const struct pc_key key = key_of("number");
    /* As long as what leads to chunks. */
    const struct pc_store store = {.value_bytes = 16};
    struct pc_reservation body;
    assert_int_equal(pc_slice_reserve(world.slices[0], &key, &store, world.now, &body),
                     PC_SLICE_OK);
    memcpy(body.at, "1000000000000009", 16);
    assert_int_equal(pc_slice_commit(world.slices[0], &key, &store, world.now, &body, NULL),
                     PC_SLICE_OK);
    const struct pc_count count = {.delta = 1};
    uint64_t number = 0;
    assert_int_equal(pc_slice_count(world.slices[0], &key, &count, world.now, &number, NULL),
                     PC_SLICE_OK);
    assert_int_equal(number, 1000000000000010);
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_HIT, &value));
    bytes_are(&world, &value, (const uint8_t *)"1000000000000010");
    world_close(&world);
}

static void hot_large_values_stay(void **state)
{
    struct world world;
    world_open(&world, 16 << 20, 64 * 1024, 1);
    const struct pc_key keys[] = {key_of("nine"), key_of("hundred"), key_of("thousand")};
    const uint64_t sizes[] = {9000, 100000, 1000000};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(put_at(&world, 0, &keys[i], sizes[i], 0), PC_SLICE_OK);
    }
    for (uint64_t i = 0; i < 600000; i++) {
        put_numbers(&world, 0, i, i + 1, 100, 0);
        if (i % 5000 == 0) {
            for (unsigned k = 0; k < 3; k++) {
                struct pc_value value;
                assert_true(
                    pc_slice_find(world.slices[0], &keys[k], world.now, PC_FIND_HIT, &value));
                assert_int_equal(value.value_bytes, sizes[k]);
                bytes_are(&world, &value, filler);
            }
        }
    }
    world_close(&world);
}

static void claim_has_one_winner_until_the_next_store(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 0, 1);
    const struct pc_key key = key_of("k");
    assert_false(pc_slice_claim(world.slices[0], &key, world.now));
    assert_int_equal(put_at(&world, 0, &key, 10, 0), PC_SLICE_OK);
    assert_true(pc_slice_claim(world.slices[0], &key, world.now));
    assert_false(pc_slice_claim(world.slices[0], &key, world.now));
    const struct pc_delete stale = {.mark_stale = true};
    assert_int_equal(pc_slice_delete(world.slices[0], &key, &stale, world.now), PC_SLICE_OK);
    struct pc_value value;
    assert_true(pc_slice_find(world.slices[0], &key, world.now, PC_FIND_QUIET, &value));
    assert_true(value.stale);
    assert_true(pc_slice_claim(world.slices[0], &key, world.now));
    assert_int_equal(put_at(&world, 0, &key, 10, 0), PC_SLICE_OK);
    assert_true(pc_slice_claim(world.slices[0], &key, world.now));
    world_close(&world);
}

static void counting_follows_memcached(void **state)
{
    struct world world;
    world_open(&world, 4 << 20, 0, 1);
    const struct pc_key key = key_of("n");
    const struct {
        const char *text;
        struct pc_count count;
        enum pc_slice_status status;
        const char *result;
    } cases[] = {
        {"10", {.delta = 5}, PC_SLICE_OK, "15"},
        {"99", {.delta = 1}, PC_SLICE_OK, "100"},
        {"10", {.delta = 1, .decrement = true}, PC_SLICE_OK, "9 "},
        {"9 ", {.delta = 2, .decrement = true}, PC_SLICE_OK, "7 "},
        {"5", {.delta = 9, .decrement = true}, PC_SLICE_OK, "0"},
        {"18446744073709551615", {.delta = 2}, PC_SLICE_OK, "1                   "},
        {"18446744073709551616", {.delta = 1}, PC_SLICE_NOT_NUMBER, "18446744073709551616"},
        {"x", {.delta = 1}, PC_SLICE_NOT_NUMBER, "x"},
        {"", {.delta = 1}, PC_SLICE_NOT_NUMBER, ""},
        {"1x", {.delta = 1}, PC_SLICE_NOT_NUMBER, "1x"},
        {"000000000000000000001", {.delta = 1}, PC_SLICE_NOT_NUMBER, "000000000000000000001"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct pc_store store = {.value = cases[i].text,
                                       .value_bytes = strlen(cases[i].text)};
        uint64_t before = 0;
        uint64_t after = 0;
        uint64_t number = 0;
        assert_int_equal(pc_slice_store(world.slices[0], &key, &store, 10, &before), PC_SLICE_OK);
        assert_int_equal(
            pc_slice_count(world.slices[0], &key, &cases[i].count, 10, &number, &after),
            cases[i].status);
        struct pc_value value;
        assert_true(pc_slice_find(world.slices[0], &key, 10, PC_FIND_HIT, &value));
        assert_int_equal(value.value_bytes, strlen(cases[i].result));
        assert_memory_equal(value.at, cases[i].result, value.value_bytes);
        assert_true(cases[i].status != PC_SLICE_OK || (after > before && value.cas == after));
    }
    world_close(&world);
}

static void sizes_that_cannot_work_are_refused(void **state)
{
    struct pc_pool *pool = NULL;
    const struct pc_pool_config bad[] = {
        {.limit_bytes = 1 << 20, .slice_count = 0},
        {.limit_bytes = 1 << 20, .slice_count = 4},
        {.limit_bytes = 1 << 20, .slice_count = 1, .segment_bytes = 5000},
        {.limit_bytes = 1 << 30, .slice_count = 1, .segment_bytes = 2 << 20},
        {.limit_bytes = UINT64_C(1) << 50, .slice_count = 1},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(pc_pool_create(&bad[i], &pool), -22);
    }
    assert_null(pool);
    assert_int_equal(pc_pool_segment_bytes_for(64 << 20), 64 * 1024);
    assert_int_equal(pc_pool_segment_bytes_for(UINT64_C(8) << 30), 1024 * 1024);
    assert_int_equal(pc_pool_slice_count_for(64 << 20, 64 * 1024, 2), 8);
    assert_int_equal(pc_pool_slice_count_for(64 << 20, 64 * 1024, 16), 32);
    assert_int_equal(pc_pool_slice_count_for(1 << 20, 64 * 1024, 2), 1);
}

static int fill(void **state)
{
    struct pc_random random;
    pc_random_init(&random, 4711);
    filler = malloc(VALUE_BYTES_MAX);
    for (size_t i = 0; i < VALUE_BYTES_MAX; i++) {
        filler[i] = (uint8_t)pc_random_next(&random);
    }
    return 0;
}

static int drain(void **state)
{
    free(filler);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_item_is_found_with_its_numbers),
        cmocka_unit_test(item_costs_under_24_bytes),
        cmocka_unit_test(cas_numbers_name_their_slice_and_never_repeat),
        cmocka_unit_test(read_items_outlive_unread_ones),
        cmocka_unit_test(ear_hears_every_eviction_while_it_listens),
        cmocka_unit_test(seeing_leaves_no_trace),
        cmocka_unit_test(expired_segments_come_back_without_being_asked_for),
        cmocka_unit_test(flush_takes_effect_at_once_and_memory_comes_back),
        cmocka_unit_test(a_read_that_meets_a_dead_item_is_told_why),
        cmocka_unit_test(flushed_item_stays_gone_when_its_segment_is_kept),
        cmocka_unit_test(held_value_survives_deletion_and_pressure),
        cmocka_unit_test(holds_are_refused_beyond_an_eighth),
        cmocka_unit_test(one_huge_value_gets_memory_from_all_slices),
        cmocka_unit_test(idle_slice_gives_memory_to_a_busy_one),
        cmocka_unit_test(first_store_of_a_slice_always_has_room),
        cmocka_unit_test(lowered_limit_is_kept_after_some_steps),
        cmocka_unit_test(raised_limit_is_used),
        cmocka_unit_test(index_and_segments_stay_within_the_limit),
        cmocka_unit_test(refused_set_leaves_no_old_value),
        cmocka_unit_test(body_is_invisible_until_it_is_committed),
        cmocka_unit_test(number_that_came_as_a_body_is_counted),
        cmocka_unit_test(hot_large_values_stay),
        cmocka_unit_test(claim_has_one_winner_until_the_next_store),
        cmocka_unit_test(counting_follows_memcached),
        cmocka_unit_test(sizes_that_cannot_work_are_refused),
    };
    return cmocka_run_group_tests(tests, fill, drain);
}
