/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts: what a slice is made of, for the files of this folder.
 *
 *     slice.c   life, finding, upkeep      chain.c   values in chunks, holds, bodies
 *     write.c   storing                    clear.c   taking a segment's items away
 *                                          evict.c   what goes and what stays
 *     change.c  the other changes          log.c     room for entries, life of segments
 *     index.c   hash to place              pool.c    segments for all slices
 *     history.c what was evicted           balance.c sharing among slices
 *     walk.c    all items, for dumps       compact.c room where nothing is evicted
 *     hot.c     which keys are asked for   extend.c  values in chunks that grow
 *     peek.c    reading without owning     tell.c    what logs hear
 *
 * Owner    The slice's core. flush_sequence and the index are read by others (peek.c).
 */
#ifndef PC_STORE_PARTS_H
#define PC_STORE_PARTS_H

#include "store/history.h"
#include "store/hot.h"
#include "store/index.h"
#include "store/segment.h"
#include "store/slice.h"

#include "base/random.h"

struct pc_look;

enum {
    PC_GROUP_COUNT_MAX = 32,   /* time-to-live groups; the first is for items that never expire */
    PC_CHUNK_BYTES_MIN = 1024, /* a smaller end of a segment is left unused */
    PC_HOLD_SHARE = 8,         /* of the pool: segments with sends, or one value */
    PC_READY_SPARE = 1,        /* ready segments that only eviction may open, for what it keeps */
    PC_BODY_SHARE = 2,         /* of the pool: bodies on their way in, or one body */
};

/* One place where entries are appended. Streams 2g and 2g + 1 are those of group g: for what is
 * stored, and for what eviction keeps. */
struct pc_stream {
    uint32_t open; /* segment, 0: none */
};

/* Segments in the order in which they were opened. */
struct pc_queue {
    uint32_t oldest, newest;
    uint32_t count;
};

enum pc_queue_name { PC_QUEUE_FRESH, PC_QUEUE_KEPT, PC_QUEUE_COUNT };

/* The segment whose items are being taken away, entry by entry. */
struct pc_clearing {
    uint32_t segment; /* 0: none */
    uint32_t offset;
    uint32_t ahead; /* buckets of entries before this offset are being fetched */
    uint32_t kept_bytes;
    bool evicts; /* else everything in it is known to be dead */
    bool stuck;  /* something in it must stay and found no room elsewhere */
};

/* Goes round the segments of both queues. */
struct pc_cursor {
    uint32_t segment; /* 0: the next queue's first */
    unsigned queue;
};

/* The search for segments that are worth compacting, where nothing is evicted. */
struct pc_compaction {
    struct pc_cursor cursor;
    uint32_t looked;      /* segments in a row that were not worth it */
    uint32_t idle_second; /* none was found then, with so much alive */
    uint64_t idle_bytes;
    uint64_t sweep_cursor; /* of the search for what has expired among the living */
    uint32_t sweep_began, sweep_due;
};

struct pc_slice {
    alignas(PC_CACHE_LINE) struct pc_index index;

    /* Read by every core, written at boot, and by the owner when it flushes. */
    alignas(PC_CACHE_LINE) _Atomic uint64_t flush_sequence;
    struct pc_pool *pool;
    unsigned number;

    /* The owner's. */
    alignas(PC_CACHE_LINE) uint64_t value_bytes_max;
    uint32_t inline_bytes_max; /* items beyond this are chunked */
    uint64_t cas_counter;
    uint64_t sequence; /* of the segment opened last */
    struct pc_random random;

    struct pc_stream streams[PC_GROUP_COUNT_MAX * PC_QUEUE_COUNT];
    unsigned group_count;
    struct pc_queue queues[PC_QUEUE_COUNT];
    uint32_t segment_count; /* in both */
    uint32_t ready;         /* cleared segments kept for the next opening, by next_free */
    uint32_t ready_count;
    uint32_t floor_count; /* segments it never goes below, so that a store can always evict */
    uint32_t limbo;       /* cleared but held, by next_free */
    struct pc_clearing clearing;
    uint32_t walked;      /* chunks visited one by one so far: they cost what items cost */
    uint32_t cleared_age; /* of the segment being cleared when that began, in seconds */

    uint32_t giving;                /* segments to give to the pool, see balance.c */
    uint32_t wanted, wanted_second; /* what this slice asks the others for, and since when */
    uint32_t evicted_second, balanced_second;

    struct pc_history history;
    uint32_t fresh_share; /* of the segments, see evict.c; 0 until something was evicted */

    bool flush_pending;      /* segments at or below flush_sequence are still about */
    struct pc_cursor expiry; /* where the search for expired segments goes on */
    uint32_t expiry_checked; /* second of the last whole search */
    struct pc_compaction compaction;
    struct pc_slice_stats stats;
    struct pc_hot hot;
    struct pc_slice_ear ear; /* written at boot */
};

/* --- log.c: room --- */

/* The stream for items of this expiry; add PC_QUEUE_KEPT for those that eviction keeps. */
unsigned pc_log_stream(const struct pc_slice *slice, uint32_t expiry, uint32_t now);

/* The same, but while no segment is free a stream of a neighbouring group that has room for
 * `bytes`: better a mixed segment than a store that waits for a whole one to be cleared. */
unsigned pc_log_stream_with_room(const struct pc_slice *slice, uint32_t expiry, uint32_t bytes,
                                 uint32_t now);

/* Whether `bytes` can be taken from the stream at once. */
bool pc_log_has_room(const struct pc_slice *slice, unsigned stream, uint32_t bytes);

/* Open a segment for the stream, making room if there is none. Items may be evicted, so whatever
 * was found before must be found again. OK, NO_MEMORY, or LATER when the budget (in items) is
 * spent; NULL: as much as it takes. */
enum pc_slice_status pc_log_make_room(struct pc_slice *slice, unsigned stream, uint32_t now,
                                      unsigned *budget);

/* Open a segment for the stream only if one is free; accesses in it count from `born`. */
bool pc_log_open_free(struct pc_slice *slice, unsigned stream, uint32_t born, uint32_t now);

/* Take room; there is some. Returns the place of an entry of `bytes`, counted as alive. */
uint64_t pc_log_take(struct pc_slice *slice, unsigned stream, uint32_t bytes);

/* An entry of `bytes` is dead. May give its segment back: do not read from it afterwards. */
void pc_log_drop(struct pc_slice *slice, uint64_t place, uint32_t bytes);

/* Nothing in this segment is alive: off the list, to the ready ones, the pool or limbo. */
void pc_log_retire(struct pc_slice *slice, uint32_t number);

/* Segments of limbo that nobody holds any more come back. */
void pc_log_reap(struct pc_slice *slice);

/* The segment holds nothing that was flushed any more: it counts as the newest. */
void pc_log_renew(struct pc_slice *slice, uint32_t number);

/* Move a closed segment to the end of a queue. */
void pc_log_requeue(struct pc_slice *slice, uint32_t number, enum pc_queue_name name);

/* The next segment of both queues; 0 behind the last, and then from the start. */
uint32_t pc_log_next(struct pc_slice *slice, struct pc_cursor *cursor);

/* Close the stream's segment, if it has one. */
void pc_log_close(struct pc_slice *slice, unsigned stream);

/* --- clear.c: taking items away --- */

/* Begin with a segment; none is being cleared, and it is closed. */
void pc_clear_begin(struct pc_slice *slice, uint32_t number, bool evicts);

/* Look at entries, about `budget`, those that are copied or lie in many chunks at what they cost;
 * returns what is left of it. The clearing ends when the segment does. */
unsigned pc_clear_some(struct pc_slice *slice, uint32_t now, unsigned budget);

/* --- evict.c: what goes and what stays --- */

/* Begin to clear the next segment whose turn it is; false: none can be evicted. Looking for it uses
 * some of the budget; when that is spent first, nothing has begun, and it is to be called again. */
bool pc_evict_begin(struct pc_slice *slice, uint32_t now, unsigned *budget);

/* Make one segment free by evicting. OK, NO_MEMORY (nothing can be evicted), or LATER when the
 * budget is spent. */
enum pc_slice_status pc_evict_one(struct pc_slice *slice, uint32_t now, unsigned *budget);

/* A key that was not there is stored: learn from it if it was evicted not long ago. */
void pc_evict_learn(struct pc_slice *slice, uint64_t hash);

/* The same for a chunk, whose value is alive. */
bool pc_evict_keep_chunk(struct pc_slice *slice, struct pc_chunk *chunk, uint64_t place,
                         uint32_t now);

/* Move an item of the segment being cleared to where the kept ones are, if it deserves that and
 * there is room. */
bool pc_evict_keep(struct pc_slice *slice, const struct pc_look *look, const struct pc_key *key,
                   uint32_t now);

/* --- compact.c: room where nothing is evicted --- */

/* Begin to clear a segment that is dead in good part, all else moving elsewhere; else as
 * pc_evict_begin. */
bool pc_compact_begin(struct pc_slice *slice, uint32_t now, unsigned *budget);

/* Something of the segment being cleared must stay and found no room: it is left as it is. */
void pc_compact_stop(struct pc_slice *slice, uint32_t now);

/* While there is no room: search for what has expired. True: there is more of that to do. */
bool pc_compact_sweep(struct pc_slice *slice, uint32_t now, unsigned budget);

/* --- balance.c: among slices --- */

/* A fresh segment of that age was evicted for want of memory. */
void pc_balance_evicted(struct pc_slice *slice, uint32_t age, uint32_t now);

/* Once a second: publish, compare, forget wishes. */
void pc_balance_second(struct pc_slice *slice, uint32_t now);

/* This slice should evict for others. */
bool pc_balance_gives(const struct pc_slice *slice);

/* What is free is meant for somebody else. */
bool pc_balance_leaves(const struct pc_slice *slice);

/* Before so many bytes are taken in chunks: evict for them within the budget. OK: there is room.
 * LATER: there is not, and now the others evict too. NO_MEMORY. */
enum pc_slice_status pc_balance_ask(struct pc_slice *slice, unsigned stream, uint64_t bytes,
                                    uint32_t now, unsigned *budget);

/* --- chain.c: values in chunks --- */

/* Take chunks for `bytes`, pinned; OK, NO_MEMORY or LATER. */
enum pc_slice_status pc_chain_take_room(struct pc_slice *slice, unsigned stream, uint64_t bytes,
                                        uint32_t now, uint64_t *out_first);

/* The chunks belong to the item at `head` from now on. */
void pc_chain_own(struct pc_slice *slice, uint64_t first, uint64_t head);

/* Segments with these chunks are needed until `expiry`. */
void pc_chain_expire_at(struct pc_slice *slice, uint64_t first, uint32_t expiry);

/* Write a chunk's copy where there is room for it. */
void pc_chunk_copy(struct pc_chunk *into, const struct pc_chunk *from);

/* Let go of the pins of pc_chain_take_room. */
void pc_chain_unpin(struct pc_slice *slice, uint64_t first);

/* The chunks are dead. */
void pc_chain_drop(struct pc_slice *slice, uint64_t first);

/* --- extend.c: values in chunks that grow --- */

/* What becomes of the chunks of a value that new bytes go behind, or in front of. */
struct pc_extension {
    bool behind;
    uint64_t kept;                /* the chunk beside the new ones; 0: all are joined */
    uint64_t joined, joined_last; /* copied with the new bytes, then dropped; 0: none */
    uint64_t joined_bytes;
};

/* False: the value has too many chunks, and none of them can be joined while they are sent. */
bool pc_extend_plan(const struct pc_slice *slice, uint64_t first, uint64_t bytes, bool behind,
                    struct pc_extension *out_extension);

/* Put the chain at `fresh` where the plan says; returns the first chunk of the value. Those joined
 * are a chain of their own afterwards. */
uint64_t pc_extend_link(struct pc_slice *slice, const struct pc_extension *extension,
                        uint64_t first, uint64_t fresh);

/* --- slice.c: items --- */

/* Why an item goes. */
enum pc_end { PC_END_REPLACED, PC_END_EXPIRED, PC_END_FLUSHED, PC_END_EVICTED };

/* An item that a slot leads to. */
struct pc_look {
    struct pc_slot_at at;
    struct pc_item *item;
    uint32_t shape;
    enum pc_end missed; /* why there is none; REPLACED: no slot */
};

/* The living item of a key. One that is expired or flushed is unlinked on the way. */
bool pc_slice_look(struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                   struct pc_look *out_look);

/* Show it to the outside. */
void pc_slice_view(const struct pc_slice *slice, const struct pc_look *look,
                   struct pc_value *out_value);

/* The CAS number of an item. */
uint64_t pc_slice_cas(const struct pc_slice *slice, const struct pc_look *look);

/* Take the slot away and count the item and its chunks dead. */
void pc_slice_unlink(struct pc_slice *slice, const struct pc_slot_at *at, enum pc_end why);

/* The item at `place` was flushed, as far as its segment says. */
bool pc_slice_flushed(const struct pc_slice *slice, uint64_t place);

/* Begin to clear a segment in which everything is flushed or expired, searching within the budget;
 * false: none was found. */
bool pc_slice_clear_dead(struct pc_slice *slice, uint32_t now, unsigned *budget);

/* Whether memory has to be made now so that there is some when it is needed. */
bool pc_slice_short(const struct pc_slice *slice);

/* Evict a little ahead of need, in proportion to what is written. Before anything is looked up. */
void pc_slice_pace(struct pc_slice *slice, uint32_t now, uint64_t bytes);

/* --- tell.c: what logs hear --- */

/* The item in that slot is about to go. */
void pc_slice_evicting(const struct pc_slice *slice, const struct pc_slot_at *at);

/* --- write.c: storing --- */

/* Count a value over the limit; on a plain set what the key led to goes, as in memcached. */
enum pc_slice_status pc_store_refuse(struct pc_slice *slice, const struct pc_key *key,
                                     const struct pc_store *store, uint32_t now);

/* An item to be. */
struct pc_draft {
    const struct pc_key *key;
    uint32_t flags;
    uint32_t expiry;
    uint32_t bits; /* of pc_item_bit, without those that follow from the rest */
    uint64_t cas;  /* a whole number; 0: the next one */
    uint32_t heat;
    uint32_t accessed; /* second */
    struct pc_view_span {
        const void *at;
        uint64_t bytes;
    } value[2];     /* one behind the other */
    uint64_t chain; /* first chunk instead of bytes, 0: none */
    uint64_t chain_bytes;
};

/* Overwrite the first bytes of an inline value, or a chain, where it lies. Within the odd window.
 */
void pc_item_overwrite(struct pc_item *item, uint32_t shape, const void *bytes, uint32_t count);

/* Room for the draft as it stands, and the stream it goes to. */
uint32_t pc_draft_bytes(const struct pc_draft *draft);

/* Write the draft where there is room, and let the key lead to it instead of to what `present`
 * (may be NULL) says. With `keeps_chunks` the chunks of the present item live on in the new one.
 * Returns the CAS number. */
uint64_t pc_draft_commit(struct pc_slice *slice, const struct pc_draft *draft, unsigned stream,
                         const struct pc_look *present, bool keeps_chunks);

/* The draft that says what the present item says. `key` is not copied. */
void pc_draft_from(const struct pc_slice *slice, const struct pc_look *look,
                   const struct pc_key *key, struct pc_draft *out_draft);

#endif
