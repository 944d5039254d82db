/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resp_client: the client's end of RESP 2, as redis and valkey speak it.
 *
 * Core     any: nothing here has state.
 * Memory   Writers need the room that each names at `into` and return how many bytes they wrote.
 *          Answers point into the bytes parsed.
 * Limits   One answer is one element: an array's head comes alone, its elements follow.
 * Source   redis' protocol specification, RESP 2.
 */
#ifndef PC_PROTOCOLS_RESP_CLIENT_H
#define PC_PROTOCOLS_RESP_CLIENT_H

#include "protocols/memcached_client.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PC_RESP_HEAD_BYTES_MAX = 16,        /* `*` or `$`, a 32-bit number, line end */
    PC_RESP_LINE_BYTES_MAX = 64 * 1024, /* an error line may be long */
};

/* The head of a command of `count` words: PC_RESP_HEAD_BYTES_MAX bytes. */
size_t pc_resp_ask_begin(char *into, uint32_t count);

/* One word: its bytes and PC_RESP_HEAD_BYTES_MAX + 2. */
size_t pc_resp_ask_word(char *into, struct pc_text word);

/* The head of a word whose bytes and "\r\n" the caller writes: PC_RESP_HEAD_BYTES_MAX bytes. */
size_t pc_resp_ask_word_begin(char *into, uint32_t bytes);

enum pc_resp_answer_kind {
    PC_RESP_ANSWER_SIMPLE,  /* text */
    PC_RESP_ANSWER_ERROR,   /* text */
    PC_RESP_ANSWER_INTEGER, /* number */
    PC_RESP_ANSWER_BULK,    /* text */
    PC_RESP_ANSWER_NIL,
    PC_RESP_ANSWER_ARRAY, /* number: elements to follow */
};

struct pc_resp_answer {
    enum pc_resp_answer_kind kind;
    struct pc_text text;
    int64_t number;
};

/* Recognise the element at `at`; as pc_memcached_answer_parse. */
enum pc_answered pc_resp_answer_parse(const uint8_t *at, size_t count, struct pc_resp_answer *out,
                                      size_t *out_bytes);

#endif
