/* SPDX-License-Identifier: Apache-2.0 */
/* log: where entries get their room, and what becomes of segments when entries die. */
#include "store/parts.h"

#include "base/hooks.h"

enum {
    PC_TTL_STEPS_PER_OCTAVE = 4,
    PC_TTL_OCTAVES = 22, /* 2^22 s are 48 days; longer lives share the last group */
};

/* Four steps an octave, from 0 for one second. */
static unsigned ttl_step(uint32_t ttl)
{
    const unsigned octave = 31 - (unsigned)__builtin_clz(ttl);
    const unsigned fraction = octave >= 2 ? ttl >> (octave - 2) & 3 : 0;
    return octave * PC_TTL_STEPS_PER_OCTAVE + fraction;
}

unsigned pc_log_stream(const struct pc_slice *slice, uint32_t expiry, uint32_t now)
{
    const unsigned bands = slice->group_count - 1;
    if (expiry == 0 || expiry <= now || bands == 0) {
        return 0;
    }
    const unsigned step = ttl_step(expiry - now);
    const unsigned band = step * bands / (PC_TTL_OCTAVES * PC_TTL_STEPS_PER_OCTAVE);
    return (1 + (band < bands ? band : bands - 1)) * PC_QUEUE_COUNT;
}

bool pc_log_has_room(const struct pc_slice *slice, unsigned stream, uint32_t bytes)
{
    const uint32_t open = slice->streams[stream].open;
    if (open == 0) {
        return false;
    }
    const struct pc_segment *segment = &slice->pool->segments[open];
    const uint64_t base = atomic_load_explicit(&segment->cas_base, memory_order_relaxed);
    return segment->used_bytes + bytes <= slice->pool->segment_bytes &&
           slice->cas_counter - base < UINT32_MAX;
}

/* Whether a segment can be opened without evicting anything first. */
static bool segment_at_hand(const struct pc_slice *slice)
{
    return slice->ready_count > PC_READY_SPARE ||
           (pc_pool_has_free(slice->pool) && !pc_balance_leaves(slice));
}

bool pc_slice_has_room(const struct pc_slice *slice, uint32_t bytes, uint32_t expiry, uint32_t now)
{
    const uint32_t whole = pc_word_align(PC_ITEM_HEADER_BYTES + PC_ITEM_OPTION_BYTES_MAX + bytes);
    return segment_at_hand(slice) ||
           pc_log_has_room(slice, pc_log_stream_with_room(slice, expiry, whole, now), whole);
}

unsigned pc_log_stream_with_room(const struct pc_slice *slice, uint32_t expiry, uint32_t bytes,
                                 uint32_t now)
{
    const unsigned own = pc_log_stream(slice, expiry, now);
    if (PC_LIKELY(pc_log_has_room(slice, own, bytes)) || segment_at_hand(slice)) {
        return own;
    }
    const unsigned end = slice->group_count * PC_QUEUE_COUNT;
    for (unsigned far = PC_QUEUE_COUNT; far < end; far += PC_QUEUE_COUNT) {
        if (own + far < end && pc_log_has_room(slice, own + far, bytes)) {
            return own + far;
        }
        if (own >= far && pc_log_has_room(slice, own - far, bytes)) {
            return own - far;
        }
    }
    return own;
}

static struct pc_queue *queue_of(struct pc_slice *slice, const struct pc_segment *segment)
{
    return &slice->queues[segment->stream % PC_QUEUE_COUNT];
}

static void queue_append(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segments = slice->pool->segments;
    struct pc_queue *queue = queue_of(slice, &segments[number]);
    segments[number].next = 0;
    segments[number].prev = queue->newest;
    *(queue->newest != 0 ? &segments[queue->newest].next : &queue->oldest) = number;
    queue->newest = number;
    queue->count++;
    slice->segment_count++;
}

static void queue_remove(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segments = slice->pool->segments;
    const struct pc_segment *segment = &segments[number];
    struct pc_queue *queue = queue_of(slice, segment);
    if (slice->expiry.segment == number) {
        slice->expiry.segment = segment->next;
    }
    if (slice->compaction.cursor.segment == number) {
        slice->compaction.cursor.segment = segment->next;
    }
    *(segment->prev != 0 ? &segments[segment->prev].next : &queue->oldest) = segment->next;
    *(segment->next != 0 ? &segments[segment->next].prev : &queue->newest) = segment->prev;
    queue->count--;
    slice->segment_count--;
}

void pc_log_requeue(struct pc_slice *slice, uint32_t number, enum pc_queue_name name)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    queue_remove(slice, number);
    segment->stream = (uint8_t)(segment->stream / PC_QUEUE_COUNT * PC_QUEUE_COUNT + name);
    /* Each queue is in the order of sequences; nothing in it was flushed. */
    atomic_store_explicit(&segment->sequence, ++slice->sequence, memory_order_release);
    queue_append(slice, number);
}

void pc_log_renew(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    atomic_store_explicit(&segment->sequence, ++slice->sequence, memory_order_release);
    segment->state = PC_SEGMENT_CLOSED;
    queue_remove(slice, number);
    queue_append(slice, number);
}

uint32_t pc_log_next(struct pc_slice *slice, struct pc_cursor *cursor)
{
    uint32_t number = cursor->segment;
    while (number == 0) {
        if (cursor->queue == PC_QUEUE_COUNT) {
            cursor->queue = 0;
            return 0;
        }
        number = slice->queues[cursor->queue++].oldest;
    }
    cursor->segment = slice->pool->segments[number].next;
    return number;
}

void pc_log_close(struct pc_slice *slice, unsigned stream)
{
    const uint32_t number = slice->streams[stream].open;
    if (number == 0) {
        return;
    }
    slice->streams[stream].open = 0;
    slice->pool->segments[number].state = PC_SEGMENT_CLOSED;
    if (slice->pool->segments[number].live_bytes == 0) {
        pc_log_retire(slice, number);
    }
}

static void open_segment(struct pc_slice *slice, unsigned stream, uint32_t number, uint32_t born,
                         uint32_t now)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    /* Half of the 32 bits look back, so that items which move here keep their numbers. */
    const uint64_t back = UINT64_C(1) << 31;
    const uint64_t cas_base = slice->cas_counter > back ? slice->cas_counter - back : 0;
    /* Release: a peek that finds these new has also seen that its slot was unlinked. */
    atomic_store_explicit(&segment->cas_base, cas_base, memory_order_release);
    PC_POINT("segment: opened");
    atomic_store_explicit(&segment->sequence, ++slice->sequence, memory_order_release);
    atomic_store_explicit(&segment->born, born, memory_order_release);
    segment->used_bytes = 0;
    segment->live_bytes = 0;
    segment->live_count = 0;
    segment->expiry_max = 0;
    segment->opened = now;
    segment->state = PC_SEGMENT_OPEN;
    segment->stream = (uint8_t)stream;
    slice->streams[stream].open = number;
    queue_append(slice, number);
}

static uint32_t ready_pop(struct pc_slice *slice)
{
    const uint32_t number = slice->ready;
    if (number != 0) {
        slice->ready =
            atomic_load_explicit(&slice->pool->segments[number].next_free, memory_order_relaxed);
        slice->ready_count--;
    }
    return number;
}

bool pc_log_open_free(struct pc_slice *slice, unsigned stream, uint32_t born, uint32_t now)
{
    uint32_t number = pc_pool_take(slice->pool);
    if (number == 0) {
        number = ready_pop(slice);
    }
    if (number != 0) {
        open_segment(slice, stream, number, born, now);
    }
    return number != 0;
}

enum pc_slice_status pc_log_make_room(struct pc_slice *slice, unsigned stream, uint32_t now,
                                      unsigned *budget)
{
    unsigned endless = UINT32_MAX;
    pc_log_close(slice, stream);
    for (;;) {
        const bool leave = pc_balance_leaves(slice);
        uint32_t number = leave ? 0 : pc_pool_take(slice->pool);
        if (number == 0 && slice->ready_count > PC_READY_SPARE) {
            number = ready_pop(slice);
        }
        if (number == 0) {
            const enum pc_slice_status status =
                pc_evict_one(slice, now, budget != NULL ? budget : &endless);
            if (status == PC_SLICE_NO_MEMORY) {
                number = pc_pool_take(slice->pool);
            }
            if (status != PC_SLICE_OK && number == 0) {
                return status;
            }
        }
        if (number != 0) {
            open_segment(slice, stream, number, now, now);
            return PC_SLICE_OK;
        }
    }
}

uint64_t pc_log_take(struct pc_slice *slice, unsigned stream, uint32_t bytes)
{
    const uint32_t number = slice->streams[stream].open;
    struct pc_segment *segment = &slice->pool->segments[number];
    PC_ASSERT(segment->state == PC_SEGMENT_OPEN);
    PC_ASSERT(segment->used_bytes + bytes <= slice->pool->segment_bytes);
    const uint64_t place = pc_pool_place(slice->pool, number, segment->used_bytes);
    segment->used_bytes += bytes;
    segment->live_bytes += bytes;
    segment->live_count++;
    slice->stats.item_bytes += bytes;
    return place;
}

void pc_log_drop(struct pc_slice *slice, uint64_t place, uint32_t bytes)
{
    const uint32_t number = pc_pool_segment_number(slice->pool, place);
    struct pc_segment *segment = &slice->pool->segments[number];
    PC_ASSERT(segment->live_bytes >= bytes && segment->live_count > 0);
    segment->live_bytes -= bytes;
    segment->live_count--;
    slice->stats.item_bytes -= bytes;
    if (segment->live_bytes == 0 && segment->state == PC_SEGMENT_CLOSED) {
        pc_log_retire(slice, number);
    }
}

/* Where free segments go: one stays ready, the others are for every slice. */
static void give_free(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    segment->state = PC_SEGMENT_FREE;
    const bool needed = slice->segment_count + slice->ready_count < slice->floor_count ||
                        (slice->pool->keeps_all && slice->ready_count < PC_READY_SPARE);
    if (!needed && slice->giving != 0) {
        slice->giving--;
        pc_pool_give(slice->pool, number);
        return;
    }
    if (!needed && (slice->ready_count > PC_READY_SPARE || pc_pool_over(slice->pool))) {
        pc_pool_give(slice->pool, number);
        return;
    }
    atomic_store_explicit(&segment->next_free, slice->ready, memory_order_relaxed);
    slice->ready = number;
    slice->ready_count++;
}

void pc_log_retire(struct pc_slice *slice, uint32_t number)
{
    struct pc_segment *segment = &slice->pool->segments[number];
    PC_ASSERT(segment->live_bytes == 0 && segment->live_count == 0);
    queue_remove(slice, number);
    /* An addition of nothing rather than a load: it stands in one order with the additions of
     * readers. One that comes before it is seen here; one that comes behind it has seen every
     * unlinking before this line, re-reads the version, and lets go. */
    if (atomic_fetch_add(&segment->holds, 0) != 0) {
        segment->state = PC_SEGMENT_LIMBO;
        atomic_store_explicit(&segment->next_free, slice->limbo, memory_order_relaxed);
        slice->limbo = number;
        return;
    }
    give_free(slice, number);
}

void pc_log_reap(struct pc_slice *slice)
{
    uint32_t number = slice->limbo;
    slice->limbo = 0;
    while (number != 0) {
        struct pc_segment *segment = &slice->pool->segments[number];
        const uint32_t next = atomic_load_explicit(&segment->next_free, memory_order_relaxed);
        if (atomic_load(&segment->holds) == 0) {
            give_free(slice, number);
        } else {
            atomic_store_explicit(&segment->next_free, slice->limbo, memory_order_relaxed);
            slice->limbo = number;
        }
        number = next;
    }
}
