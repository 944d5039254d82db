/* SPDX-License-Identifier: Apache-2.0 */
/* memcached_client: lines built by hand, because a printf a request would be most of its cost. */
#include "protocols/memcached_client.h"

#include "base/check.h"
#include "protocols/decimal.h"

#include <string.h>

static char *text_put(char *at, const char *text, size_t count)
{
    memcpy(at, text, count);
    return at + count;
}

static char *word_put(char *at, const char *word)
{
    return text_put(at, word, strlen(word));
}

static char *number_put(char *at, uint64_t value)
{
    *at++ = ' ';
    return at + pc_decimal_write(at, value);
}

static char *key_put(char *at, struct pc_text key)
{
    *at++ = ' ';
    return text_put(at, key.at, key.count);
}

static size_t line_end(char *into, char *at)
{
    *at++ = '\r';
    *at++ = '\n';
    return (size_t)(at - into);
}

size_t pc_memcached_ask_keys(char *into, const char *verb, const uint32_t *exptime)
{
    char *at = word_put(into, verb);
    if (exptime != NULL) {
        at = number_put(at, *exptime);
    }
    return (size_t)(at - into);
}

size_t pc_memcached_ask_key(char *into, struct pc_text key)
{
    return (size_t)(key_put(into, key) - into);
}

size_t pc_memcached_ask_end(char *into)
{
    return line_end(into, into);
}

size_t pc_memcached_ask_store(char *into, const char *verb, struct pc_text key, uint32_t exptime,
                              uint32_t value_bytes, const uint64_t *cas)
{
    char *at = key_put(word_put(into, verb), key);
    at = text_put(at, " 0", 2); /* flags: our values say all they need themselves */
    at = number_put(number_put(at, exptime), value_bytes);
    if (cas != NULL) {
        at = number_put(at, *cas);
    }
    return line_end(into, at);
}

size_t pc_memcached_ask_delete(char *into, struct pc_text key)
{
    return line_end(into, key_put(word_put(into, "delete"), key));
}

size_t pc_memcached_ask_touch(char *into, struct pc_text key, uint32_t exptime)
{
    return line_end(into, number_put(key_put(word_put(into, "touch"), key), exptime));
}

size_t pc_memcached_ask_incr(char *into, struct pc_text key, uint64_t delta)
{
    return line_end(into, number_put(key_put(word_put(into, "incr"), key), delta));
}

size_t pc_memcached_ask_meta_get(char *into, struct pc_text key)
{
    return line_end(into, word_put(key_put(word_put(into, "mg"), key), " k v"));
}

size_t pc_memcached_ask_meta_set(char *into, struct pc_text key, uint32_t exptime,
                                 uint32_t value_bytes)
{
    char *at = number_put(key_put(word_put(into, "ms"), key), value_bytes);
    at = word_put(at, " T");
    at += pc_decimal_write(at, exptime);
    return line_end(into, at);
}

/* Words of a line, one after the other; an empty one when there is none left. */
static struct pc_text word_take(struct pc_text *line)
{
    while (line->count > 0 && *line->at == ' ') {
        line->at++;
        line->count--;
    }
    const char *end = line->count == 0 ? NULL : memchr(line->at, ' ', line->count);
    const size_t bytes = end == NULL ? line->count : (size_t)(end - line->at);
    const struct pc_text word = {line->at, bytes};
    line->at += bytes;
    line->count -= bytes;
    return word;
}

static bool word_is(struct pc_text word, const char *text)
{
    const size_t count = strlen(text);
    return word.count == count && memcmp(word.at, text, count) == 0;
}

static bool number_read(struct pc_text word, uint64_t *out)
{
    return pc_decimal_read_u64((const uint8_t *)word.at, word.count, out);
}

/* The block of data behind a line that ends at `line_bytes`. */
static enum pc_answered data_take(const uint8_t *at, size_t count, size_t line_bytes,
                                  uint64_t value_bytes, struct pc_memcached_answer *out,
                                  size_t *out_bytes)
{
    if (value_bytes > INT32_MAX) {
        return PC_ANSWER_BAD;
    }
    const size_t whole = line_bytes + value_bytes + 2;
    if (count < whole) {
        *out_bytes = whole;
        return PC_ANSWER_MORE;
    }
    if (memcmp(at + whole - 2, "\r\n", 2) != 0) {
        return PC_ANSWER_BAD;
    }
    out->value = at + line_bytes;
    out->value_bytes = value_bytes;
    *out_bytes = whole;
    return PC_ANSWER_DONE;
}

/* VALUE <key> <flags> <bytes> [<cas>] */
static enum pc_answered value_parse(const uint8_t *at, size_t count, size_t line_bytes,
                                    struct pc_text rest, struct pc_memcached_answer *out,
                                    size_t *out_bytes)
{
    uint64_t flags, bytes;
    out->kind = PC_MEMCACHED_ANSWER_VALUE;
    out->key = word_take(&rest);
    const bool right =
        number_read(word_take(&rest), &flags) && number_read(word_take(&rest), &bytes);
    if (!right) {
        return PC_ANSWER_BAD;
    }
    const struct pc_text cas = word_take(&rest);
    if (cas.count > 0 && !number_read(cas, &out->number)) {
        return PC_ANSWER_BAD;
    }
    return data_take(at, count, line_bytes, bytes, out, out_bytes);
}

/* VA <bytes> <flags>*: of the flags we ask for, only k comes with a token. */
static enum pc_answered meta_value_parse(const uint8_t *at, size_t count, size_t line_bytes,
                                         struct pc_text rest, struct pc_memcached_answer *out,
                                         size_t *out_bytes)
{
    uint64_t bytes;
    out->kind = PC_MEMCACHED_ANSWER_META_VALUE;
    if (!number_read(word_take(&rest), &bytes)) {
        return PC_ANSWER_BAD;
    }
    for (struct pc_text flag = word_take(&rest); flag.count > 0; flag = word_take(&rest)) {
        if (flag.at[0] == 'k') {
            out->key = (struct pc_text){flag.at + 1, flag.count - 1};
        }
    }
    return data_take(at, count, line_bytes, bytes, out, out_bytes);
}

static const struct {
    const char *word;
    enum pc_memcached_answer_kind kind;
} words[] = {
    {"END", PC_MEMCACHED_ANSWER_END},
    {"STORED", PC_MEMCACHED_ANSWER_STORED},
    {"NOT_STORED", PC_MEMCACHED_ANSWER_NOT_STORED},
    {"EXISTS", PC_MEMCACHED_ANSWER_EXISTS},
    {"NOT_FOUND", PC_MEMCACHED_ANSWER_NOT_FOUND},
    {"DELETED", PC_MEMCACHED_ANSWER_DELETED},
    {"TOUCHED", PC_MEMCACHED_ANSWER_TOUCHED},
    {"OK", PC_MEMCACHED_ANSWER_OK},
    {"HD", PC_MEMCACHED_ANSWER_META_HEAD},
    {"EN", PC_MEMCACHED_ANSWER_META_MISS},
    {"NF", PC_MEMCACHED_ANSWER_META_MISS},
    {"NS", PC_MEMCACHED_ANSWER_META_OTHER},
    {"EX", PC_MEMCACHED_ANSWER_META_OTHER},
    {"STAT", PC_MEMCACHED_ANSWER_STAT},
    {"VERSION", PC_MEMCACHED_ANSWER_STAT},
    {"ERROR", PC_MEMCACHED_ANSWER_ERROR},
    {"CLIENT_ERROR", PC_MEMCACHED_ANSWER_ERROR},
    {"SERVER_ERROR", PC_MEMCACHED_ANSWER_ERROR},
    {"SERVER_ERROR:", PC_MEMCACHED_ANSWER_ERROR},
};

static enum pc_answered line_parse(struct pc_text word, struct pc_memcached_answer *out)
{
    for (size_t i = 0; i < PC_COUNT_OF(words); i++) {
        if (word_is(word, words[i].word)) {
            out->kind = words[i].kind;
            return PC_ANSWER_DONE;
        }
    }
    /* A decremented number may be padded with spaces: they are not part of the word. */
    out->kind = PC_MEMCACHED_ANSWER_NUMBER;
    return number_read(word, &out->number) ? PC_ANSWER_DONE : PC_ANSWER_BAD;
}

enum pc_answered pc_memcached_answer_parse(const uint8_t *at, size_t count,
                                           struct pc_memcached_answer *out, size_t *out_bytes)
{
    const size_t look = pc_min_size(count, PC_MEMCACHED_ANSWER_LINE_BYTES_MAX);
    const uint8_t *end = look == 0 ? NULL : memchr(at, '\n', look);
    if (end == NULL) {
        *out_bytes = count + 1;
        return count < PC_MEMCACHED_ANSWER_LINE_BYTES_MAX ? PC_ANSWER_MORE : PC_ANSWER_BAD;
    }
    const size_t line_bytes = (size_t)(end - at) + 1;
    if (line_bytes < 2 || end[-1] != '\r') {
        return PC_ANSWER_BAD;
    }
    struct pc_text rest = {(const char *)at, line_bytes - 2};
    *out = (struct pc_memcached_answer){.line = rest};
    const struct pc_text word = word_take(&rest);
    if (word_is(word, "VALUE")) {
        return value_parse(at, count, line_bytes, rest, out, out_bytes);
    }
    if (word_is(word, "VA")) {
        return meta_value_parse(at, count, line_bytes, rest, out, out_bytes);
    }
    *out_bytes = line_bytes;
    return line_parse(word, out);
}
