/* SPDX-License-Identifier: Apache-2.0 */
/* slice_twin_store: whole values, given at once or as a body that is reserved, filled and
 * committed. */
#include "slice_twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

uint8_t *twin_value_make(struct twin *twin, uint64_t bytes)
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

uint32_t twin_expiry(struct twin *twin)
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

void twin_stored(struct twin_entry *entry, const struct pc_store *store, const uint8_t *value,
                 uint64_t cas)
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
        TWIN_CHECK(twin->keeps_all || store->value_bytes > 100 || twin_evicted(twin) != 0 ||
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

void twin_play_store(struct twin *twin, unsigned i, const struct pc_key *key)
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

void twin_play_body(struct twin *twin, unsigned i)
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
