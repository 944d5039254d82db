/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached_client: the other end of the memcached text protocol: requests to bytes, bytes to
 * answers.
 *
 * Core     any: nothing here has state.
 * Memory   Writers need room for PC_MEMCACHED_ASK_BYTES_MAX bytes at `into` and return how many
 * they wrote. Answers point into the bytes parsed. Order    An answer parsed again from its first
 * byte with more bytes behind gives the same answer. Source   memcached's doc/protocol.txt.
 */
#ifndef PC_PROTOCOLS_MEMCACHED_CLIENT_H
#define PC_PROTOCOLS_MEMCACHED_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* The longest line without its keys and with one: a cas with every number at its longest. */
    PC_MEMCACHED_ASK_BYTES_MAX = 16 + 250 + 4 * 21 + 8,
    /* The longest line of an answer we believe in. */
    PC_MEMCACHED_ANSWER_LINE_BYTES_MAX = 2048,
};

struct pc_text {
    const char *at;
    size_t count;
};

/* "get", "gets", or "gat" with its time; then each key, then the end. */
size_t pc_memcached_ask_keys(char *into, const char *verb, const uint32_t *exptime);
size_t pc_memcached_ask_key(char *into, struct pc_text key);
size_t pc_memcached_ask_end(char *into);

/* The line before a value; `cas` with verb "cas", else NULL. The value and "\r\n" follow. */
size_t pc_memcached_ask_store(char *into, const char *verb, struct pc_text key, uint32_t exptime,
                              uint32_t value_bytes, const uint64_t *cas);

size_t pc_memcached_ask_delete(char *into, struct pc_text key);
size_t pc_memcached_ask_touch(char *into, struct pc_text key, uint32_t exptime);
size_t pc_memcached_ask_incr(char *into, struct pc_text key, uint64_t delta);

/* mg with key and value back; ms with the time to live, its value and "\r\n" follow. */
size_t pc_memcached_ask_meta_get(char *into, struct pc_text key);
size_t pc_memcached_ask_meta_set(char *into, struct pc_text key, uint32_t exptime,
                                 uint32_t value_bytes);

enum pc_memcached_answer_kind {
    PC_MEMCACHED_ANSWER_VALUE, /* key, value, number: the CAS unique where asked for */
    PC_MEMCACHED_ANSWER_END,
    PC_MEMCACHED_ANSWER_STORED,
    PC_MEMCACHED_ANSWER_NOT_STORED,
    PC_MEMCACHED_ANSWER_EXISTS,
    PC_MEMCACHED_ANSWER_NOT_FOUND,
    PC_MEMCACHED_ANSWER_DELETED,
    PC_MEMCACHED_ANSWER_TOUCHED,
    PC_MEMCACHED_ANSWER_OK,
    PC_MEMCACHED_ANSWER_NUMBER,     /* number */
    PC_MEMCACHED_ANSWER_META_VALUE, /* VA: value, key where asked for */
    PC_MEMCACHED_ANSWER_META_HEAD,  /* HD */
    PC_MEMCACHED_ANSWER_META_MISS,  /* EN, NF */
    PC_MEMCACHED_ANSWER_META_OTHER, /* NS, EX */
    PC_MEMCACHED_ANSWER_STAT,       /* line: name and value */
    PC_MEMCACHED_ANSWER_ERROR,      /* line: ERROR, CLIENT_ERROR …, SERVER_ERROR … */
};

struct pc_memcached_answer {
    enum pc_memcached_answer_kind kind;
    struct pc_text key;
    const uint8_t *value;
    size_t value_bytes;
    uint64_t number;
    struct pc_text line; /* without its end */
};

enum pc_answered { PC_ANSWER_DONE, PC_ANSWER_MORE, PC_ANSWER_BAD };

/* Recognise the answer at `at`. DONE fills `out` and says how many bytes it took; MORE says how
 * many it wants at least; BAD means that this is not the protocol. */
enum pc_answered pc_memcached_answer_parse(const uint8_t *at, size_t count,
                                           struct pc_memcached_answer *out, size_t *out_bytes);

#endif
