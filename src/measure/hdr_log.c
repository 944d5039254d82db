/* SPDX-License-Identifier: Apache-2.0 */
/* hdr_log: three layers, each written to a buffer of its own: counts, zlib, base64. */
#include "measure/hdr_log.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/histogram.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    COOKIE_PLAIN = 0x1c849303 | 0x10,
    COOKIE_COMPRESSED = 0x1c849304 | 0x10,
    HEAD_BYTES = 40,
    COMPRESSED_HEAD_BYTES = 8,
    COUNT_BYTES_MAX = 9, /* LEB128 as HdrHistogram limits it: 8 × 7 bits and a whole byte */
};

#define VALUE_UNITS_PER_MAX 1e6

static size_t zigzag_store(uint8_t *at, int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t count = 0;
    while (rest >= 0x80 && count < COUNT_BYTES_MAX - 1) {
        at[count++] = (uint8_t)(rest | 0x80);
        rest >>= 7;
    }
    at[count++] = (uint8_t)rest;
    return count;
}

/* Counters up to the last that is not empty. */
static size_t counts_store(const struct pc_histogram *histogram, uint8_t *at)
{
    uint32_t end = histogram->counter_count;
    while (end > 0 && histogram->counts[end - 1] == 0) {
        end--;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < end;) {
        uint32_t zeros = 0;
        while (histogram->counts[i + zeros] == 0) {
            zeros++;
        }
        if (zeros > 0) {
            bytes += zigzag_store(at + bytes, zeros == 1 ? 0 : -(int64_t)zeros);
            i += zeros;
        } else {
            bytes += zigzag_store(at + bytes, (int64_t)histogram->counts[i]);
            i++;
        }
    }
    return bytes;
}

static size_t plain_store(const struct pc_histogram *histogram, uint8_t *at)
{
    const double ratio = 1; /* integer to double: values are integers */
    uint64_t ratio_bits;
    memcpy(&ratio_bits, &ratio, sizeof(ratio_bits));
    const size_t payload = counts_store(histogram, at + HEAD_BYTES);
    pc_be32_store(at, COOKIE_PLAIN);
    pc_be32_store(at + 4, (uint32_t)payload);
    pc_be32_store(at + 8, 0); /* normalising offset: counters are not shifted */
    pc_be32_store(at + 12, histogram->digits);
    pc_be64_store(at + 16, 1); /* lowest value told from 0 */
    pc_be64_store(at + 24, PC_HISTOGRAM_VALUE_MAX);
    pc_be64_store(at + 32, ratio_bits);
    return HEAD_BYTES + payload;
}

static size_t base64_store(const uint8_t *bytes, size_t count, char *at)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *const start = at;
    for (size_t i = 0; i < count; i += 3) {
        const size_t left = count - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 |
                               (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        *at++ = alphabet[group >> 18];
        *at++ = alphabet[group >> 12 & 63];
        *at++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *at++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *at = '\0';
    return (size_t)(at - start);
}

int pc_hdr_encode(const struct pc_histogram *histogram, char **out_text)
{
    const size_t plain_max = HEAD_BYTES + (size_t)histogram->counter_count * COUNT_BYTES_MAX;
    uint8_t *plain = malloc(plain_max);
    uLongf packed_bytes = compressBound(plain_max);
    uint8_t *packed = malloc(COMPRESSED_HEAD_BYTES + packed_bytes);
    char *text = NULL;
    int error = -ENOMEM;
    if (plain == NULL || packed == NULL) {
        goto out;
    }
    const size_t plain_bytes = plain_store(histogram, plain);
    if (compress2(packed + COMPRESSED_HEAD_BYTES, &packed_bytes, plain, plain_bytes,
                  Z_DEFAULT_COMPRESSION) != Z_OK) {
        goto out;
    }
    pc_be32_store(packed, COOKIE_COMPRESSED);
    pc_be32_store(packed + 4, (uint32_t)packed_bytes);
    const size_t count = COMPRESSED_HEAD_BYTES + packed_bytes;
    text = malloc((count + 2) / 3 * 4 + 1);
    if (text != NULL) {
        (void)base64_store(packed, count, text); /* the length is known to the terminator */
        *out_text = text;
        error = 0;
    }
out:
    free(plain);
    free(packed);
    return error;
}

int pc_hdr_log_begin(FILE *stream, const char *writer, double start_s)
{
    fprintf(stream, "#[Logged with %s]\n#[Histogram log format version 1.3]\n", writer);
    fprintf(stream, "#[StartTime: %.3f (seconds since epoch)]\n", start_s);
    fprintf(stream, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
                    "\"Interval_Compressed_Histogram\"\n");
    return ferror(stream) ? -EIO : 0;
}

int pc_hdr_log_interval(FILE *stream, const char *tag, double at_s, double length_s,
                        const struct pc_histogram *histogram)
{
    char *text;
    const int error = pc_hdr_encode(histogram, &text);
    if (error != 0) {
        return error;
    }
    if (tag != NULL) {
        fprintf(stream, "Tag=%s,", tag);
    }
    fprintf(stream, "%.3f,%.3f,%.3f,%s\n", at_s, length_s,
            (double)histogram->value_max / VALUE_UNITS_PER_MAX, text);
    free(text);
    return ferror(stream) ? -EIO : 0;
}
