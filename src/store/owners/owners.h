/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owners: many slices that look like one store, and the rule of who may touch which.
 *
 * A slice is a place of the runtime: a call posted to place p runs where slice p may be used. What
 * differs between the ownership modes is who may use it without a call, and that is one question:
 * pc_owners_enter. Where it says no, a mode may let a core read without entering: pc_owners_peeks.
 * Each mode is a file and a row of modes.def.
 *
 * Owner    The table is written at boot only; a slice belongs to whoever entered it.
 * Memory   One pool for all slices; each is opened by the lane that its core runs on (first touch).
 * Limits   PC_SLICE_COUNT_MAX slices.
 * Order    Between enter and leave nobody else is in the slice. Waits only in `shared`, for a
 * mutex.
 */
#ifndef PC_STORE_OWNERS_H
#define PC_STORE_OWNERS_H

#include "base/check.h"
#include "store/owners/notes.h"
#include "store/slice.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>

struct pc_lane;
struct pc_owners;

struct pc_owners_mode {
    const char *name;
    /* Any lane may enter any slice, so that lanes need not be cores. */
    bool any_lane;
    /* Any core may read any slice without entering it. */
    bool peeks;
    /* Slices may be borrowed while their core is elsewhere (pc_place_borrow), unless told
     * otherwise. */
    bool lends;
    /* True: the slice is this lane's until it leaves. False: post a call to the place. */
    bool (*enter)(struct pc_owners *owners, unsigned place, const struct pc_lane *lane);
    void (*leave)(struct pc_owners *owners, unsigned place);
};

/* One line of its own for each slice: in `shared` every lane writes the mutex. */
struct pc_owned_slice {
    alignas(PC_CACHE_LINE) struct pc_slice *slice; /* written at boot */
    struct pc_notes *notes;                        /* likewise: one of each core; NULL: no peeks */
    pthread_mutex_t lock;                          /* `shared` only */
};

static_assert(sizeof(struct pc_owned_slice) == PC_CACHE_LINE, "a slice's lock shares no line");

struct pc_owners {
    const struct pc_owners_mode *mode;
    struct pc_pool *pool;
    struct pc_owned_slice *slices;
    unsigned place_count, core_count;
    uint64_t value_bytes_max, seed;
};

struct pc_owners_config {
    const char *mode;         /* a row of modes.def; NULL: the first */
    unsigned core_count;      /* cores the slices are spread over, at least 1 */
    uint64_t limit_bytes;     /* for items and their index, as with -m */
    uint64_t limit_bytes_max; /* addresses reserved, if they can be had, to raise the limit later */
    uint64_t value_bytes_max; /* 0: 1 MiB */
    uint64_t seed;
    bool keeps_all;                 /* full memory refuses instead of evicting */
    const struct pc_memory *memory; /* NULL: mmap; kept until destroy */
};

/* The mode of that name; NULL: none.  Core: any. */
const struct pc_owners_mode *pc_owners_mode_find(const char *name);

/* All names, each followed by a space, for a line that people read.  Core: any. */
const char *pc_owners_mode_names(void);

/* -EINVAL: unknown mode or impossible sizes; -ENOMEM.  Core: boot. */
int pc_owners_create(const struct pc_owners_config *config, struct pc_owners **out_owners);

/* NULL is allowed.  Core: boot. */
void pc_owners_destroy(struct pc_owners *owners);

/* Create and give back the slice of a place.  Core: boot, on the place's lane. */
int pc_owners_open(struct pc_owners *owners, unsigned place);
void pc_owners_close(struct pc_owners *owners, unsigned place);

/* The hash that all slices use.  Core: any. */
uint64_t pc_owners_hash(const void *key, size_t bytes, uint64_t seed);

/* The place whose slice a hash belongs to.  Core: any. */
static inline unsigned pc_owners_place(const struct pc_owners *owners, uint64_t hash)
{
    return pc_slice_of(hash, owners->place_count);
}

/* May this lane use the slice now? Every true is paired with a leave on the same lane. Core: any.
 */
static inline bool pc_owners_enter(struct pc_owners *owners, unsigned place,
                                   const struct pc_lane *lane)
{
    return owners->mode->enter(owners, place, lane);
}

static inline void pc_owners_leave(struct pc_owners *owners, unsigned place)
{
    owners->mode->leave(owners, place);
}

/* The slice of a place that was entered. */
static inline struct pc_slice *pc_owners_slice(const struct pc_owners *owners, unsigned place)
{
    return owners->slices[place].slice;
}

/* Whether a core may read slices that it may not enter, with pc_slice_peek_look and copy. */
static inline bool pc_owners_peeks(const struct pc_owners *owners)
{
    return owners->mode->peeks;
}

/* Tell whoever is next in the slice that this core has read there, if that is worth a note.
 * Core: any that peeked. */
void pc_owners_note(struct pc_owners *owners, unsigned place, const struct pc_lane *lane,
                    uint64_t hash, bool unmarked);

/* Act on what others have noted.  In the slice, with time for upkeep. */
void pc_owners_notes_take(struct pc_owners *owners, unsigned place, uint32_t now);

/* The modes; each is described in its file. */
#define PC_OWNERS_MODE(name, any_lane, peeks, lends)                                               \
    bool pc_owners_##name##_enter(struct pc_owners *, unsigned, const struct pc_lane *);           \
    void pc_owners_##name##_leave(struct pc_owners *, unsigned);
#include "store/owners/modes.def"
#undef PC_OWNERS_MODE

#endif
