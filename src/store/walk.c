/* SPDX-License-Identifier: Apache-2.0 */
/* walk: through the index of a slice, bucket by bucket, for dumps and for what has expired. */
#include "store/parts.h"

/* A cursor is a bucket, and how many slots of its chain were visited. */
enum { SKIP_BITS = 8, SKIP_MASK = (1 << SKIP_BITS) - 1 };

static_assert(PC_CHAIN_SLOTS_MAX <= SKIP_MASK + 1, "a cursor names every slot");

static struct pc_look look_at(const struct pc_slice *slice, uint64_t slot)
{
    struct pc_look look = {.at.value = slot};
    look.item = pc_pool_at(slice->pool, pc_slot_place(slot));
    look.shape = pc_word_own(&look.item->shape);
    return look;
}

static struct pc_key key_at(const struct pc_look *look)
{
    return (struct pc_key){.at = pc_item_key(look->item, look->shape),
                           .bytes = pc_shape_key_bytes(look->shape)};
}

static bool is_dead(const struct pc_slice *slice, const struct pc_look *look, uint32_t now)
{
    return pc_expired(pc_word_own(&look->item->expiry), now) ||
           (slice->flush_pending && pc_slice_flushed(slice, pc_slot_place(look->at.value)));
}

void pc_slice_walk(struct pc_slice *slice, uint32_t now, uint64_t *cursor, unsigned budget,
                   pc_slice_visit_fn *visit, void *ctx)
{
    uint64_t slots[PC_CHAIN_SLOTS_MAX];
    const uint64_t end = pc_index_bucket_count(&slice->index);
    uint64_t bucket = *cursor >> SKIP_BITS;
    unsigned skip = (unsigned)(*cursor & SKIP_MASK);
    for (; bucket < end && budget != 0; bucket++, skip = 0) {
        const unsigned count =
            pc_index_chain(&slice->index, (uint32_t)bucket, slots, PC_CHAIN_SLOTS_MAX);
        for (unsigned i = skip; i < count; i++) {
            const struct pc_look look = look_at(slice, slots[i]);
            if (is_dead(slice, &look, now)) {
                continue;
            }
            const struct pc_key key = key_at(&look);
            struct pc_value value;
            pc_slice_view(slice, &look, &value);
            if (!visit(ctx, &key, &value)) {
                *cursor = bucket << SKIP_BITS | i;
                return;
            }
        }
        slice->stats.checked += count;
        budget -= count + 1 < budget ? count + 1 : budget;
    }
    *cursor = bucket < end ? bucket << SKIP_BITS : 0;
}

/* Unlink an item that has expired; it is where the slot says. */
static void sweep_slot(struct pc_slice *slice, uint64_t slot, uint32_t now)
{
    struct pc_look look = look_at(slice, slot);
    if (!pc_expired(pc_word_own(&look.item->expiry), now)) {
        return;
    }
    const struct pc_index *index = &slice->index;
    const struct pc_key key = key_at(&look);
    const bool found = pc_index_find_place(index, index->hash(key.at, key.bytes, index->hash_seed),
                                           pc_slot_place(slot), &look.at);
    PC_ASSERT(found);
    if (found) {
        slice->stats.reclaimed++;
        pc_slice_unlink(slice, &look.at, PC_END_EXPIRED);
    }
}

void pc_slice_sweep(struct pc_slice *slice, uint32_t now, uint64_t *cursor, unsigned budget)
{
    uint64_t slots[PC_CHAIN_SLOTS_MAX];
    const uint64_t end = pc_index_bucket_count(&slice->index);
    for (; *cursor < end && budget != 0; ++*cursor) {
        const unsigned count =
            pc_index_chain(&slice->index, (uint32_t)*cursor, slots, PC_CHAIN_SLOTS_MAX);
        for (unsigned i = 0; i < count; i++) {
            sweep_slot(slice, slots[i], now);
        }
        slice->stats.checked += count;
        budget -= count + 1 < budget ? count + 1 : budget;
    }
    if (*cursor >= end) {
        *cursor = 0;
    }
}
