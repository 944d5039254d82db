/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton: a slice is worked on by its owner, or by a borrower while the owner sleeps (DESIGN rule 6).
 *
 * Two borrowers have WORKS pieces of work each for one slice. Each tries the baton; where it is
 * refused it posts a letter to the owner and rings if needed. The owner lays the baton down before
 * it sleeps, tries to take it once when it wakes, and else sets WANTED and goes on without. All work
 * is done in the end, by one at a time; a letter nobody serves is an invalid end state.
 *
 * Must fail: BROKEN_SILENT_LAY_DOWN  WANTED is seen and no control letter posted
 *            BROKEN_BLIND_LAY_DOWN   WANTED is looked for, then the word is stored
 *            BROKEN_RELAXED_LAY_DOWN the word may become visible before the work
 *            BROKEN_BLIND_BORROW     the word is looked at, then stored
 *            BROKEN_TRY_FIRST        the owner tries, then takes the control letter that answers it
 *            BROKEN_NO_RECHECK       the owner sleeps without looking again
 */
#define OWNER      0
#define BORROWER_1 1
#define BORROWER_2 2
#define PROCESSES  3

#define WORD     0
#define DATA     1 /* the slice: plain memory of whoever holds the baton */
#define CONTROL  2
#define FLAG     3
#define LETTER_1 4 /* published letters of each borrower */
#define LETTER_2 5
#define CELLS    6

#define FREE   4 /* else: the holder */
#define WANTED 8

#define AWAKE  0
#define ASLEEP 1

#ifndef WORKS
#define WORKS 2
#endif

#include "memory.h"

bool bell;
byte inside, work_done;

inline work(me)
{
    atomic { inside++; assert(inside == 1); }
    load(me, DATA, value);
    assert(value == work_done);
    store(me, DATA, value + 1);
    atomic { work_done++; inside--; }
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

inline borrow(me)
{
#ifdef BROKEN_BLIND_BORROW
    load(me, WORD, word);
    done = (word == FREE);
    if
    :: done -> exchange(me, WORD, me, word)
    :: else
    fi
#else
    compare_exchange(me, WORD, FREE, me, done)
#endif
}

inline call_owner(me)
{
    exchange(me, WORD, FREE | WANTED, word);
#ifndef BROKEN_SILENT_LAY_DOWN
    exchange(me, CONTROL, 1, value);
    must_ring(me);
#endif
}

inline lay_down(me)
{
#ifdef BROKEN_BLIND_LAY_DOWN
    load(me, WORD, word);
    done = (word == me);
    if
    :: done -> exchange(me, WORD, FREE, word)
    :: else
    fi;
#else
#ifdef BROKEN_RELAXED_LAY_DOWN
    relaxed_compare_exchange(WORD, me, FREE, done);
#else
    compare_exchange(me, WORD, me, FREE, done);
#endif
#endif
    if
    :: done -> skip
    :: else -> call_owner(me)
    fi
}

proctype borrower(byte me; byte letter)
{
    byte i, posted, word, value;
    bool done;
    for (i : 1 .. WORKS) {
        borrow(me);
        if
        :: done -> work(me); lay_down(me)
        :: else ->
               posted++;
               exchange(me, letter, posted, value);
               must_ring(me)
        fi
    }
}

/* One try: take it if it lies there, else leave word that it is wanted. The control list is emptied
 * before, so that a lay-down after the try is still news. */
inline try_take()
{
    holds = false;
    do
    :: load(OWNER, WORD, word);
       if
       :: (word & FREE) != 0 ->
              compare_exchange(OWNER, WORD, word, OWNER, done);
              holds = done
       :: else -> compare_exchange(OWNER, WORD, word, word | WANTED, done)
       fi;
       if
       :: done -> break
       :: else
       fi
    od
}

inline take_letters(cell, head)
{
    load(OWNER, cell, value);
    waiting = waiting + value - head;
    head = value
}

proctype owner()
{
    byte head_1, head_2, waiting, word, value;
    bool holds, done;
    do
    :: work_done == 2 * WORKS -> break
    :: else ->
#ifdef BROKEN_TRY_FIRST
           try_take();
           exchange(OWNER, CONTROL, 0, value);
#else
           exchange(OWNER, CONTROL, 0, value);
           try_take();
#endif
           take_letters(LETTER_1, head_1);
           take_letters(LETTER_2, head_2);
           do
           :: holds && waiting > 0 -> work(OWNER); waiting--
           :: else -> break
           od;
           if
           :: holds -> exchange(OWNER, WORD, FREE, word)
           :: else
           fi;
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
                  :: work_done == 2 * WORKS -> skip
                  fi
           fi;
           store(OWNER, FLAG, AWAKE)
    od
}

init {
    atomic {
        memory[WORD] = FREE; /* the owner is about to wake */
        run machine(OWNER, DATA);
        run machine(OWNER, FLAG);
        run machine(BORROWER_1, DATA);
        run machine(BORROWER_2, DATA);
        run owner();
        run borrower(BORROWER_1, LETTER_1);
        run borrower(BORROWER_2, LETTER_2);
    }
}
