/* SPDX-License-Identifier: Apache-2.0 */
/* block: size classes, free lists, and the queue of pieces that a sendmsg is made from. */
#include "runtime/block.h"

#include "base/hooks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PC_BLOCK_CLASS_NONE  PC_BLOCK_CLASS_COUNT
#define PC_BLOCK_CLASS_USUAL 3

/* Kept per class: about 1 MiB of the small ones, a few of the large ones. */
static const struct {
    size_t bytes;
    uint32_t kept, kept_quiet;
} classes[PC_BLOCK_CLASS_COUNT] = {
    {64, 1024, 16},
    {512, 1024, 16},
    {2048, 512, 8},
    {16384, 64, 4},
    {64 * 1024, 8, 0},
    {256 * 1024, 4, 0},
    {1024 * 1024 + 4096, 2, 0},
};

void pc_block_pool_init(struct pc_block_pool *pool)
{
    memset(pool, 0, sizeof(*pool));
    atomic_init(&pool->returned, NULL);
}

/* The size of shared bytes says nothing of the block. */
static size_t bytes_whole(const struct pc_block *block)
{
    return block->class_index == PC_BLOCK_CLASS_NONE ? sizeof(*block) + block->size
                                                     : classes[block->class_index].bytes;
}

static void keep(struct pc_block_pool *pool, struct pc_block *block)
{
    pool->bytes_out -= bytes_whole(block);
    uint32_t class_index = block->class_index;
    if (class_index == PC_BLOCK_CLASS_NONE ||
        pool->free_count[class_index] >= classes[class_index].kept) {
        free(block);
        return;
    }
    block->next = pool->free[class_index];
    pool->free[class_index] = block;
    pool->free_count[class_index]++;
}

/* Blocks that ended on other lanes come home. */
static void collect(struct pc_block_pool *pool)
{
    struct pc_block *block = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    while (block != NULL) {
        struct pc_block *next = block->next;
        keep(pool, block);
        block = next;
    }
}

uint64_t pc_block_pool_bytes_out(struct pc_block_pool *pool)
{
    if (atomic_load_explicit(&pool->returned, memory_order_relaxed) != NULL) {
        collect(pool);
    }
    return pool->bytes_out;
}

static void trim_to(struct pc_block_pool *pool, bool nothing)
{
    collect(pool);
    for (uint32_t i = 0; i < PC_BLOCK_CLASS_COUNT; i++) {
        uint32_t kept = nothing ? 0 : classes[i].kept_quiet;
        while (pool->free_count[i] > kept) {
            struct pc_block *block = pool->free[i];
            pool->free[i] = block->next;
            pool->free_count[i]--;
            free(block);
        }
    }
}

void pc_block_pool_trim(struct pc_block_pool *pool)
{
    trim_to(pool, false);
}

void pc_block_pool_fini(struct pc_block_pool *pool)
{
    trim_to(pool, true);
}

static uint32_t class_for(size_t bytes)
{
    if (PC_LIKELY(bytes <= PC_BLOCK_BYTES_USUAL && bytes > PC_BLOCK_BYTES_USUAL / 2)) {
        return PC_BLOCK_CLASS_USUAL;
    }
    uint32_t class_index = 0;
    while (class_index < PC_BLOCK_CLASS_COUNT &&
           classes[class_index].bytes - sizeof(struct pc_block) < bytes) {
        class_index++;
    }
    return class_index;
}

static struct pc_block *allocate(uint32_t class_index, size_t bytes)
{
    size_t whole = class_index == PC_BLOCK_CLASS_NONE
                       ? (sizeof(struct pc_block) + bytes + 4095) & ~(size_t)4095
                       : classes[class_index].bytes;
    struct pc_block *block = aligned_alloc(PC_CACHE_LINE, whole);
    if (block != NULL) {
        block->size = whole - sizeof(*block);
        block->class_index = class_index;
    }
    return block;
}

inline struct pc_block *pc_block_borrow(struct pc_block_pool *pool, size_t bytes)
{
    uint32_t class_index = class_for(bytes);
    struct pc_block *block = NULL;
    if (class_index != PC_BLOCK_CLASS_NONE) {
        if (pool->free[class_index] == NULL &&
            atomic_load_explicit(&pool->returned, memory_order_relaxed) != NULL) {
            collect(pool);
        }
        block = pool->free[class_index];
        if (block != NULL) {
            pool->free[class_index] = block->next;
            pool->free_count[class_index]--;
            block->size = classes[class_index].bytes - sizeof(*block);
        }
    }
    if (block == NULL) {
        block = allocate(class_index, bytes);
        if (block == NULL) {
            return NULL;
        }
    }
    block->next = NULL;
    block->pool = pool;
    block->at = block->data;
    block->begin = block->end = 0;
    block->hold = NULL;
    block->refs = 1;
    pool->bytes_out += bytes_whole(block);
    return block;
}

inline void pc_block_give_back(struct pc_block_pool *pool, struct pc_block *block)
{
    PC_ASSERT(block->refs > 0 && block->hold == NULL);
    if (--block->refs > 0) {
        return;
    }
    struct pc_block_pool *home = block->pool;
    if (home == pool) {
        keep(pool, block);
        return;
    }
    struct pc_block *head = atomic_load_explicit(&home->returned, memory_order_relaxed);
    do {
        block->next = head;
        PC_POINT("block.return");
    } while (!atomic_compare_exchange_weak_explicit(&home->returned, &head, block,
                                                    memory_order_release, memory_order_relaxed));
}

size_t pc_chain_pieces(const struct pc_chain *chain, size_t bytes_max, struct iovec *pieces,
                       unsigned piece_count_max, unsigned *out_piece_count)
{
    unsigned piece_count = 0;
    size_t offered = 0;
    struct pc_block *only = chain->head;
    if (PC_LIKELY(only == chain->tail && only != NULL && chain->bytes <= bytes_max)) {
        pieces[0] = (struct iovec){(void *)(uintptr_t)(only->at + only->begin), chain->bytes};
        *out_piece_count = 1;
        return chain->bytes;
    }
    for (struct pc_block *block = chain->head;
         block != NULL && piece_count < piece_count_max && offered < bytes_max;
         block = block->next) {
        size_t bytes = pc_min_size(pc_block_count(block), bytes_max - offered);
        if (bytes > 0) {
            pieces[piece_count].iov_base = (void *)(uintptr_t)(block->at + block->begin);
            pieces[piece_count].iov_len = bytes;
            piece_count++;
            offered += bytes;
        }
    }
    *out_piece_count = piece_count;
    return offered;
}

static void release_hold(struct pc_block *block, struct pc_lane *lane)
{
    struct pc_hold *hold = block->hold;
    if (hold == NULL) {
        return;
    }
    block->hold = NULL;
    hold->release(hold, lane);
    if (PC_PLANTED(PC_BUG_DOUBLE_RELEASE)) {
        hold->release(hold, lane);
    }
}

static void drop_head(struct pc_chain *chain, struct pc_lane *lane, struct pc_block_pool *pool)
{
    struct pc_block *block = chain->head;
    chain->head = block->next;
    if (chain->head == NULL) {
        chain->tail = NULL;
    }
    release_hold(block, lane);
    pc_block_give_back(pool, block);
}

inline void pc_chain_consume(struct pc_chain *chain, size_t bytes, struct pc_lane *lane,
                             struct pc_block_pool *pool)
{
    PC_ASSERT(bytes <= chain->bytes);
    chain->bytes -= bytes;
    struct pc_block *only = chain->head;
    if (PC_LIKELY(chain->bytes == 0 && only == chain->tail && only != NULL && only->hold == NULL &&
                  !chain->reserved)) {
        chain->head = chain->tail = NULL;
        pc_block_give_back(pool, only);
        return;
    }
    while (chain->head != NULL) {
        struct pc_block *block = chain->head;
        size_t here = pc_min_size(bytes, pc_block_count(block));
        block->begin += here;
        bytes -= here;
        bool pinned = chain->reserved && block == chain->tail;
        if (pc_block_count(block) > 0 || pinned) {
            break;
        }
        drop_head(chain, lane, pool);
    }
}

void pc_chain_clear(struct pc_chain *chain, struct pc_lane *lane, struct pc_block_pool *pool)
{
    chain->reserved = false;
    chain->bytes = 0;
    while (chain->head != NULL) {
        drop_head(chain, lane, pool);
    }
}

static void append(struct pc_chain *chain, struct pc_block *block)
{
    if (chain->tail == NULL) {
        chain->head = block;
    } else {
        chain->tail->next = block;
    }
    chain->tail = block;
}

static bool writable(const struct pc_chain *chain, size_t count)
{
    const struct pc_block *tail = chain->tail;
    return tail != NULL && pc_block_room(tail) >= count;
}

uint8_t *pc_chain_reserve(struct pc_chain *chain, size_t count, size_t usual,
                          struct pc_block_pool *pool)
{
    if (PC_UNLIKELY(!writable(chain, count))) {
        struct pc_block *block = pc_block_borrow(pool, pc_max_size(count, usual));
        if (block == NULL) {
            return NULL;
        }
        append(chain, block);
    }
    return chain->tail->data + chain->tail->end;
}

int pc_chain_share(struct pc_chain *chain, struct pc_view view, struct pc_hold *hold,
                   struct pc_block_pool *pool)
{
    struct pc_block *block = pc_block_borrow(pool, 0);
    if (block == NULL) {
        return -ENOMEM;
    }
    block->at = view.at;
    block->end = block->size = view.count; /* no room: nothing is appended to shared bytes */
    block->hold = hold;
    append(chain, block);
    chain->bytes += view.count;
    return 0;
}

void pc_chain_splice(struct pc_chain *chain, struct pc_chain *from, struct pc_block_pool *pool)
{
    /* A short answer is cheaper to copy than to send as a piece of its own. */
    struct pc_block *only = from->head;
    if (only != NULL && only == from->tail && only->hold == NULL && only->at == only->data &&
        !from->reserved && pc_block_count(only) <= 2048 && writable(chain, pc_block_count(only))) {
        memcpy(chain->tail->data + chain->tail->end, only->data + only->begin,
               pc_block_count(only));
        pc_chain_commit(chain, pc_block_count(only));
        pc_block_give_back(pool, only);
    } else if (only != NULL) {
        if (chain->tail == NULL) {
            chain->head = from->head;
        } else {
            chain->tail->next = from->head;
        }
        chain->tail = from->tail;
        chain->bytes += from->bytes;
        chain->reserved = from->reserved;
    }
    *from = (struct pc_chain){0};
}
