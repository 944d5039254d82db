/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world: a whole runtime with its clients in one thread, on an invented machine, from one seed.
 *
 * Cores, workers, clients and whoever stops the runtime are fibers; every system call and every
 * PC_POINT may switch between them; time is a number that jumps when all of them wait. The world
 * draws its machine's moods, its model, its clients' manners and the moment of the stop from the
 * seed, and says what was not as promised:
 *
 *   every reply comes, in order, once, and nothing else; a connection is closed when it should be
 *   and not before; nobody sleeps while somebody waits; no timer is early; a drain ends in time;
 *   when all is over, no socket, no block, no letter and no connection is left.
 *
 * Owner    The test. One world runs at a time.
 * Memory   run frees all it took, unless it fails: then what the fibers held is lost.
 */
#ifndef PC_TESTS_WORLD_H
#define PC_TESTS_WORLD_H

#include "base/random.h"

#include <percore/service.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What one connection says and expects; a checker without its socket. */
struct pc_world_talk {
    void *state;
    size_t (*pull)(void *state, uint8_t *out, size_t room);        /* bytes to send; 0: none now */
    bool (*push)(void *state, const uint8_t *bytes, size_t count); /* received; false: wrong */
    bool (*sent)(void *state);                                     /* nothing more to send */
    bool (*done)(void *state);                                     /* all replies are here */
    const char *(*trouble)(void *state);
    void (*end)(void *state);
    bool hangs_up; /* the service closes after the last reply */
};

struct pc_world_config {
    uint64_t seed;
    const char *model;
    unsigned core_count, worker_count, place_count;
    bool places_shared, places_lent;
    bool to_the_end;         /* the runtime is not stopped before all clients have gone */
    bool calm;               /* a machine without bad luck: what goes wrong is the runtime's */
    bool few_credits;        /* in half of the seeds calls wait for credits */
    unsigned credit_count;   /* of each pair of cores, whatever is drawn; 0: as drawn */
    uint64_t step_count_max; /* 0: four million */
    const struct pc_service *service;
    void *app;
    void (*made)(void *ctx, struct pc_runtime *runtime); /* before it runs; may be NULL */
    unsigned client_count, connection_count; /* clients; connections each, one after the other */
    void (*talk)(void *ctx, unsigned connection, uint64_t seed, struct pc_world_talk *out);
    void *ctx;                         /* for made, talk, broken and settled */
    const char *(*broken)(void *ctx);  /* asked all along; NULL: nothing yet */
    const char *(*settled)(void *ctx); /* after the runtime is gone; NULL: all is well */
};

/* What happened, to show that a seed did something. */
struct pc_world_tally {
    uint64_t steps, requests, letters, handed_over, sends_short, half_closed, resets, timers_fired;
    uint64_t accept_pauses, jobs, read_pauses, credit_waits, cap_core, polls_paid, elapsed_ns;
    uint64_t borrowed, borrow_refused, borrow_missed, batons_wanted, calls_parked;
};

/* Run it. NULL: all was as promised; else what was not. `report` (may be NULL) gets where everybody
 * stood. */
const char *pc_world_run(const struct pc_world_config *config, struct pc_world_tally *tally,
                         FILE *report);

#endif
