/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/memcached_meta.h"

#include "protocols/decimal.h"

#include <string.h>

enum { DIGITS32_MAX = 11, DIGITS64_MAX = 22 };

/* A flag with its argument, the letter cut off. */
struct flag {
    const uint8_t *at;
    size_t count;
};

static bool read_u64(struct flag flag, uint64_t *out)
{
    return flag.count <= DIGITS64_MAX && pc_decimal_read_u64(flag.at, flag.count, out);
}

static bool read_u32(struct flag flag, uint32_t *out)
{
    uint64_t value;
    if (flag.count > DIGITS32_MAX || !pc_decimal_read_u64(flag.at, flag.count, &value) ||
        value > UINT32_MAX) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool read_i32(struct flag flag, int32_t *out)
{
    int64_t value;
    if (flag.count > DIGITS32_MAX || !pc_decimal_read_i64(flag.at, flag.count, &value) ||
        value < INT32_MIN || value > INT32_MAX) {
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool decode_key(const uint8_t *at, const struct pc_memcached_request *request,
                       struct pc_memcached_meta *meta)
{
    const size_t bytes = pc_base64_decode(meta->key, at + request->key_at, request->key_bytes);
    meta->key_is_binary = bytes > 0;
    meta->key_bytes = (uint8_t)bytes;
    return bytes > 0;
}

/* What is wrong with a flag that may be fine otherwise; reading goes on behind it. */
static enum pc_memcached_reply unless(bool good, enum pc_memcached_reply reply)
{
    return good ? PC_MEMCACHED_SAY_NOTHING : reply;
}

static enum pc_memcached_reply read_number(uint8_t letter, struct flag flag,
                                           struct pc_memcached_meta *meta)
{
    switch (letter) {
    case 'N':
        meta->vivifies = true;
        return unless(read_i32(flag, &meta->vivify_exptime), PC_MEMCACHED_SAY_BAD_TOKEN);
    case 'T':
        meta->sets_expiry = true;
        return unless(read_i32(flag, &meta->exptime), PC_MEMCACHED_SAY_BAD_TOKEN);
    case 'R':
        meta->recaches = true;
        return unless(read_i32(flag, &meta->recache_exptime), PC_MEMCACHED_SAY_BAD_TOKEN);
    case 'F':
        return unless(read_u32(flag, &meta->client_flags), PC_MEMCACHED_SAY_BAD_FORMAT);
    case 'C':
        meta->has_cas = true;
        return unless(read_u64(flag, &meta->cas), PC_MEMCACHED_SAY_BAD_TOKEN);
    case 'E':
        meta->has_cas_new = true;
        return unless(read_u64(flag, &meta->cas_new), PC_MEMCACHED_SAY_BAD_TOKEN);
    case 'J':
        return unless(read_u64(flag, &meta->initial), PC_MEMCACHED_SAY_BAD_INITIAL);
    case 'D':
        return unless(read_u64(flag, &meta->delta), PC_MEMCACHED_SAY_BAD_META_DELTA);
    case 'O':
        return unless(flag.count < PC_MEMCACHED_OPAQUE_BYTES_MAX, PC_MEMCACHED_SAY_BAD_OPAQUE);
    default:
        return PC_MEMCACHED_SAY_BAD_FLAG;
    }
}

static enum pc_memcached_reply read_flag(uint8_t letter, struct flag flag, const uint8_t *at,
                                         const struct pc_memcached_request *request,
                                         struct pc_memcached_meta *meta)
{
    switch (letter) {
    case 'b':
        return unless(decode_key(at, request, meta), PC_MEMCACHED_SAY_BAD_KEY);
    case 'v':
        meta->wants_value = true;
        break;
    case 'q':
        meta->quiet = true;
        break;
    case 'u':
        meta->no_update = true;
        break;
    case 'x':
        meta->remove_value = true;
        break;
    case 'I':
        meta->stale = true;
        break;
    case 'M':
        meta->mode = flag.count > 0 ? (char)flag.at[0] : ' ';
        break;
    case 'k':
    case 's':
    case 't':
    case 'c':
    case 'f':
    case 'h':
    case 'l':
    case 'P': /* P and L are for proxies */
    case 'L':
        break;
    default:
        return read_number(letter, flag, meta);
    }
    return PC_MEMCACHED_SAY_NOTHING;
}

/* Cut the words behind the command; false: too many, or one that begins like no flag. */
static bool cut_flags(const uint8_t *at, const struct pc_memcached_request *request,
                      struct pc_memcached_meta *meta)
{
    const uint32_t end = request->words_at + request->words_bytes;
    /* The command and the key, for ms also the length. */
    const unsigned others = request->verb == PC_MEMCACHED_MS ? 3 : 2;
    unsigned words = 1;
    for (uint32_t i = request->words_at;;) {
        while (i < end && at[i] == ' ') {
            i++;
        }
        if (i == end) {
            return true;
        }
        const uint32_t first = i;
        while (i < end && at[i] != ' ') {
            i++;
        }
        if (++words > PC_MEMCACHED_META_WORDS_MAX) {
            meta->refusal = PC_MEMCACHED_SAY_TOO_MANY_FLAGS;
            return false;
        }
        if (words > others) {
            const bool like_a_flag =
                (at[first] > 64 && at[first] < 123) || (at[first] >= '0' && at[first] <= '9');
            if (!like_a_flag) {
                meta->refusal = PC_MEMCACHED_SAY_BAD_FORMAT;
                return false;
            }
            meta->flags[meta->flag_count].at = (uint16_t)first;
            meta->flags[meta->flag_count++].bytes = (uint16_t)(i - first);
        }
    }
}

void pc_memcached_meta_parse(const uint8_t *at, const struct pc_memcached_request *request,
                             struct pc_memcached_meta *meta)
{
    memset(meta, 0, offsetof(struct pc_memcached_meta, key));
    meta->delta = 1;
    meta->key_bytes = request->key_bytes;
    if (!cut_flags(at, request, meta)) {
        return;
    }
    uint64_t seen[2] = {0};
    for (unsigned i = 0; i < meta->flag_count; i++) {
        const uint8_t *text = at + meta->flags[i].at;
        const uint8_t letter = text[0];
        uint64_t *set = &seen[letter >> 6];
        if ((*set >> (letter & 63) & 1) != 0) {
            meta->refusal = PC_MEMCACHED_SAY_TWICE;
            return;
        }
        *set |= UINT64_C(1) << (letter & 63);
        const struct flag flag = {text + 1, (size_t)meta->flags[i].bytes - 1};
        const enum pc_memcached_reply wrong = read_flag(letter, flag, at, request, meta);
        meta->refusal = wrong != 0 ? (uint8_t)wrong : meta->refusal;
        if (wrong == PC_MEMCACHED_SAY_BAD_FLAG) {
            return;
        }
    }
}

static char *put_number(char *at, char letter, uint64_t number)
{
    at[0] = ' ';
    at[1] = letter;
    return at + 2 + pc_decimal_write(at + 2, number);
}

static char *put_bytes(char *at, const void *bytes, size_t count)
{
    memcpy(at, bytes, count);
    return at + count;
}

static char *put_key(char *into, const uint8_t *at, const struct pc_memcached_request *request,
                     const struct pc_memcached_meta *meta)
{
    into = put_bytes(into, " k", 2);
    if (!meta->key_is_binary) {
        return put_bytes(into, at + request->key_at, request->key_bytes);
    }
    into += pc_base64_encode(into, meta->key, meta->key_bytes);
    return put_bytes(into, " b", 2);
}

static char *put_fact(char *into, char letter, const struct pc_memcached_facts *facts)
{
    switch (letter) {
    case 's':
        return put_number(into, 's', facts->value_bytes);
    case 'c':
        return put_number(into, 'c', facts->cas);
    case 'f':
        return put_number(into, 'f', facts->flags);
    case 'l':
        return put_number(into, 'l', facts->idle_seconds);
    case 'h':
        return put_number(into, 'h', facts->fetched);
    default:
        return facts->ttl_seconds < 0 ? put_bytes(into, " t-1", 4)
                                      : put_number(into, 't', (uint64_t)facts->ttl_seconds);
    }
}

size_t pc_memcached_meta_plain_line(char *into, const uint8_t *at,
                                    const struct pc_memcached_request *request,
                                    const struct pc_memcached_facts *facts)
{
    char *end = put_bytes(into, request->wants_value ? "VA" : "HD", 2);
    if (request->wants_value) {
        *end++ = ' ';
        end += pc_decimal_write(end, facts->value_bytes);
    }
    const uint8_t *const stop = at + request->words_at + request->words_bytes;
    for (const uint8_t *flag = at + request->key_at + request->key_bytes; flag < stop; flag += 2) {
        if (flag[1] == 'k') {
            end = put_bytes(end, " k", 2);
            end = put_bytes(end, at + request->key_at, request->key_bytes);
        } else if (flag[1] != 'v') {
            end = put_fact(end, (char)flag[1], facts);
        }
    }
    end = put_bytes(end, "\r\n", 2);
    return (size_t)(end - into);
}

size_t pc_memcached_meta_line(char *into, const char *status, const char *told, const uint8_t *at,
                              const struct pc_memcached_request *request,
                              const struct pc_memcached_meta *meta,
                              const struct pc_memcached_facts *facts)
{
    char *end = put_bytes(into, status, 2);
    if (status[0] == 'V') {
        *end++ = ' ';
        end += pc_decimal_write(end, facts->value_bytes);
    }
    for (unsigned i = 0; i < meta->flag_count; i++) {
        const uint8_t *text = at + meta->flags[i].at;
        if (strchr(told, text[0]) == NULL) {
            continue;
        }
        if (text[0] == 'k') {
            end = put_key(end, at, request, meta);
        } else if (text[0] == 'O') {
            *end++ = ' ';
            end = put_bytes(end, text, meta->flags[i].bytes);
        } else {
            end = put_fact(end, (char)text[0], facts);
        }
    }
    if (facts != NULL) {
        end = facts->claimed ? put_bytes(end, " Z", 2) : end;
        end = facts->stale ? put_bytes(end, " X", 2) : end;
        end = facts->won ? put_bytes(end, " W", 2) : end;
    }
    end = put_bytes(end, "\r\n", 2);
    return (size_t)(end - into);
}
