/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_service: a service that does everything a service may do, and checks what it was promised.
 *
 * A request makes 0 to 3 calls to seeded places, in one round or several, waiting or holding others
 * back; it takes its body whole, in pieces, into nothing, by half or not at all; it copies,
 * reserves (also across calls) and shares under a hold; it asks for extra memory. The request alone
 * decides what the reply says (test_request.h); the seeds decide how it comes about.
 *
 * It checks, and says as `trouble`: requests of a connection start in order and once; none starts
 * while an earlier one asked others to wait; input stays put, also for calls elsewhere; scratch is
 * zero at first; calls run once, at their place or where it is borrowed, alone there, in order per
 * connection and place; bodies are placed as asked; every hold is released exactly once; every
 * request ends before its session.
 *
 * Core     Each function says; the service itself runs on whatever lane it is given.
 */
#ifndef PC_TESTS_TEST_SERVICE_H
#define PC_TESTS_TEST_SERVICE_H

#include "test_request.h"

#include <percore/service.h>

struct pc_test_service;

struct pc_test_service_config {
    uint64_t seed;             /* how replies come about */
    unsigned place_count;      /* as in the runtime's config */
    bool places_shared;        /* as in the runtime's config */
    bool places_lent;          /* as in the runtime's config */
    bool workers;              /* calls go to PC_PLACE_WORKERS too, or only, if place_count is 0 */
    unsigned connection_count; /* connection numbers there will be at most */
};

/* What happened, by kind: a test asserts that all of it did. */
struct pc_test_tally {
    uint64_t begun, ended;
    uint64_t parsed[3], served[4]; /* by enum pc_parse and enum pc_serve */
    uint64_t calls_posted, calls_done, calls_later, calls_borrowed, calls_borrowed_awake;
    uint64_t holds_taken, holds_released;
    uint64_t copies, reserves, reserves_across, extras;
    uint64_t bodies[PC_TEST_BODY_COUNT], bodies_cut;
    uint64_t refused; /* replies over a cap */
    uint64_t sessions_closed, places_opened, places_closed;
};

/* Core: boot. NULL: no memory. */
struct pc_test_service *pc_test_service_create(const struct pc_test_service_config *config);
/* After the runtime is destroyed.  Core: boot. */
void pc_test_service_destroy(struct pc_test_service *service);

/* For pc_runtime_create, with the test service as `app`. */
const struct pc_service *pc_test_service_rows(const struct pc_test_service *service);

/* The first promise that was broken; NULL: none.  Core: any. */
const char *pc_test_service_trouble(struct pc_test_service *service);

/* The same, once all connections are gone: what was begun has also ended.  Core: any. */
const char *pc_test_service_settled(struct pc_test_service *service);

/* Core: peek. */
void pc_test_service_tally(const struct pc_test_service *service, struct pc_test_tally *out);

#endif
