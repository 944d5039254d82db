/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox: bytes in a row that grow at the end and leave at the front: what a connection is still to
 * send, or has received and not yet understood.
 *
 * Owner    The connection's thread.
 * Memory   One block of the heap, doubled when it is too small; it never shrinks.
 * Cost     Moves bytes to the front only when room runs out, so each byte moves once on average.
 */
#ifndef PC_MEASURE_OUTBOX_H
#define PC_MEASURE_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

/* Bytes [begin, end) of `at` are held. */
struct pc_outbox {
    uint8_t *at;
    size_t begin, end, room;
};

static inline size_t pc_outbox_count(const struct pc_outbox *outbox)
{
    return outbox->end - outbox->begin;
}

static inline uint8_t *pc_outbox_front(const struct pc_outbox *outbox)
{
    return outbox->at + outbox->begin;
}

/* Room for `count` more bytes at the end; NULL: no memory. */
uint8_t *pc_outbox_reserve_slow(struct pc_outbox *outbox, size_t count);

static inline uint8_t *pc_outbox_reserve(struct pc_outbox *outbox, size_t count)
{
    return outbox->room - outbox->end >= count ? outbox->at + outbox->end
                                               : pc_outbox_reserve_slow(outbox, count);
}

static inline void pc_outbox_commit(struct pc_outbox *outbox, size_t count)
{
    outbox->end += count;
}

/* The first `count` bytes have left. */
static inline void pc_outbox_consume(struct pc_outbox *outbox, size_t count)
{
    outbox->begin += count;
    if (outbox->begin == outbox->end) {
        outbox->begin = outbox->end = 0;
    }
}

static inline void pc_outbox_clear(struct pc_outbox *outbox)
{
    outbox->begin = outbox->end = 0;
}

void pc_outbox_fini(struct pc_outbox *outbox);

#endif
