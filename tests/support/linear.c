/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: a history as it is told, with contents, uniques and flags as numbers.
 */
#include "linear_parts.h"

#include <inttypes.h>
#include <string.h>

struct pc_linear *pc_linear_create(const struct pc_linear_config *config)
{
    struct pc_linear *history = pc_must(calloc(1, sizeof(*history)));
    history->config = *config;
    history->contents = pc_contents_create();
    return history;
}

void pc_linear_configure(struct pc_linear *history, const struct pc_linear_config *config)
{
    history->config = *config;
}

void pc_linear_destroy(struct pc_linear *history)
{
    if (history != NULL) {
        for (unsigned i = 0; i < history->client_count; i++) {
            free(history->clients[i].rows);
        }
        pc_contents_destroy(history->contents);
        free(history->uniques.rows);
        free(history->flags.rows);
        free(history->unique_ranks);
        free(history->rank_to_come);
        free(history);
    }
}

static uint32_t sign_number(struct pc_linear_signs *signs, uint64_t number)
{
    for (uint32_t i = signs->count; i > 0; i--) {
        if (signs->rows[i].number == number) {
            return i;
        }
    }
    if (signs->count + 2 > signs->room) {
        signs->room = 2 * signs->room + 64;
        signs->rows = pc_must(realloc(signs->rows, signs->room * sizeof(*signs->rows)));
    }
    signs->rows[++signs->count] = (struct pc_linear_sign){
        .number = number, .maker_client = PC_LINEAR_NOBODY, .maker_index = PC_LINEAR_NOBODY};
    return signs->count;
}

static uint32_t flags_number(struct pc_linear *history, uint32_t flags)
{
    return flags != 0 ? sign_number(&history->flags, flags) : 0;
}

static struct pc_linear_row *row_new(struct pc_linear *history, unsigned index)
{
    if (index >= PC_LINEAR_CLIENTS_MAX) {
        abort();
    }
    struct pc_linear_client *client = &history->clients[index];
    if (index >= history->client_count) {
        history->client_count = index + 1;
    }
    if (client->count == client->room) {
        client->room = 2 * client->room + 32;
        client->rows = pc_must(realloc(client->rows, client->room * sizeof(*client->rows)));
    }
    if (client->count == PC_LINEAR_NOBODY - 1) {
        abort();
    }
    history->call_count++;
    return &client->rows[client->count++];
}

bool pc_linear_is_question(const struct pc_item_call *call)
{
    if (call->answer != PC_LINEAR_UNTOLD && call->answer != PC_LINEAR_DONE) {
        return true;
    }
    if (call->what != PC_LINEAR_GET || call->vivifies) {
        return false;
    }
    return !call->claims || (call->tells_marks && (call->told_marks & PC_LINEAR_WON) == 0);
}

uint32_t pc_linear_unique_seen(const struct pc_item_call *call)
{
    if (call->tells_unique) {
        return call->told_unique;
    }
    const bool compared = call->what == PC_LINEAR_CAS || call->compares;
    return compared && call->answer == PC_LINEAR_DONE ? call->unique : 0;
}

/* What the call brings, and what it saw. */
static void note_signs(struct pc_linear *history, unsigned client, unsigned index)
{
    const struct pc_item_call *call = &history->clients[client].rows[index].item;
    const bool stores = call->what >= PC_LINEAR_SET && call->what <= PC_LINEAR_CAS &&
                        call->what != PC_LINEAR_APPEND && call->what != PC_LINEAR_PREPEND;
    const bool refused = call->answer != PC_LINEAR_UNTOLD && call->answer != PC_LINEAR_DONE;
    if (stores && !refused && call->flags != 0) {
        struct pc_linear_sign *sign = &history->flags.rows[call->flags];
        sign->maker_count++;
        sign->maker_client = (uint16_t)client;
        sign->maker_index = (uint16_t)index;
    }
    if (call->tells_value && call->told_flags != 0) {
        history->flags.rows[call->told_flags].seen_end[client] = (uint16_t)(index + 1);
    }
    if (call->tells_unique) {
        history->uniques.rows[call->told_unique].seen_end[client] = (uint16_t)(index + 1);
    }
    /* A call that compares and tells has seen two; that it saw the first follows from `unique`. */
    if ((call->what == PC_LINEAR_CAS || call->compares) && call->answer == PC_LINEAR_DONE) {
        history->uniques.rows[call->unique].seen_end[client] = (uint16_t)(index + 1);
    }
}

/* What was asked, in numbers. */
static void fill_asked(struct pc_linear *history, const struct pc_linear_call *given,
                       struct pc_item_call *item)
{
    char number[24];
    *item = (struct pc_item_call){
        .what = given->what,
        .answer = given->answer,
        .life = given->life,
        .asked_second = given->asked_second,
        .recache = given->recache,
        .delta = given->delta,
        .initial = given->initial,
        .compares = given->compares,
        .claims = given->claims,
        .vivifies = given->vivifies,
    };
    if (given->what >= PC_LINEAR_SET && given->what <= PC_LINEAR_CAS) {
        item->value = pc_contents_number(history->contents, given->value, given->value_bytes);
        item->flags = flags_number(history, given->flags);
    }
    if (given->vivifies) {
        const bool empty = given->what == PC_LINEAR_GET;
        const int count = empty ? 0 : snprintf(number, sizeof(number), "%" PRIu64, given->initial);
        item->value = pc_contents_number(history->contents, number, (size_t)count);
    }
    if (given->what == PC_LINEAR_CAS || given->compares) {
        item->unique = sign_number(&history->uniques, given->unique);
    }
}

void pc_linear_add(struct pc_linear *history, const struct pc_linear_call *given)
{
    struct pc_linear_row *row = row_new(history, given->client);
    const unsigned index = history->clients[given->client].count - 1;
    if (given->answered < given->asked ||
        (index > 0 && (row[-1].asked > given->asked || row[-1].answered > given->answered))) {
        abort();
    }
    *row = (struct pc_linear_row){.asked = given->asked, .answered = given->answered};
    struct pc_item_call *item = &row->item;
    fill_asked(history, given, item);
    item->tells_life = given->tells_life;
    item->told_life = given->told_life;
    item->tells_number = given->tells_number;
    item->told_number = given->told_number;
    item->tells_marks = given->tells_marks;
    item->told_marks = given->told_marks;
    item->tells_value = given->tells_value;
    item->tells_unique = given->tells_unique;
    if (given->tells_value) {
        item->told_value =
            pc_contents_number(history->contents, given->told_value, given->told_value_bytes);
        item->told_flags = flags_number(history, given->told_flags);
    }
    if (given->tells_unique) {
        item->told_unique = sign_number(&history->uniques, given->told_unique);
    }
    note_signs(history, given->client, index);
}

unsigned pc_linear_count(const struct pc_linear *history)
{
    return history->call_count;
}

uint64_t pc_linear_steps(const struct pc_linear *history)
{
    return history->steps;
}

enum pc_linear_verdict pc_linear_check(struct pc_linear *history, FILE *report)
{
    history->steps = 0;
    return pc_linear_narrow(history, report) ? pc_linear_search(history, report) : PC_LINEAR_NO;
}
