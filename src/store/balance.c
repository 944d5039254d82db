/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balance: how the slices of a pool share its segments.
 *
 * A slice takes segments while the pool has some, and evicts for itself when it has none. Two
 * things move segments later. A slice whose memory turns over more slowly than another's gives some
 * back: its items are kept longer than theirs for no reason. And a value that needs many segments
 * at once makes its slice ask for them; every slice that is stepped then evicts until they are
 * free.
 */
#include "store/parts.h"

enum {
    PC_TURN_FORGOTTEN = 10, /* seconds after which a slice that evicts no more does not count */
    PC_TURN_SLACK = 2,      /* seconds: ages are whole ones */
    PC_TURN_TOLERANCE = 4,  /* a quarter longer is the same */
    PC_GIVE_SHARE = 64,     /* of its segments a slice gives at most this part in a second */
    PC_WANT_SECONDS = 2,    /* a wish that is not repeated ends */
};

/* Seconds in which all memory of the slice is filled once, judged by the age of a fresh segment. */
static uint32_t turn_of(const struct pc_slice *slice, uint32_t age)
{
    const uint32_t fresh = slice->queues[PC_QUEUE_FRESH].count;
    const uint64_t turn = (uint64_t)age * slice->segment_count / (fresh != 0 ? fresh : 1);
    return turn < UINT32_MAX ? (uint32_t)turn : UINT32_MAX;
}

void pc_balance_evicted(struct pc_slice *slice, uint32_t age, uint32_t now)
{
    slice->evicted_second = now;
    /* One at least: 0 says that nothing is evicted. */
    atomic_store_explicit(&slice->pool->turns[slice->number].seconds, turn_of(slice, age) + 1,
                          memory_order_relaxed);
}

/* The shortest turn of all slices that evict; 0: none does. */
static uint32_t turn_min(const struct pc_pool *pool)
{
    uint32_t least = 0;
    for (unsigned i = 0; i < pool->slice_count; i++) {
        const uint32_t turn = atomic_load_explicit(&pool->turns[i].seconds, memory_order_relaxed);
        if (turn != 0 && (least == 0 || turn < least)) {
            least = turn;
        }
    }
    return least;
}

static void want_set(struct pc_slice *slice, uint32_t count, uint32_t now)
{
    atomic_fetch_add_explicit(&slice->pool->wanted, count - slice->wanted, memory_order_relaxed);
    slice->wanted = count;
    slice->wanted_second = now;
}

void pc_balance_second(struct pc_slice *slice, uint32_t now)
{
    if (slice->balanced_second == now) {
        return;
    }
    slice->balanced_second = now;
    if (slice->wanted != 0 && now - slice->wanted_second >= PC_WANT_SECONDS) {
        want_set(slice, 0, now);
    }
    if (now - slice->evicted_second > PC_TURN_FORGOTTEN) {
        atomic_store_explicit(&slice->pool->turns[slice->number].seconds, 0, memory_order_relaxed);
    }
    slice->giving = 0;
    const uint32_t least = turn_min(slice->pool);
    const uint32_t oldest = slice->queues[PC_QUEUE_FRESH].oldest;
    if (least == 0 || oldest == 0 || slice->segment_count <= slice->floor_count) {
        return;
    }
    const uint32_t opened = slice->pool->segments[oldest].opened;
    const uint32_t turn = turn_of(slice, now > opened ? now - opened : 0);
    if (turn > least + least / PC_TURN_TOLERANCE + PC_TURN_SLACK) {
        slice->giving = 1 + slice->segment_count / PC_GIVE_SHARE;
    }
}

bool pc_balance_gives(const struct pc_slice *slice)
{
    const struct pc_pool *pool = slice->pool;
    const uint32_t wanted = atomic_load_explicit(&pool->wanted, memory_order_relaxed);
    return slice->segment_count + slice->ready_count > slice->floor_count &&
           (slice->giving != 0 || (wanted != 0 && pc_pool_free_count(pool) < wanted));
}

bool pc_balance_leaves(const struct pc_slice *slice)
{
    return slice->wanted == 0 &&
           atomic_load_explicit(&slice->pool->wanted, memory_order_relaxed) != 0;
}

/* Segments to open for so many bytes in chunks, besides what is left of the open one. */
static uint64_t segments_for(const struct pc_slice *slice, unsigned stream, uint64_t bytes)
{
    const uint32_t whole = slice->pool->segment_bytes - (uint32_t)sizeof(struct pc_chunk);
    const uint32_t open = slice->streams[stream].open;
    uint32_t room = 0;
    if (open != 0 && slice->pool->segments[open].used_bytes < whole) {
        room = whole - slice->pool->segments[open].used_bytes;
        room = room < PC_CHUNK_BYTES_MIN && room < bytes ? 0 : room;
    }
    return bytes <= room ? 0 : (bytes - room + whole - 1) / whole;
}

/* Segments that this slice could open now. */
static uint64_t present_for(const struct pc_slice *slice)
{
    const uint64_t spare = slice->ready_count > PC_READY_SPARE ? slice->ready_count - 1 : 0;
    return pc_pool_free_count(slice->pool) + spare;
}

/* Whether the pool could ever have so many free at once. */
static bool could_be_free(const struct pc_slice *slice, uint64_t needed)
{
    const struct pc_pool *pool = slice->pool;
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t floors = (uint64_t)pool->slice_count * slice->floor_count;
    const uint64_t held = (uint64_t)atomic_load_explicit(&pool->held_count, memory_order_relaxed) +
                          atomic_load_explicit(&pool->body_count, memory_order_relaxed);
    return needed + floors + held <= limit / pool->segment_bytes;
}

enum pc_slice_status pc_balance_ask(struct pc_slice *slice, unsigned stream, uint64_t bytes,
                                    uint32_t now, unsigned *budget)
{
    const uint64_t needed = segments_for(slice, stream, bytes);
    uint64_t present = present_for(slice);
    if (needed > present) {
        if (!could_be_free(slice, needed)) {
            return PC_SLICE_NO_MEMORY;
        }
        want_set(slice, (uint32_t)needed, now); /* what becomes free is for us */
    }
    /* Some of its segments are open, held or all that it may not go below; and where it would have
     * to give most of what it has, the others give too. */
    const uint64_t own =
        slice->segment_count > slice->floor_count ? slice->segment_count - slice->floor_count : 0;
    const bool alone = needed <= present + own / 2;
    while (needed > present && alone && *budget != 0) {
        if (slice->clearing.segment == 0 && !pc_evict_begin(slice, now, budget)) {
            break;
        }
        *budget = pc_clear_some(slice, now, *budget);
        pc_log_reap(slice);
        present = present_for(slice);
    }
    if (needed > present) {
        return PC_SLICE_LATER;
    }
    want_set(slice, 0, now);
    return PC_SLICE_OK;
}
