/* SPDX-License-Identifier: Apache-2.0 */
/* history: fingerprints of evicted keys in rows that forget their oldest. */
#include "store/history.h"

#include "store/segment.h"

#include <string.h>

enum {
    PC_HISTORY_ITEMS_PER_ROW = 32, /* as good as 8, in docs/decisions/0103 */
    PC_HISTORY_ROWS_MIN = 256,     /* a page */
    PC_HISTORY_SLACK = 4,          /* times as many items before it is made anew */
};

static size_t rows_bytes(uint32_t row_count)
{
    return (size_t)row_count * sizeof(uint16_t[PC_HISTORY_ROW]);
}

void pc_history_fini(struct pc_history *history, struct pc_pool *pool)
{
    if (history->rows != NULL) {
        const size_t bytes = rows_bytes(history->row_count);
        pool->memory->unmap(pool->memory->ctx, history->rows, bytes);
        pc_pool_discharge(pool, bytes);
    }
    *history = (struct pc_history){0};
}

void pc_history_fit(struct pc_history *history, struct pc_pool *pool, uint64_t item_count)
{
    const uint64_t wanted = item_count / PC_HISTORY_ITEMS_PER_ROW;
    /* It never shrinks: when large items give way to small ones again it is still there. */
    if (history->row_count != 0 && wanted <= (uint64_t)history->row_count * PC_HISTORY_SLACK) {
        return;
    }
    pc_history_fini(history, pool);
    uint32_t row_count = PC_HISTORY_ROWS_MIN;
    while (row_count < wanted && row_count < UINT32_C(1) << 30) {
        row_count *= 2;
    }
    history->rows = pool->memory->map(pool->memory->ctx, rows_bytes(row_count));
    if (history->rows != NULL) {
        history->row_count = row_count;
        pc_pool_charge(pool, rows_bytes(row_count));
    }
}

/* Bits that choose neither bucket nor slice, for the most part; never 0 with the kind bit. */
static uint16_t print_of(uint64_t hash)
{
    return (uint16_t)((hash >> 30 & 0xfffe) | (hash >> 30 & 0xfffe ? 0 : 2));
}

static uint16_t *row_of(const struct pc_history *history, uint64_t hash)
{
    return history->rows[(hash >> 4) & (history->row_count - 1)];
}

static void count_entry(struct pc_history *history, uint16_t entry, int by)
{
    if (entry != 0) {
        *((entry & 1) != 0 ? &history->kept_count : &history->fresh_count) += (uint32_t)by;
    }
}

void pc_history_add(struct pc_history *history, uint64_t hash, bool kept)
{
    if (history->row_count == 0) {
        return;
    }
    uint16_t *row = row_of(history, hash);
    count_entry(history, row[PC_HISTORY_ROW - 1], -1);
    memmove(row + 1, row, (PC_HISTORY_ROW - 1) * sizeof(*row));
    row[0] = print_of(hash) | (kept ? 1 : 0);
    count_entry(history, row[0], 1);
}

enum pc_history_found pc_history_take(struct pc_history *history, uint64_t hash)
{
    if (history->row_count == 0) {
        return PC_HISTORY_NONE;
    }
    uint16_t *row = row_of(history, hash);
    const uint16_t print = print_of(hash);
    for (unsigned i = 0; i < PC_HISTORY_ROW; i++) {
        if ((row[i] & ~1u) != print) {
            continue;
        }
        const bool kept = (row[i] & 1) != 0;
        count_entry(history, row[i], -1);
        memmove(row + i, row + i + 1, (PC_HISTORY_ROW - 1 - i) * sizeof(*row));
        row[PC_HISTORY_ROW - 1] = 0;
        return kept ? PC_HISTORY_KEPT : PC_HISTORY_FRESH;
    }
    return PC_HISTORY_NONE;
}
