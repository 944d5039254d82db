/* SPDX-License-Identifier: Apache-2.0 */
/* counters: sums and lines; the counting itself is inline. */
#include "runtime/counters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *name, *help;
    size_t offset;
};

static const struct row rows[] = {
#define PC_COUNTER(name, help) {#name, help, offsetof(struct pc_counters, name)},
#include "runtime/counters.def"
#undef PC_COUNTER
};

static const char *const stage_names[PC_STAGE_COUNT] = {
    [PC_STAGE_WAITING] = "waiting",
    [PC_STAGE_HOP] = "hop",
    [PC_STAGE_SERVICE] = "service",
    [PC_STAGE_SENDING] = "sending",
};

static uint64_t load(const struct pc_counters *counters, size_t offset)
{
    const uint64_t *counter = (const uint64_t *)(const void *)((const char *)counters + offset);
    return __atomic_load_n(counter, __ATOMIC_RELAXED); /* pairs with pc_count_add */
}

static bool create_histograms(struct pc_counters *counters)
{
    counters->turn = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
    bool whole = counters->turn != NULL;
    for (unsigned i = 0; i < PC_STAGE_COUNT; i++) {
        counters->stages[i] = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
        whole = whole && counters->stages[i] != NULL;
    }
    return whole;
}

struct pc_counters *pc_counters_create(bool histograms)
{
    struct pc_counters *counters = aligned_alloc(PC_CACHE_LINE, sizeof(*counters));
    if (counters == NULL) {
        return NULL;
    }
    memset(counters, 0, sizeof(*counters));
    if (histograms && !create_histograms(counters)) {
        pc_counters_destroy(counters);
        return NULL;
    }
    return counters;
}

void pc_counters_destroy(struct pc_counters *counters)
{
    if (counters == NULL) {
        return;
    }
    pc_histogram_destroy(counters->turn);
    for (unsigned i = 0; i < PC_STAGE_COUNT; i++) {
        pc_histogram_destroy(counters->stages[i]);
    }
    free(counters);
}

void pc_counters_add(struct pc_counters *into, const struct pc_counters *from)
{
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        uint64_t *counter = (uint64_t *)(void *)((char *)into + rows[i].offset);
        pc_count_add(counter, load(from, rows[i].offset));
    }
    if (into->turn == NULL || from->turn == NULL) {
        return;
    }
    pc_histogram_add(into->turn, from->turn);
    for (unsigned i = 0; i < PC_STAGE_COUNT; i++) {
        pc_histogram_add(into->stages[i], from->stages[i]);
    }
}

static uint64_t sum(struct pc_counters *const *blocks, unsigned block_count, size_t offset)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < block_count; i++) {
        total += blocks[i] != NULL ? load(blocks[i], offset) : 0;
    }
    return total;
}

bool pc_counters_sum(struct pc_counters *const *blocks, unsigned block_count, const char *name,
                     uint64_t *out_sum)
{
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *out_sum = sum(blocks, block_count, rows[i].offset);
            return true;
        }
    }
    return false;
}

const char *pc_counters_name(unsigned index)
{
    return index < PC_COUNT_OF(rows) ? rows[index].name : NULL;
}

const char *pc_counters_help(unsigned index)
{
    return index < PC_COUNT_OF(rows) ? rows[index].help : NULL;
}

static void print_counter(struct pc_counters *const *blocks, unsigned block_count,
                          const struct row *row, pc_counters_emit_fn *emit, void *ctx)
{
    /* 24: a comma, 20 digits and some room; a name and its sum need less than 128. */
    char line[128 + PC_COUNTERS_EACH_MAX * 24];
    uint64_t total = sum(blocks, block_count, row->offset);
    int used = snprintf(line, sizeof(line), "counter=%s sum=%" PRIu64, row->name, total);
    const char *before = " each=";
    /* Shares of nothing say nothing, and nobody reads a thousand of them. */
    const bool tells = total != 0 && block_count <= PC_COUNTERS_EACH_MAX;
    for (unsigned i = 0; tells && i < block_count; i++) {
        if (blocks[i] != NULL) {
            used += snprintf(line + used, sizeof(line) - (size_t)used, "%s%" PRIu64, before,
                             load(blocks[i], row->offset));
            before = ",";
        }
    }
    emit(ctx, line);
}

static void print_histogram(const struct pc_histogram *histogram, const char *name,
                            pc_counters_emit_fn *emit, void *ctx)
{
    uint64_t count = pc_histogram_count(histogram);
    char line[256];
    (void)snprintf(line, sizeof(line),
                   "histogram=%s count=%" PRIu64 " mean_ns=%.0f p50_ns=%" PRIu64 " p90_ns=%" PRIu64
                   " p99_ns=%" PRIu64 " p999_ns=%" PRIu64 " max_ns=%" PRIu64,
                   name, count, pc_histogram_mean(histogram), pc_histogram_quantile(histogram, 0.5),
                   pc_histogram_quantile(histogram, 0.9), pc_histogram_quantile(histogram, 0.99),
                   pc_histogram_quantile(histogram, 0.999), pc_histogram_quantile(histogram, 1));
    emit(ctx, line);
}

int pc_counters_print(struct pc_counters *const *blocks, unsigned block_count,
                      pc_counters_emit_fn *emit, void *ctx)
{
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        print_counter(blocks, block_count, &rows[i], emit, ctx);
    }
    struct pc_counters *all = pc_counters_create(true);
    if (all == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < block_count; i++) {
        if (blocks[i] != NULL) {
            pc_counters_add(all, blocks[i]);
        }
    }
    print_histogram(all->turn, "turn", emit, ctx);
    for (unsigned i = 0; i < PC_STAGE_COUNT; i++) {
        print_histogram(all->stages[i], stage_names[i], emit, ctx);
    }
    pc_counters_destroy(all);
    return 0;
}
