/* SPDX-License-Identifier: Apache-2.0 */
/* pool: segments and the byte count that all slices share. */
#include "store/pool.h"

#include "store/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    PC_SEGMENT_BYTES_MIN = 4 * 1024, /* tests; pc_pool_segment_bytes_for says 64 KiB */
    PC_SEGMENT_BYTES_MAX = 1024 * 1024,
    PC_SEGMENT_COUNT_WISH = 2048, /* fine enough for eviction, coarse enough for descriptors */
    PC_SLICE_SEGMENTS_MIN = 32,
    PC_SLICES_PER_CORE = 4,
    PC_POOL_SEGMENTS_MIN = 8, /* per slice: groups, one to clear, one ready */
    PC_TRIM_BYTES = 4 << 20,  /* given back in one step: some 200 us */
};

static void *map_system(void *ctx, size_t bytes)
{
    (void)ctx;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void unmap_system(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    (void)munmap(at, bytes); /* fails only on arguments that map did not return */
}

static void release_system(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    (void)madvise(at, bytes, MADV_DONTNEED); /* refused: the memory stays resident */
}

static const struct pc_memory system_memory = {
    .map = map_system,
    .unmap = unmap_system,
    .release = release_system,
};

uint32_t pc_pool_segment_bytes_for(uint64_t limit_bytes)
{
    uint32_t bytes = 64 * 1024;
    while (bytes < PC_SEGMENT_BYTES_MAX && limit_bytes / bytes >= PC_SEGMENT_COUNT_WISH) {
        bytes *= 2;
    }
    return bytes;
}

unsigned pc_pool_slice_count_for(uint64_t limit_bytes, uint32_t segment_bytes, unsigned core_count)
{
    const uint64_t fit = limit_bytes / segment_bytes / PC_SLICE_SEGMENTS_MIN;
    uint64_t count = (uint64_t)core_count * PC_SLICES_PER_CORE;
    if (count > fit) {
        count = fit;
    }
    /* A whole number per core, so that no core owns more than another; at least one each while
     * the pool allows it. */
    if (core_count != 0 && count >= core_count) {
        count -= count % core_count;
    }
    return count == 0 ? 1 : (unsigned)count;
}

static uint32_t bits_for(unsigned count)
{
    uint32_t bits = 0;
    while (1u << bits < count) {
        bits++;
    }
    return bits;
}

/* Descriptors are touched as segments are; those within the limit count as used. */
static uint64_t descriptors_bytes(const struct pc_pool *pool, uint64_t limit_bytes)
{
    return (limit_bytes / pool->segment_bytes + 1) * sizeof(struct pc_segment);
}

int pc_pool_create(const struct pc_pool_config *config, struct pc_pool **out_pool)
{
    const uint64_t limit_max = config->limit_bytes_max > config->limit_bytes
                                   ? config->limit_bytes_max
                                   : config->limit_bytes;
    const uint32_t segment_bytes = config->segment_bytes != 0
                                       ? config->segment_bytes
                                       : pc_pool_segment_bytes_for(config->limit_bytes);
    const uint64_t count = limit_max / segment_bytes;
    if (segment_bytes < PC_SEGMENT_BYTES_MIN || segment_bytes > PC_SEGMENT_BYTES_MAX ||
        (segment_bytes & (segment_bytes - 1)) != 0 || config->slice_count == 0 ||
        config->limit_bytes / segment_bytes <
            (uint64_t)config->slice_count * PC_POOL_SEGMENTS_MIN ||
        (count + 1) * segment_bytes / PC_PLACE_WORD_BYTES >> PC_PLACE_BITS != 0) {
        return -EINVAL;
    }
    struct pc_pool *pool = aligned_alloc(PC_CACHE_LINE, sizeof(*pool));
    if (pool == NULL) {
        return -ENOMEM;
    }
    memset(pool, 0, sizeof(*pool));
    pool->memory = config->memory != NULL ? config->memory : &system_memory;
    pool->segment_bytes = segment_bytes;
    pool->segment_shift = (uint32_t)__builtin_ctz(segment_bytes / PC_PLACE_WORD_BYTES);
    pool->segment_count = (uint32_t)count;
    pool->slice_count = config->slice_count;
    pool->slice_bits = bits_for(config->slice_count);
    pool->keeps_all = config->keeps_all;
    pool->data_bytes = (size_t)(count + 1) * segment_bytes;
    pool->segments_bytes = (size_t)(count + 1) * sizeof(struct pc_segment);
    atomic_init(&pool->limit_bytes, config->limit_bytes);
    atomic_init(&pool->used_bytes, descriptors_bytes(pool, config->limit_bytes));
    pool->segments = pool->memory->map(pool->memory->ctx, pool->segments_bytes);
    void *(*const map_segments)(void *, size_t) =
        pool->memory->map_segments != NULL ? pool->memory->map_segments : pool->memory->map;
    pool->data = map_segments(pool->memory->ctx, pool->data_bytes);
    pool->turns = aligned_alloc(PC_CACHE_LINE, config->slice_count * sizeof(struct pc_turn));
    if (pool->segments == NULL || pool->data == NULL || pool->turns == NULL) {
        pc_pool_destroy(pool);
        return -ENOMEM;
    }
    memset(pool->turns, 0, config->slice_count * sizeof(struct pc_turn));
    *out_pool = pool;
    return 0;
}

void pc_pool_destroy(struct pc_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    const struct pc_memory *memory = pool->memory;
    if (pool->segments != NULL) {
        memory->unmap(memory->ctx, pool->segments, pool->segments_bytes);
    }
    if (pool->data != NULL) {
        memory->unmap(memory->ctx, pool->data, pool->data_bytes);
    }
    free(pool->turns);
    free(pool);
}

/* A stack of segment numbers; the tag in the upper half makes a head that was popped and pushed
 * again differ from itself. */
static void stack_push(struct pc_pool *pool, _Atomic uint64_t *head, uint32_t number)
{
    uint64_t old = atomic_load_explicit(head, memory_order_relaxed);
    uint64_t new;
    do {
        atomic_store_explicit(&pool->segments[number].next_free, (uint32_t)old,
                              memory_order_relaxed);
        new = ((old >> 32) + 1) << 32 | number;
        /* Release: the taker sees all that the giver wrote to the segment. */
    } while (!atomic_compare_exchange_weak_explicit(head, &old, new, memory_order_release,
                                                    memory_order_relaxed));
}

static uint32_t stack_pop(struct pc_pool *pool, _Atomic uint64_t *head)
{
    uint64_t old = atomic_load_explicit(head, memory_order_acquire);
    for (;;) {
        const uint32_t number = (uint32_t)old;
        if (number == 0) {
            return 0;
        }
        const uint32_t next =
            atomic_load_explicit(&pool->segments[number].next_free, memory_order_relaxed);
        const uint64_t new = ((old >> 32) + 1) << 32 | next;
        /* Acquire: pairs with the release of the push. */
        if (atomic_compare_exchange_weak_explicit(head, &old, new, memory_order_acquire,
                                                  memory_order_acquire)) {
            return number;
        }
    }
}

static uint32_t take_fresh(struct pc_pool *pool)
{
    uint32_t fresh = atomic_load_explicit(&pool->fresh, memory_order_relaxed);
    while (fresh < pool->segment_count) {
        if (atomic_compare_exchange_weak_explicit(&pool->fresh, &fresh, fresh + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return fresh + 1;
        }
    }
    return 0;
}

/* Count one more resident segment, if the limit allows it. */
static bool charge_segment(struct pc_pool *pool)
{
    uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    do {
        const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
        if (used + pool->segment_bytes > limit) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&pool->used_bytes, &used,
                                                    used + pool->segment_bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void cool(struct pc_pool *pool, uint32_t number)
{
    const struct pc_memory *memory = pool->memory;
    memory->release(memory->ctx, pc_pool_at(pool, pc_pool_place(pool, number, 0)),
                    pool->segment_bytes);
    pc_pool_discharge(pool, pool->segment_bytes);
    stack_push(pool, &pool->cold, number);
}

static uint32_t warm_pop(struct pc_pool *pool)
{
    const uint32_t number = stack_pop(pool, &pool->warm);
    if (number != 0) {
        atomic_fetch_sub_explicit(&pool->warm_count, 1, memory_order_relaxed);
    }
    return number;
}

bool pc_pool_trim(struct pc_pool *pool)
{
    for (uint32_t bytes = 0; pc_pool_over(pool); bytes += pool->segment_bytes) {
        if (bytes >= PC_TRIM_BYTES) {
            return true;
        }
        const uint32_t number = warm_pop(pool);
        if (number == 0) {
            return false;
        }
        cool(pool, number);
    }
    return false;
}

uint32_t pc_pool_take(struct pc_pool *pool)
{
    if (PC_UNLIKELY(pc_pool_over(pool))) {
        (void)pc_pool_trim(pool);
    }
    uint32_t number = pc_pool_over(pool) ? 0 : warm_pop(pool);
    if (number == 0) {
        if (!charge_segment(pool)) {
            return 0;
        }
        number = stack_pop(pool, &pool->cold);
        if (number == 0) {
            number = take_fresh(pool);
        }
        if (number == 0) {
            pc_pool_discharge(pool, pool->segment_bytes);
            return 0;
        }
    }
    atomic_fetch_add_explicit(&pool->taken_count, 1, memory_order_relaxed);
    return number;
}

/* Stays resident even when too much is: a long value gives many at once, and the next trim or take
 * gives them back in steps. */
void pc_pool_give(struct pc_pool *pool, uint32_t number)
{
    atomic_fetch_sub_explicit(&pool->taken_count, 1, memory_order_relaxed);
    /* Count before pushing: a taker may count down at once. */
    atomic_fetch_add_explicit(&pool->warm_count, 1, memory_order_relaxed);
    stack_push(pool, &pool->warm, number);
}

/* Free segments that have to go back to the system first. */
static uint64_t over_count(const struct pc_pool *pool)
{
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    return PC_LIKELY(used <= limit) ? 0 : (used - limit - 1) / pool->segment_bytes + 1;
}

bool pc_pool_has_free(const struct pc_pool *pool)
{
    if (atomic_load_explicit(&pool->warm_count, memory_order_relaxed) > over_count(pool)) {
        return true;
    }
    if (atomic_load_explicit(&pool->used_bytes, memory_order_relaxed) + pool->segment_bytes >
        atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed)) {
        return false;
    }
    return (uint32_t)atomic_load_explicit(&pool->cold, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&pool->fresh, memory_order_relaxed) < pool->segment_count;
}

uint32_t pc_pool_free_count(const struct pc_pool *pool)
{
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    const uint64_t unused = used < limit ? (limit - used) / pool->segment_bytes : 0;
    const uint64_t warm = atomic_load_explicit(&pool->warm_count, memory_order_relaxed);
    const uint64_t over = over_count(pool);
    return (uint32_t)(warm > over ? warm - over + unused : unused);
}

bool pc_pool_over(const struct pc_pool *pool)
{
    return atomic_load_explicit(&pool->used_bytes, memory_order_relaxed) >
           atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
}

bool pc_pool_owes(const struct pc_pool *pool)
{
    const uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    const uint64_t warm = atomic_load_explicit(&pool->warm_count, memory_order_relaxed);
    return used > atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed) +
                      warm * pool->segment_bytes;
}

void pc_pool_charge(struct pc_pool *pool, uint64_t bytes)
{
    atomic_fetch_add_explicit(&pool->used_bytes, bytes, memory_order_relaxed);
}

void pc_pool_discharge(struct pc_pool *pool, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&pool->used_bytes, bytes, memory_order_relaxed);
}

void pc_pool_limits(const struct pc_pool *pool, uint64_t *out_least, uint64_t *out_most)
{
    const uint64_t segments =
        (uint64_t)pool->slice_count * PC_POOL_SEGMENTS_MIN * pool->segment_bytes;
    *out_least = segments + descriptors_bytes(pool, segments);
    *out_most = (uint64_t)pool->segment_count * pool->segment_bytes;
}

uint64_t pc_pool_limit(struct pc_pool *pool, uint64_t limit_bytes)
{
    uint64_t least, most;
    pc_pool_limits(pool, &least, &most);
    limit_bytes = limit_bytes < least ? least : limit_bytes > most ? most : limit_bytes;
    pc_pool_charge(pool, descriptors_bytes(pool, limit_bytes));
    const uint64_t before_bytes =
        atomic_exchange_explicit(&pool->limit_bytes, limit_bytes, memory_order_relaxed);
    pc_pool_discharge(pool, descriptors_bytes(pool, before_bytes));
    return limit_bytes;
}

void pc_pool_stats(const struct pc_pool *pool, struct pc_pool_stats *out_stats)
{
    const uint64_t limit = atomic_load_explicit(&pool->limit_bytes, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    *out_stats = (struct pc_pool_stats){
        .limit_bytes = limit,
        .used_bytes = used,
        .segment_bytes = pool->segment_bytes,
        .segment_count = atomic_load_explicit(&pool->taken_count, memory_order_relaxed),
        .free_count = pc_pool_free_count(pool),
        .held_count = atomic_load_explicit(&pool->held_count, memory_order_relaxed),
    };
}
