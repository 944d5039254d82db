/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_request: what the test service and its clients say to each other.
 *
 * Every byte of a request and of its reply is a function of a few numbers, so a client needs no
 * memory of what it sent in order to verify what it gets, however deep its pipeline.
 *
 *   request  u32 bytes that follow it as input, u32 connection, u64 number, u64 seed,
 *            u32 content bytes, u32 body bytes, u8 calls, u8 body kind, u8 end, u8 zero,
 *            padding from the seed; then the body, from the seed
 *   reply    u32 bytes that follow, u64 number, content from the seed, u64 answer of each of three
 *            calls (zero where there was none), u64 digest of the body
 *
 * Numbers are big-endian.
 */
#ifndef PC_TESTS_TEST_REQUEST_H
#define PC_TESTS_TEST_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#define PC_TEST_HEAD_BYTES       36
#define PC_TEST_REPLY_HEAD_BYTES 12
#define PC_TEST_REPLY_TAIL_BYTES 32
#define PC_TEST_CALL_COUNT_MAX   3
#define PC_TEST_INPUT_BYTES_MAX  (64 * 1024)
#define PC_TEST_BODY_BYTES_MAX   (1024 * 1024)

/* What becomes of the body. */
enum pc_test_body {
    PC_TEST_BODY_WHOLE,   /* taken at once */
    PC_TEST_BODY_PIECES,  /* taken piece by piece */
    PC_TEST_BODY_SWALLOW, /* asked for, into nothing */
    PC_TEST_BODY_HALF,    /* half of it is taken; the request ends without the rest */
    PC_TEST_BODY_LEFT,    /* the request ends without it */
    PC_TEST_BODY_COUNT
};

/* What becomes of the connection. */
enum pc_test_end {
    PC_TEST_END_NONE,
    PC_TEST_END_HANG_UP, /* this reply leaves, then the service hangs up */
    PC_TEST_END_BAD,     /* the request cannot be parsed: no reply */
};

struct pc_test_request {
    uint32_t connection; /* unique among all connections of a test */
    uint64_t number;     /* 0, 1, 2 ... on the connection */
    uint64_t seed;
    uint32_t input_bytes, content_bytes, body_bytes;
    uint8_t call_count, body_kind, end;
};

/* Bytes [offset, offset + count) of the request, body included. */
void pc_test_request_fill(const struct pc_test_request *request, size_t offset, uint8_t *out,
                          size_t count);

/* Read a head of PC_TEST_HEAD_BYTES. */
void pc_test_request_read(const uint8_t *head, struct pc_test_request *out);

/* The input's padding is what the seed says. */
int pc_test_request_intact(const struct pc_test_request *request, const uint8_t *input);

/* The reply in numbers. */
struct pc_test_reply {
    uint64_t number, seed;
    uint32_t content_bytes;
    uint64_t answers[PC_TEST_CALL_COUNT_MAX];
    uint64_t digest;
};

static inline size_t pc_test_reply_bytes(uint32_t content_bytes)
{
    return PC_TEST_REPLY_HEAD_BYTES + (size_t)content_bytes + PC_TEST_REPLY_TAIL_BYTES;
}

/* What the reply to `request` must be. */
void pc_test_reply_expected(const struct pc_test_request *request, struct pc_test_reply *out);

/* Bytes [offset, offset + count) of the reply. */
void pc_test_reply_fill(const struct pc_test_reply *reply, size_t offset, uint8_t *out,
                        size_t count);

/* What call `index` answers. */
uint64_t pc_test_answer(uint64_t seed, unsigned index);

/* How many bytes of the body are taken, swallowed ones not counted. */
size_t pc_test_body_taken(const struct pc_test_request *request);

/* Digests grow piece by piece, whatever the pieces. */
uint64_t pc_test_digest(uint64_t digest, size_t offset, const uint8_t *bytes, size_t count);

#endif
