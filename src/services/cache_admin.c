/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_admin: the commands of administrators: cache_memlimit, lru, lru_crawler, slabs.
 *
 * memcached's tuning of its LRU, its crawler and its slab classes has no counterpart here: what is
 * set is checked as memcached checks it, kept, and told back by `stats settings`.
 */
#include "services/cache_parts.h"

#include "protocols/decimal.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORDS_MAX = 6,
    CLASS_LAST = 63, /* memcached's class ids are 1 to 63; all but 1 are empty here */
    LIMIT_MEGABYTES_MIN = 8,
    LIMIT_MEGABYTES_MAX = 1000000000,
    CRAWLER_SLEEP_US_MAX = 1000000,
    PERCENTS_MAX = 80,
    WINDOW_MIN = 3,
    WINDOW_MAX = 1800,
};

/* The words behind the command; `noreply` at the end is none of them. */
struct words {
    struct pc_memcached_word at[WORDS_MAX];
    unsigned count;
};

static struct words words_of(const struct pc_cache_op *op)
{
    struct words words;
    words.count = pc_memcached_words(op->request->input.at + op->parsed.words_at,
                                     op->parsed.words_bytes, words.at, WORDS_MAX);
    words.count -= op->parsed.quiet;
    return words;
}

static bool word_is(const struct words *words, unsigned index, const char *text)
{
    const struct pc_memcached_word *word = &words->at[index];
    return index < words->count && word->count == strlen(text) &&
           memcmp(word->at, text, word->count) == 0;
}

static bool word_u32(const struct words *words, unsigned index, uint32_t *out)
{
    uint64_t value;
    if (index >= words->count ||
        !pc_decimal_read_u64(words->at[index].at, words->at[index].count, &value) ||
        value > UINT32_MAX) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool word_i64(const struct words *words, unsigned index, int64_t *out)
{
    return index < words->count &&
           pc_decimal_read_i64(words->at[index].at, words->at[index].count, out);
}

/* A decimal fraction in hundredths, rounded up so that what is over zero stays so. */
static bool word_hundredths(const struct words *words, unsigned index, int64_t *out)
{
    char text[24], *end;
    if (index >= words->count || words->at[index].count >= sizeof(text)) {
        return false;
    }
    memcpy(text, words->at[index].at, words->at[index].count);
    text[words->at[index].count] = '\0';
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > -1e6 && value < 1e6)) {
        return false;
    }
    *out = (int64_t)(value * 100);
    *out += value > 0 && *out < value * 100;
    return true;
}

/* ---- cache_memlimit ---- */

static enum pc_memcached_reply memlimit(struct pc_cache *cache, const struct words *words)
{
    uint32_t megabytes;
    if (!word_u32(words, 0, &megabytes)) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    if (megabytes < LIMIT_MEGABYTES_MIN) {
        return PC_MEMCACHED_SAY_LIMIT_LOW;
    }
    if (megabytes > LIMIT_MEGABYTES_MAX) {
        return PC_MEMCACHED_SAY_LIMIT_UNIT;
    }
    const uint64_t limit_bytes = (uint64_t)megabytes << 20;
    const uint64_t store_bytes = pc_cache_store_bytes(limit_bytes, cache->settings.others_bytes);
    uint64_t least, most;
    pc_pool_limits(cache->owners->pool, &least, &most);
    if (store_bytes < least || store_bytes > most) {
        return PC_MEMCACHED_SAY_LIMIT_FAILED;
    }
    (void)pc_pool_limit(cache->owners->pool, store_bytes); /* within its bounds */
    atomic_store_explicit(&cache->limit_bytes, limit_bytes, memory_order_relaxed);
    return PC_MEMCACHED_SAY_OK;
}

/* ---- lru ---- */

static enum pc_memcached_reply lru_tune(struct pc_cache_knobs *knobs, const struct words *words)
{
    uint32_t hot, warm;
    int64_t hot_factor, warm_factor;
    if (!word_u32(words, 1, &hot) || !word_u32(words, 2, &warm) ||
        !word_hundredths(words, 3, &hot_factor) || !word_hundredths(words, 4, &warm_factor)) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    if ((uint64_t)hot + warm > PERCENTS_MAX) {
        return PC_MEMCACHED_SAY_BAD_PERCENTS;
    }
    if (hot_factor <= 0 || warm_factor <= 0) {
        return PC_MEMCACHED_SAY_BAD_FACTORS;
    }
    pc_cache_knob_set(&knobs->hot_percent, hot);
    pc_cache_knob_set(&knobs->warm_percent, warm);
    pc_cache_knob_set(&knobs->hot_factor, (uint32_t)hot_factor);
    pc_cache_knob_set(&knobs->warm_factor, (uint32_t)warm_factor);
    return PC_MEMCACHED_SAY_OK;
}

static enum pc_memcached_reply lru(struct pc_cache_knobs *knobs, const struct words *words)
{
    int64_t seconds;
    if (word_is(words, 0, "tune")) {
        return lru_tune(knobs, words);
    }
    if (word_is(words, 0, "mode") &&
        (word_is(words, 1, "flat") || word_is(words, 1, "segmented"))) {
        pc_cache_knob_set(&knobs->segmented, word_is(words, 1, "segmented"));
        return PC_MEMCACHED_SAY_OK;
    }
    if (word_is(words, 0, "temp_ttl") && word_i64(words, 1, &seconds) && seconds >= INT32_MIN &&
        seconds <= INT32_MAX) {
        pc_cache_knob_set(&knobs->temporary, seconds >= 0);
        if (seconds >= 0) {
            pc_cache_knob_set(&knobs->temporary_ttl, (uint32_t)seconds);
        }
        return PC_MEMCACHED_SAY_OK;
    }
    return PC_MEMCACHED_SAY_ERROR;
}

/* ---- slabs ---- */

static bool is_class(int64_t number)
{
    return number >= 1 && number <= CLASS_LAST;
}

/* All memory is in one class, so there is never a page to move. */
static enum pc_memcached_reply slabs_reassign(const struct words *words)
{
    int64_t from, to;
    if (words->count != 3) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    if (!word_i64(words, 1, &from) || !word_i64(words, 2, &to)) {
        return PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    if (from == to) {
        return PC_MEMCACHED_SAY_SAME_CLASS;
    }
    return is_class(from) && is_class(to) ? PC_MEMCACHED_SAY_NO_SPARE
                                          : PC_MEMCACHED_SAY_BAD_CLASSES;
}

static enum pc_memcached_reply slabs_automove(struct pc_cache_knobs *knobs,
                                              const struct words *words)
{
    uint32_t level;
    int64_t ratio;
    if (words->count < 2) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    if (word_is(words, 1, "ratio") || word_is(words, 1, "freeratio")) {
        if (!word_hundredths(words, 2, &ratio) || ratio < 0) {
            return PC_MEMCACHED_SAY_ERROR;
        }
        if (word_is(words, 1, "ratio")) {
            pc_cache_knob_set(&knobs->automove_ratio, (uint32_t)ratio);
        }
        return PC_MEMCACHED_SAY_OK;
    }
    if (word_is(words, 1, "window")) {
        if (!word_u32(words, 2, &level)) {
            return PC_MEMCACHED_SAY_BAD_FORMAT;
        }
        if (level < WINDOW_MIN || level > WINDOW_MAX) {
            return PC_MEMCACHED_SAY_BAD_WINDOW;
        }
        pc_cache_knob_set(&knobs->automove_window, level);
        return PC_MEMCACHED_SAY_OK;
    }
    if (!word_u32(words, 1, &level)) {
        return PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    if (level > 2) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    pc_cache_knob_set(&knobs->automove, level);
    return PC_MEMCACHED_SAY_OK;
}

static enum pc_memcached_reply slabs(struct pc_cache_knobs *knobs, const struct words *words)
{
    if (word_is(words, 0, "reassign")) {
        return slabs_reassign(words);
    }
    return word_is(words, 0, "automove") ? slabs_automove(knobs, words) : PC_MEMCACHED_SAY_ERROR;
}

/* ---- lru_crawler ---- */

/* `all`, or class ids with commas between. */
static bool classes_are_good(const struct pc_memcached_word *word, bool *out_has_ours)
{
    *out_has_ours = true;
    if (word->count == 3 && memcmp(word->at, "all", 3) == 0) {
        return true;
    }
    *out_has_ours = false;
    for (size_t from = 0; from < word->count;) {
        const uint8_t *comma = memchr(word->at + from, ',', word->count - from);
        const size_t bytes = comma != NULL ? (size_t)(comma - word->at) - from : word->count - from;
        uint64_t number;
        if (!pc_decimal_read_u64(word->at + from, bytes, &number) || number < 1 ||
            number > CLASS_LAST) {
            return false;
        }
        *out_has_ours |= number == 1;
        from += bytes + 1;
    }
    return true;
}

static void run_crawl(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct pc_cache *cache = pc_cache_of(op);
    (void)there;
    cache->places[place].crawls = true;
    cache->places[place].crawl_cursor = 0;
}

static enum pc_serve crawl(struct pc_cache_op *op, const struct words *words, struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    bool has_ours;
    if (pc_cache_knob(&cache->knobs.crawler) == 0) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_CRAWLER_OFF);
    }
    if (!classes_are_good(&words->at[1], &has_ours)) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_BAD_CLASS);
    }
    if (has_ours && !pc_cache_ask_all(op, run_crawl, lane)) {
        return PC_AGAIN;
    }
    atomic_fetch_add_explicit(&cache->crawls, has_ours, memory_order_relaxed);
    return pc_cache_say(op, PC_MEMCACHED_SAY_OK);
}

static enum pc_memcached_reply crawler_knobs(struct pc_cache_knobs *knobs,
                                             const struct words *words)
{
    uint32_t number;
    const bool sets = words->count == 1;
    if (sets && (word_is(words, 0, "enable") || word_is(words, 0, "disable"))) {
        pc_cache_knob_set(&knobs->crawler, word_is(words, 0, "enable"));
        return PC_MEMCACHED_SAY_OK;
    }
    if (words->count != 2 || !(word_is(words, 0, "sleep") || word_is(words, 0, "tocrawl"))) {
        return PC_MEMCACHED_SAY_ERROR;
    }
    if (!word_u32(words, 1, &number)) {
        return PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    if (word_is(words, 0, "tocrawl")) {
        pc_cache_knob_set(&knobs->crawler_tocrawl, number);
        return PC_MEMCACHED_SAY_OK;
    }
    if (number > CRAWLER_SLEEP_US_MAX) {
        return PC_MEMCACHED_SAY_LONG_SLEEP;
    }
    pc_cache_knob_set(&knobs->crawler_sleep_us, number);
    return PC_MEMCACHED_SAY_OK;
}

static enum pc_serve crawler(struct pc_cache_op *op, const struct words *words,
                             struct pc_lane *lane)
{
    if (words->count == 2 && word_is(words, 0, "crawl")) {
        return crawl(op, words, lane);
    }
    const bool keys_only = word_is(words, 0, "mgdump");
    if (words->count == 2 && (keys_only || word_is(words, 0, "metadump"))) {
        const bool by_hash = word_is(words, 1, "hash");
        bool has_ours = true;
        const bool good = by_hash || classes_are_good(&words->at[1], &has_ours);
        return pc_cache_serve_dump(op, keys_only, good, has_ours, lane);
    }
    return pc_cache_say(op, crawler_knobs(&pc_cache_of(op)->knobs, words));
}

enum pc_serve pc_cache_serve_admin(struct pc_cache_op *op, struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct words words = words_of(op);
    switch (op->parsed.verb) {
    case PC_MEMCACHED_LRU_CRAWLER:
        return crawler(op, &words, lane);
    case PC_MEMCACHED_LRU:
        return pc_cache_say(op, lru(&cache->knobs, &words));
    case PC_MEMCACHED_SLABS:
        return pc_cache_say(op, slabs(&cache->knobs, &words));
    default:
        return pc_cache_say(op, memlimit(cache, &words));
    }
}
