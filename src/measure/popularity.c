/* SPDX-License-Identifier: Apache-2.0 */
/* popularity: samplers of keys. The Zipf weights 1 / k^alpha are bounded by the area under
 * h(x) = x^-alpha over [k - 1/2, k + 1/2]; H is the integral of h with H(1) = 0. */
#include "measure/popularity.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define NS_PER_S 1e9

/* A flash: up in a second, ten at the top, then down by e every thirty. */
#define FLASH_RISE_S    1.0
#define FLASH_PLATEAU_S 10.0
#define FLASH_DECAY_S   30.0

static const char *const kind_names[] = {
#define NAME(name, text, help) text,
    PC_POPULARITY_KINDS(NAME)
#undef NAME
};

const char *pc_popularity_kind_name(enum pc_popularity_kind kind)
{
    return kind_names[kind];
}

int pc_popularity_kind_find(const char *name, enum pc_popularity_kind *out_kind)
{
    for (unsigned i = 0; i < PC_POPULARITY_KIND_COUNT; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *out_kind = i;
            return 0;
        }
    }
    return -ENOENT;
}

/* (e^x - 1) / x and ln(1 + x) / x, also where x is too small to divide by. */
static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

/* H(x) = (x^(1-alpha) - 1) / (1 - alpha), which is ln x where alpha is 1. */
static double area(double alpha, double x)
{
    const double log_x = log(x);
    return log_x * expm1_over((1 - alpha) * log_x);
}

static double area_inverse(double alpha, double y)
{
    /* Rounding may leave the argument a hair below the only place where ln is not finite. */
    const double t = y * (1 - alpha);
    return exp(y * log1p_over(t < -1 ? -1 : t));
}

static double weight(double alpha, double x)
{
    return exp(-alpha * log(x));
}

void pc_zipf_init(struct pc_zipf *zipf, double alpha, uint64_t count)
{
    PC_ASSERT(alpha >= 0 && count > 0);
    zipf->alpha = alpha;
    zipf->count = (double)count;
    zipf->area_first = area(alpha, 1.5) - 1;
    zipf->area_last = area(alpha, zipf->count + 0.5);
    zipf->shortcut = 2 - area_inverse(alpha, area(alpha, 2.5) - weight(alpha, 2));
}

uint64_t pc_zipf_draw(const struct pc_zipf *zipf, struct pc_random *random)
{
    for (;;) {
        const double y =
            zipf->area_last + pc_random_unit(random) * (zipf->area_first - zipf->area_last);
        const double x = area_inverse(zipf->alpha, y);
        double k = floor(x + 0.5);
        k = k < 1 ? 1 : k > zipf->count ? zipf->count : k;
        if (k - x <= zipf->shortcut || y >= area(zipf->alpha, k + 0.5) - weight(zipf->alpha, k)) {
            return (uint64_t)k;
        }
    }
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void pc_popularity_init(struct pc_popularity *popularity, const struct pc_popularity_config *config,
                        uint64_t seed)
{
    PC_ASSERT(config->key_count > 0);
    *popularity = (struct pc_popularity){.config = *config};
    pc_random_init(&popularity->random, seed);
    pc_zipf_init(&popularity->zipf, config->alpha, config->key_count);

    struct pc_random keys;
    pc_random_init(&keys, config->key_seed);
    popularity->offset = pc_random_below(&keys, config->key_count);
    do {
        popularity->stride = 1 + pc_random_below(&keys, config->key_count);
    } while (common_divisor(popularity->stride, config->key_count) != 1);
}

static struct pc_pick pick_of_rank(const struct pc_popularity *popularity, uint64_t rank)
{
    const uint64_t count = popularity->config.key_count;
    if (PC_LIKELY(count <= UINT32_MAX)) { /* 64 bits hold the product: a division a third as long */
        const uint64_t place = rank * popularity->stride + popularity->offset;
        return (struct pc_pick){.rank = rank, .key = place % count};
    }
    const pc_product place = (pc_product)rank * popularity->stride + popularity->offset;
    return (struct pc_pick){.rank = rank, .key = (uint64_t)(place % count)};
}

static struct pc_pick zipf_pick(struct pc_popularity *popularity)
{
    const uint64_t rank = pc_zipf_draw(&popularity->zipf, &popularity->random) - 1;
    return pick_of_rank(popularity, rank);
}

/* A number that every source of this run computes alike for the same period. */
static uint64_t period_draw(const struct pc_popularity_config *config, uint64_t period)
{
    struct pc_random random;
    pc_random_init(&random, config->key_seed ^ (period * UINT64_C(0xd1342543de82ef95)));
    return pc_random_below(&random, config->key_count);
}

static struct pc_pick moving_pick(struct pc_popularity *popularity, uint64_t intended_ns)
{
    const struct pc_popularity_config *config = &popularity->config;
    if (pc_random_unit(&popularity->random) >= config->hot_share) {
        return zipf_pick(popularity);
    }
    const uint64_t first = period_draw(config, intended_ns / config->period_ns);
    const uint64_t hot = pc_random_below(&popularity->random, config->hot_count);
    return pick_of_rank(popularity, (first + hot) % config->key_count);
}

double pc_popularity_flash_share(const struct pc_popularity_config *config, uint64_t age_ns)
{
    const double age_s = (double)age_ns / NS_PER_S;
    if (age_s < FLASH_RISE_S) {
        return config->hot_share * age_s / FLASH_RISE_S;
    }
    const double past = age_s - FLASH_RISE_S - FLASH_PLATEAU_S;
    return past <= 0 ? config->hot_share : config->hot_share * exp(-past / FLASH_DECAY_S);
}

static struct pc_pick flash_pick(struct pc_popularity *popularity, uint64_t intended_ns)
{
    const struct pc_popularity_config *config = &popularity->config;
    const double share = pc_popularity_flash_share(config, intended_ns % config->period_ns);
    if (pc_random_unit(&popularity->random) >= share) {
        return zipf_pick(popularity);
    }
    /* Cold: from the unpopular half. */
    const uint64_t half = config->key_count / 2;
    const uint64_t rank = period_draw(config, intended_ns / config->period_ns);
    return pick_of_rank(popularity, rank < half ? rank + half : rank);
}

struct pc_pick pc_popularity_draw(struct pc_popularity *popularity, uint64_t intended_ns)
{
    const struct pc_popularity_config *config = &popularity->config;
    switch (config->kind) {
    case PC_POPULARITY_ZIPF:
        return zipf_pick(popularity);
    case PC_POPULARITY_HOT_SHARE:
        return pc_random_unit(&popularity->random) < config->hot_share ? pick_of_rank(popularity, 0)
                                                                       : zipf_pick(popularity);
    case PC_POPULARITY_MOVING:
        return moving_pick(popularity, intended_ns);
    case PC_POPULARITY_FLASH:
        return flash_pick(popularity, intended_ns);
    case PC_POPULARITY_SEQUENTIAL: {
        const uint64_t count = config->walk_count > 0 ? config->walk_count : config->key_count;
        return pick_of_rank(popularity, popularity->sequence++ % count);
    }
    case PC_POPULARITY_UNIFORM:
    case PC_POPULARITY_KIND_COUNT:
        break;
    }
    return pick_of_rank(popularity, pc_random_below(&popularity->random, config->key_count));
}
