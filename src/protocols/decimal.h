/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decimal: numbers as text protocols write them, base ten and nothing else.
 *
 * Core     any: nothing here has state.
 * Limits   A read refuses what does not fit its type; it never wraps and never reads past `count`.
 * Cost     A write takes two digits a step from a table of 200 bytes.
 */
#ifndef PC_PROTOCOLS_DECIMAL_H
#define PC_PROTOCOLS_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Digits of the longest uint64_t. */
#define PC_DECIMAL_BYTES_MAX 20

/* "00", "01", to "99". */
extern const char pc_decimal_pairs[201];

size_t pc_decimal_write_long(char *into, uint64_t value);

/* Write `value` without leading zeros and without a terminator; returns how many bytes. Flags and
 * lengths are mostly short: up to three digits are written here and now. */
static inline size_t pc_decimal_write(char *into, uint64_t value)
{
    if (value < 10) {
        *into = (char)('0' + value);
        return 1;
    }
    if (value < 100) {
        memcpy(into, pc_decimal_pairs + 2 * value, 2);
        return 2;
    }
    if (value < 1000) {
        const uint32_t high = (uint32_t)value / 100;
        *into = (char)('0' + high);
        memcpy(into + 1, pc_decimal_pairs + 2 * ((uint32_t)value - 100 * high), 2);
        return 3;
    }
    return pc_decimal_write_long(into, value);
}

/* One or more digits, the whole of `count` bytes; false when there is anything else or no room. */
bool pc_decimal_read_u64(const uint8_t *at, size_t count, uint64_t *out);

/* The same with one leading `-` allowed. */
bool pc_decimal_read_i64(const uint8_t *at, size_t count, int64_t *out);

#endif
