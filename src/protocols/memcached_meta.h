/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcached_meta: the flags of mg, ms, md, ma and me, and the lines that answer them.
 *
 * pc_memcached_parse finds the end of a meta request and its first words; the flags are read here,
 * when it is served, so that other requests need not carry them.
 *
 * Core     any: nothing here has state.
 * Memory   A key in base64 is decoded into the struct; other texts stay in the request.
 * Limits   20 words a line; an opaque of 32 bytes.
 * Source   memcached's doc/protocol.txt, 1.6.45.
 */
#ifndef PC_PROTOCOLS_MEMCACHED_META_H
#define PC_PROTOCOLS_MEMCACHED_META_H

#include "protocols/base64.h"
#include "protocols/memcached.h"

enum {
    PC_MEMCACHED_META_WORDS_MAX = 20,
    PC_MEMCACHED_OPAQUE_BYTES_MAX = 32,
    /* A status, a size, every flag once with its longest number, a key in base64, an opaque. */
    PC_MEMCACHED_META_LINE_BYTES_MAX = 3 + 20 + 10 * (2 + 20) +
                                       PC_BASE64_BYTES(PC_MEMCACHED_KEY_BYTES_MAX) + 5 +
                                       PC_MEMCACHED_OPAQUE_BYTES_MAX + 2 + 6 + 2,
};

struct pc_memcached_meta {
    uint8_t refusal; /* enum pc_memcached_reply; 0: nothing is wrong */
    char mode;       /* M, its first letter; 0: none given */
    bool key_is_binary;
    bool wants_value; /* v */
    bool quiet;       /* q: the usual outcome is not said */
    bool no_update;   /* u */
    bool has_cas, has_cas_new, vivifies, sets_expiry, recaches;
    bool stale;        /* I */
    bool remove_value; /* x */
    uint8_t key_bytes;
    uint8_t flag_count;
    struct {
        uint16_t at, bytes; /* in the request */
    } flags[PC_MEMCACHED_META_WORDS_MAX];
    int32_t exptime, vivify_exptime, recache_exptime; /* T, N, R */
    uint32_t client_flags;                            /* F */
    uint64_t cas, cas_new, delta, initial;            /* C, E, D, J */
    uint8_t key[PC_MEMCACHED_KEY_BYTES_MAX];          /* decoded; only if key_is_binary */
};

/* What answers may tell of an item. */
struct pc_memcached_facts {
    uint64_t value_bytes, cas;
    uint32_t flags;
    uint32_t idle_seconds;
    int64_t ttl_seconds; /* -1: it does not expire */
    bool fetched, won, stale, claimed;
};

/* Read the flags of the meta request at `at`. */
void pc_memcached_meta_parse(const uint8_t *at, const struct pc_memcached_request *request,
                             struct pc_memcached_meta *out);

/* The first line of the answer to a plain mg whose key is there.  Returns its bytes. */
size_t pc_memcached_meta_plain_line(char *into, const uint8_t *at,
                                    const struct pc_memcached_request *request,
                                    const struct pc_memcached_facts *facts);

/* The key, decoded if it came in base64. */
static inline const uint8_t *pc_memcached_meta_key(const uint8_t *at,
                                                   const struct pc_memcached_request *request,
                                                   const struct pc_memcached_meta *meta)
{
    return meta->key_is_binary ? meta->key : at + request->key_at;
}

/* A status of two letters, for VA the value's size, and in the order asked for those of the flags
 * that `told` lists. `facts` may be NULL where `told` has only k and O. Returns the line's bytes.
 */
size_t pc_memcached_meta_line(char *into, const char *status, const char *told, const uint8_t *at,
                              const struct pc_memcached_request *request,
                              const struct pc_memcached_meta *meta,
                              const struct pc_memcached_facts *facts);

#endif
