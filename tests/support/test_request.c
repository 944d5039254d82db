/* SPDX-License-Identifier: Apache-2.0 */
/* test_request: every byte from a few numbers, at any offset. */
#include "test_request.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"

#include <string.h>

/* Streams of one seed that must not be alike. */
enum stream {
    STREAM_PADDING = 1,
    STREAM_BODY = 2,
    STREAM_CONTENT = 3,
    STREAM_ANSWER = 4,
    STREAM_DIGEST = 5
};

static uint64_t word_of(uint64_t seed, enum stream stream, uint64_t index)
{
    struct pc_random random;
    pc_random_init(&random,
                   seed + (uint64_t)stream * 0xd1342543de82ef95u + index * 0x2545f4914f6cdd1du);
    return pc_random_next(&random);
}

/* Bytes go in and out by so many words at a time: what a sanitizer asks of every copy then costs
 * little, and most of these tests' time goes here. */
enum { BATCH_WORDS = 64 };

static void stream_fill(uint64_t seed, enum stream stream, size_t offset, uint8_t *out,
                        size_t count)
{
    uint64_t words[BATCH_WORDS];
    while (count > 0) {
        const size_t skip = offset % 8;
        const size_t here = pc_min_size(sizeof(words) - skip, count);
        for (size_t i = 0; i * 8 < skip + here; i++) {
            words[i] = word_of(seed, stream, offset / 8 + i);
        }
        memcpy(out, (const uint8_t *)words + skip, here);
        offset += here;
        out += here;
        count -= here;
    }
}

/* The part of [*offset, *offset + *count) that lies in a region of `bytes` which starts at zero;
 * what is left moves on to the next region. */
static size_t region(size_t bytes, size_t *offset, size_t count)
{
    if (*offset >= bytes) {
        *offset -= bytes;
        return 0;
    }
    return pc_min_size(bytes - *offset, count);
}

static void head_write(const struct pc_test_request *request, uint8_t *head)
{
    memset(head, 0, PC_TEST_HEAD_BYTES);
    pc_be32_store(head, request->end == PC_TEST_END_BAD ? 0 : request->input_bytes - 4);
    pc_be32_store(head + 4, request->connection);
    pc_be64_store(head + 8, request->number);
    pc_be64_store(head + 16, request->seed);
    pc_be32_store(head + 24, request->content_bytes);
    pc_be32_store(head + 28, request->body_bytes);
    head[32] = request->call_count;
    head[33] = request->body_kind;
    head[34] = request->end;
}

void pc_test_request_fill(const struct pc_test_request *request, size_t offset, uint8_t *out,
                          size_t count)
{
    size_t here = region(PC_TEST_HEAD_BYTES, &offset, count);
    if (here > 0) {
        uint8_t head[PC_TEST_HEAD_BYTES];
        head_write(request, head);
        memcpy(out, head + offset, here);
        out += here;
        count -= here;
        offset = 0;
    }
    here = region(request->input_bytes - PC_TEST_HEAD_BYTES, &offset, count);
    if (here > 0) {
        stream_fill(request->seed, STREAM_PADDING, offset, out, here);
        out += here;
        count -= here;
        offset = 0;
    }
    stream_fill(request->seed, STREAM_BODY, offset, out, count);
}

void pc_test_request_read(const uint8_t *head, struct pc_test_request *out)
{
    *out = (struct pc_test_request){
        .connection = pc_be32_load(head + 4),
        .number = pc_be64_load(head + 8),
        .seed = pc_be64_load(head + 16),
        .input_bytes = pc_be32_load(head) + 4,
        .content_bytes = pc_be32_load(head + 24),
        .body_bytes = pc_be32_load(head + 28),
        .call_count = head[32],
        .body_kind = head[33],
        .end = head[34],
    };
}

int pc_test_request_intact(const struct pc_test_request *request, const uint8_t *input)
{
    uint8_t expected[256];
    for (size_t offset = 0; offset < request->input_bytes;) {
        size_t here = pc_min_size(sizeof(expected), request->input_bytes - offset);
        pc_test_request_fill(request, offset, expected, here);
        if (memcmp(expected, input + offset, here) != 0) {
            return 0;
        }
        offset += here;
    }
    return 1;
}

uint64_t pc_test_answer(uint64_t seed, unsigned index)
{
    return word_of(seed, STREAM_ANSWER, index);
}

size_t pc_test_body_taken(const struct pc_test_request *request)
{
    switch ((enum pc_test_body)request->body_kind) {
    case PC_TEST_BODY_WHOLE:
    case PC_TEST_BODY_PIECES:
        return request->body_bytes;
    case PC_TEST_BODY_HALF:
        return request->body_bytes / 2;
    default:
        return 0;
    }
}

/* Each byte counts with its place, so that bytes which change places are seen: the sum of the
 * words, each times an odd number of its own. It is the same however the bytes are cut. */
uint64_t pc_test_digest(uint64_t digest, size_t offset, const uint8_t *bytes, size_t count)
{
    uint64_t words[BATCH_WORDS];
    while (count > 0) {
        const size_t skip = offset % 8;
        const size_t here = pc_min_size(sizeof(words) - skip, count);
        words[0] = words[(skip + here - 1) / 8] = 0; /* of these a part may be others' */
        memcpy((uint8_t *)words + skip, bytes, here);
        for (size_t i = 0; i * 8 < skip + here; i++) {
            digest += words[i] * (word_of(0, STREAM_DIGEST, offset / 8 + i) | 1);
        }
        offset += here;
        bytes += here;
        count -= here;
    }
    return digest;
}

void pc_test_reply_expected(const struct pc_test_request *request, struct pc_test_reply *out)
{
    *out = (struct pc_test_reply){
        .number = request->number, .seed = request->seed, .content_bytes = request->content_bytes};
    for (unsigned i = 0; i < request->call_count; i++) {
        out->answers[i] = pc_test_answer(request->seed, i);
    }
    size_t taken = pc_test_body_taken(request);
    uint8_t piece[4096];
    for (size_t offset = 0; offset < taken;) {
        size_t here = pc_min_size(sizeof(piece), taken - offset);
        stream_fill(request->seed, STREAM_BODY, offset, piece, here);
        out->digest = pc_test_digest(out->digest, offset, piece, here);
        offset += here;
    }
}

void pc_test_reply_fill(const struct pc_test_reply *reply, size_t offset, uint8_t *out,
                        size_t count)
{
    size_t here = region(PC_TEST_REPLY_HEAD_BYTES, &offset, count);
    if (here > 0) {
        uint8_t head[PC_TEST_REPLY_HEAD_BYTES];
        pc_be32_store(head, (uint32_t)pc_test_reply_bytes(reply->content_bytes) - 4);
        pc_be64_store(head + 4, reply->number);
        memcpy(out, head + offset, here);
        out += here;
        count -= here;
        offset = 0;
    }
    here = region(reply->content_bytes, &offset, count);
    if (here > 0) {
        stream_fill(reply->seed, STREAM_CONTENT, offset, out, here);
        out += here;
        count -= here;
        offset = 0;
    }
    if (count > 0) {
        uint8_t tail[PC_TEST_REPLY_TAIL_BYTES];
        for (unsigned i = 0; i < PC_TEST_CALL_COUNT_MAX; i++) {
            pc_be64_store(tail + 8 * (size_t)i, reply->answers[i]);
        }
        pc_be64_store(tail + 24, reply->digest);
        memcpy(out, tail + offset, count);
    }
}
