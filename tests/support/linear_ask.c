/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_ask.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Drawing ---- */

static bool once_in(struct pc_random *random, uint64_t count)
{
    return pc_random_below(random, count) == 0;
}

/* Under thirty days, beyond which memcached takes a number as a date. */
enum { LONG_LIFE = 1000000, RECACHE = 1000 };

static enum pc_linear_what draw_what(const struct pc_ask_source *source, struct pc_random *random)
{
    static const struct {
        enum pc_linear_what what;
        unsigned weight;
    } rows[] = {
        {PC_LINEAR_GET, 77},    {PC_LINEAR_SET, 30},    {PC_LINEAR_ADD, 10},
        {PC_LINEAR_REPLACE, 8}, {PC_LINEAR_APPEND, 10}, {PC_LINEAR_PREPEND, 6},
        {PC_LINEAR_CAS, 17},    {PC_LINEAR_INCR, 11},   {PC_LINEAR_DECR, 7},
        {PC_LINEAR_DELETE, 8},  {PC_LINEAR_TOUCH, 10},  {PC_LINEAR_STALE, 5},
        {PC_LINEAR_FLUSH, 1},
    };
    if (source->mood != PC_ASK_ALL && !once_in(random, 4)) {
        const bool counts = source->mood == PC_ASK_COUNTS;
        return once_in(random, 2) ? PC_LINEAR_GET : counts ? PC_LINEAR_INCR : PC_LINEAR_SET;
    }
    uint64_t drawn = pc_random_below(random, 200);
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (drawn < rows[i].weight) {
            return rows[i].what;
        }
        drawn -= rows[i].weight;
    }
    abort();
}

/* For ever, for longer than any history, or so short that the clock will tell. */
static uint32_t draw_life(const struct pc_ask_source *source, struct pc_random *random)
{
    if (once_in(random, source->mood == PC_ASK_LIVES ? 8 : 2)) {
        return 0;
    }
    return once_in(random, 2) ? LONG_LIFE : 1 + (uint32_t)pc_random_below(random, 3);
}

/* Seldom none: flags that are given once say whose value it is. */
static uint32_t draw_flags(struct pc_random *random)
{
    return once_in(random, 6) ? 0 : (uint32_t)pc_random_next(random);
}

/* Even keys are counters more often than not; odd ones hold text. */
static void draw_value(struct pc_ask_source *source, struct pc_random *random, struct pc_ask *ask)
{
    static const size_t larges[] = {600, 5000, 20000, 40000};
    const bool piece = ask->what == PC_LINEAR_APPEND || ask->what == PC_LINEAR_PREPEND;
    ask->value = ++source->made;
    ask->value_wide = source->mood == PC_ASK_COUNTS;
    ask->value_counts = !piece && (ask->value_wide || ask->keys[0] % 2 == 0) && !once_in(random, 4);
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
    ask->key_count = ask->what == PC_LINEAR_FLUSH ? source->key_count : 1;
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

/* What only meta can say. */
static void draw_meta(struct pc_ask_source *source, struct pc_random *random, struct pc_ask *ask)
{
    const bool reads = ask->what == PC_LINEAR_GET;
    const bool counts = ask->what == PC_LINEAR_INCR || ask->what == PC_LINEAR_DECR;
    const bool touches = ask->what == PC_LINEAR_TOUCH;
    const bool deletes = ask->what == PC_LINEAR_DELETE;
    ask->claims = reads || touches;
    ask->recache = reads && once_in(random, 6) ? RECACHE : 0;
    ask->vivifies = (reads && once_in(random, 8)) || (counts && once_in(random, 4));
    ask->initial = 95 + pc_random_below(random, 10);
    ask->unique = deletes ? source->uniques[ask->keys[0]][0] : ask->unique;
    ask->compares = deletes && ask->unique != 0 && once_in(random, 2);
    /* A quiet delete and a quiet count leave open which of two ways it went. */
    ask->quiet = ask->quiet && !counts && !deletes && ask->what != PC_LINEAR_STALE && !touches &&
                 !ask->vivifies;
    ask->opaque = ask->quiet || once_in(random, 3) ? ++source->made : 0;
    ask->wants_life = reads && !ask->vivifies && once_in(random, 2);
    ask->wants_number = counts && once_in(random, 2);
    ask->wants_unique = ask->wants_unique && !deletes && ask->what != PC_LINEAR_STALE;
}

/* How it is said; what is asked is drawn. */
static void draw_form(struct pc_ask_source *source, struct pc_random *random, bool may_be_quiet,
                      struct pc_ask *ask)
{
    const bool reads = ask->what == PC_LINEAR_GET;
    const bool counts = ask->what == PC_LINEAR_INCR || ask->what == PC_LINEAR_DECR;
    const bool touches = ask->what == PC_LINEAR_TOUCH;
    const bool flushes = ask->what == PC_LINEAR_FLUSH;
    const bool asks_lives = source->mood == PC_ASK_LIVES && reads;
    ask->meta = ask->key_count == 1 && !flushes && once_in(random, asks_lives ? 1 : 3);
    ask->meta = ask->meta || ask->what == PC_LINEAR_STALE;
    ask->quiet = once_in(random, 6) && may_be_quiet;
    ask->wants_unique = once_in(random, 3) && !flushes;
    ask->wants_value = reads || (touches && (ask->key_count > 1 || once_in(random, 2)));
    if (ask->meta) {
        draw_meta(source, random, ask);
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
    *ask = (struct pc_ask){.what = draw_what(source, random)};
    if (source->fills && !once_in(random, 4)) {
        *ask = (struct pc_ask){.fills = true,
                               .value = ++source->made,
                               .value_bytes = PC_ASK_VALUE_BYTES_MAX / 2 +
                                              pc_random_below(random, PC_ASK_VALUE_BYTES_MAX / 2)};
        return;
    }
    draw_keys(source, random, ask);
    if (ask->what == PC_LINEAR_CAS) {
        ask->unique = source->uniques[ask->keys[0]][pc_random_below(random, PC_ASK_UNIQUES_KEPT)];
        if (ask->unique == 0) {
            ask->what = PC_LINEAR_SET;
        }
    }
    ask->flags = draw_flags(random);
    ask->life = draw_life(source, random);
    const bool far = source->mood == PC_ASK_COUNTS || once_in(random, 8);
    ask->delta = pc_random_below(random, far ? 2000 : 4);
    draw_value(source, random, ask);
    draw_form(source, random, may_be_quiet, ask);
}

/* ---- Printing ---- */

/* A value is printed behind the longest line, and moved up to its own. */
enum { LINE_BYTES_MAX = 1000 };

size_t pc_ask_value(const struct pc_ask *ask, char *out)
{
    if (ask->value_counts) {
        const uint64_t number =
            ask->value_wide ? 10000000 + ask->value * 7919 % 80000000 : 90 + ask->value % 100;
        return (size_t)sprintf(out, "%" PRIu64, number);
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
        at += sprintf(at, ask->wants_unique ? "gats %u" : "gat %u", ask->life);
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
        return at + sprintf(at, "touch %s %u%s", key, ask->life, end);
    case PC_LINEAR_DELETE:
        return at + sprintf(at, "delete %s%s", key, end);
    case PC_LINEAR_FLUSH:
        return at + sprintf(at, "flush_all%s", end);
    case PC_LINEAR_INCR:
        return at + sprintf(at, "incr %s %" PRIu64 "%s", key, ask->delta, end);
    case PC_LINEAR_DECR:
        return at + sprintf(at, "decr %s %" PRIu64 "%s", key, ask->delta, end);
    default:
        break;
    }
    char *value = at + LINE_BYTES_MAX;
    const size_t bytes = pc_ask_value(ask, value);
    at += sprintf(at, "%s %s %u %u %zu", store_word(ask->what), key, ask->flags, ask->life, bytes);
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
    at += sprintf(at, "ms %s %zu T%u F%u M%c", key, bytes, ask->life, ask->flags, modes[ask->what]);
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
        at += sprintf(at, "mg %s v f", key);
        at += ask->recache != 0 ? sprintf(at, " R%u", ask->recache) : 0;
        at += ask->vivifies ? sprintf(at, " N%u", ask->life) : 0;
        return at + sprintf(at, "%s\r\n", side);
    case PC_LINEAR_TOUCH:
        return at + sprintf(at, "mg %s T%u%s%s\r\n", key, ask->life, ask->wants_value ? " v f" : "",
                            side);
    case PC_LINEAR_DELETE:
        at += sprintf(at, "md %s", key);
        at += ask->compares ? sprintf(at, " C%" PRIu64, ask->unique) : 0;
        return at + sprintf(at, "%s\r\n", side);
    case PC_LINEAR_STALE:
        at += sprintf(at, "md %s I", key);
        at += ask->life != 0 ? sprintf(at, " T%u", ask->life) : 0;
        return at + sprintf(at, "%s\r\n", side);
    case PC_LINEAR_INCR:
    case PC_LINEAR_DECR:
        at += sprintf(at, "ma %s M%c D%" PRIu64, key, ask->what == PC_LINEAR_INCR ? 'I' : 'D',
                      ask->delta);
        at += ask->vivifies ? sprintf(at, " N%u J%" PRIu64, ask->life, ask->initial) : 0;
        return at + sprintf(at, "%s%s\r\n", ask->wants_number ? " v" : "", side);
    default:
        return print_meta_store(ask, key, at, side);
    }
}

/* Under one of a few keys that nobody reads. */
static char *print_fill(const struct pc_ask_source *source, const struct pc_ask *ask, char *at)
{
    char *value = at + LINE_BYTES_MAX;
    const size_t bytes = pc_ask_value(ask, value);
    at += sprintf(at, "set %sfill%" PRIu64 " 0 0 %zu\r\n", source->prefix, ask->value, bytes);
    memmove(at, value, bytes);
    memcpy(at + bytes, "\r\n", 2);
    return at + bytes + 2;
}

size_t pc_ask_print(const struct pc_ask_source *source, const struct pc_ask *ask, char *out)
{
    if (ask->ends) {
        return (size_t)sprintf(out, "mn\r\n");
    }
    if (ask->fills) {
        return (size_t)(print_fill(source, ask, out) - out);
    }
    const char *end = ask->meta ? print_meta(source, ask, out) : print_classic(source, ask, out);
    return (size_t)(end - out);
}

void pc_ask_unique_told(struct pc_ask_source *source, unsigned key, uint64_t unique)
{
    source->uniques[key][source->unique_next[key]++ % PC_ASK_UNIQUES_KEPT] = unique;
}
