/* SPDX-License-Identifier: Apache-2.0 */
/* resp_client: every element is a letter, a line, and for a bulk its bytes. */
#include "protocols/resp_client.h"

#include "base/check.h"
#include "protocols/decimal.h"

#include <stdbool.h>
#include <string.h>

static size_t head_put(char *into, char letter, uint32_t number)
{
    into[0] = letter;
    const size_t digits = pc_decimal_write(into + 1, number);
    memcpy(into + 1 + digits, "\r\n", 2);
    return digits + 3;
}

size_t pc_resp_ask_begin(char *into, uint32_t count)
{
    return head_put(into, '*', count);
}

size_t pc_resp_ask_word_begin(char *into, uint32_t bytes)
{
    return head_put(into, '$', bytes);
}

size_t pc_resp_ask_word(char *into, struct pc_text word)
{
    const size_t head = head_put(into, '$', (uint32_t)word.count);
    memcpy(into + head, word.at, word.count);
    memcpy(into + head + word.count, "\r\n", 2);
    return head + word.count + 2;
}

static enum pc_answered bulk_parse(const uint8_t *at, size_t count, size_t line_bytes,
                                   struct pc_resp_answer *out, size_t *out_bytes)
{
    if (out->number < 0) {
        out->kind = PC_RESP_ANSWER_NIL;
        return PC_ANSWER_DONE;
    }
    if (out->number > INT32_MAX) {
        return PC_ANSWER_BAD;
    }
    const size_t whole = line_bytes + (size_t)out->number + 2;
    *out_bytes = whole;
    if (count < whole) {
        return PC_ANSWER_MORE;
    }
    out->text = (struct pc_text){(const char *)at + line_bytes, (size_t)out->number};
    return memcmp(at + whole - 2, "\r\n", 2) == 0 ? PC_ANSWER_DONE : PC_ANSWER_BAD;
}

/* The common answer in one pass: a bulk of up to six digits of length, all of it at hand. False
 * says nothing: the long way decides. */
static bool bulk_parse_fast(const uint8_t *at, size_t count, struct pc_resp_answer *out,
                            size_t *out_bytes)
{
    size_t used = 1, length = 0;
    while (used < 7 && used < count && at[used] >= '0' && at[used] <= '9') {
        length = length * 10 + (size_t)(at[used++] - '0');
    }
    const size_t whole = used + length + 4;
    if (used == 1 || count < whole || memcmp(at + used, "\r\n", 2) != 0 ||
        memcmp(at + whole - 2, "\r\n", 2) != 0) {
        return false;
    }
    *out = (struct pc_resp_answer){.kind = PC_RESP_ANSWER_BULK,
                                   .text = {(const char *)at + used + 2, length},
                                   .number = (int64_t)length};
    *out_bytes = whole;
    return true;
}

enum pc_answered pc_resp_answer_parse(const uint8_t *at, size_t count, struct pc_resp_answer *out,
                                      size_t *out_bytes)
{
    if (count > 0 && at[0] == '$' && bulk_parse_fast(at, count, out, out_bytes)) {
        return PC_ANSWER_DONE;
    }
    const size_t look = pc_min_size(count, PC_RESP_LINE_BYTES_MAX);
    const uint8_t *end = look == 0 ? NULL : memchr(at, '\n', look);
    if (end == NULL) {
        *out_bytes = count + 1;
        return count < PC_RESP_LINE_BYTES_MAX ? PC_ANSWER_MORE : PC_ANSWER_BAD;
    }
    const size_t line_bytes = (size_t)(end - at) + 1;
    if (line_bytes < 3 || end[-1] != '\r') {
        return PC_ANSWER_BAD;
    }
    *out = (struct pc_resp_answer){.text = {(const char *)at + 1, line_bytes - 3}};
    *out_bytes = line_bytes;
    switch (at[0]) {
    case '+':
        out->kind = PC_RESP_ANSWER_SIMPLE;
        return PC_ANSWER_DONE;
    case '-':
        out->kind = PC_RESP_ANSWER_ERROR;
        return PC_ANSWER_DONE;
    case ':':
    case '$':
    case '*':
        break;
    default:
        return PC_ANSWER_BAD;
    }
    if (!pc_decimal_read_i64(at + 1, line_bytes - 3, &out->number)) {
        return PC_ANSWER_BAD;
    }
    if (at[0] == '$') {
        out->kind = PC_RESP_ANSWER_BULK;
        return bulk_parse(at, count, line_bytes, out, out_bytes);
    }
    out->kind = at[0] == ':' ? PC_RESP_ANSWER_INTEGER : PC_RESP_ANSWER_ARRAY;
    return PC_ANSWER_DONE;
}
