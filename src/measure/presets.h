/* SPDX-License-Identifier: Apache-2.0 */
/*
 * presets: workloads by name, with the constants that were published for them.
 *
 * Core     any: read-only tables.
 * Source   presets.def names one for each row.
 */
#ifndef PC_MEASURE_PRESETS_H
#define PC_MEASURE_PRESETS_H

#include "measure/traffic.h"

/* A member left 0 says nothing: the flags decide, or their defaults. */
struct pc_preset {
    double mix[PC_OPERATION_COUNT];
    struct pc_sizes key_sizes, value_sizes;
    enum pc_popularity_kind popularity;
    double alpha, hot_share;
    uint64_t period_ns, key_count;
    struct pc_life lives[PC_TRAFFIC_LIVES_MAX];
    double miss_share, one_time_share;
    enum pc_service_law service_law;
    double service_ns_mean;
    enum pc_arrivals_kind arrivals;
    enum pc_weights_kind weights;
    unsigned connection_count;
};

struct pc_preset_row {
    const char *name, *help;
    struct pc_preset preset;
};

/* The rows, in the order of presets.def. */
const struct pc_preset_row *pc_presets(size_t *out_count);

/* NULL: no such preset. */
const struct pc_preset *pc_preset_find(const char *name);

#endif
