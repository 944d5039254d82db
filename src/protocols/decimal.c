/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/decimal.h"

const char pc_decimal_pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233"
    "34353637383940414243444546474849505152535455565758596061626364656667"
    "6869707172737475767778798081828384858687888990919293949596979899";

size_t pc_decimal_write_long(char *into, uint64_t value)
{
    char text[PC_DECIMAL_BYTES_MAX];
    char *first = text + sizeof(text);
    while (value >= 100) {
        first -= 2;
        memcpy(first, pc_decimal_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        first -= 2;
        memcpy(first, pc_decimal_pairs + 2 * value, 2);
    } else {
        *--first = (char)('0' + value);
    }
    const size_t count = (size_t)(text + sizeof(text) - first);
    memcpy(into, first, count);
    return count;
}

bool pc_decimal_read_u64(const uint8_t *at, size_t count, uint64_t *out)
{
    if (count == 0) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned)at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool pc_decimal_read_i64(const uint8_t *at, size_t count, int64_t *out)
{
    bool negative = count > 0 && at[0] == '-';
    uint64_t magnitude;
    if (!pc_decimal_read_u64(at + negative, count - negative, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = (int64_t)(negative ? -magnitude : magnitude);
    return true;
}
