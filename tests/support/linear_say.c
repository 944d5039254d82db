/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_parts.h"

static const char *const whats[PC_LINEAR_WHAT_COUNT] = {
    "get",  "set",  "add",    "replace", "append", "prepend", "cas",
    "incr", "decr", "delete", "touch",   "stale",  "flush",   "tick"};
static const char *const answers[PC_LINEAR_ANSWER_COUNT] = {"?",          "done",   "absent",
                                                            "not stored", "exists", "not a number"};

static void print_content(const struct pc_linear *history, FILE *out, const char *name,
                          uint32_t number)
{
    size_t count;
    const char *at = pc_contents_at(history->contents, number, &count);
    const size_t shown = count > 60 ? 60 : count;
    fprintf(out, " %s '%.*s'%s", name, (int)shown, at, shown < count ? "..." : "");
}

void pc_linear_say_call(const struct pc_linear *history, FILE *out, unsigned client, unsigned index)
{
    const struct pc_linear_row *call = &history->clients[client].rows[index];
    const struct pc_item_call *item = &call->item;
    fprintf(out, "    client %2u #%-3u %8llu .. ", client, index, (unsigned long long)call->asked);
    if (call->answered == PC_LINEAR_NEVER) {
        fprintf(out, "   never");
    } else {
        fprintf(out, "%8llu", (unsigned long long)call->answered);
    }
    fprintf(out, " %s", whats[item->what]);
    if (item->value != 0) {
        print_content(history, out, "", item->value);
    }
    if (item->what == PC_LINEAR_CAS || item->compares) {
        fprintf(out, " if u%u", item->unique);
    }
    if (item->what == PC_LINEAR_INCR || item->what == PC_LINEAR_DECR ||
        item->what == PC_LINEAR_TICK) {
        fprintf(out, " %llu", (unsigned long long)item->delta);
    }
    fprintf(out, "%s", item->vivifies ? " or made" : "");
    if (item->recache != 0) {
        fprintf(out, " anew below %u", item->recache);
    }
    fprintf(out, " flags f%u life %u in second %u: %s", item->flags, item->life, item->asked_second,
            answers[item->answer]);
    if (item->tells_value) {
        print_content(history, out, "value", item->told_value);
        fprintf(out, " flags f%u", item->told_flags);
    }
    if (item->tells_number) {
        fprintf(out, " number %llu", (unsigned long long)item->told_number);
    }
    if (item->tells_unique) {
        fprintf(out, " u%u", item->told_unique);
    }
    if (item->tells_life) {
        fprintf(out, " life %u", item->told_life);
    }
    if (item->tells_marks) {
        fprintf(out, "%s%s%s", item->told_marks & PC_LINEAR_WON ? " won" : "",
                item->told_marks & PC_LINEAR_STALE_MARK ? " stale" : "",
                item->told_marks & PC_LINEAR_CLAIMED ? " claimed" : "");
    }
    fprintf(out, "\n");
}

void pc_linear_say_order(const struct pc_linear *history, FILE *out,
                         const struct pc_item_state *state, const uint16_t *counts)
{
    fprintf(out, "then, in second %u, the item is", state->now);
    if (state->value == PC_ITEM_ABSENT) {
        fprintf(out, " absent");
    } else {
        print_content(history, out, "", state->value);
        fprintf(out, " flags f%u ends %u..%u marks %u u%u", state->flags, state->ends_min,
                state->ends_max, state->marks, state->unique);
    }
    fprintf(out, "; in order (o) and next (n) of each client:\n");
    for (unsigned i = 0; i < history->client_count; i++) {
        const unsigned at = counts[i];
        for (unsigned j = at > 4 ? at - 4 : 0; j < history->clients[i].count && j < at + 3; j++) {
            fprintf(out, "  %c", j < at ? 'o' : 'n');
            pc_linear_say_call(history, out, i, j);
        }
    }
}
