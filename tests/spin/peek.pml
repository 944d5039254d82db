/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peek: any core reads a slice by copying and checking; only the owner writes.
 *
 * One bucket with one slot for one key, two places of two words each. The owner stores the key anew
 * in the other place and then uses the old place for another key, or changes the words where they
 * are; CHANGES times, in any mix. A store that is a release waits until all earlier stores of the
 * owner are in memory; its other stores may become visible at any time and in any order. The reader
 * peeks twice: what it accepts is whole, is the key's, and is no older than what was acknowledged
 * before.
 *
 * Must fail: BROKEN_NO_RECHECK      the reader takes what it copied
 *            BROKEN_EARLY_RECHECK   no acquire: the version is loaded again before the words are
 *            BROKEN_LATE_VERSION    no acquire: the words are loaded before the version is
 *            BROKEN_RELAXED_WORDS   the owner's words and slot may be seen before the odd version
 *            BROKEN_RELAXED_EVEN    the even version may be seen before the words and the slot
 *            BROKEN_NEVER_ODD       the version only counts changes that are over
 *            BROKEN_REUSE_FIRST     the old place is used before its slot leads elsewhere
 */
#define OWNER     0
#define READER    1
#define PROCESSES 2

#define VERSION 0
#define SLOT    1 /* 0 or 1: the place */
#define WORDS   2 /* two of each place */
#define CELLS   6

#define FOREIGN 15 /* a word of another key */

#ifndef CHANGES
#define CHANGES 3
#endif

#include "memory.h"

byte acknowledged = 1;

inline release(cell, stored)
{
    atomic { dirty_count[OWNER] == 0 }
    store(OWNER, cell, stored)
}

inline write(cell, stored)
{
#ifdef BROKEN_RELAXED_WORDS
    store(OWNER, cell, stored)
#else
    release(cell, stored)
#endif
}

inline write_words(at, stored)
{
    write(WORDS + 2 * (at), stored);
    write(WORDS + 2 * (at) + 1, stored)
}

inline open()
{
#ifndef BROKEN_NEVER_ODD
    store(OWNER, VERSION, version + 1)
#else
    skip
#endif
}

inline close()
{
    version = version + 2;
#ifdef BROKEN_RELAXED_EVEN
    /* One entry a cell: only the odd version is waited for. */
    !dirty[ENTRY(OWNER, VERSION)];
    store(OWNER, VERSION, version)
#else
    release(VERSION, version)
#endif
}

proctype owner()
{
    byte version, place, value = 1;
    do
    :: value <= CHANGES ->
           value++;
           if
           :: /* anew, in the other place */
              write_words(1 - place, value);
#ifdef BROKEN_REUSE_FIRST
              write_words(place, FOREIGN);
#endif
              open();
              write(SLOT, 1 - place);
              close();
              dirty_count[OWNER] == 0;
              acknowledged = value;
#ifndef BROKEN_REUSE_FIRST
              write_words(place, FOREIGN);
#endif
              place = 1 - place
           :: /* where it is */
              open();
              write_words(place, value);
              close();
              dirty_count[OWNER] == 0;
              acknowledged = value
           fi
    :: else -> break
    od
}

inline copy()
{
    load(READER, SLOT, at);
    load(READER, WORDS + 2 * at, first);
    load(READER, WORDS + 2 * at + 1, second)
}

proctype reader()
{
    byte peeks, before, after, at, first, second, known;
    do
    :: peeks < 2 ->
           peeks++;
           known = acknowledged;
#ifdef BROKEN_LATE_VERSION
           copy();
           load(READER, VERSION, before);
#else
           load(READER, VERSION, before);
#ifdef BROKEN_EARLY_RECHECK
           load(READER, VERSION, after);
           copy();
#else
           copy();
#endif
#endif
#ifdef BROKEN_NO_RECHECK
           after = before;
#else
#ifndef BROKEN_EARLY_RECHECK
           load(READER, VERSION, after);
#endif
#endif
           if
           :: before % 2 == 0 && before == after ->
                  assert(first == second);
                  assert(first != FOREIGN);
                  assert(first >= known)
           :: else
           fi
    :: else -> break
    od
}

init {
    atomic {
        memory[WORDS] = 1;
        memory[WORDS + 1] = 1;
        memory[WORDS + 2] = FOREIGN;
        memory[WORDS + 3] = FOREIGN;
        run machine(OWNER, VERSION);
        run machine(OWNER, SLOT);
        run machine(OWNER, WORDS);
        run machine(OWNER, WORDS + 1);
        run machine(OWNER, WORDS + 2);
        run machine(OWNER, WORDS + 3);
        run owner();
        run reader()
    }
}
