/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice_twin: plays operations on a slice and on a naive twin, and compares every answer.
 *
 * The twin is an array with one entry per key: bytes, flags, expiry, CAS number, state. It forgets
 * only what it is told to. The slice may also evict; so a key that only the twin has is an
 * eviction, and there may never be more of those than the slice has counted. Everything else must
 * be equal.
 *
 * The choices come from a caller's function: a seeded generator or the bytes of a fuzzer.
 */
#ifndef PC_TESTS_SLICE_TWIN_H
#define PC_TESTS_SLICE_TWIN_H

#include "store/pool.h"
#include "store/slice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TWIN_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: twin differs: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Below `bound`. */
typedef uint64_t twin_draw_fn(void *ctx, uint64_t bound);

enum { TWIN_KEYS_MAX = 512, TWIN_HOLDS_MAX = 4, TWIN_BODIES_MAX = 3 };

struct twin_entry {
    bool present;
    uint8_t *value;
    uint64_t value_bytes;
    uint32_t flags, expiry;
    uint64_t cas;
    bool stale, claimed, fetched;
};

struct twin_hold {
    struct pc_value view;
    uint8_t *value;
};

struct twin_body {
    struct pc_reservation reservation;
    unsigned key;
    struct pc_store store;
    uint8_t *value;
};

struct twin_memory {
    struct pc_memory memory;
    twin_draw_fn *draw;
    void *ctx;
    unsigned fail_one_in; /* 0: never */
};

struct twin {
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct twin_memory memory;
    struct twin_entry entries[TWIN_KEYS_MAX];
    struct twin_hold holds[TWIN_HOLDS_MAX];
    struct twin_body bodies[TWIN_BODIES_MAX];
    unsigned key_count;
    uint64_t value_bytes_max;
    uint64_t missing; /* keys the slice has evicted, as seen */
    uint32_t now;
    twin_draw_fn *draw;
    void *ctx;
    pc_key_hash_fn *hash;
    bool keeps_all;
    uint64_t op_count;
};

struct twin_config {
    uint32_t segment_bytes;
    unsigned segment_count;
    unsigned key_count;
    uint64_t value_bytes_max;
    unsigned fail_one_in;
    bool bad_hash;  /* few hash values: long chains */
    bool keeps_all; /* nothing is evicted: a key that only the twin has is a bug */
    twin_draw_fn *draw;
    void *ctx;
};

/* For a test: begin, play operation after operation, compare all, end. */
void twin_create(struct twin *twin, const struct twin_config *config);
void twin_play(struct twin *twin);
void twin_audit(struct twin *twin);
void twin_destroy(struct twin *twin);

/* How many items the slice says it has evicted. */
uint64_t twin_evicted(const struct twin *twin);

/* ---- What the plays are made of ---- */

uint64_t twin_draw(struct twin *twin, uint64_t bound);
/* Key number i, of 1 to 250 bytes, in `text`. */
struct pc_key twin_key(const struct twin *twin, unsigned i, char text[PC_KEY_BYTES_MAX + 1]);
uint32_t twin_expiry(struct twin *twin);
uint8_t *twin_value_make(struct twin *twin, uint64_t bytes);

/* Look without a trace; whether key number i is there. What the twin alone has was evicted, what
 * the slice alone has is a bug. */
bool twin_sync(struct twin *twin, unsigned i);
/* The view is of what the twin has. */
void twin_same(const struct twin *twin, const struct pc_value *view,
               const struct twin_entry *entry);

void twin_forget(struct twin_entry *entry);
/* The twin stores `value`, under the unique that the slice gave it. */
void twin_stored(struct twin_entry *entry, const struct pc_store *store, const uint8_t *value,
                 uint64_t cas);

void twin_play_store(struct twin *twin, unsigned i, const struct pc_key *key);
/* Reserve a body, or end one that was reserved some time ago. */
void twin_play_body(struct twin *twin, unsigned i);
/* However much was stored, deleted and evicted since, held bytes are what they were. */
void twin_play_release(struct twin *twin, unsigned i);
void twin_play_flush(struct twin *twin);

#endif
