/* SPDX-License-Identifier: Apache-2.0 */
/* slice: its life, finding, upkeep and numbers. */
#include "store/slice.h"

#include "store/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    PC_VALUE_BYTES_DEFAULT = 1024 * 1024,
    PC_INLINE_SHARE = 8,   /* of a segment: larger items are chunked, smaller ones waste no more */
    PC_FLOOR_SEGMENTS = 4, /* a slice's own from the start */
    PC_GROUP_SHARE = 16,   /* of the segments; a group has two streams: an eighth may be open */
    PC_HEAT_SURE = 4,      /* hits up to here count one each, later ones by chance */
    PC_PACE_ENTRIES = 4,   /* cleared for each that is written, while room is short */
    PC_PACE_TIMES_COMPACT = 3, /* where an eighth of what is cleared is room */
    PC_PACE_MAX = 512,         /* larger values make their room by LATER */
    PC_PACE_BYTES = 32,        /* and one more for so many bytes written */
    PC_SEARCH_COUNT = 16,      /* segments looked at for the price of one item */
};

static uint64_t hash_default(const void *key, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(key, bytes, seed);
}

static unsigned groups_for(const struct pc_pool *pool)
{
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t share = limit / pool->segment_bytes / pool->slice_count / PC_GROUP_SHARE;
    return share < 1 ? 1 : share > PC_GROUP_COUNT_MAX ? PC_GROUP_COUNT_MAX : (unsigned)share;
}

static bool floor_take(struct pc_slice *slice)
{
    slice->floor_count = PC_FLOOR_SEGMENTS;
    while (slice->ready_count < slice->floor_count) {
        const uint32_t number = pc_pool_take(slice->pool);
        if (number == 0) {
            return false;
        }
        atomic_store_explicit(&slice->pool->segments[number].next_free, slice->ready,
                              memory_order_relaxed);
        slice->ready = number;
        slice->ready_count++;
    }
    return true;
}

static const _Atomic uint32_t nobody_listens;

int pc_slice_create(const struct pc_slice_config *config, struct pc_slice **out_slice)
{
    struct pc_pool *pool = config->pool;
    if (pool == NULL || config->index >= pool->slice_count) {
        return -EINVAL;
    }
    struct pc_slice *slice = aligned_alloc(PC_CACHE_LINE, sizeof(*slice));
    if (slice == NULL) {
        return -ENOMEM;
    }
    memset(slice, 0, sizeof(*slice));
    slice->pool = pool;
    slice->number = config->index;
    slice->value_bytes_max =
        config->value_bytes_max != 0 ? config->value_bytes_max : PC_VALUE_BYTES_DEFAULT;
    slice->inline_bytes_max = pool->segment_bytes / PC_INLINE_SHARE;
    slice->group_count = groups_for(pool);
    slice->cas_counter = 1;
    slice->ear.listens = &nobody_listens;
    pc_random_init(&slice->random, config->random_seed + config->index);
    pc_hot_init(&slice->hot, pc_random_next(&slice->random));
    const int failed = pc_index_init(
        &slice->index, pool, config->hash != NULL ? config->hash : hash_default, config->hash_seed);
    if (failed != 0) {
        free(slice);
        return failed;
    }
    if (!floor_take(slice)) {
        pc_slice_destroy(slice);
        return -ENOMEM;
    }
    *out_slice = slice;
    return 0;
}

static void give_all(struct pc_slice *slice, uint32_t first)
{
    for (uint32_t number = first; number != 0;) {
        const struct pc_segment *segment = &slice->pool->segments[number];
        const uint32_t next = atomic_load_explicit(&segment->next_free, memory_order_relaxed);
        pc_pool_give(slice->pool, number);
        number = next;
    }
}

void pc_slice_destroy(struct pc_slice *slice)
{
    if (slice == NULL) {
        return;
    }
    for (unsigned i = 0; i < PC_QUEUE_COUNT; i++) {
        for (uint32_t number = slice->queues[i].oldest; number != 0;) {
            struct pc_segment *segment = &slice->pool->segments[number];
            const uint32_t next = segment->next;
            PC_ASSERT((atomic_load(&segment->holds) & PC_HOLD_SEND_MASK) == 0);
            segment->state = PC_SEGMENT_FREE;
            atomic_store(&segment->holds, 0);
            pc_pool_give(slice->pool, number);
            number = next;
        }
    }
    give_all(slice, slice->ready);
    give_all(slice, slice->limbo);
    atomic_fetch_sub_explicit(&slice->pool->wanted, slice->wanted, memory_order_relaxed);
    pc_history_fini(&slice->history, slice->pool);
    pc_index_fini(&slice->index);
    free(slice);
}

void pc_slice_prefetch(const struct pc_slice *slice, uint64_t hash)
{
    __builtin_prefetch(pc_index_bucket(&slice->index, hash));
}

void pc_slice_prefetch_item(const struct pc_slice *slice, uint64_t hash)
{
    const struct pc_bucket *bucket = pc_index_bucket(&slice->index, hash);
    const uint32_t tag = pc_hash_tag(hash);
    for (unsigned i = 0; i < PC_BUCKET_SLOTS; i++) {
        const uint64_t slot = atomic_load_explicit(&bucket->slots[i], memory_order_relaxed);
        if (slot != 0 && pc_slot_tag(slot) == tag) {
            const uint8_t *item = pc_pool_at(slice->pool, pc_slot_place(slot));
            __builtin_prefetch(item);
            __builtin_prefetch(item + PC_CACHE_LINE);
            return;
        }
    }
    const uint32_t overflow = atomic_load_explicit(&bucket->overflow, memory_order_relaxed);
    if (overflow != 0) {
        __builtin_prefetch(pc_index_overflow_at(&slice->index, overflow));
    }
}

bool pc_slice_flushed(const struct pc_slice *slice, uint64_t place)
{
    const struct pc_segment *segment = pc_pool_segment_of(slice->pool, place);
    return atomic_load_explicit(&segment->sequence, memory_order_relaxed) <=
           atomic_load_explicit(&slice->flush_sequence, memory_order_relaxed);
}

void pc_slice_unlink(struct pc_slice *slice, const struct pc_slot_at *at, enum pc_end why)
{
    const uint64_t place = pc_slot_place(at->value);
    struct pc_item *item = pc_pool_at(slice->pool, place);
    const uint32_t shape = pc_word_own(&item->shape);
    const bool unfetched = (shape & PC_ITEM_FETCHED) == 0;
    struct pc_slice_stats *stats = &slice->stats;
    pc_index_remove(&slice->index, at);
    switch (why) {
    case PC_END_EXPIRED:
        stats->expired++;
        stats->expired_unfetched += unfetched;
        break;
    case PC_END_FLUSHED:
        stats->flushed++;
        break;
    case PC_END_EVICTED:
        if (PC_UNLIKELY(atomic_load_explicit(slice->ear.listens, memory_order_relaxed) != 0)) {
            pc_slice_evicting(slice, at);
        }
        stats->evicted++;
        stats->evicted_unfetched += unfetched;
        stats->evicted_with_expiry += pc_word_own(&item->expiry) != 0;
        stats->evicted_active += pc_slot_heat(at->value) != 0;
        break;
    case PC_END_REPLACED:
        break;
    }
    pc_word_store(&item->shape, shape | PC_ITEM_DEAD);
    if ((shape & PC_ITEM_CHUNKED) != 0) {
        pc_chain_drop(slice, pc_pair(pc_item_chain(item, shape).first));
    }
    pc_log_drop(slice, place, pc_shape_item_bytes(shape));
}

/* Inlined where every get comes by. */
static inline __attribute__((always_inline)) bool
slice_look(struct pc_slice *slice, const struct pc_key *key, uint32_t now, struct pc_look *out_look)
{
    if (!pc_index_find(&slice->index, key, &out_look->at)) {
        out_look->missed = PC_END_REPLACED;
        return false;
    }
    const uint64_t place = pc_slot_place(out_look->at.value);
    out_look->item = pc_pool_at(slice->pool, place);
    out_look->shape = pc_word_own(&out_look->item->shape);
    if (PC_UNLIKELY(slice->flush_pending) && pc_slice_flushed(slice, place)) {
        pc_slice_unlink(slice, &out_look->at, PC_END_FLUSHED);
        out_look->missed = PC_END_FLUSHED;
        return false;
    }
    if (PC_UNLIKELY(pc_expired(pc_word_own(&out_look->item->expiry), now))) {
        pc_slice_unlink(slice, &out_look->at, PC_END_EXPIRED);
        out_look->missed = PC_END_EXPIRED;
        return false;
    }
    return true;
}

bool pc_slice_look(struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                   struct pc_look *out_look)
{
    return slice_look(slice, key, now, out_look);
}

static const struct pc_segment *segment_of(const struct pc_slice *slice, const struct pc_look *look)
{
    return pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value));
}

static inline uint64_t cas_of(const struct pc_slice *slice, const struct pc_look *look,
                              const struct pc_segment *segment)
{
    if (PC_UNLIKELY((look->shape & PC_ITEM_WIDE_CAS) != 0)) {
        return pc_item_wide_cas(look->item, look->shape);
    }
    const uint64_t counter = atomic_load_explicit(&segment->cas_base, memory_order_relaxed) +
                             pc_word_own(&look->item->cas);
    return counter << slice->pool->slice_bits | slice->number;
}

uint64_t pc_slice_cas(const struct pc_slice *slice, const struct pc_look *look)
{
    return cas_of(slice, look, segment_of(slice, look));
}

static inline uint32_t born_of(const struct pc_segment *segment)
{
    return atomic_load_explicit(&segment->born, memory_order_relaxed);
}

static inline void slice_view(const struct pc_slice *slice, const struct pc_look *look,
                              const struct pc_segment *segment, struct pc_value *out_value)
{
    const uint64_t place = pc_slot_place(look->at.value);
    const uint32_t shape = look->shape;
    *out_value = (struct pc_value){
        .at = pc_item_value(look->item, shape),
        .piece_bytes = pc_shape_value_bytes(shape),
        .flags = pc_item_flags(look->item, shape),
        .value_bytes = pc_shape_value_bytes(shape),
        .cas = cas_of(slice, look, segment),
        .expiry = pc_word_own(&look->item->expiry),
        .accessed = born_of(segment) + pc_access_decode(pc_slot_access(look->at.value)),
        .fetched = (shape & PC_ITEM_FETCHED) != 0,
        .first = place,
    };
    if (PC_UNLIKELY((shape & (PC_ITEM_STALE | PC_ITEM_CLAIMED)) != 0)) {
        out_value->stale = (shape & PC_ITEM_STALE) != 0;
        out_value->claimed = (shape & PC_ITEM_CLAIMED) != 0;
    }
    if (PC_UNLIKELY((shape & PC_ITEM_CHUNKED) != 0)) {
        const struct pc_chain chain = pc_item_chain(look->item, shape);
        out_value->value_bytes = pc_pair(chain.value_bytes);
        out_value->left_bytes = out_value->value_bytes;
        out_value->first = pc_pair(chain.first);
        out_value->next = out_value->first;
        (void)pc_value_next(slice->pool, out_value);
    }
}

void pc_slice_view(const struct pc_slice *slice, const struct pc_look *look,
                   struct pc_value *out_value)
{
    slice_view(slice, look, segment_of(slice, look), out_value);
}

static uint32_t heated(struct pc_slice *slice, uint32_t heat)
{
    if (heat < PC_HEAT_SURE) {
        return heat + 1;
    }
    if (heat == PC_HEAT_MAX) {
        return heat;
    }
    const uint32_t odds = 1u << (heat - PC_HEAT_SURE + 1);
    return heat + ((pc_random_next(&slice->random) & (odds - 1)) == 0);
}

/* Only the owner's reads leave traces, in the slot and, once, in the item. */
static inline void mark_hit(struct pc_slice *slice, const struct pc_look *look,
                            const struct pc_segment *segment, uint32_t now)
{
    const uint64_t slot = look->at.value;
    const uint32_t born = born_of(segment);
    const uint32_t access = pc_access_encode(now > born ? now - born : 0);
    const uint64_t kept = slot & ((UINT64_C(1) << PC_SLOT_HEAT_SHIFT) - 1);
    const uint64_t marked = kept |
                            (uint64_t)heated(slice, pc_slot_heat(slot)) << PC_SLOT_HEAT_SHIFT |
                            (uint64_t)access << PC_SLOT_ACCESS_SHIFT;
    if (marked != slot) {
        /* Release, as every store to a slot: a peek may take the place from this one. */
        atomic_store_explicit(look->at.slot, marked, memory_order_release);
    }
    if (PC_UNLIKELY((look->shape & PC_ITEM_FETCHED) == 0)) {
        pc_word_store(&look->item->shape, look->shape | PC_ITEM_FETCHED);
    }
}

bool pc_slice_find(struct pc_slice *slice, const struct pc_key *key, uint32_t now, enum pc_find how,
                   struct pc_value *out_value)
{
    struct pc_look found;
    if (how == PC_FIND_HIT) {
        pc_hot_count(&slice->hot, key, now);
    }
    if (!slice_look(slice, key, now, &found)) {
        if (PC_UNLIKELY(found.missed != PC_END_REPLACED) && how == PC_FIND_HIT) {
            slice->stats.found_expired += found.missed == PC_END_EXPIRED;
            slice->stats.found_flushed += found.missed == PC_END_FLUSHED;
        }
        return false;
    }
    const struct pc_segment *segment = segment_of(slice, &found);
    slice_view(slice, &found, segment, out_value);
    if (how == PC_FIND_HIT) {
        mark_hit(slice, &found, segment, now);
    }
    return true;
}

void pc_slice_note(struct pc_slice *slice, uint64_t hash, uint32_t now)
{
    struct pc_look look;
    if (!pc_index_find_hash(&slice->index, hash, &look.at)) {
        return;
    }
    look.item = pc_pool_at(slice->pool, pc_slot_place(look.at.value));
    look.shape = pc_word_own(&look.item->shape);
    mark_hit(slice, &look, segment_of(slice, &look), now);
}

void pc_slice_flush(struct pc_slice *slice, uint32_t now)
{
    (void)now;
    for (unsigned i = 0; i < slice->group_count * PC_QUEUE_COUNT; i++) {
        pc_log_close(slice, i);
    }
    atomic_store_explicit(&slice->flush_sequence, slice->sequence, memory_order_release);
    slice->flush_pending = slice->segment_count != 0;
}

static uint32_t age_of(const struct pc_slice *slice, uint32_t number, uint32_t now)
{
    const uint32_t opened = slice->pool->segments[number].opened;
    return number != 0 && now > opened ? now - opened : 0;
}

bool pc_slice_short(const struct pc_slice *slice)
{
    return (slice->ready_count <= PC_READY_SPARE && !pc_pool_has_free(slice->pool)) ||
           pc_pool_owes(slice->pool) || pc_balance_gives(slice);
}

void pc_slice_pace(struct pc_slice *slice, uint32_t now, uint64_t bytes)
{
    if (slice->clearing.segment == 0 && PC_LIKELY(!pc_slice_short(slice))) {
        return;
    }
    const uint64_t times = slice->pool->keeps_all ? PC_PACE_TIMES_COMPACT : 1;
    const uint64_t entries = times * (PC_PACE_ENTRIES + bytes / PC_PACE_BYTES);
    unsigned budget = entries < PC_PACE_MAX ? (unsigned)entries : PC_PACE_MAX;
    if (slice->clearing.segment != 0 || pc_evict_begin(slice, now, &budget)) {
        (void)pc_clear_some(slice, now, budget);
    }
}

/* The next segment that was flushed; the flush ends when there is none. */
static uint32_t flushed_segment(struct pc_slice *slice)
{
    const uint64_t flushed = atomic_load_explicit(&slice->flush_sequence, memory_order_relaxed);
    const struct pc_segment *segments = slice->pool->segments;
    bool held = false;
    for (unsigned i = 0; i < PC_QUEUE_COUNT; i++) {
        uint32_t number = slice->queues[i].oldest;
        for (; number != 0; number = segments[number].next) {
            const struct pc_segment *segment = &segments[number];
            if (atomic_load_explicit(&segment->sequence, memory_order_relaxed) > flushed) {
                break; /* each queue is in the order of sequences */
            }
            if (segment->state == PC_SEGMENT_CLOSED &&
                atomic_load_explicit(&segment->holds, memory_order_relaxed) == 0) {
                return number;
            }
            held = true;
        }
    }
    slice->flush_pending = held;
    return 0;
}

/* The next segment in which everything is expired, searching a part of them each time. */
static uint32_t expired_segment(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    if (slice->expiry_checked == now) {
        return 0;
    }
    const struct pc_segment *segments = slice->pool->segments;
    for (; *budget != 0; --*budget) {
        for (unsigned i = 0; i < PC_SEARCH_COUNT; i++) {
            const uint32_t number = pc_log_next(slice, &slice->expiry);
            const struct pc_segment *segment = &segments[number];
            if (number == 0) {
                slice->expiry_checked = now;
                return 0;
            }
            const bool clearable =
                segment->state == PC_SEGMENT_CLOSED || segment->state == PC_SEGMENT_OPEN;
            if (clearable && segment->live_count != 0 && segment->expiry_max <= now &&
                atomic_load_explicit(&segment->holds, memory_order_relaxed) == 0) {
                return number;
            }
        }
    }
    return 0;
}

bool pc_slice_clear_dead(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    uint32_t number = 0;
    if (slice->flush_pending) {
        number = flushed_segment(slice);
    }
    if (number == 0) {
        number = expired_segment(slice, now, budget);
    }
    if (number == 0) {
        return false;
    }
    struct pc_segment *segment = &slice->pool->segments[number];
    if (segment->state == PC_SEGMENT_OPEN) {
        pc_log_close(slice, segment->stream);
    }
    pc_clear_begin(slice, number, false);
    return true;
}

static bool clear_next(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    return pc_slice_clear_dead(slice, now, budget) ||
           (pc_slice_short(slice) && pc_evict_begin(slice, now, budget));
}

bool pc_slice_step(struct pc_slice *slice, uint32_t now, unsigned budget)
{
    if (slice->limbo != 0) {
        pc_log_reap(slice);
    }
    pc_balance_second(slice, now);
    const bool trims = pc_pool_trim(slice->pool);
    while (budget != 0) {
        if (slice->clearing.segment == 0 && !clear_next(slice, now, &budget)) {
            break;
        }
        const unsigned left = pc_clear_some(slice, now, budget);
        slice->stats.checked += budget - left;
        budget = left;
    }
    if (slice->pool->keeps_all && pc_compact_sweep(slice, now, budget)) {
        return true;
    }
    for (; budget > PC_INDEX_ITEMS_PER_BUCKET; budget -= PC_INDEX_ITEMS_PER_BUCKET) {
        if (!pc_index_grow(&slice->index) && !pc_index_shrink(&slice->index)) {
            return pc_index_release(&slice->index) || trims;
        }
    }
    return true;
}

void pc_slice_stats(const struct pc_slice *slice, uint32_t now, struct pc_slice_stats *out_stats)
{
    *out_stats = slice->stats;
    out_stats->item_count = slice->index.item_count;
    out_stats->index_bytes = pc_index_bytes(&slice->index);
    out_stats->segment_count = slice->segment_count + slice->ready_count;
    out_stats->splits = slice->index.split_count;
    out_stats->item_room =
        (uint64_t)pc_index_bucket_count(&slice->index) * PC_INDEX_ITEMS_PER_BUCKET;
    out_stats->oldest_age_seconds = age_of(slice, slice->queues[PC_QUEUE_FRESH].oldest, now);
}

void pc_slice_stats_reset(struct pc_slice *slice)
{
    slice->stats = (struct pc_slice_stats){.item_bytes = slice->stats.item_bytes};
    pc_hot_forget(&slice->hot);
}

void pc_slice_hot_list(struct pc_slice *slice, uint32_t now, struct pc_hot_list *list)
{
    pc_hot_list_add(list, &slice->hot, now);
}
