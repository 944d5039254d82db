/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extend: a value in chunks that is appended or prepended to keeps its chunks; new ones are linked.
 *
 * Chunks next to where the new bytes go are joined with them while they are no longer than what
 * they are joined with, so that a byte is copied a few times in its life at most, and a value has
 * few chunks however it grew:
 *
 *     | 900 K | 64 K | 10 K | 3 K |  + 12 K   ->   | 900 K | 64 K | 25 K |
 *
 * Chunks from which somebody may be sending stay as they are, wherever they lie.
 */
#include "store/parts.h"

enum {
    PC_JOIN_SHARE = 2,          /* of a segment: no more is joined to one chunk */
    PC_JOIN_CHUNKS_MAX = 1024,  /* at once */
    PC_LOOSE_CHUNKS_MAX = 4096, /* of a value that grows while nothing can be joined */
};

static bool may_join(const struct pc_slice *slice, uint64_t place)
{
    const struct pc_segment *segment = pc_pool_segment_of(slice->pool, place);
    return (atomic_load(&segment->holds) & PC_HOLD_SEND_MASK) == 0;
}

/* Whether the chunk at `place` is joined with `bytes` beside it. */
static bool joins(const struct pc_slice *slice, uint64_t place, uint64_t bytes)
{
    const struct pc_chunk *chunk = pc_pool_at(slice->pool, place);
    const uint32_t chunk_bytes = pc_word_own(&chunk->bytes);
    return chunk_bytes <= bytes &&
           chunk_bytes + bytes <= slice->pool->segment_bytes / PC_JOIN_SHARE &&
           may_join(slice, place);
}

static uint64_t next_of(const struct pc_slice *slice, uint64_t place)
{
    return pc_word_pair_own(((const struct pc_chunk *)pc_pool_at(slice->pool, place))->next);
}

static void count_joined(const struct pc_slice *slice, uint64_t place,
                         struct pc_extension *extension)
{
    const struct pc_chunk *chunk = pc_pool_at(slice->pool, place);
    extension->joined_bytes += pc_word_own(&chunk->bytes);
}

/* From the first chunk on. */
static void plan_front(const struct pc_slice *slice, uint64_t first, uint64_t bytes,
                       struct pc_extension *extension)
{
    uint64_t place = first;
    for (unsigned count = 0; place != 0 && count < PC_JOIN_CHUNKS_MAX &&
                             joins(slice, place, bytes + extension->joined_bytes);
         count++) {
        count_joined(slice, place, extension);
        extension->joined = first;
        extension->joined_last = place;
        place = next_of(slice, place);
    }
    extension->kept = place;
}

/* From the last chunk back; `tail` is a ring of the last of `count` chunks. */
static void plan_back(const struct pc_slice *slice, const uint64_t *tail, uint64_t count,
                      uint64_t bytes, struct pc_extension *extension)
{
    const uint64_t end = count > PC_JOIN_CHUNKS_MAX ? count - PC_JOIN_CHUNKS_MAX + 1 : 0;
    uint64_t at = count;
    while (at > end &&
           joins(slice, tail[(at - 1) % PC_JOIN_CHUNKS_MAX], bytes + extension->joined_bytes)) {
        at--;
        extension->joined = tail[at % PC_JOIN_CHUNKS_MAX];
        count_joined(slice, extension->joined, extension);
    }
    extension->joined_last = at < count ? tail[(count - 1) % PC_JOIN_CHUNKS_MAX] : 0;
    extension->kept = at > 0 ? tail[(at - 1) % PC_JOIN_CHUNKS_MAX] : 0;
}

bool pc_extend_plan(const struct pc_slice *slice, uint64_t first, uint64_t bytes, bool behind,
                    struct pc_extension *out_extension)
{
    uint64_t tail[PC_JOIN_CHUNKS_MAX];
    uint64_t count = 0;
    uint64_t present_bytes = 0;
    for (uint64_t place = first; place != 0; place = next_of(slice, place)) {
        tail[count++ % PC_JOIN_CHUNKS_MAX] = place;
        present_bytes += pc_word_own(&((struct pc_chunk *)pc_pool_at(slice->pool, place))->bytes);
    }
    *out_extension = (struct pc_extension){.behind = behind};
    if (behind) {
        plan_back(slice, tail, count, bytes, out_extension);
    } else {
        plan_front(slice, first, bytes, out_extension);
    }
    return out_extension->joined != 0 ||
           count <
               PC_LOOSE_CHUNKS_MAX + 2 * PC_JOIN_SHARE * present_bytes / slice->pool->segment_bytes;
}

static void link_to(struct pc_slice *slice, uint64_t place, uint64_t next)
{
    pc_word_pair_store(((struct pc_chunk *)pc_pool_at(slice->pool, place))->next, next);
}

uint64_t pc_extend_link(struct pc_slice *slice, const struct pc_extension *extension,
                        uint64_t first, uint64_t fresh)
{
    if (extension->behind) {
        if (extension->kept == 0) {
            return fresh;
        }
        link_to(slice, extension->kept, fresh);
        return first;
    }
    uint64_t last = fresh;
    while (next_of(slice, last) != 0) {
        last = next_of(slice, last);
    }
    link_to(slice, last, extension->kept);
    if (extension->joined_last != 0) {
        link_to(slice, extension->joined_last, 0);
    }
    return fresh;
}
