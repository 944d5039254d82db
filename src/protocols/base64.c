/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The six bits of a character; -1: it has none. */
static int bits_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t pc_base64_decode(uint8_t *into, const uint8_t *text, size_t count)
{
    if (count == 0 || count % 4 != 0) {
        return 0;
    }
    const size_t padding =
        (text[count - 1] == '=') + (text[count - 1] == '=' && text[count - 2] == '=');
    size_t bytes = 0;
    for (size_t i = 0; i < count; i += 4) {
        const size_t digits = i + 4 == count ? 4 - padding : 4;
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            const int bits = j < digits ? bits_of(text[i + j]) : 0;
            if (bits < 0) {
                return 0;
            }
            group = group << 6 | (uint32_t)bits;
        }
        for (size_t j = 0; j + 1 < digits; j++) {
            into[bytes++] = (uint8_t)(group >> (16 - 8 * j));
        }
    }
    return bytes;
}

size_t pc_base64_encode(char *into, const uint8_t *bytes, size_t count)
{
    char *at = into;
    for (size_t i = 0; i < count; i += 3) {
        const size_t some = count - i < 3 ? count - i : 3;
        const uint32_t group = (uint32_t)bytes[i] << 16 |
                               (some > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (some > 2 ? bytes[i + 2] : 0);
        *at++ = alphabet[group >> 18];
        *at++ = alphabet[group >> 12 & 63];
        *at++ = some > 1 ? alphabet[group >> 6 & 63] : '=';
        *at++ = some > 2 ? alphabet[group & 63] : '=';
    }
    return (size_t)(at - into);
}
