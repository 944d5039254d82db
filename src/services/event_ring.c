/* SPDX-License-Identifier: Apache-2.0 */
#include "services/event_ring.h"

#include "base/check.h"

#include <percore/service.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert((PC_EVENT_RING_BYTES & (PC_EVENT_RING_BYTES - 1)) == 0, "positions wrap by a mask");

void pc_event_ring_init(struct pc_event_ring *ring)
{
    *ring = (struct pc_event_ring){0};
    pthread_mutex_init(&ring->lock, NULL);
}

void pc_event_ring_fini(struct pc_event_ring *ring)
{
    free(ring->bytes);
    pthread_mutex_destroy(&ring->lock);
}

int pc_event_ring_open(struct pc_event_ring *ring, const struct pc_runtime *runtime)
{
    pthread_mutex_lock(&ring->lock);
    if (ring->bytes == NULL) {
        ring->bytes = malloc(PC_EVENT_RING_BYTES);
        ring->runtime = runtime;
        ring->tail = ring->read = ring->head;
        ring->gone = ring->total;
    }
    const int outcome = ring->bytes == NULL ? -ENOMEM : 0;
    pthread_mutex_unlock(&ring->lock);
    return outcome;
}

void pc_event_ring_close(struct pc_event_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    free(ring->bytes);
    ring->bytes = NULL;
    pthread_mutex_unlock(&ring->lock);
}

/* ---- Bytes that go round ---- */

static void copy_in(struct pc_event_ring *ring, uint64_t at, const void *from, size_t count)
{
    const size_t begin = at & (PC_EVENT_RING_BYTES - 1);
    const size_t first = pc_min_size(count, PC_EVENT_RING_BYTES - begin);
    memcpy(ring->bytes + begin, from, first);
    memcpy(ring->bytes, (const uint8_t *)from + first, count - first);
}

static void copy_out(const struct pc_event_ring *ring, uint64_t at, void *into, size_t count)
{
    const size_t begin = at & (PC_EVENT_RING_BYTES - 1);
    const size_t first = pc_min_size(count, PC_EVENT_RING_BYTES - begin);
    memcpy(into, ring->bytes + begin, first);
    memcpy((uint8_t *)into + first, ring->bytes, count - first);
}

static void give_up_oldest(struct pc_event_ring *ring)
{
    struct pc_event oldest;
    copy_out(ring, ring->tail, &oldest, sizeof(oldest));
    ring->dropped += ring->tail >= ring->read;
    ring->gone.of[oldest.kind]++;
    ring->tail += sizeof(oldest) + oldest.text_bytes;
}

/* ---- Writing and reading ---- */

void pc_event_ring_write(struct pc_event_ring *ring, const struct pc_event *event, const void *text,
                         _Atomic uint64_t *number)
{
    struct pc_event stored = *event;
    const size_t bytes = sizeof(stored) + stored.text_bytes;
    pthread_mutex_lock(&ring->lock);
    if (ring->bytes != NULL) {
        while (ring->head + bytes - ring->tail > PC_EVENT_RING_BYTES) {
            give_up_oldest(ring);
        }
        /* Relaxed: whoever has read the counter and then has the lock sees what is numbered up to
         * it, since the number is taken under the lock. */
        stored.number = atomic_fetch_add_explicit(number, 1, memory_order_relaxed) + 1;
        stored.realtime_ns = pc_runtime_realtime_ns(ring->runtime);
        copy_in(ring, ring->head, &stored, sizeof(stored));
        copy_in(ring, ring->head + sizeof(stored), text, stored.text_bytes);
        ring->head += bytes;
        ring->total.of[stored.kind]++;
        ring->written++;
    }
    pthread_mutex_unlock(&ring->lock);
}

void pc_event_ring_join(struct pc_event_ring *ring, struct pc_event_cursor *out_cursor)
{
    pthread_mutex_lock(&ring->lock);
    *out_cursor = (struct pc_event_cursor){.at = ring->head, .seen = ring->total};
    pthread_mutex_unlock(&ring->lock);
}

void pc_event_ring_sum(struct pc_event_ring *ring, uint64_t *written, uint64_t *dropped)
{
    pthread_mutex_lock(&ring->lock);
    *written += ring->written;
    *dropped += ring->dropped;
    pthread_mutex_unlock(&ring->lock);
}

void pc_event_ring_reset(struct pc_event_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    ring->written = ring->dropped = 0;
    pthread_mutex_unlock(&ring->lock);
}

/* The cursor's place has been given up: on to the oldest there is. */
static void catch_up(const struct pc_event_ring *ring, struct pc_event_cursor *cursor,
                     uint32_t kinds, uint64_t *missed)
{
    for (unsigned kind = 0; kind < PC_EVENT_KIND_COUNT; kind++) {
        if ((kinds >> kind & 1) != 0) {
            *missed += ring->gone.of[kind] - cursor->seen.of[kind];
        }
    }
    cursor->at = ring->tail;
    cursor->seen = ring->gone;
}

/* Events looked at under the lock at once: others want to write. */
enum { LOOKS_MAX = 32 };

enum look { LOOK_FOUND, LOOK_NONE, LOOK_ON };

static enum look look(const struct pc_event_ring *ring, struct pc_event_cursor *cursor,
                      uint32_t kinds, struct pc_event *out_event, uint8_t *text)
{
    for (unsigned i = 0; cursor->at != ring->head; i++) {
        struct pc_event event;
        if (i == LOOKS_MAX) {
            return LOOK_ON;
        }
        copy_out(ring, cursor->at, &event, sizeof(event));
        const uint64_t text_at = cursor->at + sizeof(event);
        cursor->at = text_at + event.text_bytes;
        cursor->seen.of[event.kind]++;
        if ((kinds >> event.kind & 1) != 0) {
            copy_out(ring, text_at, text, event.text_bytes);
            *out_event = event;
            return LOOK_FOUND;
        }
    }
    return LOOK_NONE;
}

bool pc_event_ring_next(struct pc_event_ring *ring, struct pc_event_cursor *cursor, uint32_t kinds,
                        struct pc_event *out_event, uint8_t *text, uint64_t *missed)
{
    enum look found;
    do {
        pthread_mutex_lock(&ring->lock);
        if (cursor->at < ring->tail) {
            catch_up(ring, cursor, kinds, missed);
        }
        const uint64_t from = cursor->at;
        found = look(ring, cursor, kinds, out_event, text);
        if (cursor->at != from && ring->read < cursor->at) {
            ring->read = cursor->at;
        }
        pthread_mutex_unlock(&ring->lock);
    } while (found == LOOK_ON);
    return found == LOOK_FOUND;
}
