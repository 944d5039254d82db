/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_item.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- Contents ---- */

struct content {
    uint64_t hash;
    size_t at, count; /* in `bytes` */
};

struct pc_contents {
    struct content *rows; /* by number, from 1 */
    uint32_t row_count, row_room;
    uint32_t *table; /* numbers by hash; 0: free */
    uint32_t table_size;
    char *bytes;
    size_t byte_count, byte_room;
};

struct pc_contents *pc_contents_create(void)
{
    struct pc_contents *contents = pc_must(calloc(1, sizeof(*contents)));
    contents->table_size = 256;
    contents->table = pc_must(calloc(contents->table_size, sizeof(*contents->table)));
    return contents;
}

void pc_contents_destroy(struct pc_contents *contents)
{
    if (contents != NULL) {
        free(contents->rows);
        free(contents->table);
        free(contents->bytes);
        free(contents);
    }
}

static uint32_t *slot_of(struct pc_contents *contents, uint64_t hash, const void *bytes,
                         size_t count)
{
    const uint32_t mask = contents->table_size - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        const uint32_t number = contents->table[i];
        if (number == 0) {
            return &contents->table[i];
        }
        const struct content *row = &contents->rows[number];
        if (row->hash == hash && row->count == count &&
            (count == 0 || memcmp(contents->bytes + row->at, bytes, count) == 0)) {
            return &contents->table[i];
        }
    }
}

static void table_grow(struct pc_contents *contents)
{
    contents->table_size *= 2;
    free(contents->table);
    contents->table = pc_must(calloc(contents->table_size, sizeof(*contents->table)));
    for (uint32_t number = 1; number <= contents->row_count; number++) {
        const struct content *row = &contents->rows[number];
        *slot_of(contents, row->hash, contents->bytes + row->at, row->count) = number;
    }
}

uint32_t pc_contents_number(struct pc_contents *contents, const void *bytes, size_t count)
{
    const uint64_t hash = XXH3_64bits(bytes, count);
    uint32_t *slot = slot_of(contents, hash, bytes, count);
    if (*slot != 0) {
        return *slot;
    }
    if (contents->row_count + 2 > contents->row_room) {
        contents->row_room = 2 * contents->row_room + 64;
        contents->rows =
            pc_must(realloc(contents->rows, contents->row_room * sizeof(*contents->rows)));
    }
    if (contents->byte_count + count > contents->byte_room) {
        contents->byte_room = 2 * contents->byte_room + count + 4096;
        contents->bytes = pc_must(realloc(contents->bytes, contents->byte_room));
    }
    const uint32_t number = ++contents->row_count;
    contents->rows[number] =
        (struct content){.hash = hash, .at = contents->byte_count, .count = count};
    if (count > 0) {
        memcpy(contents->bytes + contents->byte_count, bytes, count);
    }
    contents->byte_count += count;
    *slot = number;
    if (contents->row_count * 2 > contents->table_size) {
        table_grow(contents);
    }
    return number;
}

const char *pc_contents_at(const struct pc_contents *contents, uint32_t number, size_t *out_count)
{
    *out_count = contents->rows[number].count;
    return contents->bytes + contents->rows[number].at;
}

/* `first` before `second`. */
static uint32_t joined(struct pc_contents *contents, uint32_t first, uint32_t second)
{
    size_t first_count, second_count;
    const char *first_at = pc_contents_at(contents, first, &first_count);
    const char *second_at = pc_contents_at(contents, second, &second_count);
    char *both = pc_must(malloc(first_count + second_count + 1));
    memcpy(both, first_at, first_count);
    memcpy(both + first_count, second_at, second_count);
    const uint32_t number = pc_contents_number(contents, both, first_count + second_count);
    free(both);
    return number;
}

/* ---- Numbers ---- */

enum { NUMBER_BYTES_MAX = 20 };

/* Digits, and spaces behind them, as counting down leaves them. */
static bool number_read(const char *at, size_t count, uint64_t *out_number)
{
    uint64_t number = 0;
    size_t i = 0;
    if (count > NUMBER_BYTES_MAX) {
        return false;
    }
    for (; i < count && at[i] >= '0' && at[i] <= '9'; i++) {
        if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(at[i] - '0'), &number)) {
            return false;
        }
    }
    const bool any = i > 0;
    while (i < count && at[i] == ' ') {
        i++;
    }
    *out_number = number;
    return any && i == count;
}

/* A value never gets shorter by counting. */
static uint32_t number_write(struct pc_contents *contents, uint64_t number, size_t present_bytes)
{
    char text[NUMBER_BYTES_MAX + 1];
    const int count =
        snprintf(text, sizeof(text), "%-*llu", (int)present_bytes, (unsigned long long)number);
    return pc_contents_number(contents, text, (size_t)count);
}

/* ---- Calls ---- */

static bool says(const struct pc_item_call *call, enum pc_linear_answer answer)
{
    return call->answer == PC_LINEAR_UNTOLD || call->answer == answer;
}

/* A change was made: the unique is new. */
static bool changed(const struct pc_item_call *call, struct pc_item_state *next)
{
    next->unique = call->tells_unique ? call->told_unique : PC_UNIQUE_UNSEEN;
    return says(call, PC_LINEAR_DONE);
}

static void give_life(const struct pc_item_call *call, struct pc_item_state *next)
{
    next->ends_min = call->life != 0 ? call->asked_second + call->life : 0;
    next->ends_max = call->life != 0 ? next->now + call->life : 0;
}

static bool stored(const struct pc_item_call *call, struct pc_item_state *next)
{
    next->value = call->value;
    next->flags = call->flags;
    next->marks = 0;
    give_life(call, next);
    return changed(call, next);
}

/* What is told of its life fixes its end, which may be now. */
static bool life_told(const struct pc_item_call *call, struct pc_item_state *next)
{
    if (call->told_life == PC_LINEAR_FOREVER || next->ends_max == 0) {
        return call->told_life == PC_LINEAR_FOREVER && next->ends_max == 0;
    }
    const uint32_t ends = next->now + call->told_life;
    const bool over = call->told_life == 0 && next->ends_min < ends;
    if ((ends < next->ends_min || ends > next->ends_max) && !over) {
        return false;
    }
    next->ends_min = next->ends_max = ends;
    return true;
}

/* Who reads by meta may win the right to make a value anew that is stale or soon over. */
static bool marks_told(const struct pc_item_call *call, struct pc_item_state *next)
{
    const bool soon = next->ends_max != 0 && next->ends_max - next->now < call->recache;
    uint32_t marks = next->marks;
    if (call->claims && (marks & PC_LINEAR_CLAIMED) == 0 &&
        ((marks & PC_LINEAR_STALE_MARK) != 0 || soon)) {
        marks |= PC_LINEAR_WON;
        next->marks |= PC_LINEAR_CLAIMED;
    }
    return !call->tells_marks || call->told_marks == marks;
}

/* What a reader is told is what is there. */
static bool told(const struct pc_item_call *call, struct pc_item_state *next)
{
    if (!says(call, PC_LINEAR_DONE) || (call->tells_value && (call->told_value != next->value ||
                                                              call->told_flags != next->flags))) {
        return false;
    }
    if (call->tells_life && !life_told(call, next)) {
        return false;
    }
    if (call->tells_unique) {
        if (next->unique != PC_UNIQUE_UNSEEN && next->unique != call->told_unique) {
            return false;
        }
        next->unique = call->told_unique;
    }
    return marks_told(call, next);
}

static bool counted(struct pc_contents *contents, const struct pc_item_call *call,
                    struct pc_item_state *next)
{
    size_t count;
    uint64_t number;
    const char *text = pc_contents_at(contents, next->value, &count);
    if (!number_read(text, count, &number)) {
        return says(call, PC_LINEAR_NOT_NUMBER);
    }
    if (call->what == PC_LINEAR_INCR) {
        number += call->delta;
    } else {
        number = number > call->delta ? number - call->delta : 0;
    }
    if (call->tells_number && call->told_number != number) {
        return false;
    }
    next->value = number_write(contents, number, count);
    return changed(call, next);
}

/* An absent item is made: empty, for whoever asked to fill it, or a counter at its start. */
static bool vivified(const struct pc_item_call *call, struct pc_item_state *next)
{
    if ((call->tells_value && (call->told_value != call->value || call->told_flags != 0)) ||
        (call->tells_number && call->told_number != call->initial) ||
        (call->tells_marks && call->told_marks != PC_LINEAR_WON)) {
        return false;
    }
    const bool done = stored(call, next);
    next->marks = call->what == PC_LINEAR_GET ? PC_LINEAR_CLAIMED : 0;
    return done && (!call->tells_life || life_told(call, next));
}

static bool ticked(const struct pc_item_call *call, struct pc_item_state *next)
{
    next->now += (uint32_t)call->delta;
    return true;
}

static bool flushed(const struct pc_item_call *call, struct pc_item_state *next)
{
    *next = pc_item_absent(next);
    return says(call, PC_LINEAR_DONE);
}

/* The item is absent. */
static bool apply_absent(const struct pc_item_call *call, struct pc_item_state *next)
{
    switch (call->what) {
    case PC_LINEAR_SET:
    case PC_LINEAR_ADD:
        return stored(call, next);
    case PC_LINEAR_REPLACE:
    case PC_LINEAR_APPEND:
    case PC_LINEAR_PREPEND:
        return says(call, PC_LINEAR_NOT_STORED);
    default:
        return call->vivifies ? vivified(call, next) : says(call, PC_LINEAR_ABSENT);
    }
}

static bool apply_present(struct pc_contents *contents, const struct pc_item_call *call,
                          struct pc_item_state *next)
{
    switch (call->what) {
    case PC_LINEAR_GET:
        return told(call, next);
    case PC_LINEAR_TOUCH:
        give_life(call, next);
        return told(call, next);
    case PC_LINEAR_SET:
    case PC_LINEAR_REPLACE:
        return stored(call, next);
    case PC_LINEAR_ADD:
        return says(call, PC_LINEAR_NOT_STORED);
    case PC_LINEAR_APPEND:
        next->value = joined(contents, next->value, call->value);
        next->marks = 0;
        return changed(call, next);
    case PC_LINEAR_PREPEND:
        next->value = joined(contents, call->value, next->value);
        next->marks = 0;
        return changed(call, next);
    case PC_LINEAR_CAS:
        return next->unique == call->unique ? stored(call, next) : says(call, PC_LINEAR_EXISTS);
    case PC_LINEAR_INCR:
    case PC_LINEAR_DECR:
        return counted(contents, call, next);
    case PC_LINEAR_STALE:
        next->marks = PC_LINEAR_STALE_MARK;
        if (call->life != 0) {
            give_life(call, next);
        }
        return changed(call, next);
    case PC_LINEAR_DELETE:
        return call->compares && next->unique != call->unique ? says(call, PC_LINEAR_EXISTS)
                                                              : flushed(call, next);
    default:
        abort();
    }
}

static bool apply(struct pc_contents *contents, const struct pc_item_call *call,
                  struct pc_item_state *next)
{
    if (call->what == PC_LINEAR_TICK) {
        return ticked(call, next);
    }
    if (call->what == PC_LINEAR_FLUSH) {
        return flushed(call, next);
    }
    if (next->value == PC_ITEM_ABSENT) {
        return apply_absent(call, next);
    }
    if (pc_item_may_be_over(next)) {
        next->ends_min = next->now + 1; /* it was not */
    }
    return apply_present(contents, call, next);
}

bool pc_item_apply(struct pc_contents *contents, const struct pc_item_state *state,
                   const struct pc_item_call *call, struct pc_item_state *out_next)
{
    *out_next = *state;
    const bool done = apply(contents, call, out_next);
    if (out_next->ends_max != 0 && out_next->ends_max <= out_next->now) {
        *out_next = pc_item_absent(out_next);
    }
    return done;
}
