/* SPDX-License-Identifier: Apache-2.0 */
/* cache_hot: stats hotkeys, the keys most asked for in all slices. */
#include "services/cache_parts.h"

#include "protocols/percent.h"
#include "store/hot.h"

#include <stdio.h>
#include <string.h>

enum { KEY_TEXT_BYTES_MAX = 3 * PC_KEY_BYTES_MAX + 1, LINE_BYTES_MAX = KEY_TEXT_BYTES_MAX + 64 };

enum { KEYS_TOLD_MAX = 16 };

static_assert(sizeof(struct pc_hot_list) <= PC_RESERVE_BYTES_MAX, "a request may have that much");

static void run_list(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    pc_slice_hot_list(pc_owners_slice(pc_cache_of(op)->owners, place), pc_lane_second(there),
                      op->extra);
}

void pc_cache_hot_sample(struct pc_cache_reads *reads, const struct pc_key *key, uint32_t now)
{
    if (pthread_mutex_trylock(&reads->hot_lock) != 0) {
        reads->hot.gap = pc_hot_gap(&reads->hot.random);
        return;
    }
    pc_hot_sample(&reads->hot, key, now);
    pthread_mutex_unlock(&reads->hot_lock);
}

void pc_cache_hot_forget(struct pc_cache *cache)
{
    for (unsigned i = 0; i < cache->owners->core_count; i++) {
        struct pc_cache_reads *reads = &cache->reads[i];
        pthread_mutex_lock(&reads->hot_lock);
        pc_hot_forget(&reads->hot);
        pthread_mutex_unlock(&reads->hot_lock);
    }
}

static void add_reads(struct pc_cache *cache, struct pc_hot_list *list, uint32_t now)
{
    for (unsigned i = 0; i < cache->owners->core_count; i++) {
        struct pc_cache_reads *reads = &cache->reads[i];
        pthread_mutex_lock(&reads->hot_lock);
        pc_hot_list_add(list, &reads->hot, now);
        pthread_mutex_unlock(&reads->hot_lock);
    }
}

bool pc_cache_hot_begin(struct pc_cache_op *op)
{
    op->extra = pc_request_extra(op->request, sizeof(struct pc_hot_list));
    if (op->extra != NULL) {
        memset(op->extra, 0, sizeof(struct pc_hot_list));
    }
    return op->extra != NULL;
}

static void say(struct pc_cache_op *op, const char *name, const char *value)
{
    char line[LINE_BYTES_MAX];
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        pc_cache_binary_say_stat(op, name, value);
        return;
    }
    const int bytes = snprintf(line, sizeof(line), "STAT %s %s\r\n", name, value);
    (void)pc_reply_copy(op->request, line, (size_t)bytes); /* over the cap: END is refused too */
}

static void say_of(struct pc_cache_op *op, unsigned rank, const char *what, const char *value)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "%u:%s", rank, what);
    say(op, name, value);
}

static void say_key(struct pc_cache_op *op, unsigned rank, const struct pc_hot_key *key,
                    double rate_all)
{
    const struct pc_owners *owners = pc_cache_of(op)->owners;
    char text[KEY_TEXT_BYTES_MAX];
    text[pc_percent_write(text, key->key, key->key_bytes)] = '\0';
    say_of(op, rank, "key", text);
    (void)snprintf(text, sizeof(text), "%.1f", key->rate);
    say_of(op, rank, "rate", text);
    (void)snprintf(text, sizeof(text), "%.1f", key->rate_error);
    say_of(op, rank, "rate_error", text);
    (void)snprintf(text, sizeof(text), "%.4f", rate_all > 0 ? key->rate / rate_all : 0);
    say_of(op, rank, "share", text);
    const unsigned place = pc_owners_place(owners, key->hash);
    (void)snprintf(text, sizeof(text), "%u", place);
    say_of(op, rank, "slice", text);
    if (!owners->mode->any_lane) {
        (void)snprintf(text, sizeof(text), "%u", place % owners->core_count);
        say_of(op, rank, "core", text);
    }
}

enum pc_serve pc_cache_serve_hot(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (!pc_cache_ask_all(op, run_list, lane)) {
        return PC_AGAIN;
    }
    struct pc_hot_list *list = op->extra;
    char text[32];
    add_reads(pc_cache_of(op), list, pc_lane_second(lane));
    (void)snprintf(text, sizeof(text), "%.1f", list->rate);
    say(op, "rate", text);
    for (unsigned i = 0; i < list->count && i < KEYS_TOLD_MAX; i++) {
        say_key(op, i + 1, &list->keys[i], list->rate);
    }
    return pc_cache_say(op, PC_MEMCACHED_SAY_END);
}
