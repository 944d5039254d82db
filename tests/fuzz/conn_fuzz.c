/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz: the states of connections on two cores, driven byte by byte.
 *
 * The input says when clients connect, send, read, half-close, break off and close, when each core
 * takes a turn, how time passes and what moods the invented machine has. Clients of the echo
 * service send what the input says; those of the test service follow their checker. In the end
 * every client that is still there must get all it is owed, and no connection may be left.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "checker.h"
#include "models/engine.h"
#include "runtime/core.h"
#include "runtime/poller/script.h"
#include "services/echo.h"
#include "test_service.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CORES = 2,
    CLIENTS = 4,
    VISITS_MAX = 32, /* connections of one play */
    STEPS_MAX = 4000,
    SETTLE_TURNS = 20000,
    ECHO_BYTES_MAX = 2000,
    STREAM_MAX = 64 * 1024,
    IDLE_NS = 100000,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

struct visitor {
    int fd; /* negative: none */
    bool shut, ended, reset;
    struct pc_checker checker;
    size_t begin, end; /* of out: pulled and not yet sent */
    uint8_t out[256];
    /* Echo: what was sent, and how much of it came back. */
    uint8_t *stream;
    size_t sent, back;
};

struct play {
    const uint8_t *at, *end;
    struct pc_script script;
    struct pc_runtime *runtime;
    struct pc_test_service *tested; /* NULL: echo */
    struct pc_service service;
    struct sockaddr_in address;
    struct visitor visitors[CLIENTS];
    unsigned visit_count;
    bool aged;
};

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static uint8_t next_byte(struct play *play)
{
    return play->at < play->end ? *play->at++ : 0;
}

/* ---- The runtime, without its threads ---- */

static void plan_read(struct play *play)
{
    struct pc_script_plan *plan = &play->script.plan;
    uint8_t moods = next_byte(play), rate = (uint8_t)(2 + next_byte(play) % 16);
    plan->completions = moods & 1;
    plan->send_in_flight = moods & 1 ? 1 + rate % 2 : 0;
    plan->part_arrives = moods & 2 ? rate : 0;
    plan->late_report = moods & 4 ? rate : 0;
    plan->needless_report = moods & 8 ? rate : 0;
    plan->short_send = moods & 16 ? rate : 0;
    plan->ghost_report = moods & 32 ? 2 : 0;
    plan->accept_fails = moods & 64 ? rate : 0;
    plan->wait_interrupted = moods & 128 ? rate : 0;
    plan->step_ns_max = 500;
    plan->stall = rate;
    plan->stall_ns_max = 300000;
    plan->pipe_bytes = (size_t)256 << next_byte(play) % 8;
}

/* Nobody else will do anything: a core that would sleep comes back a little later. */
static void play_block(struct pc_script *script, pc_script_condition_fn *condition, void *ctx,
                       uint64_t until_ns)
{
    uint64_t later_ns = script->now_ns + IDLE_NS;
    if (!condition(ctx)) {
        script->now_ns = until_ns < later_ns ? until_ns : later_ns;
    }
}

static void runtime_make(struct play *play)
{
    static const char *const listen[] = {"127.0.0.1:7000"};
    const struct pc_config config = {.listen = listen,
                                     .listen_count = 1,
                                     .core_count = CORES,
                                     .place_count = play->tested != NULL ? CORES : 0,
                                     .send_ns = UINT64_C(3600000000000),
                                     .signals_declined = true,
                                     .seed = 1,
                                     .kernel = &play->script.kernel};
    char trouble[128] = "";
    int outcome = pc_runtime_create(&config, &play->service, play->tested, &play->runtime, trouble,
                                    sizeof(trouble));
    check(outcome == 0, trouble);
    struct pc_runtime *runtime = play->runtime;
    for (unsigned i = 0; i < CORES; i++) {
        outcome = pc_core_create(runtime, i, runtime->poller, &runtime->cores[i]);
        check(outcome == 0, "a core is made");
    }
    for (unsigned i = 0; i < CORES; i++) {
        pc_mailbox_connect(runtime->cores[i]->mailbox, runtime->cores[1 - i]->mailbox);
        outcome = pc_core_listen(runtime->cores[i], &runtime->listen_fds[i], 1);
        check(outcome == 0, "a core listens");
        runtime->listen_fds[i] = -1;
    }
    play->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(7000)};
}

static void turn(struct play *play, unsigned core)
{
    check(pc_core_turn(play->runtime->cores[core]), "a core stays while nobody says stop");
}

/* ---- Visitors ---- */

static const struct pc_kernel *kernel_of(struct play *play)
{
    return &play->script.kernel;
}

static void visitor_connect(struct play *play, struct visitor *visitor)
{
    const struct pc_kernel *kernel = kernel_of(play);
    if (visitor->fd >= 0 || play->visit_count == VISITS_MAX) {
        return;
    }
    visitor->fd = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (kernel->connect(kernel, visitor->fd, (struct sockaddr *)&play->address,
                        sizeof(play->address)) < 0) {
        kernel->close(kernel, visitor->fd);
        visitor->fd = -1;
        return;
    }
    uint8_t shape = next_byte(play);
    const struct pc_checker_config config = {.seed = shape * UINT64_C(0x9e3779b97f4a7c15),
                                             .connection = play->visit_count++,
                                             .request_count = 1 + shape % 23,
                                             .depth = shape & 32 ? 4 : 0,
                                             .padding_bytes_max = 200,
                                             .content_bytes_max = shape & 64 ? 4000 : 100,
                                             .body_bytes_max = 2000,
                                             .body_one_in = shape & 1 ? 3 : 0,
                                             .call_count_max = shape % 4,
                                             .end = (enum pc_test_end)(shape % 3)};
    pc_checker_init(&visitor->checker, &config);
    visitor->shut = visitor->ended = visitor->reset = false;
    visitor->begin = visitor->end = visitor->sent = visitor->back = 0;
}

static void visitor_pull(struct play *play, struct visitor *visitor, size_t room)
{
    if (play->tested != NULL) {
        visitor->end = pc_checker_pull(&visitor->checker, visitor->out, room);
    } else {
        /* A head that is mostly small, then whatever the input has. */
        uint8_t length = next_byte(play);
        pc_be32_store(visitor->out, length == 255 ? ECHO_BYTES_MAX + 1 : length % 32);
        visitor->end = length == 255 ? 4 : 4 + length % 32;
        for (size_t i = 4; i < visitor->end; i++) {
            visitor->out[i] = next_byte(play);
        }
    }
    visitor->begin = 0;
}

static void visitor_send(struct play *play, struct visitor *visitor, size_t room)
{
    const struct pc_kernel *kernel = kernel_of(play);
    if (visitor->shut || (play->tested == NULL && visitor->sent > STREAM_MAX - 256)) {
        return;
    }
    if (visitor->begin == visitor->end) {
        visitor_pull(play, visitor, 1 + room % sizeof(visitor->out));
    }
    size_t bytes = pc_min_size(visitor->end - visitor->begin, 1 + room);
    if (bytes == 0) {
        return;
    }
    ssize_t count =
        kernel->send(kernel, visitor->fd, visitor->out + visitor->begin, bytes, MSG_NOSIGNAL);
    if (count > 0) {
        if (play->tested == NULL) {
            memcpy(visitor->stream + visitor->sent, visitor->out + visitor->begin, (size_t)count);
        }
        visitor->sent += (size_t)count;
        visitor->begin += (size_t)count;
    }
}

static void visitor_check(struct play *play, struct visitor *visitor, const uint8_t *bytes,
                          size_t count)
{
    if (play->tested != NULL) {
        bool right = pc_checker_push(&visitor->checker, bytes, count);
        check(right, visitor->checker.trouble);
        return;
    }
    check(visitor->back + count <= visitor->sent, "an echo is not longer than what was said");
    check(memcmp(visitor->stream + visitor->back, bytes, count) == 0, "an echo is what was said");
    visitor->back += count;
}

static void visitor_read(struct play *play, struct visitor *visitor, size_t room)
{
    const struct pc_kernel *kernel = kernel_of(play);
    uint8_t bytes[1024];
    ssize_t count = kernel->recv(kernel, visitor->fd, bytes, 1 + room % sizeof(bytes), 0);
    if (count > 0) {
        visitor_check(play, visitor, bytes, (size_t)count);
    } else if (count != -EAGAIN) {
        visitor->ended = true;
        visitor->reset = count < 0;
        /* A service that hung up waits a while for its peer to read; time was made to pass. */
        check(count == 0 || play->aged, "a visitor is not reset");
    }
}

static void visitor_leave(struct play *play, struct visitor *visitor, bool breaks_off)
{
    const struct pc_kernel *kernel = kernel_of(play);
    struct linger linger = {.l_onoff = breaks_off, .l_linger = 0};
    kernel->setsockopt(kernel, visitor->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    kernel->close(kernel, visitor->fd);
    visitor->fd = -1;
}

static void visitor_shut(struct play *play, struct visitor *visitor)
{
    const struct pc_kernel *kernel = kernel_of(play);
    if (!visitor->shut) {
        visitor->shut = true;
        (void)kernel->shutdown(kernel, visitor->fd, SHUT_WR); /* it may be reset already */
    }
}

/* ---- A play ---- */

enum verb { CONNECT, SEND, READ, TURN, TURN_OTHER, SHUT, LEAVE, BREAK_OFF, AGE, VERB_COUNT };

static void step(struct play *play)
{
    uint8_t word = next_byte(play);
    struct visitor *visitor = &play->visitors[word / 64];
    enum verb verb = (enum verb)(word % 64 % VERB_COUNT);
    if (verb == TURN || verb == TURN_OTHER) {
        turn(play, verb == TURN ? 0 : 1);
    } else if (verb == AGE) {
        play->aged = true;
        play->script.now_ns += (uint64_t)next_byte(play) * 1000000;
    } else if (verb == CONNECT) {
        visitor_connect(play, visitor);
    } else if (visitor->fd >= 0) {
        switch (verb) {
        case SEND:
            visitor_send(play, visitor, next_byte(play));
            break;
        case READ:
            visitor_read(play, visitor, (size_t)next_byte(play) * 4);
            break;
        case SHUT:
            visitor_shut(play, visitor);
            break;
        default:
            visitor_leave(play, visitor, verb == BREAK_OFF);
            break;
        }
    }
}

/* Everything the visitor is owed is here: whole replies, up to what it managed to send. */
static bool visitor_content(struct play *play, const struct visitor *visitor)
{
    if (visitor->ended) {
        return true;
    }
    if (play->tested != NULL) {
        return pc_checker_done(&visitor->checker);
    }
    size_t whole = 0;
    while (visitor->sent - whole >= 4) {
        size_t bytes = 4 + (size_t)pc_be32_load(visitor->stream + whole);
        if (bytes > visitor->sent - whole) {
            break;
        }
        whole += bytes;
    }
    return visitor->back >= whole;
}

/* Let a visitor say and hear the rest, with both cores turning. */
static void visitor_finish(struct play *play, struct visitor *visitor)
{
    for (unsigned i = 0; i < SETTLE_TURNS && !visitor_content(play, visitor); i++) {
        if (play->tested != NULL) {
            visitor_send(play, visitor, 255);
        }
        turn(play, i % CORES);
        visitor_read(play, visitor, 1023);
    }
    check(visitor_content(play, visitor), "a visitor gets what it is owed");
    if (play->tested != NULL && visitor->ended && !visitor->shut && !visitor->reset) {
        bool due = pc_checker_closed(&visitor->checker);
        check(due, visitor->checker.trouble);
    }
}

static void settle(struct play *play)
{
    struct pc_runtime *runtime = play->runtime;
    for (unsigned i = 0; i < SETTLE_TURNS && pc_runtime_connections(runtime) > 0; i++) {
        turn(play, i % CORES);
    }
    check(pc_runtime_connections(runtime) == 0, "no connection is forgotten");
    pc_runtime_stop(runtime);
    bool left[CORES] = {false};
    for (unsigned i = 0; i < SETTLE_TURNS && !(left[0] && left[1]); i++) {
        if (!left[i % CORES]) {
            left[i % CORES] = !pc_core_turn(runtime->cores[i % CORES]);
        }
    }
    check(left[0] && left[1], "a drain ends");
}

static void play_open(struct play *play, const uint8_t *bytes, size_t count)
{
    play->at = bytes;
    play->end = bytes + count;
    uint8_t kind = next_byte(play);
    pc_script_init(&play->script, kind);
    play->script.block = play_block;
    plan_read(play);
    if (kind & 1) {
        const struct pc_test_service_config config = {
            .seed = kind, .place_count = CORES, .connection_count = VISITS_MAX};
        play->tested = pc_test_service_create(&config);
        check(play->tested != NULL, "there is memory");
        play->service = *pc_test_service_rows(play->tested);
    } else {
        play->service = pc_echo_service(ECHO_BYTES_MAX, false);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        play->visitors[i].fd = -1;
        play->visitors[i].stream = play->tested == NULL ? malloc(STREAM_MAX) : NULL;
    }
    runtime_make(play);
}

static void play_close(struct play *play)
{
    pc_runtime_destroy(play->runtime);
    check(pc_script_open_count(&play->script) == 0, "no descriptor is forgotten");
    if (play->tested != NULL) {
        const char *trouble = pc_test_service_settled(play->tested);
        check(trouble == NULL, trouble);
        pc_test_service_destroy(play->tested);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        free(play->visitors[i].stream);
    }
    pc_script_fini(&play->script);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct play *play = calloc(1, sizeof(*play));
    play_open(play, bytes, count);
    for (unsigned i = 0; i < STEPS_MAX && play->at < play->end; i++) {
        step(play);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (play->visitors[i].fd >= 0) {
            visitor_finish(play, &play->visitors[i]);
            visitor_leave(play, &play->visitors[i], false);
        }
    }
    settle(play);
    play_close(play);
    free(play);
    return 0;
}
