/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cache/addresses.h"

#include <stdio.h>
#include <string.h>

static char *next_text(struct pc_addresses *addresses, const char *program)
{
    if (addresses->count == PC_ADDRESS_COUNT_MAX) {
        fprintf(stderr, "%s: too many addresses (legal: %d)\n", program, PC_ADDRESS_COUNT_MAX);
        return NULL;
    }
    char *text = addresses->texts[addresses->count];
    addresses->items[addresses->count++] = text;
    return text;
}

static bool add(struct pc_addresses *addresses, const char *program, const char *at, size_t bytes,
                unsigned port)
{
    if (bytes == 0 || bytes > PC_ADDRESS_BYTES_MAX - 16) {
        fprintf(stderr,
                "%s: bad address '%.*s' for --listen (legal: host, host:port or "
                "[address]:port)\n",
                program, (int)bytes, at);
        return false;
    }
    char *text = next_text(addresses, program);
    if (text == NULL) {
        return false;
    }
    const char *colon = memchr(at, ':', bytes);
    const bool is_bracketed = at[0] == '[';
    const bool is_bare_ipv6 =
        !is_bracketed && colon != NULL && memchr(colon + 1, ':', bytes - (size_t)(colon + 1 - at));
    const bool has_port = is_bracketed ? at[bytes - 1] != ']' : colon != NULL && !is_bare_ipv6;
    if (has_port) {
        snprintf(text, PC_ADDRESS_BYTES_MAX, "%.*s", (int)bytes, at);
    } else {
        snprintf(text, PC_ADDRESS_BYTES_MAX, is_bare_ipv6 ? "[%.*s]:%u" : "%.*s:%u", (int)bytes, at,
                 port);
    }
    return true;
}

static void keep_words(struct pc_addresses *addresses, const char *words)
{
    const size_t used = strlen(addresses->words);
    snprintf(addresses->words + used, sizeof(addresses->words) - used, used > 0 ? ",%s" : "%s",
             words);
}

bool pc_addresses_fill(struct pc_addresses *addresses, const char *program,
                       const struct pc_option_list *given, unsigned port)
{
    addresses->count = 0;
    addresses->words[0] = '\0';
    if (given->count == 0) {
        keep_words(addresses, "127.0.0.1");
        return add(addresses, program, "127.0.0.1", strlen("127.0.0.1"), port);
    }
    for (unsigned i = 0; i < given->count; i++) {
        const char *at = given->items[i];
        keep_words(addresses, at);
        for (;;) {
            const size_t bytes = strcspn(at, ",");
            if (!add(addresses, program, at, bytes, port)) {
                return false;
            }
            if (at[bytes] == '\0') {
                break;
            }
            at += bytes + 1;
        }
    }
    return true;
}

bool pc_addresses_unix(struct pc_addresses *addresses, const char *program, const char *path)
{
    addresses->count = 0;
    if (strlen(path) > PC_ADDRESS_BYTES_MAX - 16) {
        fprintf(stderr, "%s: the path of the unix socket is too long\n", program);
        return false;
    }
    char *text = next_text(addresses, program);
    snprintf(text, PC_ADDRESS_BYTES_MAX, "unix:%s", path);
    return true;
}
