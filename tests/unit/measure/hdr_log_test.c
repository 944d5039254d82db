/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    What we write is what HdrHistogram writes.
 * Method  The plain form of hdr-histogram-js 3.0 for ten values, byte for byte; a log line's
 * fields. (tests/integration/load_test.py hands whole logs to the Java tool.)
 */
#include "measure/hdr_log.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const uint64_t values[] = {0, 1, 1, 1000, 2047, 2048, 2049, 5000, 123456, 99999999999};

/* hdr-histogram-js: build({lowest 1, highest 10^11, digits 3}), the values above, inflated. */
static const char reference[] =
    "1c84931300000013"                         /* cookie, bytes of counts */
    "00000001"                                 /* offset: its own word, ignored by all readers */
    "000000030000000000000001000000174876e800" /* digits, lowest, highest */
    "0000000000000001"                         /* ratio: an integer here, 1.0 in Java and ours */
    "0204cb0f02ab100204c11302cb4a028fb90202";

static size_t base64_read(const char *text, uint8_t *into)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bytes = 0;
    uint32_t bits = 0, bit_count = 0;
    for (; *text != '\0' && *text != '='; text++) {
        const char *at = strchr(alphabet, *text);
        assert_non_null(at);
        bits = bits << 6 | (uint32_t)(at - alphabet);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            into[bytes++] = (uint8_t)(bits >> bit_count);
        }
    }
    return bytes;
}

static size_t inflate_text(const char *text, uint8_t *plain, size_t plain_max)
{
    static uint8_t packed[100000];
    const size_t packed_bytes = base64_read(text, packed);
    assert_int_equal(pc_be32_load(packed), 0x1c849314);
    assert_int_equal(pc_be32_load(packed + 4), packed_bytes - 8);
    uLongf plain_bytes = plain_max;
    assert_int_equal(uncompress(plain, &plain_bytes, packed + 8, packed_bytes - 8), Z_OK);
    return plain_bytes;
}

static struct pc_histogram *sample(void)
{
    struct pc_histogram *histogram = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
    for (size_t i = 0; i < PC_COUNT_OF(values); i++) {
        pc_histogram_record(histogram, values[i]);
    }
    return histogram;
}

static void plain_form_is_the_reference_form(void **state)
{
    static uint8_t plain[100000];
    struct pc_histogram *histogram = sample();
    char *text;
    assert_int_equal(pc_hdr_encode(histogram, &text), 0);
    assert_int_equal(strncmp(text, "HISTFAAAA", 9), 0);
    const size_t bytes = inflate_text(text, plain, sizeof(plain));
    char hex[512];
    for (size_t i = 0; i < bytes; i++) {
        snprintf(hex + 2 * i, 3, "%02x", plain[i]);
    }
    assert_int_equal(bytes, 40 + 19);
    assert_memory_equal(hex + 2 * 12, reference + 2 * 12, 2 * 20);
    assert_memory_equal(hex, reference, 2 * 8);
    assert_string_equal(hex + 2 * 40, reference + 2 * 40);
    free(text);
    pc_histogram_destroy(histogram);
}

static void large_counts_keep_all_their_bits(void **state)
{
    static uint8_t plain[1000];
    struct pc_histogram *histogram = pc_histogram_create(PC_HISTOGRAM_TWO_DIGITS);
    pc_histogram_record_times(histogram, 0, UINT64_C(1) << 62);
    char *text;
    assert_int_equal(pc_hdr_encode(histogram, &text), 0);
    assert_int_equal(inflate_text(text, plain, sizeof(plain)), 40 + 9);
    /* ZigZag doubles 2^62 to 2^63: eight empty groups of seven bits, then bit 63 of the last byte.
     */
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(plain[40 + i], 0x80);
    }
    assert_int_equal(plain[48], 0x80);
    free(text);
    pc_histogram_destroy(histogram);
}

static void log_lines_have_their_fields(void **state)
{
    struct pc_histogram *histogram = sample();
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_int_equal(pc_hdr_log_begin(stream, "percore test", 1700000000.25), 0);
    assert_int_equal(pc_hdr_log_interval(stream, NULL, 0, 1, histogram), 0);
    assert_int_equal(pc_hdr_log_interval(stream, "get", 1, 1.5, histogram), 0);
    fclose(stream);
    assert_non_null(strstr(text, "#[Histogram log format version 1.3]\n"));
    assert_non_null(strstr(text, "#[StartTime: 1700000000.250 (seconds since epoch)]\n"));
    assert_non_null(strstr(text, "\n0.000,1.000,100000.000,HISTFAAAA"));
    assert_non_null(strstr(text, "\nTag=get,1.000,1.500,100000.000,HISTFAAAA"));
    free(text);
    pc_histogram_destroy(histogram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_form_is_the_reference_form),
        cmocka_unit_test(large_counts_keep_all_their_bits),
        cmocka_unit_test(log_lines_have_their_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
