/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: from the hash of a key to the place of its item.
 *
 *     bucket    | version 4 | overflow 4 | 7 slots of 8 |        64 bytes, a cache line
 *     overflow  | overflow 4 | unused 4 | 3 slots of 8 |         32 bytes
 *     slot      | place 38 | tag 10 | heat 4 | access 12 |       0: empty
 *
 * Linear hashing (Litwin 1980): the table grows by one bucket at a time, so there is never an old
 * table beside a new one and memory follows the number of items. With 8 items a bucket in the mean,
 * and 3-slot overflows for those that have more, an item costs 11.1 to 11.5 bytes at any size of
 * the table; docs/decisions/0101 has the arithmetic.
 *
 * Owner    The slice's core; other cores read by copy and check: the version of a bucket stands for
 *          its whole chain and is odd while anything in it, or in an item it leads to, changes.
 *          Heat and access change without it: they mean nothing to readers elsewhere.
 * Memory   Tables that double, mapped when first needed, touched as the table grows into them;
 *          nodes never move and stay what they are, so a stale reader reads a slot, not garbage.
 * Limits   PC_CHAIN_SLOTS_MAX slots a chain; insert refuses beyond that, or when memory is short.
 */
#ifndef PC_STORE_INDEX_H
#define PC_STORE_INDEX_H

#include "store/segment.h"
#include "store/slice.h"

#include "base/hooks.h"

#include <stdalign.h>
#include <stdatomic.h>

enum {
    PC_BUCKET_SLOTS = 7,
    PC_OVERFLOW_SLOTS = 3,
    PC_INDEX_TABLES_MAX = 24,
    PC_INDEX_BUCKETS_FIRST = 256,   /* 16 KiB: what an empty slice costs */
    PC_INDEX_OVERFLOWS_FIRST = 128, /* so that the first table is a page */
    PC_INDEX_ITEMS_PER_BUCKET = 8,  /* grow beyond this mean; 0101 */
    PC_CHAIN_SLOTS_MAX = 256,
    PC_TAG_BITS = 10,
    PC_HEAT_MAX = 15,
    PC_SLOT_HEAT_SHIFT = PC_PLACE_BITS + PC_TAG_BITS,
    PC_SLOT_ACCESS_SHIFT = PC_SLOT_HEAT_SHIFT + 4,
};

#define PC_SLOT_HEAT_MASK ((uint64_t)PC_HEAT_MAX << PC_SLOT_HEAT_SHIFT)

static_assert(PC_SLOT_ACCESS_SHIFT + 12 == 64, "a slot is 8 bytes");

struct pc_bucket {
    alignas(PC_CACHE_LINE) _Atomic uint32_t version;
    _Atomic uint32_t overflow; /* node number, 0: none */
    _Atomic uint64_t slots[PC_BUCKET_SLOTS];
};

struct pc_overflow {
    alignas(32) _Atomic uint32_t overflow;
    uint32_t unused;
    _Atomic uint64_t slots[PC_OVERFLOW_SLOTS];
};

static_assert(sizeof(struct pc_bucket) == PC_CACHE_LINE, "a bucket is a line");
static_assert(sizeof(struct pc_overflow) == 32, "an overflow is half a line");

struct pc_index {
    /* Read by every core; the owner writes them under versions. Table i > 0 holds as many nodes
     * as all before it. */
    _Atomic(struct pc_bucket *) tables[PC_INDEX_TABLES_MAX];
    _Atomic(struct pc_overflow *) overflows[PC_INDEX_TABLES_MAX];
    _Atomic uint64_t extent; /* bucket count, and above it how often it shrank */

    /* The owner's, on lines of its own: it writes them with every item. */
    alignas(PC_CACHE_LINE) struct pc_pool *pool;
    pc_key_hash_fn *hash;
    uint64_t hash_seed;
    uint64_t item_count;
    uint64_t charged_bytes;
    uint32_t version_floor; /* no bucket that comes back starts below a version it had */
    uint64_t split_count;
    uint32_t overflow_end;  /* nodes from here on are in no chain and not in the list */
    uint32_t overflow_high; /* nodes from here on hold no memory */
    uint32_t overflow_free; /* list of nodes, by `overflow` */
    uint32_t overflow_used;
};

/* A slot found: good until the next change of the index. */
struct pc_slot_at {
    struct pc_bucket *bucket;
    _Atomic uint64_t *slot;
    uint64_t value;
};

static inline uint64_t pc_slot_place(uint64_t slot)
{
    return slot & ((UINT64_C(1) << PC_PLACE_BITS) - 1);
}

static inline uint32_t pc_slot_tag(uint64_t slot)
{
    return (uint32_t)(slot >> PC_PLACE_BITS) & ((1u << PC_TAG_BITS) - 1);
}

static inline uint32_t pc_slot_heat(uint64_t slot)
{
    return (uint32_t)(slot >> PC_SLOT_HEAT_SHIFT) & PC_HEAT_MAX;
}

static inline uint32_t pc_slot_access(uint64_t slot)
{
    return (uint32_t)(slot >> PC_SLOT_ACCESS_SHIFT);
}

/* Bits 36 to 45: not those that choose the slice (48 up), nor the bucket (31 down). */
static inline uint32_t pc_hash_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 36) & ((1u << PC_TAG_BITS) - 1);
}

static inline uint64_t pc_slot_make(uint64_t place, uint64_t hash, uint32_t heat, uint32_t access)
{
    return place | (uint64_t)pc_hash_tag(hash) << PC_PLACE_BITS |
           (uint64_t)heat << PC_SLOT_HEAT_SHIFT | (uint64_t)access << PC_SLOT_ACCESS_SHIFT;
}

/* Which bucket a hash has while there are `bucket_count`. */
static inline uint32_t pc_index_bucket_number(uint64_t hash, uint32_t bucket_count)
{
    const uint32_t mask = UINT32_MAX >> __builtin_clz(bucket_count - 1);
    const uint32_t number = (uint32_t)hash & mask;
    return number < bucket_count ? number : number & mask >> 1;
}

/* Node `number` lies in table `*out_table` at the returned offset. */
static inline uint32_t pc_index_locate(uint32_t number, uint32_t first, uint32_t *out_table)
{
    if (number < first) {
        *out_table = 0;
        return number;
    }
    const uint32_t high = 31 - (uint32_t)__builtin_clz(number);
    *out_table = high - (uint32_t)__builtin_ctz(first) + 1;
    return number - (1u << high);
}

static inline struct pc_bucket *pc_index_bucket_at(const struct pc_index *index, uint32_t number)
{
    uint32_t table;
    const uint32_t offset = pc_index_locate(number, PC_INDEX_BUCKETS_FIRST, &table);
    /* Acquire pairs with the release in grow: the table's memory is mapped before it is named. */
    return atomic_load_explicit(&index->tables[table], memory_order_acquire) + offset;
}

static inline struct pc_overflow *pc_index_overflow_at(const struct pc_index *index,
                                                       uint32_t number)
{
    uint32_t table;
    const uint32_t offset = pc_index_locate(number, PC_INDEX_OVERFLOWS_FIRST, &table);
    return atomic_load_explicit(&index->overflows[table], memory_order_acquire) + offset;
}

static inline uint32_t pc_index_bucket_count(const struct pc_index *index)
{
    /* Acquire, for those who are not the owner: the table is named before the count needs it. */
    return (uint32_t)atomic_load_explicit(&index->extent, memory_order_acquire);
}

static inline struct pc_bucket *pc_index_bucket(const struct pc_index *index, uint64_t hash)
{
    return pc_index_bucket_at(index, pc_index_bucket_number(hash, pc_index_bucket_count(index)));
}

/* Around every change of a chain, or of a byte of an item that a slot of it leads to: the version
 * is odd in between. Stores in between are releases, so none is seen before the odd version. */
static inline void pc_chain_open(struct pc_bucket *bucket)
{
    const uint32_t version = atomic_load_explicit(&bucket->version, memory_order_relaxed);
    PC_ASSERT((version & 1) == 0);
    if (PC_PLANTED(PC_BUG_CHAIN_NEVER_ODD)) {
        return;
    }
    atomic_store_explicit(&bucket->version, version + 1, memory_order_relaxed);
    PC_POINT("chain: odd");
}

static inline void pc_chain_close(struct pc_bucket *bucket)
{
    const uint32_t version = atomic_load_explicit(&bucket->version, memory_order_relaxed);
    const uint32_t next = PC_PLANTED(PC_BUG_CHAIN_NEVER_ODD) ? version + 2 : version + 1;
    PC_ASSERT((next & 1) == 0);
    PC_POINT("chain: even");
    /* Pairs with the acquire of the reader's first look at the version. */
    atomic_store_explicit(&bucket->version, next, memory_order_release);
}

/* -ENOMEM. The index hashes keys when it splits buckets. */
int pc_index_init(struct pc_index *index, struct pc_pool *pool, pc_key_hash_fn *hash,
                  uint64_t hash_seed);
void pc_index_fini(struct pc_index *index);

/* The slot of a key; false when there is none.  Core: owner. */
bool pc_index_find(const struct pc_index *index, const struct pc_key *key,
                   struct pc_slot_at *out_at);

/* The slot of the key with that hash, whole.  Core: owner. */
bool pc_index_find_hash(const struct pc_index *index, uint64_t hash, struct pc_slot_at *out_at);

/* The slot that leads to `place`, given the hash of the key there.  Core: owner. */
bool pc_index_find_place(const struct pc_index *index, uint64_t hash, uint64_t place,
                         struct pc_slot_at *out_at);

/* Add a slot for a key that has none. False: the chain is full or memory is short; the caller
 * removes one of the chain's slots and tries again.  Core: owner. */
bool pc_index_insert(struct pc_index *index, uint64_t hash, uint64_t slot);

/* Let a slot lead elsewhere.  Core: owner. */
void pc_index_replace(struct pc_slot_at *at, uint64_t slot);

/* Core: owner. */
void pc_index_remove(struct pc_index *index, const struct pc_slot_at *at);

/* Split one bucket if there are more items than buckets should have. True: it did.  Core: owner. */
bool pc_index_grow(struct pc_index *index);

/* Join the last bucket to its other half if there are far fewer. True: it did.  Core: owner. */
bool pc_index_shrink(struct pc_index *index);

/* Give back a step of memory that no chain needs any more. True: it did.  Core: owner. */
bool pc_index_release(struct pc_index *index);

/* Bytes of buckets and overflows in use. */
uint64_t pc_index_bytes(const struct pc_index *index);

/* Copy at most `room` slots of one bucket's chain; returns how many there are.  Core: owner. */
unsigned pc_index_chain(const struct pc_index *index, uint32_t bucket_number, uint64_t *slots,
                        unsigned room);

#endif
