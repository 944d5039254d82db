/* SPDX-License-Identifier: Apache-2.0 */
/* cache_totals: what the pages of `stats` are printed from; for cache_stats.c and the pages. */
#ifndef PC_SERVICES_CACHE_TOTALS_H
#define PC_SERVICES_CACHE_TOTALS_H

#include "services/cache_parts.h"

/* All places together, and what else the lines of `stats` are made of. */
struct pc_cache_totals {
    uint64_t counts[PC_COUNT_COUNT];
    struct pc_cache_read_counts reads;
    struct pc_slice_stats slices;
    uint64_t crawls; /* places that search for what has expired */
    struct pc_pool_stats pool;
    struct pc_choice choice;
    struct pc_cache_watch_totals watch;
    struct pc_runtime *runtime;
    uint64_t realtime_s;
    uint32_t now;
};

/* One line of a page, in the form of the request's protocol. */
void pc_cache_say_text(struct pc_cache_op *op, const char *name, const char *value);
void pc_cache_say_number(struct pc_cache_op *op, const char *name, uint64_t value);

/* The pages; `stats` itself is in cache_stats.c. */
void pc_cache_say_settings(struct pc_cache_op *op, const struct pc_cache_totals *totals);
void pc_cache_say_items(struct pc_cache_op *op, const struct pc_cache_totals *totals);
void pc_cache_say_slabs(struct pc_cache_op *op, const struct pc_cache_totals *totals);
void pc_cache_say_sizes(struct pc_cache_op *op, const struct pc_cache_totals *totals);

/* `stats conns`: a line a socket, in windows; op->extra starts at zero. False: come back.
 * Any lane. */
bool pc_cache_say_conns(struct pc_cache_op *op);

#endif
