/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo_test: worlds of the echo service.
 *
 * Goal    Under every model with loops, whatever the schedule and the machine's moods, each client
 *         reads what it wrote, and every connection ends as it should.
 * Method  A world a seed (world.h). Clients send frames of drawn sizes and compare what comes back.
 */
#include "seeds.h"

#include "base/bytes.h"
#include "base/check.h"
#include "protocols/frame.h"
#include "scale.h"
#include "services/echo.h"
#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The bytes both ways are the same, and are made again from the seed when they come back. */
struct stream {
    struct pc_random random;
    unsigned frames_left;
    uint32_t body_bytes_max;
    uint64_t work_ns;
    uint8_t *frame;
    size_t begin, end;
};

struct echo_talk {
    struct stream out, in;
    uint64_t out_bytes, in_bytes;
};

static bool stream_next(struct stream *stream)
{
    if (stream->begin < stream->end) {
        return true;
    }
    if (stream->frames_left == 0) {
        return false;
    }
    stream->frames_left--;
    uint32_t most = pc_random_below(&stream->random, 8) == 0 ? stream->body_bytes_max : 64;
    uint32_t bytes = (uint32_t)pc_random_below(&stream->random, most + 1);
    pc_be32_store(stream->frame, bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        stream->frame[PC_FRAME_HEAD_BYTES + i] = (uint8_t)pc_random_next(&stream->random);
    }
    if (bytes >= 8) {
        pc_be64_store(stream->frame + PC_FRAME_HEAD_BYTES, stream->work_ns);
    }
    stream->begin = 0;
    stream->end = PC_FRAME_HEAD_BYTES + bytes;
    return true;
}

static size_t echo_pull(void *state, uint8_t *out, size_t room)
{
    struct echo_talk *talk = state;
    size_t count = 0;
    while (count < room && stream_next(&talk->out)) {
        size_t piece = pc_min_size(room - count, talk->out.end - talk->out.begin);
        memcpy(out + count, talk->out.frame + talk->out.begin, piece);
        talk->out.begin += piece;
        count += piece;
    }
    talk->out_bytes += count;
    return count;
}

static bool echo_push(void *state, const uint8_t *bytes, size_t count)
{
    struct echo_talk *talk = state;
    talk->in_bytes += count;
    if (talk->in_bytes > talk->out_bytes) {
        return false;
    }
    while (count > 0 && stream_next(&talk->in)) {
        size_t piece = pc_min_size(count, talk->in.end - talk->in.begin);
        if (memcmp(bytes, talk->in.frame + talk->in.begin, piece) != 0) {
            return false;
        }
        talk->in.begin += piece;
        bytes += piece;
        count -= piece;
    }
    return count == 0;
}

static bool echo_sent(void *state)
{
    const struct echo_talk *talk = state;
    return talk->out.frames_left == 0 && talk->out.begin == talk->out.end;
}

static bool echo_done(void *state)
{
    const struct echo_talk *talk = state;
    return echo_sent(state) && talk->in_bytes == talk->out_bytes;
}

static const char *echo_trouble(void *state)
{
    return "an echo is not what was said";
}

static void echo_end(void *state)
{
    struct echo_talk *talk = state;
    free(talk->in.frame);
    free(talk->out.frame);
    free(talk);
}

static void stream_init(struct stream *stream, uint64_t seed, bool works)
{
    pc_random_init(&stream->random, seed);
    bool deep = pc_random_below(&stream->random, 8) == 0;
    stream->frames_left = 1 + (unsigned)pc_random_below(&stream->random, deep ? 200 : 12);
    stream->body_bytes_max = pc_random_below(&stream->random, 4) == 0 ? 8000 : 500;
    stream->work_ns = works ? pc_random_below(&stream->random, 60000) : 0;
    stream->frame = malloc(PC_FRAME_HEAD_BYTES + stream->body_bytes_max);
    assert_non_null(stream->frame);
}

static void echo_talk_begin(void *ctx, unsigned connection, uint64_t seed,
                            struct pc_world_talk *out)
{
    struct echo_talk *talk = calloc(1, sizeof(*talk));
    assert_non_null(talk);
    const bool *works = ctx;
    stream_init(&talk->out, seed, *works);
    stream_init(&talk->in, seed, *works);
    *out = (struct pc_world_talk){.state = talk,
                                  .pull = echo_pull,
                                  .push = echo_push,
                                  .sent = echo_sent,
                                  .done = echo_done,
                                  .trouble = echo_trouble,
                                  .end = echo_end};
}

static struct pc_world_tally tally;

static const char *echo_world(uint64_t seed, FILE *report)
{
    struct pc_random random;
    pc_random_init(&random, seed ^ 0x6563686f);
    bool works = pc_random_below(&random, 2) == 0;
    const struct pc_service service = pc_echo_service(8000, works);
    bool pool = pc_random_below(&random, 2) == 0;
    unsigned core_count = pool ? 1 : 1 + (unsigned)pc_random_below(&random, 4);
    const struct pc_world_config config = {
        .seed = pc_random_next(&random),
        .model = pool ? "thread-pool" : "per-core",
        .core_count = core_count,
        .worker_count = 1 + (unsigned)pc_random_below(&random, 3),
        .place_count = pool ? 0 : core_count,
        .service = &service,
        .client_count = 1 + (unsigned)pc_random_below(&random, 5),
        .connection_count = 1 + (unsigned)pc_random_below(&random, 4),
        .talk = echo_talk_begin,
        .ctx = &works,
    };
    return pc_world_run(&config, &tally, report);
}

static void echo_worlds_are_well(void **state)
{
    (void)state;
    assert_true(pc_seeds_all_well("echo worlds", pc_test_scale(1000, 100000), echo_world));
}

static void worlds_have_all_kinds_of_trouble(void **state)
{
    (void)state;
    if (getenv("PC_SEED") != NULL) {
        return;
    }
    tally = (struct pc_world_tally){0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        assert_null(echo_world(seed, stderr));
    }
    print_message("40 worlds: %" PRIu64 " steps, %" PRIu64 " requests, %" PRIu64
                  " handed over, %" PRIu64 " short sends, %" PRIu64 " half closed, %" PRIu64
                  " resets, %" PRIu64 " timers, %" PRIu64 " accept pauses, %" PRIu64
                  " jobs, %" PRIu64 " ms\n",
                  tally.steps, tally.requests, tally.handed_over, tally.sends_short,
                  tally.half_closed, tally.resets, tally.timers_fired, tally.accept_pauses,
                  tally.jobs, tally.elapsed_ns / 1000000);
    assert_true(tally.requests > 0 && tally.handed_over > 0 && tally.sends_short > 0);
    assert_true(tally.half_closed > 0 && tally.resets > 0 && tally.timers_fired > 0);
    assert_true(tally.accept_pauses > 0 && tally.jobs > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worlds_have_all_kinds_of_trouble),
        cmocka_unit_test(echo_worlds_are_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
