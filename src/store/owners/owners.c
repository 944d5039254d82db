/* SPDX-License-Identifier: Apache-2.0 */
#include "store/owners/owners.h"

#include <percore/service.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The hash is on every request's path; inlined, it costs a few nanoseconds for short keys. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static const struct pc_owners_mode modes[] = {
#define PC_OWNERS_MODE(name, any_lane, peeks, lends)                                               \
    {#name, any_lane, peeks, lends, pc_owners_##name##_enter, pc_owners_##name##_leave},
#include "store/owners/modes.def"
#undef PC_OWNERS_MODE
};

const struct pc_owners_mode *pc_owners_mode_find(const char *name)
{
    for (size_t i = 0; i < PC_COUNT_OF(modes); i++) {
        if (strcmp(modes[i].name, name) == 0) {
            return &modes[i];
        }
    }
    return NULL;
}

const char *pc_owners_mode_names(void)
{
    return
#define PC_OWNERS_MODE(name, any_lane, peeks, lends) #name " "
#include "store/owners/modes.def"
#undef PC_OWNERS_MODE
        ;
}

uint64_t pc_owners_hash(const void *key, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(key, bytes, seed);
}

int pc_owners_create(const struct pc_owners_config *config, struct pc_owners **out_owners)
{
    const struct pc_owners_mode *mode =
        config->mode != NULL ? pc_owners_mode_find(config->mode) : &modes[0];
    if (mode == NULL || config->core_count == 0) {
        return -EINVAL;
    }
    struct pc_owners *owners = calloc(1, sizeof(*owners));
    if (owners == NULL) {
        return -ENOMEM;
    }
    const uint32_t segment_bytes = pc_pool_segment_bytes_for(config->limit_bytes);
    owners->mode = mode;
    owners->core_count = config->core_count;
    owners->value_bytes_max = config->value_bytes_max;
    owners->seed = config->seed;
    owners->place_count =
        pc_pool_slice_count_for(config->limit_bytes, segment_bytes, config->core_count);
    struct pc_pool_config pool = {.limit_bytes = config->limit_bytes,
                                  .limit_bytes_max = config->limit_bytes_max,
                                  .segment_bytes = segment_bytes,
                                  .slice_count = owners->place_count,
                                  .keeps_all = config->keeps_all,
                                  .memory = config->memory};
    int error = pc_pool_create(&pool, &owners->pool);
    if (error == -ENOMEM && pool.limit_bytes_max > pool.limit_bytes) {
        pool.limit_bytes_max = 0; /* address space is limited: then the limit cannot be raised */
        error = pc_pool_create(&pool, &owners->pool);
    }
    if (error == 0) {
        owners->slices =
            aligned_alloc(PC_CACHE_LINE, owners->place_count * sizeof(*owners->slices));
        error = owners->slices == NULL ? -ENOMEM : 0;
    }
    if (error != 0) {
        pc_pool_destroy(owners->pool);
        free(owners);
        return error;
    }
    memset(owners->slices, 0, owners->place_count * sizeof(*owners->slices));
    for (unsigned place = 0; place < owners->place_count; place++) {
        pthread_mutex_init(&owners->slices[place].lock, NULL);
    }
    *out_owners = owners;
    return 0;
}

void pc_owners_destroy(struct pc_owners *owners)
{
    if (owners == NULL) {
        return;
    }
    for (unsigned place = 0; place < owners->place_count; place++) {
        pc_owners_close(owners, place);
        pthread_mutex_destroy(&owners->slices[place].lock);
    }
    pc_pool_destroy(owners->pool);
    free(owners->slices);
    free(owners);
}

/* With the slice, so that they lie near whoever takes the notes. */
static int notes_open(struct pc_owners *owners, struct pc_owned_slice *here, uint64_t seed)
{
    if (!owners->mode->peeks || owners->core_count == 1) {
        return 0;
    }
    const size_t bytes = owners->core_count * sizeof(*here->notes);
    here->notes = aligned_alloc(PC_CACHE_LINE, bytes);
    if (here->notes == NULL) {
        return -ENOMEM;
    }
    memset(here->notes, 0, bytes);
    for (unsigned core = 0; core < owners->core_count; core++) {
        struct pc_notes *notes = &here->notes[core];
        pc_random_init(&notes->random, seed + core);
        notes->gap = pc_notes_gap(&notes->random);
    }
    return 0;
}

void pc_owners_note(struct pc_owners *owners, unsigned place, const struct pc_lane *lane,
                    uint64_t hash, bool unmarked)
{
    pc_notes_leave(&owners->slices[place].notes[pc_lane_index(lane)], hash, unmarked);
}

void pc_owners_notes_take(struct pc_owners *owners, unsigned place, uint32_t now)
{
    struct pc_owned_slice *here = &owners->slices[place];
    uint64_t hash;
    for (unsigned core = 0; here->notes != NULL && core < owners->core_count; core++) {
        for (unsigned i = 0; i < PC_NOTES_COUNT && pc_notes_take(&here->notes[core], &hash); i++) {
            pc_slice_note(here->slice, hash, now);
        }
    }
}

int pc_owners_open(struct pc_owners *owners, unsigned place)
{
    struct pc_owned_slice *here = &owners->slices[place];
    const int error = notes_open(owners, here, owners->seed + place);
    if (error != 0) {
        return error;
    }
    return pc_slice_create(&(struct pc_slice_config){.pool = owners->pool,
                                                     .index = place,
                                                     .value_bytes_max = owners->value_bytes_max,
                                                     .hash = pc_owners_hash,
                                                     .hash_seed = owners->seed,
                                                     .random_seed = owners->seed + place + 1},
                           &here->slice);
}

void pc_owners_close(struct pc_owners *owners, unsigned place)
{
    free(owners->slices[place].notes);
    owners->slices[place].notes = NULL;
    if (owners->slices[place].slice != NULL) {
        pc_slice_destroy(owners->slices[place].slice);
        owners->slices[place].slice = NULL;
    }
}
