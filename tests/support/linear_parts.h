/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_parts: what the files of linear share; for nobody else.
 *
 *   linear.c         the history as it is told, in numbers
 *   linear_narrow.c  when each call can have happened at most, before any order is tried
 *   linear_search.c  the orders
 *   linear_say.c     for people
 *
 * Owner    One history.
 */
#ifndef PC_TESTS_LINEAR_PARTS_H
#define PC_TESTS_LINEAR_PARTS_H

#include "linear_item.h"

enum { PC_LINEAR_NOBODY = UINT16_MAX };

struct pc_linear_row {
    struct pc_item_call item;
    uint64_t asked, answered;
    uint64_t from, until; /* it happened between these; narrower than asked and answered */
};

struct pc_linear_client {
    struct pc_linear_row *rows;
    unsigned count, room;
};

/* Something by which what an item was can be told from what it was before and after: a version's
 * unique, or flags that one store gave. It is the item's once, from one call on to another. */
struct pc_linear_sign {
    uint64_t number;
    /* The one call that may have brought it; PC_LINEAR_NOBODY: none, or there are more. */
    uint16_t maker_client, maker_index;
    unsigned maker_count;
    /* Per client: behind the last call that saw it; 0: it did not. */
    uint16_t seen_end[PC_LINEAR_CLIENTS_MAX];
};

/* From 1; 0 is none. */
struct pc_linear_signs {
    struct pc_linear_sign *rows;
    uint32_t count, room;
};

struct pc_linear {
    struct pc_linear_config config;
    struct pc_contents *contents;
    struct pc_linear_client clients[PC_LINEAR_CLIENTS_MAX];
    unsigned client_count, call_count;
    struct pc_linear_signs uniques, flags;
    uint32_t *unique_ranks; /* by number: its place among all in ascending order, from 1 */
    uint32_t *rank_to_come; /* by call: the least rank that it or a later one saw */
    size_t rank_row;        /* members of it a client */
    uint64_t steps;
};

/* By its answer it changed nothing, wherever it stands. */
bool pc_linear_is_question(const struct pc_item_call *call);

/* The item had `unique` while the call was made. 0: the call does not say. */
uint32_t pc_linear_unique_seen(const struct pc_item_call *call);

/* Narrow all calls' times. False: there is no time left for one of them, which is told. */
bool pc_linear_narrow(struct pc_linear *history, FILE *report);

enum pc_linear_verdict pc_linear_search(struct pc_linear *history, FILE *report);

/* A call on a line. */
void pc_linear_say_call(const struct pc_linear *history, FILE *out, unsigned client,
                        unsigned index);

/* How far an order came: so many calls of each client, and the item after them. */
void pc_linear_say_order(const struct pc_linear *history, FILE *out,
                         const struct pc_item_state *state, const uint16_t *counts);

#endif
