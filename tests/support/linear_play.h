/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_play: connections that ask a memcached server at random, and the history they make.
 *
 * A play is one history of few keys. Each of its talks is one connection: what it sends is pulled
 * from it and what comes is pushed into it, as with a checker (checker.h), whatever carries the
 * bytes. Requests are pipelined up to a depth. A request is stamped when its first byte is pulled
 * and when its answer is whole; what is quiet is over when a later answer of its connection is.
 *
 *   pull ──▶ [asked, oldest first] ◀── push: the oldest that is not quiet is answered, and with it
 *                                       all quiet ones before it
 *
 * Owner    One thread at a time.
 * Limits   PC_LINEAR_CLIENTS_MAX talks a play, PC_ASK_KEY_COUNT_MAX keys.
 */
#ifndef PC_TESTS_LINEAR_PLAY_H
#define PC_TESTS_LINEAR_PLAY_H

#include "linear.h"

struct pc_play;
struct pc_talk;

struct pc_play_config {
    uint64_t seed;
    const char *prefix; /* of its keys: another one for each play against one server */
    unsigned key_count; /* 0: drawn, 1 to 6 */
    unsigned depth_max; /* requests aloud under way a connection; 0: drawn, 1 to 4 */
    bool vanishes;      /* the server may evict, and is given reason to */
    /* Let the server's clock go on by so many seconds, at once; NULL: it stands still. */
    void (*tick)(void *ctx, uint32_t seconds);
    void *ctx;
};

struct pc_play *pc_play_create(const struct pc_play_config *config);
void pc_play_destroy(struct pc_play *play);

/* Are its keys' histories linear, and were all answers of the right form? All talks are ended.
 * NULL: yes; else what is wrong, and `report` (may be NULL) gets the details. */
const char *pc_play_judge(struct pc_play *play, FILE *report);

struct pc_play_tally {
    uint64_t calls, answered, untold, cut; /* calls of one key: told, quiet, never answered */
    uint64_t beside; /* what others asked or were told while a call was under way, over all calls */
    uint64_t ticks, flushes;
    uint64_t steps, steps_most; /* of the search: in all, and of one key */
    uint64_t vanished;          /* keys that would not be linear if nothing vanished */
};

/* Adds to `tally`. */
void pc_play_tally(const struct pc_play *play, struct pc_play_tally *tally);

/* A new connection that will make `request_count` requests and one that ends it. */
struct pc_talk *pc_talk_begin(struct pc_play *play, uint64_t seed, unsigned request_count);
/* The connection is gone; what was not answered never will be. */
void pc_talk_end(struct pc_talk *talk);

/* Bytes to send; 0: none now, or none any more. */
size_t pc_talk_pull(struct pc_talk *talk, void *out, size_t room);
/* Bytes received; false: not an answer to what was asked. */
bool pc_talk_push(struct pc_talk *talk, const void *bytes, size_t count);
/* There is something to pull. */
bool pc_talk_may_pull(const struct pc_talk *talk);
/* Nothing more to send; and all is answered. */
bool pc_talk_sent(const struct pc_talk *talk);
bool pc_talk_done(const struct pc_talk *talk);
/* What was wrong; NULL: nothing. */
const char *pc_talk_trouble(const struct pc_talk *talk);

#endif
