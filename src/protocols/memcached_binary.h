/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached_binary: the binary protocol, which a first byte of 0x80 tells apart from text.
 *
 * Core     any: nothing here has state.
 * Limits   As the text protocol's; a longer key, or lengths that contradict each other, are
 * refused. Source   memcached's doc/protocol-binary.txt.
 */
#ifndef PC_PROTOCOLS_MEMCACHED_BINARY_H
#define PC_PROTOCOLS_MEMCACHED_BINARY_H

#include "base/bytes.h"
#include "protocols/memcached.h"

enum {
    PC_MEMCACHED_BINARY_MAGIC = 0x80,
    PC_MEMCACHED_BINARY_HEADER_BYTES = 24,
};

/* What a request does; several opcodes do the same, quietly or with the key in the answer. */
enum pc_memcached_binary_act {
    PC_BINARY_UNKNOWN,
    PC_BINARY_GET,
    PC_BINARY_TOUCH,
    PC_BINARY_STORE,
    PC_BINARY_EXTEND, /* append, prepend */
    PC_BINARY_DELETE,
    PC_BINARY_COUNT,
    PC_BINARY_QUIT,
    PC_BINARY_FLUSH,
    PC_BINARY_NOOP,
    PC_BINARY_VERSION,
    PC_BINARY_STAT,
    PC_BINARY_VERBOSITY,
};

enum pc_memcached_binary_status {
    PC_BINARY_OK = 0x00,
    PC_BINARY_NOT_FOUND = 0x01,
    PC_BINARY_EXISTS = 0x02,
    PC_BINARY_TOO_LARGE = 0x03,
    PC_BINARY_INVALID = 0x04,
    PC_BINARY_NOT_STORED = 0x05,
    PC_BINARY_NOT_NUMBER = 0x06,
    PC_BINARY_NO_COMMAND = 0x81,
    PC_BINARY_NO_MEMORY = 0x82,
};

/* A row of the table of opcodes. */
struct pc_memcached_opcode {
    uint8_t act;         /* enum pc_memcached_binary_act */
    uint8_t extra_bytes; /* that must be there */
    char mode; /* of a store, as the M flag of ms; of a count D or I; of a get T: touches */
    bool quiet;
    bool tells_key;
};

const struct pc_memcached_opcode *pc_memcached_opcode(uint8_t opcode);

/* The request at `at`, which begins with the magic. `refusal` is set when its lengths or arguments
 * are not as the protocol says. */
enum pc_memcached_parsed pc_memcached_binary_parse(const uint8_t *at, size_t count,
                                                   struct pc_memcached_request *out,
                                                   size_t *out_bytes);

/* The header of an answer to the request whose header is at `request`. */
void pc_memcached_binary_header(uint8_t *into, const uint8_t *request,
                                enum pc_memcached_binary_status status, uint32_t extra_bytes,
                                uint32_t key_bytes, uint64_t value_bytes, uint64_t cas);

/* What a status other than OK says in words. */
const char *pc_memcached_binary_text(enum pc_memcached_binary_status status);

#endif
