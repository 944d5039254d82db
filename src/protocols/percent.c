/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/percent.h"

#include <stdbool.h>

static bool is_plain(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

size_t pc_percent_write(char *into, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789ABCDEF";
    char *at = into;
    for (size_t i = 0; i < count; i++) {
        if (is_plain(bytes[i])) {
            *at++ = (char)bytes[i];
            continue;
        }
        *at++ = '%';
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    return (size_t)(at - into);
}
