/* SPDX-License-Identifier: Apache-2.0 */
/* cache_meta_run: what meta and binary requests do in a slice: find, store, delete, count, look. */
#include "services/cache_parts.h"

#include <string.h>

/* A value up to this is copied into the request's extra block by whoever is in the slice. */
enum { COPY_BYTES_MAX = 512 };

struct pc_cache_meta *pc_cache_meta_open(struct pc_cache_op *op)
{
    const size_t body_bytes = op->parsed.value_follows ? PC_CACHE_BODY_BYTES : 0;
    struct pc_cache_meta *meta =
        pc_request_extra(op->request, sizeof(*meta) + pc_max_size(body_bytes, COPY_BYTES_MAX));
    if (meta != NULL) {
        op->meta = meta;
        meta->facts = (struct pc_memcached_facts){0};
        meta->tells_value = false;
    }
    return meta;
}

static struct pc_memcached_facts facts_of(const struct pc_value *value, uint32_t now)
{
    return (struct pc_memcached_facts){
        .value_bytes = value->value_bytes,
        .cas = value->cas,
        .flags = value->flags,
        .idle_seconds = now > value->accessed ? now - value->accessed : 0,
        .ttl_seconds = pc_cache_ttl(value->expiry, now),
        .fetched = value->fetched,
        .stale = value->stale,
        .claimed = value->claimed,
    };
}

/* Of the text protocol; the binary one asks the same questions.  In the slice. */
static void count_meta(struct pc_cache_op *op, unsigned place)
{
    if (op->parsed.verb != PC_MEMCACHED_BINARY) {
        pc_cache_count(pc_cache_of(op), place, PC_COUNT_cmd_meta);
    }
}

/* ---- Get ---- */

/* What T, N, R and t make of an expiry: they take effect in the order they are written. */
struct expiry_walk {
    uint32_t expiry; /* in the end */
    uint32_t told;   /* by t */
    bool wins;       /* by R */
};

static struct expiry_walk walk_expiry(const struct pc_cache_op *op, uint32_t expiry, bool created)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    struct expiry_walk walk = {created ? 0 : expiry, 0, false};
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        walk.expiry = created ? op->meta->vivify_expiry : expiry;
        return walk;
    }
    for (unsigned i = 0; i < meta->flag_count; i++) {
        switch (op->request->input.at[meta->flags[i].at]) {
        case 'T':
            walk.expiry = op->expiry;
            break;
        case 'N':
            walk.expiry = created ? op->meta->vivify_expiry : walk.expiry;
            break;
        case 'R':
            walk.wins |= !created && walk.expiry != 0 && walk.expiry < op->meta->recache_expiry;
            break;
        case 't':
            walk.told = walk.expiry;
            break;
        default:
            break;
        }
    }
    return walk;
}

/* A key that is not there becomes an empty item which whoever asked is to fill. */
static bool vivify(struct pc_cache_op *op, struct pc_slice *slice, const struct pc_key *key,
                   uint32_t now, struct pc_value *out_value)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    const struct pc_store store = {.mode = PC_STORE_ADD,
                                   .expiry = walk_expiry(op, 0, true).expiry,
                                   .cas_new = meta->has_cas_new ? meta->cas_new : 0,
                                   .claimed = true,
                                   .value = ""};
    uint64_t cas;
    if (pc_slice_store(slice, key, &store, now, &cas) != PC_SLICE_OK) {
        return false;
    }
    struct pc_value made;
    if (!meta->no_update) {
        (void)pc_slice_find(slice, key, now, PC_FIND_HIT,
                            &made); /* to be asked for is to be read */
    }
    *out_value = (struct pc_value){
        .at = (const uint8_t *)"", .cas = cas, .expiry = store.expiry, .accessed = now};
    return true;
}

static void take_value(struct pc_cache_op *op, unsigned place, struct pc_value *value)
{
    struct pc_cache *cache = pc_cache_of(op);
    if (value->value_bytes > COPY_BYTES_MAX) {
        pc_cache_hold_for(op, place, value);
        return;
    }
    uint8_t *at = op->meta->copy;
    do {
        memcpy(at, value->at, value->piece_bytes);
        at += value->piece_bytes;
    } while (value->left_bytes > 0 && pc_value_next(cache->owners->pool, value));
}

static bool mg_find(struct pc_cache_op *op, unsigned place, const struct pc_key *key, uint32_t now,
                    struct pc_value *out_value)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct pc_slice *slice = pc_owners_slice(cache->owners, place);
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    if (meta->sets_expiry) {
        const bool found = pc_slice_touch(slice, key, op->expiry, now, out_value) == PC_SLICE_OK;
        pc_cache_count(cache, place, PC_COUNT_cmd_touch);
        pc_cache_count(cache, place, found ? PC_COUNT_touch_hits : PC_COUNT_touch_misses);
        return found;
    }
    const bool quiet = meta->no_update || op->marked;
    const bool found =
        pc_slice_find(slice, key, now, quiet ? PC_FIND_QUIET : PC_FIND_HIT, out_value);
    pc_cache_count(cache, place, PC_COUNT_cmd_get);
    pc_cache_count(cache, place, found ? PC_COUNT_get_hits : PC_COUNT_get_misses);
    return found;
}

/* The expiry before T changes it; what there is to know for R and t in front of T. */
static uint32_t expiry_before(struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                              bool *out_found)
{
    struct pc_value value;
    *out_found = pc_slice_find(slice, key, now, PC_FIND_QUIET, &value);
    return *out_found ? value.expiry : 0;
}

bool pc_cache_meta_tells_reads(const struct pc_cache_op *op)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    for (unsigned i = 0; i < meta->flag_count; i++) {
        const uint8_t flag = op->request->input.at[meta->flags[i].at];
        if (flag == 'h' || flag == 'l') {
            return true;
        }
    }
    return false;
}

void pc_cache_meta_run_get(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_slice *slice = pc_owners_slice(pc_cache_of(op)->owners, place);
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(there);
    struct pc_value value;
    uint32_t before = 0;
    bool was_there, created = false;
    (void)pc_cache_look(op, place, &key, now);
    if (PC_UNLIKELY(pc_cache_meta_tells_reads(op))) {
        pc_owners_notes_take(pc_cache_of(op)->owners, place, now);
    }
    if (meta->sets_expiry) {
        before = expiry_before(slice, &key, now, &was_there);
    }
    count_meta(op, place);
    op->found = mg_find(op, place, &key, now, &value);
    if (!op->found && meta->vivifies) {
        created = op->found = vivify(op, slice, &key, now, &value);
        op->no_memory = !created;
    }
    if (!op->found) {
        return;
    }
    const struct expiry_walk walk =
        walk_expiry(op, meta->sets_expiry ? before : value.expiry, created);
    bool won = created;
    if (!value.claimed && !created && (value.stale || walk.wins)) {
        won = true;
        (void)pc_slice_claim(slice, &key, now); /* T may just have ended it: nobody else can win */
    }
    op->meta->facts = facts_of(&value, now);
    op->meta->facts.ttl_seconds = pc_cache_ttl(walk.told, now);
    op->meta->facts.won = won;
    op->meta->tells_value = meta->wants_value && !(meta->has_cas && meta->cas == value.cas);
    if (op->meta->tells_value) {
        take_value(op, place, &value);
    }
}

static bool mg_near(struct pc_cache_op *op, struct pc_lane *lane, enum pc_serve *out_served)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_memcached_request *parsed = &op->parsed;
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(lane);
    struct pc_value value;
    op->marked = true;
    if (!pc_slice_find(pc_owners_slice(cache->owners, op->place), &key, now, PC_FIND_HIT, &value) ||
        PC_UNLIKELY(value.stale || value.claimed || value.value_bytes >= PC_VALUE_HOLD_BYTES)) {
        return false;
    }
    count_meta(op, op->place);
    pc_cache_count(cache, op->place, PC_COUNT_cmd_get);
    pc_cache_count(cache, op->place, PC_COUNT_get_hits);
    if (PC_UNLIKELY(pc_cache_watched(cache) != 0)) {
        pc_cache_tell_read(op, op->place, &key, true, value.value_bytes);
    }
    const size_t value_bytes = parsed->wants_value ? (size_t)value.value_bytes + 2 : 0;
    uint8_t *into = pc_reply_reserve(op->request, PC_MEMCACHED_META_LINE_BYTES_MAX -
                                                      PC_BASE64_BYTES(PC_MEMCACHED_KEY_BYTES_MAX) +
                                                      key.bytes + value_bytes);
    if (PC_UNLIKELY(into == NULL)) {
        *out_served = PC_HANG_UP;
        return true;
    }
    const struct pc_memcached_facts facts = facts_of(&value, now);
    uint8_t *at = into;
    at += pc_memcached_meta_plain_line((char *)at, op->request->input.at, parsed, &facts);
    if (parsed->wants_value) {
        do {
            memcpy(at, value.at, value.piece_bytes);
            at += value.piece_bytes;
        } while (PC_UNLIKELY(value.left_bytes > 0) && pc_value_next(cache->owners->pool, &value));
        memcpy(at, "\r\n", 2);
        at += 2;
    }
    pc_reply_commit(op->request, (size_t)(at - into));
    *out_served = PC_SERVED;
    return true;
}

bool pc_cache_meta_near(struct pc_cache_op *op, struct pc_lane *lane, enum pc_serve *out_served)
{
    struct pc_cache *cache = pc_cache_of(op);
    if (!pc_owners_enter(cache->owners, op->place, lane)) {
        return false;
    }
    pc_cache_due(cache, op->place, lane);
    const bool done = mg_near(op, lane, out_served);
    pc_owners_leave(cache->owners, op->place);
    return done;
}

/* ---- Store ---- */

bool pc_cache_meta_store_mode(char letter, enum pc_store_mode *out_mode)
{
    switch (letter) {
    case 0:
    case 'S':
        *out_mode = PC_STORE_SET;
        return true;
    case 'E':
        *out_mode = PC_STORE_ADD;
        return true;
    case 'A':
        *out_mode = PC_STORE_APPEND;
        return true;
    case 'P':
        *out_mode = PC_STORE_PREPEND;
        return true;
    case 'R':
        *out_mode = PC_STORE_REPLACE;
        return true;
    default:
        return false;
    }
}

static bool extends(enum pc_store_mode mode)
{
    return mode == PC_STORE_APPEND || mode == PC_STORE_PREPEND;
}

struct pc_store pc_cache_meta_store(const struct pc_cache_op *op)
{
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    enum pc_store_mode mode = PC_STORE_SET;
    (void)pc_cache_meta_store_mode(meta->mode, &mode); /* checked when the request began */
    const bool compare = meta->has_cas && mode != PC_STORE_ADD;
    return (struct pc_store){
        .mode = compare && mode == PC_STORE_REPLACE ? PC_STORE_SET : mode,
        .flags = meta->client_flags,
        .expiry = extends(mode) ? op->meta->vivify_expiry : op->expiry,
        .compare = compare,
        .cas = meta->cas,
        .cas_new = meta->has_cas_new ? meta->cas_new : 0,
        .stale_if_older = compare && meta->stale && !extends(mode),
        .create = meta->vivifies && extends(mode),
        .value_bytes = op->parsed.value_bytes,
    };
}

void pc_cache_meta_stored(struct pc_cache_op *op, unsigned place, uint64_t cas, uint32_t now)
{
    struct pc_value value;
    const struct pc_key key = pc_cache_key(op);
    op->meta->facts = (struct pc_memcached_facts){.value_bytes = op->parsed.value_bytes};
    count_meta(op, place);
    if (op->status != PC_SLICE_OK) {
        return;
    }
    op->meta->facts.cas = cas;
    if (extends(pc_cache_meta_store(op).mode) &&
        pc_slice_find(pc_owners_slice(pc_cache_of(op)->owners, place), &key, now, PC_FIND_QUIET,
                      &value)) {
        op->meta->facts.value_bytes = value.value_bytes;
    }
}

/* ---- Delete ---- */

void pc_cache_meta_run_delete(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    const struct pc_key key = pc_cache_key(op);
    const struct pc_delete how = {.compare = meta->has_cas,
                                  .cas = meta->cas,
                                  .mark_stale = meta->stale,
                                  .keep_key = meta->remove_value,
                                  .expiry_set = meta->sets_expiry,
                                  .expiry = op->expiry,
                                  .cas_new = meta->has_cas_new ? meta->cas_new : 0};
    const uint32_t now = pc_lane_second(there);
    const uint64_t bytes = pc_cache_look(op, place, &key, now);
    count_meta(op, place);
    op->status = (uint8_t)pc_slice_delete(pc_owners_slice(cache->owners, place), &key, &how, now);
    if (op->status != PC_SLICE_OK) {
        pc_cache_count(cache, place, PC_COUNT_delete_misses);
    } else if (!meta->stale) {
        pc_cache_count(cache, place, PC_COUNT_delete_hits);
        if (PC_UNLIKELY(pc_cache_watched(cache) != 0)) {
            pc_cache_tell_delete(op, place, &key, bytes);
        }
    }
}

/* ---- Count ---- */

bool pc_cache_meta_count_mode(char letter, bool *out_decrement)
{
    *out_decrement = letter == 'D' || letter == '-';
    return letter == 0 || letter == 'I' || letter == '+' || *out_decrement;
}

void pc_cache_meta_run_count(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct pc_slice *slice = pc_owners_slice(cache->owners, place);
    const struct pc_memcached_meta *meta = &op->meta->parsed;
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(there);
    bool was_there = true;
    uint32_t before = 0;
    (void)pc_cache_look(op, place, &key, now);
    if (meta->vivifies || meta->sets_expiry) {
        before = expiry_before(slice, &key, now, &was_there);
    }
    const struct expiry_walk walk = walk_expiry(op, before, !was_there);
    struct pc_count count = {.delta = meta->delta,
                             .compare = meta->has_cas,
                             .cas = meta->cas,
                             .cas_new = meta->has_cas_new ? meta->cas_new : 0,
                             .create = meta->vivifies,
                             .initial = meta->initial,
                             .expiry = walk.expiry,
                             .expiry_set = meta->sets_expiry};
    (void)pc_cache_meta_count_mode(meta->mode,
                                   &count.decrement); /* checked when the request began */
    count_meta(op, place);
    uint64_t cas = 0;
    op->status = (uint8_t)pc_slice_count(slice, &key, &count, now, &op->number, &cas);
    if (op->status == PC_SLICE_NOT_FOUND) {
        pc_cache_count(cache, place, count.decrement ? PC_COUNT_decr_misses : PC_COUNT_incr_misses);
    }
    if (op->status != PC_SLICE_OK) {
        return;
    }
    pc_cache_count(cache, place, count.decrement ? PC_COUNT_decr_hits : PC_COUNT_incr_hits);
    if (PC_UNLIKELY(pc_cache_watched(cache) != 0) && !was_there) {
        pc_cache_tell_made(op, place, &key, walk.expiry, now);
    }
    struct pc_value value;
    if (pc_slice_find(slice, &key, now, PC_FIND_QUIET, &value)) {
        op->meta->facts = facts_of(&value, now);
    }
    if (meta->vivifies || meta->sets_expiry) {
        op->meta->facts.ttl_seconds = pc_cache_ttl(walk.told, now);
    }
    op->meta->facts.cas = cas;
    op->meta->facts.claimed = op->meta->facts.stale = false; /* ma does not tell */
}

/* ---- Look ---- */

void pc_cache_meta_run_look(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(there);
    struct pc_value value;
    (void)pc_cache_look(op, place, &key, now);
    pc_owners_notes_take(pc_cache_of(op)->owners, place, now);
    count_meta(op, place);
    op->found = pc_slice_find(pc_owners_slice(pc_cache_of(op)->owners, place), &key, now,
                              PC_FIND_QUIET, &value);
    if (op->found) {
        op->meta->facts = facts_of(&value, now);
    }
}
