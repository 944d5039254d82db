/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached_replay: what a connection would make of a stream that arrives in pieces.
 *
 * Every request becomes a few words of text. Windows of one line are joined, since where a window
 * ends is no promise; all else must come out the same wherever the stream is cut.
 */
#ifndef PC_TESTS_MEMCACHED_REPLAY_H
#define PC_TESTS_MEMCACHED_REPLAY_H

#include "guarded.h"
#include "protocols/memcached_meta.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replay {
    struct guarded guarded;
    struct pc_memcached_line line;
    const uint8_t *stream;
    size_t at, swallow_bytes;
    size_t wanted; /* bytes behind `at` that must be there before parse is asked again */
    bool closed;
    char *text;
    size_t text_bytes, text_bytes_max;
};

static inline void replay_init(struct replay *replay)
{
    memset(replay, 0, sizeof(*replay));
    guarded_init(&replay->guarded);
    replay->text_bytes_max = 1 << 20;
    replay->text = malloc(replay->text_bytes_max);
    replay->text[0] = '\0';
}

static inline void replay_fini(struct replay *replay)
{
    guarded_fini(&replay->guarded);
    free(replay->text);
}

static inline void replay_begin(struct replay *replay, const void *stream)
{
    replay->line = (struct pc_memcached_line){0};
    replay->stream = stream;
    replay->at = replay->swallow_bytes = replay->wanted = replay->text_bytes = 0;
    replay->text[0] = '\0';
    replay->closed = false;
}

__attribute__((format(printf, 2, 3))) static inline void replay_say(struct replay *replay,
                                                                    const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = replay->text_bytes_max - replay->text_bytes;
    const int bytes = vsnprintf(replay->text + replay->text_bytes, room, format, arguments);
    va_end(arguments);
    if (bytes < 0 || (size_t)bytes >= room) {
        abort();
    }
    replay->text_bytes += (size_t)bytes;
}

static inline void replay_say_bytes(struct replay *replay, const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const bool plain = at[i] > ' ' && at[i] < 127;
        replay_say(replay, plain ? "%c" : "\\%02x", at[i]);
    }
}

/* The flags of a meta request, and a line that answers it with all that may be told. */
static inline void replay_say_meta(struct replay *replay, const uint8_t *at,
                                   const struct pc_memcached_request *request)
{
    struct pc_memcached_meta meta;
    char line[PC_MEMCACHED_META_LINE_BYTES_MAX];
    size_t bytes;
    pc_memcached_meta_parse(at, request, &meta);
    if (meta.refusal != 0) {
        const char *refusal = pc_memcached_reply(meta.refusal, &bytes);
        replay_say(replay, "{%.*s}", (int)bytes - 2, refusal);
        return;
    }
    const struct pc_memcached_facts facts = {
        UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, INT64_MAX, true, true, true, true};
    bytes = pc_memcached_meta_line(line, "VA", "stcflhkO", at, request, &meta, &facts);
    if (bytes > sizeof(line)) {
        abort();
    }
    replay_say(replay, "{%d %d %d %u %llu %llu %llu %llu ", meta.exptime, meta.vivify_exptime,
               meta.recache_exptime, meta.client_flags, (unsigned long long)meta.cas,
               (unsigned long long)meta.cas_new, (unsigned long long)meta.delta,
               (unsigned long long)meta.initial);
    replay_say_bytes(replay, (const uint8_t *)line, bytes - 2);
    replay_say(replay, "}");
}

static inline void replay_say_request(struct replay *replay, const uint8_t *at, size_t bytes,
                                      const struct pc_memcached_request *request)
{
    if (request->verb == PC_MEMCACHED_NOTHING) {
        return;
    }
    const bool is_keys = request->verb == PC_MEMCACHED_GET || request->verb == PC_MEMCACHED_GETS ||
                         request->verb == PC_MEMCACHED_GAT || request->verb == PC_MEMCACHED_GATS;
    uint32_t cursor = request->key_at;
    if (request->refusal != 0) {
        size_t line_bytes;
        const char *line = pc_memcached_reply(request->refusal, &line_bytes);
        replay_say(replay, "refused(%s%.*s)", request->quiet ? "quiet " : "", (int)line_bytes - 2,
                   line);
    } else if (is_keys) {
        for (unsigned i = 0; i < request->key_count; i++) {
            uint8_t key_bytes;
            const uint8_t *key = pc_memcached_key_next(at, (uint32_t)bytes, &cursor, &key_bytes);
            replay_say(replay, "%s(", pc_memcached_word(request->verb));
            replay_say_bytes(replay, key, key_bytes);
            replay_say(replay, " %d)", request->exptime);
        }
        replay_say(replay, request->ends_line ? "END" : "");
    } else {
        replay_say(replay, "%s%s(", pc_memcached_word(request->verb), request->quiet ? "~" : "");
        replay_say_bytes(replay, at + request->key_at,
                         request->key_count > 0 ? request->key_bytes : 0);
        replay_say(replay, " %u %d %llu)", request->flags, request->exptime,
                   (unsigned long long)request->number);
    }
    if (request->refusal == 0 && request->verb >= PC_MEMCACHED_MG &&
        request->verb <= PC_MEMCACHED_ME) {
        replay_say_meta(replay, at, request);
    }
    if (request->value_at != 0) {
        replay_say(replay, "[%u]", request->value_bytes);
        if (!request->value_follows && request->refusal == 0) {
            replay_say_bytes(replay, at + request->value_at, request->value_bytes);
        }
    }
    if (!is_keys || request->ends_line || request->refusal != 0) {
        replay_say(replay, "\n");
    }
}

/* `count` bytes of the stream are there now. */
static inline void replay_arrive(struct replay *replay, size_t count)
{
    while (!replay->closed) {
        if (replay->swallow_bytes > 0) {
            const size_t some = replay->swallow_bytes < count - replay->at ? replay->swallow_bytes
                                                                           : count - replay->at;
            replay->at += some;
            replay->swallow_bytes -= some;
        }
        if (replay->at == count || count - replay->at < replay->wanted) {
            return;
        }
        struct pc_memcached_request request;
        size_t bytes = 0;
        const uint8_t *at =
            guarded_copy(&replay->guarded, replay->stream + replay->at, count - replay->at);
        struct pc_memcached_line next;
        switch (pc_memcached_parse(replay->line, at, count - replay->at, &request, &next, &bytes)) {
        case PC_MEMCACHED_DONE:
            if (bytes == 0 || bytes > count - replay->at) {
                abort();
            }
            replay->line = next;
            replay_say_request(replay, at, bytes, &request);
            replay->at += bytes;
            replay->wanted = 0;
            replay->swallow_bytes =
                request.value_follows
                    ? (size_t)request.value_bytes + (request.verb == PC_MEMCACHED_BINARY ? 0 : 2)
                    : 0;
            break;
        case PC_MEMCACHED_MORE:
            if (bytes <= count - replay->at || bytes > PC_MEMCACHED_INPUT_BYTES_MAX) {
                abort();
            }
            replay->wanted = bytes;
            return;
        case PC_MEMCACHED_BAD:
            replay_say(replay, "closed\n");
            replay->closed = true;
            return;
        }
    }
}

#endif
