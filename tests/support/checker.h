/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checker: the client of the test service, without its socket.
 *
 * It makes a pipelined stream of requests from a seed and verifies the replies byte by byte: that
 * each comes, in order, whole, and that nothing comes after the last. A driver carries the bytes:
 * over a socket, or through an invented kernel.
 *
 *   pull ──▶ bytes to send          bytes received ──▶ push
 *
 * Memory   Constant, however deep the pipeline: requests and replies are made again from their
 *          numbers when they are needed.
 */
#ifndef PC_TESTS_CHECKER_H
#define PC_TESTS_CHECKER_H

#include "test_request.h"

#include <stdbool.h>

/* Zero where not said otherwise: none, or never. */
struct pc_checker_config {
    uint64_t seed;
    uint32_t connection;                  /* unique among all connections of a test */
    uint64_t request_count;               /* how many requests there will be */
    uint64_t depth;                       /* unanswered at most; 0: no limit */
    uint32_t padding_bytes_max;           /* usual ones are much smaller */
    uint32_t content_bytes_max;           /* usual ones are much smaller */
    uint32_t body_bytes_max, body_one_in; /* one request in so many has a body */
    unsigned call_count_max;              /* calls a request: 0 up to this many */
    enum pc_test_end end;                 /* what the last request asks for */
};

/* One place in the stream of requests or of replies. */
struct pc_checker_cursor {
    struct pc_test_request request;
    size_t offset, bytes;
};

struct pc_checker {
    struct pc_checker_config config;
    uint64_t pulled_count; /* requests begun to be sent; the last may not be whole */
    uint64_t pushed_count; /* replies begun to be received; the last may not be whole */
    struct pc_checker_cursor out, in;
    struct pc_test_reply expected;
    char trouble[160]; /* empty: all is well */
};

void pc_checker_init(struct pc_checker *checker, const struct pc_checker_config *config);

/* The next bytes to send, `room` at most; 0: none until replies come, or none any more. */
size_t pc_checker_pull(struct pc_checker *checker, uint8_t *out, size_t room);

/* These bytes were received. False: they are wrong, see `trouble`. */
bool pc_checker_push(struct pc_checker *checker, const uint8_t *bytes, size_t count);

/* All requests are sent; all replies were verified. */
bool pc_checker_sent(const struct pc_checker *checker);
bool pc_checker_done(const struct pc_checker *checker);

/* The service closed. False: it must not have, yet; see `trouble`. */
bool pc_checker_closed(struct pc_checker *checker);

/* Replies verified whole. */
uint64_t pc_checker_verified(const struct pc_checker *checker);

#endif
