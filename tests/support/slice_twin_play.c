/* SPDX-License-Identifier: Apache-2.0 */
/* slice_twin_play: one random operation after the other; those on what is there already. */
#include "slice_twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The item was not there: it is now, and holds this number. */
static void twin_counted_anew(struct twin_entry *entry, const struct pc_count *count,
                              uint64_t number, uint64_t cas)
{
    char text[24];
    const struct pc_store store = {
        .expiry = count->expiry,
        .value_bytes = (uint64_t)sprintf(text, "%llu", (unsigned long long)number),
    };
    TWIN_CHECK(count->create && number == count->initial);
    twin_forget(entry);
    twin_stored(entry, &store, (const uint8_t *)text, cas);
}

/* The number stays as wide as it was: spaces follow it. */
static void twin_counted(struct twin_entry *entry, const struct pc_count *count, uint64_t number,
                         uint64_t cas)
{
    char text[24];
    const unsigned width = entry->value_bytes > 20 ? 20 : (unsigned)entry->value_bytes;
    const int bytes = sprintf(text, "%-*llu", (int)width, (unsigned long long)number);
    entry->value = realloc(entry->value, (size_t)bytes + 1);
    memcpy(entry->value, text, (size_t)bytes);
    entry->value_bytes = (uint64_t)bytes;
    entry->expiry = count->expiry_set ? count->expiry : entry->expiry;
    entry->cas = cas;
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
    if (!was) {
        TWIN_CHECK(status == PC_SLICE_OK);
        twin_counted_anew(entry, &count, number, cas);
        return;
    }
    uint64_t present = 0;
    const bool is_number = twin_number(entry, &present);
    if (status != PC_SLICE_OK) {
        TWIN_CHECK(status == PC_SLICE_NOT_FOUND || (!is_number && status == PC_SLICE_NOT_NUMBER));
        return;
    }
    const uint64_t result = count.decrement ? (present > count.delta ? present - count.delta : 0)
                                            : present + count.delta;
    if (is_number && number == result) {
        twin_counted(entry, &count, number, cas);
        return;
    }
    twin->missing++; /* evicted while room was made, then created */
    twin_counted_anew(entry, &count, number, cas);
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

void twin_play(struct twin *twin)
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
