/* SPDX-License-Identifier: Apache-2.0 */
/* call: what requests ask of places, and which places they have not heard from. */
#include "runtime/core.h"
#include "runtime/exchange.h"
#include "runtime/runtime.h"

static uint64_t place_bit(int32_t place)
{
    return UINT64_C(1) << ((uint32_t)place & 63);
}

static void place_mask_update(struct pc_exchange *exchange)
{
    exchange->place_mask = 0;
    for (const struct pc_slot *slot = exchange->head; slot != NULL; slot = slot->next) {
        exchange->place_mask |= slot->place_mask;
    }
}

bool pc_exchange_answered(struct pc_call *call, struct pc_exchange **out_exchange)
{
    struct pc_slot *slot = pc_slot_of(call->request);
    PC_ASSERT(!call->answered && slot->calls_open > 0);
    call->answered = true;
    *out_exchange = slot->exchange;
    if (--slot->calls_open > 0) {
        return false;
    }
    if (slot->posted_ns != 0) {
        struct pc_lane *lane = slot->exchange->lane;
        uint64_t now_ns = lane->kernel->clock_ns(lane->kernel);
        pc_counters_stage(lane->counters, PC_STAGE_HOP, now_ns - slot->posted_ns);
        slot->posted_ns = 0;
    }
    slot->place_mask = 0;
    place_mask_update(slot->exchange);
    return true;
}

struct pc_lane *pc_call_lane(const struct pc_call *call)
{
    return pc_slot_of(call->request)->exchange->lane;
}

int pc_call_post(struct pc_request *request, struct pc_call *call)
{
    struct pc_slot *slot = pc_slot_of(request);
    struct pc_lane *lane = slot->exchange->lane;
    call->request = request;
    call->answered = false;
    if (!pc_core_call(lane, call)) {
        call->work(call, lane);
        call->answered = true;
        return 0;
    }
    if (slot->calls_open++ == 0 && (lane->counters->letters_posted & 63) == 0) {
        slot->posted_ns = lane->kernel->clock_ns(lane->kernel);
    }
    pc_request_concerns(request, call->place);
    return PC_LATER;
}

void pc_request_concerns(struct pc_request *request, int32_t place)
{
    struct pc_slot *slot = pc_slot_of(request);
    PC_ASSERT(slot->calls_open > 0);
    slot->place_mask |= place_bit(place);
    slot->exchange->place_mask |= place_bit(place);
}

bool pc_request_settled(const struct pc_request *request, int32_t place)
{
    return (pc_slot_of(request)->exchange->place_mask & place_bit(place)) == 0;
}

/* ---- Pauses ---- */

void pc_request_pause(struct pc_request *request, uint64_t ns)
{
    struct pc_slot *slot = pc_slot_of(request);
    const struct pc_lane *lane = slot->exchange->lane;
    PC_ASSERT(slot->pause_ns == 0);
    /* 1 is long gone: the next run finds the pause over, whatever the clock says. */
    slot->pause_ns = ns > 0 ? lane->now_ns + ns : 1;
    slot->exchange->pause_count++;
}

void pc_request_ignore_rest(struct pc_request *request)
{
    struct pc_exchange *exchange = pc_slot_of(request)->exchange;
    PC_ASSERT(exchange->body_slot != pc_slot_of(request));
    exchange->body_slot = NULL; /* of a request parsed behind, which will not be served */
    exchange->swallow = UINT64_MAX;
    if (!exchange->mute) {
        /* What was parsed ahead and could not be a request is thrown away like the rest. */
        exchange->stopped = exchange->oversize = false;
        exchange->trouble = NULL;
    }
}

bool pc_request_over(const struct pc_request *request)
{
    const struct pc_exchange *exchange = pc_slot_of(request)->exchange;
    return exchange->ended || exchange->mute || pc_runtime_stopping(exchange->lane->runtime);
}
