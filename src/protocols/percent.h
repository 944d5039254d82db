/* SPDX-License-Identifier: Apache-2.0 */
/*
 * percent: bytes as one word of text, as in addresses of the web (RFC 3986).
 *
 * Core     any.
 */
#ifndef PC_PROTOCOLS_PERCENT_H
#define PC_PROTOCOLS_PERCENT_H

#include <stddef.h>
#include <stdint.h>

/* Letters, digits and -._~ as they are, all else as %XX: three times `count` bytes at most, without
 * a terminator. Returns how many. */
size_t pc_percent_write(char *into, const uint8_t *bytes, size_t count);

#endif
