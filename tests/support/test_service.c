/* SPDX-License-Identifier: Apache-2.0 */
/* test_service: a request is a short list of steps; serve goes on where it stopped. */
#include "test_service.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hooks.h"
#include "base/random.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES_MAX 50000
#define STEP_COUNT_MAX  8

/* ---- What there is ---- */

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

#define TALLY_ADD(service, member) tally_add(service, offsetof(struct pc_test_tally, member))

static void tally_add(struct pc_test_service *service, size_t offset)
{
    atomic_fetch_add_explicit(&service->tally[offset / sizeof(uint64_t)], 1, memory_order_relaxed);
}

__attribute__((format(printf, 2, 3))) static void trouble(struct pc_test_service *service,
                                                          const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&service->lock);
    if (service->trouble[0] == '\0') {
        vsnprintf(service->trouble, sizeof(service->trouble), format, arguments);
    }
    pthread_mutex_unlock(&service->lock);
    va_end(arguments);
}

struct session {
    struct pc_test_service *service;
    uint64_t next_number;
    uint32_t connection;
    unsigned open_count, again_count;
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

static bool chance(struct scratch *scratch, unsigned one_in)
{
    return pc_random_below(&scratch->random, one_in) == 0;
}

/* 1 up to `most`, small ones often. */
static size_t draw(struct scratch *scratch, size_t most)
{
    size_t limit = chance(scratch, 2) ? pc_min_size(most, 64) : most;
    return 1 + (size_t)pc_random_below(&scratch->random, limit);
}

/* ---- Parsing ---- */

static bool all_zero(const void *memory, size_t count)
{
    const uint8_t *bytes = memory;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static enum pc_parse parsed(struct pc_test_service *service, enum pc_parse outcome)
{
    tally_add(service, offsetof(struct pc_test_tally, parsed) + outcome * sizeof(uint64_t));
    return outcome;
}

enum { CLASS_PURE, CLASS_LIGHT, CLASS_HEAVY };

static enum pc_parse test_parse(struct pc_request *request, struct pc_view in, size_t *out_bytes)
{
    struct pc_test_service *service = request->app;
    struct scratch *scratch = request->scratch;
    if (!all_zero(scratch, sizeof(*scratch))) {
        trouble(service, "scratch is not zero at parse");
    }
    *out_bytes = 0;
    if (in.count < 4) {
        return parsed(service, PC_PARSE_MORE);
    }
    size_t whole = (size_t)pc_be32_load(in.at) + 4;
    if (whole < PC_TEST_HEAD_BYTES || whole > PC_TEST_INPUT_BYTES_MAX) {
        request->trouble = "no such head";
        return parsed(service, PC_PARSE_BAD);
    }
    if (in.count < whole) {
        *out_bytes = in.count & 1 ? whole : 0; /* both are allowed */
        scratch->said = 1;                     /* must not be seen by the next parse */
        return parsed(service, PC_PARSE_MORE);
    }
    pc_test_request_read(in.at, &scratch->wire);
    *out_bytes = whole;
    request->body_bytes = scratch->wire.body_bytes;
    request->class_index = scratch->wire.seed % 16 == 0    ? CLASS_HEAVY
                           : scratch->wire.call_count == 0 ? CLASS_PURE
                                                           : CLASS_LIGHT;
    return parsed(service, PC_PARSE_DONE);
}

/* ---- Calls ---- */

static void place_visit(struct pc_test_service *service, struct test_call *call,
                        const struct pc_lane *there)
{
    struct place *place = &service->places[call->call.place];
    if (service->config.places_shared) {
        pthread_mutex_lock(&place->lock);
    } else if (!call->borrowed && pc_lane_index(there) != place->lane_index) {
        trouble(service, "a call to place %d ran on lane %u", call->call.place,
                pc_lane_index(there));
        return;
    }
    if (atomic_fetch_add_explicit(&place->visitors, 1, memory_order_relaxed) != 0) {
        trouble(service, "two are at place %d", call->call.place);
    }
    PC_POINT("test: at a place");
    uint64_t key = call->wire->number * 4 + call->index + 1;
    uint64_t *last = &place->last[call->wire->connection];
    if (call->ordered) {
        if (*last >= key) {
            trouble(service, "place %d: call %u of request %llu of connection %u came late",
                    call->call.place, call->index, (unsigned long long)call->wire->number,
                    call->wire->connection);
        }
        *last = key;
    }
    atomic_fetch_sub_explicit(&place->visitors, 1, memory_order_relaxed);
    if (service->config.places_shared) {
        pthread_mutex_unlock(&place->lock);
    }
}

static void test_work(struct pc_call *pc_call, struct pc_lane *there)
{
    struct test_call *call = PC_CONTAINER_OF(pc_call, struct test_call, call);
    struct pc_test_service *service = call->service;
    if (atomic_fetch_add_explicit(&call->done_count, 1, memory_order_relaxed) != 0) {
        trouble(service, "a call ran twice");
    }
    if (call->call.place != PC_PLACE_WORKERS) {
        place_visit(service, call, there);
    }
    if (!pc_test_request_intact(call->wire, call->input)) {
        trouble(service, "a call saw other input than its request");
    }
    TALLY_ADD(service, calls_done);
    call->answer = pc_test_answer(call->wire->seed, call->index);
}

static int32_t place_draw(struct pc_test_service *service, struct scratch *scratch)
{
    unsigned place_count = service->config.place_count;
    if (service->config.workers && (place_count == 0 || chance(scratch, 4))) {
        return PC_PLACE_WORKERS;
    }
    return (int32_t)pc_random_below(&scratch->random, place_count);
}

/* Do it here instead of posting it, if the place's core sleeps. */
static bool call_borrows(struct pc_test_service *service, struct pc_request *request,
                         struct test_call *call)
{
    int32_t place = call->call.place;
    if (!service->config.places_lent || place == PC_PLACE_WORKERS || chance(request->scratch, 4) ||
        !pc_place_borrow(request, place)) {
        return false;
    }
    call->borrowed = true;
    test_work(&call->call, NULL);
    pc_place_give_back(request, place);
    call->call.answered = true;
    TALLY_ADD(service, calls_borrowed);
    return true;
}

static bool call_post(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    struct test_call *call = &scratch->calls[scratch->posted_count];
    *call = (struct test_call){
        .call = {.work = test_work, .place = place_draw(service, scratch)},
        .service = service,
        .input = request->input.at,
        .wire = &scratch->wire,
        .index = scratch->posted_count++,
        .ordered = !scratch->waited,
    };
    TALLY_ADD(service, calls_posted);
    if (call_borrows(service, request, call)) {
        return false;
    }
    int outcome = pc_call_post(request, &call->call);
    if (outcome == PC_LATER) {
        TALLY_ADD(service, calls_later);
        if (pc_request_settled(request, call->call.place)) {
            trouble(service, "a place is settled with a call to it unanswered");
        }
        return true;
    }
    if (outcome != 0 || !call->call.answered) {
        trouble(service, "a call was posted with %d and answered: %d", outcome,
                call->call.answered);
    }
    return false;
}

/* ---- Replies ---- */

static void hold_end(struct test_hold *hold)
{
    struct pc_test_service *service = hold->service;
    pthread_mutex_lock(&service->lock);
    bool held = hold->held;
    if (held) {
        hold->held = false;
        /* Whoever sends it from now on sends something else. */
        memset(hold->bytes, 0xdd, hold->count);
        free(hold->bytes);
        hold->bytes = NULL;
        hold->next = service->holds_free;
        service->holds_free = hold;
    }
    pthread_mutex_unlock(&service->lock);
    if (!held) {
        trouble(service, "a hold was released twice");
    }
    TALLY_ADD(service, holds_released);
}

static void hold_release(struct pc_hold *pc_hold, struct pc_lane *lane)
{
    struct test_hold *hold = PC_CONTAINER_OF(pc_hold, struct test_hold, hold);
    if (pc_lane_runtime(lane) == NULL) {
        trouble(hold->service, "a hold was released on no lane");
    }
    hold_end(hold);
}

static struct test_hold *hold_take(struct pc_test_service *service, size_t count)
{
    pthread_mutex_lock(&service->lock);
    struct test_hold *hold = service->holds_free;
    if (hold != NULL) {
        service->holds_free = hold->next;
    } else {
        hold = calloc(1, sizeof(*hold));
        if (hold == NULL) {
            abort();
        }
    }
    hold->hold.release = hold_release;
    hold->service = service;
    hold->held = true;
    hold->count = count;
    hold->bytes = malloc(count > 0 ? count : 1);
    if (hold->bytes == NULL) {
        abort();
    }
    pthread_mutex_unlock(&service->lock);
    TALLY_ADD(service, holds_taken);
    return hold;
}

/* Say the next `count` bytes in one of the three ways. False: over a cap. */
static bool say(struct pc_test_service *service, struct pc_request *request, size_t count)
{
    struct scratch *scratch = request->scratch;
    size_t offset = scratch->said;
    scratch->said += count;
    unsigned way = (unsigned)pc_random_below(&scratch->random, 8);
    if (way < 3) {
        uint8_t piece[4096];
        for (size_t end = offset + count; offset < end;) {
            size_t here = pc_min_size(sizeof(piece), end - offset);
            pc_test_reply_fill(&scratch->reply, offset, piece, here);
            if (pc_reply_copy(request, piece, here) < 0) {
                return false;
            }
            offset += here;
        }
        TALLY_ADD(service, copies);
        return true;
    }
    if (way < 6 && count <= PC_RESERVE_BYTES_MAX) {
        size_t more = pc_min_size(PC_RESERVE_BYTES_MAX - count, way * 100);
        uint8_t *into = pc_reply_reserve(request, count + more);
        if (into == NULL) {
            return false;
        }
        pc_test_reply_fill(&scratch->reply, offset, into, count);
        pc_reply_commit(request, count);
        TALLY_ADD(service, reserves);
        return true;
    }
    struct test_hold *hold = hold_take(service, count);
    pc_test_reply_fill(&scratch->reply, offset, hold->bytes, count);
    if (pc_reply_share(request, (struct pc_view){hold->bytes, count}, &hold->hold) < 0) {
        hold_end(hold);
        return false;
    }
    return true;
}

/* ---- Steps ---- */

enum go { GO_ON, GO_NEXT, GO_WAITING, GO_AGAIN, GO_HANG_UP };

/* What may be said before the answers and the body are known. */
static size_t early_bytes(const struct scratch *scratch)
{
    return PC_TEST_REPLY_HEAD_BYTES + scratch->wire.content_bytes - scratch->said;
}

static enum go step_say(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    size_t count = early_bytes(scratch);
    if (count == 0) {
        return GO_NEXT;
    }
    if (!say(service, request, draw(scratch, count))) {
        return GO_HANG_UP;
    }
    scratch->step_at++;
    return chance(scratch, 8) ? GO_AGAIN : GO_ON;
}

static enum go step_reserve(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    size_t count = early_bytes(scratch);
    if (count > 0) {
        count = draw(scratch, pc_min_size(count, PC_RESERVE_BYTES_MAX));
        scratch->reserved = pc_reply_reserve(request, count);
        if (scratch->reserved == NULL) {
            return GO_HANG_UP;
        }
        scratch->reserved_bytes = count;
        /* Half now, half after the calls: it must be the same memory then. */
        pc_test_reply_fill(&scratch->reply, scratch->said, scratch->reserved, count / 2);
    }
    return GO_NEXT;
}

static enum go step_commit(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    if (scratch->reserved != NULL) {
        size_t count = scratch->reserved_bytes, half = count / 2;
        pc_test_reply_fill(&scratch->reply, scratch->said + half, scratch->reserved + half,
                           count - half);
        pc_reply_commit(request, count);
        scratch->said += count;
        scratch->reserved = NULL;
        TALLY_ADD(service, reserves_across);
    }
    return GO_NEXT;
}

static enum go step_calls(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    for (unsigned i = 0; i < scratch->posted_count; i++) {
        if (!scratch->calls[i].call.answered) {
            trouble(service, "served again before call %u was answered", i);
        }
        scratch->reply.answers[i] = scratch->calls[i].answer;
    }
    if (scratch->posted_count == scratch->wire.call_count) {
        return GO_NEXT;
    }
    bool later = false;
    do {
        later |= call_post(service, request);
    } while (!scratch->stepwise && scratch->posted_count < scratch->wire.call_count);
    if (!later && !chance(scratch, 4)) {
        return GO_ON;
    }
    return chance(scratch, 3) ? GO_AGAIN : GO_WAITING;
}

static enum go step_extra(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    scratch->extra_bytes = draw(scratch, PC_RESERVE_BYTES_MAX);
    scratch->extra = pc_request_extra(request, scratch->extra_bytes);
    if (scratch->extra == NULL) {
        return GO_HANG_UP;
    }
    memset(scratch->extra, (int)(scratch->wire.seed & 0xff), scratch->extra_bytes);
    TALLY_ADD(service, extras);
    return GO_NEXT;
}

static void body_check(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    if (request->body_bytes != scratch->body_left) {
        trouble(service, "%llu bytes of a body are left, not %zu",
                (unsigned long long)request->body_bytes, scratch->body_left);
    }
}

/* What was asked for is in place: count it in. */
static void body_digest(struct scratch *scratch)
{
    if (scratch->body != NULL) {
        scratch->reply.digest = pc_test_digest(scratch->reply.digest, scratch->body_taken,
                                               scratch->body, scratch->body_asked);
        scratch->body_taken += scratch->body_asked;
    }
    scratch->body_asked = 0;
}

static enum go step_body(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    const struct pc_test_request *wire = &scratch->wire;
    if (request->body_error != 0) {
        TALLY_ADD(service, bodies_cut);
        return GO_HANG_UP;
    }
    body_digest(scratch);
    body_check(service, request);
    bool swallow = wire->body_kind == PC_TEST_BODY_SWALLOW;
    size_t rest = swallow ? scratch->body_left : pc_test_body_taken(wire) - scratch->body_taken;
    if (rest == 0) {
        tally_add(service,
                  offsetof(struct pc_test_tally, bodies) + wire->body_kind * sizeof(uint64_t));
        return GO_NEXT;
    }
    size_t count = wire->body_kind == PC_TEST_BODY_WHOLE
                       ? rest
                       : draw(scratch, pc_min_size(rest, PIECE_BYTES_MAX));
    if (!swallow && scratch->body == NULL) {
        scratch->body = malloc(pc_max_size(count, pc_min_size(rest, PIECE_BYTES_MAX)));
        if (scratch->body == NULL) {
            abort();
        }
    }
    scratch->body_asked = count;
    scratch->body_left -= count;
    pc_request_body(request, scratch->body, count);
    return GO_AGAIN;
}

static enum go step_end(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    size_t rest = pc_test_reply_bytes(scratch->wire.content_bytes) - scratch->said;
    if (rest == 0) {
        return GO_NEXT;
    }
    if (!say(service, request, draw(scratch, rest))) {
        return GO_HANG_UP;
    }
    return chance(scratch, 16) ? GO_AGAIN : GO_ON;
}

static enum go (*const step_rows[])(struct pc_test_service *, struct pc_request *) = {
    [STEP_END] = step_end,     [STEP_SAY] = step_say,       [STEP_RESERVE] = step_reserve,
    [STEP_CALLS] = step_calls, [STEP_COMMIT] = step_commit, [STEP_EXTRA] = step_extra,
    [STEP_BODY] = step_body,
};

/* ---- Serving ---- */

static void steps_plan(struct scratch *scratch)
{
    uint8_t *steps = scratch->steps;
    unsigned n = 0;
    bool body = scratch->wire.body_bytes > 0, calls = scratch->wire.call_count > 0;
    if (chance(scratch, 4)) {
        steps[n++] = STEP_EXTRA;
    }
    if (chance(scratch, 3)) {
        steps[n++] = STEP_SAY;
    }
    bool across = chance(scratch, 3);
    if (across) {
        steps[n++] = STEP_RESERVE;
    }
    bool body_first = chance(scratch, 2);
    if (body && body_first) {
        steps[n++] = STEP_BODY;
    }
    if (calls) {
        steps[n++] = STEP_CALLS;
    }
    if (body && !body_first) {
        steps[n++] = STEP_BODY;
    }
    if (across) {
        steps[n++] = STEP_COMMIT;
    }
    steps[n++] = STEP_END;
    PC_ASSERT(n <= STEP_COUNT_MAX);
    scratch->step_count = n;
}

static void request_begin(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    struct session *session = request->session;
    const struct pc_test_request *wire = &scratch->wire;
    if (session->service == NULL) {
        session->service = service;
        session->connection = wire->connection;
        if (wire->connection >= service->config.connection_count) {
            abort(); /* a mistake of the test */
        }
    }
    if (session->connection != wire->connection || session->next_number != wire->number) {
        trouble(service, "connection %u began request %llu of connection %u, not its %llu",
                session->connection, (unsigned long long)wire->number, wire->connection,
                (unsigned long long)session->next_number);
    }
    if (session->again_count > 0) {
        trouble(service, "request %llu of connection %u began while others were to wait",
                (unsigned long long)wire->number, wire->connection);
    }
    session->next_number = wire->number + 1;
    session->open_count++;
    pc_random_init(&scratch->random, service->config.seed ^ wire->seed);
    scratch->begun = true;
    scratch->stepwise = chance(scratch, 2);
    scratch->body_left = wire->body_bytes;
    scratch->reply = (struct pc_test_reply){
        .number = wire->number, .seed = wire->seed, .content_bytes = wire->content_bytes};
    steps_plan(scratch);
    TALLY_ADD(service, begun);
}

static void request_end(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    struct session *session = request->session;
    for (size_t i = 0; scratch->extra != NULL && i < scratch->extra_bytes; i++) {
        if (scratch->extra[i] != (uint8_t)scratch->wire.seed) {
            trouble(service, "extra memory was written by somebody else");
            break;
        }
    }
    if (request->input.count != scratch->wire.input_bytes ||
        !pc_test_request_intact(&scratch->wire, request->input.at)) {
        trouble(service, "a request's input changed before its end");
    }
    free(scratch->body);
    scratch->body = NULL;
    session->open_count--;
    TALLY_ADD(service, ended);
}

static enum pc_serve verdict(struct pc_test_service *service, struct pc_request *request,
                             enum pc_serve verb)
{
    struct scratch *scratch = request->scratch;
    struct session *session = request->session;
    bool again = verb == PC_AGAIN;
    session->again_count += (unsigned)again - (unsigned)scratch->again;
    scratch->again = again;
    scratch->waited |= verb == PC_WAITING;
    if (verb == PC_SERVED || verb == PC_HANG_UP) {
        request_end(service, request);
    }
    tally_add(service, offsetof(struct pc_test_tally, served) + verb * sizeof(uint64_t));
    return verb;
}

/* Some of those that are not done yet let time pass, or only others go first. */
static void maybe_pause(struct pc_request *request, const struct pc_lane *lane)
{
    struct scratch *scratch = request->scratch;
    if (chance(scratch, 4)) {
        const uint64_t ns = chance(scratch, 2) ? 0 : pc_random_below(&scratch->random, 100000);
        scratch->resume_ns = pc_lane_now_ns(lane) + ns;
        pc_request_pause(request, ns);
    }
}

/* A pause may be cut short only when nobody waits for its end. */
static void check_pause(struct pc_test_service *service, struct pc_request *request,
                        const struct pc_lane *lane)
{
    struct scratch *scratch = request->scratch;
    if (scratch->resume_ns > pc_lane_now_ns(lane) && !pc_request_over(request)) {
        trouble(service, "served again before its pause was over");
    }
    scratch->resume_ns = 0;
}

static enum pc_serve test_serve(struct pc_request *request, struct pc_lane *lane)
{
    struct pc_test_service *service = request->app;
    struct scratch *scratch = request->scratch;
    if (!scratch->begun) {
        request_begin(service, request);
    }
    check_pause(service, request, lane);
    while (scratch->step_at < scratch->step_count) {
        switch (step_rows[scratch->steps[scratch->step_at]](service, request)) {
        case GO_ON:
            break;
        case GO_NEXT:
            scratch->step_at++;
            break;
        case GO_WAITING:
            return verdict(service, request, PC_WAITING);
        case GO_AGAIN:
            maybe_pause(request, lane);
            return verdict(service, request, PC_AGAIN);
        case GO_HANG_UP:
            if (request->body_error == 0) {
                TALLY_ADD(service, refused);
            }
            return verdict(service, request, PC_HANG_UP);
        }
    }
    bool last = scratch->wire.end == PC_TEST_END_HANG_UP;
    return verdict(service, request, last ? PC_HANG_UP : PC_SERVED);
}

static void test_closed(void *memory)
{
    struct session *session = memory;
    if (session->service == NULL) {
        return;
    }
    if (session->open_count > 0 || session->again_count > 0) {
        trouble(session->service, "connection %u closed with %u requests open", session->connection,
                session->open_count);
    }
    TALLY_ADD(session->service, sessions_closed);
}

/* ---- Places ---- */

static int test_place_open(void *app, int32_t index, struct pc_lane *lane)
{
    struct pc_test_service *service = app;
    struct place *place = &service->places[index];
    if (place->open) {
        trouble(service, "place %d was opened twice", index);
    }
    place->last = calloc(service->config.connection_count, sizeof(uint64_t));
    if (place->last == NULL) {
        abort();
    }
    place->lane_index = pc_lane_index(lane);
    place->open = true;
    TALLY_ADD(service, places_opened);
    return 0;
}

static bool test_place_step(void *app, int32_t index, struct pc_lane *lane)
{
    struct pc_test_service *service = app;
    const struct place *place = &service->places[index];
    if (!place->open || place->lane_index != pc_lane_index(lane)) {
        trouble(service, "place %d had its upkeep on lane %u", index, pc_lane_index(lane));
    }
    return false;
}

static void test_place_close(void *app, int32_t index, struct pc_lane *lane)
{
    struct pc_test_service *service = app;
    struct place *place = &service->places[index];
    free(place->last);
    place->last = NULL;
    place->open = false;
    TALLY_ADD(service, places_closed);
}

/* ---- Life ---- */

static const struct pc_class classes[] = {
    [CLASS_PURE] = {.name = "pure", .weight = PC_LIGHT, .pure = true},
    [CLASS_LIGHT] = {.name = "light", .weight = PC_LIGHT},
    [CLASS_HEAVY] = {.name = "heavy", .weight = PC_HEAVY},
};

struct pc_test_service *pc_test_service_create(const struct pc_test_service_config *config)
{
    struct pc_test_service *service = calloc(1, sizeof(*service));
    struct place *places =
        aligned_alloc(PC_CACHE_LINE, (config->place_count + 1) * sizeof(struct place));
    if (service == NULL || places == NULL) {
        free(service);
        free(places);
        return NULL;
    }
    service->config = *config;
    service->places = places;
    memset(places, 0, (config->place_count + 1) * sizeof(struct place));
    for (unsigned i = 0; i < config->place_count; i++) {
        pthread_mutex_init(&places[i].lock, NULL);
    }
    pthread_mutex_init(&service->lock, NULL);
    service->rows = (struct pc_service){
        .name = "test",
        .request_bytes = sizeof(struct scratch),
        .session_bytes = sizeof(struct session),
        .input_bytes_max = PC_TEST_INPUT_BYTES_MAX,
        .classes = classes,
        .class_count = PC_COUNT_OF(classes),
        .uses_workers = config->workers,
        .parse = test_parse,
        .serve = test_serve,
        .closed = test_closed,
        .place_open = test_place_open,
        .place_step = test_place_step,
        .place_close = test_place_close,
    };
    return service;
}

void pc_test_service_destroy(struct pc_test_service *service)
{
    if (service == NULL) {
        return;
    }
    while (service->holds_free != NULL) {
        struct test_hold *hold = service->holds_free;
        service->holds_free = hold->next;
        free(hold);
    }
    for (unsigned i = 0; i < service->config.place_count; i++) {
        pthread_mutex_destroy(&service->places[i].lock);
    }
    pthread_mutex_destroy(&service->lock);
    free(service->places);
    free(service);
}

const struct pc_service *pc_test_service_rows(const struct pc_test_service *service)
{
    return &service->rows;
}

const char *pc_test_service_trouble(struct pc_test_service *service)
{
    pthread_mutex_lock(&service->lock);
    bool any = service->trouble[0] != '\0';
    pthread_mutex_unlock(&service->lock);
    return any ? service->trouble : NULL; /* written once */
}

void pc_test_service_tally(const struct pc_test_service *service, struct pc_test_tally *out)
{
    uint64_t *words = (uint64_t *)(void *)out;
    for (size_t i = 0; i < TALLY_COUNT; i++) {
        words[i] = atomic_load_explicit(&service->tally[i], memory_order_relaxed);
    }
}

const char *pc_test_service_settled(struct pc_test_service *service)
{
    struct pc_test_tally tally;
    pc_test_service_tally(service, &tally);
    if (tally.begun != tally.ended) {
        trouble(service, "%llu requests began, %llu ended", (unsigned long long)tally.begun,
                (unsigned long long)tally.ended);
    }
    if (tally.calls_posted != tally.calls_done) {
        trouble(service, "%llu calls were posted, %llu done",
                (unsigned long long)tally.calls_posted, (unsigned long long)tally.calls_done);
    }
    if (tally.holds_taken != tally.holds_released) {
        trouble(service, "%llu holds were taken, %llu released",
                (unsigned long long)tally.holds_taken, (unsigned long long)tally.holds_released);
    }
    return pc_test_service_trouble(service);
}
