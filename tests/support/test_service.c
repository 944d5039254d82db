/* SPDX-License-Identifier: Apache-2.0 */
/* test_service: a request is a short list of steps; serve goes on where it stopped. */
#include "test_service_parts.h"

#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pc_test_trouble(struct pc_test_service *service, const char *format, ...)
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
    pc_test_tally_add(service, offsetof(struct pc_test_tally, parsed) + outcome * sizeof(uint64_t));
    return outcome;
}

enum { CLASS_PURE, CLASS_LIGHT, CLASS_HEAVY };

static enum pc_parse test_parse(struct pc_request *request, struct pc_view in, size_t *out_bytes)
{
    struct pc_test_service *service = request->app;
    struct scratch *scratch = request->scratch;
    if (!all_zero(scratch, sizeof(*scratch))) {
        pc_test_trouble(service, "scratch is not zero at parse");
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

/* ---- Serving ---- */

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
        pc_test_trouble(service, "connection %u began request %llu of connection %u, not its %llu",
                        session->connection, (unsigned long long)wire->number, wire->connection,
                        (unsigned long long)session->next_number);
    }
    if (session->again_count > 0) {
        pc_test_trouble(service, "request %llu of connection %u began while others were to wait",
                        (unsigned long long)wire->number, wire->connection);
    }
    session->next_number = wire->number + 1;
    session->open_count++;
    pc_random_init(&scratch->random, service->config.seed ^ wire->seed);
    scratch->begun = true;
    scratch->stepwise = pc_test_chance(scratch, 2);
    scratch->body_left = wire->body_bytes;
    scratch->reply = (struct pc_test_reply){
        .number = wire->number, .seed = wire->seed, .content_bytes = wire->content_bytes};
    pc_test_steps_plan(scratch);
    TALLY_ADD(service, begun);
}

static void request_end(struct pc_test_service *service, struct pc_request *request)
{
    struct scratch *scratch = request->scratch;
    struct session *session = request->session;
    for (size_t i = 0; scratch->extra != NULL && i < scratch->extra_bytes; i++) {
        if (scratch->extra[i] != (uint8_t)scratch->wire.seed) {
            pc_test_trouble(service, "extra memory was written by somebody else");
            break;
        }
    }
    if (request->input.count != scratch->wire.input_bytes ||
        !pc_test_request_intact(&scratch->wire, request->input.at)) {
        pc_test_trouble(service, "a request's input changed before its end");
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
    pc_test_tally_add(service, offsetof(struct pc_test_tally, served) + verb * sizeof(uint64_t));
    return verb;
}

/* Some of those that are not done yet let time pass, or only others go first. */
static void maybe_pause(struct pc_request *request, const struct pc_lane *lane)
{
    struct scratch *scratch = request->scratch;
    if (pc_test_chance(scratch, 4)) {
        const uint64_t ns =
            pc_test_chance(scratch, 2) ? 0 : pc_random_below(&scratch->random, 100000);
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
        pc_test_trouble(service, "served again before its pause was over");
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
        switch (pc_test_step(service, request)) {
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

static void test_opened(void *app, void *memory, const struct pc_peer *peer, struct pc_lane *lane)
{
    struct session *session = memory;
    (void)lane;
    if (session->opened || peer->fd < 0) {
        pc_test_trouble(app, "descriptor %d opened on a session in use", peer->fd);
    }
    session->opened = true;
}

static void test_shut(void *app, void *memory, enum pc_close why, struct pc_lane *lane)
{
    struct session *session = memory;
    (void)lane;
    if (!session->opened || session->shut || why > PC_CLOSE_DRAIN) {
        pc_test_trouble(app, "connection %u shut out of turn", session->connection);
    }
    session->shut = true;
}

static void test_closed(void *memory)
{
    struct session *session = memory;
    if (session->service == NULL) {
        return;
    }
    if (session->open_count > 0 || session->again_count > 0) {
        pc_test_trouble(session->service, "connection %u closed with %u requests open",
                        session->connection, session->open_count);
    }
    if (session->opened != session->shut) {
        pc_test_trouble(session->service, "connection %u closed but not shut", session->connection);
    }
    TALLY_ADD(session->service, sessions_closed);
}

/* ---- Places ---- */

static int test_place_open(void *app, int32_t index, struct pc_lane *lane)
{
    struct pc_test_service *service = app;
    struct place *place = &service->places[index];
    if (place->open) {
        pc_test_trouble(service, "place %d was opened twice", index);
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
        pc_test_trouble(service, "place %d had its upkeep on lane %u", index, pc_lane_index(lane));
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
        .opened = test_opened,
        .shut = test_shut,
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
        pc_test_trouble(service, "%llu requests began, %llu ended", (unsigned long long)tally.begun,
                        (unsigned long long)tally.ended);
    }
    if (tally.calls_posted != tally.calls_done) {
        pc_test_trouble(service, "%llu calls were posted, %llu done",
                        (unsigned long long)tally.calls_posted,
                        (unsigned long long)tally.calls_done);
    }
    if (tally.holds_taken != tally.holds_released) {
        pc_test_trouble(service, "%llu holds were taken, %llu released",
                        (unsigned long long)tally.holds_taken,
                        (unsigned long long)tally.holds_released);
    }
    return pc_test_service_trouble(service);
}
