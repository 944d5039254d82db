/* SPDX-License-Identifier: Apache-2.0 */
/* arrivals: gaps by inversion, summed without losing the fractions of a nanosecond. */
#include "measure/arrivals.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Burst: five times the calm rate, 10 ms long and 90 ms apart on average. */
#define BURST_RATIO    5.0
#define BURST_NS_MEAN  10e6
#define CALM_NS_MEAN   90e6
#define GPD_SHAPE      0.154971 /* ETC inter-arrival gaps: GPD(0, 16.0292, 0.154971) µs */
#define RATE_TO_GAP_NS 1e9

static const char *const kind_names[] = {
#define NAME(name, text, help) text,
    PC_ARRIVALS_KINDS(NAME)
#undef NAME
};

const char *pc_arrivals_kind_name(enum pc_arrivals_kind kind)
{
    return kind_names[kind];
}

int pc_arrivals_kind_find(const char *name, enum pc_arrivals_kind *out_kind)
{
    for (unsigned i = 0; i < PC_ARRIVALS_KIND_COUNT; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *out_kind = i;
            return 0;
        }
    }
    return -ENOENT;
}

static double exponential(struct pc_random *random)
{
    return -log1p(-pc_random_unit(random));
}

static double gpd(struct pc_random *random, double mean)
{
    const double scale = mean * (1 - GPD_SHAPE);
    return scale * expm1(GPD_SHAPE * exponential(random)) / GPD_SHAPE;
}

void pc_arrivals_init(struct pc_arrivals *arrivals, const struct pc_arrivals_config *config)
{
    PC_ASSERT(config->rate > 0 && config->share_index < config->share_count);
    const double share = config->share > 0 ? config->share : 1.0 / config->share_count;
    const double gap = RATE_TO_GAP_NS / (config->rate * share);
    *arrivals = (struct pc_arrivals){.kind = config->kind, .gap_ns_mean = gap};
    struct pc_random seeds;
    pc_random_init(&seeds, config->seed);
    pc_random_init(&arrivals->phases, pc_random_next(&seeds));
    const uint64_t gap_seed = pc_random_next(&seeds);
    pc_random_init(&seeds, gap_seed + config->share_index);
    pc_random_init(&arrivals->gaps, pc_random_next(&seeds));

    if (config->kind == PC_ARRIVALS_FIXED) {
        /* Shares take turns: the first gap of share i ends at (i + 1) / n of the period. */
        const double first = gap * (config->share_index + 1) / config->share_count - gap;
        arrivals->part_ns = first;
    } else if (config->kind == PC_ARRIVALS_BURSTY) {
        const double calm_share = CALM_NS_MEAN / (CALM_NS_MEAN + BURST_NS_MEAN);
        const double mean_ratio = calm_share + (1 - calm_share) * BURST_RATIO;
        arrivals->calm_gap_ns = gap * mean_ratio;
        arrivals->burst_gap_ns = arrivals->calm_gap_ns / BURST_RATIO;
        arrivals->gap_ns_mean = arrivals->calm_gap_ns;
        arrivals->phase_left_ns = CALM_NS_MEAN * exponential(&arrivals->phases);
    }
}

/* Exponential gaps have no memory: what is left of one at a change of phase is redrawn there. */
static double bursty_gap(struct pc_arrivals *arrivals)
{
    double passed = 0;
    for (;;) {
        const double gap = arrivals->gap_ns_mean * exponential(&arrivals->gaps);
        if (gap < arrivals->phase_left_ns) {
            arrivals->phase_left_ns -= gap;
            return passed + gap;
        }
        passed += arrivals->phase_left_ns;
        arrivals->in_burst = !arrivals->in_burst;
        arrivals->gap_ns_mean = arrivals->in_burst ? arrivals->burst_gap_ns : arrivals->calm_gap_ns;
        const double phase_mean = arrivals->in_burst ? BURST_NS_MEAN : CALM_NS_MEAN;
        arrivals->phase_left_ns = phase_mean * exponential(&arrivals->phases);
    }
}

static double gap_draw(struct pc_arrivals *arrivals)
{
    switch (arrivals->kind) {
    case PC_ARRIVALS_POISSON:
        return arrivals->gap_ns_mean * exponential(&arrivals->gaps);
    case PC_ARRIVALS_BURSTY:
        return bursty_gap(arrivals);
    case PC_ARRIVALS_GPD:
        return gpd(&arrivals->gaps, arrivals->gap_ns_mean);
    case PC_ARRIVALS_FIXED:
    case PC_ARRIVALS_KIND_COUNT:
        break;
    }
    return arrivals->gap_ns_mean;
}

uint64_t pc_arrivals_next(struct pc_arrivals *arrivals)
{
    const double gap = arrivals->part_ns + gap_draw(arrivals);
    const double whole = floor(gap);
    arrivals->part_ns = gap - whole;
    arrivals->next_ns += (uint64_t)whole;
    return arrivals->next_ns;
}
