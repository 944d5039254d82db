/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seam_client: many checkers on real sockets, from one thread.
 *
 * Each connection has a seeded depth, shape and fate; when one is through, the next begins, until
 * enough requests were verified. Bytes go and come in seeded cuts; now and then a connection reads
 * nothing for a while.
 *
 * Errors   A wrong byte, a close too early, or no progress for a minute: `trouble` says it.
 */
#ifndef PC_TESTS_SEAM_CLIENT_H
#define PC_TESTS_SEAM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct seam_client_config {
    uint64_t seed;
    const char *address; /* as pc_runtime_address says it */
    unsigned open_count; /* connections at a time */
    uint64_t request_count;
    unsigned call_count_max;
    unsigned connection_count_max; /* in all; connections are numbered from 0 */
};

struct seam_client_result {
    uint64_t verified, connections;
    uint64_t half_closed, reset, hung_up, malformed, abandoned;
    char trouble[240]; /* empty: all is well */
};

/* May block. */
void seam_client_run(const struct seam_client_config *config, struct seam_client_result *out);

#endif
