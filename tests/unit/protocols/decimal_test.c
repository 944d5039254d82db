/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: decimal reads exactly what fits and writes what the C library would.
 * Method: the edges of every type, and seeded numbers of every length against snprintf.
 */
#include "protocols/decimal.h"

#include "base/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check_written(uint64_t value)
{
    char expected[32], text[PC_DECIMAL_BYTES_MAX];
    const int bytes = snprintf(expected, sizeof(expected), "%" PRIu64, value);
    assert_int_equal(pc_decimal_write(text, value), bytes);
    assert_memory_equal(text, expected, (size_t)bytes);
    uint64_t again;
    assert_true(pc_decimal_read_u64((const uint8_t *)text, (size_t)bytes, &again));
    assert_int_equal(again, value);
}

static void numbers_are_written_as_the_c_library_writes_them(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 20000; value++) {
        check_written(value);
    }
    struct pc_random random;
    pc_random_init(&random, 7);
    for (int i = 0; i < 20000; i++) {
        check_written(pc_random_next(&random) >> (i % 64));
    }
    check_written(UINT64_MAX);
}

static bool reads_u64(const char *text, uint64_t *out)
{
    return pc_decimal_read_u64((const uint8_t *)text, strlen(text), out);
}

static bool reads_i64(const char *text, int64_t *out)
{
    return pc_decimal_read_i64((const uint8_t *)text, strlen(text), out);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    uint64_t value = 5;
    const char *const bad[] = {"",
                               "-",
                               "-1",
                               "+1",
                               " 1",
                               "1 ",
                               "1x",
                               "x",
                               "18446744073709551616",
                               "99999999999999999999",
                               "100000000000000000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(reads_u64(bad[i], &value));
        assert_int_equal(value, 5);
    }
    assert_true(reads_u64("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    assert_true(reads_u64("000000000000000000000000000000000012", &value));
    assert_int_equal(value, 12);
}

static void signed_numbers_reach_both_ends(void **state)
{
    (void)state;
    int64_t value = 5;
    assert_true(reads_i64("9223372036854775807", &value));
    assert_true(value == INT64_MAX);
    assert_true(reads_i64("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(reads_i64("-0", &value));
    assert_true(value == 0);
    const char *const bad[] = {"", "-", "--1", "9223372036854775808", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(reads_i64(bad[i], &value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_as_the_c_library_writes_them),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(signed_numbers_reach_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
