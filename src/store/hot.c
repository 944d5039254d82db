/* SPDX-License-Identifier: Apache-2.0 */
/* hot: SpaceSaving over samples, counts that fade. */
#include "store/hot.h"

#include "store/slice.h"

#include <math.h>
#include <string.h>

static_assert((int)PC_HOT_KEY_BYTES_MAX == (int)PC_KEY_BYTES_MAX, "keys are kept whole");

/* Two samples less what two half-lives take: one alone says nothing of a key. */
#define CERTAIN_MIN (1.5 * PC_HOT_GAP)

void pc_hot_init(struct pc_hot *hot, uint64_t seed)
{
    memset(hot, 0, sizeof(*hot));
    pc_random_init(&hot->random, seed);
    hot->gap = pc_hot_gap(&hot->random);
}

void pc_hot_forget(struct pc_hot *hot)
{
    hot->second = 0;
    hot->key_count = 0;
    hot->requests = 0;
    hot->seconds = 0;
    memset(hot->counts, 0, sizeof(hot->counts));
}

/* All counts as of `now`; another lane may have been here a second later than this one's turn. */
static void fade(struct pc_hot *hot, uint32_t now)
{
    if (PC_LIKELY(now <= hot->second)) {
        return;
    }
    if (hot->second != 0) {
        const double one = exp2(-1.0 / PC_HOT_HALF_LIFE_S);
        const double all = exp2(-(double)(now - hot->second) / PC_HOT_HALF_LIFE_S);
        hot->requests *= all;
        /* Each second that passed has faded once when it ends, and again with all others. */
        hot->seconds = hot->seconds * all + one * (1 - all) / (1 - one);
        for (unsigned i = 0; i < PC_HOT_KEYS; i++) {
            hot->counts[i] *= all;
            hot->excesses[i] *= all;
        }
    }
    hot->second = now;
}

/* Where the key is; PC_HOT_KEYS: nowhere. */
static unsigned find(const struct pc_hot *hot, const struct pc_key *key)
{
    for (unsigned i = 0; i < hot->key_count; i++) {
        if (hot->hashes[i] == key->hash && hot->key_bytes[i] == key->bytes &&
            memcmp(hot->keys[i], key->at, key->bytes) == 0) {
            return i;
        }
    }
    return PC_HOT_KEYS;
}

static unsigned coldest(const struct pc_hot *hot)
{
    unsigned least = 0;
    for (unsigned i = 1; i < PC_HOT_KEYS; i++) {
        least = hot->counts[i] < hot->counts[least] ? i : least;
    }
    return least;
}

/* A place for the key. One that gives way leaves its count behind: it may all have been ours. */
static unsigned admit(struct pc_hot *hot, const struct pc_key *key)
{
    const unsigned at = hot->key_count < PC_HOT_KEYS ? hot->key_count++ : coldest(hot);
    hot->hashes[at] = key->hash;
    hot->excesses[at] = hot->counts[at];
    hot->key_bytes[at] = (uint8_t)key->bytes;
    memcpy(hot->keys[at], key->at, key->bytes);
    return at;
}

void pc_hot_note(struct pc_hot *hot, const struct pc_key *key, uint32_t requests, uint32_t now)
{
    fade(hot, now);
    unsigned at = find(hot, key);
    if (at == PC_HOT_KEYS) {
        at = admit(hot, key);
    }
    hot->counts[at] += requests;
    hot->requests += requests;
}

void pc_hot_sample(struct pc_hot *hot, const struct pc_key *key, uint32_t now)
{
    pc_hot_note(hot, key, PC_HOT_GAP, now);
    hot->gap = pc_hot_gap(&hot->random);
}

/* Take the key out of the list, adding what the list had of it. */
static void list_take(struct pc_hot_list *list, struct pc_hot_key *key)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct pc_hot_key *same = &list->keys[i];
        if (same->hash == key->hash && same->key_bytes == key->key_bytes &&
            memcmp(same->key, key->key, key->key_bytes) == 0) {
            key->rate += same->rate;
            key->rate_error += same->rate_error;
            list->count--;
            memmove(&list->keys[i], &list->keys[i + 1], (list->count - i) * sizeof(list->keys[i]));
            return;
        }
    }
}

/* Before those that are less hot; the last falls off. */
static void list_insert(struct pc_hot_list *list, const struct pc_hot_key *key)
{
    unsigned at = list->count;
    while (at > 0 && list->keys[at - 1].rate < key->rate) {
        at--;
    }
    if (at == PC_HOT_LIST_MAX) {
        return;
    }
    list->count += list->count < PC_HOT_LIST_MAX;
    memmove(&list->keys[at + 1], &list->keys[at], (list->count - 1 - at) * sizeof(list->keys[at]));
    list->keys[at] = *key;
}

void pc_hot_list_add(struct pc_hot_list *list, struct pc_hot *hot, uint32_t now)
{
    fade(hot, now);
    /* The second that runs is half over, on average. */
    const double seconds = hot->seconds + 0.5;
    list->rate += hot->requests / seconds;
    for (unsigned i = 0; i < hot->key_count; i++) {
        const double excess = hot->excesses[i];
        if (hot->counts[i] - excess < CERTAIN_MIN) {
            continue;
        }
        /* Two standard deviations of a binomial that was thinned to one in PC_HOT_GAP. */
        const double chance = 2 * sqrt(hot->counts[i] * PC_HOT_GAP);
        struct pc_hot_key key = {
            .rate = (hot->counts[i] - excess / 2) / seconds,
            .rate_error = (excess / 2 + chance) / seconds,
            .hash = hot->hashes[i],
            .key_bytes = hot->key_bytes[i],
        };
        memcpy(key.key, hot->keys[i], key.key_bytes);
        list_take(list, &key);
        list_insert(list, &key);
    }
}
