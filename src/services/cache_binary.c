/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_binary: the binary protocol. A request becomes what the meta commands are made of, asks the
 * slices with their functions, and is answered in its own form.
 */
#include "services/cache_parts.h"

#include "protocols/memcached_binary.h"

#include <string.h>

enum { STAGE_BEGIN, STAGE_ASKED };

/* A count with this exptime does not create what is not there. */
#define EXPTIME_NO_CREATE UINT32_MAX

static const struct pc_memcached_opcode *opcode_of(const struct pc_cache_op *op)
{
    return pc_memcached_opcode(op->request->input.at[1]);
}

static enum pc_serve say_parts(struct pc_cache_op *op, enum pc_memcached_binary_status status,
                               const void *extra, uint32_t extra_bytes, struct pc_view key,
                               struct pc_view value, uint64_t cas)
{
    uint8_t head[PC_MEMCACHED_BINARY_HEADER_BYTES + 8];
    pc_memcached_binary_header(head, op->request->input.at, status, extra_bytes,
                               (uint32_t)key.count, value.count, cas);
    if (extra_bytes > 0) {
        memcpy(head + PC_MEMCACHED_BINARY_HEADER_BYTES, extra, extra_bytes);
    }
    const bool said =
        pc_reply_copy(op->request, head, PC_MEMCACHED_BINARY_HEADER_BYTES + extra_bytes) == 0 &&
        (key.count == 0 || pc_reply_copy(op->request, key.at, key.count) == 0) &&
        (value.count == 0 || pc_reply_copy(op->request, value.at, value.count) == 0);
    return said ? PC_SERVED : PC_HANG_UP;
}

static const struct pc_view nothing;

/* A status, with its words where it is not OK. */
static enum pc_serve say_status(struct pc_cache_op *op, enum pc_memcached_binary_status status,
                                uint64_t cas)
{
    const char *text = pc_memcached_binary_text(status);
    const struct pc_view words = {(const uint8_t *)text, strlen(text)};
    return say_parts(op, status, NULL, 0, nothing, words, cas);
}

static struct pc_view key_view(const struct pc_cache_op *op)
{
    return (struct pc_view){op->request->input.at + op->parsed.key_at, op->parsed.key_bytes};
}

/* ---- Answers ---- */

static enum pc_serve say_missing(struct pc_cache_op *op)
{
    const struct pc_memcached_opcode *opcode = opcode_of(op);
    if (opcode->quiet) {
        return PC_SERVED;
    }
    return opcode->tells_key ? say_parts(op, PC_BINARY_NOT_FOUND, NULL, 0, key_view(op), nothing, 0)
                             : say_status(op, PC_BINARY_NOT_FOUND, 0);
}

/* The header goes out with the value's length; held values follow piece by piece. */
static enum pc_serve say_held(struct pc_cache_op *op, const uint8_t *flags, struct pc_view key)
{
    uint8_t head[PC_MEMCACHED_BINARY_HEADER_BYTES + 4];
    const struct pc_memcached_facts *facts = &op->meta->facts;
    pc_memcached_binary_header(head, op->request->input.at, PC_BINARY_OK, 4, (uint32_t)key.count,
                               facts->value_bytes, facts->cas);
    memcpy(head + PC_MEMCACHED_BINARY_HEADER_BYTES, flags, 4);
    if (pc_reply_copy(op->request, head, sizeof(head)) != 0 ||
        (key.count > 0 && pc_reply_copy(op->request, key.at, key.count) != 0)) {
        pc_cache_hold_drop(op->hold);
        return PC_HANG_UP;
    }
    return pc_cache_hold_send(op->request, op->hold) == 0 ? PC_SERVED : PC_HANG_UP;
}

static enum pc_serve answer_get(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct pc_cache_meta *meta = op->meta;
    const struct pc_view key = opcode_of(op)->tells_key ? key_view(op) : nothing;
    uint8_t flags[4];
    const enum pc_serve held = pc_cache_hold_insist(op, op->place, pc_cache_run_hold, lane);
    if (held != PC_SERVED) {
        return held;
    }
    if (op->no_memory) {
        return say_status(op, PC_BINARY_NO_MEMORY, 0);
    }
    if (!op->found) {
        return say_missing(op);
    }
    pc_be32_store(flags, meta->facts.flags);
    if (op->hold != NULL) {
        if (pc_reply_crowded(op->request)) {
            return PC_AGAIN;
        }
        return say_held(op, flags, key);
    }
    const struct pc_view value = {meta->copy,
                                  meta->tells_value ? (size_t)meta->facts.value_bytes : 0};
    return say_parts(op, PC_BINARY_OK, flags, sizeof(flags), key, value, meta->facts.cas);
}

static bool peek_head(const struct pc_cache_op *op, const struct pc_key *key,
                      const struct pc_peeked *peeked, uint32_t now, uint8_t *into,
                      size_t *out_bytes)
{
    const uint32_t key_bytes = opcode_of(op)->tells_key ? key->bytes : 0;
    uint8_t *at = into + PC_MEMCACHED_BINARY_HEADER_BYTES;
    (void)now;
    pc_memcached_binary_header(into, op->request->input.at, PC_BINARY_OK, 4, key_bytes,
                               peeked->value_bytes, peeked->cas);
    pc_be32_store(at, peeked->flags);
    memcpy(at + 4, key->at, key_bytes);
    *out_bytes = PC_MEMCACHED_BINARY_HEADER_BYTES + 4 + key_bytes;
    return true;
}

static const struct pc_cache_form peek_form = {.head = peek_head,
                                               .tells_key = true,
                                               .bytes_max = PC_MEMCACHED_BINARY_HEADER_BYTES + 4,
                                               .tail = ""};

static enum pc_memcached_binary_status status_of(const struct pc_cache_op *op)
{
    const char mode = op->meta->parsed.mode;
    switch (op->status) {
    case PC_SLICE_OK:
        return PC_BINARY_OK;
    case PC_SLICE_NOT_FOUND:
        return PC_BINARY_NOT_FOUND;
    case PC_SLICE_EXISTS:
        return PC_BINARY_EXISTS;
    case PC_SLICE_NOT_STORED:
        return mode == 'E'   ? PC_BINARY_EXISTS
               : mode == 'R' ? PC_BINARY_NOT_FOUND
                             : PC_BINARY_NOT_STORED;
    case PC_SLICE_NOT_NUMBER:
        return PC_BINARY_NOT_NUMBER;
    case PC_SLICE_TOO_LARGE:
        return PC_BINARY_TOO_LARGE;
    default:
        return PC_BINARY_NO_MEMORY;
    }
}

enum pc_serve pc_cache_binary_say_stored(struct pc_cache_op *op)
{
    const enum pc_memcached_binary_status status = status_of(op);
    if (status == PC_BINARY_OK && opcode_of(op)->quiet) {
        return PC_SERVED;
    }
    return say_status(op, status, op->meta->facts.cas);
}

static enum pc_serve answer_count(struct pc_cache_op *op)
{
    const enum pc_memcached_binary_status status = status_of(op);
    uint8_t number[8];
    if (status != PC_BINARY_OK) {
        return say_status(op, status, 0);
    }
    if (opcode_of(op)->quiet) {
        return PC_SERVED;
    }
    pc_be64_store(number, op->number);
    const struct pc_view value = {number, sizeof(number)};
    return say_parts(op, PC_BINARY_OK, NULL, 0, nothing, value, op->meta->facts.cas);
}

void pc_cache_binary_say_stat(struct pc_cache_op *op, const char *name, const char *value)
{
    const struct pc_view key = {(const uint8_t *)name, strlen(name)};
    const struct pc_view text = {(const uint8_t *)value, strlen(value)};
    (void)say_parts(op, PC_BINARY_OK, NULL, 0, key, text, 0); /* said or not, END follows */
}

enum pc_serve pc_cache_binary_say_reply(struct pc_cache_op *op, enum pc_memcached_reply reply)
{
    switch (reply) {
    case PC_MEMCACHED_SAY_OK:
        return opcode_of(op)->quiet ? PC_SERVED : say_status(op, PC_BINARY_OK, 0);
    case PC_MEMCACHED_SAY_END:
    case PC_MEMCACHED_SAY_RESET:
        return say_status(op, PC_BINARY_OK, 0);
    case PC_MEMCACHED_SAY_ERROR:
        return say_status(op, PC_BINARY_NOT_FOUND, 0);
    case PC_MEMCACHED_SAY_NO_MEMORY_READ:
    case PC_MEMCACHED_SAY_NO_MEMORY_STATS:
    case PC_MEMCACHED_SAY_NO_MEMORY:
        return say_status(op, PC_BINARY_NO_MEMORY, 0);
    default:
        return say_status(op, PC_BINARY_INVALID, 0);
    }
}

/* ---- Questions ---- */

static void read_extras(struct pc_cache_op *op, const struct pc_memcached_opcode *opcode)
{
    struct pc_memcached_meta *meta = &op->meta->parsed;
    const uint8_t *extra = op->request->input.at + PC_MEMCACHED_BINARY_HEADER_BYTES;
    switch ((enum pc_memcached_binary_act)opcode->act) {
    case PC_BINARY_STORE:
        meta->client_flags = pc_be32_load(extra);
        meta->exptime = (int32_t)pc_be32_load(extra + 4);
        break;
    case PC_BINARY_GET:
    case PC_BINARY_TOUCH:
        meta->sets_expiry = opcode->mode == 'T';
        meta->exptime = meta->sets_expiry ? (int32_t)pc_be32_load(extra) : 0;
        meta->wants_value = opcode->act == PC_BINARY_GET;
        break;
    case PC_BINARY_COUNT:
        meta->delta = pc_be64_load(extra);
        meta->initial = pc_be64_load(extra + 8);
        meta->vivifies = pc_be32_load(extra + 16) != EXPTIME_NO_CREATE;
        meta->vivify_exptime = meta->vivifies ? (int32_t)pc_be32_load(extra + 16) : 0;
        break;
    default:
        break;
    }
}

static bool prepare(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct pc_memcached_opcode *opcode = opcode_of(op);
    struct pc_cache_meta *meta = pc_cache_meta_open(op);
    if (meta == NULL) {
        return false;
    }
    memset(&meta->parsed, 0, offsetof(struct pc_memcached_meta, key));
    meta->parsed.key_bytes = op->parsed.key_bytes;
    meta->parsed.mode = opcode->mode;
    meta->parsed.has_cas = op->parsed.number != 0;
    meta->parsed.cas = op->parsed.number;
    read_extras(op, opcode);
    op->expiry = pc_cache_expiry(meta->parsed.exptime, lane);
    meta->vivify_expiry = pc_cache_expiry(meta->parsed.vivify_exptime, lane);
    return true;
}

static enum pc_serve serve_key(struct pc_cache_op *op, struct pc_lane *lane)
{
    const uint8_t act = opcode_of(op)->act;
    if (op->meta == NULL && !prepare(op, lane)) {
        return say_status(op, PC_BINARY_NO_MEMORY, 0);
    }
    if (act == PC_BINARY_STORE || act == PC_BINARY_EXTEND) {
        return op->parsed.value_follows ? pc_cache_serve_body(op, lane)
                                        : pc_cache_serve_item(op, lane);
    }
    if (op->stage == STAGE_BEGIN) {
        op->stage = STAGE_ASKED;
        pc_cache_run_fn *run = act == PC_BINARY_DELETE  ? pc_cache_meta_run_delete
                               : act == PC_BINARY_COUNT ? pc_cache_meta_run_count
                                                        : pc_cache_meta_run_get;
        const bool peeks = act == PC_BINARY_GET && !op->meta->parsed.sets_expiry;
        switch (pc_cache_ask_or_peek(op, run, peeks ? &peek_form : NULL, lane)) {
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
    return act == PC_BINARY_DELETE  ? pc_cache_binary_say_stored(op)
           : act == PC_BINARY_COUNT ? answer_count(op)
                                    : answer_get(op, lane);
}

static enum pc_serve serve_quit(struct pc_cache_op *op)
{
    if (!opcode_of(op)->quiet) {
        (void)say_status(op, PC_BINARY_OK, 0); /* closing either way */
    }
    return PC_HANG_UP;
}

enum pc_serve pc_cache_serve_binary(struct pc_cache_op *op, struct pc_lane *lane)
{
    static const char version[] = PC_CACHE_VERSION;
    const uint8_t *extra = op->request->input.at + PC_MEMCACHED_BINARY_HEADER_BYTES;
    if (op->parsed.refusal != 0) {
        const bool is_nonsense = op->parsed.refusal == PC_MEMCACHED_SAY_ERROR;
        (void)say_status(op, is_nonsense ? PC_BINARY_NO_COMMAND : PC_BINARY_INVALID,
                         0); /* closing either way, as memcached */
        return PC_HANG_UP;
    }
    switch ((enum pc_memcached_binary_act)opcode_of(op)->act) {
    case PC_BINARY_UNKNOWN:
        return say_status(op, PC_BINARY_NO_COMMAND, 0);
    case PC_BINARY_QUIT:
        return serve_quit(op);
    case PC_BINARY_NOOP:
    case PC_BINARY_VERBOSITY:
        return say_status(op, PC_BINARY_OK, 0);
    case PC_BINARY_VERSION:
        return say_parts(op, PC_BINARY_OK, NULL, 0, nothing,
                         (struct pc_view){(const uint8_t *)version, sizeof(version) - 1}, 0);
    case PC_BINARY_FLUSH:
        op->parsed.exptime = op->request->input.count > PC_MEMCACHED_BINARY_HEADER_BYTES
                                 ? (int32_t)pc_be32_load(extra)
                                 : 0;
        return pc_cache_serve_flush(op, lane);
    case PC_BINARY_STAT:
        op->parsed.words_at = op->parsed.key_at;
        op->parsed.words_bytes = op->parsed.key_bytes;
        return pc_cache_serve_stats(op, lane);
    default:
        return serve_key(op, lane);
    }
}
