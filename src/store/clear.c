/* SPDX-License-Identifier: Apache-2.0 */
/* clear: take the items of one segment away, entry by entry, so that it can be used again. */
#include "store/parts.h"

enum {
    PC_FETCH_AHEAD_BYTES = 1024, /* some 8 items of 100 bytes */
    PC_COPY_BYTES = 1024,        /* copied for the price of one item */
};

void pc_clear_begin(struct pc_slice *slice, uint32_t number, bool evicts)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    PC_ASSERT(slice->clearing.segment == 0 && segment->state == PC_SEGMENT_CLOSED);
    segment->state = PC_SEGMENT_CLEARING;
    slice->clearing = (struct pc_clearing){.segment = number, .evicts = evicts};
}

static enum pc_end end_of(const struct pc_item *item, bool flushed, uint32_t now)
{
    if (flushed) {
        return PC_END_FLUSHED;
    }
    return pc_expired(pc_word_own(&item->expiry), now) ? PC_END_EXPIRED : PC_END_EVICTED;
}

/* Move or unlink the item at `place`, which is alive. */
static void end_item(struct pc_slice *slice, uint64_t place, bool may_stay, uint32_t now)
{
    struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    const struct pc_index *index = &slice->index;
    const struct pc_key key = {
        .at = pc_item_key(item, shape),
        .bytes = pc_shape_key_bytes(shape),
        .hash = index->hash(pc_item_key(item, shape), pc_shape_key_bytes(shape), index->hash_seed),
    };
    struct pc_look look = {.item = item, .shape = shape};
    const bool found = pc_index_find_place(index, key.hash, place, &look.at);
    PC_ASSERT(found);
    if (!found) {
        return;
    }
    const enum pc_end why = end_of(item, pc_slice_flushed(slice, place), now);
    if (why == PC_END_EVICTED && may_stay && pc_evict_keep(slice, &look, &key, now)) {
        return;
    }
    if (why == PC_END_EVICTED && slice->pool->keeps_all) {
        slice->clearing.stuck = true;
        return;
    }
    slice->stats.reclaimed += why == PC_END_EXPIRED;
    pc_slice_unlink(slice, &look.at, why);
}

/* A chunk goes with its value, unless only its segment was flushed and the value came later. */
static void end_chunk(struct pc_slice *slice, struct pc_chunk *chunk, uint64_t place, uint32_t now)
{
    const uint64_t head = pc_word_pair_own(chunk->head);
    PC_ASSERT(head != 0);
    if (pc_slice_flushed(slice, place) && !pc_slice_flushed(slice, head)) {
        return;
    }
    if (slice->clearing.evicts && !pc_slice_flushed(slice, head) &&
        pc_evict_keep_chunk(slice, chunk, place, now)) {
        return;
    }
    end_item(slice, head, false, now);
}

/* Returns the bytes of the entry. */
static uint32_t clear_entry(struct pc_slice *slice, uint64_t place, uint32_t now)
{
    const struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    if (pc_shape_key_bytes(shape) == 0) {
        struct pc_chunk *chunk = pc_pool_at(slice->pool, place);
        const uint32_t bytes = pc_chunk_entry_bytes(chunk);
        if ((shape & PC_ITEM_DEAD) == 0) {
            end_chunk(slice, chunk, place, now);
        }
        return bytes;
    }
    if ((shape & PC_ITEM_DEAD) == 0) {
        end_item(slice, place, slice->clearing.evicts, now);
    }
    return pc_shape_item_bytes(shape);
}

/* Where the slot of an item is depends on its key: ask for the bucket some entries early. */
static void fetch_ahead(struct pc_slice *slice)
{
    struct pc_clearing *clearing = &slice->clearing;
    const struct pc_segment *segment = &slice->pool->segments[clearing->segment];
    for (unsigned i = 0; i < 2 && clearing->ahead < segment->used_bytes &&
                         clearing->ahead < clearing->offset + PC_FETCH_AHEAD_BYTES;
         i++) {
        const struct pc_item *item =
            pc_pool_at(slice->pool, pc_pool_place(slice->pool, clearing->segment, clearing->ahead));
        const uint32_t shape = pc_word_own(&item->shape);
        if (pc_shape_key_bytes(shape) != 0 && (shape & PC_ITEM_DEAD) == 0) {
            const uint64_t hash = slice->index.hash(
                pc_item_key(item, shape), pc_shape_key_bytes(shape), slice->index.hash_seed);
            __builtin_prefetch(pc_index_bucket(&slice->index, hash));
        }
        clearing->ahead += pc_entry_bytes(item);
    }
}

static void clear_end(struct pc_slice *slice, uint32_t now)
{
    const bool evicted = slice->clearing.evicts;
    const uint32_t number = slice->clearing.segment;
    slice->clearing = (struct pc_clearing){0};
    if (slice->pool->segments[number].live_bytes == 0) {
        if (evicted && !slice->pool->keeps_all &&
            slice->pool->segments[number].stream % PC_QUEUE_COUNT == PC_QUEUE_FRESH) {
            slice->stats.eviction_age_seconds = slice->cleared_age;
            pc_balance_evicted(slice, slice->cleared_age, now);
        }
        pc_log_retire(slice, number);
    } else {
        pc_log_renew(slice, number);
    }
}

unsigned pc_clear_some(struct pc_slice *slice, uint32_t now, unsigned budget)
{
    while (slice->clearing.segment != 0 && budget != 0) {
        struct pc_clearing *clearing = &slice->clearing;
        const struct pc_segment *segment = &slice->pool->segments[clearing->segment];
        if (clearing->offset == segment->used_bytes || segment->live_bytes == 0) {
            clear_end(slice, now);
            break;
        }
        fetch_ahead(slice);
        const uint32_t kept_bytes = clearing->kept_bytes;
        const uint32_t walked = slice->walked;
        clearing->offset += clear_entry(
            slice, pc_pool_place(slice->pool, clearing->segment, clearing->offset), now);
        const uint32_t cost =
            1 + (clearing->kept_bytes - kept_bytes) / PC_COPY_BYTES + (slice->walked - walked);
        budget -= cost < budget ? cost : budget;
        if (PC_UNLIKELY(clearing->stuck)) {
            pc_compact_stop(slice, now);
        }
    }
    return budget;
}
