/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addresses: memcached's way to say where to listen, turned into the runtime's.
 *
 * Memory   The texts lie in the struct.
 * Limits   16 addresses of up to 299 bytes.
 */
#ifndef PC_PROGRAMS_CACHE_ADDRESSES_H
#define PC_PROGRAMS_CACHE_ADDRESSES_H

#include "programs/common/options.h"

#include <stdbool.h>

enum { PC_ADDRESS_COUNT_MAX = 16, PC_ADDRESS_BYTES_MAX = 300 };

struct pc_addresses {
    char texts[PC_ADDRESS_COUNT_MAX][PC_ADDRESS_BYTES_MAX];
    const char *items[PC_ADDRESS_COUNT_MAX];
    unsigned count;
    char words[PC_ADDRESS_COUNT_MAX * PC_ADDRESS_BYTES_MAX]; /* as given, with commas between */
};

/* `given` holds host, host:port, [address]:port, or several of them with commas; what names no port
 * gets `port`. False after a line on standard error. */
bool pc_addresses_fill(struct pc_addresses *addresses, const char *program,
                       const struct pc_option_list *given, unsigned port);

/* One unix socket and nothing else. */
bool pc_addresses_unix(struct pc_addresses *addresses, const char *program, const char *path);

#endif
