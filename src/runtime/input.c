/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input: the blocks in which a connection's bytes arrive.
 *
 * Connections of a lane share one landing block, each a stretch of it; one that needs more than is
 * left there, or keeps the begin of a request, moves to a block of its own.
 */
#include "runtime/exchange.h"

#include <string.h>

/* Less room than this and the next landing starts a new block. */
#define PC_LANDING_ROOM_MIN 4096

void pc_input_drop(struct pc_exchange *exchange, struct pc_lane *lane)
{
    if (exchange->input != NULL) {
        pc_block_give_back(&lane->blocks, exchange->input);
        exchange->input = NULL;
        exchange->begin = exchange->end = 0;
    }
}

/* Move the unparsed bytes to a block of their own with room for `bytes` in all. */
static bool input_move(struct pc_exchange *exchange, struct pc_lane *lane, size_t bytes)
{
    struct pc_block *block = pc_block_borrow(&lane->blocks, bytes);
    if (block == NULL) {
        return false;
    }
    size_t count = exchange->end - exchange->begin;
    memcpy(block->data, exchange->input->data + exchange->begin, count);
    pc_block_give_back(&lane->blocks, exchange->input);
    exchange->input = block;
    exchange->begin = 0;
    exchange->end = block->end = count;
    return true;
}

static inline bool input_start(struct pc_exchange *exchange, struct pc_lane *lane)
{
    struct pc_block *block = lane->landing;
    if (lane->input_alone) {
        block = pc_block_borrow(&lane->blocks, PC_BLOCK_BYTES_USUAL);
        if (block == NULL) {
            return false;
        }
    } else {
        if (block != NULL && block->refs == 1) {
            block->end = 0;
        }
        if (block == NULL || pc_block_room(block) < PC_LANDING_ROOM_MIN) {
            struct pc_block *fresh = pc_block_borrow(&lane->blocks, PC_BLOCK_BYTES_USUAL);
            if (fresh == NULL) {
                return false;
            }
            if (block != NULL) {
                pc_block_give_back(&lane->blocks, block);
            }
            lane->landing = block = fresh;
        }
        block->refs++;
    }
    exchange->input = block;
    exchange->begin = exchange->end = block->end;
    return true;
}

/* Grow with what has arrived, not with what was announced: memory costs the peer its bytes. */
static bool input_extend(struct pc_exchange *exchange, struct pc_lane *lane)
{
    size_t count = exchange->end - exchange->begin;
    size_t limit = lane->service->input_bytes_max;
    size_t want = pc_max_size(count * 2, PC_BLOCK_BYTES_USUAL);
    if (exchange->want_bytes > count) {
        want = pc_min_size(want, pc_max_size(exchange->want_bytes, PC_BLOCK_BYTES_USUAL));
    }
    return input_move(exchange, lane, pc_min_size(want, pc_max_size(limit, count + 1)));
}

inline uint8_t *pc_input_landing(struct pc_exchange *exchange, struct pc_lane *lane,
                                 size_t *out_room)
{
    struct pc_slot *body_slot = exchange->body_slot;
    if (body_slot != NULL && body_slot->body_wanted && body_slot->body_into != NULL &&
        exchange->begin == exchange->end) {
        pc_input_drop(exchange, lane);
        *out_room = body_slot->body_count;
        return body_slot->body_into;
    }
    if (exchange->input == NULL) {
        if (!input_start(exchange, lane)) {
            return NULL;
        }
    } else if (exchange->end != exchange->input->end || pc_block_room(exchange->input) == 0 ||
               exchange->end +
                       (exchange->want_bytes -
                        pc_min_size(exchange->want_bytes, exchange->end - exchange->begin)) >
                   exchange->input->size) {
        if (!input_extend(exchange, lane)) {
            return NULL;
        }
    }
    *out_room = pc_block_room(exchange->input);
    return exchange->input->data + exchange->end;
}

inline void pc_input_landed(struct pc_exchange *exchange, struct pc_lane *lane, size_t count)
{
    struct pc_slot *body_slot = exchange->body_slot;
    if (exchange->input == NULL) {
        body_slot->body_into += count;
        body_slot->body_count -= count;
        body_slot->request.body_bytes -= count;
        return;
    }
    exchange->end += count;
    exchange->input->end = exchange->end;
    if (count == 0 && exchange->begin == exchange->end) {
        pc_input_drop(exchange, lane);
    }
}

inline void pc_input_settle(struct pc_exchange *exchange, struct pc_lane *lane)
{
    if (exchange->input == NULL) {
        return;
    }
    size_t count = exchange->end - exchange->begin;
    if (count == 0) {
        pc_input_drop(exchange, lane);
    } else if (count <= PC_BLOCK_BYTES_SMALL / 2 && exchange->input->size > PC_BLOCK_BYTES_SMALL) {
        (void)input_move(exchange, lane,
                         PC_BLOCK_BYTES_SMALL); /* no memory: it stays where it is */
    }
}
