/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: when a core may be at its places, and what waits while it may not.
 *
 * A core takes its places up (baton.h) when it has something to do there and lays them down before
 * the next thing that takes long: a send, the bells at the end of a phase, sleep. So they lie there
 * while it sleeps, and for most of a turn; others do there what would else need a letter and,
 * often, a waking. When it wants them and one is borrowed, it goes on without them all: calls and
 * its own requests for them are parked, in the order they came, until the borrower's control
 * letter. That takes as long as one thing takes to do; all, because one call may be about several
 * places of a core.
 *
 * Owner    The core. pc_place_borrow and give_back (service.h) run on other cores.
 * Memory   Parked calls are linked through themselves.
 * Order    A call is parked or done on arrival; those parked are done before any that comes later.
 */
#ifndef PC_RUNTIME_PLACE_H
#define PC_RUNTIME_PLACE_H

#include "runtime/core.h"

/* The core's places are borrowed, and a control letter will say when they are back. */
static inline bool pc_places_away(const struct pc_core *core)
{
    return PC_UNLIKELY(core->baton.state == PC_BATON_WANTED);
}

/* Take up what lies there; the slow part of enter.  Core: owner. */
bool pc_places_take_up(struct pc_core *core);

/* True: the core may be at its places until it lays them down. False: some are borrowed, and what
 * is to be done there is parked.  Core: owner. */
static inline bool pc_places_enter(struct pc_core *core)
{
    return PC_LIKELY(core->baton.state == PC_BATON_HELD) || pc_places_take_up(core);
}

/* Done there for now; harmless if it was not there.  Core: owner. */
void pc_places_lay_down(struct pc_core *core);

/* Let a call wait; the places are away.  Core: owner. */
void pc_places_park(struct pc_core *core, struct pc_call *call);

/* The control letter has come: do what waited. Answers are posted, not flushed.  Core: owner. */
void pc_places_returned(struct pc_core *core);

#endif
