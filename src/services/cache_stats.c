/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_stats: requests that every place takes part in: flush_all and stats.
 *
 * Order    The places are asked one after the other and later requests of the connection wait, so
 *          that flush_all is a barrier within it.
 */
#include "services/cache_totals.h"

#include "protocols/decimal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- flush_all ---- */

static void run_flush(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    const uint32_t now = pc_lane_second(there);
    if (place == 0) {
        pc_cache_count(cache, place, PC_COUNT_cmd_flush);
    }
    if (op->expiry <= now) {
        pc_slice_flush(pc_owners_slice(cache->owners, place), now);
    }
    atomic_store_explicit(&cache->places[place].flush_second, op->expiry > now ? op->expiry : 0,
                          memory_order_release);
}

enum pc_serve pc_cache_serve_flush(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (pc_cache_of(op)->settings.flush_refused) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_FLUSH_REFUSED);
    }
    op->expiry = pc_cache_expiry(op->parsed.exptime, lane);
    return pc_cache_ask_all(op, run_flush, lane) ? pc_cache_say(op, PC_MEMCACHED_SAY_OK) : PC_AGAIN;
}

/* ---- Gathering ---- */

static void add_slice(struct pc_slice_stats *sum, const struct pc_slice_stats *one)
{
    sum->item_count += one->item_count;
    sum->item_bytes += one->item_bytes;
    sum->index_bytes += one->index_bytes;
    sum->segment_count += one->segment_count;
    sum->stored_total += one->stored_total;
    sum->evicted += one->evicted;
    sum->evicted_unfetched += one->evicted_unfetched;
    sum->evicted_with_expiry += one->evicted_with_expiry;
    sum->expired += one->expired;
    sum->expired_unfetched += one->expired_unfetched;
    sum->reclaimed += one->reclaimed;
    sum->flushed += one->flushed;
    sum->moved += one->moved;
    sum->too_large += one->too_large;
    sum->no_memory += one->no_memory;
    sum->hold_refused += one->hold_refused;
    sum->evicted_active += one->evicted_active;
    sum->forced += one->forced;
    sum->checked += one->checked;
    sum->found_expired += one->found_expired;
    sum->item_room += one->item_room;
    sum->found_flushed += one->found_flushed;
    if (one->eviction_age_seconds > sum->eviction_age_seconds) {
        sum->eviction_age_seconds = one->eviction_age_seconds;
    }
    if (one->oldest_age_seconds > sum->oldest_age_seconds) {
        sum->oldest_age_seconds = one->oldest_age_seconds;
    }
}

static void run_gather(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    const struct pc_cache *cache = pc_cache_of(op);
    struct pc_cache_totals *totals = op->extra;
    struct pc_slice_stats slice;
    pc_slice_stats(pc_owners_slice(cache->owners, place), pc_lane_second(there), &slice);
    add_slice(&totals->slices, &slice);
    totals->crawls += cache->places[place].crawls;
    for (unsigned i = 0; i < PC_COUNT_COUNT; i++) {
        totals->counts[i] += cache->places[place].counts[i];
    }
}

/* What the lanes read from slices of others is counted apart, since the last reset. */
static void gather_reads(const struct pc_cache *cache, struct pc_cache_totals *totals)
{
    struct pc_cache_read_counts sum;
    pc_cache_reads_sum(cache, &sum);
    sum.hits -= atomic_load_explicit(&cache->reads_reset[0], memory_order_relaxed);
    sum.misses -= atomic_load_explicit(&cache->reads_reset[1], memory_order_relaxed);
    sum.refusals -= atomic_load_explicit(&cache->reads_reset[2], memory_order_relaxed);
    sum.metas -= atomic_load_explicit(&cache->reads_reset[3], memory_order_relaxed);
    totals->reads = sum;
    totals->counts[PC_COUNT_get_hits] += sum.hits;
    totals->counts[PC_COUNT_get_misses] += sum.misses;
    totals->counts[PC_COUNT_cmd_meta] += sum.metas;
    totals->counts[PC_COUNT_cmd_get] += sum.hits + sum.misses;
}

static void reset_reads(struct pc_cache *cache)
{
    struct pc_cache_read_counts sum;
    pc_cache_reads_sum(cache, &sum);
    atomic_store_explicit(&cache->reads_reset[0], sum.hits, memory_order_relaxed);
    atomic_store_explicit(&cache->reads_reset[1], sum.misses, memory_order_relaxed);
    atomic_store_explicit(&cache->reads_reset[2], sum.refusals, memory_order_relaxed);
    atomic_store_explicit(&cache->reads_reset[3], sum.metas, memory_order_relaxed);
    pc_cache_hot_forget(cache);
}

static void run_reset(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    (void)there;
    pc_slice_stats_reset(pc_owners_slice(cache->owners, place));
    memset(cache->places[place].counts, 0, sizeof(cache->places[place].counts));
}

/* ---- Printing ---- */

void pc_cache_say_text(struct pc_cache_op *op, const char *name, const char *value)
{
    char line[256];
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        pc_cache_binary_say_stat(op, name, value);
        return;
    }
    const int bytes = snprintf(line, sizeof(line), "STAT %s %s\r\n", name, value);
    (void)pc_reply_copy(op->request, line, pc_min_size((size_t)bytes, sizeof(line) - 1));
}

void pc_cache_say_number(struct pc_cache_op *op, const char *name, uint64_t value)
{
    char text[PC_DECIMAL_BYTES_MAX + 1];
    text[pc_decimal_write(text, value)] = '\0';
    pc_cache_say_text(op, name, text);
}

enum special { SPECIAL_PID, SPECIAL_VERSION, SPECIAL_NONE, SPECIAL_USER, SPECIAL_SYSTEM };

static void say_special(struct pc_cache_op *op, const char *name, enum special special)
{
    char text[64];
    struct rusage usage;
    if (special == SPECIAL_VERSION) {
        pc_cache_say_text(op, name, PC_CACHE_VERSION);
        return;
    }
    if (special == SPECIAL_NONE) {
        pc_cache_say_text(op, name, "none");
        return;
    }
    if (special == SPECIAL_PID) {
        pc_cache_say_number(op, name, (uint64_t)getpid());
        return;
    }
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return;
    }
    const struct timeval *time = special == SPECIAL_USER ? &usage.ru_utime : &usage.ru_stime;
    (void)snprintf(text, sizeof(text), "%ld.%06ld", (long)time->tv_sec, (long)time->tv_usec);
    pc_cache_say_text(op, name, text);
}

/* The largest power of two that fits. */
static uint64_t power_of(uint64_t count)
{
    return count == 0 ? 0 : 63 - (uint64_t)__builtin_clzll(count);
}

static void say_general(struct pc_cache_op *op, const struct pc_cache_totals *t)
{
    const struct pc_cache *c = pc_cache_of(op);
#define PC_CACHE_STAT(name, value)   pc_cache_say_number(op, #name, value);
#define PC_CACHE_TEXT(name, special) say_special(op, #name, SPECIAL_##special);
#include "services/cache_stats.def"
#undef PC_CACHE_STAT
#undef PC_CACHE_TEXT
}

/* ---- Serving ---- */

/* What may follow `stats`. */
struct topic {
    const char *word;
    void (*say)(struct pc_cache_op *op, const struct pc_cache_totals *totals);
};

static const struct topic topics[] = {
    {"", say_general},
    {"settings", pc_cache_say_settings},
    {"items", pc_cache_say_items},
    {"slabs", pc_cache_say_slabs},
    {"sizes", pc_cache_say_sizes},
};

enum { STAGE_BEGIN, STAGE_GATHER, STAGE_RESET, STAGE_HOT, STAGE_CONNS };

/* The first word after `stats`, without the spaces around it. */
static struct pc_view topic_word(const struct pc_cache_op *op)
{
    const uint8_t *at = op->request->input.at + op->parsed.words_at;
    const uint8_t *const end = at + op->parsed.words_bytes;
    while (at < end && *at == ' ') {
        at++;
    }
    const uint8_t *stop = at;
    while (stop < end && *stop != ' ') {
        stop++;
    }
    return (struct pc_view){at, (size_t)(stop - at)};
}

static bool word_is(struct pc_view word, const char *text)
{
    return word.count == strlen(text) && memcmp(word.at, text, word.count) == 0;
}

static const struct topic *topic_of(struct pc_view word)
{
    for (size_t i = 0; i < PC_COUNT_OF(topics); i++) {
        if (word_is(word, topics[i].word)) {
            return &topics[i];
        }
    }
    return NULL;
}

static enum pc_serve begin(struct pc_cache_op *op, struct pc_view word)
{
    if (word_is(word, "reset")) {
        op->stage = STAGE_RESET;
        return PC_AGAIN;
    }
    if (word_is(word, "hotkeys")) {
        op->stage = STAGE_HOT;
        return pc_cache_hot_begin(op) ? PC_AGAIN
                                      : pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_STATS);
    }
    if (word_is(word, "detail")) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_DETAIL_REFUSED);
    }
    if (word_is(word, "cachedump")) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_DUMP_REFUSED);
    }
    const bool conns = word_is(word, "conns");
    if (topic_of(word) == NULL && !conns) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_ERROR);
    }
    op->extra = pc_request_extra(op->request, sizeof(struct pc_cache_totals));
    if (op->extra == NULL) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_STATS);
    }
    memset(op->extra, 0, sizeof(struct pc_cache_totals));
    op->stage = conns ? STAGE_CONNS : STAGE_GATHER;
    return PC_AGAIN;
}

static enum pc_serve gather(struct pc_cache_op *op, struct pc_view word, struct pc_lane *lane)
{
    if (!pc_cache_ask_all(op, run_gather, lane)) {
        return PC_AGAIN;
    }
    struct pc_cache_totals *totals = op->extra;
    gather_reads(pc_cache_of(op), totals);
    totals->runtime = pc_lane_runtime(lane);
    totals->realtime_s = pc_lane_realtime_s(lane);
    totals->now = pc_lane_second(lane);
    pc_runtime_choice(totals->runtime, &totals->choice);
    pc_pool_stats(pc_cache_of(op)->owners->pool, &totals->pool);
    pc_cache_watch_sum(pc_cache_of(op)->watch, &totals->watch);
    topic_of(word)->say(op, totals);
    return pc_cache_say(op, PC_MEMCACHED_SAY_END);
}

static enum pc_serve serve_conns(struct pc_cache_op *op)
{
    if (pc_cache_say_conns(op)) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_END);
    }
    pc_request_pause(op->request, 0);
    return PC_AGAIN;
}

enum pc_serve pc_cache_serve_stats(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct pc_view word = topic_word(op);
    switch (op->stage) {
    case STAGE_BEGIN:
        return begin(op, word);
    case STAGE_RESET:
        if (!pc_cache_ask_all(op, run_reset, lane)) {
            return PC_AGAIN;
        }
        reset_reads(pc_cache_of(op));
        pc_cache_watch_reset(pc_cache_of(op)->watch);
        return pc_cache_say(op, PC_MEMCACHED_SAY_RESET);
    case STAGE_HOT:
        return pc_cache_serve_hot(op, lane);
    case STAGE_CONNS:
        return serve_conns(op);
    default:
        return gather(op, word, lane);
    }
}
