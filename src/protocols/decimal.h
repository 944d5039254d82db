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

/* Digits of the longest uint64_t. */
#define PC_DECIMAL_BYTES_MAX 20

/* Write `value` without leading zeros and without a terminator; returns how many bytes. */
size_t pc_decimal_write(char *into, uint64_t value);

/* One or more digits, the whole of `count` bytes; false when there is anything else or no room. */
bool pc_decimal_read_u64(const uint8_t *at, size_t count, uint64_t *out);

/* The same with one leading `-` allowed. */
bool pc_decimal_read_i64(const uint8_t *at, size_t count, int64_t *out);

#endif
