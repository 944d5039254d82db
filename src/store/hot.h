/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot: which keys are asked for most, lately.
 *
 * One request in PC_HOT_GAP is looked at, drawn at random, and stands for that many; SpaceSaving
 * keeps PC_HOT_KEYS keys with a count each. What was counted fades by half every
 * PC_HOT_HALF_LIFE_S seconds, all of it at the same pace, so that the guarantees hold for faded
 * counts as they do for plain ones:
 *
 *     true count <= count      count - excess <= true count      sum of counts = all requests
 *
 * and a key with more than 1 / PC_HOT_KEYS of the requests is among those kept.
 *
 * Owner    The slice's core; or a core that reads from slices of others, for those reads. There
 *          `gap` and `random` are its own, and a lock is held for all else.
 * Memory   18 KiB; nothing else.
 * Limits   PC_HOT_KEYS keys, whole, to PC_KEY_BYTES_MAX bytes.
 * Units    Requests, as far as they have not faded; rates are requests a second.
 * Cost     A request counts down; docs/results/hot.md has what that and a sample take.
 * Source   Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in
 *          Data Streams (ICDT 2005); docs/decisions/0110.
 */
#ifndef PC_STORE_HOT_H
#define PC_STORE_HOT_H

#include "base/check.h"
#include "base/random.h"

#include <stdalign.h>
#include <stdint.h>

struct pc_key;

enum {
    PC_HOT_KEYS = 64,        /* a 64th of a slice's requests is sure to be seen */
    PC_HOT_GAP = 128,        /* requests a sample stands for, and is drawn from in the mean */
    PC_HOT_HALF_LIFE_S = 10, /* a window of 14 s: what is hot now, not what was */
    PC_HOT_LIST_MAX = 48,    /* keys gathered: more than are shown, as some add up */
    PC_HOT_KEY_BYTES_MAX = 250,
};

struct pc_hot {
    uint32_t gap;    /* requests until the next sample */
    uint32_t second; /* everything has faded as of this one; 0: nothing was ever counted */
    uint32_t key_count;
    struct pc_random random;
    double requests; /* all of them, faded */
    double seconds;  /* in which they came, faded likewise; whole ones */
    alignas(PC_CACHE_LINE) uint64_t hashes[PC_HOT_KEYS];
    double counts[PC_HOT_KEYS];
    double excesses[PC_HOT_KEYS]; /* at most so much of the count is another key's */
    uint8_t key_bytes[PC_HOT_KEYS];
    uint8_t keys[PC_HOT_KEYS][PC_HOT_KEY_BYTES_MAX];
};

/* A key of a list; its true rate is within `rate_error` of `rate`, 19 times in 20. */
struct pc_hot_key {
    double rate;
    double rate_error;
    uint64_t hash;
    uint32_t key_bytes;
    uint8_t key[PC_HOT_KEY_BYTES_MAX];
};

/* The hottest keys of one sampler or of several, hottest first. */
struct pc_hot_list {
    double rate; /* of all requests */
    unsigned count;
    struct pc_hot_key keys[PC_HOT_LIST_MAX];
};

/* Core: boot. */
void pc_hot_init(struct pc_hot *hot, uint64_t seed);

/* As if nothing had been counted.  Core: owner. */
void pc_hot_forget(struct pc_hot *hot);

/* Count `requests` for this key: a sample stands for as many as it was drawn from.  Core: owner. */
void pc_hot_note(struct pc_hot *hot, const struct pc_key *key, uint32_t requests, uint32_t now);

/* Look at this request and draw when to look again.  Core: owner. */
void pc_hot_sample(struct pc_hot *hot, const struct pc_key *key, uint32_t now);

/* A request for this key.  Core: owner. */
static inline void pc_hot_count(struct pc_hot *hot, const struct pc_key *key, uint32_t now)
{
    if (PC_UNLIKELY(--hot->gap == 0)) {
        pc_hot_sample(hot, key, now);
    }
}

/* The number of requests until the next sample: 1 to twice PC_HOT_GAP less 1, all alike. */
static inline uint32_t pc_hot_gap(struct pc_random *random)
{
    return 1 + (uint32_t)pc_random_below(random, 2 * PC_HOT_GAP - 1);
}

/* Add these keys to a list, which starts zeroed; what several samplers have of one key adds up.
 * Keys of which too little is certain are left out.  Core: owner. */
void pc_hot_list_add(struct pc_hot_list *list, struct pc_hot *hot, uint32_t now);

#endif
