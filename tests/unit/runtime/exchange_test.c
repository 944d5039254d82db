/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal     Requests of one connection start, wait, end and answer in the order the seam promises.
 * Method   One exchange on a lane without a socket; a service whose requests are little scripts,
 *          one letter a step; calls go to a list and are answered when the test says so.
 *
 *   a request is one byte, how many letters, then the letters; after `B` and `b` letters in it,
 *   as many body bytes follow the request:
 *     .  say it          k  say 1000 bytes   K  say 300 000 bytes
 *     w  call, WAITING   a  call, AGAIN      m  AGAIN
 *     r  reserve two     c  commit them      0  share nothing      s  share one
 *     x  much extra memory   y  a little of it   B  take a byte of body   b  leave one
 *     h  HANG_UP
 */
#include "runtime/exchange.h"

#include "base/bytes.h"
#include "runtime/core.h"
#include "runtime/counters.h"
#include "runtime/kernel.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SESSION_BYTES 16
#define INPUT_BYTES   1000
#define OUTPUT_BYTES  (4 << 20)
#define CALL_COUNT    512

struct world {
    struct pc_runtime runtime;
    struct pc_core core; /* a lane of a core, so that calls may be answered later */
    struct pc_service service;
    struct pc_exchange *exchange;
    struct pc_call *calls[CALL_COUNT];
    unsigned call_count;
    char started[400]; /* the first letter of each request, as it began */
    unsigned ended_count, closed_count, held_count;
    size_t extra_least;
    char *output;
    size_t output_bytes;
};

struct script {
    struct pc_call call;
    struct pc_hold hold;
    struct world *world;
    unsigned step;
    bool begun;
    char *reserved;
    uint8_t body;
};

/* ---- The service ---- */

static unsigned letters_of(struct pc_view in, char letter)
{
    unsigned count = 0;
    for (size_t i = 1; i < in.count; i++) {
        count += in.at[i] == (uint8_t)letter;
    }
    return count;
}

static enum pc_parse script_parse(struct pc_request *request, struct pc_view in, size_t *out_bytes)
{
    size_t whole = (size_t)in.at[0] + 1;
    if (whole == 1) {
        return PC_PARSE_BAD;
    }
    if (in.count < whole) {
        *out_bytes = whole;
        return PC_PARSE_MORE;
    }
    *out_bytes = whole;
    struct pc_view input = {in.at, whole};
    request->body_bytes = letters_of(input, 'b') + letters_of(input, 'B');
    return PC_PARSE_DONE;
}

static void script_work(struct pc_call *call, struct pc_lane *there)
{
}

static void script_release(struct pc_hold *hold, struct pc_lane *lane)
{
    struct world *world = lane->app;
    assert_true(world->held_count > 0);
    world->held_count--;
}

static int script_call(struct pc_request *request)
{
    struct script *script = request->scratch;
    script->call = (struct pc_call){.work = script_work, .place = PC_PLACE_WORKERS};
    return pc_call_post(request, &script->call);
}

/* One letter; true: serve returns *out_verb. */
static bool script_step(struct pc_request *request, char letter, enum pc_serve *out_verb)
{
    static char lots[300000];
    static const uint8_t one = 's';
    static struct pc_hold hold = {.release = script_release};
    struct script *script = request->scratch;
    struct world *world = request->app;
    int outcome = 0;
    *out_verb = letter == 'w' ? PC_WAITING : letter == 'h' ? PC_HANG_UP : PC_AGAIN;
    switch (letter) {
    case 'w':
    case 'a':
        assert_int_equal(script_call(request), PC_LATER);
        return true;
    case 'm':
    case 'h':
        return true;
    case 'B':
        pc_request_body(request, &script->body, 1);
        return true;
    case 'b':
        break;
    case 'k':
    case 'K':
        memset(lots, letter, sizeof(lots));
        outcome = pc_reply_copy(request, lots, letter == 'k' ? 1000 : sizeof(lots));
        break;
    case 'r':
        script->reserved = pc_reply_reserve(request, 10);
        assert_non_null(script->reserved);
        script->reserved[0] = 'r';
        break;
    case 'c':
        script->reserved[1] = 'c';
        pc_reply_commit(request, 2);
        break;
    case '0':
    case 's':
        world->held_count++;
        outcome = pc_reply_share(request, (struct pc_view){&one, letter == 's'}, &hold);
        break;
    case 'x': {
        char *extra = pc_request_extra(request, 5000);
        assert_non_null(extra);
        memset(extra, 'x', 5000);
        break;
    }
    case 'y': {
        char *extra = pc_request_extra(request, 10);
        assert_non_null(extra);
        break;
    }
    default:
        outcome = pc_reply_copy(request, &letter, 1);
        break;
    }
    if (outcome < 0) {
        *out_verb = PC_HANG_UP;
        return true;
    }
    return false;
}

static enum pc_serve script_serve(struct pc_request *request, struct pc_lane *lane)
{
    struct script *script = request->scratch;
    struct world *world = request->app;
    if (!script->begun) {
        script->begun = true;
        world->started[strlen(world->started)] = (char)request->input.at[1];
    }
    if (request->body_error != 0) {
        world->ended_count++;
        return PC_HANG_UP;
    }
    while (script->step + 1 < request->input.count) {
        enum pc_serve verb;
        char letter = (char)request->input.at[++script->step];
        if (script_step(request, letter, &verb)) {
            world->ended_count += verb == PC_HANG_UP;
            return verb;
        }
    }
    world->ended_count++;
    return PC_SERVED;
}

static void script_closed(void *session)
{
}

/* ---- The world ---- */

static void collect(struct pc_runtime *runtime, struct pc_call *call)
{
    struct world *world = runtime->app;
    assert_true(world->call_count < CALL_COUNT);
    world->calls[world->call_count++] = call;
}

static void answer(struct world *world, unsigned index)
{
    struct pc_exchange *exchange;
    (void)pc_exchange_answered(world->calls[index], &exchange);
    assert_ptr_equal(exchange, world->exchange);
}

static enum pc_run run(struct world *world)
{
    return pc_exchange_run(world->exchange, &world->core.lane);
}

/* Send what there is, in sends of `cut` bytes. */
static void send_all(struct world *world, size_t cut)
{
    struct pc_chain *output = &world->exchange->output;
    while (output->bytes > 0) {
        struct iovec pieces[8];
        unsigned piece_count;
        size_t offered = pc_chain_pieces(output, cut, pieces, 8, &piece_count);
        assert_true(offered > 0);
        for (unsigned i = 0; i < piece_count; i++) {
            assert_true(world->output_bytes + pieces[i].iov_len < OUTPUT_BYTES);
            memcpy(world->output + world->output_bytes, pieces[i].iov_base, pieces[i].iov_len);
            world->output_bytes += pieces[i].iov_len;
        }
        pc_exchange_sent(world->exchange, &world->core.lane, offered);
    }
}

static void receive(struct world *world, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;
    while (count > 0) {
        size_t room;
        uint8_t *into = pc_input_landing(world->exchange, &world->core.lane, &room);
        assert_non_null(into);
        if (room == 0) {
            (void)run(world); /* the body it was for is whole */
            continue;
        }
        room = room < count ? room : count;
        memcpy(into, from, room);
        pc_input_landed(world->exchange, &world->core.lane, room);
        from += room;
        count -= room;
    }
}

/* Scripts separated by blanks, each followed by its body. */
static size_t encode(const char *scripts, uint8_t *out)
{
    size_t count = 0;
    while (*scripts != '\0') {
        size_t length = strcspn(scripts, " ");
        struct pc_view view = {(const uint8_t *)scripts - 1, length + 1};
        out[count++] = (uint8_t)length;
        memcpy(out + count, scripts, length);
        count += length;
        size_t body = letters_of(view, 'b') + letters_of(view, 'B');
        memset(out + count, '!', body);
        count += body;
        scripts += length + (scripts[length] == ' ');
    }
    return count;
}

static void feed(struct world *world, const char *scripts)
{
    uint8_t bytes[2000];
    receive(world, bytes, encode(scripts, bytes));
    (void)run(world);
}

static void said(struct world *world, const char *expected)
{
    send_all(world, SIZE_MAX);
    world->output[world->output_bytes] = '\0';
    assert_string_equal(world->output, expected);
}

static int open_world(void **state)
{
    struct world *world = aligned_alloc(PC_CACHE_LINE, (sizeof(*world) + 63) & ~(size_t)63);
    assert_non_null(world);
    memset(world, 0, sizeof(*world));
    world->service = (struct pc_service){.name = "script",
                                         .request_bytes = sizeof(struct script),
                                         .session_bytes = SESSION_BYTES,
                                         .input_bytes_max = INPUT_BYTES,
                                         .uses_workers = true,
                                         .parse = script_parse,
                                         .serve = script_serve,
                                         .closed = script_closed};
    world->runtime.service = &world->service;
    world->runtime.kernel = pc_kernel_linux();
    world->runtime.app = world;
    world->runtime.config.reply_bytes_max = 1 << 20;
    world->runtime.offload = collect;
    pc_lane_init(&world->core.lane, &world->runtime, PC_LANE_CORE, 0, pc_counters_create(false));
    world->exchange = malloc(sizeof(struct pc_exchange) + SESSION_BYTES);
    world->output = malloc(OUTPUT_BYTES);
    assert_non_null(world->exchange);
    assert_non_null(world->output);
    pc_exchange_init(world->exchange, &world->core.lane);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;
    struct pc_lane *lane = &world->core.lane;
    pc_exchange_abort(world->exchange, lane);
    (void)run(world);
    for (unsigned i = 0; i < world->call_count; i++) {
        if (!world->calls[i]->answered) {
            answer(world, i);
            (void)run(world);
        }
    }
    assert_int_equal(world->exchange->open_count, 0);
    assert_int_equal(world->ended_count, strlen(world->started));
    pc_exchange_fini(world->exchange, lane);
    assert_int_equal(world->held_count, 0);
    /* Nothing is out but, perhaps, the landing. */
    size_t landing = lane->landing != NULL ? PC_BLOCK_BYTES_USUAL + sizeof(struct pc_block) : 0;
    assert_int_equal(lane->blocks.bytes_out, landing);
    pc_lane_fini(lane);
    pc_counters_destroy(lane->counters);
    free(world->exchange);
    free(world->output);
    free(world);
    return 0;
}

/* ---- What holds ---- */

static void replies_leave_in_request_order(void **state)
{
    struct world *world = *state;
    feed(world, "1w. 2w. 3w. 4");
    assert_string_equal(world->started, "1234");
    answer(world, 2);
    answer(world, 1);
    (void)run(world);
    said(world, "1");
    answer(world, 0);
    (void)run(world);
    said(world, "1.2.3.4");
    assert_true(pc_exchange_idle(world->exchange));
}

static void who_asked_others_to_wait_is_waited_for(void **state)
{
    struct world *world = *state;
    /* The first waits, and is then the second that asks others to wait. */
    feed(world, "1wa. 2a. 3");
    assert_string_equal(world->started, "12");
    answer(world, 0);
    (void)run(world);
    answer(world, 2);
    (void)run(world);
    said(world, "1.2");
    assert_string_equal(world->started, "12");
    answer(world, 1);
    (void)run(world);
    assert_string_equal(world->started, "123");
    said(world, "1.2.3");
}

static void what_later_requests_said_does_not_keep_the_first_from_saying_more(void **state)
{
    struct world *world = *state;
    feed(world, "1wm. 2Km.");
    answer(world, 0);
    (void)run(world);
    send_all(world, SIZE_MAX);
    assert_true(pc_exchange_runnable(world->exchange) || world->exchange->open_count < 2);
    (void)run(world);
    send_all(world, SIZE_MAX);
    (void)run(world);
    send_all(world, SIZE_MAX);
    assert_int_equal(world->exchange->open_count, 0);
    assert_int_equal(world->output_bytes, 2 + 1 + 300000 + 1);
}

static void a_body_left_behind_is_swallowed_wherever_it_is(void **state)
{
    struct world *world = *state;
    feed(world, "1bbb 2"); /* all of it was here when the first ended */
    said(world, "12");
    uint8_t bytes[100];
    size_t count = encode("3bbb 4", bytes);
    receive(world, bytes, 6);
    (void)run(world);
    assert_false(pc_exchange_runnable(world->exchange));
    receive(world, bytes + 6, count - 6);
    assert_true(pc_exchange_runnable(world->exchange));
    (void)run(world);
    said(world, "1234");
}

static void a_body_that_never_comes_whole_is_an_error(void **state)
{
    struct world *world = *state;
    uint8_t bytes[100];
    (void)encode("1BB2", bytes);
    receive(world, bytes, 6);
    (void)run(world);
    assert_true(pc_exchange_hungry(world->exchange));
    pc_exchange_end_of_input(world->exchange);
    assert_true(pc_exchange_runnable(world->exchange));
    (void)run(world);
    assert_int_equal(world->exchange->open_count, 0);
}

static void extra_memory_is_of_one_request(void **state)
{
    struct world *world = *state;
    feed(world, "1y 2x 3y 4x"); /* a small one must not be passed on to who asks for a large one */
    said(world, "1234");
}

static void a_request_over_the_limit_is_refused_though_it_is_whole(void **state)
{
    struct world *world = *state;
    world->service.input_bytes_max = 5;
    feed(world, "1... 2....");
    said(world, "1...");
    assert_true(world->exchange->oversize);
    assert_non_null(world->exchange->trouble);
    assert_true(pc_exchange_over(world->exchange));
}

static void it_is_not_over_while_requests_wait_to_be_parsed(void **state)
{
    struct world *world = *state;
    feed(world, "1K 2. 3.");
    pc_exchange_end_of_input(world->exchange);
    send_all(world, SIZE_MAX);
    for (unsigned i = 0; i < 4 && !pc_exchange_over(world->exchange); i++) {
        (void)run(world);
        send_all(world, SIZE_MAX);
    }
    assert_int_equal(world->output_bytes, 300001 + 4);
    assert_true(pc_exchange_over(world->exchange));
}

static void shared_nothing_is_let_go_of(void **state)
{
    struct world *world = *state;
    feed(world, "0 20w0.");
    assert_int_equal(world->held_count, 0);
    said(world, "2");
    answer(world, 0);
    (void)run(world);
    said(world, "2.");
    assert_int_equal(world->held_count, 0);
}

static void a_hold_lasts_until_its_last_byte_is_sent(void **state)
{
    struct world *world = *state;
    feed(world, "1w 2s.");
    assert_int_equal(world->held_count, 1);
    answer(world, 0);
    (void)run(world);
    assert_int_equal(world->held_count, 1);
    said(world, "12s.");
    assert_int_equal(world->held_count, 0);
}

static void a_reservation_stays_put_while_calls_are_out(void **state)
{
    struct world *world = *state;
    feed(world, "1w. 2rwc. 3rac.");
    answer(world, 0);
    (void)run(world);
    said(world, "1.2"); /* the second is first now, its reservation in the send queue */
    answer(world, 2);
    (void)run(world);
    answer(world, 1);
    (void)run(world);
    said(world, "1.2rc.3rc.");
}

static void after_hang_up_earlier_replies_leave_and_later_requests_do_not_start(void **state)
{
    struct world *world = *state;
    feed(world, "1w. 2h 3 4");
    assert_string_equal(world->started, "12");
    assert_false(pc_exchange_over(world->exchange));
    answer(world, 0);
    (void)run(world);
    said(world, "1.2");
    assert_true(pc_exchange_over(world->exchange));
}

static void bad_input_ends_it_after_earlier_replies(void **state)
{
    struct world *world = *state;
    uint8_t bytes[100];
    size_t count = encode("1w.", bytes);
    bytes[count] = 0;
    receive(world, bytes, count + 1);
    (void)run(world);
    assert_string_equal(world->exchange->trouble, "malformed");
    assert_false(pc_exchange_over(world->exchange));
    answer(world, 0);
    (void)run(world);
    said(world, "1.");
    assert_true(pc_exchange_over(world->exchange));
}

static void sixty_four_requests_are_open_at_most(void **state)
{
    struct world *world = *state;
    char scripts[70 * 4 + 1] = "";
    for (unsigned i = 0; i < 70; i++) {
        strcat(scripts, "1w. ");
    }
    feed(world, scripts);
    assert_int_equal(world->exchange->open_count, 64);
    assert_false(pc_exchange_hungry(world->exchange));
    assert_false(pc_exchange_runnable(world->exchange));
    for (unsigned i = 64; i-- > 0;) {
        answer(world, i);
    }
    (void)run(world);
    assert_int_equal(world->exchange->open_count, 6);
    assert_int_equal(world->call_count, 70);
}

static void over_the_cap_a_reply_is_refused(void **state)
{
    struct world *world = *state;
    feed(world, "1w 2KKKK"); /* nothing leaves before the first is answered */
    assert_int_equal(world->exchange->reply_bytes, 1 + 1 + 3 * 300000);
    answer(world, 0);
    (void)run(world);
    send_all(world, SIZE_MAX);
    assert_int_equal(world->output_bytes, 1 + 1 + 3 * 300000);
    assert_int_equal(world->core.lane.counters->cap_queue, 1);
    assert_true(pc_exchange_over(world->exchange));
}

static void a_peer_that_is_gone_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    feed(world, "1sra.c. 2 3");
    pc_exchange_abort(world->exchange, &world->core.lane);
    assert_string_equal(world->started, "1");
    assert_int_equal(world->held_count, 0);
    /* The two behind it were parsed, are never served, and go when it does. */
    assert_int_equal(world->exchange->open_count, 3);
    answer(world, 0);
    assert_string_equal(world->started, "1");
    /* close_world runs it to its end and counts the blocks. */
}

/* Whatever the cuts, the same requests get the same replies. */
static void cuts_change_nothing(void **state)
{
    struct world *world = *state;
    static const char scripts[] = "1 2BB.x 3.bbb 4k 5w. 6BwB. 7rmc 8s.s 9";
    uint8_t bytes[200];
    size_t count = encode(scripts, bytes);
    char *first = NULL;
    size_t first_bytes = 0;
    for (size_t cut = 1; cut <= count; cut++) {
        world->output_bytes = world->call_count = 0;
        for (size_t at = 0; at < count; at += cut) {
            receive(world, bytes + at, cut < count - at ? cut : count - at);
            (void)run(world);
            for (unsigned i = 0; i < world->call_count; i++) {
                if (!world->calls[i]->answered) {
                    answer(world, i);
                    (void)run(world);
                }
            }
            world->call_count = 0;
            send_all(world, cut);
        }
        assert_true(pc_exchange_idle(world->exchange));
        if (first == NULL) {
            first_bytes = world->output_bytes;
            first = malloc(first_bytes);
            assert_non_null(first);
            memcpy(first, world->output, first_bytes);
        }
        assert_int_equal(world->output_bytes, first_bytes);
        assert_memory_equal(world->output, first, first_bytes);
        memset(world->started, 0, sizeof(world->started));
        world->ended_count = 0;
    }
    free(first);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(replies_leave_in_request_order),
        CASE(who_asked_others_to_wait_is_waited_for),
        CASE(what_later_requests_said_does_not_keep_the_first_from_saying_more),
        CASE(a_body_left_behind_is_swallowed_wherever_it_is),
        CASE(a_body_that_never_comes_whole_is_an_error),
        CASE(extra_memory_is_of_one_request),
        CASE(a_request_over_the_limit_is_refused_though_it_is_whole),
        CASE(it_is_not_over_while_requests_wait_to_be_parsed),
        CASE(shared_nothing_is_let_go_of),
        CASE(a_hold_lasts_until_its_last_byte_is_sent),
        CASE(a_reservation_stays_put_while_calls_are_out),
        CASE(after_hang_up_earlier_replies_leave_and_later_requests_do_not_start),
        CASE(bad_input_ends_it_after_earlier_replies),
        CASE(sixty_four_requests_are_open_at_most),
        CASE(over_the_cap_a_reply_is_refused),
        CASE(a_peer_that_is_gone_leaves_nothing_behind),
        CASE(cuts_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
