/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_watch: `watch`, after which a connection is sent a line for what happens anywhere.
 *
 *   event ──▶ ring of its core ─┐
 *   event ──▶ ring of its core ─┼─ by number ─▶ lines ─▶ the watcher's replies
 *   event ──▶ ring of its core ─┘
 *
 * A watcher is a request that pauses and looks again: soon while there is something to say, less
 * often when there is not. It reads every core's ring itself, so no other core is woken for it.
 *
 * Owner    The connection's lane has the watcher; the rings have locks of their own.
 * Memory   The rings, while anybody watches; a watcher, one event of each ring.
 * Limits   WATCHERS_MAX watchers. PC_CACHE_WATCHER_BYTES of lines wait for a peer that does not
 *          read; then it is asked no more, and what the rings give up meanwhile is told as skipped.
 * Order    Lines leave by their numbers, whatever the cores they come from.
 */
#include "services/cache_parts.h"

#include "protocols/decimal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WATCHERS_MAX = 20, SKIPPED_LINE_BYTES_MAX = 32 };

/* Between two looks: as soon as timers go, and what a person still takes for at once. */
#define PAUSE_NS_MIN UINT64_C(1000000)
#define PAUSE_NS_MAX UINT64_C(100000000)

enum { STAGE_BEGIN, STAGE_WATCH };

struct pc_cache_watch {
    pthread_mutex_t lock; /* guards who comes and leaves */
    unsigned watcher_count;
    unsigned kind_counts[PC_EVENT_KIND_COUNT];      /* of the watchers */
    _Atomic uint64_t sent, skipped;                 /* any lane, relaxed: only told */
    alignas(PC_CACHE_LINE) _Atomic uint64_t number; /* of the last event; any lane */
    unsigned ring_count;
    struct pc_event_ring rings[];
};

/* The next event of a ring, if there is one. */
struct reader {
    struct pc_event_cursor cursor;
    struct pc_event event;
    uint8_t text[PC_EVENT_TEXT_BYTES_MAX];
    bool has;
};

struct watcher {
    uint32_t kinds;
    uint64_t skipped; /* to be told */
    uint64_t pause_ns;
    struct reader readers[];
};

/* ---- The rings ---- */

struct pc_cache_watch *pc_cache_watch_create(unsigned ring_count)
{
    size_t bytes = sizeof(struct pc_cache_watch) + ring_count * sizeof(struct pc_event_ring);
    bytes = (bytes + PC_CACHE_LINE - 1) & ~(size_t)(PC_CACHE_LINE - 1);
    struct pc_cache_watch *watch = aligned_alloc(PC_CACHE_LINE, bytes);
    if (watch == NULL) {
        return NULL;
    }
    memset(watch, 0, bytes);
    watch->ring_count = ring_count;
    pthread_mutex_init(&watch->lock, NULL);
    for (unsigned i = 0; i < ring_count; i++) {
        pc_event_ring_init(&watch->rings[i]);
    }
    return watch;
}

void pc_cache_watch_destroy(struct pc_cache_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    for (unsigned i = 0; i < watch->ring_count; i++) {
        pc_event_ring_fini(&watch->rings[i]);
    }
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

void pc_cache_watch_write(struct pc_cache_watch *watch, unsigned index,
                          const struct pc_event *event, const void *text)
{
    pc_event_ring_write(&watch->rings[index % watch->ring_count], event, text, &watch->number);
}

void pc_cache_watch_sum(struct pc_cache_watch *watch, struct pc_cache_watch_totals *out)
{
    *out = (struct pc_cache_watch_totals){
        .sent = atomic_load_explicit(&watch->sent, memory_order_relaxed),
        .skipped = atomic_load_explicit(&watch->skipped, memory_order_relaxed)};
    pthread_mutex_lock(&watch->lock);
    out->watchers = watch->watcher_count;
    pthread_mutex_unlock(&watch->lock);
    for (unsigned i = 0; i < watch->ring_count; i++) {
        pc_event_ring_sum(&watch->rings[i], &out->written, &out->dropped);
    }
}

void pc_cache_watch_reset(struct pc_cache_watch *watch)
{
    atomic_store_explicit(&watch->sent, 0, memory_order_relaxed);
    atomic_store_explicit(&watch->skipped, 0, memory_order_relaxed);
    for (unsigned i = 0; i < watch->ring_count; i++) {
        pc_event_ring_reset(&watch->rings[i]);
    }
}

/* ---- Coming and leaving ---- */

static void rings_close(struct pc_cache_watch *watch)
{
    for (unsigned i = 0; i < watch->ring_count; i++) {
        pc_event_ring_close(&watch->rings[i]);
    }
}

static bool rings_open(struct pc_cache_watch *watch, const struct pc_runtime *runtime)
{
    for (unsigned i = 0; i < watch->ring_count; i++) {
        if (pc_event_ring_open(&watch->rings[i], runtime) != 0) {
            return false;
        }
    }
    return true;
}

/* One watcher more, or less, of each of these kinds.  Under the lock. */
static void kinds_count(struct pc_cache *cache, uint32_t kinds, int change)
{
    struct pc_cache_watch *watch = cache->watch;
    uint32_t watched = 0;
    for (unsigned kind = 0; kind < PC_EVENT_KIND_COUNT; kind++) {
        watch->kind_counts[kind] += (kinds >> kind & 1) * (unsigned)change;
        watched |= (uint32_t)(watch->kind_counts[kind] != 0) << kind;
    }
    watch->watcher_count += (unsigned)change;
    atomic_store_explicit(&cache->watched, watched, memory_order_relaxed);
    if (watch->watcher_count == 0) {
        rings_close(watch);
    }
}

static enum pc_memcached_reply join_locked(struct pc_cache *cache, struct watcher *watcher,
                                           const struct pc_runtime *runtime)
{
    struct pc_cache_watch *watch = cache->watch;
    if (watch->watcher_count == WATCHERS_MAX) {
        return PC_MEMCACHED_SAY_WATCHERS_FULL;
    }
    if (!rings_open(watch, runtime)) {
        kinds_count(cache, 0, 0);
        return PC_MEMCACHED_SAY_WATCHER_FAILED;
    }
    for (unsigned i = 0; i < watch->ring_count; i++) {
        pc_event_ring_join(&watch->rings[i], &watcher->readers[i].cursor);
    }
    kinds_count(cache, watcher->kinds, 1);
    return PC_MEMCACHED_SAY_OK;
}

static enum pc_memcached_reply join(struct pc_cache_op *op, uint32_t kinds,
                                    const struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct watcher *watcher =
        calloc(1, sizeof(*watcher) + cache->watch->ring_count * sizeof(watcher->readers[0]));
    if (watcher == NULL) {
        return PC_MEMCACHED_SAY_WATCHER_FAILED;
    }
    watcher->kinds = kinds;
    watcher->pause_ns = PAUSE_NS_MIN;
    pthread_mutex_lock(&cache->watch->lock);
    const enum pc_memcached_reply outcome = join_locked(cache, watcher, pc_lane_runtime(lane));
    pthread_mutex_unlock(&cache->watch->lock);
    if (outcome != PC_MEMCACHED_SAY_OK) {
        free(watcher);
        return outcome;
    }
    op->extra = watcher;
    return outcome;
}

static enum pc_serve leave(struct pc_cache_op *op)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct watcher *watcher = op->extra;
    pthread_mutex_lock(&cache->watch->lock);
    kinds_count(cache, watcher->kinds, -1);
    pthread_mutex_unlock(&cache->watch->lock);
    free(watcher);
    return PC_HANG_UP;
}

/* ---- Lines ---- */

static void reader_step(struct pc_cache_watch *watch, struct watcher *watcher, unsigned index)
{
    struct reader *reader = &watcher->readers[index];
    uint64_t missed = 0;
    reader->has = pc_event_ring_next(&watch->rings[index], &reader->cursor, watcher->kinds,
                                     &reader->event, reader->text, &missed);
    if (PC_UNLIKELY(missed != 0)) {
        watcher->skipped += missed;
        atomic_fetch_add_explicit(&watch->skipped, missed, memory_order_relaxed);
    }
}

/* The reader with the first event up to `number`; -1: none has one. */
static int reader_first(const struct pc_cache_watch *watch, const struct watcher *watcher,
                        uint64_t number)
{
    int first = -1;
    for (unsigned i = 0; i < watch->ring_count; i++) {
        const struct reader *reader = &watcher->readers[i];
        if (reader->has && reader->event.number <= number) {
            number = reader->event.number;
            first = (int)i;
        }
    }
    return first;
}

/* All that is numbered up to the number returned can be read now, or has been: whoever took a
 * number had the lock of a ring, and has been waited for here. So no earlier line can come after a
 * later. */
static uint64_t look_around(struct pc_cache_watch *watch, struct watcher *watcher)
{
    const uint64_t number = atomic_load_explicit(&watch->number, memory_order_relaxed);
    for (unsigned i = 0; i < watch->ring_count; i++) {
        if (!watcher->readers[i].has) {
            reader_step(watch, watcher, i);
        }
    }
    return number;
}

static char *print_skipped(char *at, struct watcher *watcher)
{
    at = pc_cache_put_number(at, "skipped=", watcher->skipped);
    watcher->skipped = 0;
    return pc_cache_put(at, "\n");
}

/* Print what there is up to `number`, as far as there is room. */
static char *print_events(struct pc_cache_watch *watch, struct watcher *watcher, uint64_t number,
                          char *at, const char *end)
{
    uint64_t sent = 0;
    for (;;) {
        if (end - at < PC_CACHE_EVENT_LINE_BYTES_MAX + SKIPPED_LINE_BYTES_MAX) {
            break;
        }
        if (watcher->skipped != 0) {
            at = print_skipped(at, watcher);
        }
        const int index = reader_first(watch, watcher, number);
        if (index < 0) {
            break;
        }
        at = pc_cache_event_print(at, &watcher->readers[index].event, watcher->readers[index].text);
        reader_step(watch, watcher, (unsigned)index);
        sent++;
    }
    atomic_fetch_add_explicit(&watch->sent, sent, memory_order_relaxed);
    return at;
}

/* Say what has happened; then look again when others have had their turn, or later if it was
 * nothing. */
static enum pc_serve say(struct pc_cache_op *op)
{
    struct pc_cache_watch *watch = pc_cache_of(op)->watch;
    struct watcher *watcher = op->extra;
    if (pc_request_over(op->request)) {
        return leave(op);
    }
    const uint64_t number = look_around(watch, watcher);
    if (reader_first(watch, watcher, number) < 0 && watcher->skipped == 0) {
        pc_request_pause(op->request, watcher->pause_ns);
        watcher->pause_ns = pc_min_size(watcher->pause_ns * 2, PAUSE_NS_MAX);
        return PC_AGAIN;
    }
    char *into = pc_reply_reserve(op->request, PC_RESERVE_BYTES_MAX);
    if (into == NULL) {
        return leave(op);
    }
    const char *at = print_events(watch, watcher, number, into, into + PC_RESERVE_BYTES_MAX);
    pc_reply_commit(op->request, (size_t)(at - into));
    watcher->pause_ns = PAUSE_NS_MIN;
    const bool more = reader_first(watch, watcher, number) >= 0;
    pc_request_pause(op->request, more ? 0 : PAUSE_NS_MIN);
    return PC_AGAIN;
}

/* ---- Beginning ---- */

/* What may be watched by name. Of some kinds there is nothing to tell here: memcached tells of its
 * proxy, its crawler and its slab mover. */
static const struct {
    const char *name;
    uint32_t kinds;
} names[] = {
    {"fetchers", 1 << PC_EVENT_FETCHERS},
    {"mutations", 1 << PC_EVENT_MUTATIONS},
    {"evictions", 1 << PC_EVENT_EVICTIONS},
    {"connevents", 1 << PC_EVENT_CONNEVENTS},
    {"deletions", 1 << PC_EVENT_DELETIONS},
    {"sysevents", 0},
    {"rawcmds", 0},
    {"proxyreqs", 0},
    {"proxyevents", 0},
    {"proxyuser", 0},
};

static bool add_kinds(const struct pc_memcached_word *word, uint32_t *kinds)
{
    for (size_t i = 0; i < PC_COUNT_OF(names); i++) {
        if (strlen(names[i].name) == word->count &&
            memcmp(names[i].name, word->at, word->count) == 0) {
            *kinds |= names[i].kinds;
            return true;
        }
    }
    return false;
}

static bool read_kinds(const struct pc_cache_op *op, uint32_t *out_kinds)
{
    const uint8_t *at = op->request->input.at + op->parsed.words_at;
    const uint8_t *const end = at + op->parsed.words_bytes;
    struct pc_memcached_word word;
    uint32_t kinds = 0;
    if (pc_memcached_words(at, (size_t)(end - at), &word, 1) == 0) {
        kinds = 1 << PC_EVENT_FETCHERS;
    }
    while (pc_memcached_words(at, (size_t)(end - at), &word, 1) != 0) {
        if (!add_kinds(&word, &kinds)) {
            return false;
        }
        at = word.at + word.count;
    }
    *out_kinds = kinds;
    return true;
}

enum pc_serve pc_cache_serve_watch(struct pc_cache_op *op, struct pc_lane *lane)
{
    uint32_t kinds;
    if (op->stage == STAGE_WATCH) {
        return say(op);
    }
    if (pc_cache_of(op)->settings.watch_refused) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_WATCH_REFUSED);
    }
    if (!read_kinds(op, &kinds)) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_ERROR); /* noreply is no kind, and is obeyed */
    }
    const enum pc_memcached_reply outcome = join(op, kinds, lane);
    const enum pc_serve said = pc_cache_say(op, outcome);
    if (outcome != PC_MEMCACHED_SAY_OK) {
        return said;
    }
    if (said != PC_SERVED) {
        return leave(op);
    }
    op->stage = STAGE_WATCH;
    pc_request_ignore_rest(op->request);
    return say(op);
}
