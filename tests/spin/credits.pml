/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credits: two cores ask each other without pause and no ring overflows (src/runtime/mailbox.c).
 *
 * Each core has REQUESTS requests for the other from the start and CREDITS credits. Letters are put
 * into slots and published in batches of any size; answers need no credit. A ring has a slot for
 * every credit of both directions, and its sender never reads what the receiver has taken. Every
 * letter arrives once and in order, and the cores end only when all is answered, so a lost credit or
 * a blocked answer is an invalid end state.
 *
 * Must fail: BROKEN_CREDIT_LEAK     one answer brings no credit back
 *            BROKEN_EARLY_CREDIT    the credit is back when the request is published
 *            BROKEN_HALF_RING       slots for the requests only
 *            BROKEN_ANSWER_CREDIT   answers need a credit as well
 *            BROKEN_PLAIN_TAIL      the tail may become visible before the slots
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
#define CELLS     (2 * (SLOTS + 1))

/* Core `me` reads ring `me`; the other core writes it. */
#define SLOT(ring, index) ((ring) * (SLOTS + 1) + (index) % SLOTS)
#define TAIL(ring)        ((ring) * (SLOTS + 1) + SLOTS)

#define REQUEST 64
#define ANSWER  128

#include "memory.h"

byte taken[2]; /* what the receivers know and the senders must not need */
byte finished;

inline put(value)
{
    assert(tail - taken[1 - me] < SLOTS);
    store(me, SLOT(1 - me, tail), value);
    tail++;
}

proctype core(byte me)
{
    byte tail, published, head, credits = CREDITS;
    byte asked, heard; /* own requests put, own answers taken */
    byte served, owed; /* the other's requests taken, answers not yet put */
    byte value;
    do
#ifdef BROKEN_ANSWER_CREDIT
    :: owed > 0 && credits > 0 -> credits--; put(ANSWER + served - owed); owed--;
#else
    :: owed > 0 -> put(ANSWER + served - owed); owed--;
#endif
    :: asked < REQUESTS && credits > 0 -> credits--; put(REQUEST + asked); asked++;
    :: tail != published ->
#ifdef BROKEN_PLAIN_TAIL
           store(me, TAIL(1 - me), tail);
#else
           exchange(me, TAIL(1 - me), tail, value);
#endif
#ifdef BROKEN_EARLY_CREDIT
           credits = CREDITS;
#endif
           published = tail;
    :: memory[TAIL(me)] != head ->
           load(me, SLOT(me, head), value);
           atomic { head++; taken[me] = head; }
           if
           :: value >= ANSWER ->
                  assert(value == ANSWER + heard);
                  heard++;
#ifdef BROKEN_CREDIT_LEAK
                  credits = credits + (heard != 1);
#else
                  credits++;
#endif
           :: else ->
                  assert(value == REQUEST + served);
                  served++;
                  owed++;
#ifdef BROKEN_ANSWER_CREDIT
                  skip
#endif
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
        }
#ifdef BROKEN_PLAIN_TAIL
        run machine(0, TAIL(1));
        run machine(1, TAIL(0));
#endif
        run core(0);
        run core(1);
    }
    finished == 2 -> assert(taken[0] == 2 * REQUESTS && taken[1] == 2 * REQUESTS);
}
