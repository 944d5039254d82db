/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps: the longest single call into the store while gigabytes fill, expire, are evicted, resized
 * and flushed.
 *
 *     bench_steps [MEGABYTES [SLICES [RUNS [SEED]]]]      2048 2 3 1
 *
 * One thread plays the cores: it calls the slices as the cache service does and reads the thread's
 * CPU clock around every call. What the machine adds (an interrupt, a hypervisor that runs somebody
 * else) is in that clock too; so the same calls are made in every one of RUNS runs, and a call's
 * figure is the least it took. The longest of each single run stands beside it.
 */
#include "base/check.h"
#include "base/random.h"
#include "store/pool.h"
#include "store/slice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <xxhash.h>

/* As services/cache.c has them. */
enum { STEP_BUDGET = 256, ROOM_BUDGET = 1024, ROOM_ROUNDS_MAX = 1 << 17 };

enum {
    STEP_EVERY = 64, /* calls between two rounds of upkeep: about a millisecond of a busy core */
    SLICES_MAX = 64,
    RUNS_MAX = 16,
    BUCKETS = 12, /* of the histogram: below 1 us, 2 us, 4 us, ... */
    CALLS_MAX = 120 * 1000 * 1000,
    CHUNK_BODY_BYTES = 256 * 1024,
};

enum kind {
    FIND,
    STORE,
    STORE_LARGE,
    RESERVE,
    COMMIT,
    APPEND,
    DELETE,
    TOUCH,
    STEP,
    ROOM,
    FLUSH,
    KIND_COUNT
};

static const char *const kind_names[KIND_COUNT] = {"find",   "store",  "store_large", "reserve",
                                                   "commit", "append", "delete",      "touch",
                                                   "step",   "room",   "flush"};

struct call {
    uint32_t least_ns;
    uint16_t phase;
    uint16_t kind;
};

static const char *const phase_names[] = {"fill",  "read", "shift",  "expire", "back",
                                          "large", "huge", "append", "limit",  "flush"};

struct bench {
    uint64_t limit_bytes;
    unsigned slice_count, run_count;
    uint64_t seed;
    struct pc_pool *pool;
    struct pc_slice *slices[SLICES_MAX];
    struct pc_random random;
    uint32_t now;
    unsigned since_step;
    unsigned phase, run;
    struct call *calls;
    uint32_t call_count, call_count_first;
    uint64_t run_longest[RUNS_MAX][KIND_COUNT];
    uint64_t no_memory;
    uint8_t *body;
};

static void die(const char *what, int error)
{
    fprintf(stderr, "steps: %s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t cpu_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static void note(struct bench *bench, enum kind kind, uint64_t began)
{
    const uint64_t ns = cpu_ns() - began;
    const uint32_t at = bench->call_count++;
    if (at >= CALLS_MAX) {
        die("too many calls", E2BIG);
    }
    struct call *call = &bench->calls[at];
    if (bench->run == 0) {
        *call = (struct call){(uint32_t)ns, (uint16_t)bench->phase, (uint16_t)kind};
    } else if (call->kind != kind || call->phase != bench->phase) {
        die("a run went another way than the first", EILSEQ);
    } else if (ns < call->least_ns) {
        call->least_ns = (uint32_t)ns;
    }
    if (ns > bench->run_longest[bench->run][kind]) {
        bench->run_longest[bench->run][kind] = ns;
    }
}

/* ---- Calls, each timed alone ---- */

static bool step_all(struct bench *bench, enum kind kind, unsigned budget)
{
    bool more = false;
    for (unsigned i = 0; i < bench->slice_count; i++) {
        const uint64_t began = cpu_ns();
        more |= pc_slice_step(bench->slices[i], bench->now, budget);
        note(bench, kind, began);
    }
    return more;
}

static void turn(struct bench *bench)
{
    if (++bench->since_step == STEP_EVERY) {
        bench->since_step = 0;
        (void)step_all(bench, STEP, STEP_BUDGET);
    }
}

static struct pc_key key_of(uint64_t number, char text[32])
{
    const uint32_t bytes = (uint32_t)snprintf(text, 32, "key:%012" PRIu64, number);
    return (struct pc_key){text, bytes, XXH3_64bits_withSeed(text, bytes, 1)};
}

static struct pc_slice *slice_of(struct bench *bench, const struct pc_key *key)
{
    return bench->slices[pc_slice_of(key->hash, bench->slice_count)];
}

static void check(struct bench *bench, enum pc_slice_status status)
{
    bench->no_memory += status == PC_SLICE_NO_MEMORY || status == PC_SLICE_LATER;
}

static void store(struct bench *bench, uint64_t number, uint64_t value_bytes, uint32_t ttl,
                  enum pc_store_mode mode)
{
    char text[32];
    const struct pc_key key = key_of(number, text);
    struct pc_slice *slice = slice_of(bench, &key);
    const struct pc_store how = {.mode = mode,
                                 .expiry = ttl != 0 ? bench->now + ttl : 0,
                                 .value = bench->body,
                                 .value_bytes = value_bytes};
    const enum kind kind = mode != PC_STORE_SET  ? APPEND
                           : value_bytes > 16384 ? STORE_LARGE
                                                 : STORE;
    enum pc_slice_status status;
    unsigned rounds = 0;
    do {
        const uint64_t began = cpu_ns();
        status = pc_slice_store(slice, &key, &how, bench->now, NULL);
        note(bench, kind, began);
    } while (status == PC_SLICE_LATER && rounds++ < ROOM_ROUNDS_MAX &&
             (step_all(bench, ROOM, ROOM_BUDGET), true));
    check(bench, status);
    turn(bench);
}

static void find(struct bench *bench, uint64_t number)
{
    char text[32];
    const struct pc_key key = key_of(number, text);
    struct pc_value value;
    const uint64_t began = cpu_ns();
    (void)pc_slice_find(slice_of(bench, &key), &key, bench->now, PC_FIND_HIT, &value);
    note(bench, FIND, began);
    turn(bench);
}

static void delete (struct bench *bench, uint64_t number)
{
    char text[32];
    const struct pc_key key = key_of(number, text);
    const uint64_t began = cpu_ns();
    (void)pc_slice_delete(slice_of(bench, &key), &key, NULL, bench->now);
    note(bench, DELETE, began);
    turn(bench);
}

static void touch(struct bench *bench, uint64_t number, uint32_t ttl)
{
    char text[32];
    const struct pc_key key = key_of(number, text);
    const uint64_t began = cpu_ns();
    (void)pc_slice_touch(slice_of(bench, &key), &key, bench->now + ttl, bench->now, NULL);
    note(bench, TOUCH, began);
    turn(bench);
}

/* As a long body comes: reserved, received piece by piece (not timed: the kernel's copy), stored.
 */
static void receive(struct bench *bench, uint64_t number, uint64_t value_bytes)
{
    char text[32];
    const struct pc_key key = key_of(number, text);
    struct pc_slice *slice = slice_of(bench, &key);
    const struct pc_store how = {.mode = PC_STORE_SET, .value_bytes = value_bytes};
    struct pc_reservation reservation = {0};
    enum pc_slice_status status;
    unsigned rounds = 0;
    do {
        const uint64_t began = cpu_ns();
        status = pc_slice_reserve(slice, &key, &how, bench->now, &reservation);
        note(bench, RESERVE, began);
    } while (status == PC_SLICE_LATER && rounds++ < ROOM_ROUNDS_MAX &&
             (step_all(bench, ROOM, ROOM_BUDGET), true));
    check(bench, status);
    if (status != PC_SLICE_OK) {
        return;
    }
    do {
        memset(reservation.at, 'r', reservation.piece_bytes);
        turn(bench);
    } while (pc_reservation_next(bench->pool, &reservation));
    do {
        const uint64_t began = cpu_ns();
        status = pc_slice_commit(slice, &key, &how, bench->now, &reservation, NULL);
        note(bench, COMMIT, began);
    } while (status == PC_SLICE_LATER && rounds++ < ROOM_ROUNDS_MAX &&
             (step_all(bench, ROOM, ROOM_BUDGET), true));
    check(bench, status);
    if (status == PC_SLICE_LATER) {
        pc_slice_abort(slice, &reservation);
    }
}

static void rest(struct bench *bench, uint32_t seconds)
{
    bench->now += seconds;
    while (step_all(bench, STEP, STEP_BUDGET)) {}
}

/* ---- Phases ---- */

static uint64_t fits(const struct bench *bench, uint64_t value_bytes)
{
    return bench->limit_bytes / (value_bytes + 40);
}

static void tick(struct bench *bench, uint64_t i, uint64_t per_second)
{
    bench->now += i % per_second == per_second - 1;
}

static void phase_fill(struct bench *bench)
{
    const uint64_t count = fits(bench, 100) * 5 / 4;
    for (uint64_t i = 0; i < count; i++) {
        store(bench, i, 100, 0, PC_STORE_SET);
        tick(bench, i, 100000);
    }
}

/* Reads of a skewed part of the keys, each miss stored: what is read is kept by eviction. */
static void phase_read(struct bench *bench)
{
    const uint64_t count = fits(bench, 100);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t low = pc_random_next(&bench->random) % count;
        const uint64_t number = low * low / count;
        find(bench, number);
        store(bench, 2 * count + i, 100, 0, PC_STORE_SET);
        tick(bench, i, 100000);
    }
}

static void phase_shift(struct bench *bench)
{
    const uint64_t count = fits(bench, 4096) * 5 / 4;
    for (uint64_t i = 0; i < count; i++) {
        store(bench, i * 7, 4096, 0, PC_STORE_SET);
        find(bench, pc_random_next(&bench->random) % (i + 1) * 7);
        tick(bench, i, 20000);
    }
}

/* Lives from seconds to minutes; then all of them are over at once. */
static void phase_expire(struct bench *bench)
{
    const uint64_t count = fits(bench, 200);
    for (uint64_t i = 0; i < count; i++) {
        store(bench, i, 200, 1 + (uint32_t)(pc_random_next(&bench->random) % 600), PC_STORE_SET);
        if (i % 8 == 0) {
            touch(bench, pc_random_next(&bench->random) % (i + 1), 300);
        }
        tick(bench, i, 50000);
    }
    rest(bench, 4000);
}

static void phase_large(struct bench *bench)
{
    const uint64_t count = fits(bench, 1 << 20) * 3 / 2;
    for (uint64_t i = 0; i < count; i++) {
        store(bench, i % (count / 2), 1 << 20, 0, PC_STORE_SET);
        find(bench, pc_random_next(&bench->random) % (i + 1));
        if (i % 4 == 0) {
            receive(bench, i, 10 << 20);
        }
        if (i % 8 == 0) {
            delete (bench, pc_random_next(&bench->random) % (i + 1));
        }
        tick(bench, i, 50);
    }
}

/* Values as large as -I allows, over a store full of small ones each time. */
static void phase_huge(struct bench *bench)
{
    const uint64_t count = fits(bench, 100) / 2;
    for (uint64_t round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < count; i++) {
            store(bench, i, 100, 0, PC_STORE_SET);
            tick(bench, i, 100000);
        }
        for (uint64_t i = 0; i < 4; i++) {
            receive(bench, UINT64_C(1) << 32 | i % 3, bench->limit_bytes / 4);
            bench->now++;
        }
        delete (bench, UINT64_C(1) << 32);
    }
}

static void phase_append(struct bench *bench)
{
    for (uint64_t i = 0; i < 8; i++) {
        receive(bench, UINT64_C(1) << 33 | i, (uint64_t)4 << 20);
        for (unsigned j = 0; j < 16; j++) {
            store(bench, UINT64_C(1) << 33 | i, j % 2 == 0 ? 1000 : 100000, 0, PC_STORE_APPEND);
        }
        bench->now++;
    }
    /* What is added to a value as large as there may be, at either end. */
    const uint64_t huge = UINT64_C(1) << 34;
    receive(bench, huge, bench->limit_bytes / 4);
    for (unsigned i = 0; i < 4000; i++) {
        const uint64_t bytes = 1 + pc_random_next(&bench->random) % (i % 8 == 0 ? 100000 : 300);
        store(bench, huge, bytes, 0, i % 2 == 0 ? PC_STORE_APPEND : PC_STORE_PREPEND);
    }
}

static void phase_limit(struct bench *bench)
{
    const uint64_t count = fits(bench, 100) / 4;
    for (uint64_t i = 0; i < count; i++) {
        store(bench, i, 100, 0, PC_STORE_SET);
    }
    (void)pc_pool_limit(bench->pool, bench->limit_bytes / 4);
    rest(bench, 1);
    (void)pc_pool_limit(bench->pool, bench->limit_bytes);
    for (uint64_t i = 0; i < count; i++) {
        store(bench, count + i, 100, 0, PC_STORE_SET);
    }
}

static void phase_flush(struct bench *bench)
{
    for (unsigned i = 0; i < bench->slice_count; i++) {
        const uint64_t began = cpu_ns();
        pc_slice_flush(bench->slices[i], bench->now);
        note(bench, FLUSH, began);
    }
    rest(bench, 1);
}

static void (*const phases[])(struct bench *) = {
    phase_fill,  phase_read, phase_shift,  phase_expire, phase_fill,
    phase_large, phase_huge, phase_append, phase_limit,  phase_flush,
};

static void play(struct bench *bench)
{
    const struct pc_pool_config config = {.limit_bytes = bench->limit_bytes,
                                          .slice_count = bench->slice_count};
    int error = pc_pool_create(&config, &bench->pool);
    for (unsigned i = 0; error == 0 && i < bench->slice_count; i++) {
        const struct pc_slice_config slice = {.pool = bench->pool,
                                              .index = i,
                                              .value_bytes_max = bench->limit_bytes / 2,
                                              .hash_seed = 1,
                                              .random_seed = bench->seed};
        error = pc_slice_create(&slice, &bench->slices[i]);
    }
    if (error != 0) {
        die("no store", -error);
    }
    bench->now = 1;
    bench->since_step = 0;
    bench->call_count = 0;
    pc_random_init(&bench->random, bench->seed);
    for (bench->phase = 0; bench->phase < PC_COUNT_OF(phases); bench->phase++) {
        phases[bench->phase](bench);
        fprintf(stderr, "steps: run %u, %s: %u calls\n", bench->run + 1, phase_names[bench->phase],
                bench->call_count);
    }
    for (unsigned i = 0; i < bench->slice_count; i++) {
        pc_slice_destroy(bench->slices[i]);
    }
    pc_pool_destroy(bench->pool);
}

/* ---- What came out ---- */

static void report_kind(const struct bench *bench, enum kind kind)
{
    uint64_t histogram[BUCKETS] = {0};
    const struct call *longest = NULL;
    uint64_t count = 0;
    for (uint32_t i = 0; i < bench->call_count; i++) {
        const struct call *call = &bench->calls[i];
        if (call->kind != kind) {
            continue;
        }
        unsigned bucket = 0;
        while (bucket + 1 < BUCKETS && call->least_ns >> bucket >= 1000) {
            bucket++;
        }
        histogram[bucket]++;
        count++;
        longest = longest == NULL || call->least_ns > longest->least_ns ? call : longest;
    }
    if (longest == NULL) {
        return;
    }
    printf("%-12s %10" PRIu64 " %9.1f %-7s", kind_names[kind], count, longest->least_ns / 1e3,
           phase_names[longest->phase]);
    for (unsigned run = 0; run < bench->run_count; run++) {
        printf("%s%.1f", run == 0 ? " " : "/", (double)bench->run_longest[run][kind] / 1e3);
    }
    printf("  ");
    for (unsigned i = 0; i < BUCKETS; i++) {
        printf(" %" PRIu64, histogram[i]);
    }
    printf("\n");
}

static void report(const struct bench *bench)
{
    struct utsname name;
    const char *commit = getenv("PC_COMMIT");
    uname(&name);
    printf("%" PRIu64 " MiB, %u slices, %u runs, seed %" PRIu64 ", commit %s, %s %s\n",
           bench->limit_bytes >> 20, bench->slice_count, bench->run_count, bench->seed,
           commit == NULL ? "?" : commit, name.machine, name.release);
    printf("refused for want of memory: %" PRIu64 "\n\n", bench->no_memory / bench->run_count);
    printf("kind              calls longest_us in      each run's longest   calls below 1, 2, 4, "
           "... 1024 us, beyond\n");
    for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
        report_kind(bench, (enum kind)kind);
    }
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.limit_bytes = argument(argc, argv, 1, 2048) << 20;
    bench.slice_count = (unsigned)argument(argc, argv, 2, 2);
    bench.run_count = (unsigned)argument(argc, argv, 3, 3);
    bench.seed = argument(argc, argv, 4, 1);
    if (bench.limit_bytes == 0 || bench.slice_count == 0 || bench.slice_count > SLICES_MAX ||
        bench.run_count == 0 || bench.run_count > RUNS_MAX) {
        fprintf(stderr, "steps: MEGABYTES SLICES (up to %d) RUNS (up to %d) SEED\n", SLICES_MAX,
                RUNS_MAX);
        return 2;
    }
    bench.calls = mmap(NULL, CALLS_MAX * sizeof(struct call), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bench.body = malloc(CHUNK_BODY_BYTES > (1 << 20) ? CHUNK_BODY_BYTES : 1 << 20);
    if (bench.calls == MAP_FAILED || bench.body == NULL) {
        die("no memory", ENOMEM);
    }
    memset(bench.body, 'b', 1 << 20);
    for (bench.run = 0; bench.run < bench.run_count; bench.run++) {
        play(&bench);
    }
    report(&bench);
    free(bench.body);
    return 0;
}
