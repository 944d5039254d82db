/* SPDX-License-Identifier: Apache-2.0 */
/* change: deleting, counting, touching and claiming what is there. */
#include "store/parts.h"

enum { PC_NUMBER_DIGITS_MAX = 20 }; /* of 2^64 - 1 */

/* Whether the item can be given a fresh CAS number where it is. */
static bool cas_fits(const struct pc_slice *slice, const struct pc_look *look)
{
    const struct pc_segment *segment =
        pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value));
    const uint64_t base = atomic_load_explicit(&segment->cas_base, memory_order_relaxed);
    return (look->shape & PC_ITEM_WIDE_CAS) == 0 && slice->cas_counter - base <= UINT32_MAX;
}

/* Within the odd window of the chain. */
static uint64_t cas_renew(struct pc_slice *slice, const struct pc_look *look)
{
    const struct pc_segment *segment =
        pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value));
    const uint64_t base = atomic_load_explicit(&segment->cas_base, memory_order_relaxed);
    const uint64_t counter = slice->cas_counter++;
    pc_word_store(&look->item->cas, (uint32_t)(counter - base));
    return counter << slice->pool->slice_bits | slice->number;
}

/* Write the draft in place of the item; LATER: room was made, look again. */
static enum pc_slice_status rewrite(struct pc_slice *slice, const struct pc_draft *draft,
                                    const struct pc_look *present, uint32_t now, uint64_t *out_cas)
{
    const uint32_t bytes = pc_draft_bytes(draft);
    const unsigned stream = pc_log_stream_with_room(slice, draft->expiry, bytes, now);
    if (!pc_log_has_room(slice, stream, bytes)) {
        const enum pc_slice_status status = pc_log_make_room(slice, stream, now, NULL);
        slice->stats.no_memory += status == PC_SLICE_NO_MEMORY;
        return status == PC_SLICE_OK ? PC_SLICE_LATER : status;
    }
    const uint64_t cas = pc_draft_commit(slice, draft, stream, present, draft->chain != 0);
    if (out_cas != NULL) {
        *out_cas = cas;
    }
    return PC_SLICE_OK;
}

static void expiry_in_place(struct pc_slice *slice, const struct pc_look *look, uint32_t expiry)
{
    const uint64_t place = pc_slot_place(look->at.value);
    struct pc_segment *segment = pc_pool_segment_of(slice->pool, place);
    const uint32_t last_second = expiry == 0 ? UINT32_MAX : expiry;
    if (segment->expiry_max < last_second) {
        segment->expiry_max = last_second;
    }
    if ((look->shape & PC_ITEM_CHUNKED) != 0) {
        pc_chain_expire_at(slice, pc_pair(pc_item_chain(look->item, look->shape).first), expiry);
    }
    pc_word_store(&look->item->expiry, expiry);
}

/* --- delete --- */

/* Meta: the item stays, stale or without its value. */
static enum pc_slice_status delete_partly(struct pc_slice *slice, const struct pc_key *key,
                                          const struct pc_delete *how, const struct pc_look *look,
                                          uint32_t now)
{
    const bool in_place = !how->keep_key && how->cas_new == 0 && cas_fits(slice, look);
    const uint32_t gone = how->mark_stale ? PC_ITEM_CLAIMED : 0;
    const uint32_t added = how->mark_stale ? PC_ITEM_STALE : 0;
    if (in_place) {
        pc_chain_open(look->at.bucket);
        pc_word_store(&look->item->shape, (look->shape & ~gone) | added);
        (void)cas_renew(slice, look);
        if (how->mark_stale && how->expiry_set) {
            expiry_in_place(slice, look, how->expiry);
        }
        pc_chain_close(look->at.bucket);
        return PC_SLICE_OK;
    }
    struct pc_draft draft;
    pc_draft_from(slice, look, key, &draft);
    draft.bits = (draft.bits & ~gone) | added;
    draft.cas = how->cas_new;
    if (how->mark_stale && how->expiry_set) {
        draft.expiry = how->expiry;
    }
    if (how->keep_key) {
        draft.flags = 0;
        draft.chain = 0;
        draft.value[0].bytes = 0;
    }
    return rewrite(slice, &draft, look, now, NULL);
}

enum pc_slice_status pc_slice_delete(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_delete *how, uint32_t now)
{
    pc_hot_count(&slice->hot, key, now);
    enum pc_slice_status status;
    do {
        struct pc_look look;
        if (!pc_slice_look(slice, key, now, &look)) {
            return PC_SLICE_NOT_FOUND;
        }
        if (how != NULL && how->compare && how->cas != pc_slice_cas(slice, &look)) {
            return PC_SLICE_EXISTS;
        }
        const bool goes = how == NULL || (!how->mark_stale && !how->keep_key) ||
                          (how->mark_stale && how->expiry_set && pc_expired(how->expiry, now));
        if (goes) {
            pc_slice_unlink(slice, &look.at, PC_END_REPLACED);
            return PC_SLICE_OK;
        }
        status = delete_partly(slice, key, how, &look, now);
    } while (status == PC_SLICE_LATER);
    return status;
}

/* --- count --- */

/* A decimal number, spaces behind it allowed (counting down leaves them). */
static bool number_parse(const uint8_t *text, uint32_t count, uint64_t *out_number)
{
    uint64_t number = 0;
    uint32_t i = 0;
    if (count > PC_NUMBER_DIGITS_MAX) {
        return false;
    }
    for (; i < count && text[i] >= '0' && text[i] <= '9'; i++) {
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number)) {
            return false;
        }
    }
    if (i == 0) {
        return false;
    }
    for (; i < count; i++) {
        if (text[i] != ' ') {
            return false;
        }
    }
    *out_number = number;
    return true;
}

static uint32_t number_print(uint64_t number, char text[PC_NUMBER_DIGITS_MAX])
{
    char reversed[PC_NUMBER_DIGITS_MAX];
    uint32_t count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (uint32_t i = 0; i < count; i++) {
        text[i] = reversed[count - 1 - i];
    }
    return count;
}

static enum pc_slice_status count_create(struct pc_slice *slice, const struct pc_key *key,
                                         const struct pc_count *count, uint32_t now,
                                         uint64_t *out_number, uint64_t *out_cas)
{
    char text[PC_NUMBER_DIGITS_MAX];
    const struct pc_store store = {
        .mode = PC_STORE_SET,
        .expiry = count->expiry,
        .cas_new = count->cas_new,
        .value = text,
        .value_bytes = number_print(count->initial, text),
    };
    const enum pc_slice_status status = pc_slice_store(slice, key, &store, now, out_cas);
    if (status == PC_SLICE_OK) {
        *out_number = count->initial;
    }
    return status;
}

static enum pc_slice_status count_write(struct pc_slice *slice, const struct pc_key *key,
                                        const struct pc_count *count, const struct pc_look *look,
                                        uint64_t number, uint32_t now, uint64_t *out_cas)
{
    /* As in memcached a shorter number keeps the length of the value, filled with spaces. */
    char text[PC_NUMBER_DIGITS_MAX];
    uint32_t text_bytes = number_print(number, text);
    const bool chunked = (look->shape & PC_ITEM_CHUNKED) != 0;
    const uint64_t present_bytes = chunked
                                       ? pc_pair(pc_item_chain(look->item, look->shape).value_bytes)
                                       : pc_shape_value_bytes(look->shape);
    while (text_bytes < present_bytes) {
        text[text_bytes++] = ' ';
    }
    const struct pc_segment *segment =
        pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value));
    const bool held = (atomic_load(&segment->holds) & PC_HOLD_SEND_MASK) != 0;
    if (text_bytes == present_bytes && !held && !chunked && count->cas_new == 0 &&
        !count->expiry_set && cas_fits(slice, look)) {
        pc_chain_open(look->at.bucket);
        pc_item_overwrite(look->item, look->shape, text, text_bytes);
        const uint64_t cas = cas_renew(slice, look);
        pc_chain_close(look->at.bucket);
        if (out_cas != NULL) {
            *out_cas = cas;
        }
        return PC_SLICE_OK;
    }
    struct pc_draft draft;
    pc_draft_from(slice, look, key, &draft);
    draft.cas = count->cas_new;
    draft.chain = 0; /* a number that came as a body lies in the item from now on */
    draft.value[0].at = text;
    draft.value[0].bytes = text_bytes;
    if (count->expiry_set) {
        draft.expiry = count->expiry;
    }
    return rewrite(slice, &draft, look, now, out_cas);
}

enum pc_slice_status pc_slice_count(struct pc_slice *slice, const struct pc_key *key,
                                    const struct pc_count *count, uint32_t now,
                                    uint64_t *out_number, uint64_t *out_cas)
{
    pc_hot_count(&slice->hot, key, now);
    pc_slice_pace(slice, now, key->bytes);
    enum pc_slice_status status;
    do {
        struct pc_look look;
        if (!pc_slice_look(slice, key, now, &look)) {
            return count->create ? count_create(slice, key, count, now, out_number, out_cas)
                                 : PC_SLICE_NOT_FOUND;
        }
        if (count->compare && count->cas != pc_slice_cas(slice, &look)) {
            return PC_SLICE_EXISTS;
        }
        uint64_t number;
        struct pc_value view;
        pc_slice_view(slice, &look, &view);
        if (view.value_bytes != view.piece_bytes ||
            !number_parse(view.at, view.piece_bytes, &number)) {
            return PC_SLICE_NOT_NUMBER;
        }
        if (count->decrement) {
            number = number > count->delta ? number - count->delta : 0;
        } else {
            number += count->delta;
        }
        if (count->expiry_set && pc_expired(count->expiry, now)) {
            pc_slice_unlink(slice, &look.at, PC_END_REPLACED);
            *out_number = number;
            return PC_SLICE_OK;
        }
        status = count_write(slice, key, count, &look, number, now, out_cas);
        if (status == PC_SLICE_OK) {
            *out_number = number;
        }
    } while (status == PC_SLICE_LATER);
    return status;
}

/* --- touch and claim --- */

/* Move the item to the segments of its new life time, which may need memory; or, `in_place`, change
 * it where it is. */
static enum pc_slice_status touch_item(struct pc_slice *slice, const struct pc_key *key,
                                       const struct pc_look *look, uint32_t expiry, bool in_place,
                                       uint32_t now)
{
    const struct pc_segment *segment =
        pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value));
    const bool chunked = (look->shape & PC_ITEM_CHUNKED) != 0;
    const unsigned group = segment->stream / PC_QUEUE_COUNT;
    if (!in_place && !chunked && pc_log_stream(slice, expiry, now) / PC_QUEUE_COUNT != group) {
        struct pc_draft draft;
        pc_draft_from(slice, look, key, &draft);
        draft.expiry = expiry;
        return rewrite(slice, &draft, look, now, NULL);
    }
    pc_chain_open(look->at.bucket);
    expiry_in_place(slice, look, expiry);
    pc_chain_close(look->at.bucket);
    return PC_SLICE_OK;
}

enum pc_slice_status pc_slice_touch(struct pc_slice *slice, const struct pc_key *key,
                                    uint32_t expiry, uint32_t now, struct pc_value *out_value)
{
    pc_hot_count(&slice->hot, key, now);
    pc_slice_pace(slice, now, key->bytes);
    enum pc_slice_status status = PC_SLICE_OK;
    bool in_place = false;
    do {
        struct pc_look look;
        if (!pc_slice_look(slice, key, now, &look)) {
            return PC_SLICE_NOT_FOUND;
        }
        status = touch_item(slice, key, &look, expiry, in_place, now);
        /* The search for memory may have moved the item: look again. */
        in_place = status == PC_SLICE_NO_MEMORY;
    } while (status == PC_SLICE_LATER || in_place);
    if (status == PC_SLICE_OK && out_value != NULL) {
        /* Also found when the new expiry is already past: this reader still gets the value. */
        const uint32_t then = pc_expired(expiry, now) ? expiry - 1 : now;
        return pc_slice_find(slice, key, then, PC_FIND_HIT, out_value) ? PC_SLICE_OK
                                                                       : PC_SLICE_NOT_FOUND;
    }
    return status;
}

bool pc_slice_claim(struct pc_slice *slice, const struct pc_key *key, uint32_t now)
{
    struct pc_look look;
    if (!pc_slice_look(slice, key, now, &look) || (look.shape & PC_ITEM_CLAIMED) != 0) {
        return false;
    }
    pc_chain_open(look.at.bucket);
    pc_word_store(&look.item->shape, look.shape | PC_ITEM_CLAIMED);
    pc_chain_close(look.at.bucket);
    return true;
}
