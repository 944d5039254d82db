/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: any bytes become one word of text from which they can be read again, and nothing is escaped
 * that need not be. Method: every byte by itself, then all of them in one text, read back by a
 * second, naive reader.
 */
#include "protocols/percent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What RFC 3986 calls unreserved, letter by letter. */
static const char unreserved[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

static size_t read_back(uint8_t *into, const char *text, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        char digits[3] = {0};
        if (text[i] == '%') {
            memcpy(digits, text + i + 1, 2);
            i += 2;
        }
        into[bytes++] = (uint8_t)(digits[0] != 0 ? strtoul(digits, NULL, 16) : (uint8_t)text[i]);
    }
    return bytes;
}

static void only_what_has_to_be_is_escaped(void **state)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t one = (uint8_t)byte;
        char text[4] = "";
        const size_t count = pc_percent_write(text, &one, 1);
        if (byte != 0 && strchr(unreserved, (int)byte) != NULL) {
            assert_int_equal(count, 1);
            assert_int_equal((uint8_t)text[0], byte);
        } else {
            char expected[4];
            (void)snprintf(expected, sizeof(expected), "%%%02X", byte);
            assert_int_equal(count, 3);
            assert_memory_equal(text, expected, 3);
        }
    }
}

static void all_bytes_come_back(void **state)
{
    uint8_t bytes[256], again[256];
    char text[3 * sizeof(bytes)];
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 167 + 3); /* odd: every byte once, in no order */
    }
    for (size_t count = 0; count <= sizeof(bytes); count++) {
        const size_t length = pc_percent_write(text, bytes, count);
        assert_int_equal(read_back(again, text, length), count);
        assert_memory_equal(again, bytes, count);
        for (size_t i = 0; i < length; i++) {
            assert_true(text[i] == '%' || strchr(unreserved, text[i]) != NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_has_to_be_is_escaped),
        cmocka_unit_test(all_bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
