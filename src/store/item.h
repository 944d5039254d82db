/* SPDX-License-Identifier: Apache-2.0 */
/*
 * item: how one key with its value lies in a segment.
 *
 *     +--------+--------+--------+ - - - - + - - - - - - - +-----+-------+---------+
 *     | shape  | cas    | expiry | flags   | wide cas      | key | value | 0 to 3  |
 *     | 4      | 4      | 4      | 0 or 4  | 0 or 8        |     |       | padding |
 *     +--------+--------+--------+ - - - - + - - - - - - - +-----+-------+---------+
 *
 * shape    8 bits key bytes, 7 bits enum pc_item_bit, 17 bits value bytes.
 * cas      The CAS number's counter less the cas_base of the segment. A number that this cannot
 *          say (one set by a client, or an item moved far) is kept whole in `wide cas`.
 * expiry   The second at which the item is gone, 0 for never.
 *
 * A value that is chunked holds a struct pc_chain instead of bytes; its chunks are entries of
 * segments too, told from items by a key length of zero.
 *
 * What an item costs beyond key and value, at a 16-byte key and a 100-byte value, in bytes:
 *
 *     header           12     CAS and expiry included
 *     padding           0     1.5 in the mean over all lengths
 *     slot and bucket  11.4   11.1 to 11.5 as the index grows (index.h)
 *     segment           0.1   unused end and descriptor, at 64 KiB a segment
 *     total            23.5
 *
 * Owner    The core that owns the slice; other cores read with pc_word_load and check (rule 4).
 * Units    A place is an offset in the pool in words of 4 bytes; 0 is no place.
 */
#ifndef PC_STORE_ITEM_H
#define PC_STORE_ITEM_H

#include "store/words.h"

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

struct pc_item {
    uint32_t shape;
    uint32_t cas;
    uint32_t expiry;
    uint32_t words[];
};

enum pc_item_bit {
    PC_ITEM_FLAGS = 1 << 8,
    PC_ITEM_WIDE_CAS = 1 << 9,
    PC_ITEM_STALE = 1 << 10,
    PC_ITEM_CLAIMED = 1 << 11,
    PC_ITEM_FETCHED = 1 << 12,
    PC_ITEM_CHUNKED = 1 << 13,
    PC_ITEM_DEAD = 1 << 14, /* in no slot any more; chunks: of no value any more */
};

enum {
    PC_ITEM_HEADER_BYTES = 12,
    PC_ITEM_OPTION_BYTES_MAX = 12, /* flags and wide cas */
    PC_ITEM_BITS = 0x7f00,
    PC_ITEM_VALUE_SHIFT = 15,
    PC_ITEM_VALUE_BYTES_MAX = (1 << 17) - 1,
    PC_PLACE_BITS = 38, /* 1 TiB of pool in words of 4 bytes */
    PC_PLACE_WORD_BYTES = 4,
};

static_assert(sizeof(struct pc_item) == PC_ITEM_HEADER_BYTES, "12 bytes an item");
static_assert(PC_ITEM_VALUE_SHIFT + 17 == 32, "shape is one word");
static_assert((PC_ITEM_BITS | PC_ITEM_DEAD | PC_ITEM_FLAGS) == PC_ITEM_BITS, "7 bits");

/* The value of a chunked item. */
struct pc_chain {
    uint32_t first[2];
    uint32_t value_bytes[2];
};

/* A piece of a chunked value, or of a body on its way in. */
struct pc_chunk {
    uint32_t shape; /* PC_ITEM_DEAD or 0 */
    uint32_t bytes;
    uint32_t next[2];
    uint32_t head[2]; /* place of the item; 0 while the body is on its way in */
    uint8_t payload[];
};

static_assert(sizeof(struct pc_chunk) == 24, "a chunk costs 24 bytes");

static inline uint32_t pc_word_align(uint32_t bytes)
{
    return (bytes + 3) & ~3u;
}

static inline uint32_t pc_shape_make(uint32_t key_bytes, uint32_t value_bytes, uint32_t bits)
{
    PC_ASSERT(key_bytes <= 0xff && value_bytes <= PC_ITEM_VALUE_BYTES_MAX);
    return key_bytes | bits | value_bytes << PC_ITEM_VALUE_SHIFT;
}

static inline uint32_t pc_shape_key_bytes(uint32_t shape)
{
    return shape & 0xff;
}

static inline uint32_t pc_shape_value_bytes(uint32_t shape)
{
    return shape >> PC_ITEM_VALUE_SHIFT;
}

/* Bytes of the optional fields, which their bits count: 4 for the flags, 8 for a wide cas. */
static inline uint32_t pc_shape_option_bytes(uint32_t shape)
{
    static_assert(PC_ITEM_FLAGS >> 6 == 4 && PC_ITEM_WIDE_CAS >> 6 == 8, "bits that count");
    return shape >> 6 & 12;
}

static inline uint32_t pc_shape_item_bytes(uint32_t shape)
{
    return pc_word_align(PC_ITEM_HEADER_BYTES + pc_shape_option_bytes(shape) +
                         pc_shape_key_bytes(shape) + pc_shape_value_bytes(shape));
}

static inline const uint8_t *pc_item_key(const struct pc_item *item, uint32_t shape)
{
    return (const uint8_t *)item + PC_ITEM_HEADER_BYTES + pc_shape_option_bytes(shape);
}

static inline const uint8_t *pc_item_value(const struct pc_item *item, uint32_t shape)
{
    return pc_item_key(item, shape) + pc_shape_key_bytes(shape);
}

static inline uint32_t pc_item_flags(const struct pc_item *item, uint32_t shape)
{
    return (shape & PC_ITEM_FLAGS) != 0 ? pc_word_own(&item->words[0]) : 0;
}

static inline uint64_t pc_item_wide_cas(const struct pc_item *item, uint32_t shape)
{
    return pc_word_pair_own(&item->words[(shape & PC_ITEM_FLAGS) != 0 ? 1 : 0]);
}

/* The chain lies behind the key, at any alignment. */
static inline struct pc_chain pc_item_chain(const struct pc_item *item, uint32_t shape)
{
    struct pc_chain chain;
    memcpy(&chain, pc_item_value(item, shape), sizeof(chain));
    return chain;
}

static inline uint64_t pc_pair(const uint32_t pair[2])
{
    return pair[0] | (uint64_t)pair[1] << 32;
}

/* Bytes of the value, chunked or not. */
static inline uint64_t pc_item_value_bytes(const struct pc_item *item, uint32_t shape)
{
    if ((shape & PC_ITEM_CHUNKED) != 0) {
        const struct pc_chain chain = pc_item_chain(item, shape);
        return pc_pair(chain.value_bytes);
    }
    return pc_shape_value_bytes(shape);
}

static inline uint32_t pc_chunk_entry_bytes(const struct pc_chunk *chunk)
{
    return (uint32_t)sizeof(*chunk) + pc_word_align(pc_word_own(&chunk->bytes));
}

/* Bytes of whatever lies there, item or chunk. */
static inline uint32_t pc_entry_bytes(const void *entry)
{
    const struct pc_item *item = entry;
    const uint32_t shape = pc_word_own(&item->shape);
    return pc_shape_key_bytes(shape) != 0 ? pc_shape_item_bytes(shape)
                                          : pc_chunk_entry_bytes(entry);
}

static inline bool pc_expired(uint32_t expiry, uint32_t now)
{
    return expiry != 0 && expiry <= now;
}

/*
 * The second of the last access is kept in 12 bits of the slot as a distance from the birth of the
 * segment: 4 bits of exponent, 8 of fraction. To the second for 256 s, then within 1/256.
 */
enum { PC_ACCESS_FRACTION_BITS = 8, PC_ACCESS_MAX = (1 << 12) - 1 };

static inline uint32_t pc_access_encode(uint32_t seconds)
{
    if (seconds < 1u << PC_ACCESS_FRACTION_BITS) {
        return seconds;
    }
    const uint32_t exponent = 31 - (uint32_t)__builtin_clz(seconds) - PC_ACCESS_FRACTION_BITS;
    if (exponent >= 15) {
        return PC_ACCESS_MAX;
    }
    const uint32_t fraction = seconds >> exponent & ((1u << PC_ACCESS_FRACTION_BITS) - 1);
    return (exponent + 1) << PC_ACCESS_FRACTION_BITS | fraction;
}

static inline uint32_t pc_access_decode(uint32_t code)
{
    const uint32_t exponent = code >> PC_ACCESS_FRACTION_BITS;
    const uint32_t fraction = code & ((1u << PC_ACCESS_FRACTION_BITS) - 1);
    return exponent == 0 ? fraction : (fraction | 1u << PC_ACCESS_FRACTION_BITS) << (exponent - 1);
}

#endif
