/* SPDX-License-Identifier: Apache-2.0 */
/* place: laying down and taking up, parking, and borrowing from those who are elsewhere. */
#include "runtime/place.h"

#include "base/hooks.h"
#include "runtime/exchange.h"

/* ---- The owner ---- */

void pc_places_lay_down(struct pc_core *core)
{
    const bool held = core->baton.state == PC_BATON_HELD;
    if (core->lane.runtime->lends && (held || PC_PLANTED(PC_BUG_LENT_TWICE))) {
        pc_baton_lay_down(&core->baton);
    }
}

bool pc_places_take_up(struct pc_core *core)
{
    if (pc_places_away(core)) {
        return false;
    }
    if (!pc_baton_take_up(&core->baton)) {
        pc_count(&core->lane.counters->batons_wanted);
        return false;
    }
    return true;
}

void pc_places_park(struct pc_core *core, struct pc_call *call)
{
    PC_ASSERT(pc_places_away(core));
    pc_count(&core->lane.counters->calls_parked);
    call->letter.next = NULL;
    *core->parked_last = &call->letter;
    core->parked_last = &call->letter.next;
}

void pc_places_returned(struct pc_core *core)
{
    pc_baton_returned(&core->baton);
    struct pc_letter *letter = core->parked;
    core->parked = NULL;
    core->parked_last = &core->parked;
    while (letter != NULL) {
        struct pc_letter *next = letter->next;
        struct pc_call *call = PC_CONTAINER_OF(letter, struct pc_call, letter);
        const struct pc_lane *asker = pc_call_lane(call);
        core->lane.heavy = true;
        call->work(call, &core->lane);
        if (asker == &core->lane) {
            pc_core_answered(call);
        } else {
            pc_outbox_post(pc_mailbox_outbox(core->mailbox, asker->index), letter,
                           PC_LETTER_ANSWER);
        }
        letter = next;
    }
}

/* ---- What services ask ---- */

bool pc_place_at_hand(const struct pc_lane *lane, int32_t place)
{
    const unsigned core_count = lane->runtime->core_count;
    /* A division costs more than all else here. */
    return lane->kind == PC_LANE_CORE && place >= 0 &&
           (core_count == 1 || (unsigned)place % core_count == lane->index) &&
           pc_places_enter(PC_CONTAINER_OF((uintptr_t)lane, struct pc_core, lane));
}

bool pc_place_borrow(const struct pc_request *request, int32_t place)
{
    struct pc_lane *lane = pc_slot_of(request)->exchange->lane;
    struct pc_runtime *runtime = lane->runtime;
    if (!runtime->lends || lane->kind != PC_LANE_CORE) {
        return false;
    }
    PC_ASSERT(place >= 0 && (unsigned)place < runtime->config.place_count);
    const unsigned owner = (unsigned)place % runtime->core_count;
    /* A call on its way to the place comes first. */
    if (owner == lane->index ||
        (!pc_request_settled(request, place) && !PC_PLANTED(PC_BUG_BYPASS_UNSETTLED))) {
        return false;
    }
    struct pc_baton *baton = &runtime->cores[owner]->baton;
    if (!pc_baton_lies(baton)) {
        pc_count(&lane->counters->borrow_missed);
        return false;
    }
    const bool borrowed = pc_baton_borrow(baton, (unsigned)place / runtime->core_count);
    pc_count(borrowed ? &lane->counters->borrowed : &lane->counters->borrow_refused);
    return borrowed;
}

void pc_place_give_back(const struct pc_request *request, int32_t place)
{
    const struct pc_lane *lane = pc_slot_of(request)->exchange->lane;
    const struct pc_runtime *runtime = lane->runtime;
    struct pc_core *owner = runtime->cores[(unsigned)place % runtime->core_count];
    if (pc_baton_give_back(&owner->baton, (unsigned)place / runtime->core_count) &&
        pc_core_send_control(owner, &owner->baton.control)) {
        pc_count(&lane->counters->bells);
    }
}
