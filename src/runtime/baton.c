/* SPDX-License-Identifier: Apache-2.0 */
/* baton: one word, changed in one step by whoever changes it. */
#include "runtime/baton.h"

#include "base/hooks.h"

#define LENT (UINT64_C(1) << PC_BATON_BITS)

static uint64_t bit_of(unsigned number)
{
    return UINT64_C(1) << (number % PC_BATON_BITS);
}

void pc_baton_init(struct pc_baton *baton)
{
    *baton = (struct pc_baton){.state = PC_BATON_HELD};
}

void pc_baton_lay_down(struct pc_baton *baton)
{
    PC_ASSERT(baton->state == PC_BATON_HELD || PC_PLANTED(PC_BUG_LENT_TWICE));
    PC_POINT("baton: before laying down");
    baton->state = PC_BATON_LENT;
    if (PC_PLANTED(PC_BUG_LENT_TWICE)) {
        atomic_fetch_or_explicit(&baton->word, LENT, memory_order_release);
        return;
    }
    /* A store will do: nobody else changes the word while LENT is not set and nothing is borrowed.
     * Pairs with the compare-exchange in borrow: what the owner did is seen by the borrower. */
    atomic_store_explicit(&baton->word, LENT, memory_order_release);
    PC_POINT("baton: laid down");
}

bool pc_baton_take_up(struct pc_baton *baton)
{
    PC_ASSERT(baton->state == PC_BATON_LENT);
    PC_POINT("baton: before taking up");
    /* Pairs with give_back, what borrowers did is seen; and with borrow, which finds LENT or not.
     */
    const uint64_t before = atomic_fetch_sub_explicit(&baton->word, LENT, memory_order_acq_rel);
    const bool all_here = before == LENT || PC_PLANTED(PC_BUG_ENTERED_UNTAKEN);
    baton->state = all_here ? PC_BATON_HELD : PC_BATON_WANTED;
    PC_POINT("baton: taken up");
    return all_here;
}

void pc_baton_returned(struct pc_baton *baton)
{
    PC_ASSERT(atomic_load_explicit(&baton->word, memory_order_acquire) == 0 ||
              PC_PLANTED(PC_BUG_LENT_TWICE));
    baton->state = PC_BATON_HELD;
}

bool pc_baton_lies(const struct pc_baton *baton)
{
    return (atomic_load_explicit(&baton->word, memory_order_relaxed) & LENT) != 0;
}

bool pc_baton_borrow(struct pc_baton *baton, unsigned number)
{
    const uint64_t bit = bit_of(number);
    uint64_t word = atomic_load_explicit(&baton->word, memory_order_relaxed);
    do {
        if ((word & LENT) == 0 || (word & bit) != 0) {
            return false;
        }
        PC_POINT("baton: seen lying there");
        /* Acquire: pairs with the store in lay_down and with give_back, for what was done there.
         */
    } while (!atomic_compare_exchange_weak_explicit(&baton->word, &word, word | bit,
                                                    memory_order_acquire, memory_order_relaxed));
    PC_POINT("baton: borrowed");
    return true;
}

bool pc_baton_give_back(struct pc_baton *baton, unsigned number)
{
    const uint64_t bit = bit_of(number);
    PC_POINT("baton: before giving back");
    /* Release: for whoever has the place next. Acquire: the one who tells the owner speaks for all
     * who gave back before. */
    const uint64_t before = atomic_fetch_sub_explicit(&baton->word, bit, memory_order_acq_rel);
    PC_ASSERT((before & bit) != 0);
    PC_POINT("baton: given back");
    return before == bit && !PC_PLANTED(PC_BUG_GIVEN_BACK_SILENTLY);
}
