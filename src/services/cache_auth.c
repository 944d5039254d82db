/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_auth: who is let in, with -Y: a connection's first request is a set of any key whose value
 * is `user password`; until one is right, nothing else is served.
 *
 * Cost     A comparison looks at all of each entry whatever it finds, so that its time tells
 * nothing of how much was right.
 */
#include "services/cache_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 << 10 };

/* The lines of the file, as clients say them: a space for the first colon. */
struct pc_cache_auth {
    size_t bytes;
    uint8_t text[FILE_BYTES_MAX + 1];
};

/* Every line is a user without a space, a colon and a password. */
static bool turn_lines(struct pc_cache_auth *auth)
{
    bool any = false;
    for (size_t i = 0; i < auth->bytes;) {
        uint8_t *line = auth->text + i;
        const uint8_t *feed = memchr(line, '\n', auth->bytes - i);
        const size_t bytes = feed != NULL ? (size_t)(feed - line) : auth->bytes - i;
        i += bytes + 1;
        if (bytes == 0) {
            continue;
        }
        uint8_t *colon = memchr(line, ':', bytes);
        if (colon == NULL || colon == line || memchr(line, ' ', (size_t)(colon - line)) != NULL) {
            return false;
        }
        *colon = ' ';
        any = true;
    }
    return any;
}

int pc_cache_auth_open(const char *path, struct pc_cache_auth **out_auth)
{
    struct pc_cache_auth *auth = calloc(1, sizeof(*auth));
    FILE *file = fopen(path, "re");
    int error = auth == NULL ? -ENOMEM : file == NULL ? -errno : 0;
    if (error == 0) {
        auth->bytes = fread(auth->text, 1, sizeof(auth->text), file);
        error = ferror(file) != 0                                   ? -EIO
                : auth->bytes > FILE_BYTES_MAX || !turn_lines(auth) ? -EINVAL
                                                                    : 0;
    }
    if (file != NULL) {
        (void)fclose(file); /* only read from */
    }
    if (error != 0) {
        free(auth);
        return error;
    }
    *out_auth = auth;
    return 0;
}

void pc_cache_auth_close(struct pc_cache_auth *auth)
{
    free(auth);
}

/* 0: the same bytes. */
static uint32_t differ(const uint8_t *line, size_t line_bytes, const uint8_t *said, size_t bytes)
{
    uint32_t difference = line_bytes != bytes;
    for (size_t i = 0; i < bytes; i++) {
        difference |= said[i] ^ line[i < line_bytes ? i : 0];
    }
    return difference;
}

static bool knows(const struct pc_cache_auth *auth, const uint8_t *said, size_t bytes)
{
    uint32_t same = 0;
    for (size_t i = 0; i < auth->bytes;) {
        const uint8_t *line = auth->text + i;
        const uint8_t *feed = memchr(line, '\n', auth->bytes - i);
        const size_t line_bytes = feed != NULL ? (size_t)(feed - line) : auth->bytes - i;
        if (line_bytes > 0) {
            same |= differ(line, line_bytes, said, bytes) == 0;
        }
        i += line_bytes + 1;
    }
    return same != 0;
}

static enum pc_memcached_reply judge(struct pc_cache_op *op)
{
    struct pc_cache *cache = pc_cache_of(op);
    const struct pc_memcached_request *parsed = &op->parsed;
    if (parsed->verb != PC_MEMCACHED_SET ||
        (parsed->refusal != 0 && parsed->refusal != PC_MEMCACHED_SAY_BAD_CHUNK)) {
        return PC_MEMCACHED_SAY_NOT_LET_IN;
    }
    if (parsed->value_follows) {
        return PC_MEMCACHED_SAY_LONG_AUTH;
    }
    if (parsed->refusal == PC_MEMCACHED_SAY_BAD_CHUNK) {
        return PC_MEMCACHED_SAY_BAD_AUTH_END;
    }
    const uint8_t *said = op->request->input.at + parsed->value_at;
    if (memchr(said, ' ', parsed->value_bytes) == NULL) {
        return PC_MEMCACHED_SAY_BAD_AUTH;
    }
    atomic_fetch_add_explicit(&cache->auth_attempts, 1, memory_order_relaxed);
    if (!knows(cache->settings.auth, said, parsed->value_bytes)) {
        atomic_fetch_add_explicit(&cache->auth_failures, 1, memory_order_relaxed);
        return PC_MEMCACHED_SAY_BAD_PASSWORD;
    }
    ((struct pc_cache_session *)op->request->session)->let_in = true;
    return PC_MEMCACHED_SAY_STORED;
}

/* The binary protocol has no words for this: such a connection is closed. */
enum pc_serve pc_cache_serve_auth(struct pc_cache_op *op)
{
    const bool goes_on =
        op->parsed.key_count > 0 && !op->parsed.begins_line &&
        (op->parsed.verb == PC_MEMCACHED_GET || op->parsed.verb == PC_MEMCACHED_GETS ||
         op->parsed.verb == PC_MEMCACHED_GAT || op->parsed.verb == PC_MEMCACHED_GATS);
    if (op->parsed.verb == PC_MEMCACHED_BINARY) {
        return PC_HANG_UP;
    }
    if (op->parsed.verb == PC_MEMCACHED_NOTHING || goes_on) {
        return PC_SERVED; /* the rest of a line that was answered */
    }
    op->parsed.quiet = false;
    return pc_cache_say(op, judge(op));
}
