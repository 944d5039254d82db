/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_stats: requests that every place takes part in: flush_all and stats.
 *
 * Order    The places are asked one after the other and later requests of the connection wait, so
 *          that flush_all is a barrier within it.
 */
#include "services/cache_parts.h"

#include "protocols/decimal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* All places together, and what else the lines of `stats` are made of. */
struct totals {
    uint64_t counts[PC_COUNT_COUNT];
    struct pc_cache_read_counts reads;
    struct pc_slice_stats slices;
    struct pc_pool_stats pool;
    struct pc_choice choice;
    struct pc_runtime *runtime;
    uint64_t realtime_s;
    uint32_t now;
};

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
    struct totals *totals = op->extra;
    struct pc_slice_stats slice;
    pc_slice_stats(pc_owners_slice(cache->owners, place), pc_lane_second(there), &slice);
    add_slice(&totals->slices, &slice);
    for (unsigned i = 0; i < PC_COUNT_COUNT; i++) {
        totals->counts[i] += cache->places[place].counts[i];
    }
}

/* What the lanes read from slices of others is counted apart, since the last reset. */
static void gather_reads(const struct pc_cache *cache, struct totals *totals)
{
    struct pc_cache_read_counts sum;
    pc_cache_reads_sum(cache, &sum);
    sum.hits -= atomic_load_explicit(&cache->reads_reset[0], memory_order_relaxed);
    sum.misses -= atomic_load_explicit(&cache->reads_reset[1], memory_order_relaxed);
    sum.refusals -= atomic_load_explicit(&cache->reads_reset[2], memory_order_relaxed);
    totals->reads = sum;
    totals->counts[PC_COUNT_get_hits] += sum.hits;
    totals->counts[PC_COUNT_get_misses] += sum.misses;
    totals->counts[PC_COUNT_cmd_get] += sum.hits + sum.misses;
}

static void reset_reads(struct pc_cache *cache)
{
    struct pc_cache_read_counts sum;
    pc_cache_reads_sum(cache, &sum);
    atomic_store_explicit(&cache->reads_reset[0], sum.hits, memory_order_relaxed);
    atomic_store_explicit(&cache->reads_reset[1], sum.misses, memory_order_relaxed);
    atomic_store_explicit(&cache->reads_reset[2], sum.refusals, memory_order_relaxed);
}

static void run_reset(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    (void)there;
    pc_slice_stats_reset(pc_owners_slice(cache->owners, place));
    memset(cache->places[place].counts, 0, sizeof(cache->places[place].counts));
}

/* ---- Printing ---- */

static void say_text(struct pc_cache_op *op, const char *name, const char *value)
{
    char line[256];
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        pc_cache_binary_say_stat(op, name, value);
        return;
    }
    const int bytes = snprintf(line, sizeof(line), "STAT %s %s\r\n", name, value);
    (void)pc_reply_copy(op->request, line, pc_min_size((size_t)bytes, sizeof(line) - 1));
}

static void say_number(struct pc_cache_op *op, const char *name, uint64_t value)
{
    char text[PC_DECIMAL_BYTES_MAX + 1];
    text[pc_decimal_write(text, value)] = '\0';
    say_text(op, name, text);
}

enum special { SPECIAL_PID, SPECIAL_VERSION, SPECIAL_USER, SPECIAL_SYSTEM };

static void say_special(struct pc_cache_op *op, const char *name, enum special special)
{
    char text[64];
    struct rusage usage;
    if (special == SPECIAL_VERSION) {
        say_text(op, name, PC_CACHE_VERSION);
        return;
    }
    if (special == SPECIAL_PID) {
        say_number(op, name, (uint64_t)getpid());
        return;
    }
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return;
    }
    const struct timeval *time = special == SPECIAL_USER ? &usage.ru_utime : &usage.ru_stime;
    (void)snprintf(text, sizeof(text), "%ld.%06ld", (long)time->tv_sec, (long)time->tv_usec);
    say_text(op, name, text);
}

static void say_general(struct pc_cache_op *op, const struct totals *t)
{
    const struct pc_cache *c = pc_cache_of(op);
#define PC_CACHE_STAT(name, value)   say_number(op, #name, value);
#define PC_CACHE_TEXT(name, special) say_special(op, #name, SPECIAL_##special);
#include "services/cache_stats.def"
#undef PC_CACHE_STAT
#undef PC_CACHE_TEXT
}

static const char *yes_no(bool yes)
{
    return yes ? "yes" : "no";
}

static void say_settings(struct pc_cache_op *op, const struct totals *t)
{
    const struct pc_cache *cache = pc_cache_of(op);
    const struct pc_cache_settings *settings = &cache->settings;
    say_number(op, "maxbytes", settings->limit_bytes);
    say_number(op, "maxconns", settings->connection_count_max);
    say_number(op, "tcpport", settings->port);
    say_number(op, "udpport", 0);
    say_text(op, "inter", settings->interface != NULL ? settings->interface : "NULL");
    say_number(op, "verbosity",
               (uint64_t)atomic_load_explicit(&cache->verbosity, memory_order_relaxed));
    say_text(op, "evictions", "on");
    say_text(op, "domain_socket", settings->socket_path != NULL ? settings->socket_path : "NULL");
    say_text(op, "shutdown_command", yes_no(settings->shutdown_allowed));
    say_number(op, "num_threads", t->choice.core_count);
    say_text(op, "cas_enabled", "yes");
    say_text(op, "binding_protocol", "auto-negotiate");
    say_text(op, "auth_enabled_sasl", "no");
    say_text(op, "auth_enabled_ascii", "no");
    say_number(op, "item_size_max", settings->value_bytes_max);
    say_text(op, "flush_enabled", yes_no(!settings->flush_refused));
    say_text(op, "dump_enabled", "no");
    say_text(op, "hash_algorithm", "xxh3");
    say_text(op, "lru_maintainer_thread", "no");
    say_text(op, "ownership", cache->owners->mode->name);
    say_text(op, "model", t->choice.model);
    say_text(op, "poller", t->choice.poller);
    say_number(op, "slices", cache->owners->place_count);
    say_number(op, "segment_size", t->pool.segment_bytes);
}

/* Segments all have one size, so there is one class, numbered 1 for those who expect numbers. */
static void say_items(struct pc_cache_op *op, const struct totals *t)
{
    if (t->slices.item_count == 0) {
        return;
    }
    say_number(op, "items:1:number", t->slices.item_count);
    say_number(op, "items:1:age", t->slices.oldest_age_seconds);
    say_number(op, "items:1:mem_requested", t->slices.item_bytes);
    say_number(op, "items:1:evicted", t->slices.evicted);
    say_number(op, "items:1:evicted_nonzero", t->slices.evicted_with_expiry);
    say_number(op, "items:1:evicted_time", t->slices.eviction_age_seconds);
    say_number(op, "items:1:outofmemory", t->slices.no_memory);
    say_number(op, "items:1:reclaimed", t->slices.expired);
    say_number(op, "items:1:expired_unfetched", t->slices.expired_unfetched);
    say_number(op, "items:1:evicted_unfetched", t->slices.evicted_unfetched);
    say_number(op, "items:1:crawler_reclaimed", t->slices.reclaimed);
}

static void say_slabs(struct pc_cache_op *op, const struct totals *t)
{
    say_number(op, "1:chunk_size", t->pool.segment_bytes);
    say_number(op, "1:chunks_per_page", 1);
    say_number(op, "1:total_pages", t->pool.segment_count + t->pool.free_count);
    say_number(op, "1:total_chunks", t->pool.segment_count + t->pool.free_count);
    say_number(op, "1:used_chunks", t->pool.segment_count);
    say_number(op, "1:free_chunks", t->pool.free_count);
    say_number(op, "1:free_chunks_end", 0);
    say_number(op, "1:get_hits", t->counts[PC_COUNT_get_hits]);
    say_number(op, "1:cmd_set", t->counts[PC_COUNT_cmd_set]);
    say_number(op, "1:delete_hits", t->counts[PC_COUNT_delete_hits]);
    say_number(op, "1:incr_hits", t->counts[PC_COUNT_incr_hits]);
    say_number(op, "1:decr_hits", t->counts[PC_COUNT_decr_hits]);
    say_number(op, "1:cas_hits", t->counts[PC_COUNT_cas_hits]);
    say_number(op, "1:cas_badval", t->counts[PC_COUNT_cas_badval]);
    say_number(op, "1:touch_hits", t->counts[PC_COUNT_touch_hits]);
    say_number(op, "active_slabs", 1);
    say_number(op, "total_malloced", t->pool.used_bytes);
}

static void say_sizes(struct pc_cache_op *op, const struct totals *t)
{
    (void)t;
    say_text(op, "sizes_status", "disabled");
}

static void say_none(struct pc_cache_op *op, const struct totals *t)
{
    (void)op;
    (void)t;
}

/* ---- Serving ---- */

/* What may follow `stats`. */
struct topic {
    const char *word;
    void (*say)(struct pc_cache_op *op, const struct totals *totals);
};

static const struct topic topics[] = {
    {"", say_general},    {"settings", say_settings}, {"items", say_items},
    {"slabs", say_slabs}, {"sizes", say_sizes},       {"conns", say_none},
};

enum { STAGE_BEGIN, STAGE_GATHER, STAGE_RESET, STAGE_HOT };

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
    if (topic_of(word) == NULL) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_ERROR);
    }
    op->extra = pc_request_extra(op->request, sizeof(struct totals));
    if (op->extra == NULL) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_STATS);
    }
    memset(op->extra, 0, sizeof(struct totals));
    op->stage = STAGE_GATHER;
    return PC_AGAIN;
}

static enum pc_serve gather(struct pc_cache_op *op, struct pc_view word, struct pc_lane *lane)
{
    if (!pc_cache_ask_all(op, run_gather, lane)) {
        return PC_AGAIN;
    }
    struct totals *totals = op->extra;
    gather_reads(pc_cache_of(op), totals);
    totals->runtime = pc_lane_runtime(lane);
    totals->realtime_s = pc_lane_realtime_s(lane);
    totals->now = pc_lane_second(lane);
    pc_runtime_choice(totals->runtime, &totals->choice);
    pc_pool_stats(pc_cache_of(op)->owners->pool, &totals->pool);
    topic_of(word)->say(op, totals);
    return pc_cache_say(op, PC_MEMCACHED_SAY_END);
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
        return pc_cache_say(op, PC_MEMCACHED_SAY_RESET);
    case STAGE_HOT:
        return pc_cache_serve_hot(op, lane);
    default:
        return gather(op, word, lane);
    }
}
