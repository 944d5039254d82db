/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owned: only the core that owns a slice touches it, or who borrows it while that core sleeps
 * (`--lend`); everyone else posts it a call.
 *
 * Order    Letters of one core to another arrive as posted, so a connection's effects on one slice
 *          happen in the order of its requests.
 * Source   Enberg, Rao, Tarkoma: The Impact of Thread-Per-Core Architecture on Application Tail
 *          Latency (ANCS 2019).
 */
#include "store/owners/owners.h"

#include <percore/service.h>

bool pc_owners_owned_enter(struct pc_owners *owners, unsigned place, const struct pc_lane *lane)
{
    (void)owners;
    return pc_place_at_hand(lane, (int32_t)place);
}

void pc_owners_owned_leave(struct pc_owners *owners, unsigned place)
{
    (void)owners;
    (void)place;
}
