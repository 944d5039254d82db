/* SPDX-License-Identifier: Apache-2.0 */
/* write: new items, from bytes at hand, from what was there, or from a body received in place. */
#include "store/parts.h"

#include "base/hooks.h"

/* Where bytes of a value come from: memory, or chunks of the pool, which may have more. */
struct source {
    const void *at;
    uint64_t chain;
    uint64_t bytes;
};

static uint64_t cas_next(struct pc_slice *slice)
{
    return slice->cas_counter++ << slice->pool->slice_bits | slice->number;
}

uint32_t pc_draft_bytes(const struct pc_draft *draft)
{
    const uint64_t value =
        draft->chain != 0 ? sizeof(struct pc_chain) : draft->value[0].bytes + draft->value[1].bytes;
    return pc_word_align(PC_ITEM_HEADER_BYTES + (draft->flags != 0 ? 4 : 0) +
                         (draft->cas != 0 ? 8 : 0) + draft->key->bytes + (uint32_t)value);
}

/* Whether the segment's base and 32 bits can say this number. */
static bool cas_is_narrow(const struct pc_slice *slice, uint64_t cas, uint64_t base)
{
    const uint32_t bits = slice->pool->slice_bits;
    const uint64_t counter = cas >> bits;
    return (cas & ((UINT64_C(1) << bits) - 1)) == slice->number && counter >= base &&
           counter - base <= UINT32_MAX;
}

static uint32_t draft_shape(const struct pc_draft *draft, bool wide)
{
    uint32_t bits = draft->bits & ~(uint32_t)(PC_ITEM_FLAGS | PC_ITEM_WIDE_CAS | PC_ITEM_CHUNKED);
    uint64_t value = draft->value[0].bytes + draft->value[1].bytes;
    bits |= draft->flags != 0 ? PC_ITEM_FLAGS : 0;
    bits |= wide ? PC_ITEM_WIDE_CAS : 0;
    if (draft->chain != 0) {
        bits |= PC_ITEM_CHUNKED;
        value = sizeof(struct pc_chain);
    }
    return pc_shape_make(draft->key->bytes, (uint32_t)value, bits);
}

static void draft_write(const struct pc_draft *draft, uint32_t shape, uint64_t cas,
                        uint64_t cas_base_shifted, struct pc_item *item)
{
    const bool wide = (shape & PC_ITEM_WIDE_CAS) != 0;
    uint32_t *words = item->words;
    pc_word_store(&item->shape, shape);
    pc_word_store(&item->cas, wide ? 0 : (uint32_t)cas_base_shifted);
    pc_word_store(&item->expiry, draft->expiry);
    if (draft->flags != 0) {
        pc_word_store(words++, draft->flags);
    }
    if (wide) {
        pc_word_pair_store(words, cas);
        words += 2;
    }
    PC_POINT("item: header written");
    struct pc_words_writer writer;
    pc_words_begin(&writer, words);
    pc_words_add(&writer, draft->key->at, draft->key->bytes);
    if (draft->chain != 0) {
        const struct pc_chain chain = {
            .first = {(uint32_t)draft->chain, (uint32_t)(draft->chain >> 32)},
            .value_bytes = {(uint32_t)draft->chain_bytes, (uint32_t)(draft->chain_bytes >> 32)},
        };
        pc_words_add(&writer, &chain, sizeof(chain));
    } else {
        PC_POINT("item: key written");
        pc_words_add(&writer, draft->value[0].at, draft->value[0].bytes);
        pc_words_add(&writer, draft->value[1].at, draft->value[1].bytes);
    }
    pc_words_end(&writer);
}

/* The index could not take one more slot for this hash: the coldest of its chain gives way. */
static void evict_from_chain(struct pc_slice *slice, uint64_t hash)
{
    uint64_t slots[PC_CHAIN_SLOTS_MAX];
    const uint32_t bucket_count = pc_index_bucket_count(&slice->index);
    const unsigned count = pc_index_chain(&slice->index, pc_index_bucket_number(hash, bucket_count),
                                          slots, PC_CHAIN_SLOTS_MAX);
    PC_ASSERT(count != 0 && count <= PC_CHAIN_SLOTS_MAX);
    uint64_t coldest = slots[0];
    for (unsigned i = 1; i < count; i++) {
        if (pc_slot_heat(slots[i]) < pc_slot_heat(coldest)) {
            coldest = slots[i];
        }
    }
    struct pc_slot_at at;
    if (pc_index_find_place(&slice->index, hash, pc_slot_place(coldest), &at)) {
        pc_slice_unlink(slice, &at, PC_END_EVICTED);
    }
}

/* What the slot led to before is dead. */
static void drop_old(struct pc_slice *slice, const struct pc_look *old, uint64_t old_place,
                     bool keeps_chunks)
{
    /* Read before it is marked: dropping may give the segment away. */
    const uint64_t chunks = (old->shape & PC_ITEM_CHUNKED) != 0 && !keeps_chunks
                                ? pc_pair(pc_item_chain(old->item, old->shape).first)
                                : 0;
    pc_word_store(&old->item->shape, old->shape | PC_ITEM_DEAD);
    pc_log_drop(slice, old_place, pc_shape_item_bytes(old->shape));
    pc_chain_drop(slice, chunks);
}

static void link_item(struct pc_slice *slice, const struct pc_key *key, uint64_t slot,
                      const struct pc_look *present, bool keeps_chunks)
{
    if (present != NULL) {
        struct pc_slot_at at = present->at;
        const uint64_t old = at.value;
        pc_index_replace(&at, slot);
        drop_old(slice, present, pc_slot_place(old), keeps_chunks);
        return;
    }
    while (!pc_index_insert(&slice->index, key->hash, slot)) {
        evict_from_chain(slice, key->hash);
    }
    pc_evict_learn(slice, key->hash);
    (void)pc_index_grow(&slice->index);
}

uint64_t pc_draft_commit(struct pc_slice *slice, const struct pc_draft *draft, unsigned stream,
                         const struct pc_look *present, bool keeps_chunks)
{
    struct pc_segment *segment = &slice->pool->segments[slice->streams[stream].open];
    const uint64_t base = atomic_load_explicit(&segment->cas_base, memory_order_relaxed);
    const uint64_t cas = draft->cas != 0 ? draft->cas : cas_next(slice);
    const uint32_t shape = draft_shape(draft, !cas_is_narrow(slice, cas, base));
    const uint64_t place = pc_log_take(slice, stream, pc_shape_item_bytes(shape));
    draft_write(draft, shape, cas, (cas >> slice->pool->slice_bits) - base,
                pc_pool_at(slice->pool, place));
    const uint32_t last_second = draft->expiry == 0 ? UINT32_MAX : draft->expiry;
    if (segment->expiry_max < last_second) {
        segment->expiry_max = last_second;
    }
    if (draft->chain != 0) {
        pc_chain_own(slice, draft->chain, place);
        pc_chain_expire_at(slice, draft->chain, draft->expiry);
    }
    const uint32_t born = atomic_load_explicit(&segment->born, memory_order_relaxed);
    const uint32_t access = pc_access_encode(draft->accessed > born ? draft->accessed - born : 0);
    link_item(slice, draft->key, pc_slot_make(place, draft->key->hash, draft->heat, access),
              present, keeps_chunks);
    return cas;
}

static uint32_t born_of(const struct pc_slice *slice, const struct pc_look *look)
{
    return atomic_load_explicit(
        &pc_pool_segment_of(slice->pool, pc_slot_place(look->at.value))->born,
        memory_order_relaxed);
}

void pc_draft_from(const struct pc_slice *slice, const struct pc_look *look,
                   const struct pc_key *key, struct pc_draft *out_draft)
{
    const struct pc_item *item = look->item;
    const uint32_t shape = look->shape;
    *out_draft = (struct pc_draft){
        .key = key,
        .flags = pc_item_flags(item, shape),
        .expiry = pc_word_own(&item->expiry),
        .bits = shape & PC_ITEM_BITS,
        .cas = pc_slice_cas(slice, look),
        .heat = pc_slot_heat(look->at.value),
        .accessed = born_of(slice, look) + pc_access_decode(pc_slot_access(look->at.value)),
    };
    if ((shape & PC_ITEM_CHUNKED) != 0) {
        const struct pc_chain chain = pc_item_chain(item, shape);
        out_draft->chain = pc_pair(chain.first);
        out_draft->chain_bytes = pc_pair(chain.value_bytes);
    } else {
        out_draft->value[0].at = pc_item_value(item, shape);
        out_draft->value[0].bytes = pc_shape_value_bytes(shape);
    }
}

void pc_item_overwrite(struct pc_item *item, uint32_t shape, const void *bytes, uint32_t count)
{
    const uint32_t from = (uint32_t)(pc_item_value(item, shape) - (const uint8_t *)item);
    const uint8_t *text = bytes;
    uint32_t *words = (uint32_t *)(void *)item;
    /* The first and the last word keep what else they hold. */
    for (uint32_t word = from / 4; word * 4 < from + count; word++) {
        uint8_t part[4];
        const uint32_t present = pc_word_own(&words[word]);
        memcpy(part, &present, sizeof(part));
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t at = word * 4 + i;
            if (at >= from && at < from + count) {
                part[i] = text[at - from];
            }
        }
        uint32_t changed;
        memcpy(&changed, part, sizeof(changed));
        PC_POINT("item: word overwritten");
        pc_word_store(&words[word], changed);
    }
}

/* --- filling chunks --- */

struct filler {
    struct pc_pool *pool;
    struct pc_words_writer writer;
    uint64_t next;
    uint32_t left;
};

static void filler_open(struct filler *filler, uint64_t place)
{
    struct pc_chunk *chunk = pc_pool_at(filler->pool, place);
    pc_words_begin(&filler->writer, (uint32_t *)(void *)chunk->payload);
    filler->left = pc_word_own(&chunk->bytes);
    filler->next = pc_word_pair_own(chunk->next);
}

/* All chunks but the last hold whole words, so none is cut between two. */
static void filler_add(struct filler *filler, const void *bytes, uint64_t count)
{
    const uint8_t *from = bytes;
    while (count != 0) {
        if (filler->left == 0) {
            filler_open(filler, filler->next);
        }
        const uint32_t part = count < filler->left ? (uint32_t)count : filler->left;
        pc_words_add(&filler->writer, from, part);
        filler->left -= part;
        from += part;
        count -= part;
    }
}

static void filler_add_source(struct filler *filler, const struct source *source)
{
    if (source->chain == 0) {
        filler_add(filler, source->at, source->bytes);
        return;
    }
    uint64_t left = source->bytes;
    for (uint64_t place = source->chain; left != 0;) {
        const struct pc_chunk *chunk = pc_pool_at(filler->pool, place);
        const uint32_t bytes = pc_word_own(&chunk->bytes);
        filler_add(filler, chunk->payload, bytes);
        left -= bytes;
        place = pc_word_pair_own(chunk->next);
    }
}

static void chain_fill(struct pc_slice *slice, uint64_t first, const struct source *sources,
                       unsigned count)
{
    struct filler filler = {.pool = slice->pool};
    filler_open(&filler, first);
    for (unsigned i = 0; i < count; i++) {
        filler_add_source(&filler, &sources[i]);
    }
    pc_words_end(&filler.writer);
}

/* --- storing --- */

/* One store under way. `room` is a chain that this store has taken for a copy of its own. */
struct storing {
    const struct pc_key *key;
    const struct pc_store *store;
    struct source body;
    uint64_t room;
    uint64_t room_bytes;

    /* What the last look at the key led to. */
    struct pc_look look;
    struct pc_draft draft;
    struct source sources[2]; /* the parts to be written, in their order */
    unsigned source_count;
    unsigned stream;
    uint64_t total;
    uint64_t written; /* bytes of the sources */
    struct pc_extension extension;
    uint64_t extended; /* first chunk of what is there and stays; 0: all is written anew */
    bool found;
    bool chunked;
    bool body_as_is; /* the body's chunks are the value, or go beside what is there */
};

static bool mode_joins(enum pc_store_mode mode)
{
    return mode == PC_STORE_APPEND || mode == PC_STORE_PREPEND;
}

/* Whether the store may go ahead, by what is there (NULL: nothing). */
static enum pc_slice_status judge(const struct pc_slice *slice, const struct pc_store *store,
                                  const struct pc_look *present, bool *out_stale)
{
    *out_stale = false;
    if (present == NULL) {
        if (store->mode == PC_STORE_REPLACE || (mode_joins(store->mode) && !store->create)) {
            return PC_SLICE_NOT_STORED;
        }
        return store->compare && store->mode == PC_STORE_SET ? PC_SLICE_NOT_FOUND : PC_SLICE_OK;
    }
    if (store->mode == PC_STORE_ADD) {
        return PC_SLICE_NOT_STORED;
    }
    if (store->compare) {
        const uint64_t cas = pc_slice_cas(slice, present);
        if (store->cas != cas && !(store->stale_if_older && store->cas < cas)) {
            return PC_SLICE_EXISTS;
        }
        *out_stale = store->cas != cas;
    }
    return PC_SLICE_OK;
}

static void room_drop(struct pc_slice *slice, struct storing *storing)
{
    if (storing->room != 0) {
        pc_chain_unpin(slice, storing->room);
        pc_chain_drop(slice, storing->room);
    }
    storing->room = 0;
}

static void gather(struct storing *storing, const struct source *old)
{
    storing->sources[0] = storing->body;
    storing->source_count = 1;
    if (old != NULL) {
        const bool behind = storing->store->mode == PC_STORE_APPEND;
        storing->sources[behind ? 1 : 0] = storing->body;
        storing->sources[behind ? 0 : 1] = *old;
        storing->source_count = 2;
    }
    storing->written = 0;
    storing->chunked = false;
    for (unsigned i = 0; i < storing->source_count; i++) {
        storing->written += storing->sources[i].bytes;
        storing->chunked |= storing->sources[i].chain != 0;
    }
    storing->total = storing->written;
}

/* Bytes join a value that is there. LATER: its chunks are in the way as they are. */
static enum pc_slice_status gather_joined(struct pc_slice *slice, struct storing *storing,
                                          const struct pc_draft *old)
{
    if (old->chain == 0) {
        const struct source inlined = {.at = old->value[0].at, .bytes = old->value[0].bytes};
        gather(storing, &inlined);
        return PC_SLICE_OK;
    }
    struct pc_extension *extension = &storing->extension;
    const bool fits = pc_extend_plan(slice, old->chain, storing->body.bytes,
                                     storing->store->mode == PC_STORE_APPEND, extension);
    const struct source joined = {.chain = extension->joined, .bytes = extension->joined_bytes};
    gather(storing, extension->joined != 0 ? &joined : NULL);
    storing->extended = old->chain;
    storing->chunked = true;
    storing->total = old->chain_bytes + storing->body.bytes;
    return fits ? PC_SLICE_OK : PC_SLICE_LATER;
}

/* Look at the key and decide what is to be written. OK: something is. */
static enum pc_slice_status plan(struct pc_slice *slice, struct storing *storing, uint32_t now)
{
    const struct pc_store *store = storing->store;
    storing->found = pc_slice_look(slice, storing->key, now, &storing->look);
    bool stale;
    const enum pc_slice_status status =
        judge(slice, store, storing->found ? &storing->look : NULL, &stale);
    if (status != PC_SLICE_OK) {
        return status;
    }
    const bool joins = storing->found && mode_joins(store->mode);
    struct pc_draft old;
    if (joins) {
        pc_draft_from(slice, &storing->look, storing->key, &old);
    }
    storing->extended = 0;
    if (!joins) {
        gather(storing, NULL);
    } else if (gather_joined(slice, storing, &old) == PC_SLICE_LATER) {
        return PC_SLICE_LATER;
    }
    if (storing->total > slice->value_bytes_max) {
        slice->stats.too_large++;
        return PC_SLICE_TOO_LARGE;
    }
    storing->draft = (struct pc_draft){
        .key = storing->key,
        .flags = joins ? old.flags : store->flags,
        .expiry = joins ? old.expiry : store->expiry,
        .bits = (store->claimed ? PC_ITEM_CLAIMED : 0) | (stale ? PC_ITEM_STALE : 0),
        .cas = store->cas_new,
        .heat = storing->found ? pc_slot_heat(storing->look.at.value) : 0,
        .accessed = now,
    };
    const uint64_t item_bytes =
        PC_ITEM_HEADER_BYTES + PC_ITEM_OPTION_BYTES_MAX + storing->key->bytes + storing->total;
    storing->chunked |=
        storing->total > PC_ITEM_VALUE_BYTES_MAX || item_bytes > slice->inline_bytes_max;
    storing->body_as_is = storing->body.chain != 0 && storing->source_count == 1;
    storing->stream = pc_log_stream(slice, storing->draft.expiry, now);
    return PC_SLICE_OK;
}

/* Make sure of all the room the plan needs. *out_again: some had to be made, the plan is void. */
static enum pc_slice_status find_room(struct pc_slice *slice, struct storing *storing, uint32_t now,
                                      bool *out_again)
{
    struct pc_draft *draft = &storing->draft;
    *out_again = true;
    if (storing->chunked && !storing->body_as_is && storing->room_bytes != storing->written) {
        room_drop(slice, storing);
        storing->room_bytes = storing->written;
        return pc_chain_take_room(slice, storing->stream, storing->written, now, &storing->room);
    }
    if (!storing->chunked) {
        for (unsigned i = 0; i < storing->source_count; i++) {
            draft->value[i].at = storing->sources[i].at;
            draft->value[i].bytes = storing->sources[i].bytes;
        }
    } else {
        draft->chain = storing->written == 0 ? storing->extended
                       : storing->body_as_is ? storing->body.chain
                                             : storing->room;
        draft->chain_bytes = storing->total;
    }
    const uint32_t bytes = pc_draft_bytes(draft);
    storing->stream = pc_log_stream_with_room(slice, draft->expiry, bytes, now);
    if (!pc_log_has_room(slice, storing->stream, bytes)) {
        return pc_log_make_room(slice, storing->stream, now, NULL);
    }
    *out_again = false;
    return PC_SLICE_OK;
}

/* The new chunks are written, and in their place in the value. */
static void finish_chunks(struct pc_slice *slice, struct storing *storing)
{
    struct pc_draft *draft = &storing->draft;
    if (!storing->body_as_is) {
        chain_fill(slice, storing->room, storing->sources, storing->source_count);
        storing->room = 0;
    } else {
        storing->body.chain = 0;
    }
    pc_chain_unpin(slice, draft->chain);
    if (storing->extended != 0) {
        draft->chain = pc_extend_link(slice, &storing->extension, storing->extended, draft->chain);
    }
}

static uint64_t finish(struct pc_slice *slice, struct storing *storing)
{
    const bool extends = storing->extended != 0;
    if (storing->chunked && storing->written != 0) {
        finish_chunks(slice, storing);
    }
    const uint64_t cas = pc_draft_commit(slice, &storing->draft, storing->stream,
                                         storing->found ? &storing->look : NULL, extends);
    if (extends) {
        pc_chain_drop(slice, storing->extension.joined);
    }
    slice->stats.stored_total++;
    return cas;
}

/* What is stored with an expiry in the past only takes away what was there. */
static uint64_t finish_expired(struct pc_slice *slice, struct storing *storing)
{
    if (storing->found) {
        pc_slice_unlink(slice, &storing->look.at, PC_END_REPLACED);
    }
    slice->stats.stored_total++;
    return storing->draft.cas != 0 ? storing->draft.cas : cas_next(slice);
}

static enum pc_slice_status store_all(struct pc_slice *slice, struct storing *storing, uint32_t now,
                                      uint64_t *out_cas)
{
    enum pc_slice_status status;
    uint64_t cas = 0;
    for (bool again = true; again;) {
        status = plan(slice, storing, now);
        if (status != PC_SLICE_OK) {
            break;
        }
        if (pc_expired(storing->draft.expiry, now)) {
            cas = finish_expired(slice, storing);
            break;
        }
        status = find_room(slice, storing, now, &again);
        if (status != PC_SLICE_OK) {
            break;
        }
        if (!again) {
            cas = finish(slice, storing);
        }
    }
    room_drop(slice, storing);
    slice->stats.no_memory += status == PC_SLICE_NO_MEMORY;
    if (status == PC_SLICE_OK && out_cas != NULL) {
        *out_cas = cas;
    }
    return status;
}

/* What is refused for its size must not leave an old value that looks current. */
enum pc_slice_status pc_store_refuse(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_store *store, uint32_t now)
{
    struct pc_look look;
    if (store->mode == PC_STORE_SET && !store->compare && pc_slice_look(slice, key, now, &look)) {
        pc_slice_unlink(slice, &look.at, PC_END_REPLACED);
    }
    slice->stats.too_large++;
    return PC_SLICE_TOO_LARGE;
}

void pc_slice_give_up(struct pc_slice *slice)
{
    slice->stats.no_memory++;
}

enum pc_slice_status pc_slice_store(struct pc_slice *slice, const struct pc_key *key,
                                    const struct pc_store *store, uint32_t now, uint64_t *out_cas)
{
    PC_ASSERT(key->bytes >= 1 && key->bytes <= PC_KEY_BYTES_MAX);
    if (store->value_bytes > slice->value_bytes_max) {
        return pc_store_refuse(slice, key, store, now);
    }
    pc_hot_count(&slice->hot, key, now);
    pc_slice_pace(slice, now, store->value_bytes);
    struct storing storing = {
        .key = key,
        .store = store,
        .body = {.at = store->value, .bytes = store->value_bytes},
    };
    return store_all(slice, &storing, now, out_cas);
}

enum pc_slice_status pc_slice_commit(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_store *store, uint32_t now,
                                     struct pc_reservation *reservation, uint64_t *out_cas)
{
    PC_ASSERT(store->value_bytes == reservation->value_bytes);
    pc_hot_count(&slice->hot, key, now);
    pc_slice_pace(slice, now, key->bytes);
    struct storing storing = {
        .key = key,
        .store = store,
        .body = {.chain = reservation->first, .bytes = reservation->value_bytes},
    };
    const enum pc_slice_status status = store_all(slice, &storing, now, out_cas);
    if (status != PC_SLICE_LATER) {
        reservation->first = storing.body.chain;
        pc_slice_abort(slice, reservation);
    }
    return status;
}
