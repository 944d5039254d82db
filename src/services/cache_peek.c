/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_peek: reads answered here and now from a slice that another core owns (`crew`).
 *
 * The value is copied from the slice straight into the reply, behind a head that says what the copy
 * seems to be; the check at the end of the copy says that both are true, or the space is given up
 * and filled again. What a peek cannot do is left to the owner: values in chunks, values beyond one
 * reservation, slices that this connection still waits for.
 *
 * Order    A peek that begins while no call of the connection to the slice is unanswered has seen
 *          the effects of all of them (rule 3). The clock is read before the item is: if it went on
 *          meanwhile, what meta tells of a life is left to the owner. What a delayed flush has made
 *          due is the owner's to take away, so the owner is asked until it has.
 */
#include "services/cache_parts.h"

#include "base/hooks.h"

#include <string.h>

static bool may_peek(const struct pc_cache_op *op, unsigned place, uint32_t now)
{
    const struct pc_cache *cache = pc_cache_of(op);
    const bool settled =
        pc_request_settled(op->request, (int32_t)place) || PC_PLANTED(PC_BUG_PEEK_UNSETTLED);
    if (!pc_owners_peeks(cache->owners) || !settled) {
        return false;
    }
    /* Acquire pairs with the release that clears it, behind the flush. */
    const uint32_t due =
        atomic_load_explicit(&cache->places[place].flush_second, memory_order_acquire);
    return PC_LIKELY(due == 0 || now < due);
}

/* Only this lane writes them; `stats` on another may read a value of a moment ago. */
static void count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* What the owner would count, and tell. `found` is NULL for a miss. */
static void count_read(const struct pc_cache_op *op, struct pc_cache_reads *reads,
                       const struct pc_key *key, const struct pc_peeked *found,
                       const struct pc_lane *lane)
{
    count(found != NULL ? &reads->hits : &reads->misses);
    if (PC_UNLIKELY(--reads->hot.gap == 0)) {
        pc_cache_hot_sample(reads, key, pc_lane_second(lane));
    }
    if (PC_UNLIKELY(pc_cache_watched(pc_cache_of(op)) != 0)) {
        pc_cache_tell_read(op, pc_lane_index(lane), key, found != NULL,
                           found != NULL ? found->value_bytes : 0);
    }
    if (PC_UNLIKELY(op->parsed.verb == PC_MEMCACHED_MG)) {
        count(&reads->metas);
    }
}

/* Meta tells what is left of a life. Of an item that was stored in a later second than `now` that
 * would be more than it was given: then the owner is asked. */
static bool still_now(const struct pc_cache_op *op, const struct pc_lane *lane, uint32_t now)
{
    return op->meta == NULL || pc_lane_second(lane) == now || PC_PLANTED(PC_BUG_PEEK_TWO_SECONDS);
}

enum pc_cache_peek pc_cache_peek(struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                                 const struct pc_cache_form *form, struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct pc_cache_reads *reads = &cache->reads[pc_lane_index(lane)];
    const struct pc_slice *slice = pc_owners_slice(cache->owners, place);
    const uint32_t now = pc_lane_second(lane);
    struct pc_peeked peeked = {0};
    if (!may_peek(op, place, now)) {
        return PC_CACHE_PEEK_POST;
    }
    for (;;) {
        const enum pc_peek look = pc_slice_peek_look(slice, key, now, &peeked);
        if (look == PC_PEEK_MISS) {
            count_read(op, reads, key, NULL, lane);
            return PC_CACHE_PEEK_MISS;
        }
        const size_t bytes_max =
            form->bytes_max + key->bytes * (size_t)form->tells_key + peeked.value_bytes;
        if (look == PC_PEEK_REFUSED || bytes_max > PC_RESERVE_BYTES_MAX || peeked.stale) {
            count(&reads->refusals);
            return PC_CACHE_PEEK_POST;
        }
        uint8_t *into = pc_reply_reserve(op->request, bytes_max);
        if (PC_UNLIKELY(into == NULL)) {
            return PC_CACHE_PEEK_HANG_UP;
        }
        size_t bytes;
        const bool tells = form->head(op, key, &peeked, now, into, &bytes);
        const uint32_t value_bytes = tells ? peeked.value_bytes : 0;
        if (PC_LIKELY(pc_slice_peek_copy(slice, key, &peeked, into + bytes, value_bytes) &&
                      still_now(op, lane, now))) {
            bytes += value_bytes;
            if (tells) {
                memcpy(into + bytes, form->tail, form->tail_bytes);
                bytes += form->tail_bytes;
            }
            pc_reply_commit(op->request, bytes);
            count_read(op, reads, key, &peeked, lane);
            if (op->meta == NULL || !op->meta->parsed.no_update) {
                pc_owners_note(cache->owners, place, lane, key->hash, peeked.unmarked);
            }
            return PC_CACHE_PEEK_SAID;
        }
        pc_reply_commit(op->request, 0);
        if (PC_UNLIKELY(!still_now(op, lane, now))) {
            count(&reads->refusals);
            return PC_CACHE_PEEK_POST;
        }
    }
}

enum pc_cache_peek pc_cache_ask_or_peek(struct pc_cache_op *op, pc_cache_run_fn *run,
                                        const struct pc_cache_form *form, struct pc_lane *lane)
{
    if (pc_cache_at_hand(op, op->place, run, lane)) {
        return PC_CACHE_PEEK_MISS;
    }
    if (form != NULL) {
        const struct pc_key key = pc_cache_key(op);
        const enum pc_cache_peek peek = pc_cache_peek(op, op->place, &key, form, lane);
        if (peek != PC_CACHE_PEEK_POST) {
            return peek;
        }
    }
    return pc_cache_borrow(op, run, lane) || pc_cache_post(op, op->place, run) ? PC_CACHE_PEEK_MISS
                                                                               : PC_CACHE_PEEK_POST;
}

/* ---- The answer of a classic get ---- */

static bool classic_head(const struct pc_cache_op *op, const struct pc_key *key,
                         const struct pc_peeked *peeked, uint32_t now, uint8_t *into,
                         size_t *out_bytes)
{
    (void)now;
    *out_bytes = pc_memcached_value_line((char *)into, key->at, key->bytes, peeked->flags,
                                         peeked->value_bytes,
                                         pc_cache_tells_cas(op->parsed.verb) ? &peeked->cas : NULL);
    return true;
}

enum { CLASSIC_BYTES_MAX = PC_MEMCACHED_VALUE_LINE_BYTES_MAX - PC_MEMCACHED_KEY_BYTES_MAX };

#define TAIL(text) .tail = (text), .tail_bytes = sizeof(text) - 1

const struct pc_cache_form pc_cache_form_get = {.head = classic_head,
                                                .tells_key = true,
                                                .bytes_max = CLASSIC_BYTES_MAX + 7,
                                                TAIL("\r\nEND\r\n")};
const struct pc_cache_form pc_cache_form_key = {
    .head = classic_head, .tells_key = true, .bytes_max = CLASSIC_BYTES_MAX + 2, TAIL("\r\n")};

/* ---- Counts ---- */

void pc_cache_reads_sum(const struct pc_cache *cache, struct pc_cache_read_counts *out)
{
    *out = (struct pc_cache_read_counts){0};
    for (unsigned i = 0; i < cache->owners->core_count; i++) {
        const struct pc_cache_reads *reads = &cache->reads[i];
        out->hits += atomic_load_explicit(&reads->hits, memory_order_relaxed);
        out->misses += atomic_load_explicit(&reads->misses, memory_order_relaxed);
        out->metas += atomic_load_explicit(&reads->metas, memory_order_relaxed);
        out->refusals += atomic_load_explicit(&reads->refusals, memory_order_relaxed);
    }
}
