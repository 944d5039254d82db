/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_ring: what has happened lately, for readers who come at their own pace.
 *
 * Whoever sees something happen writes it down; when the ring is full the oldest goes. A reader
 * that comes too late is told how many it has missed of the kinds it reads.
 *
 * Owner    Nobody: a lock is held while one event is copied, by whoever writes or reads.
 * Memory   PC_EVENT_RING_BYTES while it is open. What is written to a closed one is lost.
 * Limits   Some 2 900 events of keys of 40 bytes.
 * Order    Numbers rise within a ring, and are unique among rings that count with the same counter.
 * Cost     A lock, a clock, a shared counter and some hundred bytes: only while somebody watches.
 */
#ifndef PC_SERVICES_EVENT_RING_H
#define PC_SERVICES_EVENT_RING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_runtime;

enum { PC_EVENT_RING_BYTES = 256 << 10, PC_EVENT_TEXT_BYTES_MAX = 255 };

/* What a watcher asks for by name. */
enum pc_event_kind {
    PC_EVENT_FETCHERS,
    PC_EVENT_MUTATIONS,
    PC_EVENT_EVICTIONS,
    PC_EVENT_CONNEVENTS,
    PC_EVENT_DELETIONS,
    PC_EVENT_KIND_COUNT,
};

/* One line to be. What the numbers mean is its writer's and its printer's. */
struct pc_event {
    uint64_t number;      /* set by the ring, from 1 */
    uint64_t realtime_ns; /* set by the ring */
    uint64_t value_bytes;
    int64_t ttl_seconds;
    uint32_t idle_seconds;
    int32_t fd;
    uint16_t port;
    uint8_t kind;     /* enum pc_event_kind */
    uint8_t status;   /* how it ended */
    uint8_t command;  /* what asked for it */
    uint8_t class_id; /* as in `stats slabs`; 0: none */
    uint8_t text_bytes;
    bool flag;
};

struct pc_event_counts {
    uint64_t of[PC_EVENT_KIND_COUNT];
};

struct pc_event_ring {
    pthread_mutex_t lock; /* guards all below */
    uint8_t *bytes;       /* NULL: closed */
    const struct pc_runtime *runtime;
    uint64_t tail, head;         /* bytes ever given up, and ever written */
    uint64_t read;               /* how far any reader has come */
    struct pc_event_counts gone; /* given up, since the ring was made */
    struct pc_event_counts total;
    uint64_t written, dropped; /* since the last reset; dropped: given up before any reader came */
};

/* A reader's place in one ring. */
struct pc_event_cursor {
    uint64_t at;
    struct pc_event_counts seen; /* before `at` */
};

/* Memory for the ring's struct is the caller's.  Core: boot. */
void pc_event_ring_init(struct pc_event_ring *ring);
void pc_event_ring_fini(struct pc_event_ring *ring);

/* -ENOMEM; harmless if it is open.  Core: any. */
int pc_event_ring_open(struct pc_event_ring *ring, const struct pc_runtime *runtime);

/* Its memory goes. No reader has a cursor into it.  Core: any. */
void pc_event_ring_close(struct pc_event_ring *ring);

/* Write `event`, numbered by `*number` + 1 and dated, with its text.  Core: any. */
void pc_event_ring_write(struct pc_event_ring *ring, const struct pc_event *event, const void *text,
                         _Atomic uint64_t *number);

/* Begin behind all that is written.  Core: any. */
void pc_event_ring_join(struct pc_event_ring *ring, struct pc_event_cursor *out_cursor);

/* Add what was written, and what of it was given up before any reader had come so far.  Core: any.
 */
void pc_event_ring_sum(struct pc_event_ring *ring, uint64_t *written, uint64_t *dropped);

/* Begin these two at zero.  Core: any. */
void pc_event_ring_reset(struct pc_event_ring *ring);

/* The next event whose kind is a bit of `kinds`, and its text of PC_EVENT_TEXT_BYTES_MAX at most.
 * False: there is none. *missed grows by those of these kinds that went unread.  Core: any. */
bool pc_event_ring_next(struct pc_event_ring *ring, struct pc_event_cursor *cursor, uint32_t kinds,
                        struct pc_event *out_event, uint8_t *text, uint64_t *missed);

#endif
