/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_borrow: requests of one key, done in a slice borrowed from a core that is elsewhere.
 *
 * A borrower does only what is short and needs no upkeep: no value that may go into chunks, nothing
 * that extends one, and only where there is room already; the owner is woken for the rest. Pacing,
 * the few entries that each store clears ahead of need, is part of a store wherever it is done.
 *
 * Order    A slice is borrowed only while no call of the connection to it is unanswered (rule 3).
 */
#include "services/cache_parts.h"

/* What it extends may be long. */
static bool extends(const struct pc_cache_op *op)
{
    if (op->meta != NULL) {
        return op->meta->parsed.mode == 'A' || op->meta->parsed.mode == 'P';
    }
    return op->parsed.verb == PC_MEMCACHED_APPEND || op->parsed.verb == PC_MEMCACHED_PREPEND;
}

/* A request without a value may still write the item anew, which is not longer than this. */
static uint32_t value_bytes_max(const struct pc_cache_op *op)
{
    return op->parsed.value_bytes != 0 ? (uint32_t)op->parsed.value_bytes
                                       : PC_SLICE_LATER_BYTES_MIN;
}

bool pc_cache_borrow(struct pc_cache_op *op, pc_cache_run_fn *run, struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    const unsigned place = op->place;
    if (op->parsed.value_bytes >= PC_SLICE_LATER_BYTES_MIN || extends(op) ||
        !pc_place_borrow(op->request, (int32_t)place)) {
        return false;
    }
    const bool has_room = pc_slice_has_room(pc_owners_slice(cache->owners, place),
                                            pc_cache_key(op).bytes + value_bytes_max(op),
                                            op->expiry, pc_lane_second(lane));
    if (has_room) {
        pc_cache_due(cache, place, lane);
        run(op, place, lane);
    }
    pc_place_give_back(op->request, (int32_t)place);
    return has_room;
}
