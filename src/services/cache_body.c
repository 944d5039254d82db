/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_body: values too long to come with their line. Room is reserved at the owner, the bytes are
 * received straight into it, unpublished, and a second call publishes them.
 *
 *   BEGIN ──reserve──▶ RESERVED ──fill pieces──▶ TAIL ──CR LF──▶ COMMITTED ──▶ said
 *                         │ refused: said, and the runtime swallows the body
 *                         └ peer gone or bad end ──abort──▶ ABORTED
 */
#include "services/cache_parts.h"

#include <string.h>

enum {
    STAGE_BEGIN,
    STAGE_RESERVED,
    STAGE_FILLING,
    STAGE_TAIL,
    STAGE_COMMITTED,
    STAGE_ABORTED,
};

/* Beyond what every request carries; in the request's extra block. */
struct body {
    struct pc_reservation reservation;
    uint64_t filled_bytes;
    char tail[2];
    uint8_t abort_reply; /* enum pc_memcached_reply */
};

static_assert(sizeof(struct body) <= PC_CACHE_BODY_BYTES, "ms has room for it");

static void run_reserve(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct body *body = op->extra;
    struct pc_slice *slice = pc_owners_slice(pc_cache_of(op)->owners, place);
    const struct pc_key key = pc_cache_key(op);
    const struct pc_store store = pc_cache_store_of(op);
    const uint32_t now = pc_lane_second(there);
    op->status = (uint8_t)pc_slice_reserve(slice, &key, &store, now, &body->reservation);
    pc_cache_store_settle(op, slice, &key, &store, now);
    const bool refused = op->status == PC_SLICE_NO_MEMORY || op->status == PC_SLICE_TOO_LARGE;
    if (PC_UNLIKELY(pc_cache_watched(pc_cache_of(op)) != 0) && refused) {
        pc_cache_tell_store(op, place, now);
    }
}

static void run_commit(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct body *body = op->extra;
    const struct pc_key key = pc_cache_key(op);
    struct pc_slice *slice = pc_owners_slice(pc_cache_of(op)->owners, place);
    struct pc_store store = pc_cache_store_of(op);
    const uint32_t now = pc_lane_second(there);
    uint64_t cas = 0;
    if (op->room_rounds == 0) {
        (void)pc_cache_look(op, place, &key, now);
    }
    pc_cache_store_fit(slice, &key, &store, now);
    op->status = (uint8_t)pc_slice_commit(slice, &key, &store, now, &body->reservation, &cas);
    const bool later = op->status == PC_SLICE_LATER;
    pc_cache_store_settle(op, slice, &key, &store, now);
    if (later && op->status != PC_SLICE_LATER) {
        pc_slice_abort(slice, &body->reservation);
    }
    pc_cache_store_note(op, place, cas, now);
}

static void run_abort(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct body *body = op->extra;
    (void)there;
    pc_slice_abort(pc_owners_slice(pc_cache_of(op)->owners, place), &body->reservation);
}

static enum pc_serve abort_with(struct pc_cache_op *op, enum pc_memcached_reply reply,
                                struct pc_lane *lane)
{
    struct body *body = op->extra;
    op->stage = STAGE_ABORTED;
    body->abort_reply = (uint8_t)reply;
    (void)pc_cache_ask(op, op->place, run_abort, lane);
    return PC_AGAIN;
}

static enum pc_serve begin(struct pc_cache_op *op, struct pc_lane *lane)
{
    op->stage = STAGE_RESERVED;
    if (op->meta != NULL) {
        op->extra = op->meta->copy;
    } else {
        op->expiry = pc_cache_expiry(op->parsed.exptime, lane);
        op->extra = pc_request_extra(op->request, sizeof(struct body));
    }
    if (op->extra == NULL) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_READ);
    }
    memset(op->extra, 0, sizeof(struct body));
    (void)pc_cache_ask(op, op->place, run_reserve, lane);
    return PC_AGAIN;
}

static enum pc_serve commit(struct pc_cache_op *op, struct pc_lane *lane)
{
    op->stage = STAGE_COMMITTED;
    op->room_rounds = 0;
    (void)pc_cache_ask(op, op->place, run_commit, lane);
    return PC_AGAIN;
}

static enum pc_serve fill(struct pc_cache_op *op, struct pc_lane *lane)
{
    struct body *body = op->extra;
    if (op->request->body_error != 0) {
        return abort_with(op, PC_MEMCACHED_SAY_NOTHING, lane);
    }
    const uint64_t left_bytes = op->parsed.value_bytes - body->filled_bytes;
    if (left_bytes == 0 && op->parsed.verb == PC_MEMCACHED_BINARY) {
        return commit(op, lane);
    }
    if (left_bytes == 0) {
        op->stage = STAGE_TAIL;
        pc_request_body(op->request, body->tail, sizeof(body->tail));
        return PC_AGAIN;
    }
    if (body->filled_bytes > 0) {
        const bool next = pc_reservation_next(pc_cache_of(op)->owners->pool, &body->reservation);
        PC_ASSERT(next);
        (void)next;
    }
    const size_t piece_bytes = pc_min_size(body->reservation.piece_bytes, (size_t)left_bytes);
    body->filled_bytes += piece_bytes;
    pc_request_body(op->request, body->reservation.at, piece_bytes);
    return PC_AGAIN;
}

static enum pc_serve check_tail(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct body *body = op->extra;
    if (op->request->body_error != 0) {
        return abort_with(op, PC_MEMCACHED_SAY_NOTHING, lane);
    }
    if (memcmp(body->tail, "\r\n", 2) != 0) {
        return abort_with(op, PC_MEMCACHED_SAY_BAD_CHUNK, lane);
    }
    return commit(op, lane);
}

/* Each step that asks a place returns AGAIN whether the answer is there already or not: then serve
 * runs again at once. Later requests wait until this one is said. */
enum pc_serve pc_cache_serve_body(struct pc_cache_op *op, struct pc_lane *lane)
{
    enum pc_serve served;
    switch (op->stage) {
    case STAGE_BEGIN:
        return begin(op, lane);
    case STAGE_RESERVED:
        served = pc_cache_insist(op, run_reserve, lane);
        if (served != PC_SERVED) {
            return served;
        }
        if (op->status != PC_SLICE_OK) {
            return pc_cache_store_say(op);
        }
        op->stage = STAGE_FILLING;
        return fill(op, lane);
    case STAGE_FILLING:
        return fill(op, lane);
    case STAGE_TAIL:
        return check_tail(op, lane);
    case STAGE_COMMITTED:
        served = pc_cache_insist(op, run_commit, lane);
        return served != PC_SERVED ? served : pc_cache_store_say(op);
    default:
        return pc_cache_say(op, ((const struct body *)op->extra)->abort_reply);
    }
}
