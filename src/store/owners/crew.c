/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crew: only the core that owns a slice writes it, or who borrows it, as in `owned`; every core
 * reads it, by copy and check (store/peek.c), and leaves the owner a note of what it read
 * (notes.c).
 *
 * Order    A read bypasses the owner only while no call of its connection to that slice is
 *          unanswered (pc_request_settled): so it sees all that the connection wrote before.
 * Cost     A read of another core's slice costs what a read of our own does, and the misses of the
 *          lines that the owner has written since; no letter, no bell.
 * Source   docs/decisions/0102, 0160.
 */
#include "store/owners/owners.h"

#include <percore/service.h>

bool pc_owners_crew_enter(struct pc_owners *owners, unsigned place, const struct pc_lane *lane)
{
    (void)owners;
    return pc_place_at_hand(lane, (int32_t)place);
}

void pc_owners_crew_leave(struct pc_owners *owners, unsigned place)
{
    (void)owners;
    (void)place;
}
