/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_item: one memcached item, one call at a time; what linear.c tries orders on.
 *
 * A state is four numbers, so that states can be compared and remembered. Values are kept once, in
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
    uint32_t life;
};

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
    uint32_t value, unique, flags, life;
    uint64_t delta;
    bool tells_value, tells_unique, tells_life, tells_number;
    uint32_t told_value, told_flags, told_unique, told_life;
    uint64_t told_number;
};

/* What an item in `state` makes of the call. False: it would have answered otherwise. A unique that
 * the item has or gets but nobody saw is left PC_UNIQUE_UNSEEN; whether one that is told now may be
 * new is the caller's to judge. */
bool pc_item_apply(struct pc_contents *contents, const struct pc_item_state *state,
                   const struct pc_item_call *call, struct pc_item_state *out_next);

#endif
