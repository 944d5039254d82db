/* SPDX-License-Identifier: Apache-2.0 */
#include "replies.h"

#include "base/bytes.h"
#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { BINARY_MAGIC = 0x81, BINARY_HEAD_BYTES = 24, BINARY_STAT = 0x10 };

/* What a line may begin with, and what must follow. */
enum form {
    ALONE,  /* nothing */
    WORDS,  /* nothing, or a space and words */
    PHRASE, /* a space and words */
};

static const struct {
    const char *word;
    enum form form;
} lines[] = {
    {"STORED", ALONE},
    {"NOT_STORED", ALONE},
    {"EXISTS", ALONE},
    {"NOT_FOUND", ALONE},
    {"DELETED", ALONE},
    {"TOUCHED", ALONE},
    {"OK", ALONE},
    {"END", ALONE},
    {"RESET", ALONE},
    {"MN", ALONE},
    {"EN", WORDS},
    {"HD", WORDS},
    {"NS", WORDS},
    {"EX", WORDS},
    {"NF", WORDS},
    {"ME", PHRASE},
    {"ERROR", WORDS},
    {"CLIENT_ERROR", PHRASE},
    {"SERVER_ERROR", PHRASE},
    {"VERSION", PHRASE},
    {"SERVER_ERROR: shutdown not enabled", ALONE},
    {"STAT", PHRASE},
    {"BADCLASS", PHRASE},
    {"NOSPARE", PHRASE},
    {"SAME", PHRASE},
    {"MEMLIMIT_TOO_SMALL", PHRASE},
    {"MEMLIMIT_ADJUST_FAILED", PHRASE},
};

void pc_replies_init(struct pc_replies *replies)
{
    *replies = (struct pc_replies){0};
}

void pc_replies_fini(struct pc_replies *replies)
{
    free(replies->text);
}

static void note(struct pc_replies *replies, const void *bytes, size_t count)
{
    if (replies->text_room - replies->text_bytes < count) {
        replies->text_room = 2 * (replies->text_room + count);
        replies->text = realloc(replies->text, replies->text_room);
        if (replies->text == NULL) {
            abort();
        }
    }
    if (count > 0) {
        memcpy(replies->text + replies->text_bytes, bytes, count);
        replies->text_bytes += count;
    }
}

/* What a reader of one reply says: 1, read; 0, there is less than all of it; -1, wrong. */
static int wrong(struct pc_replies *replies, const char *trouble)
{
    replies->trouble = trouble;
    return -1;
}

static bool begins(const uint8_t *line, size_t count, const char *word)
{
    return count >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

static bool is_number(const uint8_t *line, size_t count)
{
    size_t i = 0;
    while (i < count && line[i] >= '0' && line[i] <= '9') {
        i++;
    }
    return count > 0 && i == count;
}

/* The decimal number of the word that begins at *at, which then points behind the word. */
static bool word_number(const uint8_t **at, const uint8_t *end, uint64_t *out_number)
{
    uint64_t number = 0;
    const uint8_t *from = *at;
    while (*at < end && **at >= '0' && **at <= '9') {
        number = number * 10 + (uint64_t)(*(*at)++ - '0');
    }
    *out_number = number;
    return *at > from && *at - from <= 20;
}

/* The bytes of the value that a VALUE or VA line announces. */
static bool value_bytes(const uint8_t *line, size_t count, uint64_t *out_bytes)
{
    const uint8_t *at = line, *end = line + count;
    uint64_t flags, cas;
    if (begins(line, count, "VA ")) {
        at += 3;
        return word_number(&at, end, out_bytes) && (at == end || *at == ' ');
    }
    at = memchr(line + 6, ' ', count - 6);
    if (at == NULL || at == line + 6 || at - (line + 6) > 250) {
        return false;
    }
    at++;
    if (!word_number(&at, end, &flags) || at++ == end || !word_number(&at, end, out_bytes)) {
        return false;
    }
    return at == end || (*at++ == ' ' && word_number(&at, end, &cas) && at == end);
}

/* A VALUE or VA with its value. */
static int read_value(struct pc_replies *replies, size_t line_bytes, const uint8_t *end)
{
    uint64_t bytes;
    if (!value_bytes(replies->at, line_bytes, &bytes)) {
        return wrong(replies, "a value's line is not as it should be");
    }
    const uint8_t *value = replies->at + line_bytes + 2;
    if ((uint64_t)(end - value) < bytes + 2) {
        return 0;
    }
    if (value[bytes] != '\r' || value[bytes + 1] != '\n') {
        return wrong(replies, "a value does not end where its line says");
    }
    replies->in_values = begins(replies->at, line_bytes, "VALUE ");
    note(replies, replies->at, line_bytes + 2 + (size_t)bytes + 2);
    replies->at = value + bytes + 2;
    return 1;
}

static bool is_known(const uint8_t *line, size_t count)
{
    for (size_t i = 0; i < PC_COUNT_OF(lines); i++) {
        const size_t length = strlen(lines[i].word);
        if (!begins(line, count, lines[i].word)) {
            continue;
        }
        if (count == length ? lines[i].form != PHRASE
                            : lines[i].form != ALONE && line[length] == ' ') {
            return true;
        }
    }
    return is_number(line, count);
}

static int read_text(struct pc_replies *replies, const uint8_t *end)
{
    const uint8_t *line = replies->at;
    const uint8_t *feed = memchr(line, '\n', (size_t)(end - line));
    /* What a watcher is told: who else did what, and when. */
    if (feed != NULL && (begins(line, (size_t)(feed - line), "ts=") ||
                         begins(line, (size_t)(feed - line), "skipped="))) {
        replies->at = feed + 1;
        return 1;
    }
    const uint8_t *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
    if (stop == NULL) {
        return 0;
    }
    const size_t count = (size_t)(stop - line);
    if (begins(line, count, "VALUE ") || begins(line, count, "VA ")) {
        return read_value(replies, count, end);
    }
    /* Dumps tell ages, in the order of the index; the lines of metadump end without a return. */
    if (begins(line, count, "key=") || begins(line, count, "mg ")) {
        replies->at = stop + 2;
        return 1;
    }
    if (!is_known(line, count)) {
        return wrong(replies, "a line is no reply");
    }
    const bool ends = begins(line, count, "END") || begins(line, count, "SERVER_ERROR ") ||
                      begins(line, count, "CLIENT_ERROR ");
    if (replies->in_values && !ends) {
        return wrong(replies, "values without their END");
    }
    replies->in_values = false;
    /* `me` tells ages and places, stats tell what the machine did. */
    note(replies, line, begins(line, count, "STAT ") || begins(line, count, "ME ") ? 4 : count + 2);
    replies->at = stop + 2;
    return 1;
}

static int read_binary(struct pc_replies *replies, const uint8_t *end)
{
    const uint8_t *head = replies->at;
    if (replies->in_values) {
        return wrong(replies, "values without their END");
    }
    if (end - head < BINARY_HEAD_BYTES) {
        return 0;
    }
    const uint32_t body_bytes = pc_be32_load(head + 8);
    const uint32_t key_bytes = (uint32_t)head[2] << 8 | head[3];
    if (body_bytes < key_bytes + head[4] || head[5] != 0) {
        return wrong(replies, "a packet's lengths are not as they should be");
    }
    if ((uint64_t)(end - head) < (uint64_t)BINARY_HEAD_BYTES + body_bytes) {
        return 0;
    }
    if (head[1] == BINARY_STAT) {
        note(replies, head, 2); /* the rest is what the machine did */
    } else {
        note(replies, head, BINARY_HEAD_BYTES + (size_t)body_bytes);
    }
    replies->at = head + BINARY_HEAD_BYTES + body_bytes;
    return 1;
}

bool pc_replies_read(struct pc_replies *replies, const uint8_t *bytes, size_t count)
{
    const uint8_t *end = bytes + count;
    replies->at = bytes;
    int outcome = 1;
    while (outcome > 0 && replies->at < end) {
        outcome =
            *replies->at == BINARY_MAGIC ? read_binary(replies, end) : read_text(replies, end);
    }
    return outcome >= 0;
}
