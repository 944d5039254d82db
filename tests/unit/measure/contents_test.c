/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Every value that was set is recognised, every other byte is not.
 * Method  All lengths up to some hundreds, one bit flipped at a time.
 */
#include "measure/contents.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pc_contents contents;

static struct pc_sizes fixed(uint32_t bytes)
{
    return (struct pc_sizes){.kind = PC_SIZES_FIXED, .low = bytes, .high = bytes};
}

static void contents_open(uint64_t key_count, uint32_t key_bytes, uint32_t value_bytes)
{
    const struct pc_sizes keys = fixed(key_bytes), values = fixed(value_bytes);
    assert_int_equal(pc_contents_init(&contents, "percore-load:", key_count, &keys, &values), 0);
}

static void keys_are_unique_legal_and_as_long_as_asked(void **state)
{
    enum { COUNT = 4000 };
    static char texts[COUNT * 4][PC_CONTENTS_KEY_BYTES_MAX];
    contents_open(COUNT, 24, 100);
    for (unsigned i = 0; i < COUNT * 4; i++) {
        const uint64_t key = pc_key_of(i % 4, i / 4);
        assert_int_equal(pc_key_class_of(key), i % 4);
        assert_int_equal(pc_contents_key(&contents, key, texts[i]), 24);
        assert_memory_equal(texts[i], "percore-load:", 13);
        for (unsigned at = 0; at < 24; at++) {
            assert_true(texts[i][at] > ' ' && texts[i][at] < 0x7f);
        }
    }
    qsort(texts, COUNT * 4, sizeof(texts[0]), (int (*)(const void *, const void *))strcmp);
    for (unsigned i = 1; i < COUNT * 4; i++) {
        assert_string_not_equal(texts[i - 1], texts[i]);
    }
}

static void short_key_sizes_yield_to_the_number(void **state)
{
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    contents_open(100000, 1, 10);
    assert_int_equal(pc_contents_key(&contents, pc_key_of(PC_KEY_VALUE, 99999), text), 13 + 1 + 3);
    /* A number beyond those announced takes the digits it needs. */
    assert_int_equal(pc_contents_key(&contents, pc_key_of(PC_KEY_ONE_TIME, 1ull << 40), text),
                     13 + 1 + 7);
}

static void other_sizes_are_other_keys(void **state)
{
    char a[PC_CONTENTS_KEY_BYTES_MAX], b[PC_CONTENTS_KEY_BYTES_MAX];
    contents_open(1000, 24, 100);
    pc_contents_key(&contents, 5, a);
    contents_open(1000, 24, 101);
    pc_contents_key(&contents, 5, b);
    assert_memory_not_equal(a, b, 24);
}

static void values_of_every_length_are_recognised(void **state)
{
    static uint8_t value[70000], again[70000];
    const uint32_t big[] = {8191, 16384, 16392, 16393, 65537};
    for (uint32_t i = 0; i < 300 + PC_COUNT_OF(big); i++) {
        const uint32_t bytes = i < 300 ? i : big[i - 300];
        contents_open(1000, 24, bytes);
        assert_int_equal(pc_contents_value_bytes(&contents, 7), bytes);
        pc_contents_value(&contents, 7, i, value);
        pc_contents_value(&contents, 7, i, again);
        assert_memory_equal(value, again, bytes);
        assert_int_equal(pc_contents_check(&contents, 7, value, bytes), PC_CONTENTS_RIGHT);
        if (bytes > 0) {
            assert_int_equal(pc_contents_check(&contents, 7, value, bytes - 1), PC_CONTENTS_SHORT);
        }
        value[bytes] = 0;
        assert_int_equal(pc_contents_check(&contents, 7, value, bytes + 1), PC_CONTENTS_WRONG);
    }
}

static void one_flipped_bit_is_wrong(void **state)
{
    uint8_t value[200];
    const uint32_t lengths[] = {1, 2, 7, 8, 9, 16, 200};
    for (size_t l = 0; l < PC_COUNT_OF(lengths); l++) {
        contents_open(1000, 24, lengths[l]);
        pc_contents_value(&contents, 3, 99, value);
        for (uint32_t bit = 0; bit < lengths[l] * 8; bit++) {
            value[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(pc_contents_check(&contents, 3, value, lengths[l]), PC_CONTENTS_WRONG);
            value[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void value_of_another_key_is_wrong(void **state)
{
    uint8_t value[100];
    contents_open(100000, 24, 100);
    for (uint64_t key = 1; key < 20000; key++) {
        pc_contents_value(&contents, key, 1, value);
        assert_int_equal(pc_contents_check(&contents, 0, value, 100), PC_CONTENTS_WRONG);
    }
}

static void versions_differ(void **state)
{
    uint8_t a[100], b[100];
    contents_open(1000, 24, 100);
    pc_contents_value(&contents, 3, 1, a);
    pc_contents_value(&contents, 3, 2, b);
    assert_memory_not_equal(a + 8, b + 8, 92);
}

static void appended_chunks_are_right_where_appends_happen(void **state)
{
    uint8_t value[100 + 3 * PC_CONTENTS_CHUNK_BYTES];
    contents_open(1000, 24, 100);
    pc_contents_value(&contents, 3, 1, value);
    for (unsigned i = 0; i < 3; i++) {
        pc_contents_chunk(3, value + 100 + i * PC_CONTENTS_CHUNK_BYTES);
    }
    assert_int_equal(pc_contents_check(&contents, 3, value, sizeof(value)), PC_CONTENTS_WRONG);
    contents.appends = true;
    assert_int_equal(pc_contents_check(&contents, 3, value, sizeof(value)), PC_CONTENTS_RIGHT);
    assert_int_equal(pc_contents_check(&contents, 3, value, sizeof(value) - 1), PC_CONTENTS_WRONG);
    value[sizeof(value) - 1] ^= 1;
    assert_int_equal(pc_contents_check(&contents, 3, value, sizeof(value)), PC_CONTENTS_WRONG);
}

static void illegal_prefixes_are_refused(void **state)
{
    const struct pc_sizes sizes = fixed(20);
    char longest[PC_CONTENTS_PREFIX_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_true(pc_contents_init(&contents, longest, 10, &sizes, &sizes) < 0);
    assert_true(pc_contents_init(&contents, "a b", 10, &sizes, &sizes) < 0);
    assert_true(pc_contents_init(&contents, "a\n", 10, &sizes, &sizes) < 0);
    assert_int_equal(pc_contents_init(&contents, "", 10, &sizes, &sizes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_unique_legal_and_as_long_as_asked),
        cmocka_unit_test(short_key_sizes_yield_to_the_number),
        cmocka_unit_test(other_sizes_are_other_keys),
        cmocka_unit_test(values_of_every_length_are_recognised),
        cmocka_unit_test(one_flipped_bit_is_wrong),
        cmocka_unit_test(value_of_another_key_is_wrong),
        cmocka_unit_test(versions_differ),
        cmocka_unit_test(appended_chunks_are_right_where_appends_happen),
        cmocka_unit_test(illegal_prefixes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
