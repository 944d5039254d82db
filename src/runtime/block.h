/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block: pieces of memory that bytes travel in, and the pool each lane keeps them in.
 *
 * Owner    A pool belongs to one lane. A block belongs to whoever borrowed it; given back on
 * another lane it returns to its own pool through a lock-free stack. Memory   A block is one
 * allocation, header first. A pool keeps some free blocks of each class and returns the rest to the
 * system. An idle connection holds none. Limits   Classes up to 1 MiB are kept; beyond, a block is
 * allocated and freed each time. Units    Bytes; `size` is the room for data, header not counted.
 * Cost     Borrow and give back of a kept class: a few loads and stores.
 */
#ifndef PC_RUNTIME_BLOCK_H
#define PC_RUNTIME_BLOCK_H

#include "base/check.h"

#include <percore/service.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/uio.h>

struct pc_block_pool;

/* Bytes [begin, end) at `at` are waiting. `at` is the block's own data, or shared bytes under hold.
 */
struct pc_block {
    struct pc_block *next;
    struct pc_block_pool *pool;
    const uint8_t *at;
    size_t begin, end, size;
    struct pc_hold *hold;
    uint32_t refs;
    uint32_t class_index;
    uint8_t data[];
};

static_assert(sizeof(struct pc_block) == PC_CACHE_LINE, "data starts on a line");

/* Whole blocks of 64 B (shared bytes only), 512 B, 2 KiB, 16 KiB, 64 KiB, 256 KiB and 1 MiB + 4
 * KiB. */
#define PC_BLOCK_CLASS_COUNT 7
#define PC_BLOCK_BYTES_USUAL (16384 - sizeof(struct pc_block))
#define PC_BLOCK_BYTES_SMALL (512 - sizeof(struct pc_block))

struct pc_block_pool {
    struct pc_block *free[PC_BLOCK_CLASS_COUNT];
    uint32_t free_count[PC_BLOCK_CLASS_COUNT];
    uint64_t bytes_out; /* borrowed and not yet back, headers included */
    /* Written by every lane; pairs with the exchange in borrow. */
    alignas(PC_CACHE_LINE) _Atomic(struct pc_block *) returned;
};

void pc_block_pool_init(struct pc_block_pool *pool);

/* Frees what the pool keeps; blocks still out must not come back later. */
void pc_block_pool_fini(struct pc_block_pool *pool);

/* A block with room for at least `bytes`, empty, one reference. NULL: no memory.  Core: owner. */
struct pc_block *pc_block_borrow(struct pc_block_pool *pool, size_t bytes);

/* Drop one reference; the last one gives the block back. `pool` is the calling lane's.
 * The hold, if any, must have been released.  Core: any lane, with its own pool. */
void pc_block_give_back(struct pc_block_pool *pool, struct pc_block *block);

/* Bytes borrowed and not given back, those that other lanes have given back not counted.
 * Core: owner. */
uint64_t pc_block_pool_bytes_out(struct pc_block_pool *pool);

/* Free what is kept beyond the little a quiet lane needs.  Core: owner. */
void pc_block_pool_trim(struct pc_block_pool *pool);

static inline size_t pc_block_count(const struct pc_block *block)
{
    return block->end - block->begin;
}

static inline size_t pc_block_room(const struct pc_block *block)
{
    return block->size - block->end;
}

/* A queue of blocks: replies on their way out. */
struct pc_chain {
    struct pc_block *head, *tail;
    size_t bytes;
    bool reserved; /* the tail has an open reservation: it stays */
};

/* Fill `pieces` with what is at the front, `bytes_max` at most; returns how many bytes, and in how
 * many pieces. */
size_t pc_chain_pieces(const struct pc_chain *chain, size_t bytes_max, struct iovec *pieces,
                       unsigned piece_count_max, unsigned *out_piece_count);

/* The first `bytes` are gone: release holds, give blocks back. */
void pc_chain_consume(struct pc_chain *chain, size_t bytes, struct pc_lane *lane,
                      struct pc_block_pool *pool);

/* Everything is gone. */
void pc_chain_clear(struct pc_chain *chain, struct pc_lane *lane, struct pc_block_pool *pool);

/* Room for `count` contiguous bytes at the end; NULL: no memory. Not counted until committed. */
uint8_t *pc_chain_reserve(struct pc_chain *chain, size_t count, size_t usual,
                          struct pc_block_pool *pool);

static inline void pc_chain_commit(struct pc_chain *chain, size_t count)
{
    chain->tail->end += count;
    chain->bytes += count;
}

/* Append bytes by reference; takes the hold. -ENOMEM leaves it with the caller. */
int pc_chain_share(struct pc_chain *chain, struct pc_view view, struct pc_hold *hold,
                   struct pc_block_pool *pool);

/* Move all of `from` behind `chain`, copying where that is cheaper; `from` is left empty. */
void pc_chain_splice(struct pc_chain *chain, struct pc_chain *from, struct pc_block_pool *pool);

#endif
