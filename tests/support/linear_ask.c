/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_ask.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Under thirty days, beyond which memcached takes a number as a date; far apart, so that what is
 * left of one is never taken for another. */
const uint32_t pc_ask_lives[3] = {0, 1000000, 2000000};

/* ---- Drawing ---- */

static bool once_in(struct pc_random *random, uint64_t count)
{
    return pc_random_below(random, count) == 0;
}

static enum pc_linear_what draw_what(struct pc_random *random)
{
    static const struct {
        enum pc_linear_what what;
        unsigned weight;
    } rows[] = {
        {PC_LINEAR_GET, 40},   {PC_LINEAR_SET, 16},    {PC_LINEAR_ADD, 4},   {PC_LINEAR_REPLACE, 4},
        {PC_LINEAR_APPEND, 5}, {PC_LINEAR_PREPEND, 3}, {PC_LINEAR_CAS, 9},   {PC_LINEAR_INCR, 6},
        {PC_LINEAR_DECR, 4},   {PC_LINEAR_DELETE, 4},  {PC_LINEAR_TOUCH, 5},
    };
    uint64_t drawn = pc_random_below(random, 100);
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (drawn < rows[i].weight) {
            return rows[i].what;
        }
        drawn -= rows[i].weight;
    }
    abort();
}

/* Even keys are counters more often than not; odd ones hold text. */
static void draw_value(struct pc_ask_source *source, struct pc_random *random, struct pc_ask *ask)
{
    static const size_t larges[] = {600, 5000, 20000, 40000};
    const bool piece = ask->what == PC_LINEAR_APPEND || ask->what == PC_LINEAR_PREPEND;
    ask->value = ++source->made;
    ask->value_counts = !piece && ask->keys[0] % 2 == 0 && !once_in(random, 4);
    ask->value_bytes = 0;
    if (!piece && !ask->value_counts) {
        ask->value_bytes = pc_random_below(random, 40);
        if (once_in(random, 10)) {
            ask->value_bytes = pc_random_below(random, 512);
        } else if (source->large && once_in(random, 30)) {
            ask->value_bytes = larges[pc_random_below(random, PC_COUNT_OF(larges))];
        }
    }
}

static void draw_keys(const struct pc_ask_source *source, struct pc_random *random,
                      struct pc_ask *ask)
{
    ask->key_count = 1;
    if ((ask->what == PC_LINEAR_GET || ask->what == PC_LINEAR_TOUCH) && once_in(random, 5)) {
        const unsigned most =
            source->key_count < PC_ASK_KEYS_MAX ? source->key_count : PC_ASK_KEYS_MAX;
        ask->key_count = 1 + (unsigned)pc_random_below(random, most);
    }
    /* Each key once, in any order: the answer names those that were found. */
    const unsigned first = (unsigned)pc_random_below(random, source->key_count);
    for (unsigned i = 0; i < ask->key_count; i++) {
        ask->keys[i] = (first + i) % source->key_count;
    }
}

/* How it is said; what is asked is drawn. */
static void draw_form(struct pc_ask_source *source, struct pc_random *random, bool may_be_quiet,
                      struct pc_ask *ask)
{
    const bool reads = ask->what == PC_LINEAR_GET;
    const bool counts = ask->what == PC_LINEAR_INCR || ask->what == PC_LINEAR_DECR;
    const bool touches = ask->what == PC_LINEAR_TOUCH;
    ask->meta = ask->key_count == 1 && once_in(random, 3);
    ask->quiet = once_in(random, 6) && may_be_quiet;
    ask->wants_unique = once_in(random, 3);
    ask->wants_value = reads || (touches && (ask->key_count > 1 || once_in(random, 2)));
    if (ask->meta) {
        /* A quiet delete and a quiet count leave open which of two ways it went. */
        ask->quiet = ask->quiet && !counts && ask->what != PC_LINEAR_DELETE && !touches;
        ask->opaque = ask->quiet || once_in(random, 3) ? ++source->made : 0;
        ask->wants_life = reads && once_in(random, 3);
        ask->wants_number = counts && once_in(random, 2);
        ask->wants_unique = ask->wants_unique && ask->what != PC_LINEAR_DELETE;
    } else {
        ask->quiet = ask->quiet && !ask->wants_value && !reads;
        ask->wants_number = counts && !ask->quiet;
        ask->wants_unique = ask->wants_unique && ask->wants_value;
    }
}

void pc_ask_draw(struct pc_ask_source *source, struct pc_random *random, bool may_be_quiet,
                 struct pc_ask *out_ask)
{
    struct pc_ask *ask = out_ask;
    *ask = (struct pc_ask){.what = draw_what(random)};
    draw_keys(source, random, ask);
    if (ask->what == PC_LINEAR_CAS) {
        ask->unique = source->uniques[ask->keys[0]][pc_random_below(random, PC_ASK_UNIQUES_KEPT)];
        if (ask->unique == 0) {
            ask->what = PC_LINEAR_SET;
        }
    }
    ask->flags = once_in(random, 2) ? 0 : (uint32_t)pc_random_next(random);
    ask->life = (uint32_t)pc_random_below(random, PC_COUNT_OF(pc_ask_lives));
    ask->delta = once_in(random, 8) ? pc_random_below(random, 2000) : pc_random_below(random, 4);
    draw_value(source, random, ask);
    draw_form(source, random, may_be_quiet, ask);
}

/* ---- Printing ---- */

/* A value is printed behind the longest line, and moved up to its own. */
enum { LINE_BYTES_MAX = 1000 };

size_t pc_ask_value(const struct pc_ask *ask, char *out)
{
    if (ask->value_counts) {
        return (size_t)sprintf(out, "%" PRIu64, 90 + ask->value % 100);
    }
    const char letter = ask->what == PC_LINEAR_APPEND    ? 'a'
                        : ask->what == PC_LINEAR_PREPEND ? 'p'
                                                         : 'v';
    size_t count = (size_t)sprintf(out, "%c%" PRIu64 ";", letter, ask->value);
    while (count < ask->value_bytes) {
        out[count] = (char)('A' + (count * 7 + ask->value) % 26);
        count++;
    }
    return count;
}

void pc_ask_key(const struct pc_ask_source *source, unsigned key, char *out)
{
    sprintf(out, "%s%u", source->prefix, key);
}

static char *add_key(const struct pc_ask_source *source, unsigned key, char *at)
{
    *at++ = ' ';
    pc_ask_key(source, key, at);
    return at + strlen(at);
}

static const char *store_word(enum pc_linear_what what)
{
    switch (what) {
    case PC_LINEAR_SET:
        return "set";
    case PC_LINEAR_ADD:
        return "add";
    case PC_LINEAR_REPLACE:
        return "replace";
    case PC_LINEAR_APPEND:
        return "append";
    case PC_LINEAR_PREPEND:
        return "prepend";
    default:
        return "cas";
    }
}

static char *print_classic_read(const struct pc_ask_source *source, const struct pc_ask *ask,
                                char *at)
{
    if (ask->what == PC_LINEAR_TOUCH) {
        at += sprintf(at, ask->wants_unique ? "gats %u" : "gat %u", pc_ask_lives[ask->life]);
    } else {
        at += sprintf(at, ask->wants_unique ? "gets" : "get");
    }
    for (unsigned i = 0; i < ask->key_count; i++) {
        at = add_key(source, ask->keys[i], at);
    }
    return at + sprintf(at, "\r\n");
}

static char *print_classic(const struct pc_ask_source *source, const struct pc_ask *ask, char *at)
{
    const char *end = ask->quiet ? " noreply\r\n" : "\r\n";
    char key[80];
    if (ask->wants_value) {
        return print_classic_read(source, ask, at);
    }
    pc_ask_key(source, ask->keys[0], key);
    switch (ask->what) {
    case PC_LINEAR_TOUCH:
        return at + sprintf(at, "touch %s %u%s", key, pc_ask_lives[ask->life], end);
    case PC_LINEAR_DELETE:
        return at + sprintf(at, "delete %s%s", key, end);
    case PC_LINEAR_INCR:
        return at + sprintf(at, "incr %s %" PRIu64 "%s", key, ask->delta, end);
    case PC_LINEAR_DECR:
        return at + sprintf(at, "decr %s %" PRIu64 "%s", key, ask->delta, end);
    default:
        break;
    }
    char *value = at + LINE_BYTES_MAX;
    const size_t bytes = pc_ask_value(ask, value);
    at += sprintf(at, "%s %s %u %u %zu", store_word(ask->what), key, ask->flags,
                  pc_ask_lives[ask->life], bytes);
    if (ask->what == PC_LINEAR_CAS) {
        at += sprintf(at, " %" PRIu64, ask->unique);
    }
    at += sprintf(at, "%s", end);
    memmove(at, value, bytes);
    memcpy(at + bytes, "\r\n", 2);
    return at + bytes + 2;
}

static char *print_meta_store(const struct pc_ask *ask, const char *key, char *at, const char *side)
{
    static const char modes[PC_LINEAR_WHAT_COUNT] = {
        [PC_LINEAR_SET] = 'S',    [PC_LINEAR_ADD] = 'E',     [PC_LINEAR_REPLACE] = 'R',
        [PC_LINEAR_APPEND] = 'A', [PC_LINEAR_PREPEND] = 'P', [PC_LINEAR_CAS] = 'S'};
    char *value = at + LINE_BYTES_MAX;
    const size_t bytes = pc_ask_value(ask, value);
    at += sprintf(at, "ms %s %zu T%u F%u M%c", key, bytes, pc_ask_lives[ask->life], ask->flags,
                  modes[ask->what]);
    if (ask->what == PC_LINEAR_CAS) {
        at += sprintf(at, " C%" PRIu64, ask->unique);
    }
    at += sprintf(at, "%s\r\n", side);
    memmove(at, value, bytes);
    memcpy(at + bytes, "\r\n", 2);
    return at + bytes + 2;
}

static char *print_meta(const struct pc_ask_source *source, const struct pc_ask *ask, char *at)
{
    char key[80], side[80], *end = side;
    pc_ask_key(source, ask->keys[0], key);
    *end = '\0';
    end += ask->wants_unique ? sprintf(end, " c") : 0;
    end += ask->wants_life ? sprintf(end, " t") : 0;
    end += ask->quiet ? sprintf(end, " q") : 0;
    end += ask->opaque != 0 ? sprintf(end, " O%" PRIu64, ask->opaque) : 0;
    switch (ask->what) {
    case PC_LINEAR_GET:
        return at + sprintf(at, "mg %s v f%s\r\n", key, side);
    case PC_LINEAR_TOUCH:
        return at + sprintf(at, "mg %s T%u%s%s\r\n", key, pc_ask_lives[ask->life],
                            ask->wants_value ? " v f" : "", side);
    case PC_LINEAR_DELETE:
        return at + sprintf(at, "md %s%s\r\n", key, side);
    case PC_LINEAR_INCR:
    case PC_LINEAR_DECR:
        return at + sprintf(at, "ma %s M%c D%" PRIu64 "%s%s\r\n", key,
                            ask->what == PC_LINEAR_INCR ? 'I' : 'D', ask->delta,
                            ask->wants_number ? " v" : "", side);
    default:
        return print_meta_store(ask, key, at, side);
    }
}

size_t pc_ask_print(const struct pc_ask_source *source, const struct pc_ask *ask, char *out)
{
    if (ask->ends) {
        return (size_t)sprintf(out, "mn\r\n");
    }
    const char *end = ask->meta ? print_meta(source, ask, out) : print_classic(source, ask, out);
    return (size_t)(end - out);
}

void pc_ask_unique_told(struct pc_ask_source *source, unsigned key, uint64_t unique)
{
    source->uniques[key][source->unique_next[key]++ % PC_ASK_UNIQUES_KEPT] = unique;
}
