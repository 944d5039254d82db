/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_item: one memcached item, one call at a time; what linear_search.c tries orders on.
 *
 * A state is a few numbers, so that states can be compared and remembered. Values are kept once, in
 * a table that gives each content a number.
 *
 * Owner    One history.
 */
#ifndef PC_TESTS_LINEAR_ITEM_H
#define PC_TESTS_LINEAR_ITEM_H

#include "linear.h"

#include <stdlib.h>

/* A test without memory has nothing to say. */
static inline void *pc_must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

enum { PC_ITEM_ABSENT = 0, PC_UNIQUE_UNSEEN = 0 };

/* Only 32-bit members: states are compared byte for byte. */
struct pc_item_state {
    uint32_t value;  /* number of its content; PC_ITEM_ABSENT: there is none, and the rest is 0 */
    uint32_t unique; /* number of its unique; PC_UNIQUE_UNSEEN: nobody was told it yet */
    uint32_t flags;
    /* It lives before the first of these seconds, and is gone from the second on; 0: for ever. */
    uint32_t ends_min, ends_max;
    uint32_t marks; /* PC_LINEAR_STALE_MARK, PC_LINEAR_CLAIMED */
    uint32_t now;   /* this second; also of an absent item */
};

/* Nobody can tell whether it is still there. */
static inline bool pc_item_may_be_over(const struct pc_item_state *state)
{
    return state->ends_max != 0 && state->ends_min <= state->now;
}

/* As it is, without an item. */
static inline struct pc_item_state pc_item_absent(const struct pc_item_state *state)
{
    return (struct pc_item_state){.now = state->now};
}

struct pc_contents;

/* Contents by number, from 1. */
struct pc_contents *pc_contents_create(void);
void pc_contents_destroy(struct pc_contents *contents);
uint32_t pc_contents_number(struct pc_contents *contents, const void *bytes, size_t count);
const char *pc_contents_at(const struct pc_contents *contents, uint32_t number, size_t *out_count);

/* A call with its contents and uniques as numbers. */
struct pc_item_call {
    enum pc_linear_what what;
    enum pc_linear_answer answer;
    uint32_t value, unique, flags, life, asked_second, recache;
    uint64_t delta, initial;
    bool compares, claims, vivifies;
    bool tells_value, tells_unique, tells_life, tells_number, tells_marks;
    uint32_t told_value, told_flags, told_unique, told_life, told_marks;
    uint64_t told_number;
};

/* What an item in `state` makes of the call; one that may be over is taken to be there. False: it
 * would have answered otherwise. A unique that the item has or gets but nobody saw is left
 * PC_UNIQUE_UNSEEN; whether one that is told now may be new is the caller's to judge. */
bool pc_item_apply(struct pc_contents *contents, const struct pc_item_state *state,
                   const struct pc_item_call *call, struct pc_item_state *out_next);

#endif
