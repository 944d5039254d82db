/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: the memory that all slices share, cut into segments of one size.
 *
 * Owner    Nobody: slices on any core take segments and give them back; atomics make that safe.
 * Memory   Reserves addresses for limit_bytes_max at boot; a segment costs memory once it is first
 *          used. Indexes are charged to the same limit, so limit_bytes covers all that items cost.
 * Limits   PC_POOL_BYTES_MAX in all; segments of 64 KiB to 1 MiB. Held segments (see pc_value_hold)
 *          are at most an eighth of the pool, or one value.
 * Units    Bytes, or counts of segments where the name ends in _count.
 * Source   docs/decisions/0100 (layout).
 */
#ifndef PC_STORE_POOL_H
#define PC_STORE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_pool;

/* Where memory comes from. `map` returns zeroed memory aligned to 4 KiB or NULL; memory never
 * touched should cost nothing. The default is mmap. */
struct pc_memory {
    void *(*map)(void *ctx, size_t bytes);
    void *(*map_segments)(void *ctx, size_t bytes); /* the same for all segments; NULL: map */
    void (*unmap)(void *ctx, void *at, size_t bytes);
    void (*release)(void *ctx, void *at, size_t bytes); /* contents are forgotten, addresses stay */
    void *ctx;
};

struct pc_pool_config {
    uint64_t limit_bytes;           /* what the slices may use in all, as with -m */
    uint64_t limit_bytes_max;       /* pc_pool_limit may raise it so far; 0: limit_bytes */
    uint32_t segment_bytes;         /* a power of two; 0: pc_pool_segment_bytes_for */
    unsigned slice_count;           /* slices that will be created on it */
    bool keeps_all;                 /* nothing is evicted: full memory refuses, see compact.c */
    const struct pc_memory *memory; /* NULL: mmap; kept until destroy */
};

struct pc_pool_stats {
    uint64_t limit_bytes;
    uint64_t used_bytes; /* resident: segments touched and indexes */
    uint64_t segment_bytes;
    uint64_t segment_count; /* taken by slices */
    uint64_t free_count;    /* could be taken now */
    uint64_t held_count;    /* held while a value is sent */
};

/* 64 KiB for small caches, 1 MiB from 2 GiB on: about 2048 segments in between.  Core: any. */
uint32_t pc_pool_segment_bytes_for(uint64_t limit_bytes);

/* 4 slices a core, fewer if one would have under 32 segments, never none.  Core: any. */
unsigned pc_pool_slice_count_for(uint64_t limit_bytes, uint32_t segment_bytes, unsigned core_count);

/* -EINVAL: sizes that are not as described; -ENOMEM.  Core: boot. */
int pc_pool_create(const struct pc_pool_config *config, struct pc_pool **out_pool);

/* All slices on it are destroyed before.  Core: boot. */
void pc_pool_destroy(struct pc_pool *pool);

/* The lowest limit, which is what the slices need to live, and the highest, which is what was
 * reserved at boot.  Core: any. */
void pc_pool_limits(const struct pc_pool *pool, uint64_t *out_least, uint64_t *out_most);

/* Change the limit; the slices shrink to it as they are stepped. Returns the limit that now holds,
 * which is cut to the lowest and the highest.  Core: any. */
uint64_t pc_pool_limit(struct pc_pool *pool, uint64_t limit_bytes);

/* Core: any, the numbers may be stale. */
void pc_pool_stats(const struct pc_pool *pool, struct pc_pool_stats *out_stats);

#endif
