/* SPDX-License-Identifier: Apache-2.0 */
/* slice_twin: a slice and its twin side by side: their life, and what has to be equal. */
#include "slice_twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t twin_hash(const void *key, size_t bytes, uint64_t seed)
{
    uint64_t hash = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ ((const uint8_t *)key)[i]) * 0x100000001b3u;
    }
    hash ^= hash >> 32;
    return hash * 0x9e3779b97f4a7c15u;
}

static uint64_t twin_bad_hash(const void *key, size_t bytes, uint64_t seed)
{
    return twin_hash(key, bytes, seed) & 3;
}

static void *twin_map(void *ctx, size_t bytes)
{
    struct twin_memory *memory = ctx;
    if (memory->fail_one_in != 0 && memory->draw(memory->ctx, memory->fail_one_in) == 0) {
        return NULL;
    }
    void *at = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    if (at != NULL) {
        memset(at, 0, bytes);
    }
    return at;
}

static void twin_unmap(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    free(at);
}

static void twin_release(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    memset(at, 0, bytes);
}

uint64_t twin_draw(struct twin *twin, uint64_t bound)
{
    return twin->draw(twin->ctx, bound);
}

struct pc_key twin_key(const struct twin *twin, unsigned i, char text[PC_KEY_BYTES_MAX + 1])
{
    const unsigned bytes = i % 31 == 0 ? 250 : 4 + i * 7 % 40;
    memset(text, 'a' + (int)(i % 26), PC_KEY_BYTES_MAX);
    text[0] = (char)('0' + i % 10);
    text[1] = (char)('0' + i / 10 % 10);
    text[2] = (char)('0' + i / 100);
    return (struct pc_key){.at = text, .bytes = bytes, .hash = twin->hash(text, bytes, 7)};
}

void twin_create(struct twin *twin, const struct twin_config *config)
{
    memset(twin, 0, sizeof(*twin));
    twin->memory = (struct twin_memory){
        .memory = {.map = twin_map,
                   .unmap = twin_unmap,
                   .release = twin_release,
                   .ctx = &twin->memory},
        .draw = config->draw,
        .ctx = config->ctx,
    };
    twin->draw = config->draw;
    twin->ctx = config->ctx;
    twin->key_count = config->key_count;
    twin->value_bytes_max = config->value_bytes_max;
    twin->now = 100;
    twin->keeps_all = config->keeps_all;
    twin->hash = config->bad_hash ? twin_bad_hash : twin_hash;
    const struct pc_pool_config pool = {
        .limit_bytes = (uint64_t)config->segment_count * config->segment_bytes,
        .keeps_all = config->keeps_all,
        .segment_bytes = config->segment_bytes,
        .slice_count = 1,
        .memory = &twin->memory.memory,
    };
    TWIN_CHECK(pc_pool_create(&pool, &twin->pool) == 0);
    const struct pc_slice_config slice = {
        .pool = twin->pool,
        .value_bytes_max = config->value_bytes_max,
        .hash = twin->hash,
        .hash_seed = 7,
    };
    TWIN_CHECK(pc_slice_create(&slice, &twin->slice) == 0);
    twin->memory.fail_one_in = config->fail_one_in;
}

static bool twin_dead(const struct twin *twin, const struct twin_entry *entry)
{
    return !entry->present || (entry->expiry != 0 && entry->expiry <= twin->now);
}

void twin_forget(struct twin_entry *entry)
{
    free(entry->value);
    memset(entry, 0, sizeof(*entry));
}

uint64_t twin_evicted(const struct twin *twin)
{
    struct pc_slice_stats stats;
    pc_slice_stats(twin->slice, twin->now, &stats);
    return stats.evicted;
}

/* The view's bytes, piece by piece, are exactly these. */
static void twin_same_bytes(const struct twin *twin, const struct pc_value *value,
                            const uint8_t *bytes)
{
    struct pc_value view = *value;
    uint64_t offset = 0;
    do {
        TWIN_CHECK(offset + view.piece_bytes <= view.value_bytes);
        TWIN_CHECK(memcmp(view.at, bytes + offset, view.piece_bytes) == 0);
        offset += view.piece_bytes;
    } while (pc_value_next(twin->pool, &view));
    TWIN_CHECK(offset == view.value_bytes);
}

void twin_same(const struct twin *twin, const struct pc_value *view, const struct twin_entry *entry)
{
    TWIN_CHECK(view->value_bytes == entry->value_bytes);
    TWIN_CHECK(view->flags == entry->flags);
    TWIN_CHECK(view->expiry == entry->expiry);
    TWIN_CHECK(view->cas == entry->cas);
    TWIN_CHECK(view->stale == entry->stale);
    TWIN_CHECK(view->claimed == entry->claimed);
    TWIN_CHECK(view->fetched == entry->fetched);
    TWIN_CHECK(view->accessed <= twin->now);
    twin_same_bytes(twin, view, entry->value);
}

bool twin_sync(struct twin *twin, unsigned i)
{
    char text[PC_KEY_BYTES_MAX + 1];
    const struct pc_key key = twin_key(twin, i, text);
    struct twin_entry *entry = &twin->entries[i];
    if (twin_dead(twin, entry)) {
        twin_forget(entry);
    }
    struct pc_value view;
    if (!pc_slice_find(twin->slice, &key, twin->now, PC_FIND_QUIET, &view)) {
        if (entry->present) {
            twin->missing++;
            twin_forget(entry);
            TWIN_CHECK(twin->missing <= twin_evicted(twin));
        }
        return false;
    }
    TWIN_CHECK(entry->present);
    twin_same(twin, &view, entry);
    return true;
}

void twin_play_release(struct twin *twin, unsigned i)
{
    struct twin_hold *hold = &twin->holds[i % TWIN_HOLDS_MAX];
    if (hold->view.held) {
        twin_same_bytes(twin, &hold->view, hold->value);
        pc_value_release(twin->pool, &hold->view);
        free(hold->value);
        hold->value = NULL;
    }
}

void twin_play_flush(struct twin *twin)
{
    pc_slice_flush(twin->slice, twin->now);
    for (unsigned i = 0; i < twin->key_count; i++) {
        twin_forget(&twin->entries[i]);
    }
}

struct twin_walk {
    struct twin *twin;
    uint64_t count;
    uint64_t room; /* visits until the next is refused */
};

static bool twin_visit(void *ctx, const struct pc_key *key, const struct pc_value *value)
{
    struct twin_walk *walk = ctx;
    if (walk->room-- == 0) {
        return false;
    }
    const char *text = key->at;
    const unsigned i = (unsigned)(text[0] - '0') + 10u * (unsigned)(text[1] - '0') +
                       100u * (unsigned)(text[2] - '0');
    TWIN_CHECK(i < walk->twin->key_count);
    TWIN_CHECK(walk->twin->entries[i].present);
    twin_same(walk->twin, value, &walk->twin->entries[i]);
    walk->count++;
    return true;
}

/* Every key is compared, and the slice has no other. */
void twin_audit(struct twin *twin)
{
    uint64_t present = 0;
    for (unsigned i = 0; i < twin->key_count; i++) {
        present += twin_sync(twin, i);
    }
    struct twin_walk walk = {.twin = twin};
    uint64_t cursor = 0;
    do {
        walk.room = 1 + twin_draw(twin, 40);
        pc_slice_walk(twin->slice, twin->now, &cursor, 1 + (unsigned)twin_draw(twin, 100),
                      twin_visit, &walk);
    } while (cursor != 0);
    TWIN_CHECK(walk.count == present);
    do {
        pc_slice_sweep(twin->slice, twin->now, &cursor, 1 + (unsigned)twin_draw(twin, 100));
    } while (cursor != 0);
    struct pc_slice_stats stats;
    pc_slice_stats(twin->slice, twin->now, &stats);
    /* What has expired is gone; what was flushed may wait for its turn. */
    TWIN_CHECK(stats.item_count >= present);
}

void twin_destroy(struct twin *twin)
{
    for (unsigned i = 0; i < TWIN_HOLDS_MAX; i++) {
        twin_play_release(twin, i);
    }
    for (unsigned i = 0; i < TWIN_BODIES_MAX; i++) {
        if (twin->bodies[i].value != NULL) {
            pc_slice_abort(twin->slice, &twin->bodies[i].reservation);
            free(twin->bodies[i].value);
        }
    }
    twin_audit(twin);
    /* With everything flushed and stepped away no segment and no item is left. */
    twin_play_flush(twin);
    while (pc_slice_step(twin->slice, twin->now, 1000)) {}
    struct pc_slice_stats stats;
    pc_slice_stats(twin->slice, twin->now, &stats);
    TWIN_CHECK(stats.item_count == 0 && stats.item_bytes == 0);
    pc_slice_destroy(twin->slice);
    struct pc_pool_stats pool;
    pc_pool_stats(twin->pool, &pool);
    TWIN_CHECK(pool.segment_count == 0 && pool.held_count == 0);
    pc_pool_destroy(twin->pool);
    for (unsigned i = 0; i < twin->key_count; i++) {
        twin_forget(&twin->entries[i]);
    }
}
