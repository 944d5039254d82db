/* SPDX-License-Identifier: Apache-2.0 */
/* The printing half of memcached.h. */
#include "protocols/memcached.h"

#include "protocols/decimal.h"

#include <string.h>

static const struct {
    const char *text;
    size_t bytes;
} replies[PC_MEMCACHED_REPLY_COUNT] = {
    [PC_MEMCACHED_SAY_NOTHING] = {"", 0},
#define PC_MEMCACHED_REPLY(name, text)                                                             \
    [PC_MEMCACHED_SAY_##name] = {text "\r\n", sizeof(text "\r\n") - 1},
#include "protocols/memcached_replies.def"
#undef PC_MEMCACHED_REPLY
};

const char *pc_memcached_reply(enum pc_memcached_reply reply, size_t *out_bytes)
{
    *out_bytes = replies[reply].bytes;
    return replies[reply].text;
}

/* Few ask for it: not where the others come by. */
static __attribute__((noinline)) char *put_cas(char *at, uint64_t cas)
{
    *at++ = ' ';
    return at + pc_decimal_write(at, cas);
}

inline size_t pc_memcached_value_line(char *into, const void *key, size_t key_bytes, uint32_t flags,
                                      uint32_t value_bytes, const uint64_t *cas)
{
    char *at = into;
    memcpy(at, "VALUE ", 6);
    at += 6;
    memcpy(at, key, key_bytes);
    at += key_bytes;
    *at++ = ' ';
    at += pc_decimal_write(at, flags);
    *at++ = ' ';
    at += pc_decimal_write(at, value_bytes);
    if (cas != NULL) {
        at = put_cas(at, *cas);
    }
    memcpy(at, "\r\n", 2);
    return (size_t)(at + 2 - into);
}
