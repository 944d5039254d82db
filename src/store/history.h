/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history: which keys were evicted lately, and from which queue.
 *
 * A key that is stored soon after it was evicted says that its queue is too small. Eviction uses
 * that to share the memory between items that are new and items that were read again, as ARC does
 * (Megiddo, Modha, FAST 2003); docs/decisions/0103 has the hit ratios.
 *
 * Owner    The slice's core.
 * Memory   Half a byte per item, mapped at the first eviction, made anew when there are many more.
 *          Without memory there is no history, and the sharing stays as it is.
 * Limits   A row of 8 fingerprints of 15 bits; a ninth pushes out the oldest. Two keys in one row
 *          are mistaken for each other once in 4096 times.
 */
#ifndef PC_STORE_HISTORY_H
#define PC_STORE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_pool;

enum { PC_HISTORY_ROW = 8 };

enum pc_history_found { PC_HISTORY_NONE, PC_HISTORY_FRESH, PC_HISTORY_KEPT };

struct pc_history {
    uint16_t (*rows)[PC_HISTORY_ROW]; /* newest first; 0: empty; lowest bit: it was kept */
    uint32_t row_count;               /* a power of two, 0: none yet */
    uint32_t fresh_count, kept_count; /* entries of either kind */
};

/* Make or remake it for so many items.  Core: owner. */
void pc_history_fit(struct pc_history *history, struct pc_pool *pool, uint64_t item_count);
void pc_history_fini(struct pc_history *history, struct pc_pool *pool);

/* The key with this hash was evicted, from the kept items or not.  Core: owner. */
void pc_history_add(struct pc_history *history, uint64_t hash, bool kept);

/* Whether it was, not long ago; it is forgotten by that.  Core: owner. */
enum pc_history_found pc_history_take(struct pc_history *history, uint64_t hash);

#endif
