/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: base64 is what RFC 4648 says, and nothing else is taken for it.
 * Method: the RFC's own examples, all lengths there and back, and texts that are not base64.
 */
#include "protocols/base64.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void the_examples_of_the_rfc_hold(void **state)
{
    (void)state;
    static const char *const examples[][2] = {
        {"f", "Zg=="},        {"fo", "Zm8="},        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        char text[16];
        uint8_t bytes[16];
        const size_t count = strlen(examples[i][0]), length = strlen(examples[i][1]);
        assert_int_equal(pc_base64_encode(text, (const uint8_t *)examples[i][0], count), length);
        assert_memory_equal(text, examples[i][1], length);
        assert_int_equal(pc_base64_decode(bytes, (const uint8_t *)examples[i][1], length), count);
        assert_memory_equal(bytes, examples[i][0], count);
    }
}

static void all_lengths_come_back(void **state)
{
    (void)state;
    struct pc_random random;
    pc_random_init(&random, 3);
    for (size_t count = 1; count <= 187; count++) {
        uint8_t bytes[187], again[188];
        char text[PC_BASE64_BYTES(187)];
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)pc_random_next(&random);
        }
        const size_t length = pc_base64_encode(text, bytes, count);
        assert_int_equal(length, PC_BASE64_BYTES(count));
        assert_int_equal(pc_base64_decode(again, (const uint8_t *)text, length), count);
        assert_memory_equal(again, bytes, count);
    }
}

static void other_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "Z",    "Zm9",  "Z===",     "====",
                                        "Zm9v=", "Zm=v", "Zm 9", "Zg==Zg==", "\xff\xff\xff\xff",
                                        "Zm9v\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint8_t bytes[16];
        assert_int_equal(pc_base64_decode(bytes, (const uint8_t *)texts[i], strlen(texts[i])), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfc_hold),
        cmocka_unit_test(all_lengths_come_back),
        cmocka_unit_test(other_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
