/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notes: what the cores that peeked into a slice tell its owner, so that it keeps what is read.
 *
 * A ring of hashes for each pair of a reading core and a place. The reader leaves a hash, or drops
 * it when the ring is full; nobody is woken. Whoever is in the slice for upkeep takes them.
 *
 * Owner    A ring's head belongs to the reading core, its tail to whoever is in the slice.
 * Memory   384 bytes a pair, one allocation for a place, made at boot.
 * Limits   PC_NOTES_COUNT notes a ring; a note beyond them is dropped.
 * Cost     A note is one store to a line of the reader's own. One read in PC_NOTES_SAMPLE, drawn at
 *          random, is noted whatever it finds, so that heat sees more than first reads.
 */
#ifndef PC_STORE_OWNERS_NOTES_H
#define PC_STORE_OWNERS_NOTES_H

#include "base/check.h"
#include "base/random.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PC_NOTES_COUNT = 32,  /* a power of two: 256 bytes; taken every millisecond while busy */
    PC_NOTES_SAMPLE = 64, /* a hot item is heated in some hundred reads */
};

struct pc_notes {
    /* The reading core's. */
    alignas(PC_CACHE_LINE) _Atomic uint32_t written;
    uint32_t taken_seen; /* `taken`, as it was looked at last */
    uint32_t gap;        /* reads until the next sample */
    struct pc_random random;
    alignas(PC_CACHE_LINE) _Atomic uint64_t hashes[PC_NOTES_COUNT];
    /* Whoever is in the slice. */
    alignas(PC_CACHE_LINE) _Atomic uint32_t taken;
};

/* Reads until the next sample, PC_NOTES_SAMPLE in the mean. */
static inline uint32_t pc_notes_gap(struct pc_random *random)
{
    return 1 + (uint32_t)pc_random_below(random, 2 * PC_NOTES_SAMPLE - 1);
}

/* Note a read of the item with that hash; `sure`: also if it is no sample.
 * Core: the ring's reader. */
static inline void pc_notes_leave(struct pc_notes *notes, uint64_t hash, bool sure)
{
    if (PC_UNLIKELY(--notes->gap == 0)) {
        notes->gap = pc_notes_gap(&notes->random);
    } else if (PC_LIKELY(!sure)) {
        return;
    }
    const uint32_t at = atomic_load_explicit(&notes->written, memory_order_relaxed);
    if (at - notes->taken_seen == PC_NOTES_COUNT) {
        /* Pairs with the release of take: what is overwritten has been read. */
        notes->taken_seen = atomic_load_explicit(&notes->taken, memory_order_acquire);
        if (at - notes->taken_seen == PC_NOTES_COUNT) {
            return;
        }
    }
    atomic_store_explicit(&notes->hashes[at % PC_NOTES_COUNT], hash, memory_order_relaxed);
    /* Pairs with the acquire of take: the hash is there before it is announced. */
    atomic_store_explicit(&notes->written, at + 1, memory_order_release);
}

/* Take the oldest note; false: there is none.  Core: whoever is in the slice. */
static inline bool pc_notes_take(struct pc_notes *notes, uint64_t *out_hash)
{
    const uint32_t at = atomic_load_explicit(&notes->taken, memory_order_relaxed);
    if (at == atomic_load_explicit(&notes->written, memory_order_acquire)) {
        return false;
    }
    *out_hash = atomic_load_explicit(&notes->hashes[at % PC_NOTES_COUNT], memory_order_relaxed);
    atomic_store_explicit(&notes->taken, at + 1, memory_order_release);
    return true;
}

#endif
