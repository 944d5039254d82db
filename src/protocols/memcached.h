/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached: the classic text protocol, bytes to requests and replies to bytes.
 *
 * Core     any: a parse is a function of its arguments and writes only what it is given.
 * Memory   None of its own. Results are offsets into the bytes parsed, so those may move meanwhile.
 * Limits   See the constants: a line, a window of keys, a value taken along with its line.
 * Order    Any cut of the same bytes gives the same replies.
 * Cost     One pass over the key and a few compares for a get of one key.
 * Source   memcached's doc/protocol.txt; where 1.6.18 and later ones differ, as the later ones.
 *
 * A get line has no end that memory could wait for, so it is served in windows: each parse takes
 * the keys at hand, and a `struct pc_memcached_line` carries what the next parse has to know. All
 * zero means: a new line begins here.
 */
#ifndef PC_PROTOCOLS_MEMCACHED_H
#define PC_PROTOCOLS_MEMCACHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_MEMCACHED_KEY_BYTES_MAX = 250,
    /* A line other than a list of keys ends within this, its line feed included. */
    PC_MEMCACHED_LINE_BYTES_MAX = 2049,
    /* Keys of one window, and bytes that are looked at for them: 64 of the longest keys. */
    PC_MEMCACHED_WINDOW_KEYS = 64,
    PC_MEMCACHED_WINDOW_BYTES = 16384,
    /* A value up to this is parsed together with its line; a longer one follows as a body. */
    PC_MEMCACHED_INLINE_BYTES_MAX = 16384,
    /* What a parse may ask for at most. */
    PC_MEMCACHED_INPUT_BYTES_MAX = PC_MEMCACHED_LINE_BYTES_MAX + PC_MEMCACHED_INLINE_BYTES_MAX + 2,
    /* VALUE, a key, flags, length, cas unique, and the spaces and line end between. */
    PC_MEMCACHED_VALUE_LINE_BYTES_MAX = 6 + PC_MEMCACHED_KEY_BYTES_MAX + 11 + 11 + 21 + 2,
};

enum pc_memcached_verb {
    PC_MEMCACHED_NOTHING, /* bytes without a meaning of their own: the rest of a refused line */
    PC_MEMCACHED_UNKNOWN,
#define PC_MEMCACHED_VERB(name, word, shape, words_min) PC_MEMCACHED_##name,
#include "protocols/memcached_verbs.def"
#undef PC_MEMCACHED_VERB
    PC_MEMCACHED_BINARY, /* see memcached_binary.h; the opcode is in the request */
    PC_MEMCACHED_VERB_COUNT,
};

enum pc_memcached_reply {
    PC_MEMCACHED_SAY_NOTHING,
#define PC_MEMCACHED_REPLY(name, text) PC_MEMCACHED_SAY_##name,
#include "protocols/memcached_replies.def"
#undef PC_MEMCACHED_REPLY
    PC_MEMCACHED_REPLY_COUNT,
};

enum pc_memcached_parsed { PC_MEMCACHED_DONE, PC_MEMCACHED_MORE, PC_MEMCACHED_BAD };

/* What an unfinished line of keys hands to the next parse. */
struct pc_memcached_line {
    uint8_t verb;    /* 0: a new line begins; NOTHING never stands here */
    bool has_keys;   /* a window before this one held a key */
    bool refused;    /* answered with an error; the rest is thrown away */
    int32_t exptime; /* gat, gats */
};

/* One request. Offsets count from the first byte parsed. */
struct pc_memcached_request {
    uint8_t verb;
    uint8_t refusal;    /* enum pc_memcached_reply: what is wrong with it; 0: nothing */
    bool quiet;         /* noreply */
    bool begins_line;   /* keys: the first window of its line */
    bool ends_line;     /* keys: the last window of its line, END follows */
    bool value_follows; /* value and its line end come as a body, not with the line */
    /* A whole get line of one key; or mg whose flags only tell of the item:
     * pc_memcached_meta_plain_line. Nothing is wrong with it. */
    bool plain;
    bool wants_value;  /* set for a plain mg only */
    uint8_t key_count; /* keys: in this window; else 1 where the command has one */
    uint8_t key_bytes; /* of the first key */
    uint32_t key_at;   /* the first key */
    uint32_t words_at; /* what follows the command word */
    uint32_t words_bytes;
    uint32_t flags;
    int32_t exptime; /* as the client wrote it */
    uint32_t value_at;
    uint32_t value_bytes; /* without its line end; also set for a refused store: to be swallowed */
    uint64_t number;      /* cas unique, delta or verbosity; shutdown: 1 graceful */
};

/* Recognise the request at `at`, given what the line before left in `line`. DONE fills `out` and
 * `out_line` and says how many bytes it took; MORE says how many it wants at least; BAD means that
 * the peer is not to be answered. */
enum pc_memcached_parsed pc_memcached_parse(struct pc_memcached_line line, const uint8_t *at,
                                            size_t count, struct pc_memcached_request *out,
                                            struct pc_memcached_line *out_line, size_t *out_bytes);

/* Step through the keys of a window that ends at `end`, as parsed: `*cursor` starts at key_at and
 * moves past the key found. Call it key_count times at most. */
const uint8_t *pc_memcached_key_next(const uint8_t *at, uint32_t end, uint32_t *cursor,
                                     uint8_t *out_bytes);

/* A fixed line with its line end. */
const char *pc_memcached_reply(enum pc_memcached_reply reply, size_t *out_bytes);

/* The line before a value; `cas` NULL: without one. Returns its bytes. */
size_t pc_memcached_value_line(char *into, const void *key, size_t key_bytes, uint32_t flags,
                               uint32_t value_bytes, const uint64_t *cas);

struct pc_memcached_word {
    const uint8_t *at;
    size_t count;
};

/* Up to `room` words of `text`, without the spaces between; returns how many there are in all. */
unsigned pc_memcached_words(const uint8_t *text, size_t bytes, struct pc_memcached_word *words,
                            unsigned room);

/* The command word of a verb, for counters and logs; "" for NOTHING and UNKNOWN. */
const char *pc_memcached_word(enum pc_memcached_verb verb);

#endif
