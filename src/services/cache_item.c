/* SPDX-License-Identifier: Apache-2.0 */
/* cache_item: requests of one key, from the question to a slice to the words of the answer. */
#include "services/cache_parts.h"

#include "base/hooks.h"
#include "protocols/decimal.h"

#include <string.h>

enum { STAGE_BEGIN, STAGE_ASKED };

/* Values up to this are copied by another core into our reply; longer ones are held. */
enum { COPY_BYTES_MAX = 512 };

static inline bool find(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                        uint32_t now, struct pc_value *out_value)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct pc_slice *slice = pc_owners_slice(cache->owners, place);
    const uint8_t verb = op->parsed.verb;
    if (PC_UNLIKELY(verb == PC_MEMCACHED_GAT || verb == PC_MEMCACHED_GATS)) {
        const bool found = pc_slice_touch(slice, key, op->expiry, now, out_value) == PC_SLICE_OK;
        pc_cache_count(cache, place, PC_COUNT_cmd_touch);
        pc_cache_count(cache, place, found ? PC_COUNT_touch_hits : PC_COUNT_touch_misses);
        return found;
    }
    const bool found = pc_slice_find(slice, key, now, PC_FIND_HIT, out_value);
    pc_cache_count(cache, place, PC_COUNT_cmd_get);
    pc_cache_count(cache, place, found ? PC_COUNT_get_hits : PC_COUNT_get_misses);
    return found;
}

static bool find_watched(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                         uint32_t now, struct pc_value *out_value)
{
    (void)pc_cache_tell_look(op, place, key, now);
    return find(op, place, key, now, out_value);
}

/* Apart, so that a get keeps nothing in mind for a watcher who is not there. */
inline bool pc_cache_find(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                          uint32_t now, struct pc_value *out_value)
{
    if (PC_UNLIKELY(pc_cache_watched(pc_cache_of(op)) != 0)) {
        return find_watched(op, place, key, now, out_value);
    }
    return find(op, place, key, now, out_value);
}

/* On the owner's lane, for another's request: into the reserved reply, or held. */
static void run_get(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = pc_cache_key(op);
    struct pc_value value;
    op->found = pc_cache_find(op, place, &key, pc_lane_second(there), &value);
    if (!op->found) {
        return;
    }
    if (value.value_bytes > COPY_BYTES_MAX) {
        pc_cache_hold_for(op, place, &value);
        return;
    }
    op->reply_bytes = (uint32_t)pc_cache_value_print(cache, op->into, key.at, key.bytes, &value,
                                                     pc_cache_tells_cas(op->parsed.verb));
}

/* get of one key in a slice of our own, the request most servers live from: found, printed and
 * committed in one go. False: the value is to be held, and run_get does it. */
static bool get_near(struct pc_cache_op *op, struct pc_lane *lane, enum pc_serve *out_served)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = pc_cache_key(op);
    struct pc_value value;
    if (!pc_cache_find(op, op->place, &key, pc_lane_second(lane), &value)) {
        *out_served = pc_cache_say(op, PC_MEMCACHED_SAY_END);
        return true;
    }
    if (PC_UNLIKELY(value.value_bytes >= PC_VALUE_HOLD_BYTES)) {
        op->found = true;
        bool again;
        op->hold = pc_cache_hold_near(op, op->place, &value, &again);
        op->no_memory = op->hold == NULL;
        if (again) {
            op->no_memory = op->found = false;
            op->stage = STAGE_BEGIN;
            *out_served = PC_AGAIN;
        }
        return again;
    }
    uint8_t *into =
        pc_reply_reserve(op->request, pc_cache_value_bytes_max(key.bytes, value.value_bytes) + 5);
    if (PC_UNLIKELY(into == NULL)) {
        *out_served = PC_HANG_UP;
        return true;
    }
    const size_t bytes = pc_cache_value_print(cache, into, key.at, key.bytes, &value,
                                              pc_cache_tells_cas(op->parsed.verb));
    memcpy(into + bytes, "END\r\n", 5);
    pc_reply_commit(op->request, bytes + 5);
    *out_served = PC_SERVED;
    return true;
}

static enum pc_serve answer_get(struct pc_cache_op *op, struct pc_lane *lane)
{
    struct pc_request *request = op->request;
    if (op->into != NULL) {
        const bool whole = op->reply_bytes > 0 || !op->found;
        if (whole) {
            memcpy(op->into + op->reply_bytes, "END\r\n", 5);
            op->reply_bytes += 5;
        }
        pc_reply_commit(request, op->reply_bytes);
        if (whole) {
            return PC_SERVED;
        }
        op->into = NULL;
    }
    if (!op->found) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_END);
    }
    const enum pc_serve held = pc_cache_hold_insist(op, op->place, pc_cache_run_hold, lane);
    if (held != PC_SERVED) {
        return held;
    }
    if (op->no_memory) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_GET);
    }
    if (pc_reply_crowded(request)) {
        return PC_AGAIN;
    }
    const struct pc_key key = pc_cache_key(op);
    if (pc_cache_value_share(request, key.at, key.bytes, op->hold,
                             pc_cache_tells_cas(op->parsed.verb)) != 0) {
        return PC_HANG_UP;
    }
    return pc_cache_say(op, PC_MEMCACHED_SAY_END);
}

struct pc_store pc_cache_store_of(const struct pc_cache_op *op)
{
    if (op->meta != NULL) {
        return pc_cache_meta_store(op);
    }
    static const enum pc_store_mode modes[PC_MEMCACHED_VERB_COUNT] = {
        [PC_MEMCACHED_SET] = PC_STORE_SET,         [PC_MEMCACHED_ADD] = PC_STORE_ADD,
        [PC_MEMCACHED_REPLACE] = PC_STORE_REPLACE, [PC_MEMCACHED_APPEND] = PC_STORE_APPEND,
        [PC_MEMCACHED_PREPEND] = PC_STORE_PREPEND, [PC_MEMCACHED_CAS] = PC_STORE_SET,
    };
    return (struct pc_store){.mode = modes[op->parsed.verb],
                             .flags = op->parsed.flags,
                             .expiry = op->expiry,
                             .compare = op->parsed.verb == PC_MEMCACHED_CAS &&
                                        !PC_PLANTED(PC_BUG_LOST_UPDATE),
                             .cas = op->parsed.number,
                             .value_bytes = op->parsed.value_bytes};
}

static void count_compare(struct pc_cache *cache, unsigned place, enum pc_slice_status status)
{
    switch (status) {
    case PC_SLICE_OK:
        pc_cache_count(cache, place, PC_COUNT_cas_hits);
        break;
    case PC_SLICE_EXISTS:
        pc_cache_count(cache, place, PC_COUNT_cas_badval);
        break;
    case PC_SLICE_NOT_FOUND:
        pc_cache_count(cache, place, PC_COUNT_cas_misses);
        break;
    default:
        break;
    }
}

void pc_cache_store_note(struct pc_cache_op *op, unsigned place, uint64_t cas, uint32_t now)
{
    struct pc_cache *cache = pc_cache_of(op);
    if (op->status == PC_SLICE_LATER) {
        return;
    }
    if (op->status != PC_SLICE_TOO_LARGE && op->status != PC_SLICE_NO_MEMORY) {
        pc_cache_count(cache, place, PC_COUNT_cmd_set);
    }
    if (op->meta != NULL) {
        pc_cache_meta_stored(op, place, cas, now);
    }
    if (PC_UNLIKELY(pc_cache_watched(cache) != 0)) {
        pc_cache_tell_store(op, place, now);
    }
    if (op->parsed.verb == PC_MEMCACHED_CAS || (op->meta != NULL && op->meta->parsed.has_cas)) {
        count_compare(cache, place, op->status);
    }
}

enum pc_serve pc_cache_store_say(struct pc_cache_op *op)
{
    return op->meta != NULL ? pc_cache_meta_say_stored(op)
                            : pc_cache_say(op, pc_cache_store_reply(op));
}

enum pc_memcached_reply pc_cache_store_reply(const struct pc_cache_op *op)
{
    switch (op->status) {
    case PC_SLICE_OK:
        return PC_MEMCACHED_SAY_STORED;
    case PC_SLICE_NOT_STORED:
        return PC_MEMCACHED_SAY_NOT_STORED;
    case PC_SLICE_EXISTS:
        return PC_MEMCACHED_SAY_EXISTS;
    case PC_SLICE_NOT_FOUND:
        return PC_MEMCACHED_SAY_NOT_FOUND;
    case PC_SLICE_TOO_LARGE:
        return PC_MEMCACHED_SAY_TOO_LARGE;
    default:
        return PC_MEMCACHED_SAY_NO_MEMORY;
    }
}

void pc_cache_store_fit(struct pc_slice *slice, const struct pc_key *key, struct pc_store *store,
                        uint32_t now)
{
    struct pc_value value;
    if (PC_LIKELY(!store->stale_if_older) ||
        !pc_slice_find(slice, key, now, PC_FIND_QUIET, &value) || store->cas >= value.cas) {
        return;
    }
    store->expiry = value.expiry;
    store->claimed = value.claimed;
}

void pc_cache_store_settle(struct pc_cache_op *op, struct pc_slice *slice, const struct pc_key *key,
                           const struct pc_store *store, uint32_t now)
{
    if (op->status == PC_SLICE_LATER && op->room_rounds >= pc_cache_rounds_max(op)) {
        op->status = PC_SLICE_NO_MEMORY;
        pc_slice_give_up(slice);
    }
    if (op->status == PC_SLICE_NO_MEMORY && store->mode == PC_STORE_SET && !store->compare) {
        (void)pc_slice_delete(slice, key, NULL, now);
    }
}

static void run_store(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_slice *slice = pc_owners_slice(pc_cache_of(op)->owners, place);
    const struct pc_key key = pc_cache_key(op);
    struct pc_store store = pc_cache_store_of(op);
    store.value = op->request->input.at + op->parsed.value_at;
    const uint32_t now = pc_lane_second(there);
    uint64_t cas = 0;
    if (op->room_rounds == 0) {
        (void)pc_cache_look(op, place, &key, now);
    }
    pc_cache_store_fit(slice, &key, &store, now);
    op->status = (uint8_t)pc_slice_store(slice, &key, &store, now, &cas);
    pc_cache_store_settle(op, slice, &key, &store, now);
    pc_cache_store_note(op, place, cas, now);
}

static void run_delete(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(there);
    const uint64_t bytes = pc_cache_look(op, place, &key, now);
    op->status = (uint8_t)pc_slice_delete(pc_owners_slice(cache->owners, place), &key, NULL, now);
    op->found = op->status == PC_SLICE_OK;
    if (PC_UNLIKELY(pc_cache_watched(cache) != 0) && op->found) {
        pc_cache_tell_delete(op, place, &key, bytes);
    }
    pc_cache_count(cache, place, op->found ? PC_COUNT_delete_hits : PC_COUNT_delete_misses);
}

static void run_touch(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = pc_cache_key(op);
    struct pc_value value; /* as memcached, who touches an item has read it */
    (void)pc_cache_look(op, place, &key, pc_lane_second(there));
    op->status = (uint8_t)pc_slice_touch(pc_owners_slice(cache->owners, place), &key, op->expiry,
                                         pc_lane_second(there), &value);
    op->found = op->status == PC_SLICE_OK;
    pc_cache_count(cache, place, PC_COUNT_cmd_touch);
    pc_cache_count(cache, place, op->found ? PC_COUNT_touch_hits : PC_COUNT_touch_misses);
}

static void run_count(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = pc_cache_key(op);
    const bool down = op->parsed.verb == PC_MEMCACHED_DECR;
    const struct pc_count count = {.delta = op->parsed.number, .decrement = down};
    (void)pc_cache_look(op, place, &key, pc_lane_second(there));
    op->status = (uint8_t)pc_slice_count(pc_owners_slice(cache->owners, place), &key, &count,
                                         pc_lane_second(there), &op->number, NULL);
    if (op->status == PC_SLICE_OK) {
        pc_cache_count(cache, place, down ? PC_COUNT_decr_hits : PC_COUNT_incr_hits);
    } else if (op->status == PC_SLICE_NOT_FOUND) {
        pc_cache_count(cache, place, down ? PC_COUNT_decr_misses : PC_COUNT_incr_misses);
    }
}

static enum pc_serve answer_count(struct pc_cache_op *op)
{
    char line[PC_DECIMAL_BYTES_MAX + 2];
    switch (op->status) {
    case PC_SLICE_OK:
        break;
    case PC_SLICE_NOT_FOUND:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NOT_FOUND);
    case PC_SLICE_NOT_NUMBER:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NON_NUMERIC);
    default:
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_DELTA);
    }
    if (op->parsed.quiet) {
        return PC_SERVED;
    }
    size_t bytes = pc_decimal_write(line, op->number);
    memcpy(line + bytes, "\r\n", 2);
    return pc_reply_copy(op->request, line, bytes + 2) == 0 ? PC_SERVED : PC_HANG_UP;
}

static enum pc_serve answer(struct pc_cache_op *op)
{
    switch (op->parsed.verb) {
    case PC_MEMCACHED_DELETE:
        return pc_cache_say(op, op->found ? PC_MEMCACHED_SAY_DELETED : PC_MEMCACHED_SAY_NOT_FOUND);
    case PC_MEMCACHED_TOUCH:
        return pc_cache_say(op, op->found                          ? PC_MEMCACHED_SAY_TOUCHED
                                : op->status == PC_SLICE_NOT_FOUND ? PC_MEMCACHED_SAY_NOT_FOUND
                                                                   : PC_MEMCACHED_SAY_NO_MEMORY);
    case PC_MEMCACHED_INCR:
    case PC_MEMCACHED_DECR:
        return answer_count(op);
    default:
        return pc_cache_store_say(op);
    }
}

static pc_cache_run_fn *run_of(const struct pc_cache_op *op)
{
    switch (op->parsed.verb) {
    case PC_MEMCACHED_DELETE:
        return run_delete;
    case PC_MEMCACHED_TOUCH:
        return run_touch;
    case PC_MEMCACHED_INCR:
    case PC_MEMCACHED_DECR:
        return run_count;
    default:
        return run_store;
    }
}

/* Posted to the place; what may have to be asked again keeps later requests waiting, or one of them
 * could overtake it. */
static enum pc_serve wait_for(const struct pc_cache_op *op)
{
    return op->parsed.verb == PC_MEMCACHED_APPEND || op->parsed.verb == PC_MEMCACHED_PREPEND ||
                   op->meta != NULL || op->parsed.value_bytes >= PC_SLICE_LATER_BYTES_MIN
               ? PC_AGAIN
               : PC_WAITING;
}

static enum pc_serve begin(struct pc_cache_op *op, struct pc_lane *lane)
{
    pc_cache_run_fn *run = run_of(op);
    op->stage = STAGE_ASKED;
    if (op->meta == NULL) {
        op->expiry = pc_cache_expiry(op->parsed.exptime, lane);
    }
    return pc_cache_ask_key(op, run, lane) ? PC_SERVED : wait_for(op);
}

enum pc_serve pc_cache_serve_item(struct pc_cache_op *op, struct pc_lane *lane)
{
    enum pc_serve served = PC_SERVED;
    if (op->stage == STAGE_BEGIN) {
        served = begin(op, lane);
    }
    if (served == PC_SERVED && PC_UNLIKELY(op->status == PC_SLICE_LATER)) {
        served = pc_cache_insist(op, run_store, lane);
    }
    return served == PC_SERVED ? answer(op) : served;
}

enum pc_serve pc_cache_serve_get(struct pc_cache_op *op, struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    if (op->stage == STAGE_BEGIN) {
        op->stage = STAGE_ASKED;
        op->expiry = pc_cache_expiry(op->parsed.exptime, lane);
        if (PC_LIKELY(pc_owners_enter(cache->owners, op->place, lane))) {
            enum pc_serve served;
            pc_cache_due(cache, op->place, lane);
            const bool done = get_near(op, lane, &served);
            pc_owners_leave(cache->owners, op->place);
            return done ? served : answer_get(op, lane);
        }
        const struct pc_key key = pc_cache_key(op);
        const bool reads =
            op->parsed.verb == PC_MEMCACHED_GET || op->parsed.verb == PC_MEMCACHED_GETS;
        switch (reads ? pc_cache_peek(op, op->place, &key, &pc_cache_form_get, lane)
                      : PC_CACHE_PEEK_POST) {
        case PC_CACHE_PEEK_SAID:
            return PC_SERVED;
        case PC_CACHE_PEEK_MISS:
            return pc_cache_say(op, PC_MEMCACHED_SAY_END);
        case PC_CACHE_PEEK_HANG_UP:
            return PC_HANG_UP;
        case PC_CACHE_PEEK_POST:
            break;
        }
        op->into = pc_reply_reserve(
            op->request, pc_cache_value_bytes_max(op->parsed.key_bytes, COPY_BYTES_MAX) + 5);
        if (op->into == NULL) {
            return PC_HANG_UP;
        }
        if (!pc_cache_borrow(op, run_get, lane) && !pc_cache_post(op, op->place, run_get)) {
            return PC_WAITING;
        }
    }
    return answer_get(op, lane);
}
