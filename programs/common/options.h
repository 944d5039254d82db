/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: command-line flags from a table; one row is the parser, the help and the error text.
 *
 * Errors   One line on standard error that names the flag and what is legal; the program exits 2.
 * Core     boot.
 */
#ifndef PC_PROGRAMS_OPTIONS_H
#define PC_PROGRAMS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_option_kind {
    PC_OPTION_FLAG,    /* bool: present */
    PC_OPTION_SWITCH,  /* int: 0 is -1, 1 is 1; absent 0 */
    PC_OPTION_TEXT,    /* const char * */
    PC_OPTION_CHOICE,  /* const char *, one of `legal`, separated by | */
    PC_OPTION_COUNT,   /* uint64_t */
    PC_OPTION_BYTES,   /* uint64_t; k, m, g may follow */
    PC_OPTION_SECONDS, /* uint64_t nanoseconds; decimals allowed */
    PC_OPTION_LIST,    /* struct pc_option_list: may be given often */
    PC_OPTION_REFUSED, /* known to others; `help` says why not here, or what to use instead */
};

/* Texts in the order given. */
struct pc_option_list {
    const char *items[16];
    unsigned count;
};

struct pc_option {
    const char *name; /* without the dashes; NULL: it has a letter only */
    int letter;       /* 0: it has a name only */
    enum pc_option_kind kind;
    size_t offset;        /* of the member in the settings */
    uint64_t least, most; /* of a count, of bytes, of seconds */
    const char *argument; /* as help shows it, and legal choices; NULL: none */
    const char *help;
};

struct pc_options {
    const char *program; /* as in messages: "percore echo" */
    const char *usage;   /* the line after "usage: " */
    const struct pc_option *rows;
    unsigned row_count;
    const char *closing; /* examples, below the flags; may be NULL */
};

/* Fill `settings`. Returns the index of the first argument that is no flag, or -1 after a message:
 * exit 2. */
int pc_options_parse(const struct pc_options *options, int argc, char **argv, void *settings);

/* Print all rows to standard output. */
void pc_options_help(const struct pc_options *options);

/* A number for a row of kind COUNT, BYTES or SECONDS that came without its flag; false after a
 * message that calls it `what`. */
bool pc_options_number(const struct pc_options *options, const struct pc_option *row,
                       const char *what, const char *text, uint64_t *out);

#endif
