/* SPDX-License-Identifier: Apache-2.0 */
/* cache_meta: mg, ms, md, ma and me: one key, flags that say what to do and what to tell. */
#include "services/cache_parts.h"

#include "protocols/decimal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STAGE_BEGIN, STAGE_ASKED };

/* A value up to this is copied into the request's extra block by whoever is in the slice. */
enum { COPY_BYTES_MAX = 512 };

/* What of an item each command may tell; `k` and `O` are the client's own. */
static const char told_of_get[] = "stcflhkO";
static const char told_of_store[] = "kOcs";
static const char told_of_count[] = "ctkO";
static const char told_of_none[] = "kO";

static int64_t ttl_of(uint32_t expiry, uint32_t now)
{
    return expiry == 0 ? -1 : (int64_t)expiry - (int64_t)now;
}

static struct pc_memcached_facts facts_of(const struct pc_value *value, uint32_t now)
{
    return (struct pc_memcached_facts){
        .value_bytes = value->value_bytes,
        .cas = value->cas,
        .flags = value->flags,
        .idle_seconds = now > value->accessed ? now - value->accessed : 0,
        .ttl_seconds = ttl_of(value->expiry, now),
        .fetched = value->fetched,
        .stale = value->stale,
        .claimed = value->claimed,
    };
}

static enum pc_serve say_line(struct pc_cache_op *op, const char *status, const char *told,
                              const struct pc_memcached_facts *facts)
{
    char line[PC_MEMCACHED_META_LINE_BYTES_MAX];
    const size_t bytes = pc_memcached_meta_line(line, status, told, op->request->input.at,
                                                &op->parsed, &op->meta->parsed, facts);
    return pc_reply_copy(op->request, line, bytes) == 0 ? PC_SERVED : PC_HANG_UP;
}

/* ---- mg ---- */

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
        op->hold = pc_cache_hold_take(cache, place, value);
        op->no_memory = op->hold == NULL;
        return;
    }
    uint8_t *at = op->meta->copy;
    do {
        memcpy(at, value->at, value->piece_bytes);
        at += value->piece_bytes;
    } while (value->left_bytes > 0 && pc_value_next(cache->owners->pool, value));
}

/* Of the text protocol; the binary one asks the same questions.  In the slice. */
static void count_meta(struct pc_cache_op *op, unsigned place)
{
    if (op->parsed.verb != PC_MEMCACHED_BINARY) {
        pc_cache_count(pc_cache_of(op), place, PC_COUNT_cmd_meta);
    }
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

/* `h` and `l` tell of earlier reads, which peeks do not write. */
static bool tells_reads(const struct pc_cache_op *op)
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
    if (PC_UNLIKELY(tells_reads(op))) {
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
    op->meta->facts.ttl_seconds = ttl_of(walk.told, now);
    op->meta->facts.won = won;
    op->meta->tells_value = meta->wants_value && !(meta->has_cas && meta->cas == value.cas);
    if (op->meta->tells_value) {
        take_value(op, place, &value);
    }
}

/* A plain mg in a slice of our own: found, printed and committed in one go. False: not there, or
 * there is more to it, and the long way is taken. */
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

static bool mg_entered(struct pc_cache_op *op, struct pc_lane *lane, enum pc_serve *out_served)
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

static enum pc_serve answer_mg(struct pc_cache_op *op)
{
    struct pc_cache_meta *meta = op->meta;
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
           !meta->recaches && !tells_reads(op);
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
                                             .ttl_seconds = ttl_of(peeked->expiry, now),
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

/* Mode letters and what they store as; false: none of them. */
static bool store_mode(char letter, enum pc_store_mode *out)
{
    switch (letter) {
    case 0:
    case 'S':
        *out = PC_STORE_SET;
        return true;
    case 'E':
        *out = PC_STORE_ADD;
        return true;
    case 'A':
        *out = PC_STORE_APPEND;
        return true;
    case 'P':
        *out = PC_STORE_PREPEND;
        return true;
    case 'R':
        *out = PC_STORE_REPLACE;
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
    (void)store_mode(meta->mode, &mode); /* checked when the request began */
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
    count_meta(op, place);
    op->status = (uint8_t)pc_slice_delete(pc_owners_slice(cache->owners, place), &key, &how,
                                          pc_lane_second(there));
    if (op->status != PC_SLICE_OK) {
        pc_cache_count(cache, place, PC_COUNT_delete_misses);
    } else if (!meta->stale) {
        pc_cache_count(cache, place, PC_COUNT_delete_hits);
    }
}

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

static bool count_mode(char letter, bool *out_decrement)
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
    (void)count_mode(meta->mode, &count.decrement); /* checked when the request began */
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
    struct pc_value value;
    if (pc_slice_find(slice, &key, now, PC_FIND_QUIET, &value)) {
        op->meta->facts = facts_of(&value, now);
    }
    if (meta->vivifies || meta->sets_expiry) {
        op->meta->facts.ttl_seconds = ttl_of(walk.told, now);
    }
    op->meta->facts.cas = cas;
    op->meta->facts.claimed = op->meta->facts.stale = false; /* ma does not tell */
}

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

static void run_me(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    const struct pc_key key = pc_cache_key(op);
    const uint32_t now = pc_lane_second(there);
    struct pc_value value;
    pc_owners_notes_take(pc_cache_of(op)->owners, place, now);
    count_meta(op, place);
    op->found = pc_slice_find(pc_owners_slice(pc_cache_of(op)->owners, place), &key, now,
                              PC_FIND_QUIET, &value);
    if (op->found) {
        op->meta->facts = facts_of(&value, now);
    }
}

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
        return meta->refusal == 0 && !store_mode(meta->mode, &mode)
                   ? PC_MEMCACHED_SAY_BAD_STORE_MODE
                   : meta->refusal;
    case PC_MEMCACHED_MA:
        if (meta->refusal != 0) {
            return PC_MEMCACHED_SAY_BAD_OR_TWICE;
        }
        return count_mode(meta->mode, &decrement) ? PC_MEMCACHED_SAY_NOTHING
                                                  : PC_MEMCACHED_SAY_BAD_COUNT_MODE;
    default:
        return meta->refusal;
    }
}

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

static enum pc_serve answer(struct pc_cache_op *op)
{
    switch (op->parsed.verb) {
    case PC_MEMCACHED_MG:
        return answer_mg(op);
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
        return run_me;
    }
}

enum pc_serve pc_cache_serve_meta(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (op->meta == NULL) {
        enum pc_serve served;
        if (op->parsed.plain && mg_entered(op, lane, &served)) {
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
    return answer(op);
}
