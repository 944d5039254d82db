/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_parts: what the files of the cache share; nobody else includes it.
 *
 *   cache.c        the service: parse and aim, and who serves what
 *   cache_item.c   requests of one key
 *   cache_keys.c   lines of several keys, window by window
 *   cache_meta.c   meta requests: flags to questions and facts to answers
 *   cache_meta_run.c  what they ask of a slice, and binary requests too
 *   cache_binary.c the binary protocol, on the questions of the meta requests
 *   cache_borrow.c requests done in a slice borrowed from another core
 *   cache_peek.c   reads answered without their owner
 *   cache_body.c   values too long to come with their line
 *   cache_stats.c  requests to all places: flush_all, stats
 *   cache_hot.c    stats hotkeys
 *   cache_pages.c  the pages of stats; cache_conns.c the one of connections
 *   cache_admin.c  lru, lru_crawler, slabs, cache_memlimit
 *   cache_dump.c   lru_crawler metadump and mgdump
 *   cache_auth.c   who is let in, with -Y
 *   cache_watch.c  watch: who watches, and the lines they are sent
 *   cache_tell.c   what happens, told to those who watch
 *   cache_value.c  values on their way out: printed, or held and sent where they lie
 */
#ifndef PC_SERVICES_CACHE_PARTS_H
#define PC_SERVICES_CACHE_PARTS_H

#include "base/check.h"
#include "protocols/decimal.h"
#include "protocols/memcached_meta.h"
#include "runtime/limits.h"
#include "services/cache.h"
#include "services/event_ring.h"
#include "store/hot.h"
#include "store/owners/owners.h"

#include <percore/service.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

enum pc_cache_count {
#define PC_CACHE_COUNT(name) PC_COUNT_##name,
#include "services/cache_counts.def"
#undef PC_CACHE_COUNT
    PC_COUNT_COUNT,
};

struct pc_cache_place;

/* Bytes of values copied for want of a hold, at one place and of one value. */
enum { PC_CACHE_COPIES_BYTES_MAX = 4 << 20, PC_CACHE_COPY_BYTES_MAX = 64 << 10 };

/* A value that is being sent where it lies; each piece handed to the runtime is one use. When the
 * store holds as much as it may, a value that is not too long is copied, and the copy is sent. */
struct pc_cache_hold {
    struct pc_hold hold;
    struct pc_value value;
    uint8_t *copy; /* NULL: the value is held in the store */
    struct pc_cache_place *place;
    struct pc_cache_hold *next;
    uint32_t uses;
};

/* Reads that a lane answered from slices of others; the lane writes them, `stats` reads them. */
struct pc_cache_reads {
    alignas(PC_CACHE_LINE) _Atomic uint64_t hits, misses, refusals, metas;
    pthread_mutex_t hot_lock; /* the lane tries it for a sample, `stats` waits for it */
    struct pc_hot hot;        /* of these reads */
};

struct pc_cache_read_counts {
    uint64_t hits, misses, refusals, metas;
};

/* What belongs to one slice besides the slice. Holds come back on any lane, hence their lock. */
struct pc_cache_place {
    alignas(PC_CACHE_LINE) uint64_t counts[PC_COUNT_COUNT]; /* whoever is in the slice */
    alignas(PC_CACHE_LINE) pthread_mutex_t holds_lock;      /* any lane, seldom */
    struct pc_cache_hold *holds_free;
    uint64_t copies_bytes;
    struct pc_pool *pool;
    struct pc_cache *cache;
    struct pc_runtime *runtime;
    uint64_t crawl_cursor; /* whoever is in the slice; of a search for what has expired */
    bool crawls;
    /* Whoever is in the slice, seldom; every lane that peeks reads it: a flush to come; 0: none. */
    alignas(PC_CACHE_LINE) _Atomic uint32_t flush_second;
};

/* What administrators set at run time. Most are kept for memcached's tools and told back by `stats
 * settings`: percore's eviction and upkeep have nothing to tune. Any lane, relaxed: no reader needs
 * an order with anything else. Factors and ratios in hundredths. */
struct pc_cache_knobs {
    _Atomic uint32_t verbosity;
    _Atomic uint32_t hot_percent, warm_percent, hot_factor, warm_factor;
    _Atomic uint32_t segmented, temporary, temporary_ttl;
    _Atomic uint32_t crawler, crawler_sleep_us, crawler_tocrawl;
    _Atomic uint32_t automove, automove_ratio, automove_window;
};

static inline uint32_t pc_cache_knob(const _Atomic uint32_t *knob)
{
    return atomic_load_explicit(knob, memory_order_relaxed);
}

static inline void pc_cache_knob_set(_Atomic uint32_t *knob, uint32_t value)
{
    atomic_store_explicit(knob, value, memory_order_relaxed);
}

struct pc_cache_watch;

struct pc_cache {
    struct pc_cache_settings settings;
    struct pc_owners *owners;
    /* Bits of enum pc_event_kind that somebody watches. Every request reads it, relaxed: whoever
     * has just come or left may miss a line, or be written one too many. */
    _Atomic uint32_t watched;
    struct pc_cache_watch *watch;
    struct pc_cache_place *places;
    struct pc_cache_reads *reads; /* one a core */
    /* What they were at the last reset. Any lane; two resets at once may mix, as their order may.
     */
    _Atomic uint64_t reads_reset[4];
    uint64_t started_realtime_s;
    struct pc_cache_knobs knobs;
    _Atomic uint64_t auth_attempts, auth_failures; /* any lane, relaxed: only told */
    _Atomic uint64_t crawls, dumps; /* begun; and dumps under way. Any lane, relaxed: only told */
    _Atomic uint64_t limit_bytes;   /* -m, or what cache_memlimit said since */
};

/* Where a connection stands. `line` is parse's, `line_failed` is serve's. */
struct pc_cache_session {
    struct pc_memcached_line line;
    bool line_failed;    /* an earlier window of this line ended in an error */
    bool let_in;         /* serve's: it said a line of -Y */
    struct pc_peer peer; /* written before the first request; any lane that has one may read it */
};

/* What meta requests carry beyond others, in the request's extra block. */
struct pc_cache_meta {
    struct pc_memcached_meta parsed;
    struct pc_memcached_facts facts;
    uint32_t vivify_expiry, recache_expiry;
    bool tells_value;
    alignas(8) uint8_t copy[]; /* of a short value; or what a body needs */
};

struct pc_cache_op;

/* Runs in the slice of `place`, on whatever lane may be in it. */
typedef void pc_cache_run_fn(struct pc_cache_op *op, unsigned place, struct pc_lane *there);

/* One request. `run` and what it reads and writes are whoever's turn it is: the connection's lane
 * before the post and after the answer, the place's in between. */
struct pc_cache_op {
    struct pc_memcached_request parsed;
    struct pc_call call;
    pc_cache_run_fn *run;
    struct pc_request *request;
    uint64_t hash;
    uint32_t place;
    uint32_t expiry;     /* in seconds of the lanes' clock */
    uint32_t next_place; /* of a question to all */
    uint32_t room_rounds;
    uint8_t stage;    /* of whoever serves it; 0: not begun */
    uint8_t status;   /* enum pc_slice_status */
    uint8_t next_key; /* of a line's window, where it goes on after a pause */
    bool found;
    bool marked;          /* mg: the look-up has left its traces, and is to be counted still */
    bool no_memory;       /* the value was there and could not be sent */
    bool asks_again;      /* for a hold on it */
    uint8_t *into;        /* reply space reserved for an answer from another lane */
    uint32_t reply_bytes; /* printed at `into` */
    uint64_t number;
    struct pc_cache_hold *hold;
    void *extra;                /* of whoever serves it: the request's extra block */
    struct pc_cache_meta *meta; /* NULL: a classic request */
};

static inline uint64_t pc_cache_limit_bytes(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->limit_bytes, memory_order_relaxed);
}

static inline uint64_t pc_cache_auth_attempts(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->auth_attempts, memory_order_relaxed);
}

static inline uint64_t pc_cache_auth_failures(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->auth_failures, memory_order_relaxed);
}

static inline uint64_t pc_cache_crawls(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->crawls, memory_order_relaxed);
}

static inline uint64_t pc_cache_dumps(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->dumps, memory_order_relaxed);
}

static inline struct pc_cache *pc_cache_of(const struct pc_cache_op *op)
{
    return op->request->app;
}

static inline struct pc_key pc_cache_key(const struct pc_cache_op *op)
{
    const uint8_t *at = op->request->input.at;
    if (PC_UNLIKELY(op->meta != NULL)) {
        return (struct pc_key){pc_memcached_meta_key(at, &op->parsed, &op->meta->parsed),
                               op->meta->parsed.key_bytes, op->hash};
    }
    return (struct pc_key){at + op->parsed.key_at, op->parsed.key_bytes, op->hash};
}

static inline void pc_cache_count(struct pc_cache *cache, unsigned place, enum pc_cache_count count)
{
    cache->places[place].counts[count]++;
}

/* Run `run` in the slice of `place` if this lane may be in it now.  Lane: the connection's. */
bool pc_cache_at_hand(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run,
                      struct pc_lane *lane);

/* Have `run` run where the place is. False: the answer comes later; return WAITING or AGAIN.
 * Lane: the connection's. */
bool pc_cache_post(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run);

/* Whichever of the two works. */
static inline bool pc_cache_ask(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run,
                                struct pc_lane *lane)
{
    return pc_cache_at_hand(op, place, run, lane) || pc_cache_post(op, place, run);
}

/* The same for the one key of a request, whose slice may be borrowed meanwhile: true, it has run.
 * Lane: the connection's. */
bool pc_cache_borrow(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane);
static inline bool pc_cache_ask_key(struct pc_cache_op *op, pc_cache_run_fn *run,
                                    struct pc_lane *lane)
{
    return pc_cache_at_hand(op, op->place, run, lane) || pc_cache_borrow(op, run, lane) ||
           pc_cache_post(op, op->place, run);
}

/* Ask every place from op->next_place on, one after the other: nobody waits for more than one, and
 * a place asked later has seen all that this connection asked of it before. False: return AGAIN and
 * come back. True: all have answered, and next_place is 0 again. */
bool pc_cache_ask_all(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane);

/* A lane is in the slice now: do what is due by its clock.  In the slice. */
static inline void pc_cache_due(struct pc_cache *cache, unsigned place, const struct pc_lane *there)
{
    struct pc_cache_place *here = &cache->places[place];
    const uint32_t due = atomic_load_explicit(&here->flush_second, memory_order_relaxed);
    if (PC_UNLIKELY(due != 0) && pc_lane_second(there) >= due) {
        pc_slice_flush(pc_owners_slice(cache->owners, place), pc_lane_second(there));
        /* Release, behind the flush: who peeks and sees that nothing is due sees the flush too. */
        atomic_store_explicit(&here->flush_second, 0, memory_order_release);
    }
}

/* While a slice says LATER: have all of them make room and ask it again, one round a turn. SERVED:
 * it says something else now, or will not any more; else return AGAIN and come back. */
unsigned pc_cache_rounds_max(const struct pc_cache_op *op);
enum pc_serve pc_cache_insist(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane);

/* The second at which something of this exptime is gone: 0 never, 1 at once. */
uint32_t pc_cache_expiry(int32_t exptime, struct pc_lane *lane);

/* Seconds left until it; -1: it does not end. An answer may come after it: then 0. */
static inline int64_t pc_cache_ttl(uint32_t expiry, uint32_t now)
{
    const int64_t left = expiry > now ? (int64_t)expiry - (int64_t)now : 0;
    return expiry == 0 ? -1 : left;
}

/* Write a text, or a name and a number, at `at`; return its end. */
static inline char *pc_cache_put(char *at, const char *text)
{
    const size_t bytes = strlen(text);
    memcpy(at, text, bytes);
    return at + bytes;
}

static inline char *pc_cache_put_number(char *at, const char *name, uint64_t value)
{
    at = pc_cache_put(at, name);
    return at + pc_decimal_write(at, value);
}

/* Say a fixed line, unless the request is quiet.  Lane: the connection's. */
enum pc_serve pc_cache_say(struct pc_cache_op *op, enum pc_memcached_reply reply);

/* ---- Telling those who watch ---- */

static inline uint32_t pc_cache_watched(const struct pc_cache *cache)
{
    return atomic_load_explicit(&cache->watched, memory_order_relaxed);
}

/* The key is about to be looked up: tell what is there, and return the bytes of its value. In the
 * slice, which it leaves as it was. */
uint64_t pc_cache_tell_look(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                            uint32_t now);
static inline uint64_t pc_cache_look(const struct pc_cache_op *op, unsigned place,
                                     const struct pc_key *key, uint32_t now)
{
    return PC_UNLIKELY(pc_cache_watched(pc_cache_of(op)) != 0)
               ? pc_cache_tell_look(op, place, key, now)
               : 0;
}

/* A read has looked, near `index`: a place or a lane. */
void pc_cache_tell_read(const struct pc_cache_op *op, unsigned index, const struct pc_key *key,
                        bool found, uint64_t value_bytes);

/* A store ended as op->status says.  In the slice. */
void pc_cache_tell_store(const struct pc_cache_op *op, unsigned place, uint32_t now);

/* A count made the key anew.  In the slice. */
void pc_cache_tell_made(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                        uint32_t expiry, uint32_t now);

/* A delete found a value of so many bytes.  In the slice. */
void pc_cache_tell_delete(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                          uint64_t value_bytes);

/* An item went to make room; ctx is its place.  In the slice. */
void pc_cache_tell_evicted(void *ctx, const struct pc_key *key, const struct pc_value *value);

/* Hooks of the service.  Lane: the connection's. */
void pc_cache_opened(void *app, void *session, const struct pc_peer *peer, struct pc_lane *lane);
void pc_cache_shut(void *app, void *session, enum pc_close why, struct pc_lane *lane);

/* The line of an event, PC_CACHE_EVENT_LINE_BYTES_MAX at most; returns its end. */
enum { PC_CACHE_EVENT_LINE_BYTES_MAX = 1024 };
char *pc_cache_event_print(char *at, const struct pc_event *event, const uint8_t *text);

/* ---- Those who watch ---- */

/* Lines that wait for a watcher that does not read: a whole reply's worth. */
enum { PC_CACHE_WATCHER_BYTES = PC_REPLY_BYTES_HIGH };

/* NULL: no memory.  Core: boot. */
struct pc_cache_watch *pc_cache_watch_create(unsigned ring_count);
void pc_cache_watch_destroy(struct pc_cache_watch *watch);

/* Where what happens near `index`, a lane or a place, is written down.  Any lane. */
void pc_cache_watch_write(struct pc_cache_watch *watch, unsigned index,
                          const struct pc_event *event, const void *text);

/* What `stats` says of them.  Any lane. */
struct pc_cache_watch_totals {
    uint64_t written, dropped, skipped, sent, watchers;
};
void pc_cache_watch_sum(struct pc_cache_watch *watch, struct pc_cache_watch_totals *out);
void pc_cache_watch_reset(struct pc_cache_watch *watch);

enum pc_serve pc_cache_serve_watch(struct pc_cache_op *op, struct pc_lane *lane);

/* serve of each kind of request. */
enum pc_serve pc_cache_serve_refusal(struct pc_cache_op *op);
enum pc_serve pc_cache_serve_get(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_item(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_keys(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_meta(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_binary(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_body(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_flush(struct pc_cache_op *op, struct pc_lane *lane);
enum pc_serve pc_cache_serve_stats(struct pc_cache_op *op, struct pc_lane *lane);
/* What follows `lru_crawler metadump`, or mgdump if `keys_only`, was understood; it names the class
 * of all items. */
enum pc_serve pc_cache_serve_dump(struct pc_cache_op *op, bool keys_only, bool understood,
                                  bool has_ours, struct pc_lane *lane);
enum pc_serve pc_cache_serve_auth(struct pc_cache_op *op);
enum pc_serve pc_cache_serve_admin(struct pc_cache_op *op, struct pc_lane *lane);

/* stats hotkeys: take the room for it (false: no memory); then serve until it is done. */
bool pc_cache_hot_begin(struct pc_cache_op *op);
/* Look at a read that was answered from another's slice, if nobody else is there.
 * Lane: that of `reads`. */
void pc_cache_hot_sample(struct pc_cache_reads *reads, const struct pc_key *key, uint32_t now);
/* Of what all lanes read from slices of others.  Any lane. */
void pc_cache_hot_forget(struct pc_cache *cache);
enum pc_serve pc_cache_serve_hot(struct pc_cache_op *op, struct pc_lane *lane);

/* What a store of this request asks of a slice; what to note of its outcome while in the slice; how
 * that outcome is said. */
struct pc_store pc_cache_store_of(const struct pc_cache_op *op);
/* A value stored stale keeps the expiry, and the mark of a client that makes it anew, of the newer
 * one it replaces.  In the slice. */
void pc_cache_store_fit(struct pc_slice *slice, const struct pc_key *key, struct pc_store *store,
                        uint32_t now);
/* A slice that has said LATER for so long is out of memory; and as with memcached a set that fails
 * leaves nothing of what it was to replace.  In the slice. */
void pc_cache_store_settle(struct pc_cache_op *op, struct pc_slice *slice, const struct pc_key *key,
                           const struct pc_store *store, uint32_t now);
void pc_cache_store_note(struct pc_cache_op *op, unsigned place, uint64_t cas, uint32_t now);
enum pc_serve pc_cache_store_say(struct pc_cache_op *op);
enum pc_memcached_reply pc_cache_store_reply(const struct pc_cache_op *op);

/* The same for ms. */
struct pc_store pc_cache_meta_store(const struct pc_cache_op *op);
void pc_cache_meta_stored(struct pc_cache_op *op, unsigned place, uint64_t cas, uint32_t now);
enum pc_serve pc_cache_meta_say_stored(struct pc_cache_op *op);

/* The extra block of a meta or binary request; NULL: no memory. */
struct pc_cache_meta *pc_cache_meta_open(struct pc_cache_op *op);
/* What runs in the slice for both. */
pc_cache_run_fn pc_cache_meta_run_get, pc_cache_meta_run_delete, pc_cache_meta_run_count,
    pc_cache_meta_run_look;

/* A plain mg in a slice that this lane may be in: found, printed and committed in one go. False:
 * not there, or there is more to it, and the long way is to be taken.  Lane: the connection's. */
bool pc_cache_meta_near(struct pc_cache_op *op, struct pc_lane *lane, enum pc_serve *out_served);

/* Whether it tells of earlier reads (`h`, `l`), which peeks do not write. */
bool pc_cache_meta_tells_reads(const struct pc_cache_op *op);

/* What a mode letter of ms or ma asks for; false: it is none. */
bool pc_cache_meta_store_mode(char letter, enum pc_store_mode *out_mode);
bool pc_cache_meta_count_mode(char letter, bool *out_decrement);

/* The forms in which the binary protocol says what the others say in lines. */
enum pc_serve pc_cache_binary_say_stored(struct pc_cache_op *op);
enum pc_serve pc_cache_binary_say_reply(struct pc_cache_op *op, enum pc_memcached_reply reply);
void pc_cache_binary_say_stat(struct pc_cache_op *op, const char *name, const char *value);

/* Bytes that a body needs behind a struct pc_cache_meta. */
enum { PC_CACHE_BODY_BYTES = 128 };

/* Look a key up as the request says (gat touches) and count it.  In the slice of `place`. */
bool pc_cache_find(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                   uint32_t now, struct pc_value *out_value);

/* How a value that was peeked at is said: `head` is printed in front of it; if that says true, the
 * value and `tail` follow. */
struct pc_cache_form {
    bool (*head)(const struct pc_cache_op *op, const struct pc_key *key,
                 const struct pc_peeked *peeked, uint32_t now, uint8_t *into, size_t *out_bytes);
    const char *tail;
    uint16_t tail_bytes;
    uint16_t bytes_max; /* of head and tail, without the key */
    bool tells_key;
};

extern const struct pc_cache_form pc_cache_form_get; /* of one key: with END */
extern const struct pc_cache_form pc_cache_form_key; /* one of several */

/* Said, counted and noted; absent, counted, nothing said; ask the owner; the peer reads too little.
 */
enum pc_cache_peek {
    PC_CACHE_PEEK_SAID,
    PC_CACHE_PEEK_MISS,
    PC_CACHE_PEEK_POST,
    PC_CACHE_PEEK_HANG_UP,
};

/* Answer a read from a slice that this lane may not enter, if that can be done without its owner.
 * Lane: the connection's, a core. */
enum pc_cache_peek pc_cache_peek(struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                                 const struct pc_cache_form *form, struct pc_lane *lane);

/* Ask the place; a read that `form` (may be NULL: no such read) can say is peeked at where the
 * slice may not be entered. POST: it was posted. MISS: the answer is in the op, which says nothing
 * found if the peek found nothing.  Lane: the connection's. */
enum pc_cache_peek pc_cache_ask_or_peek(struct pc_cache_op *op, pc_cache_run_fn *run,
                                        const struct pc_cache_form *form, struct pc_lane *lane);

/* All that the lanes answered that way.  Any lane. */
void pc_cache_reads_sum(const struct pc_cache *cache, struct pc_cache_read_counts *out);

/* Bytes of a value's answer: its line, itself and a line end. */
static inline size_t pc_cache_value_bytes_max(uint32_t key_bytes, uint64_t value_bytes)
{
    return PC_MEMCACHED_VALUE_LINE_BYTES_MAX - PC_MEMCACHED_KEY_BYTES_MAX + key_bytes +
           (size_t)value_bytes + 2;
}

/* Commands that a peek may answer. */
static inline bool pc_cache_reads_only(uint8_t verb)
{
    return verb == PC_MEMCACHED_GET || verb == PC_MEMCACHED_GETS || verb == PC_MEMCACHED_MG ||
           verb == PC_MEMCACHED_BINARY;
}

/* gets and gats tell the cas unique. */
static inline bool pc_cache_tells_cas(uint8_t verb)
{
    return verb == PC_MEMCACHED_GETS || verb == PC_MEMCACHED_GATS;
}

/* Print the whole answer; the value is fresh, and there is room. Returns its bytes.
 * In the slice. */
size_t pc_cache_value_print(const struct pc_cache *cache, uint8_t *into, const void *key,
                            uint32_t key_bytes, struct pc_value *value, bool with_cas);

/* The same for a request that may come back: *out_again says that it is to, since earlier replies
 * have to leave first, or others' values; the read is not counted then.  In the slice, on the
 * connection's lane. */
struct pc_cache_hold *pc_cache_hold_near(struct pc_cache_op *op, unsigned place,
                                         const struct pc_value *value, bool *out_again);

/* Hold a value to send it where it lies; NULL: too much is held, or no memory.  In the slice. */
struct pc_cache_hold *pc_cache_hold_take(struct pc_cache *cache, unsigned place,
                                         const struct pc_value *value);

/* The same for the op's answer: its hold, or no_memory and by which number to know the value again.
 * In the slice. */
void pc_cache_hold_for(struct pc_cache_op *op, unsigned place, const struct pc_value *value);

/* While the value that was found cannot be held: ask for a hold on it now and then. SERVED: there
 * is one, or there will be none, since the wait was long or the value is another by now, which
 * later requests may have seen before; else return what it says and come back.
 * Lane: the connection's. */
enum pc_serve pc_cache_hold_insist(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run,
                                   struct pc_lane *lane);

/* What it runs: look for the same value under its key.  In the slice. */
void pc_cache_hold_same(struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                        struct pc_lane *there);
pc_cache_run_fn pc_cache_run_hold; /* of a request of one key */

/* Give up a hold of which nothing was sent.  Any lane. */
void pc_cache_hold_drop(struct pc_cache_hold *hold);

/* Say a held value; the hold is the runtime's or gone afterwards. 0 or -ENOMEM.
 * Lane: the connection's. */
int pc_cache_value_share(struct pc_request *request, const void *key, uint32_t key_bytes,
                         struct pc_cache_hold *hold, bool with_cas);

/* Hand a held value to the runtime, piece by piece; the hold is the runtime's or gone afterwards.
 * 0 or -ENOMEM.  Lane: the connection's. */
int pc_cache_hold_send(struct pc_request *request, struct pc_cache_hold *hold);

/* Free the holds a place keeps.  Core: boot. */
void pc_cache_holds_free(struct pc_cache_place *place);

#endif
