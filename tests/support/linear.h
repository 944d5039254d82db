/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: could one client after the other have got what concurrent clients were told of one key?
 *
 * A history is the calls on one memcached item: who asked what, when it was asked, when the answer
 * was read, and what it said. It is linear if its calls can be put in one order such that
 *
 *   a call that was answered before another was asked comes before it;
 *   the calls of one client come in the order it sent them, answered or not;
 *   an item that starts absent and sees them in that order gives every answer that was given.
 *
 * A call without an answer (its connection was cut) may stand anywhere later, or nowhere, and then
 * its client's later ones stand nowhere either. Histories of several keys are split by key first:
 * each key is linear if and only if all are (Herlihy and Wing, 1990).
 *
 * Uniques are the server's to choose: a change gives the item one that no earlier version had, and
 * whoever reads the same version is told the same one.
 *
 * Time is a call too: a tick lets seconds pass. An item that was given a life is gone as many
 * seconds after one between that in which this was asked and that in which it happened.
 *
 * Owner    One thread at a time.
 * Memory   All bytes given are copied. check takes memory as it searches and gives it back; a
 *          process without memory ends.
 * Limits   PC_LINEAR_CLIENTS_MAX clients a key, 65535 calls each; `step_count_max` steps a check.
 * Cost     A step or two a call if it is linear: 200 calls take well under a millisecond.
 * Source   Wing and Gong: Testing and Verifying Concurrent Objects (1993); Lowe: Testing for
 *          Linearizability (2016), whose memory of configurations keeps the search short.
 */
#ifndef PC_TESTS_LINEAR_H
#define PC_TESTS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PC_LINEAR_CLIENTS_MAX = 64 };

#define PC_LINEAR_NEVER   UINT64_MAX
#define PC_LINEAR_FOREVER UINT32_MAX

enum pc_linear_what {
    PC_LINEAR_GET,
    PC_LINEAR_SET,
    PC_LINEAR_ADD,
    PC_LINEAR_REPLACE,
    PC_LINEAR_APPEND,
    PC_LINEAR_PREPEND,
    PC_LINEAR_CAS,
    PC_LINEAR_INCR,
    PC_LINEAR_DECR,
    PC_LINEAR_DELETE,
    PC_LINEAR_TOUCH, /* also get-and-touch */
    PC_LINEAR_STALE, /* the item stays, marked, for the first who asks to make it anew */
    PC_LINEAR_FLUSH, /* whatever is there is gone */
    PC_LINEAR_TICK,  /* `delta` seconds pass */
    PC_LINEAR_WHAT_COUNT
};

enum pc_linear_answer {
    PC_LINEAR_UNTOLD, /* none was read, or a quiet call is known to be over */
    PC_LINEAR_DONE,
    PC_LINEAR_ABSENT,
    PC_LINEAR_NOT_STORED,
    PC_LINEAR_EXISTS,
    PC_LINEAR_NOT_NUMBER,
    PC_LINEAR_ANSWER_COUNT
};

/* What meta says beside a value. */
enum pc_linear_mark {
    PC_LINEAR_STALE_MARK = 1, /* X */
    PC_LINEAR_CLAIMED = 2,    /* Z: another is to make it anew */
    PC_LINEAR_WON = 4,        /* W: you are */
};

struct pc_linear_call {
    unsigned client; /* below PC_LINEAR_CLIENTS_MAX */
    enum pc_linear_what what;
    uint64_t asked, answered; /* stamps of one clock; answered: PC_LINEAR_NEVER if it was not */

    /* What was asked. */
    const void *value; /* SET, ADD, REPLACE, APPEND, PREPEND, CAS */
    size_t value_bytes;
    uint32_t flags;        /* SET, ADD, REPLACE, CAS */
    uint32_t life;         /* SET, ADD, REPLACE, CAS, TOUCH, `vivifies`: seconds; 0: for ever */
    uint32_t asked_second; /* the second in which it was asked; all ticks before it are over */
    uint64_t unique;       /* CAS: one that somebody was told before this call was asked */
    uint64_t delta;        /* INCR, DECR, TICK */
    bool compares;         /* DELETE: only if the item has `unique` */
    bool claims;           /* GET, TOUCH: may be the one who is to make it anew */
    bool vivifies;         /* GET, INCR, DECR: an absent item is made, empty or `initial` */
    uint64_t initial;
    uint32_t recache; /* GET that claims: also if the item has less than so many seconds left */

    /* What was told, each where its flag says so. */
    enum pc_linear_answer answer;
    bool tells_value, tells_unique, tells_life, tells_number, tells_marks;
    const void *told_value; /* with its flags; GET, TOUCH */
    size_t told_value_bytes;
    uint32_t told_flags;
    uint64_t told_unique; /* GET, TOUCH: the version's; of a change: the new one */
    uint32_t told_life;   /* seconds left; PC_LINEAR_FOREVER */
    uint64_t told_number; /* INCR, DECR */
    uint32_t told_marks;  /* GET, TOUCH that claim */
};

enum pc_linear_verdict {
    PC_LINEAR_YES,
    PC_LINEAR_NO,
    PC_LINEAR_GAVE_UP, /* step_count_max steps were not enough */
};

struct pc_linear_config {
    bool vanishes;     /* the item may go by itself at any time: eviction */
    bool uniques_grow; /* a later version's unique is greater: asks for more, finds it sooner */
    uint64_t step_count_max; /* 0: ten million */
};

struct pc_linear;

struct pc_linear *pc_linear_create(const struct pc_linear_config *config);
/* Judge the same history otherwise. */
void pc_linear_configure(struct pc_linear *history, const struct pc_linear_config *config);
void pc_linear_destroy(struct pc_linear *history);

/* Add one call; those of a client come in the order it sent them, with stamps that do not go back.
 */
void pc_linear_add(struct pc_linear *history, const struct pc_linear_call *call);

unsigned pc_linear_count(const struct pc_linear *history);

/* Search. If it is not linear, `report` (may be NULL) gets how far the best order came, and all
 * calls near that point. */
enum pc_linear_verdict pc_linear_check(struct pc_linear *history, FILE *report);

/* Steps that the last check took. */
uint64_t pc_linear_steps(const struct pc_linear *history);

#endif
