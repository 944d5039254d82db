/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice_twin: plays operations on a slice and on a naive twin, and compares every answer.
 *
 * The twin is an array with one entry per key: bytes, flags, expiry, CAS number, state. It forgets
 * only what it is told to. The slice may also evict; so a key that only the twin has is an
 * eviction, and there may never be more of those than the slice has counted. Everything else must
 * be equal.
 *
 * The choices come from a caller's function: a seeded generator or the bytes of a fuzzer.
 */
#ifndef PC_TEST_SLICE_TWIN_H
#define PC_TEST_SLICE_TWIN_H

#include "store/pool.h"
#include "store/slice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TWIN_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: twin differs: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { TWIN_KEYS_MAX = 512, TWIN_HOLDS_MAX = 4, TWIN_BODIES_MAX = 3 };

struct twin_entry {
    bool present;
    uint8_t *value;
    uint64_t value_bytes;
    uint32_t flags, expiry;
    uint64_t cas;
    bool stale, claimed, fetched;
};

struct twin_hold {
    struct pc_value view;
    uint8_t *value;
};

struct twin_body {
    struct pc_reservation reservation;
    unsigned key;
    struct pc_store store;
    uint8_t *value;
};

struct twin_memory {
    struct pc_memory memory;
    uint64_t (*draw)(void *ctx, uint64_t bound);
    void *ctx;
    unsigned fail_one_in; /* 0: never */
};

struct twin {
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct twin_memory memory;
    struct twin_entry entries[TWIN_KEYS_MAX];
    struct twin_hold holds[TWIN_HOLDS_MAX];
    struct twin_body bodies[TWIN_BODIES_MAX];
    unsigned key_count;
    uint64_t value_bytes_max;
    uint64_t missing; /* keys the slice has evicted, as seen */
    uint32_t now;
    uint64_t (*draw)(void *ctx, uint64_t bound);
    void *ctx;
    pc_key_hash_fn *hash;
    uint64_t op_count;
};

struct twin_config {
    uint32_t segment_bytes;
    unsigned segment_count;
    unsigned key_count;
    uint64_t value_bytes_max;
    unsigned fail_one_in;
    bool bad_hash; /* few hash values: long chains */
    uint64_t (*draw)(void *ctx, uint64_t bound);
    void *ctx;
};

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

static uint64_t twin_draw(struct twin *twin, uint64_t bound)
{
    return twin->draw(twin->ctx, bound);
}

/* Key number i, of 1 to 250 bytes. */
static struct pc_key twin_key(const struct twin *twin, unsigned i, char text[PC_KEY_BYTES_MAX + 1])
{
    const unsigned bytes = i % 31 == 0 ? 250 : 4 + i * 7 % 40;
    memset(text, 'a' + (int)(i % 26), PC_KEY_BYTES_MAX);
    text[0] = (char)('0' + i % 10);
    text[1] = (char)('0' + i / 10 % 10);
    text[2] = (char)('0' + i / 100);
    return (struct pc_key){.at = text, .bytes = bytes, .hash = twin->hash(text, bytes, 7)};
}

static void twin_create(struct twin *twin, const struct twin_config *config)
{
    memset(twin, 0, sizeof(*twin));
    twin->memory = (struct twin_memory){
        .memory = {twin_map, twin_unmap, twin_release, &twin->memory},
        .draw = config->draw,
        .ctx = config->ctx,
    };
    twin->draw = config->draw;
    twin->ctx = config->ctx;
    twin->key_count = config->key_count;
    twin->value_bytes_max = config->value_bytes_max;
    twin->now = 100;
    twin->hash = config->bad_hash ? twin_bad_hash : twin_hash;
    const struct pc_pool_config pool = {
        .limit_bytes = (uint64_t)config->segment_count * config->segment_bytes,
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

static void twin_forget(struct twin_entry *entry)
{
    free(entry->value);
    memset(entry, 0, sizeof(*entry));
}

static uint64_t twin_evicted(const struct twin *twin)
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

static void twin_same(const struct twin *twin, const struct pc_value *view,
                      const struct twin_entry *entry)
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

/* Look without a trace. What the twin alone has was evicted, what the slice alone has is a bug. */
static bool twin_sync(struct twin *twin, unsigned i)
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

static uint64_t twin_value_size(struct twin *twin)
{
    switch (twin_draw(twin, 16)) {
    case 0:
        return 0;
    case 1:
        return twin_draw(twin, twin->value_bytes_max + 2);
    case 2:
    case 3:
        return twin_draw(twin, 3000);
    default:
        return twin_draw(twin, 120);
    }
}

static uint8_t *twin_value_make(struct twin *twin, uint64_t bytes)
{
    uint8_t *value = malloc(bytes + 1);
    TWIN_CHECK(value != NULL);
    uint64_t word = twin_draw(twin, UINT32_MAX);
    for (uint64_t i = 0; i < bytes; i++) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        value[i] = (uint8_t)(word >> 56);
    }
    return value;
}

static uint32_t twin_expiry(struct twin *twin)
{
    switch (twin_draw(twin, 8)) {
    case 0:
        return twin->now; /* gone at once */
    case 1:
        return twin->now + 1 + (uint32_t)twin_draw(twin, 10);
    case 2:
        return twin->now + 1 + (uint32_t)twin_draw(twin, 200);
    case 3:
        return twin->now + 1 + (uint32_t)twin_draw(twin, 100000);
    default:
        return 0;
    }
}

/* What a store should answer, by the twin. */
static enum pc_slice_status twin_judge(const struct twin *twin, const struct twin_entry *entry,
                                       const struct pc_store *store)
{
    const bool joins = store->mode == PC_STORE_APPEND || store->mode == PC_STORE_PREPEND;
    if (store->value_bytes > twin->value_bytes_max) {
        return PC_SLICE_TOO_LARGE;
    }
    if (!entry->present) {
        if (store->mode == PC_STORE_REPLACE || (joins && !store->create)) {
            return PC_SLICE_NOT_STORED;
        }
        return store->compare && store->mode == PC_STORE_SET ? PC_SLICE_NOT_FOUND : PC_SLICE_OK;
    }
    if (store->mode == PC_STORE_ADD) {
        return PC_SLICE_NOT_STORED;
    }
    if (store->compare && store->cas != entry->cas &&
        !(store->stale_if_older && store->cas < entry->cas)) {
        return PC_SLICE_EXISTS;
    }
    if (joins && entry->value_bytes + store->value_bytes > twin->value_bytes_max) {
        return PC_SLICE_TOO_LARGE;
    }
    return PC_SLICE_OK;
}

static void twin_stored(struct twin_entry *entry, const struct pc_store *store,
                        const uint8_t *value, uint64_t cas)
{
    const bool joins =
        entry->present && (store->mode == PC_STORE_APPEND || store->mode == PC_STORE_PREPEND);
    const bool stale = entry->present && store->compare && store->cas != entry->cas;
    const uint64_t old_bytes = joins ? entry->value_bytes : 0;
    uint8_t *joined = malloc(old_bytes + store->value_bytes + 1);
    TWIN_CHECK(joined != NULL);
    const uint64_t old_at = store->mode == PC_STORE_PREPEND ? store->value_bytes : 0;
    if (old_bytes != 0) {
        memcpy(joined + old_at, entry->value, old_bytes);
    }
    const uint64_t new_at = store->mode == PC_STORE_PREPEND ? 0 : old_bytes;
    memcpy(joined + new_at, value, store->value_bytes);
    const uint32_t flags = joins ? entry->flags : store->flags;
    const uint32_t expiry = joins ? entry->expiry : store->expiry;
    twin_forget(entry);
    *entry = (struct twin_entry){
        .present = true,
        .value = joined,
        .value_bytes = old_bytes + store->value_bytes,
        .flags = flags,
        .expiry = expiry,
        .cas = cas,
        .stale = stale,
        .claimed = store->claimed,
    };
}

/* An append that may create leaves the new part alone if making room evicted the old one. */
static bool twin_created(struct twin *twin, unsigned i, const struct pc_store *store)
{
    const struct twin_entry *entry = &twin->entries[i];
    char text[PC_KEY_BYTES_MAX + 1];
    const struct pc_key key = twin_key(twin, i, text);
    struct pc_value view;
    return store->create && entry->present &&
           (store->mode == PC_STORE_APPEND || store->mode == PC_STORE_PREPEND) &&
           pc_slice_find(twin->slice, &key, twin->now, PC_FIND_QUIET, &view) &&
           view.value_bytes == store->value_bytes &&
           (entry->value_bytes != 0 || view.expiry != entry->expiry || view.flags != entry->flags);
}

/* What a caller does on LATER: step, ask again, give up in the end. */
static bool twin_make_room(struct twin *twin, unsigned tries)
{
    (void)pc_slice_step(twin->slice, twin->now, 1000);
    return tries < 20;
}

/* Compare the answer to a store with the twin's and follow it. */
static void twin_after_store(struct twin *twin, unsigned i, const struct pc_store *store,
                             const uint8_t *value, enum pc_slice_status status, uint64_t cas,
                             uint64_t evicted_before)
{
    struct twin_entry *entry = &twin->entries[i];
    enum pc_slice_status wanted = twin_judge(twin, entry, store);
    const bool refused = status == PC_SLICE_NO_MEMORY || status == PC_SLICE_LATER;
    if (!refused && twin_evicted(twin) != evicted_before && entry->present &&
        (status != wanted || twin_created(twin, i, store))) {
        /* Making room may have evicted the very item: then the answer is that of an absent key. */
        twin->missing++;
        twin_forget(entry);
        wanted = twin_judge(twin, entry, store);
    }
    if (refused) {
        TWIN_CHECK(store->value_bytes > 100 || twin_evicted(twin) != 0 ||
                   twin->bodies[0].reservation.first != 0 || twin->holds[0].view.held);
    } else {
        TWIN_CHECK(status == wanted);
    }
    if (status == PC_SLICE_OK) {
        TWIN_CHECK(cas != 0 && (store->cas_new == 0 || cas == store->cas_new));
        twin_stored(entry, store, value, cas);
    } else if (status == PC_SLICE_TOO_LARGE && store->mode == PC_STORE_SET && !store->compare) {
        twin_forget(entry);
    }
    (void)twin_sync(twin, i);
}

static struct pc_store twin_store_make(struct twin *twin, const struct twin_entry *entry)
{
    struct pc_store store = {
        .mode = twin_draw(twin, 3) == 0 ? (enum pc_store_mode)twin_draw(twin, 5) : PC_STORE_SET,
        .flags = twin_draw(twin, 3) == 0 ? (uint32_t)twin_draw(twin, UINT32_MAX) : 0,
        .expiry = twin_expiry(twin),
        .compare = twin_draw(twin, 6) == 0,
        .create = twin_draw(twin, 4) == 0,
        .claimed = twin_draw(twin, 8) == 0,
        .value_bytes = twin_value_size(twin),
    };
    if (store.compare) {
        store.cas = entry->cas + (twin_draw(twin, 2) == 0 ? 0 : twin_draw(twin, 3) - 1);
        store.stale_if_older = twin_draw(twin, 2) == 0;
    }
    if (twin_draw(twin, 20) == 0) {
        store.cas_new = 1 + twin_draw(twin, 2) * twin_draw(twin, UINT64_MAX - 1);
    }
    return store;
}

static void twin_play_store(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct pc_store store = twin_store_make(twin, &twin->entries[i]);
    uint8_t *value = twin_value_make(twin, store.value_bytes);
    if (twin_draw(twin, 8) == 0 && store.value_bytes < 21) {
        store.value_bytes = (uint64_t)sprintf((char *)(value = realloc(value, 24)), "%llu",
                                              (unsigned long long)twin_draw(twin, UINT64_MAX) >>
                                                  twin_draw(twin, 64));
    }
    store.value = value;
    const uint64_t evicted = twin_evicted(twin);
    uint64_t cas = 0;
    enum pc_slice_status status;
    for (unsigned tries = 0;; tries++) {
        status = pc_slice_store(twin->slice, key, &store, twin->now, &cas);
        if (status != PC_SLICE_LATER || !twin_make_room(twin, tries)) {
            break;
        }
    }
    twin_after_store(twin, i, &store, value, status, cas, evicted);
    free(value);
}

static void twin_body_fill(const struct twin *twin, struct pc_reservation reservation,
                           const uint8_t *value)
{
    uint64_t offset = 0;
    if (reservation.first == 0) {
        return;
    }
    do {
        memcpy(reservation.at, value + offset, reservation.piece_bytes);
        offset += reservation.piece_bytes;
    } while (pc_reservation_next(twin->pool, &reservation));
    TWIN_CHECK(offset == reservation.value_bytes);
}

/* Reserve a body, or end one that was reserved some time ago. */
static void twin_play_body(struct twin *twin, unsigned i)
{
    struct twin_body *body = &twin->bodies[twin_draw(twin, TWIN_BODIES_MAX)];
    char text[PC_KEY_BYTES_MAX + 1];
    if (body->value == NULL) {
        const struct pc_key key = twin_key(twin, i, text);
        body->key = i;
        body->store = twin_store_make(twin, &twin->entries[i]);
        const uint64_t evicted = twin_evicted(twin);
        enum pc_slice_status status;
        for (unsigned tries = 0;; tries++) {
            status =
                pc_slice_reserve(twin->slice, &key, &body->store, twin->now, &body->reservation);
            if (status != PC_SLICE_LATER || !twin_make_room(twin, tries)) {
                break;
            }
        }
        if (status != PC_SLICE_OK) {
            TWIN_CHECK(status == PC_SLICE_TOO_LARGE || status == PC_SLICE_NO_MEMORY ||
                       status == PC_SLICE_LATER);
            TWIN_CHECK((status == PC_SLICE_TOO_LARGE) ==
                       (body->store.value_bytes > twin->value_bytes_max));
            twin_after_store(twin, i, &body->store, NULL, status, 0, evicted);
            return;
        }
        body->value = twin_value_make(twin, body->store.value_bytes);
        twin_body_fill(twin, body->reservation, body->value);
        (void)twin_sync(twin, i);
        return;
    }
    const struct pc_key key = twin_key(twin, body->key, text);
    (void)twin_sync(twin, body->key);
    if (twin_draw(twin, 4) == 0) {
        pc_slice_abort(twin->slice, &body->reservation);
        (void)twin_sync(twin, body->key);
    } else {
        const uint64_t evicted = twin_evicted(twin);
        uint64_t cas = 0;
        enum pc_slice_status status;
        for (unsigned tries = 0;; tries++) {
            status = pc_slice_commit(twin->slice, &key, &body->store, twin->now, &body->reservation,
                                     &cas);
            if (status != PC_SLICE_LATER || !twin_make_room(twin, tries)) {
                break;
            }
        }
        if (status == PC_SLICE_LATER) {
            pc_slice_abort(twin->slice, &body->reservation);
        }
        TWIN_CHECK(body->reservation.first == 0);
        twin_after_store(twin, body->key, &body->store, body->value, status, cas, evicted);
    }
    free(body->value);
    body->value = NULL;
}

static void twin_play_find(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct twin_entry *entry = &twin->entries[i];
    struct pc_value view;
    pc_slice_prefetch(twin->slice, key->hash);
    pc_slice_prefetch_item(twin->slice, key->hash);
    const bool found = pc_slice_find(twin->slice, key, twin->now, PC_FIND_HIT, &view);
    TWIN_CHECK(found == entry->present);
    if (!found) {
        return;
    }
    twin_same(twin, &view, entry);
    entry->fetched = true;
    struct twin_hold *hold = &twin->holds[twin_draw(twin, TWIN_HOLDS_MAX)];
    if (twin_draw(twin, 4) == 0 && !hold->view.held && pc_value_hold(twin->slice, &view)) {
        hold->view = view;
        hold->value = malloc(entry->value_bytes + 1);
        TWIN_CHECK(hold->value != NULL);
        memcpy(hold->value, entry->value, entry->value_bytes);
    }
}

/* However much was stored, deleted and evicted since, held bytes are what they were. */
static void twin_play_release(struct twin *twin, unsigned i)
{
    struct twin_hold *hold = &twin->holds[i % TWIN_HOLDS_MAX];
    if (hold->view.held) {
        twin_same_bytes(twin, &hold->view, hold->value);
        pc_value_release(twin->pool, &hold->view);
        free(hold->value);
        hold->value = NULL;
    }
}

static void twin_play_delete(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct twin_entry *entry = &twin->entries[i];
    struct pc_delete how = {
        .compare = twin_draw(twin, 4) == 0,
        .cas = entry->cas + (twin_draw(twin, 3) == 0),
        .mark_stale = twin_draw(twin, 3) == 0,
        .keep_key = twin_draw(twin, 5) == 0,
        .expiry_set = twin_draw(twin, 2) == 0,
        .expiry = twin_expiry(twin),
        .cas_new = twin_draw(twin, 4) == 0 ? 1 + twin_draw(twin, UINT32_MAX) : 0,
    };
    const enum pc_slice_status status = pc_slice_delete(twin->slice, key, &how, twin->now);
    if (status == PC_SLICE_NO_MEMORY) {
        return;
    }
    if (!entry->present) {
        TWIN_CHECK(status == PC_SLICE_NOT_FOUND);
        return;
    }
    if (how.compare && how.cas != entry->cas) {
        TWIN_CHECK(status == PC_SLICE_EXISTS);
        return;
    }
    if (status == PC_SLICE_NOT_FOUND) {
        return; /* evicted while room was made; the sync that follows counts it */
    }
    TWIN_CHECK(status == PC_SLICE_OK);
    const bool due = how.mark_stale && how.expiry_set && how.expiry != 0 && how.expiry <= twin->now;
    if (due || (!how.mark_stale && !how.keep_key)) {
        twin_forget(entry);
        return;
    }
    if (how.mark_stale) {
        entry->stale = true;
        entry->claimed = false;
        entry->expiry = how.expiry_set ? how.expiry : entry->expiry;
    }
    if (how.keep_key) {
        entry->value_bytes = 0;
        entry->flags = 0;
    }
    struct pc_value view;
    if (pc_slice_find(twin->slice, key, twin->now, PC_FIND_QUIET, &view)) {

        TWIN_CHECK(how.cas_new == 0 || view.cas == how.cas_new);
        entry->cas = view.cas;
    }
}

/* What memcached calls a number: digits, then spaces. */
static bool twin_number(const struct twin_entry *entry, uint64_t *out_number)
{
    char text[32];
    if (entry->value_bytes == 0 || entry->value_bytes > 20 || entry->value[0] < '0' ||
        entry->value[0] > '9') {
        return false;
    }
    memcpy(text, entry->value, entry->value_bytes);
    text[entry->value_bytes] = 0;
    char *end;
    *out_number = strtoull(text, &end, 10);
    if (*out_number == UINT64_MAX && strncmp(text, "18446744073709551615", 20) != 0) {
        return false;
    }
    return strspn(end, " ") == (size_t)(text + entry->value_bytes - end);
}

static void twin_play_count(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct twin_entry *entry = &twin->entries[i];
    const struct pc_count count = {
        .delta = twin_draw(twin, 2) == 0 ? twin_draw(twin, 100) : twin_draw(twin, UINT64_MAX),
        .decrement = twin_draw(twin, 2) == 0,
        .create = twin_draw(twin, 3) == 0,
        .initial = twin_draw(twin, 2000),
        .expiry = twin_expiry(twin),
        .expiry_set = twin_draw(twin, 8) == 0,
        .cas_new = twin_draw(twin, 12) == 0 ? 1 + twin_draw(twin, UINT32_MAX) : 0,
    };
    uint64_t number = 0;
    uint64_t cas = 0;
    const bool was = entry->present;
    const enum pc_slice_status status =
        pc_slice_count(twin->slice, key, &count, twin->now, &number, &cas);
    if (status == PC_SLICE_NO_MEMORY || (status == PC_SLICE_NOT_FOUND && !was)) {
        TWIN_CHECK(status == PC_SLICE_NO_MEMORY || !count.create);
        return;
    }
    uint64_t present = 0;
    char text[24];
    if (!was) {
        TWIN_CHECK(status == PC_SLICE_OK && number == count.initial);
        const struct pc_store store = {
            .expiry = count.expiry,
            .value_bytes = (uint64_t)sprintf(text, "%llu", (unsigned long long)number),
        };
        twin_stored(entry, &store, (const uint8_t *)text, cas);
        return;
    }
    if (!twin_number(entry, &present)) {
        TWIN_CHECK(status == PC_SLICE_NOT_NUMBER || status == PC_SLICE_NOT_FOUND ||
                   number == count.initial);
        if (status == PC_SLICE_OK) {
            twin->missing++;
            twin_forget(entry);
            const struct pc_store store = {
                .expiry = count.expiry,
                .value_bytes = (uint64_t)sprintf(text, "%llu", (unsigned long long)number),
            };
            twin_stored(entry, &store, (const uint8_t *)text, cas);
        }
        return;
    }
    if (status != PC_SLICE_OK) {
        TWIN_CHECK(status == PC_SLICE_NOT_FOUND);
        return;
    }
    const uint64_t result = count.decrement ? (present > count.delta ? present - count.delta : 0)
                                            : present + count.delta;
    if (number != result) { /* evicted in between, then created */
        TWIN_CHECK(count.create && number == count.initial);
        twin->missing++;
        twin_forget(entry);
        const struct pc_store store = {
            .expiry = count.expiry,
            .value_bytes = (uint64_t)sprintf(text, "%llu", (unsigned long long)number),
        };
        twin_stored(entry, &store, (const uint8_t *)text, cas);
        return;
    }
    const unsigned width = entry->value_bytes > 20 ? 20 : (unsigned)entry->value_bytes;
    const int bytes = sprintf(text, "%-*llu", (int)width, (unsigned long long)result);
    entry->value = realloc(entry->value, (size_t)bytes + 1);
    memcpy(entry->value, text, (size_t)bytes);
    entry->value_bytes = (uint64_t)bytes;
    entry->expiry = count.expiry_set ? count.expiry : entry->expiry;
    entry->cas = cas;
}

static void twin_play_touch(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct twin_entry *entry = &twin->entries[i];
    const uint32_t expiry = twin_expiry(twin);
    struct pc_value view;
    const bool gat = twin_draw(twin, 2) == 0;
    const enum pc_slice_status status =
        pc_slice_touch(twin->slice, key, expiry, twin->now, gat ? &view : NULL);
    if (!entry->present || status != PC_SLICE_OK) {
        TWIN_CHECK(status == PC_SLICE_NOT_FOUND); /* if evicted, the sync that follows counts it */
        return;
    }
    entry->expiry = expiry;
    if (gat) {
        twin_same(twin, &view, entry);
        entry->fetched = true;
    }
}

static void twin_play_claim(struct twin *twin, unsigned i, const struct pc_key *key)
{
    struct twin_entry *entry = &twin->entries[i];
    const bool won = pc_slice_claim(twin->slice, key, twin->now);
    TWIN_CHECK(won == (entry->present && !entry->claimed));
    entry->claimed = entry->present;
}

static void twin_play_flush(struct twin *twin)
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
static void twin_audit(struct twin *twin)
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

static void twin_play(struct twin *twin)
{
    const unsigned i = (unsigned)twin_draw(twin, twin->key_count);
    char text[PC_KEY_BYTES_MAX + 1];
    const struct pc_key key = twin_key(twin, i, text);
    twin->op_count++;
    (void)twin_sync(twin, i);
    const uint64_t op = twin_draw(twin, 64);
    if (op < 20) {
        twin_play_store(twin, i, &key);
    } else if (op < 36) {
        twin_play_find(twin, i, &key);
    } else if (op < 40) {
        twin_play_body(twin, i);
    } else if (op < 44) {
        twin_play_delete(twin, i, &key);
    } else if (op < 48) {
        twin_play_count(twin, i, &key);
    } else if (op < 52) {
        twin_play_touch(twin, i, &key);
    } else if (op < 54) {
        twin_play_claim(twin, i, &key);
    } else if (op < 57) {
        twin_play_release(twin, i);
    } else if (op < 62) {
        (void)pc_slice_step(twin->slice, twin->now, 1 + (unsigned)twin_draw(twin, 60));
    } else if (op == 62) {
        const uint64_t far = twin_draw(twin, 16);
        twin->now += 1 + (uint32_t)twin_draw(twin, far == 0 ? 1000 : 3);
    } else if (twin_draw(twin, 200) == 0) {
        twin_play_flush(twin);
    } else if (twin_draw(twin, 20) == 0) {
        twin_audit(twin);
    }
    (void)twin_sync(twin, i);
}

static void twin_destroy(struct twin *twin)
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

#endif
