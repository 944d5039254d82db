/* SPDX-License-Identifier: Apache-2.0 */
/* test_steps: what a request of the test service is made of: calls, replies, extra memory, body. */
#include "test_service_parts.h"

#include "base/bytes.h"
#include "base/hooks.h"
#include "runtime/core.h"
#include "runtime/exchange.h"
#include "runtime/mailbox.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES_MAX 50000

/* 1 up to `most`, small ones often. */
static size_t draw(struct scratch *scratch, size_t most)
{
    size_t limit = pc_test_chance(scratch, 2) ? pc_min_size(most, 64) : most;
    return 1 + (size_t)pc_random_below(&scratch->random, limit);
}

/* ---- Calls ---- */

static void place_visit(struct pc_test_service *service, struct test_call *call,
                        const struct pc_lane *there)
{
    struct place *place = &service->places[call->call.place];
    if (service->config.places_shared) {
        pthread_mutex_lock(&place->lock);
    } else if (!call->borrowed && pc_lane_index(there) != place->lane_index) {
        pc_test_trouble(service, "a call to place %d ran on lane %u", call->call.place,
                        pc_lane_index(there));
        return;
    }
    if (atomic_fetch_add_explicit(&place->visitors, 1, memory_order_relaxed) != 0) {
        pc_test_trouble(service, "two are at place %d", call->call.place);
    }
    PC_POINT("test: at a place");
    uint64_t key = call->wire->number * 4 + call->index + 1;
    uint64_t *last = &place->last[call->wire->connection];
    if (call->ordered) {
        if (*last >= key) {
            pc_test_trouble(service, "place %d: call %u of request %llu of connection %u came late",
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
        pc_test_trouble(service, "a call ran twice");
    }
    if (call->call.place != PC_PLACE_WORKERS) {
        place_visit(service, call, there);
    }
    if (!pc_test_request_intact(call->wire, call->input)) {
        pc_test_trouble(service, "a call saw other input than its request");
    }
    TALLY_ADD(service, calls_done);
    call->answer = pc_test_answer(call->wire->seed, call->index);
}

static int32_t place_draw(struct pc_test_service *service, struct scratch *scratch)
{
    unsigned place_count = service->config.place_count;
    if (service->config.workers && (place_count == 0 || pc_test_chance(scratch, 4))) {
        return PC_PLACE_WORKERS;
    }
    return (int32_t)pc_random_below(&scratch->random, place_count);
}

/* Its core has announced that it sleeps. */
static bool owner_sleeps(const struct pc_request *request, int32_t place)
{
    const struct pc_runtime *runtime = pc_slot_of(request)->exchange->lane->runtime;
    return pc_mailbox_sleeps(runtime->cores[(unsigned)place % runtime->core_count]->mailbox);
}

/* Do it here instead of posting it, if the place's core is elsewhere. */
static bool call_borrows(struct pc_test_service *service, struct pc_request *request,
                         struct test_call *call)
{
    int32_t place = call->call.place;
    if (!service->config.places_lent || place == PC_PLACE_WORKERS ||
        pc_test_chance(request->scratch, 4) || !pc_place_borrow(request, place)) {
        return false;
    }
    call->borrowed = true;
    test_work(&call->call, NULL);
    pc_place_give_back(request, place);
    call->call.answered = true;
    TALLY_ADD(service, calls_borrowed);
    if (!owner_sleeps(request, place)) {
        TALLY_ADD(service, calls_borrowed_awake);
    }
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
            pc_test_trouble(service, "a place is settled with a call to it unanswered");
        }
        return true;
    }
    if (outcome != 0 || !call->call.answered) {
        pc_test_trouble(service, "a call was posted with %d and answered: %d", outcome,
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
        pc_test_trouble(service, "a hold was released twice");
    }
    TALLY_ADD(service, holds_released);
}

static void hold_release(struct pc_hold *pc_hold, struct pc_lane *lane)
{
    struct test_hold *hold = PC_CONTAINER_OF(pc_hold, struct test_hold, hold);
    if (pc_lane_runtime(lane) == NULL) {
        pc_test_trouble(hold->service, "a hold was released on no lane");
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
    return pc_test_chance(scratch, 8) ? GO_AGAIN : GO_ON;
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
            pc_test_trouble(service, "served again before call %u was answered", i);
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
    if (!later && !pc_test_chance(scratch, 4)) {
        return GO_ON;
    }
    return pc_test_chance(scratch, 3) ? GO_AGAIN : GO_WAITING;
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
        pc_test_trouble(service, "%llu bytes of a body are left, not %zu",
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
        pc_test_tally_add(service, offsetof(struct pc_test_tally, bodies) +
                                       wire->body_kind * sizeof(uint64_t));
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
    return pc_test_chance(scratch, 16) ? GO_AGAIN : GO_ON;
}

static enum go (*const step_rows[])(struct pc_test_service *, struct pc_request *) = {
    [STEP_END] = step_end,     [STEP_SAY] = step_say,       [STEP_RESERVE] = step_reserve,
    [STEP_CALLS] = step_calls, [STEP_COMMIT] = step_commit, [STEP_EXTRA] = step_extra,
    [STEP_BODY] = step_body,
};

enum go pc_test_step(struct pc_test_service *service, struct pc_request *request)
{
    const struct scratch *scratch = request->scratch;
    return step_rows[scratch->steps[scratch->step_at]](service, request);
}

void pc_test_steps_plan(struct scratch *scratch)
{
    uint8_t *steps = scratch->steps;
    unsigned n = 0;
    bool body = scratch->wire.body_bytes > 0, calls = scratch->wire.call_count > 0;
    if (pc_test_chance(scratch, 4)) {
        steps[n++] = STEP_EXTRA;
    }
    if (pc_test_chance(scratch, 3)) {
        steps[n++] = STEP_SAY;
    }
    bool across = pc_test_chance(scratch, 3);
    if (across) {
        steps[n++] = STEP_RESERVE;
    }
    bool body_first = pc_test_chance(scratch, 2);
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
