/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ownership: the word by which a connection changes hands.
 *
 * The kernel delivers EDGES bursts of bytes; it reports edges to the home core only. Home queues the
 * connection; home or a thief takes it, reads all there is and gives it back. What happens meanwhile
 * goes into the word: MORE for another edge, CLOSE for a decision of home to close. At the end
 * everything that arrived was read, or the connection was closed, once, by whoever ran it.
 *
 * Must fail: BROKEN_LOST_MORE      give-back looks at the bits, then stores
 *            BROKEN_RELAXED_GIVE   the word may become visible before what the runner wrote
 *            BROKEN_CLOSE_BY_HOME  home closes although a thief runs
 *            BROKEN_DOUBLE_TAKE    a taker looks, then stores
 */
#define HOME_CORE 0
#define THIEF     1
#define PROCESSES 2

#define WORD     0
#define POSITION 1 /* the connection's own state: plain memory of whoever runs it */
#define CELLS    2

#define HOME    0
#define QUEUED  1
#define RUNNING 2 /* + the core */
#define CLOSED  4
#define STATE   7
#define MORE    8
#define CLOSE   16

#ifndef EDGES
#define EDGES 3
#endif

#include "memory.h"

byte arrived, seen_bytes, position_true;
bool edge, kernel_done, closed;
byte running;

proctype kernel()
{
    do
    :: arrived < EDGES -> atomic { arrived++; edge = true; }
    :: else -> break
    od;
    kernel_done = true
}

inline close_connection()
{
    atomic {
        assert(running == 1 && !closed);
        closed = true;
    }
}

/* Read what arrived, then give the connection back unless a bit says otherwise. */
inline run_connection(me)
{
    atomic { running++; assert(running == 1 && !closed); }
    do
    :: load(me, POSITION, value);
       assert(value == position_true);
       atomic { seen_bytes = arrived; position_true++; }
       store(me, POSITION, value + 1);
again:
       load(me, WORD, word);
       if
       :: (word & CLOSE) != 0 ->
              close_connection();
              running--;
              exchange(me, WORD, CLOSED, word);
              break
       :: (word & CLOSE) == 0 && (word & MORE) != 0 ->
              compare_exchange(me, WORD, word, RUNNING + me, done);
              if
              :: done -> skip
              :: else -> goto again
              fi
       :: else ->
              running--;
#ifdef BROKEN_LOST_MORE
              exchange(me, WORD, HOME, word);
              break
#else
#ifdef BROKEN_RELAXED_GIVE
              relaxed_compare_exchange(WORD, word, HOME, done);
#else
              compare_exchange(me, WORD, word, HOME, done);
#endif
              if
              :: done -> break
              :: else -> running++; goto again
              fi
#endif
       fi
    od
}

inline take(me)
{
    load(me, WORD, word);
    if
    :: (word & STATE) == QUEUED ->
#ifdef BROKEN_DOUBLE_TAKE
           exchange(me, WORD, (word & CLOSE) | (RUNNING + me), value);
           done = true;
#else
           compare_exchange(me, WORD, word, (word & CLOSE) | (RUNNING + me), done);
#endif
    :: else -> done = false
    fi
}

proctype thief()
{
    byte word, value;
    bool done;
end:
    do
    :: (memory[WORD] & STATE) == QUEUED ->
           take(THIEF);
           if
           :: done -> run_connection(THIEF)
           :: else
           fi
    od
}

/* Home heard of an edge: queue the connection, or tell whoever runs it. */
inline notice()
{
    do
    :: load(HOME_CORE, WORD, word);
       if
       :: word == HOME -> compare_exchange(HOME_CORE, WORD, HOME, QUEUED, done);
       :: (word & STATE) == RUNNING + THIEF ->
              compare_exchange(HOME_CORE, WORD, word, word | MORE, done);
       :: else -> done = true /* queued: the edge is before the read; or closed */
       fi;
       if
       :: done -> break
       :: else
       fi
    od
}

/* Home wants the connection closed: by itself if nobody has it, else by its runner. */
inline ask_close()
{
    do
    :: load(HOME_CORE, WORD, word);
       done = true;
       if
       :: word == HOME ->
              compare_exchange(HOME_CORE, WORD, HOME, RUNNING + HOME_CORE, done);
              if
              :: done ->
                     running++;
                     close_connection();
                     running--;
                     exchange(HOME_CORE, WORD, CLOSED, word)
              :: else
              fi
       :: word == CLOSED -> skip
       :: else ->
#ifdef BROKEN_CLOSE_BY_HOME
              running++;
              close_connection();
              running--;
              exchange(HOME_CORE, WORD, CLOSED, word)
#else
              compare_exchange(HOME_CORE, WORD, word, word | CLOSE, done)
#endif
       fi;
       if
       :: done -> break
       :: else
       fi
    od
}

proctype home()
{
    byte word, value;
    bool done, asked;
    do
    :: edge -> edge = false; notice()
    :: !asked -> asked = true; ask_close()
    :: (memory[WORD] & STATE) == QUEUED ->
           take(HOME_CORE);
           if
           :: done -> run_connection(HOME_CORE)
           :: else
           fi
    :: kernel_done && !edge && (memory[WORD] == HOME || memory[WORD] == CLOSED) -> break
    od;
    assert(closed || seen_bytes == arrived)
}

init {
    atomic {
        run machine(HOME_CORE, POSITION);
        run machine(THIEF, POSITION);
        run kernel();
        run thief();
        run home();
    }
}
