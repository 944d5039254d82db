/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contents: the text of every key and the bytes of every value, both derived, so that an answer can
 * be checked without remembering what was written.
 *
 * Owner    Read-only after init: any number of threads share one.
 * Limits   Keys of at most PC_CONTENTS_KEY_BYTES_MAX; a value's length depends on its key alone.
 * Units    Bytes.
 * Cost     A value is one copy of its own length, a check one comparison.
 *
 * A key is `prefix`, a letter for its class, its number in base 62 and a filler up to its length.
 * The filler depends on the two size laws: a later run with other sizes does not meet our values.
 * A value of eight bytes and more is
 *
 *     | version: 4 | proof: 4 | window of a fixed pool of random bytes |
 *
 * where proof and window are hashes of key and version. A shorter one is a window chosen by the
 * key.
 */
#ifndef PC_MEASURE_CONTENTS_H
#define PC_MEASURE_CONTENTS_H

#include "measure/sizes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_CONTENTS_KEY_BYTES_MAX = 250,   /* memcached's limit */
    PC_CONTENTS_PREFIX_BYTES_MAX = 64, /* leaves room for class, number and filler */
    PC_CONTENTS_POOL_BYTES = 16384,    /* half of a small L1: stays warm beside real work */
    PC_CONTENTS_HEAD_BYTES = 8,        /* version and proof */
    PC_CONTENTS_CHUNK_BYTES = 8,       /* what one append adds */
};

/* What a key is used for; in the top bits of a key's number. */
enum pc_key_class {
    PC_KEY_VALUE = 0,    /* written and read */
    PC_KEY_COUNTER = 1,  /* incremented */
    PC_KEY_ABSENT = 2,   /* read, never written: a miss on purpose */
    PC_KEY_ONE_TIME = 3, /* never asked for again */
};

#define PC_KEY_CLASS_SHIFT 60

static inline uint64_t pc_key_of(enum pc_key_class class, uint64_t number)
{
    return (uint64_t) class << PC_KEY_CLASS_SHIFT | number;
}

static inline enum pc_key_class pc_key_class_of(uint64_t key)
{
    return (enum pc_key_class)(key >> PC_KEY_CLASS_SHIFT);
}

/* What a check found. */
enum pc_contents_verdict {
    PC_CONTENTS_RIGHT,
    PC_CONTENTS_SHORT, /* right as far as it goes */
    PC_CONTENTS_WRONG,
};

struct pc_contents {
    char prefix[PC_CONTENTS_PREFIX_BYTES_MAX + 1];
    uint32_t prefix_bytes;
    uint32_t digit_count;
    struct pc_sizes key_sizes, value_sizes;
    bool appends; /* a value may be followed by chunks */
    char filler[PC_CONTENTS_KEY_BYTES_MAX];
    /* The pool twice in a row: a window of up to its length needs no wrap. */
    uint8_t pool[2 * PC_CONTENTS_POOL_BYTES];
};

/* -EINVAL: the prefix is too long or holds a space or a control character. */
int pc_contents_init(struct pc_contents *contents, const char *prefix, uint64_t key_count,
                     const struct pc_sizes *key_sizes, const struct pc_sizes *value_sizes);

/* Write the key's text, at most PC_CONTENTS_KEY_BYTES_MAX bytes and no terminator; its length. */
size_t pc_contents_key(const struct pc_contents *contents, uint64_t key, char *out_text);

/* Length of the value of `key` as it is set. */
uint32_t pc_contents_value_bytes(const struct pc_contents *contents, uint64_t key);

/* Write the value of `key` in `version`: value_bytes of them. */
void pc_contents_value(const struct pc_contents *contents, uint64_t key, uint32_t version,
                       uint8_t *out_value);

/* Write `count` bytes that depend on `number` alone, without head. */
void pc_contents_fill(const struct pc_contents *contents, uint64_t number, uint8_t *out_bytes,
                      size_t count);

/* Whether `bytes` are what pc_contents_fill writes for `number`. */
bool pc_contents_filled(const struct pc_contents *contents, uint64_t number, const uint8_t *bytes,
                        size_t count);

/* The chunk that an append adds to `key`. */
void pc_contents_chunk(uint64_t key, uint8_t out_chunk[PC_CONTENTS_CHUNK_BYTES]);

/* Whether `value` is one that was set for `key`, in whatever version. */
enum pc_contents_verdict pc_contents_check(const struct pc_contents *contents, uint64_t key,
                                           const uint8_t *value, size_t value_bytes);

#endif
