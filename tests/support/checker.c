/* SPDX-License-Identifier: Apache-2.0 */
/* checker: cursors over two streams that are made as they are looked at. */
#include "checker.h"

#include "base/check.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Most are small, some are middling, a few are up to the limit. */
static uint32_t size_draw(struct pc_random *random, uint32_t most)
{
    if (most == 0) {
        return 0;
    }
    uint64_t kind = pc_random_below(random, 64);
    uint32_t limit = kind < 48 ? 64 : kind < 63 ? 2048 : most;
    return (uint32_t)pc_random_below(random, (uint64_t)(limit < most ? limit : most) + 1);
}

static void request_make(const struct pc_checker_config *config, uint64_t number,
                         struct pc_test_request *out)
{
    struct pc_random random;
    pc_random_init(&random, config->seed ^ (number * 0x9fb21c651e98df25u));
    bool last = number + 1 == config->request_count;
    *out = (struct pc_test_request){
        .connection = config->connection,
        .number = number,
        .seed = pc_random_next(&random),
        .input_bytes = PC_TEST_HEAD_BYTES + size_draw(&random, config->padding_bytes_max),
        .content_bytes = size_draw(&random, config->content_bytes_max),
        .call_count = (uint8_t)pc_random_below(&random, config->call_count_max + 1),
        .end = (uint8_t)(last ? config->end : PC_TEST_END_NONE),
    };
    if (config->body_one_in > 0 && pc_random_below(&random, config->body_one_in) == 0) {
        out->body_bytes = pc_random_below(&random, 4) == 0
                              ? 1 + (uint32_t)pc_random_below(&random, config->body_bytes_max)
                              : 1 + size_draw(&random, config->body_bytes_max - 1);
        out->body_kind = (uint8_t)pc_random_below(&random, PC_TEST_BODY_COUNT);
    }
}

/* Replies there will be. */
static uint64_t reply_count(const struct pc_checker *checker)
{
    return checker->config.request_count - (checker->config.end == PC_TEST_END_BAD);
}

void pc_checker_init(struct pc_checker *checker, const struct pc_checker_config *config)
{
    *checker = (struct pc_checker){.config = *config};
}

static bool out_begin(struct pc_checker *checker)
{
    const struct pc_checker_config *config = &checker->config;
    if (checker->pulled_count == config->request_count) {
        return false;
    }
    if (config->depth > 0 &&
        checker->pulled_count - pc_checker_verified(checker) >= config->depth) {
        return false;
    }
    struct pc_checker_cursor *out = &checker->out;
    request_make(config, checker->pulled_count++, &out->request);
    out->offset = 0;
    out->bytes = (size_t)out->request.input_bytes + out->request.body_bytes;
    return true;
}

size_t pc_checker_pull(struct pc_checker *checker, uint8_t *out, size_t room)
{
    size_t count = 0;
    struct pc_checker_cursor *cursor = &checker->out;
    while (count < room && (cursor->offset < cursor->bytes || out_begin(checker))) {
        size_t here = pc_min_size(room - count, cursor->bytes - cursor->offset);
        pc_test_request_fill(&cursor->request, cursor->offset, out + count, here);
        cursor->offset += here;
        count += here;
    }
    return count;
}

static bool in_begin(struct pc_checker *checker)
{
    if (checker->pushed_count == reply_count(checker)) {
        snprintf(checker->trouble, sizeof(checker->trouble),
                 "connection %" PRIu32 ": bytes after the last reply", checker->config.connection);
        return false;
    }
    struct pc_checker_cursor *in = &checker->in;
    request_make(&checker->config, checker->pushed_count++, &in->request);
    pc_test_reply_expected(&in->request, &checker->expected);
    in->offset = 0;
    in->bytes = pc_test_reply_bytes(in->request.content_bytes);
    return true;
}

static bool wrong(struct pc_checker *checker, const uint8_t *expected, const uint8_t *bytes,
                  size_t count)
{
    size_t at = 0;
    while (at < count && expected[at] == bytes[at]) {
        at++;
    }
    snprintf(checker->trouble, sizeof(checker->trouble),
             "connection %" PRIu32 ": reply %" PRIu64
             " is wrong at byte %zu of %zu: %02x, not %02x",
             checker->config.connection, checker->in.request.number, checker->in.offset + at,
             checker->in.bytes, bytes[at], expected[at]);
    return false;
}

bool pc_checker_push(struct pc_checker *checker, const uint8_t *bytes, size_t count)
{
    uint8_t expected[1024];
    struct pc_checker_cursor *cursor = &checker->in;
    while (count > 0) {
        if (cursor->offset == cursor->bytes && !in_begin(checker)) {
            return false;
        }
        if (cursor->request.number >= checker->pulled_count) {
            snprintf(checker->trouble, sizeof(checker->trouble),
                     "connection %" PRIu32 ": reply %" PRIu64 " to what was never asked",
                     checker->config.connection, cursor->request.number);
            return false;
        }
        size_t here =
            pc_min_size(pc_min_size(count, sizeof(expected)), cursor->bytes - cursor->offset);
        pc_test_reply_fill(&checker->expected, cursor->offset, expected, here);
        if (memcmp(expected, bytes, here) != 0) {
            return wrong(checker, expected, bytes, here);
        }
        cursor->offset += here;
        bytes += here;
        count -= here;
    }
    return true;
}

uint64_t pc_checker_verified(const struct pc_checker *checker)
{
    return checker->pushed_count - (checker->in.offset < checker->in.bytes);
}

bool pc_checker_sent(const struct pc_checker *checker)
{
    return checker->pulled_count == checker->config.request_count &&
           checker->out.offset == checker->out.bytes;
}

bool pc_checker_done(const struct pc_checker *checker)
{
    return pc_checker_verified(checker) == reply_count(checker);
}

bool pc_checker_closed(struct pc_checker *checker)
{
    if (!pc_checker_done(checker)) {
        snprintf(checker->trouble, sizeof(checker->trouble),
                 "connection %" PRIu32 ": closed after %" PRIu64 " of %" PRIu64 " replies",
                 checker->config.connection, pc_checker_verified(checker), reply_count(checker));
        return false;
    }
    return true;
}
