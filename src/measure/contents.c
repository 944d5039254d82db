/* SPDX-License-Identifier: Apache-2.0 */
/* contents: keys and values out of numbers. */
#include "measure/contents.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"

#include <errno.h>
#include <string.h>

#define POOL_SEED UINT64_C(0x7065726365726f31)

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char class_letters[] = "vnmo";

enum { BASE = 62 };

/* SplitMix64's finaliser as a hash of one or two numbers. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    struct pc_random random;
    pc_random_init(&random, a ^ (b * UINT64_C(0xd6e8feb86659fd93)));
    return pc_random_next(&random);
}

static uint64_t sizes_hash(const struct pc_sizes *sizes, uint64_t hash)
{
    uint64_t parts[3];
    memcpy(&parts[0], &sizes->location, sizeof(parts[0]));
    memcpy(&parts[1], &sizes->scale, sizeof(parts[1]));
    memcpy(&parts[2], &sizes->shape, sizeof(parts[2]));
    hash = mix(hash, sizes->kind);
    hash = mix(hash, (uint64_t)sizes->low << 32 | sizes->high);
    return mix(mix(mix(hash, parts[0]), parts[1]), parts[2]);
}

static bool prefix_legal(const char *prefix)
{
    for (const char *at = prefix; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f) {
            return false;
        }
    }
    return strlen(prefix) <= PC_CONTENTS_PREFIX_BYTES_MAX;
}

int pc_contents_init(struct pc_contents *contents, const char *prefix, uint64_t key_count,
                     const struct pc_sizes *key_sizes, const struct pc_sizes *value_sizes)
{
    if (!prefix_legal(prefix)) {
        return -EINVAL;
    }
    *contents = (struct pc_contents){.key_sizes = *key_sizes, .value_sizes = *value_sizes};
    contents->prefix_bytes = (uint32_t)strlen(prefix);
    memcpy(contents->prefix, prefix, contents->prefix_bytes);
    contents->digit_count = 1;
    for (uint64_t rest = key_count - 1; rest >= BASE; rest /= BASE) {
        contents->digit_count++;
    }

    struct pc_random random;
    pc_random_init(&random, sizes_hash(value_sizes, sizes_hash(key_sizes, 1)));
    for (size_t i = 0; i < sizeof(contents->filler); i++) {
        contents->filler[i] = digits[pc_random_below(&random, BASE)];
    }
    pc_random_init(&random, POOL_SEED);
    for (size_t i = 0; i < PC_CONTENTS_POOL_BYTES; i++) {
        contents->pool[i] = (uint8_t)pc_random_next(&random);
    }
    memcpy(contents->pool + PC_CONTENTS_POOL_BYTES, contents->pool, PC_CONTENTS_POOL_BYTES);
    return 0;
}

size_t pc_contents_key(const struct pc_contents *contents, uint64_t key, char *out_text)
{
    size_t count = contents->prefix_bytes;
    memcpy(out_text, contents->prefix, count);
    out_text[count++] = class_letters[pc_key_class_of(key) & 3];

    uint64_t number = key & ((UINT64_C(1) << PC_KEY_CLASS_SHIFT) - 1);
    char reversed[16];
    uint32_t digit_count = 0;
    do {
        reversed[digit_count++] = digits[number % BASE];
        number /= BASE;
    } while (number != 0 || digit_count < contents->digit_count);
    while (digit_count > 0) {
        out_text[count++] = reversed[--digit_count];
    }

    const uint32_t wanted = contents->key_sizes.kind == PC_SIZES_FIXED
                                ? contents->key_sizes.low
                                : pc_sizes_of(&contents->key_sizes, mix(key, 1));
    if (wanted > count) {
        memcpy(out_text + count, contents->filler, wanted - count);
        count = wanted;
    }
    return count;
}

uint32_t pc_contents_value_bytes(const struct pc_contents *contents, uint64_t key)
{
    return contents->value_sizes.kind == PC_SIZES_FIXED
               ? contents->value_sizes.low
               : pc_sizes_of(&contents->value_sizes, mix(key, 2));
}

void pc_contents_fill(const struct pc_contents *contents, uint64_t number, uint8_t *out_bytes,
                      size_t count)
{
    const uint8_t *window = contents->pool + mix(number, 3) % PC_CONTENTS_POOL_BYTES;
    while (count > 0) {
        const size_t part = pc_min_size(count, PC_CONTENTS_POOL_BYTES);
        memcpy(out_bytes, window, part);
        out_bytes += part;
        count -= part;
    }
}

bool pc_contents_filled(const struct pc_contents *contents, uint64_t number, const uint8_t *bytes,
                        size_t count)
{
    const uint8_t *window = contents->pool + mix(number, 3) % PC_CONTENTS_POOL_BYTES;
    while (count > 0) {
        const size_t part = pc_min_size(count, PC_CONTENTS_POOL_BYTES);
        if (memcmp(bytes, window, part) != 0) {
            return false;
        }
        bytes += part;
        count -= part;
    }
    return true;
}

void pc_contents_value(const struct pc_contents *contents, uint64_t key, uint32_t version,
                       uint8_t *out_value)
{
    const uint32_t count = pc_contents_value_bytes(contents, key);
    if (count < PC_CONTENTS_HEAD_BYTES) {
        pc_contents_fill(contents, key, out_value, count);
        return;
    }
    const uint64_t hash = mix(key, (uint64_t)version << 8 | 4);
    pc_be32_store(out_value, version);
    pc_be32_store(out_value + 4, (uint32_t)hash);
    pc_contents_fill(contents, hash, out_value + PC_CONTENTS_HEAD_BYTES,
                     count - PC_CONTENTS_HEAD_BYTES);
}

void pc_contents_chunk(uint64_t key, uint8_t out_chunk[PC_CONTENTS_CHUNK_BYTES])
{
    pc_be64_store(out_chunk, mix(key, 5));
}

/* What follows a value that may have been appended to: whole chunks, nothing else. */
static bool chunks_right(uint64_t key, const uint8_t *bytes, size_t count)
{
    uint8_t chunk[PC_CONTENTS_CHUNK_BYTES];
    pc_contents_chunk(key, chunk);
    if (count % PC_CONTENTS_CHUNK_BYTES != 0) {
        return false;
    }
    for (size_t at = 0; at < count; at += PC_CONTENTS_CHUNK_BYTES) {
        if (memcmp(bytes + at, chunk, PC_CONTENTS_CHUNK_BYTES) != 0) {
            return false;
        }
    }
    return true;
}

/* Whether the first `count` bytes are those of a value of `expected` bytes. */
static bool beginning_right(const struct pc_contents *contents, uint64_t key, uint32_t expected,
                            const uint8_t *value, size_t count)
{
    if (expected < PC_CONTENTS_HEAD_BYTES) {
        return pc_contents_filled(contents, key, value, count);
    }
    if (count < PC_CONTENTS_HEAD_BYTES) {
        return true; /* too short to say which version it is */
    }
    const uint64_t hash = mix(key, (uint64_t)pc_be32_load(value) << 8 | 4);
    return pc_be32_load(value + 4) == (uint32_t)hash &&
           pc_contents_filled(contents, hash, value + PC_CONTENTS_HEAD_BYTES,
                              count - PC_CONTENTS_HEAD_BYTES);
}

enum pc_contents_verdict pc_contents_check(const struct pc_contents *contents, uint64_t key,
                                           const uint8_t *value, size_t value_bytes)
{
    const uint32_t expected = pc_contents_value_bytes(contents, key);
    const size_t common = pc_min_size(value_bytes, expected);
    if (!beginning_right(contents, key, expected, value, common)) {
        return PC_CONTENTS_WRONG;
    }
    if (value_bytes < expected) {
        return PC_CONTENTS_SHORT;
    }
    if (value_bytes == expected) {
        return PC_CONTENTS_RIGHT;
    }
    return contents->appends && chunks_right(key, value + expected, value_bytes - expected)
               ? PC_CONTENTS_RIGHT
               : PC_CONTENTS_WRONG;
}
