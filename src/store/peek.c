/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peek: read an item from any core by copying it and checking afterwards that it was whole.
 *
 * Every word is loaded with acquire, and every store of the owner is a release, so a reader that
 * saw one word of a later state also sees the version that was made odd before it, and starts
 * again. Nothing read is trusted before the check: lengths are compared with what the segment can
 * hold.
 */
#include "store/parts.h"

#include "base/hooks.h"

enum { PC_PEEK_TRIES = 8 }; /* beyond that the owner is busy with this very chain: ask it */

enum look { LOOK_FOUND, LOOK_ABSENT, LOOK_AGAIN, LOOK_REFUSED };

struct peek {
    const struct pc_slice *slice;
    const struct pc_key *key;
    uint32_t now;
    struct pc_peeked seen;
};

static uint8_t *copy_part(uint8_t *into, uint32_t word, uint32_t from, uint32_t count)
{
    uint8_t bytes[4];
    memcpy(bytes, &word, sizeof(bytes));
    for (uint32_t i = 0; i < count; i++) {
        into[i] = bytes[from + i];
    }
    return into + count;
}

/* Copy bytes that begin `skip` bytes behind a word. */
static void copy_words(uint8_t *into, const uint32_t *from, uint32_t skip, uint32_t count)
{
    if (skip != 0) {
        const uint32_t part = count < 4 - skip ? count : 4 - skip;
        into = copy_part(into, pc_word_load(from++), skip, part);
        count -= part;
    }
    if (count >= 4 && ((uintptr_t)from & 4) != 0) {
        const uint32_t word = pc_word_load(from++);
        memcpy(into, &word, sizeof(word));
        into += sizeof(word);
        count -= (uint32_t)sizeof(word);
    }
    for (; count >= 8; count -= 8, from += 2, into += 8) {
        /* As acquire as two loads of a word: each byte pairs with the store it came from. */
        const uint64_t words =
            __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_ACQUIRE);
        memcpy(into, &words, sizeof(words));
    }
    if (count >= 4) {
        const uint32_t word = pc_word_load(from++);
        memcpy(into, &word, sizeof(word));
        into += sizeof(word);
        count -= (uint32_t)sizeof(word);
    }
    if (count != 0) {
        (void)copy_part(into, pc_word_load(from), 0, count);
    }
}

static bool key_is(const uint32_t *from, const struct pc_key *key)
{
    const uint8_t *at = key->at;
    uint32_t left = key->bytes;
    for (; left >= 4; left -= 4, at += 4) {
        uint32_t wanted;
        memcpy(&wanted, at, sizeof(wanted));
        if (pc_word_load(from++) != wanted) {
            return false;
        }
    }
    uint8_t bytes[4];
    return left == 0 ||
           (copy_part(bytes, pc_word_load(from), 0, left), memcmp(bytes, at, left) == 0);
}

static uint64_t cas_of(const struct pc_slice *slice, const struct pc_item *item, uint32_t shape,
                       const struct pc_segment *segment)
{
    if ((shape & PC_ITEM_WIDE_CAS) != 0) {
        return pc_word_pair_load(&item->words[(shape & PC_ITEM_FLAGS) != 0 ? 1 : 0]);
    }
    const uint64_t counter =
        atomic_load_explicit(&segment->cas_base, memory_order_acquire) + pc_word_load(&item->cas);
    return counter << slice->pool->slice_bits | slice->number;
}

/* The item is that of the key, as far as it can be seen: note what it says of itself. */
static enum look see_item(struct peek *peek, const struct pc_item *item, uint32_t shape,
                          uint64_t slot)
{
    const struct pc_slice *slice = peek->slice;
    const struct pc_segment *segment = pc_pool_segment_of(slice->pool, pc_slot_place(slot));
    const uint32_t expiry = pc_word_load(&item->expiry);
    if (pc_expired(expiry, peek->now) ||
        atomic_load_explicit(&segment->sequence, memory_order_acquire) <=
            atomic_load_explicit(&slice->flush_sequence, memory_order_acquire)) {
        return LOOK_REFUSED; /* dead: the owner takes it away, and counts it */
    }
    if ((shape & PC_ITEM_CHUNKED) != 0) {
        return LOOK_REFUSED;
    }
    struct pc_peeked *seen = &peek->seen;
    const uint32_t key_bytes = peek->key->bytes;
    seen->words = &item->words[pc_shape_option_bytes(shape) / 4 + key_bytes / 4];
    seen->skip_bytes = key_bytes % 4;
    seen->flags = (shape & PC_ITEM_FLAGS) != 0 ? pc_word_load(&item->words[0]) : 0;
    seen->expiry = expiry;
    seen->value_bytes = pc_shape_value_bytes(shape);
    seen->unmarked = pc_slot_heat(slot) == 0 || (shape & PC_ITEM_FETCHED) == 0;
    seen->stale = (shape & PC_ITEM_STALE) != 0;
    seen->claimed = (shape & PC_ITEM_CLAIMED) != 0;
    seen->cas = cas_of(slice, item, shape, segment);
    return LOOK_FOUND;
}

static enum look look_at_item(struct peek *peek, uint64_t slot)
{
    const struct pc_pool *pool = peek->slice->pool;
    const uint64_t place = pc_slot_place(slot);
    const struct pc_item *item = pc_pool_at(pool, place);
    PC_POINT("peek: item");
    const uint32_t shape = pc_word_load(&item->shape);
    const uint64_t end = place + pc_shape_item_bytes(shape) / PC_PLACE_WORD_BYTES;
    const uint64_t segment_end = pc_pool_place(pool, pc_pool_segment_number(pool, place) + 1, 0);
    if (pc_shape_key_bytes(shape) != peek->key->bytes) {
        return LOOK_ABSENT;
    }
    if (end > segment_end) {
        return LOOK_AGAIN; /* no item: the segment is being used anew */
    }
    if (!key_is(&item->words[pc_shape_option_bytes(shape) / 4], peek->key)) {
        return LOOK_ABSENT;
    }
    return see_item(peek, item, shape, slot);
}

static enum look look_at_slots(struct peek *peek, const _Atomic uint64_t *slots, unsigned count)
{
    const uint32_t tag = pc_hash_tag(peek->key->hash);
    for (unsigned i = 0; i < count; i++) {
        /* Acquire pairs with the release that put the slot: the item was written before. */
        const uint64_t slot = atomic_load_explicit(&slots[i], memory_order_acquire);
        if (pc_slot_place(slot) == 0 || pc_slot_tag(slot) != tag) {
            continue;
        }
        const enum look look = look_at_item(peek, slot);
        if (look != LOOK_ABSENT) {
            return look;
        }
    }
    return LOOK_ABSENT;
}

static enum look look_at_chain(struct peek *peek, const struct pc_bucket *bucket)
{
    const struct pc_index *index = &peek->slice->index;
    enum look look = look_at_slots(peek, bucket->slots, PC_BUCKET_SLOTS);
    uint32_t number = atomic_load_explicit(&bucket->overflow, memory_order_acquire);
    /* Nodes may move to another chain meanwhile, so that the end need not come by itself. */
    for (unsigned i = 0; number != 0 && look == LOOK_ABSENT; i++) {
        if (i == PC_CHAIN_SLOTS_MAX) {
            return LOOK_AGAIN;
        }
        PC_POINT("peek: overflow");
        const struct pc_overflow *node = pc_index_overflow_at(index, number);
        look = look_at_slots(peek, node->slots, PC_OVERFLOW_SLOTS);
        number = atomic_load_explicit(&node->overflow, memory_order_acquire);
    }
    return look;
}

/* The hash still leads to the same bucket, and no bucket has gone in between. */
static bool same_bucket(const struct pc_index *index, uint64_t hash, uint64_t before)
{
    const uint64_t after = atomic_load_explicit(&index->extent, memory_order_acquire);
    return after == before ||
           (after >> 32 == before >> 32 && pc_index_bucket_number(hash, (uint32_t)after) ==
                                               pc_index_bucket_number(hash, (uint32_t)before));
}

/* Nothing that was seen has changed since the version was loaded. */
static bool still_true(const struct pc_slice *slice, const struct pc_key *key,
                       const struct pc_peeked *seen)
{
    PC_POINT("peek: check");
    if (PC_PLANTED(PC_BUG_PEEK_UNCHECKED)) {
        return true;
    }
    /* All loads before were acquires: this one cannot have come earlier. */
    return atomic_load_explicit(&seen->bucket->version, memory_order_acquire) == seen->version &&
           same_bucket(&slice->index, key->hash, seen->extent);
}

static enum look try_once(struct peek *peek)
{
    const struct pc_index *index = &peek->slice->index;
    struct pc_peeked *seen = &peek->seen;
    const uint64_t hash = peek->key->hash;
    seen->extent = atomic_load_explicit(&index->extent, memory_order_acquire);
    seen->bucket = pc_index_bucket_at(index, pc_index_bucket_number(hash, (uint32_t)seen->extent));
    PC_POINT("peek: version");
    seen->version = atomic_load_explicit(&seen->bucket->version, memory_order_acquire);
    if ((seen->version & 1) != 0) {
        return LOOK_AGAIN;
    }
    const enum look look = look_at_chain(peek, seen->bucket);
    /* What was found is checked when it has been copied. */
    return look == LOOK_FOUND || still_true(peek->slice, peek->key, seen) ? look : LOOK_AGAIN;
}

enum pc_peek pc_slice_peek_look(const struct pc_slice *slice, const struct pc_key *key,
                                uint32_t now, struct pc_peeked *peeked)
{
    struct peek peek = {.slice = slice, .key = key, .now = now};
    while (peeked->tries++ < PC_PEEK_TRIES) {
        switch (try_once(&peek)) {
        case LOOK_FOUND:
            peek.seen.tries = peeked->tries;
            *peeked = peek.seen;
            return PC_PEEK_HIT;
        case LOOK_ABSENT:
            return PC_PEEK_MISS;
        case LOOK_REFUSED:
            return PC_PEEK_REFUSED;
        case LOOK_AGAIN:
            break;
        }
    }
    return PC_PEEK_REFUSED;
}

bool pc_slice_peek_copy(const struct pc_slice *slice, const struct pc_key *key,
                        const struct pc_peeked *peeked, void *into, uint32_t count)
{
    PC_POINT("peek: copy");
    copy_words(into, peeked->words, count != 0 ? peeked->skip_bytes : 0, count);
    return still_true(slice, key, peeked);
}

enum pc_peek pc_slice_peek(const struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                           void *into, uint32_t room_bytes, struct pc_peeked *out_peeked)
{
    struct pc_peeked peeked = {0};
    for (;;) {
        const enum pc_peek look = pc_slice_peek_look(slice, key, now, &peeked);
        if (look != PC_PEEK_HIT) {
            return look;
        }
        if (peeked.value_bytes > room_bytes) {
            return PC_PEEK_REFUSED;
        }
        if (pc_slice_peek_copy(slice, key, &peeked, into, peeked.value_bytes)) {
            *out_peeked = peeked;
            return PC_PEEK_HIT;
        }
    }
}
