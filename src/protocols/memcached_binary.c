/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/memcached_binary.h"

#include <string.h>

static const struct pc_memcached_opcode opcodes[] = {
    [0x00] = {PC_BINARY_GET, 0, 0, false, false},
    [0x01] = {PC_BINARY_STORE, 8, 'S', false, false},
    [0x02] = {PC_BINARY_STORE, 8, 'E', false, false},
    [0x03] = {PC_BINARY_STORE, 8, 'R', false, false},
    [0x04] = {PC_BINARY_DELETE, 0, 0, false, false},
    [0x05] = {PC_BINARY_COUNT, 20, 'I', false, false},
    [0x06] = {PC_BINARY_COUNT, 20, 'D', false, false},
    [0x07] = {PC_BINARY_QUIT, 0, 0, false, false},
    [0x08] = {PC_BINARY_FLUSH, 0, 0, false, false},
    [0x09] = {PC_BINARY_GET, 0, 0, true, false},
    [0x0a] = {PC_BINARY_NOOP, 0, 0, false, false},
    [0x0b] = {PC_BINARY_VERSION, 0, 0, false, false},
    [0x0c] = {PC_BINARY_GET, 0, 0, false, true},
    [0x0d] = {PC_BINARY_GET, 0, 0, true, true},
    [0x0e] = {PC_BINARY_EXTEND, 0, 'A', false, false},
    [0x0f] = {PC_BINARY_EXTEND, 0, 'P', false, false},
    [0x10] = {PC_BINARY_STAT, 0, 0, false, false},
    [0x11] = {PC_BINARY_STORE, 8, 'S', true, false},
    [0x12] = {PC_BINARY_STORE, 8, 'E', true, false},
    [0x13] = {PC_BINARY_STORE, 8, 'R', true, false},
    [0x14] = {PC_BINARY_DELETE, 0, 0, true, false},
    [0x15] = {PC_BINARY_COUNT, 20, 'I', true, false},
    [0x16] = {PC_BINARY_COUNT, 20, 'D', true, false},
    [0x17] = {PC_BINARY_QUIT, 0, 0, true, false},
    [0x18] = {PC_BINARY_FLUSH, 0, 0, true, false},
    [0x19] = {PC_BINARY_EXTEND, 0, 'A', true, false},
    [0x1a] = {PC_BINARY_EXTEND, 0, 'P', true, false},
    [0x1b] = {PC_BINARY_VERBOSITY, 4, 0, false, false},
    [0x1c] = {PC_BINARY_TOUCH, 4, 'T', false, false},
    [0x1d] = {PC_BINARY_GET, 4, 'T', false, false},
    [0x1e] = {PC_BINARY_GET, 4, 'T', true, false},
    [0x23] = {PC_BINARY_GET, 4, 'T', false, true},
    [0x24] = {PC_BINARY_GET, 4, 'T', true, true},
};

const struct pc_memcached_opcode *pc_memcached_opcode(uint8_t opcode)
{
    static const struct pc_memcached_opcode unknown = {.act = PC_BINARY_UNKNOWN};
    return opcode < sizeof(opcodes) / sizeof(opcodes[0]) ? &opcodes[opcode] : &unknown;
}

/* Which parts a request of this kind has: extras, a key, a value. */
static bool parts_are_good(const struct pc_memcached_opcode *opcode, uint32_t extra_bytes,
                           uint32_t key_bytes, uint64_t value_bytes)
{
    const bool stores = opcode->act == PC_BINARY_STORE || opcode->act == PC_BINARY_EXTEND;
    const bool has_key = stores || opcode->act == PC_BINARY_GET || opcode->act == PC_BINARY_TOUCH ||
                         opcode->act == PC_BINARY_DELETE || opcode->act == PC_BINARY_COUNT;
    switch ((enum pc_memcached_binary_act)opcode->act) {
    case PC_BINARY_UNKNOWN:
        return true;
    case PC_BINARY_FLUSH:
        return (extra_bytes == 0 || extra_bytes == 4) && key_bytes == 0 && value_bytes == 0;
    case PC_BINARY_STAT:
        return extra_bytes == 0 && value_bytes == 0;
    default:
        return extra_bytes == opcode->extra_bytes && (key_bytes > 0) == has_key &&
               (stores || value_bytes == 0);
    }
}

enum pc_memcached_parsed pc_memcached_binary_parse(const uint8_t *at, size_t count,
                                                   struct pc_memcached_request *out,
                                                   size_t *out_bytes)
{
    *out_bytes = PC_MEMCACHED_BINARY_HEADER_BYTES;
    if (count < PC_MEMCACHED_BINARY_HEADER_BYTES) {
        return PC_MEMCACHED_MORE;
    }
    const uint32_t key_bytes = pc_be16_load(at + 2);
    const uint32_t extra_bytes = at[4];
    const uint32_t body_bytes = pc_be32_load(at + 8);
    *out = (struct pc_memcached_request){.verb = PC_MEMCACHED_BINARY};
    if (key_bytes > PC_MEMCACHED_KEY_BYTES_MAX || extra_bytes + key_bytes > body_bytes) {
        out->refusal = extra_bytes + key_bytes > body_bytes ? PC_MEMCACHED_SAY_ERROR
                                                            : PC_MEMCACHED_SAY_BAD_FORMAT;
        return PC_MEMCACHED_DONE;
    }
    const size_t head_bytes = PC_MEMCACHED_BINARY_HEADER_BYTES + extra_bytes + key_bytes;
    out->key_at = PC_MEMCACHED_BINARY_HEADER_BYTES + extra_bytes;
    out->key_bytes = (uint8_t)key_bytes;
    out->key_count = key_bytes > 0;
    out->value_at = (uint32_t)head_bytes;
    out->value_bytes = body_bytes - extra_bytes - key_bytes;
    out->value_follows = out->value_bytes > PC_MEMCACHED_INLINE_BYTES_MAX;
    out->number = pc_be64_load(at + 16);
    *out_bytes = head_bytes + (out->value_follows ? 0 : out->value_bytes);
    if (count < *out_bytes) {
        return PC_MEMCACHED_MORE;
    }
    if (!parts_are_good(pc_memcached_opcode(at[1]), extra_bytes, key_bytes, out->value_bytes)) {
        out->refusal = PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    return PC_MEMCACHED_DONE;
}

void pc_memcached_binary_header(uint8_t *into, const uint8_t *request,
                                enum pc_memcached_binary_status status, uint32_t extra_bytes,
                                uint32_t key_bytes, uint64_t value_bytes, uint64_t cas)
{
    into[0] = 0x81;
    into[1] = request[1];
    into[2] = (uint8_t)(key_bytes >> 8);
    into[3] = (uint8_t)key_bytes;
    into[4] = (uint8_t)extra_bytes;
    into[5] = 0;
    into[6] = (uint8_t)(status >> 8);
    into[7] = (uint8_t)status;
    pc_be32_store(into + 8, (uint32_t)(extra_bytes + key_bytes + value_bytes));
    memcpy(into + 12, request + 12, 4);
    pc_be64_store(into + 16, cas);
}

const char *pc_memcached_binary_text(enum pc_memcached_binary_status status)
{
    switch (status) {
    case PC_BINARY_NOT_FOUND:
        return "Not found";
    case PC_BINARY_EXISTS:
        return "Data exists for key.";
    case PC_BINARY_TOO_LARGE:
        return "Too large.";
    case PC_BINARY_INVALID:
        return "Invalid arguments";
    case PC_BINARY_NOT_STORED:
        return "Not stored.";
    case PC_BINARY_NOT_NUMBER:
        return "Non-numeric server-side value for incr or decr";
    case PC_BINARY_NO_COMMAND:
        return "Unknown command";
    case PC_BINARY_NO_MEMORY:
        return "Out of memory";
    default:
        return "";
    }
}
