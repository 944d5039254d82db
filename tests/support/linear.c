/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: a depth-first search for an order, that remembers where it has been.
 *
 * A configuration is how many calls of each client have been put in order, and the state of the
 * item after them. Which call comes next depends on nothing else, so a configuration that led
 * nowhere once need not be tried again. A call that changed nothing and has the right answer now is
 * put next at once: whatever order there is, it can be moved here.
 */
#include "linear.h"

#include "linear_item.h"

#include <string.h>
#include <xxhash.h>

#define STEP_COUNT_MAX UINT64_C(10000000)

enum { NOBODY = UINT16_MAX };

struct call {
    struct pc_item_call item;
    uint64_t asked, answered;
};

struct client {
    struct call *calls;
    unsigned count, room;
};

/* The first call of each client that was told a unique, by its index; NOBODY: none. */
struct unique {
    uint64_t number;
    uint16_t first[PC_LINEAR_CLIENTS_MAX];
};

struct pc_linear {
    struct pc_linear_config config;
    struct pc_contents *contents;
    struct client clients[PC_LINEAR_CLIENTS_MAX];
    unsigned client_count, call_count;
    struct unique *uniques; /* from 1 */
    uint32_t unique_count, unique_room;
    uint64_t steps;
};

/* ---- The history ---- */

struct pc_linear *pc_linear_create(const struct pc_linear_config *config)
{
    struct pc_linear *history = pc_must(calloc(1, sizeof(*history)));
    history->config = *config;
    history->contents = pc_contents_create();
    return history;
}

void pc_linear_destroy(struct pc_linear *history)
{
    if (history != NULL) {
        for (unsigned i = 0; i < history->client_count; i++) {
            free(history->clients[i].calls);
        }
        pc_contents_destroy(history->contents);
        free(history->uniques);
        free(history);
    }
}

static uint32_t unique_number(struct pc_linear *history, uint64_t unique)
{
    for (uint32_t i = history->unique_count; i > 0; i--) {
        if (history->uniques[i].number == unique) {
            return i;
        }
    }
    if (history->unique_count + 2 > history->unique_room) {
        history->unique_room = 2 * history->unique_room + 64;
        history->uniques =
            pc_must(realloc(history->uniques, history->unique_room * sizeof(*history->uniques)));
    }
    struct unique *row = &history->uniques[++history->unique_count];
    row->number = unique;
    memset(row->first, 0xff, sizeof(row->first));
    return history->unique_count;
}

static struct call *call_new(struct pc_linear *history, unsigned index)
{
    if (index >= PC_LINEAR_CLIENTS_MAX) {
        abort();
    }
    struct client *client = &history->clients[index];
    if (index >= history->client_count) {
        history->client_count = index + 1;
    }
    if (client->count == client->room) {
        client->room = 2 * client->room + 32;
        client->calls = pc_must(realloc(client->calls, client->room * sizeof(*client->calls)));
    }
    if (client->count == NOBODY) {
        abort();
    }
    history->call_count++;
    return &client->calls[client->count++];
}

void pc_linear_add(struct pc_linear *history, const struct pc_linear_call *given)
{
    struct pc_contents *contents = history->contents;
    struct call *call = call_new(history, given->client);
    const unsigned index = history->clients[given->client].count - 1;
    if (given->answered < given->asked ||
        (index > 0 && (call[-1].asked > given->asked || call[-1].answered > given->answered))) {
        abort();
    }
    *call = (struct call){.asked = given->asked, .answered = given->answered};
    call->item = (struct pc_item_call){
        .what = given->what,
        .answer = given->answer,
        .flags = given->flags,
        .life = given->life,
        .delta = given->delta,
        .tells_value = given->tells_value,
        .tells_unique = given->tells_unique,
        .tells_life = given->tells_life,
        .tells_number = given->tells_number,
        .told_flags = given->told_flags,
        .told_life = given->told_life,
        .told_number = given->told_number,
    };
    if (given->what >= PC_LINEAR_SET && given->what <= PC_LINEAR_CAS) {
        call->item.value = pc_contents_number(contents, given->value, given->value_bytes);
    }
    if (given->what == PC_LINEAR_CAS) {
        call->item.unique = unique_number(history, given->unique);
    }
    if (given->tells_value) {
        call->item.told_value =
            pc_contents_number(contents, given->told_value, given->told_value_bytes);
    }
    if (given->tells_unique) {
        call->item.told_unique = unique_number(history, given->told_unique);
        uint16_t *first = &history->uniques[call->item.told_unique].first[given->client];
        *first = *first == NOBODY ? (uint16_t)index : *first;
    }
}

unsigned pc_linear_count(const struct pc_linear *history)
{
    return history->call_count;
}

uint64_t pc_linear_steps(const struct pc_linear *history)
{
    return history->steps;
}

/* ---- Configurations ---- */

/* `at` has as many members as there are clients. Padding is zero, so that bytes compare. */
struct config {
    struct pc_item_state state;
    uint16_t at[];
};

/* What was tried last from a configuration, and what of it comes next. */
struct frame {
    bool any;
    uint64_t answered;
    unsigned client, branch;
};

struct search {
    struct pc_linear *history;
    FILE *report;
    size_t config_bytes;
    /* The path: a configuration and a frame a step. */
    uint8_t *path;
    struct frame *frames;
    unsigned depth, room;
    /* Where the search has been: configurations one after the other, found by hash. */
    uint8_t *seen;
    uint32_t seen_count, seen_room;
    uint32_t *table; /* 1 + place in `seen`; 0: free */
    uint32_t table_size;
    struct config *best; /* the one with most calls in order */
    unsigned best_count;
};

static struct config *config_at(const struct search *search, unsigned depth)
{
    return (struct config *)(void *)(search->path + depth * search->config_bytes);
}

static uint32_t *seen_slot(struct search *search, const void *config)
{
    const uint32_t mask = search->table_size - 1;
    uint32_t i = (uint32_t)XXH3_64bits(config, search->config_bytes) & mask;
    while (search->table[i] != 0 &&
           memcmp(search->seen + (search->table[i] - 1) * search->config_bytes, config,
                  search->config_bytes) != 0) {
        i = (i + 1) & mask;
    }
    return &search->table[i];
}

static void table_grow(struct search *search)
{
    search->table_size *= 2;
    free(search->table);
    search->table = pc_must(calloc(search->table_size, sizeof(*search->table)));
    for (uint32_t i = 0; i < search->seen_count; i++) {
        *seen_slot(search, search->seen + i * search->config_bytes) = i + 1;
    }
}

/* True if it was not there before. */
static bool seen_add(struct search *search, const struct config *config)
{
    uint32_t *slot = seen_slot(search, config);
    if (*slot != 0) {
        return false;
    }
    if (search->seen_count == search->seen_room) {
        search->seen_room = 2 * search->seen_room + 256;
        search->seen = pc_must(realloc(search->seen, search->seen_room * search->config_bytes));
    }
    memcpy(search->seen + search->seen_count * search->config_bytes, config, search->config_bytes);
    *slot = ++search->seen_count;
    if (search->seen_count * 2 > search->table_size) {
        table_grow(search);
    }
    return true;
}

/* ---- Steps ---- */

static const struct call *head_of(const struct pc_linear *history, const struct config *config,
                                  unsigned client)
{
    const struct client *row = &history->clients[client];
    return config->at[client] < row->count ? &row->calls[config->at[client]] : NULL;
}

/* Whoever was asked later must wait: for a call that was answered before. */
static uint64_t latest_asked(const struct pc_linear *history, const struct config *config)
{
    uint64_t least = PC_LINEAR_NEVER;
    for (unsigned i = 0; i < history->client_count; i++) {
        const struct call *head = head_of(history, config, i);
        if (head != NULL && head->answered < least) {
            least = head->answered;
        }
    }
    return least;
}

/* An earlier version had it: somebody whose call is in order already was told it. */
static bool unique_is_used(const struct pc_linear *history, const struct config *config,
                           uint32_t unique)
{
    const struct unique *row = &history->uniques[unique];
    for (unsigned i = 0; i < history->client_count; i++) {
        if (row->first[i] < config->at[i]) {
            return true;
        }
    }
    return false;
}

static bool apply(const struct pc_linear *history, const struct config *config,
                  const struct pc_item_state *from, const struct pc_item_call *call,
                  struct pc_item_state *out_next)
{
    if (!pc_item_apply(history->contents, from, call, out_next)) {
        return false;
    }
    return out_next->unique == PC_UNIQUE_UNSEEN || out_next->unique == from->unique ||
           !unique_is_used(history, config, out_next->unique);
}

/* Branch 0: the item as it is. Branch 1: it has vanished. */
static bool branch(const struct pc_linear *history, const struct config *config,
                   const struct pc_item_call *call, unsigned number, struct pc_item_state *out_next)
{
    static const struct pc_item_state absent = {0};
    if (number == 1 && (!history->config.vanishes || config->state.value == PC_ITEM_ABSENT)) {
        return false;
    }
    return apply(history, config, number == 0 ? &config->state : &absent, call, out_next);
}

/* By its answer it changed nothing, wherever it stands. */
static bool is_question(const struct pc_item_call *call)
{
    return call->what == PC_LINEAR_GET ||
           (call->answer != PC_LINEAR_UNTOLD && call->answer != PC_LINEAR_DONE);
}

/* Put all questions in order that may come now and whose answer is that of the item as it is. */
static void settle(struct pc_linear *history, struct config *config)
{
    for (bool moved = true; moved;) {
        moved = false;
        const uint64_t latest = latest_asked(history, config);
        for (unsigned i = 0; i < history->client_count; i++) {
            const struct call *head = head_of(history, config, i);
            struct pc_item_state next;
            if (head != NULL && head->asked <= latest && is_question(&head->item) &&
                branch(history, config, &head->item, 0, &next) &&
                memcmp(&next, &config->state, sizeof(next)) == 0) {
                config->at[i]++;
                history->steps++;
                moved = true;
            }
        }
    }
}

static unsigned ordered_count(const struct pc_linear *history, const struct config *config)
{
    unsigned count = 0;
    for (unsigned i = 0; i < history->client_count; i++) {
        count += config->at[i];
    }
    return count;
}

/* All that was answered is in order. */
static bool is_whole(const struct pc_linear *history, const struct config *config)
{
    return latest_asked(history, config) == PC_LINEAR_NEVER;
}

/* Go one step on from the end of the path to `config`, which lies behind it, unless it is known. */
static void enter(struct search *search, struct config *config)
{
    settle(search->history, config);
    if (!seen_add(search, config)) {
        return;
    }
    const unsigned count = ordered_count(search->history, config);
    if (count >= search->best_count) {
        search->best_count = count;
        memcpy(search->best, config, search->config_bytes);
    }
    search->frames[search->depth++] = (struct frame){0};
}

/* The client to try next: those whose calls were answered first come first, since what was never
 * answered may also wait, or never have happened. NOBODY: all were tried. */
static unsigned next_client(const struct search *search, const struct config *config,
                            const struct frame *frame)
{
    const struct pc_linear *history = search->history;
    const uint64_t latest = latest_asked(history, config);
    uint64_t best_answered = PC_LINEAR_NEVER;
    unsigned best = NOBODY;
    for (unsigned i = 0; i < history->client_count; i++) {
        const struct call *head = head_of(history, config, i);
        if (head == NULL || head->asked > latest) {
            continue;
        }
        const bool tried =
            frame->any && (head->answered < frame->answered ||
                           (head->answered == frame->answered && i <= frame->client));
        if (!tried && (best == NOBODY || head->answered < best_answered)) {
            best = i;
            best_answered = head->answered;
        }
    }
    return best;
}

/* Go on with the next step not yet tried from the end of the path; false: there is none. */
static bool step(struct search *search)
{
    struct pc_linear *history = search->history;
    struct frame *frame = &search->frames[search->depth - 1];
    const struct config *config = config_at(search, search->depth - 1);
    struct config *next = config_at(search, search->depth);
    for (;;) {
        if (!frame->any || frame->branch == 1) {
            const unsigned client = next_client(search, config, frame);
            if (client == NOBODY) {
                return false;
            }
            *frame = (struct frame){.any = true,
                                    .answered = head_of(history, config, client)->answered,
                                    .client = client};
        } else {
            frame->branch = 1;
        }
        const struct call *head = head_of(history, config, frame->client);
        memcpy(next, config, search->config_bytes);
        if (branch(history, config, &head->item, frame->branch, &next->state)) {
            next->at[frame->client]++;
            history->steps++;
            enter(search, next);
            return true;
        }
    }
}

/* ---- What to say ---- */

static const char *const whats[PC_LINEAR_WHAT_COUNT] = {
    "get", "set", "add", "replace", "append", "prepend", "cas", "incr", "decr", "delete", "touch"};
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

static void print_call(const struct pc_linear *history, FILE *out, unsigned client, unsigned index)
{
    const struct call *call = &history->clients[client].calls[index];
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
    if (item->what == PC_LINEAR_CAS) {
        fprintf(out, " if u%u", item->unique);
    }
    if (item->what == PC_LINEAR_INCR || item->what == PC_LINEAR_DECR) {
        fprintf(out, " %llu", (unsigned long long)item->delta);
    }
    fprintf(out, " flags %u life %u: %s", item->flags, item->life, answers[item->answer]);
    if (item->tells_value) {
        print_content(history, out, "value", item->told_value);
        fprintf(out, " flags %u", item->told_flags);
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
    fprintf(out, "\n");
}

static void print_best(const struct search *search, FILE *out)
{
    const struct pc_linear *history = search->history;
    const struct config *best = search->best;
    fprintf(out, "  %u of %u calls can be put in order; then the item is", search->best_count,
            history->call_count);
    if (best->state.value == PC_ITEM_ABSENT) {
        fprintf(out, " absent");
    } else {
        print_content(history, out, "", best->state.value);
        fprintf(out, " flags %u life %u u%u", best->state.flags, best->state.life,
                best->state.unique);
    }
    fprintf(out, "; in order (o) and next (n) of each client:\n");
    for (unsigned i = 0; i < history->client_count; i++) {
        const unsigned at = best->at[i];
        for (unsigned j = at > 4 ? at - 4 : 0; j < history->clients[i].count && j < at + 3; j++) {
            fprintf(out, "  %c", j < at ? 'o' : 'n');
            print_call(history, out, i, j);
        }
    }
}

/* ---- The search ---- */

static void search_init(struct search *search, struct pc_linear *history)
{
    const size_t bytes = sizeof(struct pc_item_state) + history->client_count * sizeof(uint16_t);
    *search = (struct search){
        .history = history,
        .config_bytes = (bytes + 7) / 8 * 8,
        .room = history->call_count + 2,
        .table_size = 1024,
    };
    search->path = pc_must(calloc(search->room, search->config_bytes));
    search->frames = pc_must(calloc(search->room, sizeof(*search->frames)));
    search->table = pc_must(calloc(search->table_size, sizeof(*search->table)));
    search->best = pc_must(calloc(1, search->config_bytes));
}

static void search_fini(struct search *search)
{
    free(search->path);
    free(search->frames);
    free(search->seen);
    free(search->table);
    free(search->best);
}

enum pc_linear_verdict pc_linear_check(struct pc_linear *history, FILE *report)
{
    const uint64_t most =
        history->config.step_count_max != 0 ? history->config.step_count_max : STEP_COUNT_MAX;
    enum pc_linear_verdict verdict = PC_LINEAR_NO;
    struct search search;
    search_init(&search, history);
    history->steps = 0;
    enter(&search, config_at(&search, 0));
    while (search.depth > 0) {
        if (is_whole(history, config_at(&search, search.depth - 1))) {
            verdict = PC_LINEAR_YES;
            break;
        }
        if (history->steps > most) {
            verdict = PC_LINEAR_GAVE_UP;
            break;
        }
        if (!step(&search)) {
            search.depth--;
        }
    }
    if (verdict == PC_LINEAR_NO && report != NULL) {
        print_best(&search, report);
    }
    search_fini(&search);
    return verdict;
}
