/* SPDX-License-Identifier: Apache-2.0 */
/* cache: the service. parse recognises and aims, serve hands each request to the file it is for. */
#include "services/cache_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* memcached takes an exptime beyond thirty days as a time of the calendar. */
enum { RELATIVE_EXPTIME_MAX = 60 * 60 * 24 * 30 };

/* Items looked at in one step of upkeep: well under the time of one turn. */
enum { STEP_BUDGET = 256, ROOM_BUDGET = 512 };

/* Rounds of making room for one value: some, and so many more as it takes to clear its bytes of the
 * smallest items, several times over. */
enum { ROOM_ROUNDS_MIN = 64, ROOM_BYTES_PER_ROUND = 4096 };

enum { CLASS_ITEM, CLASS_MANY };

/* More keys than this on a line, and the clock is looked at after it. */
enum { ITEM_KEYS_MAX = 8 };

static const struct pc_class classes[] = {
    [CLASS_ITEM] = {.name = "item", .weight = PC_LIGHT},
    [CLASS_MANY] = {.name = "many", .weight = PC_HEAVY},
};

uint32_t pc_cache_expiry(int32_t exptime, struct pc_lane *lane)
{
    if (PC_LIKELY(exptime == 0)) {
        return 0;
    }
    const uint32_t now = pc_lane_second(lane);
    if (exptime < 0) {
        return 1;
    }
    if (exptime <= RELATIVE_EXPTIME_MAX) {
        return now + (uint32_t)exptime;
    }
    const uint64_t realtime_s = pc_lane_realtime_s(lane);
    return (uint64_t)exptime <= realtime_s ? 1 : now + (uint32_t)((uint64_t)exptime - realtime_s);
}

enum pc_serve pc_cache_say(struct pc_cache_op *op, enum pc_memcached_reply reply)
{
    if (op->parsed.quiet) {
        return PC_SERVED;
    }
    if (PC_UNLIKELY(op->parsed.verb == PC_MEMCACHED_BINARY)) {
        return pc_cache_binary_say_reply(op, reply);
    }
    size_t bytes;
    const char *line = pc_memcached_reply(reply, &bytes);
    return pc_reply_copy(op->request, line, bytes) == 0 ? PC_SERVED : PC_HANG_UP;
}

/* ---- Asking the places ---- */

static void call_work(struct pc_call *call, struct pc_lane *there)
{
    struct pc_cache_op *op = PC_CONTAINER_OF(call, struct pc_cache_op, call);
    const bool entered = pc_cache_at_hand(op, (unsigned)call->place, op->run, there);
    PC_ASSERT(entered);
    (void)entered;
}

bool pc_cache_at_hand(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run,
                      struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    if (!pc_owners_enter(cache->owners, place, lane)) {
        return false;
    }
    pc_cache_due(cache, place, lane);
    run(op, place, lane);
    pc_owners_leave(cache->owners, place);
    return true;
}

bool pc_cache_post(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run)
{
    op->run = run;
    op->call.work = call_work;
    op->call.place = (int32_t)place;
    return pc_call_post(op->request, &op->call) == 0;
}

bool pc_cache_ask_all(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane)
{
    const struct pc_cache *cache = pc_cache_of(op);
    while (op->next_place < cache->owners->place_count) {
        if (!pc_cache_ask(op, op->next_place++, run, lane)) {
            return false;
        }
    }
    op->next_place = 0;
    return true;
}

static void run_step(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    (void)pc_slice_step(pc_owners_slice(pc_cache_of(op)->owners, place), pc_lane_second(there),
                        ROOM_BUDGET);
}

unsigned pc_cache_rounds_max(const struct pc_cache_op *op)
{
    return ROOM_ROUNDS_MIN + (unsigned)(op->parsed.value_bytes / ROOM_BYTES_PER_ROUND);
}

enum pc_serve pc_cache_insist(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane)
{
    if (op->status != PC_SLICE_LATER || op->room_rounds >= pc_cache_rounds_max(op)) {
        return PC_SERVED;
    }
    if (!pc_cache_ask_all(op, run_step, lane)) {
        return PC_AGAIN;
    }
    op->room_rounds++;
    if (!pc_cache_ask(op, op->place, run, lane)) {
        return PC_AGAIN;
    }
    if (op->status != PC_SLICE_LATER) {
        return PC_SERVED;
    }
    pc_request_pause(op->request, 0); /* others have their turn */
    return PC_AGAIN;
}

/* ---- The service ---- */

static unsigned class_of(const struct pc_memcached_request *parsed)
{
    return parsed->key_count > ITEM_KEYS_MAX || parsed->value_follows ||
                   parsed->verb == PC_MEMCACHED_STATS || parsed->verb == PC_MEMCACHED_FLUSH_ALL
               ? CLASS_MANY
               : CLASS_ITEM;
}

static enum pc_parse parse(struct pc_request *request, struct pc_view in, size_t *out_bytes)
{
    struct pc_cache_op *op = request->scratch;
    struct pc_cache_session *session = request->session;
    const struct pc_cache *cache = request->app;
    struct pc_memcached_line line;
    switch (pc_memcached_parse(session->line, in.at, in.count, &op->parsed, &line, out_bytes)) {
    case PC_MEMCACHED_MORE:
        return PC_PARSE_MORE;
    case PC_MEMCACHED_BAD:
        request->trouble = "not a memcached request";
        return PC_PARSE_BAD;
    case PC_MEMCACHED_DONE:
        break;
    }
    session->line = line;
    op->request = request;
    if (PC_UNLIKELY(!op->parsed.plain)) {
        request->class_index = class_of(&op->parsed);
        if (op->parsed.value_follows) {
            request->body_bytes =
                (uint64_t)op->parsed.value_bytes + (op->parsed.verb == PC_MEMCACHED_BINARY ? 0 : 2);
        }
    }
    if (PC_LIKELY(op->parsed.key_count == 1)) {
        const struct pc_owners *owners = cache->owners;
        op->hash = pc_owners_hash(in.at + op->parsed.key_at, op->parsed.key_bytes, owners->seed);
        op->place = pc_owners_place(owners, op->hash);
        /* Whoever will look into the slice without a lock; fetching what another core is about to
         * write would only take it away from there. The last request at hand is looked up next. */
        if (in.count > *out_bytes &&
            ((owners->core_count == 1 && !owners->mode->any_lane) ||
             (pc_owners_peeks(owners) && pc_cache_reads_only(op->parsed.verb)))) {
            pc_slice_prefetch(pc_owners_slice(owners, op->place), op->hash);
        }
    }
    return PC_PARSE_DONE;
}

static enum pc_serve serve_version(struct pc_cache_op *op)
{
    static const char line[] = "VERSION " PC_CACHE_VERSION "\r\n";
    return pc_reply_copy(op->request, line, sizeof(line) - 1) == 0 ? PC_SERVED : PC_HANG_UP;
}

static enum pc_serve serve_verbosity(struct pc_cache_op *op)
{
    struct pc_cache *cache = pc_cache_of(op);
    const uint64_t level = op->parsed.number;
    pc_cache_knob_set(&cache->knobs.verbosity, level > 2 ? 2 : (uint32_t)level);
    return pc_cache_say(op, PC_MEMCACHED_SAY_OK);
}

static enum pc_serve serve_shutdown(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (!pc_cache_of(op)->settings.shutdown_allowed) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_SHUTDOWN_OFF);
    }
    pc_runtime_stop(pc_lane_runtime(lane));
    return PC_HANG_UP;
}

static __attribute__((noinline)) enum pc_serve serve_slow(struct pc_cache_op *op,
                                                          struct pc_lane *lane)
{
    const struct pc_memcached_request *parsed = &op->parsed;
    if (PC_UNLIKELY(parsed->verb == PC_MEMCACHED_BINARY)) {
        return pc_cache_serve_binary(op, lane);
    }
    if (PC_UNLIKELY(parsed->refusal != 0)) {
        return pc_cache_serve_refusal(op);
    }
    switch (parsed->verb) {
    case PC_MEMCACHED_GET:
    case PC_MEMCACHED_GETS:
    case PC_MEMCACHED_GAT:
    case PC_MEMCACHED_GATS:
        return parsed->key_count == 1 && parsed->begins_line && parsed->ends_line
                   ? pc_cache_serve_get(op, lane)
                   : pc_cache_serve_keys(op, lane);
    case PC_MEMCACHED_MG:
    case PC_MEMCACHED_MS:
    case PC_MEMCACHED_MD:
    case PC_MEMCACHED_MA:
    case PC_MEMCACHED_ME:
        return pc_cache_serve_meta(op, lane);
    case PC_MEMCACHED_MN:
        return pc_cache_say(op, PC_MEMCACHED_SAY_MN);
    case PC_MEMCACHED_FLUSH_ALL:
        return pc_cache_serve_flush(op, lane);
    case PC_MEMCACHED_STATS:
        return pc_cache_serve_stats(op, lane);
    case PC_MEMCACHED_LRU_CRAWLER:
    case PC_MEMCACHED_LRU:
    case PC_MEMCACHED_SLABS:
    case PC_MEMCACHED_CACHE_MEMLIMIT:
        return pc_cache_serve_admin(op, lane);
    case PC_MEMCACHED_WATCH:
        return pc_cache_serve_watch(op, lane);
    case PC_MEMCACHED_VERSION:
        return serve_version(op);
    case PC_MEMCACHED_VERBOSITY:
        return serve_verbosity(op);
    case PC_MEMCACHED_SHUTDOWN:
        return serve_shutdown(op, lane);
    case PC_MEMCACHED_QUIT:
        return PC_HANG_UP;
    case PC_MEMCACHED_NOTHING:
        return PC_SERVED;
    default:
        return parsed->value_follows ? pc_cache_serve_body(op, lane)
                                     : pc_cache_serve_item(op, lane);
    }
}

static enum pc_serve serve(struct pc_request *request, struct pc_lane *lane)
{
    struct pc_cache_op *op = request->scratch;
    if (PC_UNLIKELY(pc_cache_of(op)->settings.auth != NULL) &&
        !((struct pc_cache_session *)request->session)->let_in) {
        return pc_cache_serve_auth(op);
    }
    /* One bit tells what most servers are asked most; the rest is told apart in serve_slow. */
    if (PC_LIKELY(op->parsed.plain)) {
        return op->parsed.verb == PC_MEMCACHED_GET ? pc_cache_serve_get(op, lane)
                                                   : pc_cache_serve_meta(op, lane);
    }
    return serve_slow(op, lane);
}

static int place_open(void *app, int32_t place, struct pc_lane *lane)
{
    struct pc_cache *cache = app;
    const int outcome = pc_owners_open(cache->owners, (unsigned)place);
    cache->places[place].runtime = pc_lane_runtime(lane);
    if (outcome == 0) {
        pc_slice_tell(pc_owners_slice(cache->owners, (unsigned)place),
                      &(struct pc_slice_ear){.listens = &cache->watched,
                                             .evicted = pc_cache_tell_evicted,
                                             .ctx = &cache->places[place]});
    }
    return outcome;
}

/* What `lru_crawler crawl` asked for, after all else; true: more to do. */
static bool crawl_step(struct pc_cache *cache, unsigned place, const struct pc_lane *lane)
{
    struct pc_cache_place *here = &cache->places[place];
    if (here->crawls) {
        pc_slice_sweep(pc_owners_slice(cache->owners, place), pc_lane_second(lane),
                       &here->crawl_cursor, STEP_BUDGET);
        here->crawls = here->crawl_cursor != 0;
    }
    return here->crawls;
}

static bool place_step(void *app, int32_t place_index, struct pc_lane *lane)
{
    struct pc_cache *cache = app;
    const unsigned place = (unsigned)place_index;
    if (!pc_owners_enter(cache->owners, place, lane)) {
        return false;
    }
    pc_cache_due(cache, place, lane);
    pc_owners_notes_take(cache->owners, place, pc_lane_second(lane));
    const bool more =
        pc_slice_step(pc_owners_slice(cache->owners, place), pc_lane_second(lane), STEP_BUDGET) ||
        crawl_step(cache, place, lane);
    pc_owners_leave(cache->owners, place);
    return more;
}

static void place_close(void *app, int32_t place, struct pc_lane *lane)
{
    struct pc_cache *cache = app;
    (void)lane;
    pc_owners_close(cache->owners, (unsigned)place);
}

#define REFUSAL "ERROR Too many open connections\r\n"

const struct pc_service pc_cache_service = {
    .name = "cache",
    .request_bytes = sizeof(struct pc_cache_op),
    .session_bytes = sizeof(struct pc_cache_session),
    .input_bytes_max = PC_MEMCACHED_INPUT_BYTES_MAX,
    .classes = classes,
    .class_count = PC_COUNT_OF(classes),
    .refusal = {(const uint8_t *)REFUSAL, sizeof(REFUSAL) - 1},
    .parse = parse,
    .serve = serve,
    .opened = pc_cache_opened,
    .shut = pc_cache_shut,
    .place_open = place_open,
    .place_step = place_step,
    .place_close = place_close,
};

const struct pc_cache_tuning pc_cache_tuning_default = {
    .hot_percent = 20,
    .warm_percent = 40,
    .hot_factor = 20,
    .warm_factor = 200,
    .segmented = 1,
    .temporary_ttl = 61,
    .crawler = 1,
    .crawler_sleep_us = 100,
    .automove = 1,
    .automove_ratio = 80,
    .automove_window = 30,
};

static void knobs_init(struct pc_cache_knobs *knobs, const struct pc_cache_settings *settings)
{
    const struct pc_cache_tuning *tuning =
        settings->tuning != NULL ? settings->tuning : &pc_cache_tuning_default;
    *knobs = (struct pc_cache_knobs){.verbosity = settings->verbosity,
                                     .hot_percent = tuning->hot_percent,
                                     .warm_percent = tuning->warm_percent,
                                     .hot_factor = tuning->hot_factor,
                                     .warm_factor = tuning->warm_factor,
                                     .segmented = tuning->segmented,
                                     .temporary = tuning->temporary,
                                     .temporary_ttl = tuning->temporary_ttl,
                                     .crawler = tuning->crawler,
                                     .crawler_sleep_us = tuning->crawler_sleep_us,
                                     .crawler_tocrawl = tuning->crawler_tocrawl,
                                     .automove = tuning->automove,
                                     .automove_ratio = tuning->automove_ratio,
                                     .automove_window = tuning->automove_window};
}

int pc_cache_create(const struct pc_cache_settings *settings, struct pc_cache **out_cache)
{
    struct pc_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return -ENOMEM;
    }
    const unsigned place_count = settings->owners->place_count;
    cache->settings = *settings;
    cache->owners = settings->owners;
    cache->places = aligned_alloc(PC_CACHE_LINE, place_count * sizeof(*cache->places));
    const unsigned core_count = settings->owners->core_count;
    cache->reads = aligned_alloc(PC_CACHE_LINE, core_count * sizeof(*cache->reads));
    cache->watch = pc_cache_watch_create(core_count);
    if (cache->places == NULL || cache->reads == NULL || cache->watch == NULL) {
        pc_cache_watch_destroy(cache->watch);
        free(cache->places);
        free(cache->reads);
        free(cache);
        return -ENOMEM;
    }
    memset(cache->reads, 0, core_count * sizeof(*cache->reads));
    for (unsigned i = 0; i < core_count; i++) {
        pthread_mutex_init(&cache->reads[i].hot_lock, NULL);
        pc_hot_init(&cache->reads[i].hot, cache->owners->seed ^ (i + 1));
    }
    memset(cache->places, 0, place_count * sizeof(*cache->places));
    for (unsigned i = 0; i < place_count; i++) {
        pthread_mutex_init(&cache->places[i].holds_lock, NULL);
        cache->places[i].pool = cache->owners->pool;
        cache->places[i].cache = cache;
    }
    knobs_init(&cache->knobs, settings);
    atomic_init(&cache->limit_bytes, settings->limit_bytes);
    *out_cache = cache;
    return 0;
}

void pc_cache_destroy(struct pc_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (unsigned i = 0; i < cache->owners->place_count; i++) {
        pc_cache_holds_free(&cache->places[i]);
        pthread_mutex_destroy(&cache->places[i].holds_lock);
    }
    for (unsigned i = 0; i < cache->owners->core_count; i++) {
        pthread_mutex_destroy(&cache->reads[i].hot_lock);
    }
    pc_cache_watch_destroy(cache->watch);
    free(cache->places);
    free(cache->reads);
    free(cache);
}
