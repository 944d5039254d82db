/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address: a URL to a protocol and a socket address.
 *
 * Errors   -EINVAL: not a URL we know. -ENOENT: the name does not resolve. `trouble` gets a line.
 * Core     boot: a name may be looked up.
 */
#ifndef PC_PROGRAMS_LOAD_ADDRESS_H
#define PC_PROGRAMS_LOAD_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

struct pc_dialect_ops;

/* protocol://host[:port], protocol://[v6]:port or protocol:///path. */
int pc_load_address_find(const char *url, const struct pc_dialect_ops **out_dialect,
                         struct sockaddr_storage *out_address, socklen_t *out_bytes, char *trouble,
                         size_t trouble_bytes);

#endif
