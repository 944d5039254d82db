/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    What the fibers of peek_test cannot show: the machine's own reordering, and races that
 *         ThreadSanitizer sees, between real readers and everything an owner does.
 * Method  One thread owns a slice so small that every segment is used anew all the time; others
 *         peek a given number of times. A value says its key and version in every word, its flags
 *         say the same; what a reader has seen of a key, or was told of, never gets older.
 */
#include "scale.h"

#include "base/check.h"
#include "base/random.h"
#include "store/slice.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum {
    KEYS = 48,
    FILLERS = 3000,
    READERS = 2,
    SEGMENT_BYTES = 4096,
    WORDS_MAX = 100,      /* most values */
    CHUNKED_WORDS = 1500, /* one in a while: in chunks */
};

struct stage {
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct pc_random random;
    uint64_t peek_count;
    uint32_t next[KEYS]; /* version to come */
    /* Stored and done: no reader may find an older one. */
    _Atomic uint32_t done[KEYS];
    _Atomic uint32_t now;
    _Atomic unsigned readers_left;
};

struct reader {
    struct stage *stage;
    uint64_t hits, misses, refusals;
    const char *trouble;
};

static struct pc_key key_of(char text[16], unsigned number)
{
    /* Lengths differ so that keys and values begin at every offset within a word. */
    const uint32_t bytes = 4 + number % 5;
    memset(text, 'k', 16);
    memcpy(text, &number, 4);
    return (struct pc_key){
        .at = text, .bytes = bytes, .hash = XXH3_64bits_withSeed(text, bytes, 0)};
}

/* ---- The owner ---- */

static void store_value(struct stage *stage, unsigned i, uint32_t now)
{
    uint32_t words[CHUNKED_WORDS];
    char text[16];
    const struct pc_key key = key_of(text, i);
    const bool chunked = pc_random_below(&stage->random, 64) == 0;
    const uint32_t count =
        chunked ? CHUNKED_WORDS : 1 + (uint32_t)pc_random_below(&stage->random, WORDS_MAX);
    const uint32_t version = ++stage->next[i];
    for (uint32_t w = 0; w < count; w++) {
        words[w] = version << 8 | i;
    }
    const struct pc_store store = {
        .value = words,
        .value_bytes = count * 4,
        .flags = pc_random_below(&stage->random, 2) == 0 ? 0 : words[0],
        .expiry = pc_random_below(&stage->random, 4) == 0 ? now + 2 : 0,
        .cas_new = pc_random_below(&stage->random, 8) == 0 ? (uint64_t)version << 40 : 0,
    };
    enum pc_slice_status status;
    while ((status = pc_slice_store(stage->slice, &key, &store, now, NULL)) == PC_SLICE_LATER) {
        (void)pc_slice_step(stage->slice, now, 1000);
    }
    if (status == PC_SLICE_OK) {
        /* Release: a reader that knows of it must not find anything older. */
        atomic_store_explicit(&stage->done[i], version, memory_order_release);
    }
}

static void fill(struct stage *stage, uint32_t now, bool add)
{
    static const uint8_t zeros[64];
    for (unsigned i = 0; i < 50; i++) {
        char text[16];
        const struct pc_key key =
            key_of(text, 1000 + (unsigned)pc_random_below(&stage->random, FILLERS));
        const struct pc_store store = {.value = zeros, .value_bytes = i % 24};
        if (add) {
            (void)pc_slice_store(stage->slice, &key, &store, now, NULL);
        } else {
            (void)pc_slice_delete(stage->slice, &key, NULL, now);
        }
    }
}

static void change(struct stage *stage, unsigned i, uint32_t now)
{
    char text[16];
    const struct pc_key key = key_of(text, i);
    const struct pc_delete stale = {.mark_stale = true, .expiry_set = true, .expiry = now + 3};
    struct pc_value value;
    switch (pc_random_below(&stage->random, 7)) {
    case 0:
        (void)pc_slice_delete(stage->slice, &key, NULL, now);
        break;
    case 1:
        (void)pc_slice_delete(stage->slice, &key, &stale, now);
        break;
    case 2:
        (void)pc_slice_touch(stage->slice, &key, now + 1, now, NULL);
        break;
    case 3:
        (void)pc_slice_claim(stage->slice, &key, now);
        break;
    case 4:
        pc_slice_note(stage->slice, key.hash, now);
        break;
    default:
        (void)pc_slice_find(stage->slice, &key, now, PC_FIND_HIT, &value);
        break;
    }
}

static void count_up(struct stage *stage, uint32_t now)
{
    char text[16];
    uint64_t number;
    const struct pc_key key = key_of(text, KEYS);
    const struct pc_count count = {.delta = 1111111, .create = true, .initial = 10000000000};
    (void)pc_slice_count(stage->slice, &key, &count, now, &number, NULL);
}

static void *own(void *ctx)
{
    struct stage *stage = ctx;
    const uint64_t least = SEGMENT_BYTES * 24, most = SEGMENT_BYTES * 60;
    for (uint64_t n = 0; atomic_load_explicit(&stage->readers_left, memory_order_relaxed) != 0;
         n++) {
        const uint32_t now = atomic_load_explicit(&stage->now, memory_order_relaxed);
        const unsigned i = (unsigned)pc_random_below(&stage->random, KEYS);
        const uint64_t op = pc_random_below(&stage->random, 256);
        if (op < 140) {
            store_value(stage, i, now);
        } else if (op < 230) {
            change(stage, i, now);
        } else if (op < 240) {
            count_up(stage, now);
        } else if (op < 244) {
            fill(stage, now, n / 4096 % 2 == 0);
        } else if (op < 253) {
            (void)pc_slice_step(stage->slice, now, 200);
        } else if (op == 253) {
            pc_slice_flush(stage->slice, now);
        } else if (op == 254) {
            /* Segments go back to the system, and addresses read as zeros. */
            (void)pc_pool_limit(stage->pool, n / 8192 % 2 == 0 ? least : most);
        } else {
            atomic_store_explicit(&stage->now, now + 1, memory_order_relaxed);
        }
    }
    return NULL;
}

/* ---- Readers ---- */

static const char *look_at_hit(const uint32_t *words, const struct pc_peeked *peeked, unsigned i,
                               uint32_t *known)
{
    for (uint32_t w = 1; w < peeked->value_bytes / 4; w++) {
        if (words[w] != words[0]) {
            return "torn value";
        }
    }
    if ((words[0] & 0xff) != i || peeked->value_bytes % 4 != 0) {
        return "another key's value";
    }
    if (peeked->flags != 0 && peeked->flags != words[0]) {
        return "another value's flags";
    }
    const uint32_t version = words[0] >> 8;
    if (peeked->cas >> 40 != 0 && peeked->cas >> 40 != version) {
        return "another value's cas";
    }
    if (version < *known) {
        return "stale value";
    }
    *known = version;
    return NULL;
}

/* All digits of a number that counts by 1111111 change at once. */
static const char *look_at_number(const struct reader *reader, uint32_t now)
{
    char text[16];
    uint8_t value[32];
    uint64_t number = 0;
    struct pc_peeked peeked;
    const struct pc_key key = key_of(text, KEYS);
    if (pc_slice_peek(reader->stage->slice, &key, now, value, sizeof(value), &peeked) !=
        PC_PEEK_HIT) {
        return NULL;
    }
    for (uint32_t k = 0; k < peeked.value_bytes; k++) {
        number = number * 10 + (uint64_t)(value[k] - '0');
    }
    return (number - 10000000000) % 1111111 == 0 ? NULL : "torn number";
}

static void *peek(void *ctx)
{
    struct reader *reader = ctx;
    struct stage *stage = reader->stage;
    uint32_t words[WORDS_MAX];
    uint32_t known[KEYS] = {0};
    for (uint64_t n = 0; n < stage->peek_count && reader->trouble == NULL; n++) {
        const unsigned i = (unsigned)(n * 7 % KEYS);
        char text[16];
        const struct pc_key key = key_of(text, i);
        const uint32_t now = atomic_load_explicit(&stage->now, memory_order_relaxed);
        const uint32_t done = atomic_load_explicit(&stage->done[i], memory_order_acquire);
        struct pc_peeked peeked;
        known[i] = known[i] < done ? done : known[i];
        switch (pc_slice_peek(stage->slice, &key, now, words, sizeof(words), &peeked)) {
        case PC_PEEK_HIT:
            reader->hits++;
            reader->trouble = look_at_hit(words, &peeked, i, &known[i]);
            break;
        case PC_PEEK_MISS:
            reader->misses++;
            break;
        case PC_PEEK_REFUSED:
            reader->refusals++;
            break;
        }
        if (n % 8 == 0 && reader->trouble == NULL) {
            reader->trouble = look_at_number(reader, now);
        }
    }
    atomic_fetch_sub_explicit(&stage->readers_left, 1, memory_order_relaxed);
    return NULL;
}

static void readers_see_whole_and_present_values(void **state)
{
    struct stage stage = {.peek_count = pc_test_scale(500000, 100000000)};
    struct reader readers[READERS] = {0};
    pthread_t owner, threads[READERS];
    (void)state;
    atomic_init(&stage.now, 10);
    atomic_init(&stage.readers_left, READERS);
    pc_random_init(&stage.random, 1);
    const struct pc_pool_config pool = {.limit_bytes = SEGMENT_BYTES * 40,
                                        .limit_bytes_max = SEGMENT_BYTES * 64,
                                        .segment_bytes = SEGMENT_BYTES,
                                        .slice_count = 1};
    assert_int_equal(pc_pool_create(&pool, &stage.pool), 0);
    assert_int_equal(pc_slice_create(&(struct pc_slice_config){.pool = stage.pool}, &stage.slice),
                     0);
    assert_int_equal(pthread_create(&owner, NULL, own, &stage), 0);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i].stage = &stage;
        assert_int_equal(pthread_create(&threads[i], NULL, peek, &readers[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(pthread_join(owner, NULL), 0);
    struct pc_slice_stats stats;
    pc_slice_stats(stage.slice, atomic_load(&stage.now), &stats);
    for (unsigned i = 0; i < READERS; i++) {
        print_message("%llu hits, %llu misses, %llu refusals, %llu stored, %llu evicted\n",
                      (unsigned long long)readers[i].hits, (unsigned long long)readers[i].misses,
                      (unsigned long long)readers[i].refusals,
                      (unsigned long long)stats.stored_total, (unsigned long long)stats.evicted);
        if (readers[i].trouble != NULL) {
            fail_msg("%s", readers[i].trouble);
        }
        assert_true(readers[i].hits > stage.peek_count / 100);
        assert_true(readers[i].misses > 0);
    }
    pc_slice_destroy(stage.slice);
    pc_pool_destroy(stage.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_and_present_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
