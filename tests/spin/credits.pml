/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credits: two cores ask each other without pause and no ring overflows (src/runtime/mailbox.c).
 *
 * Each core has REQUESTS requests for the other from the start and CREDITS credits. Letters are put
 * into slots in batches of any size, the batch's first slot last, which publishes the batch; answers
 * need no credit. A slot carries the lap it was filled in, so it says itself whether it is full. A
 * ring has a slot for every credit of both directions, and its sender never reads what the receiver
 * has taken. Every letter arrives once, in order and with its content, and the cores end only when
 * all is answered, so a lost credit or a blocked answer is an invalid end state.
 *
 * Must fail: BROKEN_CREDIT_LEAK     one answer brings no credit back
 *            BROKEN_EARLY_CREDIT    the credit is back when the request is published
 *            BROKEN_HALF_RING       slots for the requests only
 *            BROKEN_ANSWER_CREDIT   answers need a credit as well
 *            BROKEN_PLAIN_FIRST     the first slot may become visible before what it leads to
 *            BROKEN_FIRST_IN_ORDER  the first slot is stored like the others
 *            BROKEN_NO_LAP          a slot is full when it is not empty, whatever the lap
 */
#ifndef CREDITS
#define CREDITS 1
#endif
#ifndef REQUESTS
#define REQUESTS 3
#endif
#ifdef BROKEN_HALF_RING
#define SLOTS CREDITS
#else
#define SLOTS (2 * CREDITS)
#endif

#define PROCESSES 2
#define CELLS     (4 * SLOTS)

/* Core `me` reads ring `me`; the other core writes it, and what the letters in it say. */
#define SLOT(ring, index)    ((ring) * SLOTS + (index) % SLOTS)
#define CONTENT(ring, index) (2 * SLOTS + SLOT(ring, index))

/* A letter: its number, its kind, and the lap. */
#define NUMBER  15
#define ANSWER  16
#define REQUEST 32
#define LAP     64

#define FULL_LAP(index) (((index) / SLOTS % 2 == 0) -> LAP : 0)
#ifdef BROKEN_NO_LAP
#define IS_FULL(slot, index) ((slot) != 0)
#else
#define IS_FULL(slot, index) ((slot) != 0 && ((slot) & LAP) == FULL_LAP(index))
#endif

#include "memory.h"

byte taken[2]; /* what the receivers know and the senders must not need */
byte finished;

inline put(letter)
{
    assert(tail - taken[1 - me] < SLOTS);
    slot = (letter) | FULL_LAP(tail);
    store(me, CONTENT(1 - me, tail), slot);
#ifdef BROKEN_FIRST_IN_ORDER
    store(me, SLOT(1 - me, tail), slot);
#else
    if
    :: tail == published -> first = slot;
    :: else -> store(me, SLOT(1 - me, tail), slot);
    fi;
#endif
    tail++;
}

inline publish()
{
#ifndef BROKEN_FIRST_IN_ORDER
#ifdef BROKEN_PLAIN_FIRST
    store(me, SLOT(1 - me, published), first);
#else
    exchange(me, SLOT(1 - me, published), first, slot);
#endif
#endif
    published = tail;
    first = 0;
}

proctype core(byte me)
{
    byte tail, published, first, head, credits = CREDITS;
    byte asked, heard; /* own requests put, own answers taken */
    byte served, owed; /* the other's requests taken, answers not yet put */
    byte slot;
    do
#ifdef BROKEN_ANSWER_CREDIT
    :: owed > 0 && credits > 0 -> credits--; put(ANSWER | (served - owed)); owed--;
#else
    :: owed > 0 -> put(ANSWER | (served - owed)); owed--;
#endif
    :: asked < REQUESTS && credits > 0 -> credits--; put(REQUEST | asked); asked++;
    :: tail != published ->
           publish();
#ifdef BROKEN_EARLY_CREDIT
           credits = CREDITS;
#endif
    :: IS_FULL(memory[SLOT(me, head)], head) ->
           load(me, SLOT(me, head), slot);
           assert(memory[CONTENT(me, head)] == slot);
           atomic { head++; taken[me] = head; }
           if
           :: (slot & ANSWER) != 0 ->
                  assert((slot & NUMBER) == heard);
                  heard++;
#ifdef BROKEN_CREDIT_LEAK
                  credits = credits + (heard != 1);
#else
                  credits++;
#endif
           :: else ->
                  assert((slot & NUMBER) == served);
                  served++;
                  owed++;
           fi
    :: heard == REQUESTS && served == REQUESTS && owed == 0 && tail == published -> break
    od;
    finished++
}

init {
    byte i;
    atomic {
        for (i : 0 .. SLOTS - 1) {
            run machine(0, SLOT(1, i));
            run machine(1, SLOT(0, i));
            run machine(0, CONTENT(1, i));
            run machine(1, CONTENT(0, i));
        }
        run core(0);
        run core(1);
    }
    finished == 2 -> assert(taken[0] == 2 * REQUESTS && taken[1] == 2 * REQUESTS);
}
