/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what a lane counts is what any thread sums, by name, and the printer says all of it.
 * Method: blocks filled by hand; one test counts on one thread while another sums.
 */
#include "runtime/counters.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t sum_of(struct pc_counters *const *blocks, unsigned count, const char *name)
{
    uint64_t total = UINT64_MAX;
    assert_true(pc_counters_sum(blocks, count, name, &total));
    return total;
}

static void sum_adds_every_block(void **state)
{
    struct pc_counters *blocks[3] = {pc_counters_create(false), NULL, pc_counters_create(true)};
    pc_count(&blocks[0]->requests);
    pc_count_add(&blocks[2]->requests, 41);
    pc_count_add(&blocks[2]->bytes_in, 7);
    assert_int_equal(sum_of(blocks, 3, "requests"), 42);
    assert_int_equal(sum_of(blocks, 1, "requests"), 1);
    assert_int_equal(sum_of(blocks, 3, "bytes_in"), 7);
    assert_int_equal(sum_of(blocks, 3, "memory_refusals"), 0);
    uint64_t untouched = 5;
    assert_false(pc_counters_sum(blocks, 3, "request", &untouched));
    assert_int_equal(untouched, 5);
    pc_counters_destroy(blocks[0]);
    pc_counters_destroy(blocks[2]);
    pc_counters_destroy(NULL);
}

static void every_row_has_its_own_counter(void **state)
{
    struct pc_counters *block = pc_counters_create(false);
    unsigned count = 0;
#define PC_COUNTER(name, help) pc_count_add(&block->name, ++count);
#include "runtime/counters.def"
#undef PC_COUNTER
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(sum_of(&block, 1, pc_counters_name(i)), i + 1);
        assert_true(strlen(pc_counters_help(i)) > 0);
    }
    assert_null(pc_counters_name(count));
    assert_null(pc_counters_help(count));
    pc_counters_destroy(block);
}

static void blocks_share_no_line(void **state)
{
    struct pc_counters *first = pc_counters_create(false);
    assert_int_equal((uintptr_t)first % PC_CACHE_LINE, 0);
    pc_counters_destroy(first);
}

static void one_in_so_many_is_sampled(void **state)
{
    struct pc_counters *with = pc_counters_create(true);
    struct pc_counters *without = pc_counters_create(false);
    unsigned sampled = 0;
    for (unsigned i = 0; i < 10 * PC_STAGE_SAMPLE_EVERY; i++) {
        sampled += pc_counters_sample(with);
        assert_false(pc_counters_sample(without));
    }
    assert_int_equal(sampled, 10);
    pc_counters_turn(without, 1, 1); /* harmless without histograms */
    pc_counters_stage(without, PC_STAGE_HOP, 1);
    pc_counters_destroy(with);
    pc_counters_destroy(without);
}

static void ended_lane_leaves_its_counts(void **state)
{
    struct pc_counters *stays = pc_counters_create(true);
    struct pc_counters *ends = pc_counters_create(true);
    struct pc_counters *plain = pc_counters_create(false);
    pc_count_add(&stays->closed, 1);
    pc_count_add(&ends->closed, 2);
    pc_count_add(&plain->closed, 4);
    pc_counters_turn(ends, 1000, 1);
    pc_counters_stage(ends, PC_STAGE_SENDING, 2000);
    pc_counters_add(stays, ends);
    pc_counters_add(stays, plain);
    assert_int_equal(stays->closed, 7);
    assert_int_equal(pc_histogram_count(stays->turn), 1);
    assert_int_equal(pc_histogram_count(stays->stages[PC_STAGE_SENDING]), 1);
    assert_int_equal(pc_histogram_count(stays->stages[PC_STAGE_HOP]), 0);
    pc_counters_destroy(stays);
    pc_counters_destroy(ends);
    pc_counters_destroy(plain);
}

/* All lines, each ended by a newline. */
struct page {
    char text[16384];
    size_t bytes;
};

static void page_add(void *ctx, const char *line)
{
    struct page *page = ctx;
    int used = snprintf(page->text + page->bytes, sizeof(page->text) - page->bytes, "%s\n", line);
    assert_true(used > 0 && (size_t)used < sizeof(page->text) - page->bytes);
    page->bytes += (size_t)used;
}

static void print_leaves_out_the_shares_of_many(void **state)
{
    enum { MANY = PC_COUNTERS_EACH_MAX + 1 };
    struct pc_counters *blocks[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        blocks[i] = pc_counters_create(false);
        pc_count_add(&blocks[i]->requests, UINT64_MAX / MANY);
    }
    static struct page page;
    page = (struct page){0};
    assert_int_equal(pc_counters_print(blocks, MANY, page_add, &page), 0);
    assert_null(strstr(page.text, "each="));
    page = (struct page){0};
    assert_int_equal(pc_counters_print(blocks, PC_COUNTERS_EACH_MAX, page_add, &page), 0);
    const char *each = strstr(page.text, "each=");
    assert_non_null(each);
    unsigned commas = 0;
    for (; *each != '\n'; each++) {
        commas += *each == ',';
    }
    assert_int_equal(commas, PC_COUNTERS_EACH_MAX - 1);
    for (unsigned i = 0; i < MANY; i++) {
        pc_counters_destroy(blocks[i]);
    }
}

static void print_says_all(void **state)
{
    struct pc_counters *blocks[2] = {pc_counters_create(true), pc_counters_create(true)};
    pc_count_add(&blocks[0]->requests, 30);
    pc_count_add(&blocks[1]->requests, 12);
    for (unsigned i = 1; i <= 1000; i++) {
        pc_counters_turn(blocks[i % 2], i * 100, 1);
    }
    static struct page page;
    page = (struct page){0};
    assert_int_equal(pc_counters_print(blocks, 2, page_add, &page), 0);
    assert_non_null(strstr(page.text, "counter=requests sum=42 each=30,12\n"));
    assert_non_null(strstr(page.text, "counter=stalls sum=0\n"));
    const char *turn = strstr(page.text, "histogram=turn count=1000 mean_ns=50050 p50_ns=");
    assert_non_null(turn);
    uint64_t median_ns = strtoull(strstr(turn, "p50_ns=") + 7, NULL, 10);
    assert_true(median_ns >= 50000 && median_ns <= 50000 + 500); /* two digits */
    assert_non_null(strstr(turn, " max_ns=100000\n"));
    assert_non_null(strstr(page.text, "histogram=waiting count=0 "));
    for (unsigned i = 0; pc_counters_name(i) != NULL; i++) {
        char start[64];
        (void)snprintf(start, sizeof(start), "counter=%s sum=", pc_counters_name(i));
        assert_non_null(strstr(page.text, start));
    }
    pc_counters_destroy(blocks[0]);
    pc_counters_destroy(blocks[1]);
}

enum { COUNTS = 200000 };

struct counting {
    struct pc_counters *block;
    atomic_bool done;
};

static void *count_all(void *ctx)
{
    struct counting *counting = ctx;
    for (unsigned i = 0; i < COUNTS; i++) {
        pc_count(&counting->block->requests);
        pc_counters_turn(counting->block, i, 1);
    }
    atomic_store(&counting->done, true);
    return NULL;
}

static void sums_may_be_taken_while_a_lane_counts(void **state)
{
    struct counting counting = {.block = pc_counters_create(true)};
    struct pc_counters *copy = pc_counters_create(true);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_all, &counting), 0);
    uint64_t last = 0;
    while (!atomic_load(&counting.done)) {
        uint64_t now = sum_of(&counting.block, 1, "requests");
        assert_true(now >= last && now <= COUNTS);
        last = now;
        pc_counters_add(copy, counting.block);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sum_of(&counting.block, 1, "requests"), COUNTS);
    assert_int_equal(pc_histogram_count(counting.block->turn), COUNTS);
    pc_counters_destroy(copy);
    pc_counters_destroy(counting.block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum_adds_every_block),
        cmocka_unit_test(every_row_has_its_own_counter),
        cmocka_unit_test(blocks_share_no_line),
        cmocka_unit_test(one_in_so_many_is_sampled),
        cmocka_unit_test(ended_lane_leaves_its_counts),
        cmocka_unit_test(print_leaves_out_the_shares_of_many),
        cmocka_unit_test(print_says_all),
        cmocka_unit_test(sums_may_be_taken_while_a_lane_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
