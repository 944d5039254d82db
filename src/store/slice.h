/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice: a part of the key space: index + log of segments + eviction, with one owner.
 *
 * Owner    One core at a time. Only functions marked "any" may run elsewhere.
 * Memory   Segments come from the pool. A view (struct pc_value) points into them and is good until
 *          the next call on this slice, unless it is held.
 * Limits   Keys of 1 to PC_KEY_BYTES_MAX bytes; values to value_bytes_max of the configuration.
 *          Full memory evicts, unless its pool keeps all; what there is no room for is
 *          PC_SLICE_NO_MEMORY, and counted.
 * Order    Effects in the order of calls. A refused store leaves what was there, save that
 *          PC_SLICE_TOO_LARGE on a plain set removes the old value, as memcached does.
 * Units    Seconds of one clock that the caller reads (`now`, from 1, never back); an expiry is a
 *          second of that clock, 0 for never; at `now` >= expiry the item is gone.
 * Cost     A hit is two cache misses (bucket, item); prefetch both ahead when requests come in
 *          batches. No call runs longer than its budget, large values apart (their bytes).
 * Source   Segcache (Yang, Yue, Vinayak, NSDI 2021); docs/decisions/0100 to 0103.
 */
#ifndef PC_STORE_SLICE_H
#define PC_STORE_SLICE_H

#include "store/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_KEY_BYTES_MAX = 250,         /* memcached's limit */
    PC_SLICE_COUNT_MAX = 1 << 12,   /* slices of one pool: their number is in each CAS number */
    PC_VALUE_HOLD_BYTES = 4 * 1024, /* from here on sending by reference beats a copy */
    PC_SLICE_LATER_BYTES_MIN = 7 * 1024, /* a shorter value that extends nothing is not put in
                                          * chunks in segments of 64 KiB and more */
};

struct pc_slice;
struct pc_bucket;

enum pc_slice_status {
    PC_SLICE_OK,         /* done: stored, deleted, touched, counted */
    PC_SLICE_NOT_FOUND,  /* no such key */
    PC_SLICE_NOT_STORED, /* the mode wanted a key that is there, or one that is not */
    PC_SLICE_EXISTS,     /* the CAS number differs */
    PC_SLICE_NOT_NUMBER, /* the value is not a decimal number of 64 bits */
    PC_SLICE_TOO_LARGE,  /* over value_bytes_max */
    PC_SLICE_NO_MEMORY,  /* nothing more can be evicted for it */
    PC_SLICE_LATER,      /* room is being made: step the slices and ask again */
};

typedef uint64_t pc_key_hash_fn(const void *key, size_t bytes, uint64_t seed);

struct pc_slice_config {
    struct pc_pool *pool;
    unsigned index;           /* which slice of the pool this is, from 0 */
    uint64_t value_bytes_max; /* 0: 1 MiB */
    pc_key_hash_fn *hash;     /* the same that makes pc_key.hash; NULL: XXH3 */
    uint64_t hash_seed;
    uint64_t random_seed;
};

struct pc_key {
    const void *at;
    uint32_t bytes;
    uint64_t hash; /* of the key, by the hash of the configuration */
};

/* A view of a value: its numbers and its first piece. Values that no segment holds whole, or that
 * came by reservation, lie in several pieces; pc_value_next goes through them. */
struct pc_value {
    const uint8_t *at;
    uint32_t piece_bytes;
    uint32_t flags;
    uint64_t value_bytes;
    uint64_t cas;
    uint32_t expiry;   /* 0: never */
    uint32_t accessed; /* second of the access before this one, rounded down a little (item.h) */
    bool fetched;      /* read before */
    bool stale;        /* invalidated, kept for whoever likes stale values */
    bool claimed;      /* somebody was told to make the value anew */
    bool held;
    uint64_t first, next; /* places of the pool, for pc_value_next and holds */
    uint64_t left_bytes;  /* in the pieces after this one */
};

enum pc_store_mode {
    PC_STORE_SET,
    PC_STORE_ADD,     /* only if absent */
    PC_STORE_REPLACE, /* only if present */
    PC_STORE_APPEND,  /* to what is there; flags and expiry are those of what is there */
    PC_STORE_PREPEND,
};

struct pc_store {
    enum pc_store_mode mode;
    uint32_t flags;
    uint32_t expiry;
    bool compare; /* only if the present CAS number is `cas`; absent is PC_SLICE_NOT_FOUND */
    uint64_t cas;
    uint64_t cas_new;    /* 0: the next of the slice (meta E) */
    bool stale_if_older; /* with compare: a lower `cas` stores and marks stale (meta I) */
    bool create;         /* append, prepend: an absent key is stored like set (meta N) */
    bool claimed;        /* the stored item counts as claimed (meta mg N) */
    const void *value;   /* not used by reserve and commit */
    uint64_t value_bytes;
};

struct pc_count {
    uint64_t delta;
    bool decrement; /* stops at 0; counting up wraps at 2^64 */
    bool compare;
    uint64_t cas;
    uint64_t cas_new;
    bool create; /* an absent key becomes `initial` with `expiry` (meta N, J) */
    uint64_t initial;
    uint32_t expiry;
    bool expiry_set; /* also give a present item `expiry` (meta T) */
};

struct pc_delete {
    bool compare;
    uint64_t cas;
    bool mark_stale; /* keep the item, stale and unclaimed, with a new CAS number (meta I) */
    bool keep_key;   /* drop the value and flags, keep the item (meta x) */
    bool expiry_set; /* with mark_stale: also give it `expiry` (meta T) */
    uint32_t expiry;
    uint64_t cas_new;
};

/* A value on its way in: room taken, nothing visible. */
struct pc_reservation {
    uint64_t first; /* place of the first piece; 0: nothing is reserved */
    uint64_t next;
    uint64_t value_bytes;
    uint8_t *at; /* the piece to fill now, see pc_reservation_next */
    uint32_t piece_bytes;
};

struct pc_slice_stats {
    uint64_t item_count;
    uint64_t item_bytes;  /* headers, keys and values that are alive */
    uint64_t index_bytes; /* index memory in use */
    uint64_t segment_count;
    uint64_t stored_total; /* items ever stored */
    uint64_t evicted, evicted_unfetched, evicted_with_expiry;
    uint64_t evicted_active; /* of those, read since they were stored or last spared */
    uint64_t forced;         /* segments that a store had to clear at once: upkeep was behind */
    uint64_t checked;        /* entries that upkeep and walks looked at */
    uint64_t found_expired, found_flushed; /* reads that met an item dead by then */
    uint64_t expired, expired_unfetched;   /* items found dead by their time */
    uint64_t reclaimed;                    /* of those, by upkeep rather than by a request */
    uint64_t flushed;
    uint64_t moved;     /* items that eviction kept by copying */
    uint64_t too_large; /* refused */
    uint64_t no_memory;
    uint64_t hold_refused;
    uint64_t eviction_age_seconds; /* age of the last evicted segment */
    uint64_t oldest_age_seconds;
    uint64_t splits;    /* index buckets split so far */
    uint64_t item_room; /* items that the index has slots for, as it stands */
};

/* -EINVAL, -ENOMEM.  Core: boot, or the owner-to-be (first touch). */
int pc_slice_create(const struct pc_slice_config *config, struct pc_slice **out_slice);

/* Gives all memory back; no value of it is held.  Core: boot. */
void pc_slice_destroy(struct pc_slice *slice);

/* Which of slice_count slices a hash belongs to.  Core: any. */
static inline unsigned pc_slice_of(uint64_t hash, unsigned slice_count)
{
    return (unsigned)(((hash >> 48) * slice_count) >> 16);
}

/* Bring near what find will read: first the bucket, and a little later the item. Only hints: they
 * read nothing that could be wrong, change nothing.  Core: any. */
void pc_slice_prefetch(const struct pc_slice *slice, uint64_t hash);
void pc_slice_prefetch_item(const struct pc_slice *slice, uint64_t hash);

enum pc_find {
    PC_FIND_HIT = 0,   /* an ordinary read: counts for eviction, sets fetched and access time */
    PC_FIND_QUIET = 1, /* leaves no trace (dumps, debug) */
};

/* False: absent, expired or flushed.  Core: owner. */
bool pc_slice_find(struct pc_slice *slice, const struct pc_key *key, uint32_t now, enum pc_find how,
                   struct pc_value *out_value);

/* What an ordinary read would find, and how long the value is; leaves everything as it is: what is
 * dead is not unlinked, nothing is counted. For logs.  Core: owner. */
enum pc_seen { PC_SEEN_ABSENT, PC_SEEN_FOUND, PC_SEEN_FLUSHED, PC_SEEN_EXPIRED };
enum pc_seen pc_slice_see(const struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                          uint64_t *out_value_bytes);

/* Who is told of an item that went to make room, while key and value can still be read; it does
 * nothing to the slice. `listens` is asked first, relaxed: while it is 0 nobody is told. */
struct pc_slice_ear {
    const _Atomic uint32_t *listens;
    void (*evicted)(void *ctx, const struct pc_key *key, const struct pc_value *value);
    void *ctx;
};

/* Keeps what `ear` points to.  Core: boot, the owner. */
void pc_slice_tell(struct pc_slice *slice, const struct pc_slice_ear *ear);

/* Store as `store` says; the new CAS number goes to *out_cas when OK and out_cas is not NULL.
 * LATER only for values in chunks.  Core: owner. */
enum pc_slice_status pc_slice_store(struct pc_slice *slice, const struct pc_key *key,
                                    const struct pc_store *store, uint32_t now, uint64_t *out_cas);

/* A store that was told LATER is given up: counts as out of memory.  Core: owner. */
void pc_slice_give_up(struct pc_slice *slice);

/* Whether a store of so many bytes, key and value, that come in one piece finds room without
 * evicting for it first.  Core: owner. */
bool pc_slice_has_room(const struct pc_slice *slice, uint32_t bytes, uint32_t expiry, uint32_t now);

/* `how` may be NULL: a plain delete.  Core: owner. */
enum pc_slice_status pc_slice_delete(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_delete *how, uint32_t now);

/* incr, decr. On OK *out_number is the new number; out_cas may be NULL.  Core: owner. */
enum pc_slice_status pc_slice_count(struct pc_slice *slice, const struct pc_key *key,
                                    const struct pc_count *count, uint32_t now,
                                    uint64_t *out_number, uint64_t *out_cas);

/* Give the item a new expiry; with out_value also find it (gat).  OK, NOT_FOUND or NO_MEMORY.
 * Core: owner. */
enum pc_slice_status pc_slice_touch(struct pc_slice *slice, const struct pc_key *key,
                                    uint32_t expiry, uint32_t now, struct pc_value *out_value);

/* Ask to be the one who makes the value anew: true for the first caller since the item was stored
 * or went stale (meta W), false for later ones (Z) or when absent.  Core: owner. */
bool pc_slice_claim(struct pc_slice *slice, const struct pc_key *key, uint32_t now);

/* Everything stored before this call is gone when it returns; memory comes back in steps. For a
 * delayed flush call it when the time has come.  Core: owner. */
void pc_slice_flush(struct pc_slice *slice, uint32_t now);

/* Upkeep: expiry, flush, eviction ahead of need, index growth, giving memory to other slices.
 * `budget` is in items looked at, each well under a microsecond. True: there is more to do now.
 * Call it about once a turn with what the turn can spare, and at least once a second. Core: owner
 */
bool pc_slice_step(struct pc_slice *slice, uint32_t now, unsigned budget);

/* Step to the next piece of a value; false after the last. The view must be held or fresh.
 * Core: owner; any while held. */
bool pc_value_next(const struct pc_pool *pool, struct pc_value *value);

/* Keep the value's bytes where they are while they are sent. False: too much is held already;
 * answer that memory is short.  Core: owner. */
bool pc_value_hold(struct pc_slice *slice, struct pc_value *value);

/* The bytes are sent, or never will be. Needs `first` and `value_bytes` of the held view only.
 * Core: any. */
void pc_value_release(struct pc_pool *pool, struct pc_value *value);

/* Take room for a body of store->value_bytes that will be received into place.
 * OK, TOO_LARGE, NO_MEMORY or LATER. `out_reservation` starts at its first piece.  Core: owner. */
enum pc_slice_status pc_slice_reserve(struct pc_slice *slice, const struct pc_key *key,
                                      const struct pc_store *store, uint32_t now,
                                      struct pc_reservation *out_reservation);

/* Step to the next piece to fill; false after the last.  Core: any, one at a time. */
bool pc_reservation_next(const struct pc_pool *pool, struct pc_reservation *reservation);

/* The body is whole: store it as `store` says (its `value` is not read). Whatever the status, the
 * reservation is empty afterwards, save on LATER.  Core: owner. */
enum pc_slice_status pc_slice_commit(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_store *store, uint32_t now,
                                     struct pc_reservation *reservation, uint64_t *out_cas);

/* Give the room back; harmless on an empty reservation.  Core: owner. */
void pc_slice_abort(struct pc_slice *slice, struct pc_reservation *reservation);

/* Visit living items, about `budget` at a time, for dumps. `*cursor` starts at 0 and is 0 again at
 * the end. A visit that returns false is the last of this call and is made again by the next one; a
 * call makes at least one. Items stored, moved or deleted between the calls may be missed or seen
 * twice.  Core: owner. */
typedef bool pc_slice_visit_fn(void *ctx, const struct pc_key *key, const struct pc_value *value);
void pc_slice_walk(struct pc_slice *slice, uint32_t now, uint64_t *cursor, unsigned budget,
                   pc_slice_visit_fn *visit, void *ctx);

/* Unlink what has expired, before its turn; the cursor as above.  Core: owner. */
void pc_slice_sweep(struct pc_slice *slice, uint32_t now, uint64_t *cursor, unsigned budget);

/* Core: owner. */
void pc_slice_stats(const struct pc_slice *slice, uint32_t now, struct pc_slice_stats *out_stats);

/* Set the totals to zero and forget which keys were hot; what is alive keeps its numbers.
 * Core: owner. */
void pc_slice_stats_reset(struct pc_slice *slice);

/* Add the keys most asked for lately, see hot.h: by reads, stores, deletes, counts and touches; but
 * not by peeks.  Core: owner. */
struct pc_hot_list;
void pc_slice_hot_list(struct pc_slice *slice, uint32_t now, struct pc_hot_list *list);

/*
 * Reads from other cores: copy and check (rule 4 of the design, docs/decisions/0102).
 */
enum pc_peek {
    PC_PEEK_HIT,    /* true at some moment during the call, once it is copied and checked */
    PC_PEEK_MISS,   /* true at some moment during the call */
    PC_PEEK_REFUSED /* ask the owner: it kept changing, is in chunks, or is to be taken away */
};

/* Zero it before the first look. */
struct pc_peeked {
    uint32_t flags;
    uint32_t expiry;
    uint32_t value_bytes; /* fewer than 2^17, also while it is not checked */
    bool unmarked;        /* not read since it was stored: tell the owner, when there is time */
    bool stale, claimed;
    uint64_t cas;

    /* What the copy reads, and the check compares. */
    const struct pc_bucket *bucket;
    const uint32_t *words;
    uint64_t extent;
    uint32_t version;
    uint8_t skip_bytes, tries;
};

/* Find the key's item. HIT: `peeked` says what it seems to be; copy it to know. Again after a copy
 * that failed, with the same `peeked`; refuses in the end. Writes nothing shared.  Core: any; the
 * slice lives until every core has stopped. */
enum pc_peek pc_slice_peek_look(const struct pc_slice *slice, const struct pc_key *key,
                                uint32_t now, struct pc_peeked *peeked);

/* Copy `count` bytes of the value, or none, to `into`. True: they, and all that `peeked` says, are
 * the key's. False: look again.  Core: any. */
bool pc_slice_peek_copy(const struct pc_slice *slice, const struct pc_key *key,
                        const struct pc_peeked *peeked, void *into, uint32_t count);

/* Both at once, for a value that fits `room_bytes`.  Core: any. */
enum pc_peek pc_slice_peek(const struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                           void *into, uint32_t room_bytes, struct pc_peeked *out_peeked);

/* A read that a peek told of: as if the owner had found the item, if it is still there; but it does
 * not count for the key.  Core: owner. */
void pc_slice_note(struct pc_slice *slice, uint64_t hash, uint32_t now);

#endif
