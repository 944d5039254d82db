/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox_traffic: cores that send each other checked requests, with a loop like a real core's.
 *
 * Every core posts its requests to seeded targets and serves the others'; an outside thread posts
 * control letters to core 0. Whoever is last to have what it wanted posts a stop to every core. Who
 * runs the cores, what waiting is and what a broken promise does, the test says.
 *
 * Owner    traffic: the test. A core's part: whoever runs that core.
 */
#ifndef PC_TESTS_MAILBOX_TRAFFIC_H
#define PC_TESTS_MAILBOX_TRAFFIC_H

#include "runtime/mailbox.h"

#include "base/random.h"

#include <stdatomic.h>

enum { TRAFFIC_CORES_MAX = 4 };

struct traffic;

struct traffic_core {
    struct traffic *traffic;
    struct pc_mailbox *box;
    unsigned index;
    struct pc_random random;
    struct traffic_request *requests;
    unsigned posted, answered;
    unsigned numbers_out[TRAFFIC_CORES_MAX]; /* next number towards each core */
    unsigned numbers_in[TRAFFIC_CORES_MAX];  /* next request expected from each core */
    unsigned answers_in[TRAFFIC_CORES_MAX];  /* next answer expected from each core */
    unsigned notes_in;
    bool stopped;
    struct pc_control stop;
};

struct traffic_config {
    uint64_t seed;
    unsigned core_count, credits;
    unsigned request_count; /* a core */
    unsigned note_count;    /* control letters from outside */
    unsigned batch_max;     /* requests posted in one turn, and letters drained */
    /* Called when the mailbox may sleep: return after ring was called for this core. */
    void (*wait)(void *ctx, unsigned index);
    /* Called when core `index` must wake. */
    void (*ring)(void *ctx, unsigned index);
    /* A promise is broken. Does not return. */
    void (*fail)(void *ctx, const char *what);
    void *ctx;
};

struct traffic {
    struct traffic_config config;
    struct traffic_core cores[TRAFFIC_CORES_MAX];
    struct pc_control *notes;
    _Atomic unsigned done_count;
};

/* 0 or -ENOMEM; close is allowed after both. */
int traffic_open(struct traffic *traffic, const struct traffic_config *config);
void traffic_close(struct traffic *traffic);

/* One core's whole life; each on a thread or fiber of its own. */
void traffic_run_core(struct traffic_core *core);

/* The outside thread's whole life; `between` is called after each control letter, if not NULL. */
void traffic_run_outside(struct traffic *traffic, void (*between)(void *ctx));

/* After all returned: everything answered, every credit at home, nothing left in a box. */
bool traffic_settled(const struct traffic *traffic);

#endif
