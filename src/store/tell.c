/* SPDX-License-Identifier: Apache-2.0 */
/* tell: what a slice shows to logs, without a trace in the slice. */
#include "store/parts.h"

enum pc_seen pc_slice_see(const struct pc_slice *slice, const struct pc_key *key, uint32_t now,
                          uint64_t *out_value_bytes)
{
    struct pc_look look;
    *out_value_bytes = 0;
    if (!pc_index_find(&slice->index, key, &look.at)) {
        return PC_SEEN_ABSENT;
    }
    const uint64_t place = pc_slot_place(look.at.value);
    look.item = pc_pool_at(slice->pool, place);
    look.shape = pc_word_own(&look.item->shape);
    if (pc_slice_flushed(slice, place)) {
        return PC_SEEN_FLUSHED;
    }
    if (pc_expired(pc_word_own(&look.item->expiry), now)) {
        return PC_SEEN_EXPIRED;
    }
    struct pc_value value;
    pc_slice_view(slice, &look, &value);
    *out_value_bytes = value.value_bytes;
    return PC_SEEN_FOUND;
}

void pc_slice_tell(struct pc_slice *slice, const struct pc_slice_ear *ear)
{
    slice->ear = *ear;
}

void pc_slice_evicting(const struct pc_slice *slice, const struct pc_slot_at *at)
{
    struct pc_look look = {.at = *at, .item = pc_pool_at(slice->pool, pc_slot_place(at->value))};
    look.shape = pc_word_own(&look.item->shape);
    const struct pc_key key = {.at = pc_item_key(look.item, look.shape),
                               .bytes = pc_shape_key_bytes(look.shape)};
    struct pc_value value;
    pc_slice_view(slice, &look, &value);
    slice->ear.evicted(slice->ear.ctx, &key, &value);
}
