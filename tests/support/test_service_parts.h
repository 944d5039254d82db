/* SPDX-License-Identifier: Apache-2.0 */
/* test_service_parts: what the files of the test service share; nobody else includes it. */
#ifndef PC_TESTS_TEST_SERVICE_PARTS_H
#define PC_TESTS_TEST_SERVICE_PARTS_H

#include "test_service.h"

#include "base/check.h"
#include "base/random.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

#define STEP_COUNT_MAX 8

/* Written by its owner or a borrower alone, or under the lock where places are shared. */
struct place {
    alignas(PC_CACHE_LINE) pthread_mutex_t lock;
    _Atomic(unsigned) visitors;
    uint64_t *last; /* by connection: the last ordered call */
    unsigned lane_index;
    bool open;
};

/* Type-stable, so that a second release is seen whatever happened meanwhile. */
struct test_hold {
    struct pc_hold hold;
    struct pc_test_service *service;
    struct test_hold *next;
    uint8_t *bytes;
    size_t count;
    bool held;
};

enum { TALLY_COUNT = sizeof(struct pc_test_tally) / sizeof(uint64_t) };

struct pc_test_service {
    struct pc_test_service_config config;
    struct pc_service rows;
    struct place *places;
    _Atomic(uint64_t) tally[TALLY_COUNT];
    pthread_mutex_t lock; /* guards what follows */
    struct test_hold *holds_free;
    char trouble[160];
};

#define TALLY_ADD(service, member)                                                                 \
    pc_test_tally_add(service, offsetof(struct pc_test_tally, member))

static inline void pc_test_tally_add(struct pc_test_service *service, size_t offset)
{
    atomic_fetch_add_explicit(&service->tally[offset / sizeof(uint64_t)], 1, memory_order_relaxed);
}

/* A promise was broken; the first is kept. */
__attribute__((format(printf, 2, 3))) void pc_test_trouble(struct pc_test_service *service,
                                                           const char *format, ...);

struct session {
    struct pc_test_service *service;
    uint64_t next_number;
    uint32_t connection;
    unsigned open_count, again_count;
    bool opened, shut;
};

struct test_call {
    struct pc_call call;
    struct pc_test_service *service;
    const uint8_t *input;
    const struct pc_test_request *wire;
    uint64_t answer;
    unsigned index;
    bool ordered; /* nothing later of the connection can have been posted before it */
    bool borrowed;
    _Atomic(unsigned) done_count;
};

enum step { STEP_END, STEP_SAY, STEP_RESERVE, STEP_CALLS, STEP_COMMIT, STEP_EXTRA, STEP_BODY };

struct scratch {
    struct pc_test_request wire;
    struct pc_test_reply reply;
    struct pc_random random;
    uint8_t steps[STEP_COUNT_MAX];
    unsigned step_count, step_at;
    bool begun, again, waited, stepwise;
    uint64_t said;      /* reply bytes so far */
    uint64_t resume_ns; /* it pauses until then */
    uint8_t *reserved;
    size_t reserved_bytes;
    uint8_t *extra, *body;
    size_t extra_bytes;
    size_t body_taken, body_asked, body_left;
    unsigned posted_count;
    struct test_call calls[PC_TEST_CALL_COUNT_MAX];
};

static inline bool pc_test_chance(struct scratch *scratch, unsigned one_in)
{
    return pc_random_below(&scratch->random, one_in) == 0;
}

/* What a step says of the request. */
enum go { GO_ON, GO_NEXT, GO_WAITING, GO_AGAIN, GO_HANG_UP };

/* Choose the steps of a request that has begun. */
void pc_test_steps_plan(struct scratch *scratch);

/* Take the step it is at.  Lane: the connection's. */
enum go pc_test_step(struct pc_test_service *service, struct pc_request *request);

#endif
