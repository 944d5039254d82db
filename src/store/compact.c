/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compact: room where nothing is evicted (-M).
 *
 * What is deleted, replaced or expired leaves holes. A segment with enough of them is cleared as
 * for eviction, but all that is alive in it moves to a free segment; every slice keeps one for that
 * (PC_READY_SPARE). Where no segment has enough holes, memory is full and stores are refused.
 */
#include "store/parts.h"

enum {
    PC_HOLES_SHARE = 8,   /* of a segment: with fewer holes there is more to copy than to win */
    PC_SEARCH_COUNT = 16, /* segments looked at for the price of one item */
    PC_SAMPLE_COUNT = 64, /* of so many the one with the most holes is taken */
    PC_SWEEP_PAUSE = 9,   /* times as long as the sweep before took: a tenth of the time at most */
};

static uint32_t holes_least(const struct pc_slice *slice)
{
    return slice->pool->segment_bytes / PC_HOLES_SHARE;
}

static uint32_t dead_bytes(const struct pc_segment *segment)
{
    return segment->used_bytes - segment->live_bytes;
}

/* Only what is dead counts, not an end that nothing fitted into: so every compaction leaves less of
 * it, and a series of them ends. */
static bool is_worth_it(const struct pc_slice *slice, uint32_t number)
{
    const struct pc_segment *segment = &slice->pool->segments[number];
    return (segment->state == PC_SEGMENT_CLOSED || segment->state == PC_SEGMENT_OPEN) &&
           dead_bytes(segment) >= holes_least(slice) &&
           atomic_load_explicit(&segment->holds, memory_order_relaxed) == 0;
}

/* Nothing was found this second, and nothing worth a new search has died since. */
static bool is_idle(const struct pc_slice *slice, uint32_t now)
{
    const struct pc_compaction *compaction = &slice->compaction;
    return compaction->idle_second == now &&
           slice->stats.item_bytes + holes_least(slice) > compaction->idle_bytes;
}

static void idle(struct pc_slice *slice, uint32_t now)
{
    slice->compaction.looked = 0;
    slice->compaction.idle_second = now;
    slice->compaction.idle_bytes = slice->stats.item_bytes;
}

/* The segment with the most holes among the next ones; 0: not found within the budget, or at all.
 */
static uint32_t search(struct pc_slice *slice, unsigned *budget)
{
    struct pc_compaction *compaction = &slice->compaction;
    const struct pc_segment *segments = slice->pool->segments;
    uint32_t best = 0;
    for (unsigned i = 1; compaction->looked < slice->segment_count && *budget != 0; i++) {
        const uint32_t number = pc_log_next(slice, &compaction->cursor);
        if (number != 0) {
            compaction->looked++;
        }
        if (number != 0 && is_worth_it(slice, number) &&
            (best == 0 || dead_bytes(&segments[number]) > dead_bytes(&segments[best]))) {
            best = number;
        }
        *budget -= i % PC_SEARCH_COUNT == 0;
        if (best != 0 && i >= PC_SAMPLE_COUNT) {
            break;
        }
    }
    return best;
}

static void begin(struct pc_slice *slice, uint32_t number)
{
    const struct pc_segment *segment = &slice->pool->segments[number];
    if (segment->state == PC_SEGMENT_OPEN) {
        pc_log_close(slice, segment->stream);
    }
    if (segment->state == PC_SEGMENT_CLOSED) { /* else nothing was alive, and it is free already */
        pc_clear_begin(slice, number, true);
    }
}

bool pc_compact_begin(struct pc_slice *slice, uint32_t now, unsigned *budget)
{
    if (pc_slice_clear_dead(slice, now, budget)) {
        return true;
    }
    if (is_idle(slice, now)) {
        return false;
    }
    const uint32_t number = search(slice, budget);
    if (number != 0) {
        slice->compaction.looked = 0;
        begin(slice, number);
        return true;
    }
    if (slice->compaction.looked < slice->segment_count) {
        return true;
    }
    idle(slice, now);
    return false;
}

void pc_compact_stop(struct pc_slice *slice, uint32_t now)
{
    slice->pool->segments[slice->clearing.segment].state = PC_SEGMENT_CLOSED;
    slice->clearing = (struct pc_clearing){0};
    idle(slice, now);
}

bool pc_compact_sweep(struct pc_slice *slice, uint32_t now, unsigned budget)
{
    struct pc_compaction *compaction = &slice->compaction;
    if (compaction->sweep_cursor == 0) {
        if (now < compaction->sweep_due || !pc_slice_short(slice)) {
            return false;
        }
        compaction->sweep_began = now;
    }
    pc_slice_sweep(slice, now, &compaction->sweep_cursor, budget);
    if (compaction->sweep_cursor == 0) {
        compaction->sweep_due = now + 1 + PC_SWEEP_PAUSE * (now - compaction->sweep_began);
    }
    return compaction->sweep_cursor != 0;
}
