/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton: who may be at the places of a core: the core itself, or borrowers while it is elsewhere.
 *
 * One word a core says it all. Its owner takes LENT away when it has something to do at its places
 * and sets it when that is done; each place that somebody has borrowed is a bit:
 *
 *   0             the owner has all its places
 *   LENT          all lie there, anybody may borrow one
 *   LENT + bits   these are borrowed, the others lie there
 *   bits          the owner wants them: nobody borrows more, and whoever gives back
 *                 the last one tells the owner
 *
 * Owner    The core whose places they are; it alone sets and takes away LENT. Borrowers set a bit
 *          while LENT is set, and take it away when they are done.
 * Memory   Embedded in a core. The control letter is posted once for each time the owner found
 *          something borrowed: it lends nothing until the letter has come.
 * Limits   PC_BATON_BITS places have a bit of their own; with more, some share one.
 * Order    All that was done at a place before it was laid down or given back is seen by whoever
 *          has it next.
 * Cost     Owner: one addition to take up, a store to lay down. Borrower: a compare-exchange and
 *          an addition.
 * Source   docs/decisions/0023-lending.md, 0024-lending-while-awake.md. Proof:
 *          tests/spin/baton.pml.
 */
#ifndef PC_RUNTIME_BATON_H
#define PC_RUNTIME_BATON_H

#include "base/check.h"

#include <percore/service.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The places of a core have a bit each, LENT has the last of a word. */
#define PC_BATON_BITS 63

enum pc_baton_state {
    PC_BATON_HELD,   /* the owner may be at all its places */
    PC_BATON_LENT,   /* laid down */
    PC_BATON_WANTED, /* taken up while something was borrowed: a letter will come */
};

struct pc_baton {
    /* Written by the owner around its stays, and by borrowers in between. */
    alignas(PC_CACHE_LINE) _Atomic uint64_t word;
    /* The owner's. */
    alignas(PC_CACHE_LINE) enum pc_baton_state state;
    struct pc_control control; /* from whoever gives back the last of what is wanted */
};
static_assert(offsetof(struct pc_baton, state) == PC_CACHE_LINE, "borrowers share the word alone");

/* Held by the owner.  Core: boot. */
void pc_baton_init(struct pc_baton *baton);

/* Others may borrow now. Only what is held can be laid down.  Core: owner. */
void pc_baton_lay_down(struct pc_baton *baton);

/* Wanted again: true: all is here again. False: something is borrowed, and the control letter comes
 * when it is back; until then the owner stays away from its places.  Core: owner. */
bool pc_baton_take_up(struct pc_baton *baton);

/* The control letter has come: all is here.  Core: owner. */
void pc_baton_returned(struct pc_baton *baton);

/* Its owner is elsewhere, as far as can be seen.  Core: peek. */
bool pc_baton_lies(const struct pc_baton *baton);

/* True: the place (by its number among the core's own) is the caller's until it gives it back; it
 * does not wait meanwhile. False: the owner is there, or somebody else has it.  Core: any. */
bool pc_baton_borrow(struct pc_baton *baton, unsigned number);

/* True: the owner wants to know; the caller posts the control letter.  Core: the borrower. */
bool pc_baton_give_back(struct pc_baton *baton, unsigned number);

#endif
