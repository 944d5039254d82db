/* SPDX-License-Identifier: Apache-2.0 */
/* clear: take the items of one segment away, entry by entry, so that it can be used again. */
#include "store/parts.h"

void pc_clear_begin(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    PC_ASSERT(slice->clearing.segment == 0 && segment->state == PC_SEGMENT_CLOSED);
    segment->state = PC_SEGMENT_CLEARING;
    slice->clearing = (struct pc_clearing){.segment = number};
}

static enum pc_end end_of(const struct pc_item *item, bool flushed, uint32_t now)
{
    if (flushed) {
        return PC_END_FLUSHED;
    }
    return pc_expired(pc_word_own(&item->expiry), now) ? PC_END_EXPIRED : PC_END_EVICTED;
}

/* Unlink the item at `place`, which is alive. */
static void end_item(struct pc_slice *slice, uint64_t place, uint32_t now)
{
    const struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    const struct pc_index *index = &slice->index;
    const uint64_t hash =
        index->hash(pc_item_key(item, shape), pc_shape_key_bytes(shape), index->hash_seed);
    struct pc_slot_at at;
    const bool found = pc_index_find_place(index, hash, place, &at);
    PC_ASSERT(found);
    if (found) {
        const enum pc_end why = end_of(item, pc_slice_flushed(slice, place), now);
        slice->stats.reclaimed += why == PC_END_EXPIRED;
        pc_slice_unlink(slice, &at, why);
    }
}

/* A chunk goes with its value, unless only its segment was flushed and the value came later. */
static void end_chunk(struct pc_slice *slice, const struct pc_chunk *chunk, uint64_t place,
                      uint32_t now)
{
    const uint64_t head = pc_word_pair_own(chunk->head);
    PC_ASSERT(head != 0);
    if (pc_slice_flushed(slice, place) && !pc_slice_flushed(slice, head)) {
        return;
    }
    end_item(slice, head, now);
}

/* Returns the bytes of the entry. */
static uint32_t clear_entry(struct pc_slice *slice, uint64_t place, uint32_t now)
{
    const struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    if (pc_shape_key_bytes(shape) == 0) {
        const struct pc_chunk *chunk = pc_pool_at(slice->pool, place);
        const uint32_t bytes = pc_chunk_entry_bytes(chunk);
        if ((shape & PC_ITEM_DEAD) == 0) {
            end_chunk(slice, chunk, place, now);
        }
        return bytes;
    }
    if ((shape & PC_ITEM_DEAD) == 0) {
        end_item(slice, place, now);
    }
    return pc_shape_item_bytes(shape);
}

static void clear_end(struct pc_slice *slice)
{
    const uint32_t number = slice->clearing.segment;
    slice->clearing = (struct pc_clearing){0};
    if (slice->pool->segments[number].live_bytes == 0) {
        slice->stats.eviction_age_seconds = slice->cleared_age;
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
            clear_end(slice);
            break;
        }
        clearing->offset += clear_entry(
            slice, pc_pool_place(slice->pool, clearing->segment, clearing->offset), now);
        budget--;
    }
    return budget;
}

uint32_t pc_clear_victim(struct pc_slice *slice)
{
    const struct pc_segment *segments = slice->pool->segments;
    uint32_t number = slice->oldest;
    uint32_t open = 0;
    for (; number != 0; number = segments[number].next) {
        if (atomic_load_explicit(&segments[number].holds, memory_order_relaxed) != 0) {
            continue;
        }
        if (segments[number].state == PC_SEGMENT_CLOSED) {
            return number;
        }
        if (segments[number].state == PC_SEGMENT_OPEN && open == 0) {
            open = number;
        }
    }
    if (open != 0) {
        pc_log_close(slice, segments[open].stream);
        /* Closing an empty one has freed it already. */
        return segments[open].state == PC_SEGMENT_CLOSED ? open : 0;
    }
    return 0;
}

bool pc_clear_one(struct pc_slice *slice, uint32_t now)
{
    for (;;) {
        if (slice->clearing.segment != 0) {
            (void)pc_clear_some(slice, now, UINT32_MAX);
        }
        if (slice->ready_count != 0 || pc_pool_has_free(slice->pool)) {
            return true;
        }
        pc_log_reap(slice);
        if (slice->ready_count != 0) {
            return true;
        }
        const uint32_t victim = pc_clear_victim(slice);
        if (victim == 0) {
            return slice->ready_count != 0 || pc_pool_has_free(slice->pool);
        }
        pc_clear_begin(slice, victim);
    }
}
