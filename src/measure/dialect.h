/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialect: how a planned request is said to a server, and whether what it answers is true.
 *
 * A choice: one file per protocol, one row in the table. Nothing here knows a socket.
 *
 * Owner    One thread; contents are shared and read-only.
 * Memory   Requests go into the connection's outbox; an answer is looked at where it was received.
 * Order    Answers come in the order of the requests: each is held against the oldest one, and one
 *          that belongs to another is counted as a reorder.
 */
#ifndef PC_MEASURE_DIALECT_H
#define PC_MEASURE_DIALECT_H

#include "measure/contents.h"
#include "measure/outbox.h"
#include "measure/traffic.h"

/* What an answer said, for one request. */
struct pc_verdict {
    uint32_t hits, misses, refused, errors, mismatches, short_answers, reorders;
    const char *trouble; /* NULL, or the line to show: points into the bytes read */
    size_t trouble_bytes;
};

/* A request on its way: planned, then sent, then answered. */
struct pc_flight {
    struct pc_planned planned;
    uint64_t sent_ns;
    uint64_t cas;
    uint32_t step; /* a request of two exchanges (cas) is in its first or second */
};

/* The answer being read; all zero between two answers. */
struct pc_answer_state {
    bool begun;
    uint32_t element_index, element_count; /* of a multi-get */
    size_t wanted_bytes;                   /* after MORE: needed beyond what was consumed */
    struct pc_verdict verdict;
    struct pc_popularity walk; /* of a multi-get's keys */
};

enum pc_reading {
    PC_READING_DONE,
    PC_READING_MORE,
    PC_READING_AGAIN, /* the request has a second step: send it again */
    PC_READING_BAD,   /* this is not the protocol; verdict.trouble says what it is */
};

struct pc_dialect {
    const struct pc_dialect_ops *ops;
    const struct pc_contents *contents;
    const struct pc_traffic *traffic; /* this thread's source */
};

struct pc_dialect_ops {
    const char *name; /* as in a URL */
    uint16_t port;
    bool has_keys;       /* there is something to fill */
    uint32_t operations; /* bits of enum pc_operation */
    enum pc_operation operation_usual[2];
    /* Append the request to `outbox`; false: no memory. */
    bool (*write)(const struct pc_dialect *, const struct pc_flight *, struct pc_outbox *outbox);
    /* Read on in the answer to `flight`; *out_bytes are consumed, whatever it returns. */
    enum pc_reading (*read)(const struct pc_dialect *, struct pc_flight *flight,
                            struct pc_answer_state *state, const uint8_t *at, size_t count,
                            size_t *out_bytes);
};

extern const struct pc_dialect_ops pc_dialect_memcached, pc_dialect_redis, pc_dialect_frame;

/* Row `index`, NULL past the last; and by name. */
const struct pc_dialect_ops *pc_dialect_row(unsigned index);
const struct pc_dialect_ops *pc_dialect_find(const char *name, size_t name_bytes);

static inline bool pc_dialect_speaks(const struct pc_dialect_ops *ops, enum pc_operation operation)
{
    return (ops->operations & UINT32_C(1) << operation) != 0;
}

/* Hold a value against what was set for `key`, and count what is found. */
void pc_verdict_value(struct pc_verdict *verdict, const struct pc_contents *contents, uint64_t key,
                      const uint8_t *value, size_t value_bytes);

/* Keep the first line of trouble. */
void pc_verdict_trouble(struct pc_verdict *verdict, const char *text, size_t count);

/* The server answered with an error, in these words. */
void pc_verdict_error(struct pc_verdict *verdict, const char *text, size_t count);

/* What was received is not the protocol: its first line is kept. */
void pc_verdict_nonsense(struct pc_verdict *verdict, const uint8_t *at, size_t count);

#endif
