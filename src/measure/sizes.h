/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes: how long a key or a value is.
 *
 * Core     any: a size is a pure function of a 64-bit number, so that the owner of a key can be
 *          asked for its length again when the answer comes back.
 * Units    Bytes.
 * Source   Generalised extreme value and Pareto laws by inversion; the ETC table from Atikoglu et
 *          al., SIGMETRICS 2012: value lengths 0 … 14 by table, above by GPD(15, 214.476,
 * 0.348238).
 */
#ifndef PC_MEASURE_SIZES_H
#define PC_MEASURE_SIZES_H

#include <stdint.h>

enum pc_sizes_kind {
    PC_SIZES_FIXED,
    PC_SIZES_UNIFORM,
    PC_SIZES_GEV,
    PC_SIZES_GPD,
    PC_SIZES_ETC_VALUES,
};

/* fixed: low. uniform: low … high. gev, gpd: location, scale, shape, then cut to low … high. */
struct pc_sizes {
    enum pc_sizes_kind kind;
    uint32_t low, high;
    double location, scale, shape;
};

/* The size that belongs to `draw`, a uniform 64-bit number. */
uint32_t pc_sizes_of(const struct pc_sizes *sizes, uint64_t draw);

/* Read "100", "16-64", "gev:30.8,8.2,0.079", "gpd:15,214.5,0.348" or "etc"; limits are `low` and
 * `high`. Returns -EINVAL for anything else or a size outside of them. */
int pc_sizes_parse(const char *text, uint32_t low, uint32_t high, struct pc_sizes *out_sizes);

/* Mean over the whole law, by summing quantiles. */
double pc_sizes_mean(const struct pc_sizes *sizes);

#endif
