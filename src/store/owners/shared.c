/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared: any lane uses any slice, under the slice's mutex; memcached's way.
 *
 * Cost     26 ns when nobody else is in the slice, 92 ns when somebody is. A holder runs one store
 *          operation and never sleeps inside, so waiting for it is bounded by the operation.
 */
#include "base/hooks.h"
#include "store/owners/owners.h"

bool pc_owners_shared_enter(struct pc_owners *owners, unsigned place, const struct pc_lane *lane)
{
    (void)lane;
    PC_LOCKING(&owners->slices[place].lock);
    pthread_mutex_lock(&owners->slices[place].lock);
    return true;
}

void pc_owners_shared_leave(struct pc_owners *owners, unsigned place)
{
    pthread_mutex_unlock(&owners->slices[place].lock);
}
