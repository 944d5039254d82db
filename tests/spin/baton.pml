/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton: a core's places are worked at by the core, or by borrowers while it is elsewhere
 * (docs/decisions/0023, 0024).
 *
 * The word is that of baton.h: LENT, and a bit for each of two places that is borrowed. Two
 * borrowers have WORKS pieces of work each, the first at either place, the second at place 0. Each
 * tries to borrow; where it is refused it posts a letter to the owner and rings if needed. The owner
 * takes its places up when there is something to do, or when it likes, and lays them down when that
 * is done, always before it sleeps; if one is borrowed it parks letters until the control letter of
 * whoever gives back the last. All work is done in the end, at each place by one at a time; a letter
 * nobody serves is an invalid end state, and a control letter posted twice trips an assertion.
 *
 * Must fail: BROKEN_SILENT_GIVE_BACK  the last is given back, and no control letter posted
 *            BROKEN_BLIND_GIVE_BACK   the word is looked at, then stored
 *            BROKEN_RELAXED_GIVE_BACK the word may become visible before the work
 *            BROKEN_BLIND_BORROW      the word is looked at, then stored
 *            BROKEN_UNTAKEN           the owner goes on as if it had taken all up
 *            BROKEN_LENT_TWICE        the owner lends again while the control letter is to come
 *            BROKEN_NO_RECHECK        the owner sleeps without looking again
 */
#define OWNER      0
#define BORROWER_1 1
#define BORROWER_2 2
#define PROCESSES  3

#define WORD     0
#define DATA_0   1 /* the places: plain memory of whoever is there */
#define DATA_1   2
#define CONTROL  3
#define FLAG     4
#define LETTER_1 5 /* published letters of each borrower; the owner serves them at the first place */
#define LETTER_2 6
#define CELLS    7

#define LENT 4 /* beside bits 1 and 2 */

#define AWAKE  0
#define ASLEEP 1

#ifndef WORKS
#define WORKS 2
#endif

#include "memory.h"

bool bell;
byte inside[2], work_done[2];

inline work(me, place)
{
    atomic { inside[place]++; assert(inside[place] == 1); }
    load(me, DATA_0 + place, value);
    assert(value == work_done[place]);
    store(me, DATA_0 + place, value + 1);
    atomic { work_done[place]++; inside[place]--; }
}

inline must_ring(me)
{
    load(me, FLAG, value);
    if
    :: value == ASLEEP ->
           exchange(me, FLAG, AWAKE, value);
           if
           :: value == ASLEEP -> bell = true
           :: else
           fi
    :: else
    fi
}

/* In one step, as the hardware adds: the buffer of the process is empty first. */
inline add(who, cell, amount, before)
{
    atomic {
        dirty_count[who] == 0 -> before = memory[cell]; memory[cell] = memory[cell] + amount;
    }
}

inline borrow(me, place)
{
    done = false;
    do
    :: load(me, WORD, word);
       if
       :: (word & LENT) == 0 || (word & (1 << place)) != 0 -> break
       :: else
       fi;
#ifdef BROKEN_BLIND_BORROW
       done = true;
       exchange(me, WORD, word | (1 << place), value);
#else
       compare_exchange(me, WORD, word, word | (1 << place), done);
#endif
       if
       :: done -> break
       :: else
       fi
    od
}

inline give_back(me, place)
{
#ifdef BROKEN_BLIND_GIVE_BACK
    load(me, WORD, word);
    exchange(me, WORD, word & ~(1 << place), value);
#else
#ifdef BROKEN_RELAXED_GIVE_BACK
    atomic { word = memory[WORD]; memory[WORD] = memory[WORD] - (1 << place); }
#else
    add(me, WORD, -(1 << place), word);
#endif
#endif
#ifndef BROKEN_SILENT_GIVE_BACK
    if
    :: word == (1 << place) ->
           exchange(me, CONTROL, 1, value);
           assert(value == 0);
           must_ring(me)
    :: else
    fi
#endif
}

proctype borrower(byte me; byte letter)
{
    byte i, posted, word, value;
    bit place;
    bool done;
    for (i : 1 .. WORKS) {
        if
        :: place = 0
        :: me == BORROWER_1 -> place = 1
        fi;
        borrow(me, place);
        if
        :: done -> work(me, place); give_back(me, place)
        :: else ->
               posted++;
               exchange(me, letter, posted, value);
               must_ring(me)
        fi
    }
}

inline take_letters(cell, head)
{
    load(OWNER, cell, value);
    waiting = waiting + value - head;
    head = value
}

/* Once for each laying down. */
inline take_up()
{
    add(OWNER, WORD, -LENT, word);
    lent = false;
#ifndef BROKEN_UNTAKEN
    away = word != LENT
#endif
}

#define ALL_DONE (work_done[0] + work_done[1] == 2 * WORKS)

proctype owner()
{
    byte head_1, head_2, waiting, word, value;
    bool lent, away, done;
    do
    :: ALL_DONE && !away -> break
    :: else ->
           take_letters(LETTER_1, head_1);
           take_letters(LETTER_2, head_2);
           /* For letters it must; its own requests may come or not. */
           if
           :: lent -> take_up()
           :: lent && waiting == 0 -> skip
           :: !lent -> skip
           fi;
           exchange(OWNER, CONTROL, 0, value);
           if
           :: value == 1 -> away = false
           :: else
           fi;
           /* What is parked is done once all is here. */
           do
           :: !away && waiting > 0 -> assert(!lent); work(OWNER, 0); waiting--
           :: else -> break
           od;
#ifdef BROKEN_LENT_TWICE
           if
           :: !lent -> add(OWNER, WORD, LENT, word); lent = true
           :: else
           fi;
#else
           if
           :: !away && !lent -> exchange(OWNER, WORD, LENT, word); lent = true
           :: else
           fi;
#endif
           exchange(OWNER, FLAG, ASLEEP, value);
           done = false;
#ifndef BROKEN_NO_RECHECK
           load(OWNER, LETTER_1, value);
           done = done || value != head_1;
           load(OWNER, LETTER_2, value);
           done = done || value != head_2;
           load(OWNER, CONTROL, value);
           done = done || value != 0;
#endif
           if
           :: done -> skip
           :: else ->
                  if
                  :: atomic { bell -> bell = false }
                  :: ALL_DONE && !away -> skip
                  fi
           fi;
           store(OWNER, FLAG, AWAKE)
    od
}

init {
    atomic {
        run machine(OWNER, DATA_0);
        run machine(OWNER, FLAG);
        run machine(BORROWER_1, DATA_0);
        run machine(BORROWER_1, DATA_1);
        run machine(BORROWER_2, DATA_0);
        run owner();
        run borrower(BORROWER_1, LETTER_1);
        run borrower(BORROWER_2, LETTER_2);
    }
}
