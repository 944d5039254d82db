/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_tell: what happens, told to those who watch, and the lines it becomes.
 *
 * All of it runs only while somebody watches. The lines are memcached's, field by field: a look-up
 * is told wherever memcached looks a key up, so before a store or a delete too.
 */
#include "services/cache_parts.h"

#include "protocols/percent.h"

#include <arpa/inet.h>
#include <string.h>

enum { CLASS_ALL = 1, COMMAND_CAS = PC_STORE_PREPEND + 1, NS_PER_US = 1000, US_PER_S = 1000000 };

enum { BY_DELETE, BY_MD };

static bool wanted(const struct pc_cache *cache, enum pc_event_kind kind)
{
    return (pc_cache_watched(cache) >> kind & 1) != 0;
}

/* The session is another lane's, perhaps, but this part of it does not change. */
static int fd_of(const struct pc_cache_op *op)
{
    return ((const struct pc_cache_session *)op->request->session)->peer.fd;
}

static void tell_key(const struct pc_cache_op *op, unsigned index, const struct pc_key *key,
                     struct pc_event *event)
{
    event->fd = fd_of(op);
    event->text_bytes = (uint8_t)key->bytes;
    pc_cache_watch_write(pc_cache_of(op)->watch, index, event, key->at);
}

/* ---- Keys ---- */

static void tell_get(const struct pc_cache_op *op, unsigned index, const struct pc_key *key,
                     enum pc_seen seen, uint64_t value_bytes)
{
    struct pc_event event = {.kind = PC_EVENT_FETCHERS,
                             .status = (uint8_t)seen,
                             .class_id = seen == PC_SEEN_FOUND ? CLASS_ALL : 0,
                             .value_bytes = value_bytes};
    tell_key(op, index, key, &event);
}

uint64_t pc_cache_tell_look(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                            uint32_t now)
{
    const struct pc_cache *cache = pc_cache_of(op);
    const bool gets = wanted(cache, PC_EVENT_FETCHERS);
    if (!gets && !wanted(cache, PC_EVENT_DELETIONS)) {
        return 0;
    }
    uint64_t value_bytes;
    const enum pc_seen seen =
        pc_slice_see(pc_owners_slice(cache->owners, place), key, now, &value_bytes);
    if (gets) {
        tell_get(op, place, key, seen, value_bytes);
    }
    return value_bytes;
}

void pc_cache_tell_read(const struct pc_cache_op *op, unsigned index, const struct pc_key *key,
                        bool found, uint64_t value_bytes)
{
    if (wanted(pc_cache_of(op), PC_EVENT_FETCHERS)) {
        tell_get(op, index, key, found ? PC_SEEN_FOUND : PC_SEEN_ABSENT, value_bytes);
    }
}

/* Of a store: 0 stands for never here; what is dead at once has none left. */
static int64_t store_ttl(uint32_t expiry, uint32_t now)
{
    return expiry == 0 ? 0 : expiry > now ? (int64_t)(expiry - now) : -1;
}

void pc_cache_tell_store(const struct pc_cache_op *op, unsigned place, uint32_t now)
{
    const struct pc_cache *cache = pc_cache_of(op);
    if (!wanted(cache, PC_EVENT_MUTATIONS)) {
        return;
    }
    const struct pc_key key = pc_cache_key(op);
    const struct pc_store store = pc_cache_store_of(op);
    const bool extends = store.mode == PC_STORE_APPEND || store.mode == PC_STORE_PREPEND;
    const bool fits = op->status != PC_SLICE_TOO_LARGE && op->status != PC_SLICE_NO_MEMORY;
    struct pc_event event = {.kind = PC_EVENT_MUTATIONS,
                             .status = op->status,
                             .command =
                                 store.compare && !extends ? COMMAND_CAS : (uint8_t)store.mode,
                             .class_id = fits ? CLASS_ALL : 0,
                             .ttl_seconds = extends ? 0 : store_ttl(store.expiry, now),
                             .value_bytes = fits ? store.value_bytes : 0};
    struct pc_value value;
    if (extends && op->status == PC_SLICE_OK &&
        pc_slice_find(pc_owners_slice(cache->owners, place), &key, now, PC_FIND_QUIET, &value)) {
        event.ttl_seconds = store_ttl(value.expiry, now);
        event.value_bytes = value.value_bytes;
    }
    tell_key(op, place, &key, &event);
}

void pc_cache_tell_made(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                        uint32_t expiry, uint32_t now)
{
    const struct pc_cache *cache = pc_cache_of(op);
    struct pc_event event = {.kind = PC_EVENT_MUTATIONS,
                             .status = PC_SLICE_OK,
                             .command = PC_STORE_ADD,
                             .class_id = CLASS_ALL,
                             .ttl_seconds = store_ttl(expiry, now)};
    if (wanted(cache, PC_EVENT_MUTATIONS)) {
        (void)pc_slice_see(pc_owners_slice(cache->owners, place), key, now, &event.value_bytes);
        tell_key(op, place, key, &event);
    }
}

void pc_cache_tell_delete(const struct pc_cache_op *op, unsigned place, const struct pc_key *key,
                          uint64_t value_bytes)
{
    struct pc_event event = {.kind = PC_EVENT_DELETIONS,
                             .command = op->parsed.verb == PC_MEMCACHED_MD ? BY_MD : BY_DELETE,
                             .class_id = CLASS_ALL,
                             .value_bytes = value_bytes};
    if (wanted(pc_cache_of(op), PC_EVENT_DELETIONS)) {
        tell_key(op, place, key, &event);
    }
}

void pc_cache_tell_evicted(void *ctx, const struct pc_key *key, const struct pc_value *value)
{
    const struct pc_cache_place *place = ctx;
    const struct pc_cache *cache = place->cache;
    if (!wanted(cache, PC_EVENT_EVICTIONS)) {
        return;
    }
    const uint32_t now = pc_runtime_second(place->runtime);
    const struct pc_event event = {.kind = PC_EVENT_EVICTIONS,
                                   .flag = value->fetched,
                                   .class_id = CLASS_ALL,
                                   .ttl_seconds = pc_cache_ttl(value->expiry, now),
                                   .idle_seconds =
                                       now > value->accessed ? now - value->accessed : 0,
                                   .value_bytes = value->value_bytes,
                                   .text_bytes = (uint8_t)key->bytes};
    pc_cache_watch_write(cache->watch, (unsigned)(place - cache->places), &event, key->at);
}

/* ---- Connections ---- */

/* A peer of IPv4 at a socket of both kinds is told as one of IPv4. */
static const char *print_host(const struct pc_peer *peer, char *text, size_t room)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    switch (peer->family) {
    case AF_INET:
        return inet_ntop(AF_INET, peer->address, text, (socklen_t)room);
    case AF_INET6:
        return memcmp(peer->address, mapped, sizeof(mapped)) == 0
                   ? inet_ntop(AF_INET, peer->address + sizeof(mapped), text, (socklen_t)room)
                   : inet_ntop(AF_INET6, peer->address, text, (socklen_t)room);
    default:
        return peer->family == AF_UNIX ? "unix" : "unknown";
    }
}

static void tell_peer(const struct pc_cache *cache, const struct pc_peer *peer,
                      struct pc_event *event, const struct pc_lane *lane)
{
    char text[INET6_ADDRSTRLEN];
    const char *host = print_host(peer, text, sizeof(text));
    event->kind = PC_EVENT_CONNEVENTS;
    event->fd = peer->fd;
    event->port = peer->port;
    event->command = peer->family != AF_UNIX;
    event->text_bytes = (uint8_t)strlen(host);
    pc_cache_watch_write(cache->watch, pc_lane_index(lane), event, host);
}

void pc_cache_opened(void *app, void *session, const struct pc_peer *peer, struct pc_lane *lane)
{
    const struct pc_cache *cache = app;
    struct pc_event event = {.flag = false};
    ((struct pc_cache_session *)session)->peer = *peer;
    if (PC_UNLIKELY(wanted(cache, PC_EVENT_CONNEVENTS))) {
        tell_peer(cache, peer, &event, lane);
    }
}

void pc_cache_shut(void *app, void *session, enum pc_close why, struct pc_lane *lane)
{
    const struct pc_cache *cache = app;
    struct pc_event event = {.flag = true, .status = (uint8_t)why};
    if (PC_UNLIKELY(wanted(cache, PC_EVENT_CONNEVENTS))) {
        tell_peer(cache, &((const struct pc_cache_session *)session)->peer, &event, lane);
    }
}

/* ---- Lines ---- */

static char *put_word(char *at, const char *name, const char *word)
{
    return pc_cache_put(pc_cache_put(at, name), word);
}

static char *put_signed(char *at, const char *name, int64_t value)
{
    at = pc_cache_put(at, name);
    if (value < 0) {
        *at++ = '-';
    }
    return pc_cache_put_number(at, "", (uint64_t)(value < 0 ? -value : value));
}

static char *put_key(char *at, const struct pc_event *event, const uint8_t *text)
{
    at = pc_cache_put(at, " key=");
    return at + pc_percent_write(at, text, event->text_bytes);
}

static char *put_size(char *at, const struct pc_event *event)
{
    return pc_cache_put_number(at, " size=", event->value_bytes);
}

static char *print_get(char *at, const struct pc_event *event, const uint8_t *text)
{
    static const char *const statuses[] = {[PC_SEEN_ABSENT] = "not_found",
                                           [PC_SEEN_FOUND] = "found",
                                           [PC_SEEN_FLUSHED] = "flushed",
                                           [PC_SEEN_EXPIRED] = "expired"};
    at = put_key(pc_cache_put(at, "item_get"), event, text);
    at = put_word(at, " status=", statuses[event->status]);
    at = pc_cache_put_number(at, " clsid=", event->class_id);
    return put_size(put_signed(at, " cfd=", event->fd), event);
}

static const char *store_status(uint8_t status)
{
    switch (status) {
    case PC_SLICE_OK:
        return "stored";
    case PC_SLICE_NOT_STORED:
        return "not_stored";
    case PC_SLICE_EXISTS:
        return "exists";
    case PC_SLICE_NOT_FOUND:
        return "not_found";
    case PC_SLICE_TOO_LARGE:
        return "too_large";
    default:
        return "no_memory";
    }
}

static char *print_store(char *at, const struct pc_event *event, const uint8_t *text)
{
    static const char *const commands[] = {
        [PC_STORE_SET] = "set",         [PC_STORE_ADD] = "add",
        [PC_STORE_REPLACE] = "replace", [PC_STORE_APPEND] = "append",
        [PC_STORE_PREPEND] = "prepend", [COMMAND_CAS] = "cas"};
    at = put_key(pc_cache_put(at, "item_store"), event, text);
    at = put_word(at, " status=", store_status(event->status));
    at = put_word(at, " cmd=", commands[event->command]);
    at = put_signed(at, " ttl=", event->ttl_seconds);
    at = pc_cache_put_number(at, " clsid=", event->class_id);
    return put_size(put_signed(at, " cfd=", event->fd), event);
}

static char *print_eviction(char *at, const struct pc_event *event, const uint8_t *text)
{
    at = put_key(pc_cache_put(at, "eviction"), event, text);
    at = put_word(at, " fetch=", event->flag ? "yes" : "no");
    at = put_signed(at, " ttl=", event->ttl_seconds);
    at = pc_cache_put_number(at, " la=", event->idle_seconds);
    return put_size(pc_cache_put_number(at, " clsid=", event->class_id), event);
}

static char *print_delete(char *at, const struct pc_event *event, const uint8_t *text)
{
    at = put_key(pc_cache_put(at, "deleted"), event, text);
    at = put_word(at, " cmd=", event->command == BY_MD ? "md" : "delete");
    return put_size(pc_cache_put_number(at, " clsid=", event->class_id), event);
}

static char *print_connection(char *at, const struct pc_event *event, const uint8_t *text)
{
    static const char *const reasons[] = {[PC_CLOSE_NORMAL] = "normal",
                                          [PC_CLOSE_ERROR] = "error",
                                          [PC_CLOSE_IDLE] = "idle_timeout",
                                          [PC_CLOSE_DRAIN] = "shutdown"};
    at = pc_cache_put(at, event->flag ? "conn_close rip=" : "conn_new rip=");
    memcpy(at, text, event->text_bytes);
    at = pc_cache_put_number(at + event->text_bytes, " rport=", event->port);
    at = put_word(at, " transport=", event->command != 0 ? "tcp" : "local");
    if (event->flag) {
        at = put_word(at, " reason=", reasons[event->status]);
    }
    return put_signed(at, " cfd=", event->fd);
}

/* Seconds with six places: memcached leaves out the zeros in front of the microseconds. */
static char *put_time(char *at, uint64_t realtime_ns)
{
    const uint64_t us = realtime_ns / NS_PER_US;
    at = pc_cache_put_number(at, "ts=", us / US_PER_S);
    *at++ = '.';
    for (uint64_t place = US_PER_S / 10; place > 0; place /= 10) {
        *at++ = (char)('0' + us / place % 10);
    }
    return at;
}

char *pc_cache_event_print(char *at, const struct pc_event *event, const uint8_t *text)
{
    static char *(*const prints[PC_EVENT_KIND_COUNT])(char *, const struct pc_event *,
                                                      const uint8_t *) = {
        [PC_EVENT_FETCHERS] = print_get,       [PC_EVENT_MUTATIONS] = print_store,
        [PC_EVENT_EVICTIONS] = print_eviction, [PC_EVENT_CONNEVENTS] = print_connection,
        [PC_EVENT_DELETIONS] = print_delete,
    };
    at = put_time(at, event->realtime_ns);
    at = pc_cache_put(pc_cache_put_number(at, " gid=", event->number), " type=");
    return pc_cache_put(prints[event->kind](at, event, text), "\n");
}
