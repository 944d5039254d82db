/* SPDX-License-Identifier: Apache-2.0 */
/* options: the table turned into getopt_long's, and its answers into settings. */
#include "programs/common/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PC_OPTION_ROWS_MAX 96
/* getopt_long returns this plus the row for flags that have no letter. */
#define PC_OPTION_LONG_BASE 256

static bool takes_argument(const struct pc_option *row)
{
    return row->kind == PC_OPTION_REFUSED ? row->argument != NULL : row->kind != PC_OPTION_FLAG;
}

/* ---- Messages ---- */

static void say_legal(const struct pc_options *options)
{
    fprintf(stderr, " (legal:");
    for (unsigned i = 0; i < options->row_count; i++) {
        const struct pc_option *row = &options->rows[i];
        if (row->name != NULL) {
            fprintf(stderr, " --%s", row->name);
        } else {
            fprintf(stderr, " -%c", row->letter);
        }
    }
    fprintf(stderr, ")\n");
}

static void row_text(const struct pc_option *row, char *into, size_t bytes)
{
    if (row->name != NULL) {
        snprintf(into, bytes, "--%s", row->name);
    } else {
        snprintf(into, bytes, "-%c", row->letter);
    }
}

/* ---- Values ---- */

static bool parse_number(const struct pc_option *row, const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    if (row->kind == PC_OPTION_SECONDS) {
        double seconds = strtod(text, &end);
        if (end == text || *end != '\0' || errno != 0 || !(seconds >= 0) || seconds > 1e9) {
            return false;
        }
        *out = (uint64_t)(seconds * 1e9);
        return true;
    }
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    unsigned shift = 0;
    if (row->kind == PC_OPTION_BYTES && *end != '\0') {
        switch (tolower((unsigned char)*end)) {
        case 'k':
            shift = 10;
            break;
        case 'm':
            shift = 20;
            break;
        case 'g':
            shift = 30;
            break;
        default:
            return false;
        }
        end++;
    }
    if (*end != '\0' || number > UINT64_MAX >> shift) {
        return false;
    }
    *out = (uint64_t)number << shift;
    return true;
}

static void say_range(const struct pc_option *row)
{
    if (row->kind == PC_OPTION_SECONDS) {
        fprintf(stderr, "(legal: seconds, %g to %g)\n", (double)row->least / 1e9,
                (double)row->most / 1e9);
    } else {
        fprintf(stderr, "(legal: a number, %llu to %llu%s)\n", (unsigned long long)row->least,
                (unsigned long long)row->most,
                row->kind == PC_OPTION_BYTES ? ", k, m or g may follow" : "");
    }
}

bool pc_options_number(const struct pc_options *options, const struct pc_option *row,
                       const char *what, const char *text, uint64_t *out)
{
    uint64_t number;
    if (!parse_number(row, text, &number) || number < row->least || number > row->most) {
        fprintf(stderr, "%s: bad value '%s' for %s ", options->program, text, what);
        say_range(row);
        return false;
    }
    *out = number;
    return true;
}

static bool is_choice(const char *legal, const char *text)
{
    size_t bytes = strlen(text);
    for (const char *at = legal; *at != '\0';) {
        size_t word = strcspn(at, "|");
        if (word == bytes && memcmp(at, text, bytes) == 0) {
            return true;
        }
        at += word + (at[word] == '|');
    }
    return false;
}

static bool store(const struct pc_options *options, const struct pc_option *row, const char *text,
                  void *settings)
{
    void *member = (char *)settings + row->offset;
    char what[64];
    row_text(row, what, sizeof(what));
    switch (row->kind) {
    case PC_OPTION_FLAG:
        *(bool *)member = true;
        return true;
    case PC_OPTION_REFUSED:
        fprintf(stderr, "%s: %s is not taken: %s\n", options->program, what, row->help);
        return false;
    case PC_OPTION_SWITCH:
        if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
            fprintf(stderr, "%s: bad value '%s' for %s (legal: 0, 1)\n", options->program, text,
                    what);
            return false;
        }
        *(int *)member = text[0] == '1' ? 1 : -1;
        return true;
    case PC_OPTION_TEXT:
        *(const char **)member = text;
        return true;
    case PC_OPTION_CHOICE:
        if (!is_choice(row->argument, text)) {
            fprintf(stderr, "%s: bad value '%s' for %s (legal: %s)\n", options->program, text, what,
                    row->argument);
            return false;
        }
        *(const char **)member = text;
        return true;
    case PC_OPTION_LIST: {
        struct pc_option_list *list = member;
        if (list->count == sizeof(list->items) / sizeof(list->items[0])) {
            fprintf(stderr, "%s: too many %s (legal: 16)\n", options->program, what);
            return false;
        }
        list->items[list->count++] = text;
        return true;
    }
    case PC_OPTION_COUNT:
    case PC_OPTION_BYTES:
    case PC_OPTION_SECONDS:
        return pc_options_number(options, row, what, text, member);
    }
    return false;
}

/* ---- Parsing ---- */

static void tables_make(const struct pc_options *options, struct option *long_rows, char *letters)
{
    unsigned long_count = 0;
    *letters++ = ':'; /* a missing argument is told apart */
    for (unsigned i = 0; i < options->row_count; i++) {
        const struct pc_option *row = &options->rows[i];
        if (row->name != NULL) {
            long_rows[long_count++] = (struct option){
                .name = row->name,
                .has_arg = takes_argument(row) ? required_argument : no_argument,
                .val = PC_OPTION_LONG_BASE + (int)i,
            };
        }
        if (row->letter != 0) {
            *letters++ = (char)row->letter;
            if (takes_argument(row)) {
                *letters++ = ':';
            }
        }
    }
    long_rows[long_count] = (struct option){0};
    *letters = '\0';
}

static const struct pc_option *row_of(const struct pc_options *options, int answer)
{
    if (answer >= PC_OPTION_LONG_BASE) {
        return &options->rows[answer - PC_OPTION_LONG_BASE];
    }
    for (unsigned i = 0; i < options->row_count; i++) {
        if (options->rows[i].letter == answer) {
            return &options->rows[i];
        }
    }
    return NULL;
}

static int refuse(const struct pc_options *options, int answer, char **argv)
{
    const struct pc_option *row = optopt != 0 ? row_of(options, optopt) : NULL;
    char what[64] = "";
    if (row != NULL) {
        row_text(row, what, sizeof(what));
    }
    if (answer == ':' && row != NULL) {
        fprintf(stderr, "%s: %s needs a value (legal: %s)\n", options->program, what,
                row->argument != NULL ? row->argument : "text");
        return -1;
    }
    if (row != NULL && optopt >= PC_OPTION_LONG_BASE) {
        fprintf(stderr, "%s: %s takes no value\n", options->program, what);
        return -1;
    }
    if (optopt != 0) {
        fprintf(stderr, "%s: unknown flag -%c", options->program, optopt);
    } else {
        fprintf(stderr, "%s: unknown flag %s", options->program, argv[optind - 1]);
    }
    say_legal(options);
    return -1;
}

int pc_options_parse(const struct pc_options *options, int argc, char **argv, void *settings)
{
    struct option long_rows[PC_OPTION_ROWS_MAX + 1];
    char letters[2 * PC_OPTION_ROWS_MAX + 3];
    if (options->row_count > PC_OPTION_ROWS_MAX) {
        abort();
    }
    tables_make(options, long_rows, letters);
    opterr = 0;
    optind = 1;
    for (;;) {
        int answer = getopt_long(argc, argv, letters, long_rows, NULL);
        if (answer == -1) {
            return optind;
        }
        if (answer == '?' || answer == ':') {
            return refuse(options, answer, argv);
        }
        if (!store(options, row_of(options, answer), optarg, settings)) {
            return -1;
        }
    }
}

void pc_options_help(const struct pc_options *options)
{
    printf("usage: %s\n\n", options->usage);
    for (unsigned i = 0; i < options->row_count; i++) {
        const struct pc_option *row = &options->rows[i];
        char flag[96] = "";
        snprintf(flag, sizeof(flag), "%c%c%s%s%s%s%s", row->letter != 0 ? '-' : ' ',
                 row->letter != 0 ? row->letter : ' ',
                 row->letter != 0 && row->name != NULL ? ", " : "  ", row->name != NULL ? "--" : "",
                 row->name != NULL ? row->name : "", row->argument != NULL ? " " : "",
                 row->argument != NULL ? row->argument : "");
        printf("  %-36s %s\n", flag, row->help);
    }
    if (options->closing != NULL) {
        printf("\n%s", options->closing);
    }
}
