/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect_frame: length-prefixed frames that come back as they went.
 *
 *     | length: 4, big-endian | work: 8, nanoseconds | number: 8 | window of the pool |
 *
 * An echo ignores the work, a spinning server does it. The number tells a reorder from a mismatch.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "measure/dialect.h"

enum {
    HEAD_BYTES = 4,
    BODY_BYTES_MIN = 16,
    BODY_BYTES_MAX = 1 << 20, /* the protocol's cap */
};

static uint32_t body_bytes(const struct pc_dialect *dialect, uint64_t number)
{
    const uint32_t bytes = pc_contents_value_bytes(dialect->contents, number);
    return bytes < BODY_BYTES_MIN   ? BODY_BYTES_MIN
           : bytes > BODY_BYTES_MAX ? BODY_BYTES_MAX
                                    : bytes;
}

static bool frame_write(const struct pc_dialect *dialect, const struct pc_flight *flight,
                        struct pc_outbox *outbox)
{
    const uint64_t number = flight->planned.key;
    const uint32_t body = body_bytes(dialect, number);
    uint8_t *const at = pc_outbox_reserve(outbox, HEAD_BYTES + body);
    if (at == NULL) {
        return false;
    }
    pc_be32_store(at, body);
    pc_be64_store(at + HEAD_BYTES, flight->planned.more_seed);
    pc_be64_store(at + HEAD_BYTES + 8, number);
    pc_contents_fill(dialect->contents, number, at + HEAD_BYTES + BODY_BYTES_MIN,
                     body - BODY_BYTES_MIN);
    pc_outbox_commit(outbox, HEAD_BYTES + body);
    return true;
}

static void body_judge(const struct pc_dialect *dialect, const struct pc_flight *flight,
                       struct pc_verdict *verdict, const uint8_t *body, uint32_t bytes)
{
    const uint64_t number = flight->planned.key;
    const uint32_t expected = body_bytes(dialect, number);
    if (bytes < BODY_BYTES_MIN) {
        verdict->short_answers++;
    } else if (pc_be64_load(body + 8) != number) {
        verdict->reorders++;
    } else if (pc_be64_load(body) != flight->planned.more_seed || bytes > expected ||
               !pc_contents_filled(dialect->contents, number, body + BODY_BYTES_MIN,
                                   bytes - BODY_BYTES_MIN)) {
        verdict->mismatches++;
    } else if (bytes < expected) {
        verdict->short_answers++;
    }
}

static enum pc_reading frame_read(const struct pc_dialect *dialect, struct pc_flight *flight,
                                  struct pc_answer_state *state, const uint8_t *at, size_t count,
                                  size_t *out_bytes)
{
    *out_bytes = 0;
    if (count < HEAD_BYTES) {
        state->wanted_bytes = HEAD_BYTES;
        return PC_READING_MORE;
    }
    const uint32_t body = pc_be32_load(at);
    if (body > BODY_BYTES_MAX) {
        static const char text[] = "a frame longer than 1 MiB";
        pc_verdict_trouble(&state->verdict, text, sizeof(text) - 1);
        return PC_READING_BAD;
    }
    if (count < HEAD_BYTES + body) {
        state->wanted_bytes = HEAD_BYTES + body;
        return PC_READING_MORE;
    }
    body_judge(dialect, flight, &state->verdict, at + HEAD_BYTES, body);
    *out_bytes = HEAD_BYTES + body;
    return PC_READING_DONE;
}

const struct pc_dialect_ops pc_dialect_frame = {
    .name = "frame",
    .port = 9000,
    .operations = UINT32_C(1) << PC_OPERATION_FRAME,
    .operation_usual = {PC_OPERATION_FRAME, PC_OPERATION_FRAME},
    .write = frame_write,
    .read = frame_read,
};
