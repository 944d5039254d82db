/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64: RFC 4648, section 4, with padding, as keys of the meta commands may be written.
 *
 * Core     any: nothing here has state.
 * Limits   The caller gives room: 3 bytes for each 4 characters, 4 characters for each 3 bytes
 * begun.
 */
#ifndef PC_PROTOCOLS_BASE64_H
#define PC_PROTOCOLS_BASE64_H

#include <stddef.h>
#include <stdint.h>

#define PC_BASE64_BYTES(bytes) (((bytes) + 2) / 3 * 4)

/* Returns how many bytes; 0 when the text is not base64. */
size_t pc_base64_decode(uint8_t *into, const uint8_t *text, size_t count);

/* Returns how many characters. */
size_t pc_base64_encode(char *into, const uint8_t *bytes, size_t count);

#endif
