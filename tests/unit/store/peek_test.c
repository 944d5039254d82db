/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Whatever the owner does meanwhile, a peek tells a state that the key had during the peek:
 *         never half a value, never an older one, never an absence that was none.
 * Method  The owner stores, deletes, counts, touches, flushes, steps and lets the index grow and
 *         shrink; two readers peek. All are fibers that switch at PC_POINT, inside every odd window
 *         and between all loads of a peek. A value says its key and version, repeated to its end.
 */
#include "fiber.h"
#include "scale.h"

#include "base/check.h"
#include "base/hooks.h"
#include "base/random.h"
#include "store/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { KEYS = 12, FILLERS = 6000, OPS = 400, READERS = 2, VALUE_WORDS_MAX = 60, NUMBER_KEY = KEYS };

#define NUMBER_FIRST UINT64_C(10000000000)
#define NUMBER_STEP  1111111

struct truth {
    bool present;
    uint32_t version; /* of what is there, or was last */
    uint32_t coming;  /* version of the store under way, or as above */
    bool going;       /* a deletion or flush is under way */
    uint64_t changes; /* of `present` or `version`, as the owner has seen them */
};

struct play {
    struct pc_fibers *fibers;
    struct pc_pool *pool;
    struct pc_slice *slice;
    struct pc_random random;
    struct truth truths[KEYS];
    uint32_t now;
    uint64_t op_count;
    uint64_t hits, misses, refusals;
    bool over;
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

static void sync_truth(struct play *play)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char text[16];
        struct pc_value value;
        struct truth *truth = &play->truths[i];
        const struct pc_key key = key_of(text, i);
        const bool present = pc_slice_find(play->slice, &key, play->now, PC_FIND_QUIET, &value);
        truth->changes += present != truth->present || truth->version != truth->coming;
        truth->present = present;
        truth->version = truth->coming;
        truth->going = false;
    }
}

static void owner_store(struct play *play, unsigned i)
{
    uint32_t words[2 + VALUE_WORDS_MAX];
    struct truth *truth = &play->truths[i];
    const uint32_t count = 2 + (uint32_t)pc_random_below(&play->random, VALUE_WORDS_MAX);
    char text[16];
    const struct pc_key key = key_of(text, i);
    truth->coming++;
    for (uint32_t w = 0; w < count; w++) {
        words[w] = truth->coming << 8 | i;
    }
    const struct pc_store store = {
        .value = words,
        .value_bytes = count * 4,
        .flags = pc_random_below(&play->random, 2) == 0 ? 0 : words[0],
        .expiry = pc_random_below(&play->random, 3) == 0 ? play->now + 100000 : 0,
    };
    if (pc_slice_store(play->slice, &key, &store, play->now, NULL) != PC_SLICE_OK) {
        pc_fibers_stop(play->fibers, "store refused");
    }
}

static void owner_delete(struct play *play, unsigned i)
{
    char text[16];
    const struct pc_key key = key_of(text, i);
    play->truths[i].going = true;
    (void)pc_slice_delete(play->slice, &key, NULL, play->now);
}

static void owner_fill(struct play *play, bool add)
{
    static const uint8_t zeros[64];
    for (unsigned i = 0; i < 200; i++) {
        char text[16];
        const struct pc_key key =
            key_of(text, 1000 + (unsigned)pc_random_below(&play->random, FILLERS));
        if (add) {
            const struct pc_store store = {.value = zeros, .value_bytes = i % 24};
            (void)pc_slice_store(play->slice, &key, &store, play->now, NULL);
        } else {
            (void)pc_slice_delete(play->slice, &key, NULL, play->now);
        }
    }
}

static void owner_count(struct play *play)
{
    char text[16];
    const struct pc_key key = key_of(text, NUMBER_KEY);
    const struct pc_count count = {.delta = NUMBER_STEP, .create = true, .initial = NUMBER_FIRST};
    uint64_t number;
    (void)pc_slice_count(play->slice, &key, &count, play->now, &number, NULL);
}

static void owner_run(void *ctx)
{
    struct play *play = ctx;
    for (unsigned n = 0; n < OPS; n++) {
        const unsigned i = (unsigned)pc_random_below(&play->random, KEYS);
        const uint64_t op = pc_random_below(&play->random, 32);
        char text[16];
        const struct pc_key key = key_of(text, i);
        if (op < 14) {
            owner_store(play, i);
        } else if (op < 18) {
            owner_delete(play, i);
        } else if (op < 20) {
            (void)pc_slice_touch(play->slice, &key, play->now + 50000, play->now, NULL);
        } else if (op < 22) {
            owner_count(play);
        } else if (op < 26) {
            owner_fill(play, n / 64 % 3 != 2);
        } else if (op < 30) {
            (void)pc_slice_step(play->slice, play->now, 100);
        } else if (op == 30 && pc_random_below(&play->random, 3) == 0) {
            for (unsigned k = 0; k < KEYS; k++) {
                play->truths[k].going = true;
            }
            pc_slice_flush(play->slice, play->now);
            /* Without looking, which would unlink what readers should find flushed. */
            for (unsigned k = 0; k < KEYS; k++) {
                play->truths[k].changes += play->truths[k].present;
                play->truths[k].present = false;
                play->truths[k].going = false;
            }
            pc_fiber_point(play->fibers, "owner: flushed");
        } else {
            struct pc_value value;
            (void)pc_slice_find(play->slice, &key, play->now, PC_FIND_HIT, &value);
        }
        sync_truth(play);
        play->op_count++;
        pc_fiber_point(play->fibers, "owner: done");
    }
    play->over = true;
}

struct until {
    const struct play *play;
    uint64_t op_count;
};

static bool op_ended(void *ctx)
{
    const struct until *until = ctx;
    return until->play->op_count > until->op_count || until->play->over;
}

static void check_hit(struct play *play, unsigned i, const uint8_t *value,
                      const struct pc_peeked *peeked, const struct truth *before)
{
    uint32_t first;
    memcpy(&first, value, 4);
    for (uint32_t at = 0; at < peeked->value_bytes; at += 4) {
        uint32_t word;
        memcpy(&word, value + at, 4);
        if (word != first) {
            pc_fibers_stop(play->fibers, "torn value");
        }
    }
    const uint32_t version = first >> 8;
    if ((first & 0xff) != i) {
        pc_fibers_stop(play->fibers, "another key's value");
    }
    if (version < before->version || version > play->truths[i].coming ||
        (!before->present && version == before->version)) {
        pc_fibers_stop(play->fibers, "stale value");
    }
    if (peeked->flags != 0 && peeked->flags != first) {
        pc_fibers_stop(play->fibers, "another value's flags");
    }
}

/* A miss is true if the key was absent at some moment: before, by now, or when this operation of
 * the owner, which may be taking it away, has ended. */
static void check_miss(struct play *play, unsigned i, const struct truth *before)
{
    const struct truth *truth = &play->truths[i];
    if (!before->present || before->going || !truth->present || truth->changes != before->changes) {
        return;
    }
    struct until until = {.play = play, .op_count = play->op_count};
    pc_fiber_block_until(play->fibers, op_ended, &until);
    if (truth->changes == before->changes) {
        pc_fibers_stop(play->fibers, "false absence");
    }
}

static void check_number(struct play *play)
{
    char text[16];
    uint8_t value[32];
    const struct pc_key key = key_of(text, NUMBER_KEY);
    struct pc_peeked peeked;
    if (pc_slice_peek(play->slice, &key, play->now, value, sizeof(value), &peeked) == PC_PEEK_HIT) {
        /* Each step changes all digits: together, or not at all. */
        uint64_t number = 0;
        for (uint32_t k = 0; k < peeked.value_bytes; k++) {
            number = number * 10 + (uint64_t)(value[k] - '0');
        }
        if ((number - NUMBER_FIRST) % NUMBER_STEP != 0) {
            pc_fibers_stop(play->fibers, "torn number");
        }
    }
}

static void reader_run(void *ctx)
{
    struct play *play = ctx;
    uint8_t value[4 * (2 + VALUE_WORDS_MAX)];
    for (unsigned n = 0; !play->over; n++) {
        const unsigned i = n % KEYS;
        char text[16];
        const struct pc_key key = key_of(text, i);
        const struct truth before = play->truths[i];
        struct pc_peeked peeked;
        switch (pc_slice_peek(play->slice, &key, play->now, value, sizeof(value), &peeked)) {
        case PC_PEEK_HIT:
            play->hits++;
            check_hit(play, i, value, &peeked, &before);
            break;
        case PC_PEEK_MISS:
            play->misses++;
            check_miss(play, i, &before);
            break;
        case PC_PEEK_REFUSED:
            play->refusals++;
            break;
        }
        check_number(play);
        pc_fiber_point(play->fibers, "reader: done");
    }
}

/* True: nothing was found. */
static bool play_once(uint64_t seed, bool reports, uint64_t totals[3])
{
    struct play play = {.now = 10};
    pc_random_init(&play.random, seed);
    const struct pc_pool_config pool = {
        .limit_bytes = 4096 * (24 + seed % 3 * 40), .segment_bytes = 4096, .slice_count = 1};
    assert_int_equal(pc_pool_create(&pool, &play.pool), 0);
    const struct pc_slice_config slice = {.pool = play.pool};
    assert_int_equal(pc_slice_create(&slice, &play.slice), 0);
    const struct pc_fibers_config config = {.seed = seed, .step_count_max = 20000000};
    play.fibers = pc_fibers_create(&config);
    assert_non_null(play.fibers);
    (void)pc_fiber_spawn(play.fibers, "owner", owner_run, &play);
    for (unsigned i = 0; i < READERS; i++) {
        (void)pc_fiber_spawn(play.fibers, "reader", reader_run, &play);
    }
    const bool fine = pc_fibers_run(play.fibers) == PC_FIBERS_DONE;
    if (!fine && reports) {
        pc_fibers_report(play.fibers, stderr);
        fail_msg("seed %llu: %s", (unsigned long long)seed, pc_fibers_reason(play.fibers));
    }
    totals[0] += play.hits;
    totals[1] += play.misses;
    totals[2] += play.refusals;
    pc_fibers_destroy(play.fibers);
    pc_slice_destroy(play.slice);
    pc_pool_destroy(play.pool);
    return fine;
}

static void peek_tells_a_state_of_its_time(void **state)
{
    uint64_t totals[3] = {0};
    const uint64_t seeds = pc_test_scale(60, 20000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        assert_true(play_once(seed, true, totals));
    }
    print_message("%llu hits, %llu misses, %llu refusals\n", (unsigned long long)totals[0],
                  (unsigned long long)totals[1], (unsigned long long)totals[2]);
    assert_true(totals[0] > 100 * seeds);
    assert_true(totals[1] > seeds);
}

/* A reader that does not check, and an owner whose changes show only when they are over. */
static void planted_stale_reads_are_found(void **state)
{
    static const enum pc_bug bugs[] = {PC_BUG_PEEK_UNCHECKED, PC_BUG_CHAIN_NEVER_ODD};
    (void)state;
    for (unsigned i = 0; i < PC_COUNT_OF(bugs); i++) {
        uint64_t totals[3] = {0};
        uint64_t seed = 1;
        pc_planted_bug = bugs[i];
        while (seed <= 60 && play_once(seed, false, totals)) {
            seed++;
        }
        pc_planted_bug = PC_BUG_NONE;
        print_message("bug %u: seed %llu\n", bugs[i], (unsigned long long)seed);
        assert_true(seed <= 60);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peek_tells_a_state_of_its_time),
        cmocka_unit_test(planted_stale_reads_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
