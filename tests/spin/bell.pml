/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bell: nothing stays unread while its receiver sleeps (src/runtime/mailbox.c).
 *
 * Two senders publish their batches, an outside thread posts one control letter, and the
 * receiver sleeps whenever it finds nothing. It ends when it has taken everything, so a lost bell is
 * an invalid end state. At most one sender rings for one announcement of sleep.
 *
 * Must fail: BROKEN_PLAIN_PUBLISH a batch is published by a plain store
 *            BROKEN_PLAIN_FLAG    sleep is announced by a plain store
 *            BROKEN_NO_RECHECK    nothing is looked at again after the announcement
 *            BROKEN_PLAIN_RING    the ringer clears the flag without an exchange
 */
#define RECEIVER  0
#define SENDER_1  1
#define SENDER_2  2
#define OUTSIDE   3
#define PROCESSES 4

/* How many batches each sender has published; the receiver finds a batch by its first slot. */
#define BOX_1   0
#define BOX_2   1
#define CONTROL 2
#define FLAG    3
#define CELLS   4

#define AWAKE  0
#define ASLEEP 1

/* Batches of each sender: two show what a sender does after it was read once. */
#define BATCHES_1 2
#define BATCHES_2 1

#include "memory.h"

bool bell;
byte announced, rung;

inline must_ring(me)
{
    load(me, FLAG, seen);
    if
    :: seen == ASLEEP ->
#ifdef BROKEN_PLAIN_RING
           store(me, FLAG, AWAKE);
#else
           exchange(me, FLAG, AWAKE, seen);
#endif
           if
           :: seen == ASLEEP -> atomic { rung++; assert(rung <= announced); bell = true; }
           :: else
           fi
    :: else
    fi
}

proctype sender(byte me; byte box; byte batches)
{
    byte sent, seen;
    do
    :: sent < batches ->
           sent++;
#ifdef BROKEN_PLAIN_PUBLISH
           store(me, box, sent);
#else
           exchange(me, box, sent, seen);
#endif
           must_ring(me);
    :: else -> break
    od
}

proctype outside()
{
    byte seen;
    exchange(OUTSIDE, CONTROL, 1, seen);
    must_ring(OUTSIDE);
}

inline look(cell, head)
{
    load(RECEIVER, cell, seen);
    if
    :: seen != head -> head = seen; found = true;
    :: else
    fi
}

inline look_control()
{
    load(RECEIVER, CONTROL, seen);
    if
    :: seen != 0 ->
           exchange(RECEIVER, CONTROL, 0, seen);
           control_taken = control_taken + seen;
           found = true;
    :: else
    fi
}

inline look_again(cell, head)
{
    load(RECEIVER, cell, seen);
    found = found || seen != head;
}

proctype receiver()
{
    byte head_1, head_2, control_taken, seen;
    bool found;
    do
    :: head_1 == BATCHES_1 && head_2 == BATCHES_2 && control_taken == 1 -> break
    :: else ->
           found = false;
           look(BOX_1, head_1);
           look(BOX_2, head_2);
           look_control();
           if
           :: found -> skip
           :: !found && head_1 == BATCHES_1 && head_2 == BATCHES_2 && control_taken == 1 -> skip
           :: else ->
                  announced++;
#ifdef BROKEN_PLAIN_FLAG
                  store(RECEIVER, FLAG, ASLEEP);
#else
                  exchange(RECEIVER, FLAG, ASLEEP, seen);
#endif
#ifndef BROKEN_NO_RECHECK
                  look_again(BOX_1, head_1);
                  look_again(BOX_2, head_2);
                  look_again(CONTROL, 0);
#endif
                  if
                  :: found -> skip
                  :: else -> atomic { bell -> bell = false; }
                  fi;
                  store(RECEIVER, FLAG, AWAKE);
           fi
    od
}

init {
    atomic {
        run machine(RECEIVER, FLAG);
#ifdef BROKEN_PLAIN_PUBLISH
        run machine(SENDER_1, BOX_1);
        run machine(SENDER_2, BOX_2);
#endif
#ifdef BROKEN_PLAIN_RING
        run machine(SENDER_1, FLAG);
        run machine(SENDER_2, FLAG);
        run machine(OUTSIDE, FLAG);
#endif
        run receiver();
        run sender(SENDER_1, BOX_1, BATCHES_1);
        run sender(SENDER_2, BOX_2, BATCHES_2);
        run outside();
    }
}
