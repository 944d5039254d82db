/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_keys: lines of several keys, window by window.
 *
 * Where this lane may enter or peek into every slice, the keys are looked up one after the other
 * and said at once. From the first key on for which that cannot be, they are gathered by core: one
 * call to each, which looks up all of its keys and leaves the answers, or holds on them, in the
 * window; when all calls are back the answers are said in the order asked.
 *
 * Order    A line of one window waits beside later requests. The windows of a longer line follow
 *          each other, so that a line of any length holds the memory of one window.
 */
#include "services/cache_parts.h"

#include <string.h>

enum { STAGE_BEGIN, STAGE_ASKED };

/* Looked up, where its answer is. */
enum answer { ANSWER_NONE, ANSWER_COPIED, ANSWER_HELD, ANSWER_FAILED };

struct asked_key {
    uint64_t hash;
    uint64_t cas; /* of a value that is to be held */
    struct pc_cache_hold *hold;
    uint32_t at;        /* in the input */
    uint32_t answer_at; /* in the window's area */
    uint32_t answer_bytes;
    uint16_t place;
    uint8_t bytes;
    uint8_t answer;
    int8_t next; /* the next key of the same group; -1: the last */
};

/* The keys of one core. */
struct group {
    struct pc_call call;
    struct window *window;
    unsigned core;
    int8_t first, last;
    uint8_t key_count;
    uint32_t area_at, area_end;
};

/* Lies in the request's extra block: keys, then groups, then the area for answers. */
struct window {
    struct pc_cache_op *op;
    struct group *groups;
    uint8_t *area;
    unsigned key_count, group_count;
    struct asked_key keys[PC_MEMCACHED_WINDOW_KEYS];
};

static struct pc_cache_session *session_of(const struct pc_cache_op *op)
{
    return op->request->session;
}

/* One window is the whole line. */
static bool stands_alone(const struct pc_cache_op *op)
{
    return op->parsed.begins_line && op->parsed.ends_line;
}

/* The line ends in an error, said here; what follows of it says nothing. */
static enum pc_serve fail_line(struct pc_cache_op *op, enum pc_memcached_reply reply)
{
    if (!stands_alone(op)) {
        session_of(op)->line_failed = true;
    }
    return pc_cache_say(op, reply);
}

static enum pc_serve end_window(struct pc_cache_op *op)
{
    return op->parsed.ends_line ? pc_cache_say(op, PC_MEMCACHED_SAY_END) : PC_SERVED;
}

enum pc_serve pc_cache_serve_refusal(struct pc_cache_op *op)
{
    const bool is_window =
        op->parsed.verb == PC_MEMCACHED_GET || op->parsed.verb == PC_MEMCACHED_GETS ||
        op->parsed.verb == PC_MEMCACHED_GAT || op->parsed.verb == PC_MEMCACHED_GATS;
    if (is_window && !op->parsed.begins_line && session_of(op)->line_failed) {
        return PC_SERVED;
    }
    if (op->parsed.verb == PC_MEMCACHED_SHUTDOWN && !pc_cache_of(op)->settings.shutdown_allowed) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_SHUTDOWN_OFF);
    }
    return pc_cache_say(op, op->parsed.refusal);
}

/* ---- Looked up here ---- */

struct near_key {
    struct pc_key key;
    unsigned place;
};

static unsigned aim(const struct pc_cache_op *op, struct near_key *keys, bool prefetch)
{
    const struct pc_owners *owners = pc_cache_of(op)->owners;
    const uint8_t *input = op->request->input.at;
    const uint32_t end = (uint32_t)op->request->input.count;
    uint32_t cursor = op->parsed.key_at;
    for (unsigned i = 0; i < op->parsed.key_count; i++) {
        uint8_t bytes;
        const uint8_t *at = pc_memcached_key_next(input, end, &cursor, &bytes);
        const uint64_t hash = pc_owners_hash(at, bytes, owners->seed);
        keys[i] = (struct near_key){{at, bytes, hash}, pc_owners_place(owners, hash)};
        if (prefetch) {
            pc_slice_prefetch(pc_owners_slice(owners, keys[i].place), hash);
        }
    }
    for (unsigned i = 0; prefetch && i < op->parsed.key_count; i++) {
        pc_slice_prefetch_item(pc_owners_slice(owners, keys[i].place), keys[i].key.hash);
    }
    return op->parsed.key_count;
}

/* Look one key up and say it; or why that could not be. */
enum near_outcome { NEAR_SAID, NEAR_NO_REPLY_ROOM, NEAR_NO_MEMORY, NEAR_PAUSED, NEAR_ELSEWHERE };

static enum near_outcome peek_near(struct pc_cache_op *op, const struct near_key *near,
                                   struct pc_lane *lane)
{
    switch (pc_cache_peek(op, near->place, &near->key, &pc_cache_form_key, lane)) {
    case PC_CACHE_PEEK_SAID:
    case PC_CACHE_PEEK_MISS:
        return NEAR_SAID;
    case PC_CACHE_PEEK_HANG_UP:
        return NEAR_NO_REPLY_ROOM;
    default:
        return NEAR_ELSEWHERE;
    }
}

static enum near_outcome say_near(struct pc_cache_op *op, const struct near_key *near,
                                  struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    const bool with_cas = pc_cache_tells_cas(op->parsed.verb);
    struct pc_cache_hold *hold = NULL;
    struct pc_value value;
    enum near_outcome outcome = NEAR_SAID;
    if (!pc_owners_enter(cache->owners, near->place, lane)) {
        return peek_near(op, near, lane);
    }
    pc_cache_due(cache, near->place, lane);
    if (pc_cache_find(op, near->place, &near->key, pc_lane_second(lane), &value)) {
        if (value.value_bytes >= PC_VALUE_HOLD_BYTES) {
            bool again;
            hold = pc_cache_hold_near(op, near->place, &value, &again);
            outcome = again ? NEAR_PAUSED : hold == NULL ? NEAR_NO_MEMORY : NEAR_SAID;
        } else {
            uint8_t *into = pc_reply_reserve(
                op->request, pc_cache_value_bytes_max(near->key.bytes, value.value_bytes));
            if (into != NULL) {
                pc_reply_commit(op->request,
                                pc_cache_value_print(cache, into, near->key.at, near->key.bytes,
                                                     &value, with_cas));
            } else {
                outcome = NEAR_NO_REPLY_ROOM;
            }
        }
    }
    pc_owners_leave(cache->owners, near->place);
    if (hold != NULL &&
        pc_cache_value_share(op->request, near->key.at, near->key.bytes, hold, with_cas) != 0) {
        outcome = NEAR_NO_REPLY_ROOM;
    }
    return outcome;
}

/* ---- Gathered by core ---- */

static struct group *group_of(struct window *window, unsigned core)
{
    for (unsigned i = 0; i < window->group_count; i++) {
        if (window->groups[i].core == core) {
            return &window->groups[i];
        }
    }
    struct group *group = &window->groups[window->group_count++];
    *group = (struct group){.window = window, .core = core, .first = -1, .last = -1};
    return group;
}

static void gather(struct window *window, const struct near_key *keys, unsigned count)
{
    const struct pc_cache_op *op = window->op;
    const struct pc_owners *owners = pc_cache_of(op)->owners;
    window->key_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct asked_key *key = &window->keys[i];
        const uint8_t *at = keys[i].key.at;
        *key = (struct asked_key){.hash = keys[i].key.hash,
                                  .at = (uint32_t)(at - op->request->input.at),
                                  .place = (uint16_t)keys[i].place,
                                  .bytes = (uint8_t)keys[i].key.bytes,
                                  .next = -1};
        struct group *group = group_of(window, key->place % owners->core_count);
        if (group->last >= 0) {
            window->keys[group->last].next = (int8_t)i;
        } else {
            group->first = (int8_t)i;
        }
        group->last = (int8_t)i;
        group->key_count++;
    }
}

/* Each group has a part of the area for itself, as large as its share of the keys. */
static void deal_area(struct window *window, uint32_t area_bytes)
{
    uint32_t at = 0;
    for (unsigned i = 0; i < window->group_count; i++) {
        struct group *group = &window->groups[i];
        group->area_at = at;
        at += area_bytes * group->key_count / window->key_count;
        group->area_end = at;
    }
}

static struct window *window_open(struct pc_cache_op *op, const struct near_key *keys,
                                  unsigned count)
{
    struct window *window = pc_request_extra(op->request, PC_RESERVE_BYTES_MAX);
    if (window == NULL) {
        return NULL;
    }
    window->op = op;
    window->group_count = 0;
    window->groups = (struct group *)(window + 1);
    gather(window, keys, count);
    window->area = (uint8_t *)(window->groups + window->group_count);
    deal_area(window, (uint32_t)((uint8_t *)window + PC_RESERVE_BYTES_MAX - window->area));
    return window;
}

static void find_key(struct window *window, struct group *group, struct asked_key *asked,
                     struct pc_lane *there)
{
    struct pc_cache_op *op = window->op;
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_key key = {op->request->input.at + asked->at, asked->bytes, asked->hash};
    struct pc_value value;
    if (!pc_cache_find(op, asked->place, &key, pc_lane_second(there), &value)) {
        return;
    }
    if (pc_cache_value_bytes_max(key.bytes, value.value_bytes) > group->area_end - group->area_at) {
        asked->cas = value.cas;
        asked->hold = pc_cache_hold_take(cache, asked->place, &value);
        asked->answer = asked->hold != NULL ? ANSWER_HELD : ANSWER_FAILED;
        return;
    }
    asked->answer = ANSWER_COPIED;
    asked->answer_at = group->area_at;
    asked->answer_bytes =
        (uint32_t)pc_cache_value_print(cache, window->area + group->area_at, key.at, key.bytes,
                                       &value, pc_cache_tells_cas(op->parsed.verb));
    group->area_at += asked->answer_bytes;
}

/* On the core of the group, which may enter all of its slices. */
static void find_group(struct pc_call *call, struct pc_lane *there)
{
    struct group *group = PC_CONTAINER_OF(call, struct group, call);
    struct window *window = group->window;
    struct pc_cache *cache = pc_cache_of(window->op);
    for (int i = group->first; i >= 0; i = window->keys[i].next) {
        pc_slice_prefetch(pc_owners_slice(cache->owners, window->keys[i].place),
                          window->keys[i].hash);
    }
    for (int i = group->first; i >= 0; i = window->keys[i].next) {
        struct asked_key *key = &window->keys[i];
        const bool entered = pc_owners_enter(cache->owners, key->place, there);
        PC_ASSERT(entered);
        (void)entered;
        pc_cache_due(cache, key->place, there);
        find_key(window, group, key, there);
        pc_owners_leave(cache->owners, key->place);
    }
}

/* One call to a core; it concerns each slice that it looks into. True: it has answered. */
static bool ask_group(struct window *window, struct group *group)
{
    struct pc_request *request = window->op->request;
    group->call.work = find_group;
    group->call.place = window->keys[group->first].place;
    if (pc_call_post(request, &group->call) == 0) {
        return true;
    }
    for (int i = group->first; i >= 0; i = window->keys[i].next) {
        pc_request_concerns(request, window->keys[i].place);
    }
    return false;
}

/* True: all have answered. */
static bool ask_groups(struct window *window)
{
    bool answered = true;
    for (unsigned i = 0; i < window->group_count; i++) {
        answered &= ask_group(window, &window->groups[i]);
    }
    return answered;
}

static void drop_holds(struct window *window, unsigned from)
{
    for (unsigned i = from; i < window->key_count; i++) {
        if (window->keys[i].answer == ANSWER_HELD) {
            pc_cache_hold_drop(window->keys[i].hold);
            window->keys[i].answer = ANSWER_FAILED;
        }
    }
}

/* The next key to be said, which could not be held. */
static void run_hold_next(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    const struct window *window = op->extra;
    const struct asked_key *asked = &window->keys[op->next_key];
    const struct pc_key key = {op->request->input.at + asked->at, asked->bytes, asked->hash};
    pc_cache_hold_same(op, place, &key, there);
}

/* Ask for it again, and for those behind it when it is their turn: what they hold could be what it
 * waits for. SERVED: it is held, or failed for good. */
static enum pc_serve hold_next(struct window *window, struct pc_lane *lane)
{
    struct pc_cache_op *op = window->op;
    struct asked_key *asked = &window->keys[op->next_key];
    if (!op->no_memory && op->hold == NULL) {
        drop_holds(window, op->next_key);
        op->no_memory = op->found = true;
        op->number = asked->cas;
        op->room_rounds = 0;
    }
    const enum pc_serve served = pc_cache_hold_insist(op, asked->place, run_hold_next, lane);
    if (served == PC_SERVED && !op->no_memory) {
        asked->answer = ANSWER_HELD;
        asked->hold = op->hold;
        op->hold = NULL;
    }
    return served;
}

static int say_key(struct window *window, const struct asked_key *key)
{
    struct pc_cache_op *op = window->op;
    switch (key->answer) {
    case ANSWER_COPIED:
        return pc_reply_copy(op->request, window->area + key->answer_at, key->answer_bytes);
    case ANSWER_HELD:
        return pc_cache_value_share(op->request, op->request->input.at + key->at, key->bytes,
                                    key->hold, pc_cache_tells_cas(op->parsed.verb));
    default:
        return 0;
    }
}

static enum pc_serve say_window(struct window *window, struct pc_lane *lane)
{
    struct pc_cache_op *op = window->op;
    for (; op->next_key < window->key_count; op->next_key++) {
        const struct asked_key *asked = &window->keys[op->next_key];
        if (asked->answer == ANSWER_FAILED) {
            const enum pc_serve served = hold_next(window, lane);
            if (served != PC_SERVED) {
                return served;
            }
            if (asked->answer == ANSWER_FAILED) {
                return fail_line(op, PC_MEMCACHED_SAY_NO_MEMORY_GET);
            }
        }
        if (asked->answer == ANSWER_HELD && pc_reply_crowded(op->request)) {
            return PC_AGAIN;
        }
        if (say_key(window, asked) != 0) {
            drop_holds(window, op->next_key + 1);
            return PC_HANG_UP;
        }
    }
    return end_window(op);
}

static enum pc_serve serve_gathered(struct pc_cache_op *op, const struct near_key *keys,
                                    unsigned count, struct pc_lane *lane)
{
    op->extra = window_open(op, keys, count);
    if (op->extra == NULL) {
        return fail_line(op, PC_MEMCACHED_SAY_NO_MEMORY_GET);
    }
    op->stage = STAGE_ASKED;
    op->next_key = 0; /* of the window */
    if (!ask_groups(op->extra)) {
        return stands_alone(op) ? PC_WAITING : PC_AGAIN;
    }
    return say_window(op->extra, lane);
}

/* May keys be looked up here, one by one? Where they may be peeked at, only to read them. */
static bool looks_here(const struct pc_cache_op *op, bool touches)
{
    const struct pc_owners *owners = pc_cache_of(op)->owners;
    return owners->mode->any_lane || owners->core_count == 1 ||
           (pc_owners_peeks(owners) && !touches);
}

static enum pc_serve serve_window(struct pc_cache_op *op, struct pc_lane *lane, bool touches)
{
    struct near_key keys[PC_MEMCACHED_WINDOW_KEYS];
    const bool here = looks_here(op, touches);
    const unsigned count = aim(op, keys, here && !pc_cache_of(op)->owners->mode->any_lane);
    for (unsigned i = op->next_key; i < count; i++) {
        switch (here ? say_near(op, &keys[i], lane) : NEAR_ELSEWHERE) {
        case NEAR_SAID:
            break;
        case NEAR_PAUSED:
            op->next_key = (uint8_t)i;
            return PC_AGAIN;
        case NEAR_NO_MEMORY:
            return fail_line(op, PC_MEMCACHED_SAY_NO_MEMORY_GET);
        case NEAR_NO_REPLY_ROOM:
            return PC_HANG_UP;
        case NEAR_ELSEWHERE:
            return serve_gathered(op, keys + i, count - i, lane);
        }
    }
    return end_window(op);
}

enum pc_serve pc_cache_serve_keys(struct pc_cache_op *op, struct pc_lane *lane)
{
    if (op->stage == STAGE_ASKED) {
        return say_window(op->extra, lane);
    }
    const bool touches =
        op->parsed.verb == PC_MEMCACHED_GAT || op->parsed.verb == PC_MEMCACHED_GATS;
    op->expiry = touches ? pc_cache_expiry(op->parsed.exptime, lane) : 0;
    if (!stands_alone(op)) {
        struct pc_cache_session *session = session_of(op);
        session->line_failed &= !op->parsed.begins_line;
        if (session->line_failed) {
            return PC_SERVED;
        }
    }
    return op->parsed.key_count == 0 ? end_window(op) : serve_window(op, lane, touches);
}
