/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot: what counting hot keys adds to a find, in one process.
 *
 * A slice full of small items is asked for keys by Zipf 0.99, in stretches that take turns: bare,
 * and with one more sampler that counts every find. The slice's own sampler is set to count down
 * only, in both, and what is measured is all that a sampler adds: counting down, and one sample in
 * PC_HOT_GAP finds, with the caches as the finds leave them. By the thread's CPU clock.
 *
 *   find     ns of a bare find, keys not fetched ahead: median over the stretches
 *   counting ns that the sampler adds to a find: median of pairs, with its interval of 95 %
 *   sample   ns of one sample, one after the other on the same keys: median over the stretches
 *
 * usage: hot [PAIRS [SEED]]      prints one JSON line
 */
#include "base/check.h"
#include "measure/popularity.h"
#include "measure/statistics.h"
#include "store/parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    KEYS = 1000000,
    KEY_BYTES = 16,
    VALUE_BYTES = 100,
    STRETCH = 20000, /* finds: some milliseconds */
    PAIRS_MAX = 100001,
};

#define POOL_BYTES (UINT64_C(512) << 20)

struct bench {
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct pc_hot hot;
    char (*names)[KEY_BYTES];
    struct pc_key *asked; /* STRETCH of them */
    uint64_t found;
};

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "hot: %s\n", what);
    exit(1);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0) {
        die("no CPU clock");
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct pc_key key_of(const struct bench *bench, uint64_t number)
{
    const struct pc_index *index = &bench->slice->index;
    const char *at = bench->names[number];
    return (struct pc_key){at, KEY_BYTES, index->hash(at, KEY_BYTES, index->hash_seed)};
}

static void fill(struct bench *bench)
{
    uint8_t value[VALUE_BYTES];
    memset(value, 'v', sizeof(value));
    const struct pc_store store = {
        .mode = PC_STORE_SET, .value = value, .value_bytes = sizeof(value)};
    for (uint64_t i = 0; i < KEYS; i++) {
        char name[KEY_BYTES + 1];
        (void)snprintf(name, sizeof(name), "k%015" PRIx64, i);
        memcpy(bench->names[i], name, KEY_BYTES);
        const struct pc_key key = key_of(bench, i);
        if (pc_slice_store(bench->slice, &key, &store, 1, NULL) != PC_SLICE_OK) {
            die("a store was refused");
        }
    }
}

static void bench_open(struct bench *bench, uint64_t seed)
{
    memset(bench, 0, sizeof(*bench));
    const struct pc_pool_config pool = {.limit_bytes = POOL_BYTES, .slice_count = 1};
    if (pc_pool_create(&pool, &bench->pool) != 0) {
        die("no pool");
    }
    const struct pc_slice_config slice = {.pool = bench->pool, .hash_seed = seed};
    if (pc_slice_create(&slice, &bench->slice) != 0) {
        die("no slice");
    }
    bench->names = malloc(KEYS * sizeof(*bench->names));
    bench->asked = malloc(STRETCH * sizeof(*bench->asked));
    if (bench->names == NULL || bench->asked == NULL) {
        die("no memory");
    }
    pc_hot_init(&bench->hot, seed);
    fill(bench);
}

static void draw(struct bench *bench, const struct pc_zipf *zipf, struct pc_random *random)
{
    for (unsigned i = 0; i < STRETCH; i++) {
        bench->asked[i] = key_of(bench, pc_zipf_draw(zipf, random) - 1);
    }
}

/* One loop for both, so that only the sampler differs. */
static inline __attribute__((always_inline)) double stretch(struct bench *bench, uint32_t now,
                                                            bool counts)
{
    struct pc_value value;
    bench->slice->hot.gap = UINT32_MAX;
    const uint64_t start = cpu_ns();
    for (unsigned i = 0; i < STRETCH; i++) {
        if (counts) {
            pc_hot_count(&bench->hot, &bench->asked[i], now);
        }
        bench->found += pc_slice_find(bench->slice, &bench->asked[i], now, PC_FIND_HIT, &value);
    }
    return (double)(cpu_ns() - start) / STRETCH;
}

static __attribute__((noinline)) double time_bare(struct bench *bench, uint32_t now)
{
    return stretch(bench, now, false);
}

static __attribute__((noinline)) double time_counting(struct bench *bench, uint32_t now)
{
    return stretch(bench, now, true);
}

static double time_samples(struct bench *bench, uint32_t now)
{
    enum { SAMPLES = STRETCH / PC_HOT_GAP };
    const uint64_t start = cpu_ns();
    for (unsigned i = 0; i < SAMPLES; i++) {
        pc_hot_sample(&bench->hot, &bench->asked[i], now);
    }
    return (double)(cpu_ns() - start) / SAMPLES;
}

static int double_order(const void *a, const void *b)
{
    const double one = *(const double *)a, two = *(const double *)b;
    return (one > two) - (one < two);
}

static void print_line(const char *name, double *values, size_t count)
{
    size_t low = 1, high = count;
    double coverage;
    (void)pc_statistics_median_ranks(count, 0.95, &low, &high, &coverage); /* else the extremes */
    qsort(values, count, sizeof(*values), double_order);
    printf(", \"%s_ns\": {\"median\": %.2f, \"low\": %.2f, \"high\": %.2f}", name,
           values[count / 2], values[low - 1], values[high - 1]);
}

static void measure(struct bench *bench, unsigned pairs, uint64_t seed, double *finds,
                    double *differences, double *samples)
{
    struct pc_random random;
    struct pc_zipf zipf;
    pc_random_init(&random, seed);
    pc_zipf_init(&zipf, 0.99, KEYS);
    for (unsigned pair = 0; pair < pairs; pair++) {
        const uint32_t now = 2 + pair / 100; /* fading is in the figure */
        const bool bare_first = pair % 2 == 0;
        draw(bench, &zipf, &random);
        const double first = bare_first ? time_bare(bench, now) : time_counting(bench, now);
        draw(bench, &zipf, &random);
        const double second = bare_first ? time_counting(bench, now) : time_bare(bench, now);
        finds[pair] = bare_first ? first : second;
        differences[pair] = bare_first ? second - first : first - second;
        samples[pair] = time_samples(bench, now);
    }
}

int main(int argc, char **argv)
{
    static struct bench bench;
    const unsigned pairs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1001;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (pairs < 10 || pairs > PAIRS_MAX) {
        die("10 to 100001 pairs");
    }
    double *finds = malloc(pairs * sizeof(double));
    double *differences = malloc(pairs * sizeof(double));
    double *samples = malloc(pairs * sizeof(double));
    if (finds == NULL || differences == NULL || samples == NULL) {
        die("no memory");
    }
    bench_open(&bench, seed);
    measure(&bench, pairs, seed, finds, differences, samples);
    if (bench.found != (uint64_t)pairs * 2 * STRETCH) {
        die("not everything was found");
    }
    printf("{\"bench\": \"hot\", \"pairs\": %u, \"seed\": %" PRIu64 ", \"gap\": %d, \"keys\": %d",
           pairs, seed, PC_HOT_GAP, PC_HOT_KEYS);
    print_line("find", finds, pairs);
    print_line("counting", differences, pairs);
    print_line("sample", samples, pairs);
    puts("}");
    pc_slice_destroy(bench.slice);
    pc_pool_destroy(bench.pool);
    free(bench.names);
    free(bench.asked);
    free(finds);
    free(differences);
    free(samples);
    return 0;
}
