/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages: what a look-up costs over gigabytes of items, with huge pages and without.
 *
 *     pages [MEGABYTES [PAIRS [LOOKUPS [SEED]]]]      2048 40 200000 1
 *
 * Two pools in one process, alike but for --huge-pages: auto and off. Both are filled with items of
 * 100 bytes; then each pair looks the same random keys up in one and in the other, in turns which
 * comes first, in windows of 16 that are prefetched as the cache service does. A figure is CPU time
 * of the thread; the ratio is the median of the pairs' ratios.
 */
#include "store/owners/pages.h"
#include "base/random.h"
#include "runtime/kernel.h"
#include "store/slice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { WINDOW = 16, KEY_BYTES = 16, VALUE_BYTES = 100, PAIRS_MAX = 1000 };

struct side {
    struct pc_pages pages;
    struct pc_pool *pool;
    struct pc_slice *slice;
};

static void die(const char *what)
{
    fprintf(stderr, "pages: %s\n", what);
    exit(1);
}

static struct pc_key key_of(char text[KEY_BYTES + 1], uint64_t number)
{
    snprintf(text, KEY_BYTES + 1, "%016" PRIx64, number);
    return (struct pc_key){text, KEY_BYTES, XXH3_64bits_withSeed(text, KEY_BYTES, 0)};
}

static void open_side(struct side *side, enum pc_pages_mode mode, uint64_t limit_bytes)
{
    pc_pages_init(&side->pages, pc_kernel_linux(), mode, limit_bytes);
    const struct pc_pool_config pool = {
        .limit_bytes = limit_bytes, .slice_count = 1, .memory = &side->pages.memory};
    if (pc_pool_create(&pool, &side->pool) != 0) {
        die("no pool");
    }
    const struct pc_slice_config slice = {.pool = side->pool};
    if (pc_slice_create(&slice, &side->slice) != 0) {
        die("no slice");
    }
}

static void fill(struct side *side, uint64_t count)
{
    static const char value[VALUE_BYTES] = "value";
    char text[KEY_BYTES + 1];
    for (uint64_t i = 0; i < count; i++) {
        const struct pc_key key = key_of(text, i);
        const struct pc_store store = {.value = value, .value_bytes = VALUE_BYTES};
        if (pc_slice_store(side->slice, &key, &store, 1, NULL) != PC_SLICE_OK) {
            die("a store failed");
        }
        if (i % 64 == 0) {
            (void)pc_slice_step(side->slice, 1, 256);
        }
    }
}

/* Nanoseconds of CPU. */
static uint64_t look_up(struct side *side, uint64_t key_count, uint64_t lookups, uint64_t seed)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    char texts[WINDOW][KEY_BYTES + 1];
    struct pc_key keys[WINDOW];
    struct pc_random random;
    pc_random_init(&random, seed);
    uint64_t found = 0;
    const uint64_t began = kernel->thread_cpu_ns(kernel);
    for (uint64_t i = 0; i < lookups; i += WINDOW) {
        for (unsigned w = 0; w < WINDOW; w++) {
            keys[w] = key_of(texts[w], pc_random_below(&random, key_count));
            pc_slice_prefetch(side->slice, keys[w].hash);
        }
        for (unsigned w = 0; w < WINDOW; w++) {
            pc_slice_prefetch_item(side->slice, keys[w].hash);
        }
        for (unsigned w = 0; w < WINDOW; w++) {
            struct pc_value value;
            if (pc_slice_find(side->slice, &keys[w], 1, PC_FIND_HIT, &value)) {
                found += value.at[0] == 'v';
            }
        }
    }
    const uint64_t took = kernel->thread_cpu_ns(kernel) - began;
    if (found == 0) {
        die("nothing is found");
    }
    return took;
}

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), by_value);
    return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_huge_memory(void)
{
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "Rss:", 4) == 0 || strncmp(line, "AnonHugePages:", 14) == 0) {
            printf("%s", line);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    const uint64_t limit_bytes = argument(argc, argv, 1, 2048) << 20;
    const unsigned pairs = (unsigned)argument(argc, argv, 2, 40);
    const uint64_t lookups = argument(argc, argv, 3, 200000) / WINDOW * WINDOW;
    const uint64_t seed = argument(argc, argv, 4, 1);
    if (limit_bytes == 0 || pairs == 0 || pairs > PAIRS_MAX || lookups == 0) {
        fprintf(stderr, "pages: MEGABYTES PAIRS (up to %d) LOOKUPS SEED\n", PAIRS_MAX);
        return 2;
    }
    static struct side sides[2];
    const uint64_t key_count = limit_bytes / 160;
    open_side(&sides[0], PC_PAGES_AUTO, limit_bytes);
    open_side(&sides[1], PC_PAGES_OFF, limit_bytes);
    for (unsigned i = 0; i < 2; i++) {
        fill(&sides[i], key_count);
    }
    print_huge_memory();
    double ratios[PAIRS_MAX], costs[2][PAIRS_MAX];
    for (unsigned pair = 0; pair < pairs; pair++) {
        uint64_t took[2];
        for (unsigned turn = 0; turn < 2; turn++) {
            const unsigned which = (pair + turn) % 2;
            took[which] = look_up(&sides[which], key_count, lookups, seed + pair);
            costs[which][pair] = (double)took[which] / (double)lookups;
        }
        ratios[pair] = (double)took[0] / (double)took[1];
    }
    printf("items %" PRIu64 ", %u pairs of %" PRIu64 " look-ups, seed %" PRIu64 "\n", key_count,
           pairs, lookups, seed);
    printf("auto %.1f ns, off %.1f ns, auto / off %.3f\n", median(costs[0], pairs),
           median(costs[1], pairs), median(ratios, pairs));
    for (unsigned i = 0; i < 2; i++) {
        pc_slice_destroy(sides[i].slice);
        pc_pool_destroy(sides[i].pool);
    }
    return 0;
}
