/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_search: a depth-first search for an order, that remembers where it has been.
 *
 * A configuration is how many calls of each client have been put in order, and the state of the
 * item after them. Which call comes next depends on nothing else, so a configuration that led
 * nowhere once need not be tried again. A call that changed nothing and has the right answer now is
 * put next at once: whatever order there is, it can be moved here. A version is left only when all
 * who saw it are in order, and likewise the flags of one store: who is left behind is never served.
 */
#include "linear_parts.h"

#include <string.h>
#include <xxhash.h>

#define STEP_COUNT_MAX UINT64_C(10000000)

enum { NOBODY = PC_LINEAR_NOBODY };

/* ---- Configurations ---- */

/* `at` has as many members as there are clients. Padding is zero, so that bytes compare. */
struct config {
    struct pc_item_state state;
    uint16_t at[];
};

/* What was tried last from a configuration, and what of it comes next. */
struct frame {
    bool any;
    uint64_t turn;
    unsigned client, branch;
};

struct search {
    struct pc_linear *history;
    /* Clients whose calls that were cut off may have happened. Few are needed to explain what
     * others saw; all that are tried multiply. */
    uint64_t happened;
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

static const struct pc_linear_row *head_of(const struct pc_linear *history,
                                           const struct config *config, unsigned client)
{
    const struct pc_linear_client *row = &history->clients[client];
    return config->at[client] < row->count ? &row->rows[config->at[client]] : NULL;
}

/* Whoever was asked later must wait: for a call that was answered before. */
static uint64_t latest_asked(const struct pc_linear *history, const struct config *config)
{
    uint64_t least = PC_LINEAR_NEVER;
    for (unsigned i = 0; i < history->client_count; i++) {
        const struct pc_linear_row *head = head_of(history, config, i);
        if (head != NULL && head->until < least) {
            least = head->until;
        }
    }
    return least;
}

/* All that saw it are in order, `client` one call further than the configuration. */
static bool all_saw(const struct pc_linear *history, const struct config *config, unsigned client,
                    const struct pc_linear_sign *sign)
{
    for (unsigned i = 0; i < history->client_count; i++) {
        if (sign->seen_end[i] > config->at[i] + (i == client)) {
            return false;
        }
    }
    return true;
}

/* Nobody has yet to see a lesser unique. */
static bool none_saw_less(const struct pc_linear *history, const struct config *config,
                          unsigned client, uint32_t unique)
{
    const uint32_t rank = history->unique_ranks[unique];
    for (unsigned i = 0; i < history->client_count; i++) {
        if (history->rank_to_come[i * history->rank_row + config->at[i] + (i == client)] < rank) {
            return false;
        }
    }
    return true;
}

/* What is left behind when the item changes. `client`: whose call does it; NOBODY: it goes by
 * itself.
 */
static bool may_leave(const struct pc_linear *history, const struct config *config, unsigned client,
                      const struct pc_item_state *from, const struct pc_item_state *next)
{
    if (from->unique != next->unique && from->unique != PC_UNIQUE_UNSEEN &&
        !all_saw(history, config, client, &history->uniques.rows[from->unique])) {
        return false;
    }
    if (from->flags == next->flags || from->flags == 0) {
        return true;
    }
    const struct pc_linear_sign *flags = &history->flags.rows[from->flags];
    return flags->maker_count != 1 || all_saw(history, config, client, flags);
}

/* The same of the unique that the call is told, which may be over as soon as it is. */
static bool may_tell(const struct pc_linear *history, const struct config *config, unsigned client,
                     const struct pc_item_state *from, const struct pc_item_call *call,
                     const struct pc_item_state *next)
{
    if (!call->tells_unique || call->told_unique == from->unique) {
        return true;
    }
    if (history->config.uniques_grow &&
        !none_saw_less(history, config, client, call->told_unique)) {
        return false;
    }
    return next->unique == call->told_unique ||
           all_saw(history, config, client, &history->uniques.rows[call->told_unique]);
}

/* Branch 0: the item as it is. Branch 1: it has vanished, or its life is over. */
static bool branch(const struct pc_linear *history, const struct config *config, unsigned client,
                   const struct pc_item_call *call, unsigned number, struct pc_item_state *out_next)
{
    struct pc_item_state from = config->state;
    if (number == 1) {
        const bool may = history->config.vanishes || pc_item_may_be_over(&from);
        const struct pc_item_state absent = pc_item_absent(&from);
        if (from.value == PC_ITEM_ABSENT || !may ||
            !may_leave(history, config, NOBODY, &from, &absent)) {
            return false;
        }
        from = absent;
    }
    return pc_item_apply(history->contents, &from, call, out_next) &&
           may_leave(history, config, client, &from, out_next) &&
           may_tell(history, config, client, &from, call, out_next);
}

static bool may_happen(const struct search *search, const struct pc_linear_row *head,
                       unsigned client)
{
    return head->until != PC_LINEAR_NEVER || (search->happened >> client & 1) != 0;
}

/* Put all questions in order that may come now and whose answer is that of the item as it is. */
static void settle(const struct search *search, struct config *config)
{
    struct pc_linear *history = search->history;
    for (bool moved = true; moved;) {
        moved = false;
        const uint64_t latest = latest_asked(history, config);
        for (unsigned i = 0; i < history->client_count; i++) {
            const struct pc_linear_row *head = head_of(history, config, i);
            struct pc_item_state next;
            if (head != NULL && head->from <= latest && may_happen(search, head, i) &&
                pc_linear_is_question(&head->item) &&
                branch(history, config, i, &head->item, 0, &next) &&
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
    settle(search, config);
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

/* When the next call of a client is tried: first those that were told what the item is now, since
 * it may never be that again; then those that were answered first, since what was never answered
 * may also wait, or never have happened. */
static uint64_t turn_of(const struct pc_linear *history, const struct config *config,
                        const struct pc_linear_row *head, unsigned client)
{
    struct pc_item_state next;
    const bool fits = head->item.tells_value && config->state.value != PC_ITEM_ABSENT &&
                      branch(history, config, client, &head->item, 0, &next);
    return head->until >> 1 | (fits ? 0 : UINT64_C(1) << 63);
}

/* NOBODY: all were tried. */
static unsigned next_client(const struct search *search, const struct config *config,
                            const struct frame *frame, uint64_t *out_turn)
{
    const struct pc_linear *history = search->history;
    const uint64_t latest = latest_asked(history, config);
    unsigned best = NOBODY;
    for (unsigned i = 0; i < history->client_count; i++) {
        const struct pc_linear_row *head = head_of(history, config, i);
        if (head == NULL || head->from > latest || !may_happen(search, head, i)) {
            continue;
        }
        const uint64_t turn = turn_of(history, config, head, i);
        const bool tried =
            frame->any && (turn < frame->turn || (turn == frame->turn && i <= frame->client));
        if (!tried && (best == NOBODY || turn < *out_turn)) {
            best = i;
            *out_turn = turn;
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
            uint64_t turn = 0;
            const unsigned client = next_client(search, config, frame, &turn);
            if (client == NOBODY) {
                return false;
            }
            *frame = (struct frame){.any = true, .turn = turn, .client = client};
        } else {
            frame->branch = 1;
        }
        const struct pc_linear_row *head = head_of(history, config, frame->client);
        memcpy(next, config, search->config_bytes);
        if (branch(history, config, frame->client, &head->item, frame->branch, &next->state)) {
            next->at[frame->client]++;
            history->steps++;
            enter(search, next);
            return true;
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

static enum pc_linear_verdict search_run(struct pc_linear *history, uint64_t happened,
                                         uint64_t step_count_max, FILE *report)
{
    enum pc_linear_verdict verdict = PC_LINEAR_NO;
    const uint64_t steps_end = history->steps + step_count_max;
    struct search search;
    search_init(&search, history);
    search.happened = happened;
    enter(&search, config_at(&search, 0));
    while (search.depth > 0) {
        if (is_whole(history, config_at(&search, search.depth - 1))) {
            verdict = PC_LINEAR_YES;
            break;
        }
        if (history->steps > steps_end) {
            verdict = PC_LINEAR_GAVE_UP;
            break;
        }
        if (!step(&search)) {
            search.depth--;
        }
    }
    if (verdict != PC_LINEAR_YES && report != NULL) {
        fprintf(report, "  %u of %u calls can be put in order; ", search.best_count,
                history->call_count);
        pc_linear_say_order(history, report, &search.best->state, search.best->at);
    }
    search_fini(&search);
    return verdict;
}

/* Clients that were cut off with calls under way that may have changed something. */
static uint64_t clients_cut(const struct pc_linear *history)
{
    uint64_t clients = 0;
    for (unsigned i = 0; i < history->client_count; i++) {
        const struct pc_linear_client *client = &history->clients[i];
        for (unsigned j = client->count; j > 0; j--) {
            const struct pc_linear_row *row = &client->rows[j - 1];
            if (row->until == PC_LINEAR_NEVER && !pc_linear_is_question(&row->item)) {
                clients |= UINT64_C(1) << i;
            }
        }
    }
    return clients;
}

/* What one client asked may have happened, or what two did: is that enough? */
static bool search_few(struct pc_linear *history, uint64_t cut, unsigned count,
                       uint64_t step_count_max)
{
    for (unsigned i = 0; i < history->client_count; i++) {
        for (unsigned j = 0; j <= i; j++) {
            const uint64_t happened = UINT64_C(1) << i | UINT64_C(1) << j;
            if ((happened & ~cut) == 0 && (j < i) == (count == 2) &&
                search_run(history, happened, step_count_max, NULL) == PC_LINEAR_YES) {
                return true;
            }
        }
    }
    return false;
}

/* Nothing that was cut off happened; or what one client asked, or two; or anything. */
enum pc_linear_verdict pc_linear_search(struct pc_linear *history, FILE *report)
{
    const uint64_t most =
        history->config.step_count_max != 0 ? history->config.step_count_max : STEP_COUNT_MAX;
    const uint64_t cut = clients_cut(history);
    if (cut != 0 &&
        (search_run(history, 0, most / 100, NULL) == PC_LINEAR_YES ||
         search_few(history, cut, 1, most / 100) || search_few(history, cut, 2, most / 100))) {
        return PC_LINEAR_YES;
    }
    return search_run(history, cut, most, report);
}
