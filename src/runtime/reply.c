/* SPDX-License-Identifier: Apache-2.0 */
/* reply: what a service says to a request, and what else it asks of one: body, more memory. */
#include "base/hooks.h"
#include "runtime/exchange.h"
#include "runtime/limits.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <string.h>

static struct pc_chain *reply_chain(struct pc_slot *slot)
{
    return PC_PLANTED(PC_BUG_SWAPPED_REPLIES) ? &slot->exchange->output : slot->chain;
}

static bool reply_fits(const struct pc_exchange *exchange, size_t count)
{
    bool fits = exchange->reply_bytes + count <= exchange->lane->reply_bytes_max;
    if (PC_UNLIKELY(!fits)) {
        pc_count(&exchange->lane->counters->cap_queue);
    }
    return fits;
}

static size_t reply_usual(const struct pc_chain *chain, const struct pc_exchange *exchange)
{
    return chain == &exchange->output || chain->tail != NULL ? PC_BLOCK_BYTES_USUAL
                                                             : PC_BLOCK_BYTES_SMALL;
}

static int reply_copy_slow(struct pc_exchange *exchange, struct pc_chain *chain, const void *bytes,
                           size_t count)
{
    if (!reply_fits(exchange, count)) {
        return -ENOMEM;
    }
    const uint8_t *from = bytes;
    while (count > 0) {
        size_t piece = pc_min_size(count, PC_BLOCK_BYTES_USUAL);
        uint8_t *into =
            pc_chain_reserve(chain, piece, reply_usual(chain, exchange), &exchange->lane->blocks);
        if (into == NULL) {
            return -ENOMEM;
        }
        memcpy(into, from, piece);
        pc_chain_commit(chain, piece);
        exchange->reply_bytes += piece;
        from += piece;
        count -= piece;
    }
    return 0;
}

bool pc_reply_crowded(const struct pc_request *request)
{
    const struct pc_slot *slot = pc_slot_of(request);
    return !pc_exchange_may_say(slot->exchange, slot);
}

int pc_reply_copy(struct pc_request *request, const void *bytes, size_t count)
{
    struct pc_slot *slot = pc_slot_of(request);
    struct pc_exchange *exchange = slot->exchange;
    struct pc_chain *chain = reply_chain(slot);
    PC_ASSERT(!chain->reserved);
    struct pc_block *tail = chain->tail;
    if (PC_LIKELY(tail != NULL && pc_block_room(tail) >= count)) {
        memcpy(tail->data + tail->end, bytes, count);
        tail->end += count;
        chain->bytes += count;
        exchange->reply_bytes += count;
        return 0;
    }
    return reply_copy_slow(exchange, chain, bytes, count);
}

inline void *pc_reply_reserve(struct pc_request *request, size_t count_max)
{
    struct pc_slot *slot = pc_slot_of(request);
    struct pc_exchange *exchange = slot->exchange;
    struct pc_chain *chain = reply_chain(slot);
    PC_ASSERT(count_max <= PC_RESERVE_BYTES_MAX && !chain->reserved);
    if (!reply_fits(exchange, count_max)) {
        return NULL;
    }
    uint8_t *into =
        pc_chain_reserve(chain, count_max, reply_usual(chain, exchange), &exchange->lane->blocks);
    chain->reserved = into != NULL;
    return into;
}

void pc_reply_commit(struct pc_request *request, size_t count)
{
    struct pc_slot *slot = pc_slot_of(request);
    struct pc_exchange *exchange = slot->exchange;
    struct pc_chain *chain = slot->replies.reserved ? &slot->replies : &exchange->output;
    PC_ASSERT(chain->reserved);
    chain->reserved = false;
    if (PC_UNLIKELY(exchange->mute && chain == &exchange->output)) {
        return;
    }
    pc_chain_commit(chain, count);
    exchange->reply_bytes += count;
}

int pc_reply_share(struct pc_request *request, struct pc_view view, struct pc_hold *hold)
{
    struct pc_slot *slot = pc_slot_of(request);
    struct pc_exchange *exchange = slot->exchange;
    if (!reply_fits(exchange, view.count)) {
        return -ENOMEM;
    }
    struct pc_chain *chain = reply_chain(slot);
    PC_ASSERT(!chain->reserved);
    if (view.count == 0) {
        /* No byte whose sending would release it. */
        if (hold != NULL) {
            hold->release(hold, exchange->lane);
        }
        return 0;
    }
    int outcome = pc_chain_share(chain, view, hold, &exchange->lane->blocks);
    if (outcome == 0) {
        exchange->reply_bytes += view.count;
    }
    return outcome;
}

void pc_request_body(struct pc_request *request, void *into, size_t count)
{
    struct pc_slot *slot = pc_slot_of(request);
    PC_ASSERT(slot->exchange->body_slot == slot && count <= request->body_bytes && count > 0);
    slot->body_into = into;
    slot->body_count = count;
    slot->body_wanted = true;
}

void *pc_request_extra(struct pc_request *request, size_t bytes)
{
    struct pc_slot *slot = pc_slot_of(request);
    PC_ASSERT(bytes <= PC_RESERVE_BYTES_MAX);
    if (slot->extra == NULL) {
        slot->extra = pc_block_borrow(&slot->exchange->lane->blocks, bytes);
    }
    return slot->extra != NULL ? slot->extra->data : NULL;
}
