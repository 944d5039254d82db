/* SPDX-License-Identifier: Apache-2.0 */
/* chain: values that lie in chunks of several segments, holds on them, bodies on their way in. */
#include "store/parts.h"

enum { PC_AT_ONCE_BUDGET = 512 }; /* items' worth of eviction within one call: some 200 us */

static struct pc_chunk *chunk_at(const struct pc_pool *pool, uint64_t place)
{
    return pc_pool_at(pool, place);
}

/* Take a chunk for at most `left` bytes of payload from the open segment, which has room. */
static uint64_t chunk_take(struct pc_slice *slice, unsigned stream, uint64_t left)
{
    struct pc_segment *segment = &slice->pool->segments[slice->streams[stream].open];
    const uint32_t room =
        slice->pool->segment_bytes - segment->used_bytes - (uint32_t)sizeof(struct pc_chunk);
    const uint32_t bytes = left < room ? (uint32_t)left : room;
    const uint64_t place =
        pc_log_take(slice, stream, (uint32_t)sizeof(struct pc_chunk) + pc_word_align(bytes));
    struct pc_chunk *chunk = chunk_at(slice->pool, place);
    pc_word_store(&chunk->shape, 0);
    pc_word_store(&chunk->bytes, bytes);
    pc_word_pair_store(chunk->next, 0);
    pc_word_pair_store(chunk->head, 0);
    atomic_fetch_add(&segment->holds, PC_HOLD_BODY);
    atomic_fetch_add_explicit(&slice->pool->body_count, 1, memory_order_relaxed);
    return place;
}

enum pc_slice_status pc_chain_take_room(struct pc_slice *slice, unsigned stream, uint64_t bytes,
                                        uint32_t now, uint64_t *out_first)
{
    unsigned budget = PC_AT_ONCE_BUDGET;
    const enum pc_slice_status room = pc_balance_ask(slice, stream, bytes, now, &budget);
    if (room != PC_SLICE_OK) {
        return room;
    }
    uint64_t first = 0;
    uint64_t last = 0;
    for (uint64_t left = bytes; left != 0;) {
        const uint32_t least = left < PC_CHUNK_BYTES_MIN ? (uint32_t)left : PC_CHUNK_BYTES_MIN;
        if (!pc_log_has_room(slice, stream,
                             (uint32_t)sizeof(struct pc_chunk) + pc_word_align(least))) {
            const enum pc_slice_status status = pc_log_make_room(slice, stream, now, &budget);
            if (status != PC_SLICE_OK) {
                pc_chain_unpin(slice, first);
                pc_chain_drop(slice, first);
                return status;
            }
        }
        const uint64_t place = chunk_take(slice, stream, left);
        left -= pc_word_own(&chunk_at(slice->pool, place)->bytes);
        if (last == 0) {
            first = place;
        } else {
            pc_word_pair_store(chunk_at(slice->pool, last)->next, place);
        }
        last = place;
    }
    *out_first = first;
    return PC_SLICE_OK;
}

void pc_chunk_copy(struct pc_chunk *into, const struct pc_chunk *from)
{
    const uint32_t bytes = pc_word_own(&from->bytes);
    pc_word_store(&into->shape, 0);
    pc_word_store(&into->bytes, bytes);
    pc_word_pair_store(into->next, pc_word_pair_own(from->next));
    pc_word_pair_store(into->head, pc_word_pair_own(from->head));
    struct pc_words_writer writer;
    pc_words_begin(&writer, (uint32_t *)(void *)into->payload);
    pc_words_add(&writer, from->payload, bytes);
    pc_words_end(&writer);
}

void pc_chain_own(struct pc_slice *slice, uint64_t first, uint64_t head)
{
    for (uint64_t place = first; place != 0;) {
        struct pc_chunk *chunk = chunk_at(slice->pool, place);
        pc_word_pair_store(chunk->head, head);
        place = pc_word_pair_own(chunk->next);
    }
}

void pc_chain_expire_at(struct pc_slice *slice, uint64_t first, uint32_t expiry)
{
    const uint32_t last_second = expiry == 0 ? UINT32_MAX : expiry;
    for (uint64_t place = first; place != 0;) {
        struct pc_segment *segment = pc_pool_segment_of(slice->pool, place);
        if (segment->expiry_max < last_second) {
            segment->expiry_max = last_second;
        }
        place = pc_word_pair_own(chunk_at(slice->pool, place)->next);
    }
}

void pc_chain_unpin(struct pc_slice *slice, uint64_t first)
{
    for (uint64_t place = first; place != 0;) {
        const uint64_t next = pc_word_pair_own(chunk_at(slice->pool, place)->next);
        atomic_fetch_sub(&pc_pool_segment_of(slice->pool, place)->holds, PC_HOLD_BODY);
        atomic_fetch_sub_explicit(&slice->pool->body_count, 1, memory_order_relaxed);
        place = next;
    }
}

void pc_chain_drop(struct pc_slice *slice, uint64_t first)
{
    for (uint64_t place = first; place != 0;) {
        struct pc_chunk *chunk = chunk_at(slice->pool, place);
        const uint64_t next = pc_word_pair_own(chunk->next);
        const uint32_t bytes = pc_chunk_entry_bytes(chunk);
        pc_word_store(&chunk->shape, PC_ITEM_DEAD);
        pc_log_drop(slice, place, bytes);
        slice->walked++;
        place = next;
    }
}

bool pc_value_next(const struct pc_pool *pool, struct pc_value *value)
{
    if (value->left_bytes == 0) {
        return false;
    }
    const struct pc_chunk *chunk = chunk_at(pool, value->next);
    const uint32_t bytes = pc_word_load(&chunk->bytes);
    value->at = chunk->payload;
    value->piece_bytes = bytes;
    value->left_bytes -= bytes;
    value->next = pc_word_pair_load(chunk->next);
    return true;
}

/* Goes through the places of a value's pieces, as many as it had when it was found: chunks behind
 * them came later, by an append. */
struct pieces {
    const struct pc_pool *pool;
    uint64_t place, left;
};

static struct pieces pieces_of(const struct pc_pool *pool, const struct pc_value *value)
{
    return (struct pieces){pool, value->first, value->value_bytes};
}

/* The next place; 0: there is none. Reads no more of a piece once it has told it. */
static uint64_t pieces_next(struct pieces *pieces)
{
    const uint64_t place = pieces->place;
    if (place == 0) {
        return 0;
    }
    const struct pc_chunk *chunk = chunk_at(pieces->pool, place);
    const bool is_chunk = pc_shape_key_bytes(pc_word_load(&chunk->shape)) == 0;
    pieces->left -= is_chunk ? pc_word_load(&chunk->bytes) : pieces->left;
    pieces->place = pieces->left != 0 ? pc_word_pair_load(chunk->next) : 0;
    return place;
}

/* Segments that a hold of this value would newly keep. */
static uint32_t hold_cost(const struct pc_pool *pool, const struct pc_value *value)
{
    uint32_t count = 0;
    uint32_t before = 0;
    struct pieces pieces = pieces_of(pool, value);
    for (uint64_t place; (place = pieces_next(&pieces)) != 0;) {
        const uint32_t number = pc_pool_segment_number(pool, place);
        const uint32_t holds =
            atomic_load_explicit(&pool->segments[number].holds, memory_order_relaxed);
        count += number != before && (holds & PC_HOLD_SEND_MASK) == 0;
        before = number;
    }
    return count;
}

bool pc_value_hold(struct pc_slice *slice, struct pc_value *value)
{
    struct pc_pool *pool = slice->pool;
    const uint32_t held = atomic_load_explicit(&pool->held_count, memory_order_relaxed);
    const uint32_t cap = (uint32_t)(atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed) /
                                    pool->segment_bytes / PC_HOLD_SHARE);
    PC_ASSERT(!value->held);
    /* Nothing is held, or nothing more than before: then it is never too much. */
    const uint32_t cost = held != 0 ? hold_cost(pool, value) : 0;
    if (cost != 0 && held + cost > cap) {
        slice->stats.hold_refused++;
        return false;
    }
    struct pieces pieces = pieces_of(pool, value);
    for (uint64_t place; (place = pieces_next(&pieces)) != 0;) {
        const uint32_t before =
            atomic_fetch_add(&pc_pool_segment_of(pool, place)->holds, PC_HOLD_SEND);
        if ((before & PC_HOLD_SEND_MASK) == 0) {
            atomic_fetch_add_explicit(&pool->held_count, 1, memory_order_relaxed);
        }
    }
    value->held = true;
    return true;
}

void pc_value_release(struct pc_pool *pool, struct pc_value *value)
{
    if (!value->held) {
        return;
    }
    /* Each piece is read before it is let go: it may be gone at once. */
    struct pieces pieces = pieces_of(pool, value);
    for (uint64_t place; (place = pieces_next(&pieces)) != 0;) {
        const uint32_t before =
            atomic_fetch_sub(&pc_pool_segment_of(pool, place)->holds, PC_HOLD_SEND);
        if ((before & PC_HOLD_SEND_MASK) == PC_HOLD_SEND) {
            atomic_fetch_sub_explicit(&pool->held_count, 1, memory_order_relaxed);
        }
    }
    value->held = false;
}

static void reservation_piece(const struct pc_pool *pool, struct pc_reservation *reservation,
                              uint64_t place)
{
    struct pc_chunk *chunk = chunk_at(pool, place);
    reservation->at = chunk->payload;
    reservation->piece_bytes = pc_word_load(&chunk->bytes);
    reservation->next = pc_word_pair_load(chunk->next);
}

bool pc_reservation_next(const struct pc_pool *pool, struct pc_reservation *reservation)
{
    if (reservation->next == 0) {
        return false;
    }
    reservation_piece(pool, reservation, reservation->next);
    return true;
}

/* Bodies on their way in may pin so much of the memory that the slice could use. */
static bool body_fits(const struct pc_slice *slice, uint64_t bytes)
{
    const struct pc_pool *pool = slice->pool;
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t chunks = bytes / pool->segment_bytes + 2;
    const uint64_t present = atomic_load_explicit(&pool->body_count, memory_order_relaxed);
    return present == 0 || (present + chunks) * pool->segment_bytes <= limit / PC_BODY_SHARE;
}

enum pc_slice_status pc_slice_reserve(struct pc_slice *slice, const struct pc_key *key,
                                      const struct pc_store *store, uint32_t now,
                                      struct pc_reservation *out_reservation)
{
    if (store->value_bytes > slice->value_bytes_max) {
        return pc_store_refuse(slice, key, store, now);
    }
    if (store->value_bytes == 0) {
        *out_reservation = (struct pc_reservation){0};
        return PC_SLICE_OK;
    }
    if (!body_fits(slice, store->value_bytes)) {
        slice->stats.no_memory++;
        return PC_SLICE_NO_MEMORY;
    }
    uint64_t first;
    const enum pc_slice_status status = pc_chain_take_room(
        slice, pc_log_stream(slice, store->expiry, now), store->value_bytes, now, &first);
    if (status != PC_SLICE_OK) {
        slice->stats.no_memory += status == PC_SLICE_NO_MEMORY;
        return status;
    }
    *out_reservation = (struct pc_reservation){
        .first = first,
        .value_bytes = store->value_bytes,
    };
    reservation_piece(slice->pool, out_reservation, first);
    return PC_SLICE_OK;
}

void pc_slice_abort(struct pc_slice *slice, struct pc_reservation *reservation)
{
    pc_chain_unpin(slice, reservation->first);
    pc_chain_drop(slice, reservation->first);
    *reservation = (struct pc_reservation){0};
}
