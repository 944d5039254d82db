/* SPDX-License-Identifier: Apache-2.0 */
/* cache_meta: mg, ms, md, ma and me: one key, flags that say what to do and what to tell. */
#include "services/cache_parts.h"

#include "protocols/decimal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STAGE_BEGIN, STAGE_ASKED };

/* What of an item each command may tell; `k` and `O` are the client's own. */
static const char told_of_get[] = "stcflhkO";
static const char told_of_store[] = "kOcs";
static const char told_of_count[] = "ctkO";
static const char told_of_none[] = "kO";

static enum pc_serve say_line(struct pc_cache_op *op, const char *status, const char *told,
                              const struct pc_memcached_facts *facts)
{
    char line[PC_MEMCACHED_META_LINE_BYTES_MAX];
    const size_t bytes = pc_memcached_meta_line(line, status, told, op->request->input.at,
                                                &op->parsed, &op->meta->parsed, facts);
    return pc_reply_copy(op->request, line, bytes) == 0 ? PC_SERVED : PC_HANG_UP;
}

/* ---- mg ---- */

static enum pc_serve answer_mg(struct pc_cache_op *op, struct pc_lane *lane)
{
    struct pc_cache_meta *meta = op->meta;
    const enum pc_serve held = pc_cache_hold_insist(op, op->place, pc_cache_run_hold, lane);
    if (held != PC_SERVED) {
        return held;
    }
    if (op->hold != NULL && pc_reply_crowded(op->request)) {
        return PC_AGAIN;
    }
    if (op->no_memory) {
        return pc_cache_say(op, op->found ? PC_MEMCACHED_SAY_NO_MEMORY_GET
                                          : PC_MEMCACHED_SAY_NO_MEMORY);
    }
    if (!op->found) {
        return meta->parsed.quiet ? PC_SERVED : say_line(op, "EN", told_of_none, NULL);
    }
    if (!meta->tells_value) {
        return say_line(op, "HD", told_of_get, &meta->facts);
    }
    enum pc_serve served = say_line(op, "VA", told_of_get, &meta->facts);
    if (op->hold != NULL) {
        if (served != PC_SERVED) {
            pc_cache_hold_drop(op->hold);
            return served;
        }
        served = pc_cache_hold_send(op->request, op->hold) == 0 ? PC_SERVED : PC_HANG_UP;
    } else if (served == PC_SERVED) {
        served = pc_reply_copy(op->request, meta->copy, (size_t)meta->facts.value_bytes) == 0
                     ? PC_SERVED
                     : PC_HANG_UP;
    }
    return served == PC_SERVED && pc_reply_copy(op->request, "\r\n", 2) == 0 ? PC_SERVED
                                                                             : PC_HANG_UP;
}

/* Whether this mg asks for nothing but what a peek copies. A stale item wants a winner, which the
 * peek leaves to the owner by itself. */
static bool peeks(const struct pc_cache_op *op)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    return op->parsed.verb == PC_MEMCACHED_MG && !meta->sets_expiry && !meta->vivifies &&
           !meta->recaches && !pc_cache_meta_tells_reads(op);
}

static bool peek_head(const struct pc_cache_op *op, const struct pc_key *key,
                      const struct pc_peeked *peeked, uint32_t now, uint8_t *into,
                      size_t *out_bytes)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    const bool tells = meta->wants_value && !(meta->has_cas && meta->cas == peeked->cas);
    const struct pc_memcached_facts facts = {.value_bytes = peeked->value_bytes,
                                             .cas = peeked->cas,
                                             .flags = peeked->flags,
                                             .ttl_seconds = pc_cache_ttl(peeked->expiry, now),
                                             .claimed = peeked->claimed};
    (void)key;
    *out_bytes = pc_memcached_meta_line((char *)into, tells ? "VA" : "HD", told_of_get,
                                        op->request->input.at, &op->parsed, meta, &facts);
    return tells;
}

static const struct pc_cache_form peek_form = {
    .head = peek_head,
    .bytes_max = PC_MEMCACHED_META_LINE_BYTES_MAX + 2,
    .tail = "\r\n",
    .tail_bytes = 2,
};

/* ---- ms ---- */

enum pc_serve pc_cache_meta_say_stored(struct pc_cache_op *op)
{
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        return pc_cache_binary_say_stored(op);
    }
    static const char *const statuses[] = {
        [PC_SLICE_OK] = "HD",
        [PC_SLICE_NOT_FOUND] = "NF",
        [PC_SLICE_NOT_STORED] = "NS",
        [PC_SLICE_EXISTS] = "EX",
    };
    if (op->status >= PC_COUNT_OF(statuses)) {
        return pc_cache_say(op, pc_cache_store_reply(op));
    }
    if (op->status == PC_SLICE_OK && op->meta->parsed.quiet) {
        return PC_SERVED;
    }
    return say_line(op, statuses[op->status], told_of_store, &op->meta->facts);
}

/* ---- md ---- */

static enum pc_serve answer_md(struct pc_cache_op *op)
{
    switch (op->status) {
    case PC_SLICE_OK:
        return op->meta->parsed.quiet ? PC_SERVED : say_line(op, "HD", told_of_none, NULL);
    case PC_SLICE_EXISTS:
        return say_line(op, "EX", told_of_none, NULL);
    case PC_SLICE_NOT_FOUND:
        return say_line(op, "NF", told_of_none, NULL);
    default:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_DELTA);
    }
}

/* ---- ma ---- */

static enum pc_serve answer_ma(struct pc_cache_op *op)
{
    struct pc_cache_meta *meta = op->meta;
    char number[PC_DECIMAL_BYTES_MAX + 2];
    switch (op->status) {
    case PC_SLICE_OK:
        break;
    case PC_SLICE_NOT_FOUND:
        return say_line(op, "NF", told_of_none, NULL);
    case PC_SLICE_EXISTS:
        return say_line(op, "EX", told_of_none, NULL);
    case PC_SLICE_NOT_NUMBER:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NON_NUMERIC);
    default:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_DELTA);
    }
    if (meta->parsed.quiet) {
        return PC_SERVED;
    }
    if (!meta->parsed.wants_value) {
        return say_line(op, "HD", told_of_count, &meta->facts);
    }
    const size_t bytes = pc_decimal_write(number, op->number);
    memcpy(number + bytes, "\r\n", 2);
    meta->facts.value_bytes = bytes;
    const enum pc_serve served = say_line(op, "VA", told_of_count, &meta->facts);
    return served == PC_SERVED && pc_reply_copy(op->request, number, bytes + 2) == 0 ? PC_SERVED
                                                                                     : PC_HANG_UP;
}

/* ---- me ---- */

static enum pc_serve answer_me(struct pc_cache_op *op)
{
    const struct pc_memcached_facts *facts = &op->meta->facts;
    char line[PC_MEMCACHED_META_LINE_BYTES_MAX + 64];
    if (!op->found) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_MISSED);
    }
    memcpy(line, "ME ", 3);
    memcpy(line + 3, op->request->input.at + op->parsed.key_at, op->parsed.key_bytes);
    const size_t head_bytes = 3 + (size_t)op->parsed.key_bytes;
    const int tail_bytes = snprintf(
        line + head_bytes, sizeof(line) - head_bytes,
        " exp=%" PRId64 " la=%" PRIu32 " cas=%" PRIu64 " fetch=%s cls=1 size=%" PRIu64 "\r\n",
        facts->ttl_seconds, facts->idle_seconds, facts->cas, facts->fetched ? "yes" : "no",
        facts->value_bytes + op->meta->parsed.key_bytes);
    return pc_reply_copy(op->request, line, head_bytes + (size_t)tail_bytes) == 0 ? PC_SERVED
                                                                                  : PC_HANG_UP;
}

/* ---- Serving ---- */

static enum pc_memcached_reply refusal_of(const struct pc_cache_op *op)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    enum pc_store_mode mode;
    bool decrement;
    switch (op->parsed.verb) {
    case PC_MEMCACHED_MS:
        return meta->refusal == 0 && !pc_cache_meta_store_mode(meta->mode, &mode)
                   ? PC_MEMCACHED_SAY_BAD_STORE_MODE
                   : meta->refusal;
    case PC_MEMCACHED_MA:
        if (meta->refusal != 0) {
            return PC_MEMCACHED_SAY_BAD_OR_TWICE;
        }
        return pc_cache_meta_count_mode(meta->mode, &decrement) ? PC_MEMCACHED_SAY_NOTHING
                                                                : PC_MEMCACHED_SAY_BAD_COUNT_MODE;
    default:
        return meta->refusal;
    }
}

/* Read the flags and aim; the reply that refuses the request, if it is not fine. */
static enum pc_memcached_reply prepare(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct pc_owners *owners = pc_cache_of(op)->owners;
    struct pc_cache_meta *meta = pc_cache_meta_open(op);
    if (meta == NULL) {
        return PC_MEMCACHED_SAY_NO_MEMORY_READ;
    }
    pc_memcached_meta_parse(op->request->input.at, &op->parsed, &meta->parsed);
    const enum pc_memcached_reply refusal = refusal_of(op);
    if (refusal != 0) {
        return refusal;
    }
    op->expiry = pc_cache_expiry(meta->parsed.exptime, lane);
    meta->vivify_expiry = pc_cache_expiry(meta->parsed.vivify_exptime, lane);
    meta->recache_expiry = pc_cache_expiry(meta->parsed.recache_exptime, lane);
    if (meta->parsed.key_is_binary) {
        op->hash = pc_owners_hash(meta->parsed.key, meta->parsed.key_bytes, owners->seed);
        op->place = pc_owners_place(owners, op->hash);
    }
    return PC_MEMCACHED_SAY_NOTHING;
}

static enum pc_serve answer(struct pc_cache_op *op, struct pc_lane *lane)
{
    switch (op->parsed.verb) {
    case PC_MEMCACHED_MG:
        return answer_mg(op, lane);
    case PC_MEMCACHED_MD:
        return answer_md(op);
    case PC_MEMCACHED_MA:
        return answer_ma(op);
    default:
        return answer_me(op);
    }
}

static pc_cache_run_fn *run_of(const struct pc_cache_op *op)
{
    switch (op->parsed.verb) {
    case PC_MEMCACHED_MG:
        return pc_cache_meta_run_get;
    case PC_MEMCACHED_MD:
        return pc_cache_meta_run_delete;
    case PC_MEMCACHED_MA:
        return pc_cache_meta_run_count;
    default:
        return pc_cache_meta_run_look;
    }
}

enum pc_serve pc_cache_serve_meta(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (op->meta == NULL) {
        enum pc_serve served;
        if (op->parsed.plain && pc_cache_meta_near(op, lane, &served)) {
            return served;
        }
        const enum pc_memcached_reply refusal = prepare(op, lane);
        if (refusal != 0) {
            return pc_cache_say(op, refusal);
        }
    }
    if (op->parsed.verb == PC_MEMCACHED_MS) {
        return op->parsed.value_follows ? pc_cache_serve_body(op, lane)
                                        : pc_cache_serve_item(op, lane);
    }
    if (op->stage == STAGE_BEGIN) {
        op->stage = STAGE_ASKED;
        const struct pc_cache_form *form = peeks(op) ? &peek_form : NULL;
        switch (pc_cache_ask_or_peek(op, run_of(op), form, lane)) {
        case PC_CACHE_PEEK_SAID:
            return PC_SERVED;
        case PC_CACHE_PEEK_HANG_UP:
            return PC_HANG_UP;
        case PC_CACHE_PEEK_POST:
            return PC_WAITING;
        case PC_CACHE_PEEK_MISS:
            break;
        }
    }
    return answer(op, lane);
}
