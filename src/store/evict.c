/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict: which segment goes next, and which of its items are worth keeping.
 *
 * Two queues of segments, as in S3-FIFO (Yang et al., SOSP 2023): `fresh` for what is stored,
 * `kept` for what was read while it was fresh. The oldest segment of a queue is cleared; items that
 * were read since they were last looked at move to the end of `kept`, colder by half; the others
 * go. How the memory is shared between the queues follows from the history of what went too early.
 */
#include "store/parts.h"

enum {
    PC_SHARE_ONE = 1 << 24,                    /* fixed point */
    PC_FRESH_SHARE_FIRST = PC_SHARE_ONE / 10,  /* S3-FIFO's figure, to begin with */
    PC_FRESH_SHARE_MIN = PC_SHARE_ONE / 50,    /* it can still learn from what goes too early */
    PC_FRESH_SHARE_MAX = PC_SHARE_ONE / 5 * 4, /* likewise */
    PC_SHARE_STEP_MAX = 50,                    /* items' worth that one regret may move */
    PC_KEEP_PERCENT_MAX = 95,                  /* of a segment: each clearing gains something */
    PC_PASS_PERCENT_MIN = 75,                  /* hot bytes that make a segment move as a whole */
    PC_SURVEY_ENTRIES_MAX = 32,                /* looked at to find that out */
    PC_PASSES_MAX = 16,                        /* segments passed over for one that is cleared */
    PC_SURVEY_COST = 2, /* items' worth of an entry looked at through its key */
};

static uint32_t queue_victim(const struct pc_slice *slice, enum pc_queue_name name)
{
    const struct pc_segment *segments = slice->pool->segments;
    uint32_t number = slice->queues[name].oldest;
    for (; number != 0; number = segments[number].next) {
        if (segments[number].state == PC_SEGMENT_CLOSED &&
            atomic_load_explicit(&segments[number].holds, memory_order_relaxed) == 0) {
            return number;
        }
    }
    return 0;
}

/* With nothing closed, one that is open goes. */
static uint32_t open_victim(struct pc_slice *slice)
{
    for (unsigned i = 0; i < slice->group_count * PC_QUEUE_COUNT; i++) {
        const uint32_t number = slice->streams[i].open;
        if (number == 0) {
            continue;
        }
        const struct pc_segment *segment = &slice->pool->segments[number];
        if (segment->live_count != 0 &&
            atomic_load_explicit(&segment->holds, memory_order_relaxed) == 0) {
            pc_log_close(slice, i);
            return number;
        }
    }
    return 0;
}

static uint32_t victim_choose(struct pc_slice *slice)
{
    const uint64_t fresh = slice->queues[PC_QUEUE_FRESH].count;
    if (slice->fresh_share == 0) {
        slice->fresh_share = PC_FRESH_SHARE_FIRST;
    }
    const bool fresh_first =
        fresh * PC_SHARE_ONE > (uint64_t)slice->segment_count * slice->fresh_share;
    uint32_t number = queue_victim(slice, fresh_first ? PC_QUEUE_FRESH : PC_QUEUE_KEPT);
    if (number == 0) {
        number = queue_victim(slice, fresh_first ? PC_QUEUE_KEPT : PC_QUEUE_FRESH);
    }
    return number != 0 ? number : open_victim(slice);
}

/* The look of the item that a chunk belongs to. */
static bool head_look(const struct pc_slice *slice, const struct pc_chunk *chunk,
                      struct pc_look *out_look)
{
    const uint64_t head = pc_word_pair_own(chunk->head);
    struct pc_item *item = pc_pool_at(slice->pool, head);
    const uint32_t shape = pc_word_own(&item->shape);
    const struct pc_index *index = &slice->index;
    const uint64_t hash =
        index->hash(pc_item_key(item, shape), pc_shape_key_bytes(shape), index->hash_seed);
    out_look->item = item;
    out_look->shape = shape;
    return pc_index_find_place(index, hash, head, &out_look->at);
}

/* Colder by half. Values in chunks cool down once a round: when their first chunk is looked at. */
static void cool_look(const struct pc_look *look, uint64_t entry_place)
{
    const uint64_t slot = look->at.value;
    const bool chunked = (look->shape & PC_ITEM_CHUNKED) != 0;
    if (!chunked || pc_pair(pc_item_chain(look->item, look->shape).first) == entry_place) {
        const uint64_t halved = (uint64_t)(pc_slot_heat(slot) / 2) << PC_SLOT_HEAT_SHIFT;
        atomic_store_explicit(look->at.slot, (slot & ~PC_SLOT_HEAT_MASK) | halved,
                              memory_order_release);
    }
}

/* The look of a living entry's item, by way of its head if it is a chunk. */
static bool entry_look(const struct pc_slice *slice, uint64_t place, struct pc_look *out_look)
{
    struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    if (pc_shape_key_bytes(shape) == 0) {
        return head_look(slice, pc_pool_at(slice->pool, place), out_look);
    }
    const struct pc_index *index = &slice->index;
    const uint64_t hash =
        index->hash(pc_item_key(item, shape), pc_shape_key_bytes(shape), index->hash_seed);
    out_look->item = item;
    out_look->shape = shape;
    return pc_index_find_place(index, hash, place, &out_look->at);
}

static bool entry_hot(const struct pc_slice *slice, const struct pc_look *look, uint32_t now)
{
    return pc_slot_heat(look->at.value) != 0 &&
           !pc_expired(pc_word_own(&look->item->expiry), now) &&
           !pc_slice_flushed(slice, pc_slot_place(look->at.value));
}

static void spend(unsigned *budget, unsigned cost)
{
    *budget -= cost < *budget ? cost : *budget;
}

/* Visit the living entries of a segment that has few: `hot_bytes` of them, and with `cool` they are
 * colder by half afterwards. False: there are too many to look at. */
static bool survey(struct pc_slice *slice, uint32_t number, uint32_t now, bool cool,
                   unsigned *budget, uint64_t *out_hot_bytes)
{
    const struct pc_segment *segment = &slice->pool->segments[number];
    uint64_t hot_bytes = 0;
    uint32_t offset = 0;
    for (unsigned i = 0; offset < segment->used_bytes; i++) {
        const uint64_t place = pc_pool_place(slice->pool, number, offset);
        const uint32_t bytes = pc_entry_bytes(pc_pool_at(slice->pool, place));
        const struct pc_item *entry = pc_pool_at(slice->pool, place);
        struct pc_look look;
        offset += bytes;
        spend(budget, PC_SURVEY_COST);
        if (i == PC_SURVEY_ENTRIES_MAX) {
            return false;
        }
        if ((pc_word_own(&entry->shape) & PC_ITEM_DEAD) != 0 || !entry_look(slice, place, &look) ||
            !entry_hot(slice, &look, now)) {
            continue;
        }
        hot_bytes += bytes;
        if (cool) {
            cool_look(&look, place);
        }
    }
    *out_hot_bytes = hot_bytes;
    return true;
}

/* A segment with little in it but large values that are read is not copied: as a whole it moves to
 * the end of `kept`. */
static bool pass_over(struct pc_slice *slice, uint32_t number, uint32_t now, unsigned *budget)
{
    const uint64_t enough = (uint64_t)slice->pool->segment_bytes * PC_PASS_PERCENT_MIN / 100;
    uint64_t hot_bytes;
    /* As the newest it would no longer say that what was in it is flushed. */
    if (pc_slice_flushed(slice, pc_pool_place(slice->pool, number, 0))) {
        return false;
    }
    if (!survey(slice, number, now, false, budget, &hot_bytes) || hot_bytes < enough) {
        return false;
    }
    (void)survey(slice, number, now, true, budget, &hot_bytes);
    pc_log_requeue(slice, number, PC_QUEUE_KEPT);
    return true;
}

bool pc_evict_begin(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    if (slice->segment_count + slice->ready_count <= slice->floor_count &&
        slice->ready_count > PC_READY_SPARE) {
        return false;
    }
    if (PC_UNLIKELY(slice->pool->keeps_all)) {
        return pc_compact_begin(slice, now, budget);
    }
    pc_history_fit(&slice->history, slice->pool, slice->index.item_count);
    uint32_t victim = victim_choose(slice);
    for (unsigned i = 0; i < PC_PASSES_MAX && victim != 0; i++) {
        if (!pass_over(slice, victim, now, budget)) {
            break;
        }
        if (*budget == 0) {
            return true;
        }
        victim = victim_choose(slice);
    }
    if (victim == 0) {
        return false;
    }
    const uint32_t opened = slice->pool->segments[victim].opened;
    slice->cleared_age = now > opened ? now - opened : 0;
    pc_clear_begin(slice, victim, true);
    return true;
}

enum pc_slice_status pc_evict_one(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    for (;;) {
        if (slice->clearing.segment != 0) {
            slice->stats.forced++;
            *budget = pc_clear_some(slice, now, *budget);
        }
        pc_log_reap(slice);
        const bool pool_serves = pc_pool_has_free(slice->pool) && !pc_balance_leaves(slice);
        if (slice->ready_count > PC_READY_SPARE || pool_serves) {
            return PC_SLICE_OK;
        }
        if (*budget == 0) {
            return PC_SLICE_LATER;
        }
        if (slice->clearing.segment == 0 && !pc_evict_begin(slice, now, budget)) {
            return PC_SLICE_NO_MEMORY;
        }
    }
}

/* Room for what the present clearing keeps; only free segments are opened for it. */
static bool keep_room(struct pc_slice *slice, unsigned stream, uint32_t bytes, uint32_t now)
{
    const struct pc_segment *from = &slice->pool->segments[slice->clearing.segment];
    if ((uint64_t)(slice->clearing.kept_bytes + bytes) * 100 >
        (uint64_t)slice->pool->segment_bytes * PC_KEEP_PERCENT_MAX) {
        return false;
    }
    if (pc_log_has_room(slice, stream, bytes)) {
        return true;
    }
    pc_log_close(slice, stream);
    return pc_log_open_free(slice, stream, atomic_load_explicit(&from->born, memory_order_relaxed),
                            now);
}

/* Where nothing is evicted all that stays of a segment goes to one stream, so that one free segment
 * is enough for it. */
static unsigned keep_stream(const struct pc_slice *slice, uint32_t expiry, uint32_t now)
{
    if (slice->pool->keeps_all) {
        const unsigned from = slice->pool->segments[slice->clearing.segment].stream;
        return from / PC_QUEUE_COUNT * PC_QUEUE_COUNT + PC_QUEUE_KEPT;
    }
    return pc_log_stream(slice, expiry, now) + PC_QUEUE_KEPT;
}

bool pc_evict_keep(struct pc_slice *slice, const struct pc_look *look, const struct pc_key *key,
                   uint32_t now)
{
    const uint32_t heat = pc_slot_heat(look->at.value);
    const bool kept =
        slice->pool->segments[slice->clearing.segment].stream % PC_QUEUE_COUNT == PC_QUEUE_KEPT;
    const bool keeps_all = slice->pool->keeps_all;
    if (heat == 0 && !keeps_all) {
        pc_history_add(&slice->history, key->hash, kept);
        return false;
    }
    struct pc_draft draft;
    pc_draft_from(slice, look, key, &draft);
    draft.heat = draft.chain != 0 || keeps_all ? heat : heat / 2;
    const unsigned stream = keep_stream(slice, draft.expiry, now);
    if (!keep_room(slice, stream, pc_draft_bytes(&draft), now)) {
        return false;
    }
    (void)pc_draft_commit(slice, &draft, stream, look, draft.chain != 0);
    slice->clearing.kept_bytes += pc_shape_item_bytes(look->shape);
    slice->stats.moved++;
    return true;
}

/* Let whatever led to the chunk at `from` lead to the one at `into`. */
static void chain_relink(struct pc_slice *slice, const struct pc_look *head, uint64_t from,
                         uint64_t into)
{
    struct pc_chain chain = pc_item_chain(head->item, head->shape);
    if (pc_pair(chain.first) == from) {
        chain.first[0] = (uint32_t)into;
        chain.first[1] = (uint32_t)(into >> 32);
        pc_item_overwrite(head->item, head->shape, &chain, sizeof(chain));
        return;
    }
    struct pc_chunk *before = pc_pool_at(slice->pool, pc_pair(chain.first));
    while (pc_word_pair_own(before->next) != from) {
        before = pc_pool_at(slice->pool, pc_word_pair_own(before->next));
        slice->walked++;
    }
    pc_word_pair_store(before->next, into);
}

bool pc_evict_keep_chunk(struct pc_slice *slice, struct pc_chunk *chunk, uint64_t place,
                         uint32_t now)
{
    struct pc_look head;
    /* Whoever sends the value walks its chunks: then they stay as they are, and the value goes. */
    const struct pc_segment *from = pc_pool_segment_of(slice->pool, place);
    if (atomic_load(&from->holds) != 0 || !head_look(slice, chunk, &head) ||
        (pc_slot_heat(head.at.value) == 0 && !slice->pool->keeps_all)) {
        return false;
    }
    const uint32_t expiry = pc_word_own(&head.item->expiry);
    const uint32_t bytes = pc_chunk_entry_bytes(chunk);
    const unsigned stream = keep_stream(slice, expiry, now);

    if (pc_expired(expiry, now) || !keep_room(slice, stream, bytes, now)) {
        return false;
    }
    const uint64_t into = pc_log_take(slice, stream, bytes);
    pc_chunk_copy(pc_pool_at(slice->pool, into), chunk);
    pc_chain_open(head.at.bucket);
    chain_relink(slice, &head, place, into);
    pc_chain_close(head.at.bucket);
    pc_chain_expire_at(slice, into, expiry);
    if (!slice->pool->keeps_all) {
        cool_look(&head, into);
    }
    pc_word_store(&chunk->shape, PC_ITEM_DEAD);
    pc_log_drop(slice, place, bytes);
    slice->clearing.kept_bytes += bytes;
    return true;
}

void pc_evict_learn(struct pc_slice *slice, uint64_t hash)
{
    struct pc_history *history = &slice->history;
    const enum pc_history_found found = pc_history_take(history, hash);
    if (found == PC_HISTORY_NONE || slice->fresh_share == 0) {
        return;
    }
    /* The rarer kind of regret weighs more, or the commoner would always win. */
    const bool fresh = found == PC_HISTORY_FRESH;
    const uint32_t same = (fresh ? history->fresh_count : history->kept_count) + 1;
    const uint32_t other = (fresh ? history->kept_count : history->fresh_count) + 1;
    const uint64_t weight_max = (uint64_t)PC_SHARE_ONE * PC_SHARE_STEP_MAX;
    uint64_t weight = (uint64_t)other * PC_SHARE_ONE / same;
    weight = weight < PC_SHARE_ONE ? PC_SHARE_ONE : weight;
    weight = weight > weight_max ? weight_max : weight;
    const uint64_t step = weight / (slice->index.item_count + 1) + 1;
    if (fresh) {
        slice->fresh_share = slice->fresh_share + step > PC_FRESH_SHARE_MAX
                                 ? PC_FRESH_SHARE_MAX
                                 : slice->fresh_share + (uint32_t)step;
    } else {
        slice->fresh_share = slice->fresh_share < PC_FRESH_SHARE_MIN + step
                                 ? PC_FRESH_SHARE_MIN
                                 : slice->fresh_share - (uint32_t)step;
    }
}
