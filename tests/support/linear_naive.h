/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_naive: small random histories, and a judge of them that tries every order.
 *
 * Its item is written once more, as plainly as can be, and shares nothing with linear_item: what
 * both say of a history is likely to be true.
 *
 * Owner    One thread at a time.
 * Limits   PC_SMALL_CALLS_MAX calls.
 * Cost     Every order of the calls, and every second that a life may count from.
 */
#ifndef PC_TESTS_LINEAR_NAIVE_H
#define PC_TESTS_LINEAR_NAIVE_H

#include "linear.h"

#include "base/random.h"

enum { PC_SMALL_CALLS_MAX = 7, PC_SMALL_TEXT_MAX = 64 };

/* Its calls point into it: it stays where it is. */
struct pc_small {
    struct pc_linear_config config;
    struct pc_linear_call calls[PC_SMALL_CALLS_MAX];
    char texts[PC_SMALL_CALLS_MAX][2][PC_SMALL_TEXT_MAX];
    unsigned count;
};

/* What is asked, and when, by three clients and a clock. */
void pc_small_draw(struct pc_small *small, struct pc_random *random);
/* Answers as one item gives them in an order that the stamps allow, or nearly. */
void pc_small_answer(struct pc_small *small, struct pc_random *random);
/* Change one answer. */
void pc_small_spoil(struct pc_small *small, struct pc_random *random);

bool pc_small_is_linear(const struct pc_small *small);

#endif
