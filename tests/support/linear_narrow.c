/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear_narrow: between which stamps each call happened, from who saw what.
 *
 * A store whose flags were read happened before the read was answered; with uniques that grow, who
 * saw a lesser one came before who saw a greater. This goes on along the clients' own order until
 * nothing gets narrower. Calls that were cut off get an end this way, if anybody saw their traces.
 */
#include "linear_parts.h"

#include <string.h>

static bool at_least(uint64_t *from, uint64_t stamp)
{
    const bool moves = *from < stamp;
    *from = moves ? stamp : *from;
    return moves;
}

static bool at_most(uint64_t *until, uint64_t stamp)
{
    const bool moves = *until > stamp;
    *until = moves ? stamp : *until;
    return moves;
}

/* Along each client's own order. */
static bool narrow_clients(struct pc_linear *history)
{
    bool moved = false;
    for (unsigned i = 0; i < history->client_count; i++) {
        struct pc_linear_client *client = &history->clients[i];
        for (unsigned j = 1; j < client->count; j++) {
            moved |= at_least(&client->rows[j].from, client->rows[j - 1].from);
        }
        for (unsigned j = client->count; j > 1; j--) {
            moved |= at_most(&client->rows[j - 2].until, client->rows[j - 1].until);
        }
    }
    return moved;
}

/* The store of these flags comes before whoever reads them. */
static bool narrow_flags(struct pc_linear *history)
{
    bool moved = false;
    for (unsigned i = 0; i < history->client_count; i++) {
        for (unsigned j = 0; j < history->clients[i].count; j++) {
            struct pc_linear_row *row = &history->clients[i].rows[j];
            if (!row->item.tells_value || row->item.told_flags == 0) {
                continue;
            }
            const struct pc_linear_sign *sign = &history->flags.rows[row->item.told_flags];
            if (sign->maker_count == 1) {
                struct pc_linear_row *maker =
                    &history->clients[sign->maker_client].rows[sign->maker_index];
                moved |= at_least(&row->from, maker->from);
                moved |= at_most(&maker->until, row->until);
            }
        }
    }
    return moved;
}

/* Who saw a lesser unique comes before who saw a greater. */
struct seen_times {
    uint64_t from_max, until_min;
};

static bool narrow_uniques(struct pc_linear *history, struct seen_times *times)
{
    const uint32_t count = history->uniques.count;
    bool moved = false;
    for (uint32_t rank = 0; rank <= count + 1; rank++) {
        times[rank] = (struct seen_times){.from_max = 0, .until_min = PC_LINEAR_NEVER};
    }
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < history->client_count; i++) {
            for (unsigned j = 0; j < history->clients[i].count; j++) {
                struct pc_linear_row *row = &history->clients[i].rows[j];
                const uint32_t unique = pc_linear_unique_seen(&row->item);
                if (unique == 0) {
                    continue;
                }
                const uint32_t rank = history->unique_ranks[unique];
                if (pass == 0) {
                    (void)at_least(&times[rank].from_max, row->from);
                    (void)at_most(&times[rank].until_min, row->until);
                } else {
                    moved |= at_least(&row->from, times[rank - 1].from_max);
                    moved |= at_most(&row->until, times[rank + 1].until_min);
                }
            }
        }
        for (uint32_t rank = 1; pass == 0 && rank <= count; rank++) {
            (void)at_least(&times[rank].from_max, times[rank - 1].from_max);
            (void)at_most(&times[count + 1 - rank].until_min, times[count + 2 - rank].until_min);
        }
    }
    return moved;
}

/* ---- Ranks ---- */

struct numbered {
    uint64_t number;
    uint32_t unique;
};

static int compare_numbers(const void *a, const void *b)
{
    const struct numbered *first = a, *second = b;
    return first->number < second->number ? -1 : first->number > second->number;
}

static void rank_uniques(struct pc_linear *history)
{
    const uint32_t count = history->uniques.count;
    struct numbered *sorted = pc_must(calloc(count + 1, sizeof(*sorted)));
    free(history->unique_ranks);
    history->unique_ranks = pc_must(calloc(count + 1, sizeof(*history->unique_ranks)));
    for (uint32_t i = 0; i < count; i++) {
        sorted[i] = (struct numbered){history->uniques.rows[i + 1].number, i + 1};
    }
    qsort(sorted, count, sizeof(*sorted), compare_numbers);
    for (uint32_t i = 0; i < count; i++) {
        history->unique_ranks[sorted[i].unique] = i + 1;
    }
    free(sorted);
}

/* From each call on, the least that its client will have seen. */
static void rank_calls(struct pc_linear *history)
{
    history->rank_row = 1;
    for (unsigned i = 0; i < history->client_count; i++) {
        const unsigned count = history->clients[i].count;
        history->rank_row = count + 1 > history->rank_row ? count + 1 : history->rank_row;
    }
    free(history->rank_to_come);
    history->rank_to_come = pc_must(
        calloc(history->rank_row * (history->client_count + 1), sizeof(*history->rank_to_come)));
    for (unsigned i = 0; i < history->client_count; i++) {
        uint32_t *row = history->rank_to_come + i * history->rank_row;
        unsigned j = history->clients[i].count;
        for (row[j] = UINT32_MAX; j > 0; j--) {
            const uint32_t unique = pc_linear_unique_seen(&history->clients[i].rows[j - 1].item);
            const uint32_t rank = unique != 0 ? history->unique_ranks[unique] : UINT32_MAX;
            row[j - 1] = rank < row[j] ? rank : row[j];
        }
    }
}

/* ---- All of it ---- */

static bool all_have_time(const struct pc_linear *history, FILE *report)
{
    for (unsigned i = 0; i < history->client_count; i++) {
        for (unsigned j = 0; j < history->clients[i].count; j++) {
            const struct pc_linear_row *row = &history->clients[i].rows[j];
            if (row->from > row->until) {
                if (report != NULL) {
                    fprintf(report, "  by what others saw, this was before %llu and after %llu:\n",
                            (unsigned long long)row->until, (unsigned long long)row->from);
                    pc_linear_say_call(history, report, i, j);
                }
                return false;
            }
        }
    }
    return true;
}

/* Flags that nobody gave cannot be read. */
static bool all_have_makers(const struct pc_linear *history, FILE *report)
{
    for (unsigned i = 0; i < history->client_count; i++) {
        for (unsigned j = 0; j < history->clients[i].count; j++) {
            const struct pc_item_call *call = &history->clients[i].rows[j].item;
            if (call->tells_value && call->told_flags != 0 &&
                history->flags.rows[call->told_flags].maker_count == 0) {
                if (report != NULL) {
                    fprintf(report, "  nobody gave these flags:\n");
                    pc_linear_say_call(history, report, i, j);
                }
                return false;
            }
        }
    }
    return true;
}

bool pc_linear_narrow(struct pc_linear *history, FILE *report)
{
    for (unsigned i = 0; i < history->client_count; i++) {
        for (unsigned j = 0; j < history->clients[i].count; j++) {
            struct pc_linear_row *row = &history->clients[i].rows[j];
            row->from = row->asked;
            row->until = row->answered;
        }
    }
    rank_uniques(history);
    rank_calls(history);
    if (!all_have_makers(history, report)) {
        return false;
    }
    struct seen_times *times = pc_must(calloc(history->uniques.count + 2, sizeof(*times)));
    for (bool moved = true; moved;) {
        moved = narrow_flags(history);
        moved |= history->config.uniques_grow && narrow_uniques(history, times);
        moved |= narrow_clients(history);
    }
    free(times);
    return all_have_time(history, report);
}
