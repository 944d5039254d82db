/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_ask: random memcached requests on few keys, and their bytes.
 *
 * Every value that is written is another one, so that a reader can tell whose it read; the keys of
 * counters hold numbers. Each request is said in one of the ways there are to say it: classic or
 * meta, aloud or quiet, with more or fewer questions on the side.
 *
 * Owner    One play (linear_play.h).
 */
#ifndef PC_TESTS_LINEAR_ASK_H
#define PC_TESTS_LINEAR_ASK_H

#include "linear.h"

#include "base/random.h"

enum {
    PC_ASK_KEYS_MAX = 4, /* of one request that names them */
    PC_ASK_KEY_COUNT_MAX = 16,
    PC_ASK_UNIQUES_KEPT = 4,
    PC_ASK_VALUE_BYTES_MAX = 40000,
    PC_ASK_BYTES_MAX = PC_ASK_VALUE_BYTES_MAX + 1200,
};

/* What the server is asked; what it will say has the form of the request. */
struct pc_ask {
    enum pc_linear_what what;
    bool ends; /* no call: the last request of a connection, which shows that all others are over */
    bool fills; /* no call: something large under a key of its own, so that others must go */
    bool meta;
    bool quiet; /* meta: what went as expected is not said; classic: nothing is */
    bool wants_unique, wants_value, wants_life, wants_number;
    bool compares, claims, vivifies; /* as in linear.h */
    unsigned keys[PC_ASK_KEY_COUNT_MAX];
    unsigned key_count;
    uint64_t opaque; /* meta; 0: none */
    uint64_t value;  /* its number, from which its bytes are made again */
    size_t value_bytes;
    bool value_counts; /* the value is a decimal number, of eight digits if it is wide */
    bool value_wide;
    uint32_t flags, life, recache;
    uint64_t unique, delta, initial;
};

/* What most requests of a history are; some are of all kinds. */
enum pc_ask_mood {
    PC_ASK_ALL,
    PC_ASK_COUNTS, /* counting, which changes values where they lie, and reading */
    PC_ASK_LIVES,  /* storing for some seconds, and asking how many are left */
    PC_ASK_MOOD_COUNT
};

/* What requests are drawn from. */
struct pc_ask_source {
    struct pc_random random;
    char prefix[64]; /* of every key */
    unsigned key_count;
    bool large; /* now and then a value that is not copied, or comes after its line */
    bool fills; /* most requests fill, and keys are asked for so seldom that they go */
    enum pc_ask_mood mood;
    uint64_t made; /* values and opaques so far */
    /* Uniques that were told, newest over oldest; 0: none. */
    uint64_t uniques[PC_ASK_KEY_COUNT_MAX][PC_ASK_UNIQUES_KEPT];
    unsigned unique_next[PC_ASK_KEY_COUNT_MAX];
};

void pc_ask_draw(struct pc_ask_source *source, struct pc_random *random, bool may_be_quiet,
                 struct pc_ask *out_ask);

/* The bytes of its value, at most PC_ASK_VALUE_BYTES_MAX. */
size_t pc_ask_value(const struct pc_ask *ask, char *out);

/* The request; `out` has room for PC_ASK_BYTES_MAX. */
size_t pc_ask_print(const struct pc_ask_source *source, const struct pc_ask *ask, char *out);

/* The name of a key; `out` has room for 80 bytes. */
void pc_ask_key(const struct pc_ask_source *source, unsigned key, char *out);

/* A unique was told: later requests may compare with it. */
void pc_ask_unique_told(struct pc_ask_source *source, unsigned key, uint64_t unique);

#endif
