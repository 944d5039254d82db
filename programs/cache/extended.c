/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cache/extended.h"

#include "base/check.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES_MAX = 256 };

#define NO_DISK     "there is no disk behind the cache; use a larger -m"
#define NO_TLS      "use a TLS proxy in front, such as stunnel"
#define NO_CLASSES  "there are no slab classes"
#define FIXED_LINES "256 KiB are kept, for each watcher and on each core"
#define NO_BUFFERS  "buffers are bounded and part of -m"

enum kind {
    NUMBER,
    FACTOR,
    TEMPORARY,
    ON,
    OFF,
    SECONDS,
    SAME,
    IGNORED,
    IGNORED_NUMBER,
    IGNORED_TEXT,
    REFUSED,
};

struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    uint64_t least, most;
    const char *why;
};

static const struct row rows[] = {
#define PC_EXTENDED(name, kind, member, least, most, why)                                          \
    {name, kind, offsetof(struct pc_extended, member), least, most, why},
#include "programs/cache/extended.def"
#undef PC_EXTENDED
};

static const struct row *row_of(const char *name)
{
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool takes_value(const struct row *row)
{
    return row->kind == NUMBER || row->kind == FACTOR || row->kind == TEMPORARY ||
           row->kind == SECONDS || row->kind == IGNORED_NUMBER || row->kind == IGNORED_TEXT;
}

static void say_unknown(const char *program, const char *name)
{
    fprintf(stderr, "%s: unknown word '%s' for --extended (legal:", program, name);
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (rows[i].kind != REFUSED) {
            fprintf(stderr, " %s", rows[i].name);
        }
    }
    fprintf(stderr, ")\n");
}

static bool read_number(const struct row *row, const char *text, uint64_t *out)
{
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    if (row->kind == FACTOR) {
        const double value = strtod(text, &end) * 100;
        *out = value < 1e9 ? (uint64_t)(value + 0.5) : UINT64_MAX;
    } else {
        *out = strtoull(text, &end, 10);
    }
    return *end == '\0' && errno == 0 && *out >= row->least && *out <= row->most;
}

/* The value a row needs, or a line that says what is legal. */
static bool check_value(const char *program, const struct row *row, const char *text, uint64_t *out)
{
    *out = 0;
    if (row->kind == IGNORED_TEXT ? text != NULL : read_number(row, text, out)) {
        return true;
    }
    const double unit = row->kind == FACTOR ? 100 : 1;
    fprintf(stderr, "%s: bad value '%s' for --extended %s (legal: ", program,
            text != NULL ? text : "", row->name);
    if (row->kind == IGNORED_TEXT) {
        fprintf(stderr, "text)\n");
    } else {
        fprintf(stderr, "a number, %.10g to %.10g)\n", (double)row->least / unit,
                (double)row->most / unit);
    }
    return false;
}

static bool take(const char *program, const struct row *row, const char *text,
                 struct pc_extended *extended)
{
    void *member = (char *)extended + row->offset;
    uint64_t value = 0;
    if (takes_value(row) && !check_value(program, row, text, &value)) {
        return false;
    }
    switch (row->kind) {
    case TEMPORARY:
        extended->tuning.temporary = 1;
        *(uint32_t *)member = (uint32_t)value;
        return true;
    case NUMBER:
    case FACTOR:
        *(uint32_t *)member = (uint32_t)value;
        return true;
    case ON:
    case OFF:
        *(uint32_t *)member = row->kind == ON;
        return true;
    case SECONDS:
        *(uint64_t *)member = value * UINT64_C(1000000000);
        return true;
    case SAME:
        return true;
    case IGNORED:
    case IGNORED_NUMBER:
    case IGNORED_TEXT:
        fprintf(stderr, "%s: --extended %s is without effect: %s\n", program, row->name, row->why);
        return true;
    case REFUSED:
        fprintf(stderr, "%s: --extended %s is not taken: %s\n", program, row->name, row->why);
        return false;
    }
    return false;
}

static bool take_word(const char *program, const char *at, size_t bytes,
                      struct pc_extended *extended)
{
    char word[WORD_BYTES_MAX];
    snprintf(word, sizeof(word), "%.*s", (int)pc_min_size(bytes, sizeof(word)), at);
    char *value = strchr(word, '=');
    if (value != NULL) {
        *value++ = '\0';
    }
    const struct row *row = row_of(word);
    if (row == NULL) {
        say_unknown(program, word);
        return false;
    }
    return take(program, row, value, extended);
}

bool pc_extended_read(const struct pc_option_list *given, const char *program,
                      struct pc_extended *extended)
{
    for (unsigned i = 0; i < given->count; i++) {
        const char *at = given->items[i];
        while (*at != '\0') {
            const size_t bytes = strcspn(at, ",");
            if (!take_word(program, at, bytes, extended)) {
                return false;
            }
            at += bytes;
            at += *at == ',';
        }
    }
    return true;
}
