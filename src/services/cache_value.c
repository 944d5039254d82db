/* SPDX-License-Identifier: Apache-2.0 */
/* cache_value: values on their way out, printed into a reply or held and sent where they lie. */
#include "services/cache_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Two seconds for peers to read what is held, then it is said that memory is short. */
enum { HOLD_ROUNDS_MAX = 2000, HOLD_PAUSE_NS = 1000000 };

/* The pieces of a value behind the first. */
static __attribute__((noinline)) uint8_t *print_rest(const struct pc_cache *cache, uint8_t *at,
                                                     struct pc_value *value)
{
    while (value->left_bytes > 0 && pc_value_next(cache->owners->pool, value)) {
        memcpy(at, value->at, value->piece_bytes);
        at += value->piece_bytes;
    }
    return at;
}

inline size_t pc_cache_value_print(const struct pc_cache *cache, uint8_t *into, const void *key,
                                   uint32_t key_bytes, struct pc_value *value, bool with_cas)
{
    uint8_t *at = into;
    at += pc_memcached_value_line((char *)at, key, key_bytes, value->flags,
                                  (uint32_t)value->value_bytes, with_cas ? &value->cas : NULL);
    memcpy(at, value->at, value->piece_bytes);
    at += value->piece_bytes;
    if (PC_UNLIKELY(value->left_bytes > 0)) {
        at = print_rest(cache, at, value);
    }
    memcpy(at, "\r\n", 2);
    return (size_t)(at + 2 - into);
}

static void hold_give_back(struct pc_cache_hold *hold)
{
    struct pc_cache_place *place = hold->place;
    const uint64_t copied_bytes = hold->copy != NULL ? hold->value.value_bytes : 0;
    if (hold->copy != NULL) {
        free(hold->copy);
    } else {
        pc_value_release(place->pool, &hold->value);
    }
    pthread_mutex_lock(&place->holds_lock);
    place->copies_bytes -= copied_bytes;
    hold->next = place->holds_free;
    place->holds_free = hold;
    pthread_mutex_unlock(&place->holds_lock);
}

/* A hold to fill; NULL: no memory. */
static struct pc_cache_hold *hold_borrow(struct pc_cache_place *place)
{
    pthread_mutex_lock(&place->holds_lock);
    struct pc_cache_hold *hold = place->holds_free;
    if (hold != NULL) {
        place->holds_free = hold->next;
    }
    pthread_mutex_unlock(&place->holds_lock);
    return hold != NULL ? hold : malloc(sizeof(*hold));
}

static bool copies_have_room(struct pc_cache_place *place, uint64_t bytes)
{
    pthread_mutex_lock(&place->holds_lock);
    const bool room = bytes <= PC_CACHE_COPY_BYTES_MAX &&
                      place->copies_bytes + bytes <= PC_CACHE_COPIES_BYTES_MAX;
    place->copies_bytes += room ? bytes : 0;
    pthread_mutex_unlock(&place->holds_lock);
    return room;
}

/* The store holds no more: take a copy instead, within bounds. */
static bool hold_copy(struct pc_cache_hold *hold)
{
    struct pc_value *value = &hold->value;
    struct pc_cache_place *place = hold->place;
    if (!copies_have_room(place, value->value_bytes)) {
        return false;
    }
    uint8_t *copy = malloc((size_t)value->value_bytes);
    if (copy == NULL) {
        pthread_mutex_lock(&place->holds_lock);
        place->copies_bytes -= value->value_bytes;
        pthread_mutex_unlock(&place->holds_lock);
        return false;
    }
    size_t at = 0;
    do {
        memcpy(copy + at, value->at, value->piece_bytes);
        at += value->piece_bytes;
    } while (value->left_bytes > 0 && pc_value_next(place->pool, value));
    hold->copy = copy;
    value->at = copy;
    value->piece_bytes = (uint32_t)value->value_bytes;
    value->left_bytes = 0;
    return true;
}

/* The uses of one hold are ended on the lane its connection runs on, one after the other. */
static void hold_release(struct pc_hold *runtime_hold, struct pc_lane *lane)
{
    struct pc_cache_hold *hold = PC_CONTAINER_OF(runtime_hold, struct pc_cache_hold, hold);
    (void)lane;
    if (--hold->uses == 0) {
        hold_give_back(hold);
    }
}

struct pc_cache_hold *pc_cache_hold_take(struct pc_cache *cache, unsigned place_index,
                                         const struct pc_value *value)
{
    struct pc_cache_place *place = &cache->places[place_index];
    struct pc_cache_hold *hold = hold_borrow(place);
    if (hold == NULL) {
        return NULL;
    }
    *hold = (struct pc_cache_hold){.hold = {hold_release}, .value = *value, .place = place};
    if (pc_value_hold(pc_owners_slice(cache->owners, place_index), &hold->value) ||
        hold_copy(hold)) {
        return hold;
    }
    pthread_mutex_lock(&place->holds_lock);
    hold->next = place->holds_free;
    place->holds_free = hold;
    pthread_mutex_unlock(&place->holds_lock);
    return NULL;
}

struct pc_cache_hold *pc_cache_hold_near(struct pc_cache_op *op, unsigned place,
                                         const struct pc_value *value, bool *out_again)
{
    struct pc_cache *cache = pc_cache_of(op);
    const bool crowded = pc_reply_crowded(op->request);
    struct pc_cache_hold *hold = crowded ? NULL : pc_cache_hold_take(cache, place, value);
    *out_again = hold == NULL && (crowded || op->room_rounds < HOLD_ROUNDS_MAX);
    if (*out_again) {
        const bool touches =
            op->parsed.verb == PC_MEMCACHED_GAT || op->parsed.verb == PC_MEMCACHED_GATS;
        uint64_t *counts = cache->places[place].counts;
        counts[touches ? PC_COUNT_cmd_touch : PC_COUNT_cmd_get]--;
        counts[touches ? PC_COUNT_touch_hits : PC_COUNT_get_hits]--;
        if (!crowded) {
            op->room_rounds++;
            pc_request_pause(op->request, HOLD_PAUSE_NS);
        }
    }
    return hold;
}

void pc_cache_hold_for(struct pc_cache_op *op, unsigned place, const struct pc_value *value)
{
    op->hold = pc_cache_hold_take(pc_cache_of(op), place, value);
    op->no_memory = op->hold == NULL;
    op->number = value->cas;
}

void pc_cache_hold_same(struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                        struct pc_lane *there)
{
    struct pc_value value;
    if (pc_slice_find(pc_owners_slice(pc_cache_of(op)->owners, place), key, pc_lane_second(there),
                      PC_FIND_QUIET, &value) &&
        value.cas == op->number) {
        pc_cache_hold_for(op, place, &value);
    } else {
        op->room_rounds = HOLD_ROUNDS_MAX;
    }
}

void pc_cache_run_hold(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    const struct pc_key key = pc_cache_key(op);
    pc_cache_hold_same(op, place, &key, there);
}

enum pc_serve pc_cache_hold_insist(struct pc_cache_op *op, unsigned place, pc_cache_run_fn *run,
                                   struct pc_lane *lane)
{
    if (PC_LIKELY(!op->no_memory || !op->found)) {
        op->asks_again = false;
        return PC_SERVED;
    }
    if (!op->asks_again && op->room_rounds != 0 && op->room_rounds < HOLD_ROUNDS_MAX) {
        op->asks_again = true;
        if (!pc_cache_ask(op, place, run, lane)) {
            return PC_AGAIN;
        }
    }
    op->asks_again = false;
    if (!op->no_memory || op->room_rounds >= HOLD_ROUNDS_MAX || pc_request_gone(op->request)) {
        return PC_SERVED;
    }
    op->room_rounds++;
    pc_request_pause(op->request, HOLD_PAUSE_NS);
    return PC_AGAIN;
}

void pc_cache_hold_drop(struct pc_cache_hold *hold)
{
    hold_give_back(hold);
}

/* Each piece is a use; one more, ours, keeps the hold until the last piece is handed over. */
int pc_cache_hold_send(struct pc_request *request, struct pc_cache_hold *hold)
{
    struct pc_value walk = hold->value;
    int error;
    hold->uses = 1;
    do {
        hold->uses++;
        const struct pc_view piece = {walk.at, walk.piece_bytes};
        error = pc_reply_share(request, piece, &hold->hold);
        if (error != 0) {
            hold->uses--;
            break;
        }
    } while (walk.left_bytes > 0 && pc_value_next(hold->place->pool, &walk));
    if (--hold->uses == 0) {
        hold_give_back(hold);
    }
    return error;
}

int pc_cache_value_share(struct pc_request *request, const void *key, uint32_t key_bytes,
                         struct pc_cache_hold *hold, bool with_cas)
{
    char line[PC_MEMCACHED_VALUE_LINE_BYTES_MAX];
    const struct pc_value *value = &hold->value;
    const size_t line_bytes =
        pc_memcached_value_line(line, key, key_bytes, value->flags, (uint32_t)value->value_bytes,
                                with_cas ? &value->cas : NULL);
    int error = pc_reply_copy(request, line, line_bytes);
    if (error != 0) {
        hold_give_back(hold);
        return error;
    }
    error = pc_cache_hold_send(request, hold);
    return error != 0 ? error : pc_reply_copy(request, "\r\n", 2);
}

void pc_cache_holds_free(struct pc_cache_place *place)
{
    while (place->holds_free != NULL) {
        struct pc_cache_hold *hold = place->holds_free;
        place->holds_free = hold->next;
        free(hold);
    }
}
