/* SPDX-License-Identifier: Apache-2.0 */
/* sizes: inversion of each law. */
#include "measure/sizes.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* P(value length = index) of ETC; what is left belongs to the Pareto tail. */
static const double etc_table[] = {.00536, .00047, .17820, .09239, .00018, .02740, .00065, .00606,
                                   .00023, .00837, .00837, .08989, .00092, .00326, .01980};

/* Strictly between 0 and 1, so that every inverse is finite. */
static double open_unit(uint64_t draw)
{
    return ((double)(draw >> 11) + 0.5) * 0x1.0p-53;
}

static double gpd(double u, double location, double scale, double shape)
{
    const double e = -log1p(-u);
    return location + scale * (fabs(shape) > 1e-9 ? expm1(shape * e) / shape : e);
}

static double gev(double u, double location, double scale, double shape)
{
    const double e = -log(-log(u));
    return location + scale * (fabs(shape) > 1e-9 ? expm1(shape * e) / shape : e);
}

static double etc_value(const struct pc_sizes *sizes, double u)
{
    for (size_t i = 0; i < PC_COUNT_OF(etc_table); i++) {
        if (u < etc_table[i]) {
            return (double)i;
        }
        u -= etc_table[i];
    }
    double rest = 1;
    for (size_t i = 0; i < PC_COUNT_OF(etc_table); i++) {
        rest -= etc_table[i];
    }
    u = u / rest;
    return gpd(u < 1 ? u : 1 - 0x1.0p-53, sizes->location, sizes->scale, sizes->shape);
}

uint32_t pc_sizes_of(const struct pc_sizes *sizes, uint64_t draw)
{
    double size = 0;
    switch (sizes->kind) {
    case PC_SIZES_FIXED:
        return sizes->low;
    case PC_SIZES_UNIFORM:
        return sizes->low + (uint32_t)(((draw >> 32) * (sizes->high - sizes->low + 1)) >> 32);
    case PC_SIZES_GEV:
        size = gev(open_unit(draw), sizes->location, sizes->scale, sizes->shape);
        break;
    case PC_SIZES_GPD:
        size = gpd(open_unit(draw), sizes->location, sizes->scale, sizes->shape);
        break;
    case PC_SIZES_ETC_VALUES:
        size = etc_value(sizes, open_unit(draw));
        break;
    }
    return size < sizes->low ? sizes->low : size > sizes->high ? sizes->high : (uint32_t)size;
}

double pc_sizes_mean(const struct pc_sizes *sizes)
{
    enum { STEPS = 65536 };
    double sum = 0;
    for (uint64_t i = 0; i < STEPS; i++) {
        sum += pc_sizes_of(sizes, (i << 48) + (UINT64_C(1) << 47));
    }
    return sum / STEPS;
}

static int laws_parse(const char *text, struct pc_sizes *sizes)
{
    char end;
    const int found =
        sscanf(text, "%lf,%lf,%lf%c", &sizes->location, &sizes->scale, &sizes->shape, &end);
    return found == 3 && sizes->scale > 0 && isfinite(sizes->location) && isfinite(sizes->scale) &&
                   fabs(sizes->shape) < 1
               ? 0
               : -EINVAL;
}

int pc_sizes_parse(const char *text, uint32_t low, uint32_t high, struct pc_sizes *out_sizes)
{
    struct pc_sizes sizes = {.low = low, .high = high};
    int error = 0;
    if (strcmp(text, "etc") == 0) {
        sizes = (struct pc_sizes){PC_SIZES_ETC_VALUES, low, high, 15, 214.476, .348238};
    } else if (strncmp(text, "gev:", 4) == 0) {
        sizes.kind = PC_SIZES_GEV;
        error = laws_parse(text + 4, &sizes);
    } else if (strncmp(text, "gpd:", 4) == 0) {
        sizes.kind = PC_SIZES_GPD;
        error = laws_parse(text + 4, &sizes);
    } else {
        unsigned least = 0, greatest = 0;
        char end;
        const int found = sscanf(text, "%9u-%9u%c", &least, &greatest, &end);
        if (found == 1 && sscanf(text, "%9u%c", &least, &end) == 1) {
            greatest = least;
        } else if (found != 2) {
            return -EINVAL;
        }
        if (text[0] < '0' || text[0] > '9' || least > greatest || least < low || greatest > high) {
            return -EINVAL;
        }
        sizes.kind = least == greatest ? PC_SIZES_FIXED : PC_SIZES_UNIFORM;
        sizes.low = least;
        sizes.high = greatest;
    }
    if (error == 0) {
        *out_sizes = sizes;
    }
    return error;
}
