/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment: what is known about one segment of the pool, and how places find their bytes.
 *
 * Owner    The slice that took it; `next_free` belongs to the pool while it is free.
 * Memory   One descriptor of two cache lines per segment, made at boot, never moved.
 * Units    Segments are numbered from 1; 0 is none, and its bytes are never used, so that no item
 *          has place 0.
 */
#ifndef PC_STORE_SEGMENT_H
#define PC_STORE_SEGMENT_H

#include "store/item.h"
#include "store/pool.h"

#include "base/check.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pc_segment_state {
    PC_SEGMENT_FREE,     /* with the pool, or ready with a slice */
    PC_SEGMENT_OPEN,     /* items are appended */
    PC_SEGMENT_CLOSED,   /* full */
    PC_SEGMENT_CLEARING, /* its items are being unlinked or moved, one by one */
    PC_SEGMENT_LIMBO,    /* no item left, held: bytes of it are being sent */
};

/* holds: sends count in the low bits, bodies on their way in above them. All seq_cst: the owner
 * unlinks and then reads holds, a reader adds to holds and then re-reads the version. */
enum {
    PC_HOLD_SEND = 1,
    PC_HOLD_BODY = 1 << 20,
    PC_HOLD_SEND_MASK = PC_HOLD_BODY - 1,
};

struct pc_segment {
    /* Read by every core. Written by the owner when it opens the segment, under the rule that no
     * slot points here then; holds by every core. */
    alignas(PC_CACHE_LINE) _Atomic uint64_t cas_base; /* counter, see pc_item.cas */
    _Atomic uint64_t sequence; /* rises with each segment of a slice: at or below the slice's
                                * flush_sequence everything in it is gone */
    _Atomic uint32_t born;     /* second from which accesses count, see pc_access_encode */
    _Atomic uint32_t holds;
    _Atomic uint32_t next_free;

    /* The owner's. */
    alignas(PC_CACHE_LINE) uint32_t used_bytes;
    uint32_t live_bytes; /* entries that are not dead */
    uint32_t live_count;
    uint32_t expiry_max; /* of all items; UINT32_MAX once one never expires */
    uint32_t opened;     /* second, for the eviction age */
    uint32_t next, prev; /* the slice's segments, oldest first */
    uint8_t state;
    uint8_t stream;
};

static_assert(sizeof(struct pc_segment) == 2 * PC_CACHE_LINE, "published line, owner's line");

/* What a slice tells the others; its own line, written by its core. */
struct pc_turn {
    alignas(PC_CACHE_LINE) _Atomic uint32_t seconds; /* see balance.c; 0: it does not evict */
};

struct pc_pool {
    uint8_t *data;
    struct pc_turn *turns; /* one a slice */
    struct pc_segment *segments;
    uint32_t segment_bytes;
    uint32_t segment_shift; /* place >> shift is a segment number */
    uint32_t segment_count; /* highest number */
    uint32_t slice_bits;    /* low bits of a CAS number that say the slice */
    unsigned slice_count;
    bool keeps_all;
    const struct pc_memory *memory;
    size_t data_bytes, segments_bytes;

    alignas(PC_CACHE_LINE) _Atomic uint64_t warm; /* free, resident: tag << 32 | number */
    _Atomic uint64_t cold;                        /* free, given back to the system */
    alignas(PC_CACHE_LINE) _Atomic uint64_t limit_bytes;
    _Atomic uint64_t used_bytes;
    _Atomic uint32_t fresh; /* segments above this number were never used */
    _Atomic uint32_t warm_count;
    _Atomic uint32_t taken_count; /* with slices */
    _Atomic uint32_t held_count;  /* segments with sends */
    _Atomic uint32_t body_count;  /* chunks of bodies on their way in */
    _Atomic uint32_t wanted;      /* segments that slices ask for, see balance.c */
};

static inline void *pc_pool_at(const struct pc_pool *pool, uint64_t place)
{
    return pool->data + place * PC_PLACE_WORD_BYTES;
}

static inline uint32_t pc_pool_segment_number(const struct pc_pool *pool, uint64_t place)
{
    return (uint32_t)(place >> pool->segment_shift);
}

static inline struct pc_segment *pc_pool_segment_of(const struct pc_pool *pool, uint64_t place)
{
    return &pool->segments[pc_pool_segment_number(pool, place)];
}

static inline uint64_t pc_pool_place(const struct pc_pool *pool, uint32_t number, uint32_t offset)
{
    return ((uint64_t)number << pool->segment_shift) + offset / PC_PLACE_WORD_BYTES;
}

/* A free segment's number, or 0.  Core: any. */
uint32_t pc_pool_take(struct pc_pool *pool);

/* Core: the slice that took it. */
void pc_pool_give(struct pc_pool *pool, uint32_t number);

/* Whether pc_pool_take would have found one a moment ago.  Core: any. */
bool pc_pool_has_free(const struct pc_pool *pool);

/* How many it would find. */
uint32_t pc_pool_free_count(const struct pc_pool *pool);

/* Give some free segments back to the system while more is used than the limit allows. True: there
 * is more of that to do.  Core: any. */
bool pc_pool_trim(struct pc_pool *pool);

/* More is used than the limit allows.  Core: any. */
bool pc_pool_over(const struct pc_pool *pool);

/* It would be so even without the free segments: slices have to give some back.  Core: any. */
bool pc_pool_owes(const struct pc_pool *pool);

/* Count index memory; may exceed the limit, see pc_pool_owes.  Core: any. */
void pc_pool_charge(struct pc_pool *pool, uint64_t bytes);
void pc_pool_discharge(struct pc_pool *pool, uint64_t bytes);

#endif
