/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_naive.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_CLIENTS = 3 };

/* ---- A naive item ---- */

/* `told` is what the present version is known by; `gone` what earlier ones were. */
struct naive {
    bool present;
    char text[PC_SMALL_TEXT_MAX];
    uint32_t flags, ends, now;
    bool stale, claimed;
    uint64_t told, gone[PC_SMALL_CALLS_MAX], greatest;
    unsigned gone_count;
};

/* What a call was told beside its answer. */
struct naive_told {
    uint64_t number;
    bool stale, claimed, won;
};

static void naive_renew(struct naive *naive)
{
    if (naive->told != 0) {
        naive->gone[naive->gone_count++] = naive->told;
    }
    naive->told = 0;
}

/* Seconds left. */
static uint32_t naive_life(const struct naive *naive)
{
    if (naive->ends == 0) {
        return PC_LINEAR_FOREVER;
    }
    return naive->ends > naive->now ? naive->ends - naive->now : 0;
}

static void naive_remove(struct naive *naive)
{
    if (naive->present) {
        naive_renew(naive);
    }
    naive->present = false;
}

/* `asked` is the second that counts for a life. */
static void naive_live(struct naive *naive, const struct pc_linear_call *call, uint32_t asked)
{
    naive->ends = call->life != 0 ? asked + call->life : 0;
}

static enum pc_linear_answer naive_put(struct naive *naive, const struct pc_linear_call *call,
                                       const char *text, uint32_t asked)
{
    naive_renew(naive);
    naive->present = true;
    snprintf(naive->text, sizeof(naive->text), "%s", text);
    naive->flags = call->flags;
    naive->stale = naive->claimed = false;
    naive_live(naive, call, asked);
    return PC_LINEAR_DONE;
}

static enum pc_linear_answer naive_join(struct naive *naive, const char *first, const char *second)
{
    char both[2 * PC_SMALL_TEXT_MAX];
    if (!naive->present) {
        return PC_LINEAR_NOT_STORED;
    }
    snprintf(both, sizeof(both), "%s%s", first, second);
    naive_renew(naive);
    snprintf(naive->text, sizeof(naive->text), "%.60s", both);
    naive->stale = naive->claimed = false;
    return PC_LINEAR_DONE;
}

static enum pc_linear_answer naive_count(struct naive *naive, const struct pc_linear_call *call,
                                         uint32_t asked, uint64_t *out_number)
{
    if (!naive->present && call->vivifies) {
        char text[24];
        snprintf(text, sizeof(text), "%" PRIu64, call->initial);
        *out_number = call->initial;
        return naive_put(naive, call, text, asked);
    }
    if (!naive->present) {
        return PC_LINEAR_ABSENT;
    }
    char *end;
    const uint64_t number = strtoull(naive->text, &end, 10);
    if (end == naive->text || strspn(end, " ") != strlen(end)) {
        return PC_LINEAR_NOT_NUMBER;
    }
    *out_number = call->what == PC_LINEAR_INCR ? number + call->delta
                  : number > call->delta       ? number - call->delta
                                               : 0;
    const int length = (int)strlen(naive->text);
    naive_renew(naive);
    snprintf(naive->text, sizeof(naive->text), "%*s", -length, "");
    char digits[24];
    const int written = snprintf(digits, sizeof(digits), "%" PRIu64, *out_number);
    memcpy(naive->text, digits, (size_t)written);
    naive->text[written > length ? written : length] = '\0';
    return PC_LINEAR_DONE;
}

static enum pc_linear_answer naive_read(struct naive *naive, const struct pc_linear_call *call,
                                        uint32_t asked, struct naive_told *out)
{
    const bool touches = call->what == PC_LINEAR_TOUCH;
    if (!naive->present && call->vivifies) {
        naive_put(naive, call, "", asked);
        naive->flags = 0;
        naive->claimed = out->won = true;
        return PC_LINEAR_DONE;
    }
    if (!naive->present) {
        return PC_LINEAR_ABSENT;
    }
    if (touches) {
        naive_live(naive, call, asked);
    }
    out->stale = naive->stale;
    out->claimed = naive->claimed;
    const bool soon =
        call->recache != 0 && naive->ends != 0 && naive->ends < naive->now + call->recache;
    if (call->claims && !naive->claimed && (naive->stale || soon)) {
        naive->claimed = out->won = true;
    }
    return PC_LINEAR_DONE;
}

static enum pc_linear_answer naive_do(struct naive *naive, const struct pc_linear_call *call,
                                      uint32_t asked, struct naive_told *out)
{
    *out = (struct naive_told){0};
    if (call->what == PC_LINEAR_TICK) {
        naive->now += (uint32_t)call->delta;
    }
    if (naive->present && naive->ends != 0 && naive->ends <= naive->now) {
        naive_remove(naive);
    }
    const bool present = naive->present;
    switch (call->what) {
    case PC_LINEAR_GET:
    case PC_LINEAR_TOUCH:
        return naive_read(naive, call, asked, out);
    case PC_LINEAR_SET:
        return naive_put(naive, call, call->value, asked);
    case PC_LINEAR_ADD:
        return present ? PC_LINEAR_NOT_STORED : naive_put(naive, call, call->value, asked);
    case PC_LINEAR_REPLACE:
        return present ? naive_put(naive, call, call->value, asked) : PC_LINEAR_NOT_STORED;
    case PC_LINEAR_APPEND:
        return naive_join(naive, naive->text, call->value);
    case PC_LINEAR_PREPEND:
        return naive_join(naive, call->value, naive->text);
    case PC_LINEAR_INCR:
    case PC_LINEAR_DECR:
        return naive_count(naive, call, asked, &out->number);
    case PC_LINEAR_TICK:
        return PC_LINEAR_DONE;
    case PC_LINEAR_FLUSH:
        naive_remove(naive);
        return PC_LINEAR_DONE;
    default:
        break;
    }
    if (!present) {
        return PC_LINEAR_ABSENT;
    }
    const bool compares = call->what == PC_LINEAR_CAS || call->compares;
    if (compares && naive->told != call->unique) {
        return PC_LINEAR_EXISTS;
    }
    if (call->what == PC_LINEAR_CAS) {
        return naive_put(naive, call, call->value, asked);
    }
    if (call->what == PC_LINEAR_DELETE) {
        naive_remove(naive);
        return PC_LINEAR_DONE;
    }
    naive_renew(naive);
    naive->stale = true;
    naive->claimed = false;
    if (call->life != 0) {
        naive_live(naive, call, asked);
    }
    return PC_LINEAR_DONE;
}

static bool naive_unique_fits(const struct pc_small *small, struct naive *naive, uint64_t unique)
{
    if (naive->told != 0) {
        return naive->told == unique;
    }
    for (unsigned i = 0; i < naive->gone_count; i++) {
        if (naive->gone[i] == unique) {
            return false;
        }
    }
    if (small->config.uniques_grow && unique < naive->greatest) {
        return false;
    }
    naive->greatest = unique;
    naive->told = unique;
    return true;
}

/* Would this item have said what was said? */
static bool naive_agrees(const struct pc_small *small, struct naive *naive,
                         const struct pc_linear_call *call, uint32_t asked)
{
    struct naive_told told;
    const enum pc_linear_answer answer = naive_do(naive, call, asked, &told);
    if (call->answer == PC_LINEAR_UNTOLD) {
        return true;
    }
    if (call->answer != answer) {
        return false;
    }
    if (answer != PC_LINEAR_DONE) {
        return true;
    }
    if (call->tells_value &&
        (strcmp(naive->text, call->told_value) != 0 || naive->flags != call->told_flags)) {
        return false;
    }
    const uint32_t life = naive_life(naive);
    const uint32_t marks = (told.stale ? PC_LINEAR_STALE_MARK : 0) |
                           (told.claimed ? PC_LINEAR_CLAIMED : 0) | (told.won ? PC_LINEAR_WON : 0);
    if ((call->tells_life && life != call->told_life) ||
        (call->tells_number && told.number != call->told_number) ||
        (call->tells_marks && marks != call->told_marks)) {
        return false;
    }
    return !call->tells_unique || naive_unique_fits(small, naive, call->told_unique);
}

static bool naive_judge(const struct pc_small *small, unsigned used, const struct naive *naive);

/* This call next, its life counted from any second there may have been, the item gone or not. */
static bool naive_try(const struct pc_small *small, unsigned used, const struct naive *naive,
                      unsigned index)
{
    const struct pc_linear_call *call = &small->calls[index];
    for (unsigned gone = 0; gone < 1u + small->config.vanishes; gone++) {
        for (uint32_t asked = call->asked_second; asked <= naive->now; asked++) {
            struct naive next = *naive;
            if (gone == 1) {
                naive_remove(&next);
            }
            if (naive_agrees(small, &next, call, asked) &&
                naive_judge(small, used | 1u << index, &next)) {
                return true;
            }
        }
    }
    return false;
}

/* Every order of those that are left, by recursion. */
static bool naive_judge(const struct pc_small *small, unsigned used, const struct naive *naive)
{
    bool whole = true;
    for (unsigned i = 0; i < small->count; i++) {
        whole = whole && ((used >> i & 1) || small->calls[i].answered == PC_LINEAR_NEVER);
    }
    if (whole) {
        return true;
    }
    for (unsigned i = 0; i < small->count; i++) {
        bool may = !(used >> i & 1);
        for (unsigned j = 0; j < small->count && may; j++) {
            const bool earlier = small->calls[j].answered < small->calls[i].asked ||
                                 (j < i && small->calls[j].client == small->calls[i].client);
            may = (used >> j & 1) || j == i || !earlier;
        }
        if (may && naive_try(small, used, naive, i)) {
            return true;
        }
    }
    return false;
}

/* ---- Random small histories ---- */

/* Stamps that overlap: each client's calls follow each other, or are sent together. The last client
 * is the clock. */
static void small_stamps(struct pc_small *small, struct pc_random *random)
{
    uint64_t asked[SMALL_CLIENTS + 1] = {0}, answered[SMALL_CLIENTS + 1] = {0};
    bool cut[SMALL_CLIENTS + 1] = {false};
    for (unsigned i = 0; i < small->count; i++) {
        struct pc_linear_call *call = &small->calls[i];
        const bool ticks = call->what == PC_LINEAR_TICK;
        const unsigned c = call->client =
            ticks ? SMALL_CLIENTS : (unsigned)pc_random_below(random, SMALL_CLIENTS);
        const bool pipelined = pc_random_below(random, 3) == 0;
        const uint64_t from = pipelined ? asked[c] : answered[c];
        call->asked = asked[c] = from + pc_random_below(random, 6);
        cut[c] = cut[c] || (!ticks && pc_random_below(random, 12) == 0);
        const uint64_t least = answered[c] > asked[c] ? answered[c] : asked[c];
        call->answered = answered[c] = least + 1 + pc_random_below(random, 6);
        if (cut[c]) {
            call->answered = PC_LINEAR_NEVER;
        }
    }
    for (unsigned i = 0; i < small->count; i++) {
        for (unsigned j = 0; j < small->count; j++) {
            if (small->calls[j].what == PC_LINEAR_TICK &&
                small->calls[j].answered < small->calls[i].asked) {
                small->calls[i].asked_second += (uint32_t)small->calls[j].delta;
            }
        }
    }
}

static void small_draw_call(struct pc_small *small, unsigned index, struct pc_random *random)
{
    static const char *const pieces[] = {"5", "10", "x", "y"};
    struct pc_linear_call *call = &small->calls[index];
    call->what = (enum pc_linear_what)pc_random_below(random, PC_LINEAR_WHAT_COUNT);
    if (pc_random_below(random, 3) == 0) {
        call->what = PC_LINEAR_GET;
    }
    snprintf(small->texts[index][0], PC_SMALL_TEXT_MAX, "%s",
             pieces[pc_random_below(random, PC_COUNT_OF(pieces))]);
    call->value = small->texts[index][0];
    call->value_bytes = strlen(call->value);
    call->flags = (uint32_t)pc_random_below(random, 3);
    call->life = pc_random_below(random, 2) == 0 ? 0 : 1 + (uint32_t)pc_random_below(random, 3);
    call->delta = 1 + pc_random_below(random, call->what == PC_LINEAR_TICK ? 2 : 6);
    const bool counts = call->what == PC_LINEAR_INCR || call->what == PC_LINEAR_DECR;
    const bool reads = call->what == PC_LINEAR_GET;
    call->vivifies = (counts || reads) && pc_random_below(random, 3) == 0;
    call->claims = (reads || call->what == PC_LINEAR_TOUCH) && pc_random_below(random, 2) == 0;
    call->claims = call->claims || (reads && call->vivifies);
    call->recache = reads && call->claims && pc_random_below(random, 3) == 0 ? 100 : 0;
    call->initial = 7;
    call->compares = call->what == PC_LINEAR_DELETE && pc_random_below(random, 2) == 0;
    if (call->vivifies) {
        call->flags = 0;
    }
}

void pc_small_draw(struct pc_small *small, struct pc_random *random)
{
    memset(small, 0, sizeof(*small));
    small->config.uniques_grow = pc_random_below(random, 2) == 0;
    small->config.vanishes = pc_random_below(random, 4) == 0;
    small->count = 1 + (unsigned)pc_random_below(random, PC_SMALL_CALLS_MAX);
    for (unsigned i = 0; i < small->count; i++) {
        small_draw_call(small, i, random);
    }
    small_stamps(small, random);
}

/* What the call is told, if it is. */
static void small_tell(struct pc_small *small, unsigned index, const struct naive *naive,
                       const struct naive_told *told, struct pc_random *random)
{
    struct pc_linear_call *call = &small->calls[index];
    const bool reads = call->what == PC_LINEAR_GET ||
                       (call->what == PC_LINEAR_TOUCH && pc_random_below(random, 2) == 0);
    if (reads) {
        call->tells_unique = pc_random_below(random, 2) == 0;
        call->told_unique = naive->told;
        call->tells_life = pc_random_below(random, 2) == 0;
        call->told_life = naive_life(naive);
        call->tells_value = true;
        snprintf(small->texts[index][1], PC_SMALL_TEXT_MAX, "%s", naive->text);
        call->told_value = small->texts[index][1];
        call->told_value_bytes = strlen(naive->text);
        call->told_flags = naive->flags;
        call->tells_marks = call->claims;
        call->told_marks = (told->stale ? PC_LINEAR_STALE_MARK : 0) |
                           (told->claimed ? PC_LINEAR_CLAIMED : 0) |
                           (told->won ? PC_LINEAR_WON : 0);
    }
    call->tells_number = call->what == PC_LINEAR_INCR || call->what == PC_LINEAR_DECR;
    call->told_number = told->number;
}

/* Answers as one item gives them in an order that the stamps allow, or nearly. */
void pc_small_answer(struct pc_small *small, struct pc_random *random)
{
    struct naive naive = {0};
    uint64_t seen = 0, fresh = 100;
    unsigned done = 0;
    for (unsigned round = 0; round < small->count; round++) {
        unsigned first = PC_SMALL_CALLS_MAX;
        for (unsigned i = 0; i < small->count; i++) {
            const bool earlier = first == PC_SMALL_CALLS_MAX ||
                                 small->calls[i].answered < small->calls[first].answered;
            if (!(done >> i & 1) && (earlier || pc_random_below(random, 4) == 0)) {
                first = i;
            }
        }
        done |= 1u << first;
        struct pc_linear_call *call = &small->calls[first];
        if (call->what == PC_LINEAR_CAS || call->compares) {
            call->unique = seen != 0 ? seen : 99;
        }
        if (small->config.vanishes && pc_random_below(random, 5) == 0) {
            naive_remove(&naive);
        }
        const uint32_t since = naive.now > call->asked_second ? naive.now - call->asked_second : 0;
        struct naive_told told;
        call->answer =
            naive_do(&naive, call, naive.now - (uint32_t)pc_random_below(random, since + 1), &told);
        if (naive.present && naive.told == 0) {
            naive.told = fresh++;
        }
        if (call->answer == PC_LINEAR_DONE) {
            small_tell(small, first, &naive, &told, random);
            seen = call->tells_unique ? naive.told : seen;
        }
        if (call->what != PC_LINEAR_TICK &&
            (call->answered == PC_LINEAR_NEVER || pc_random_below(random, 8) == 0)) {
            call->answer = PC_LINEAR_UNTOLD;
            call->tells_value = call->tells_unique = call->tells_life = call->tells_number = false;
            call->tells_marks = false;
        }
    }
}

void pc_small_spoil(struct pc_small *small, struct pc_random *random)
{
    struct pc_linear_call *call = &small->calls[pc_random_below(random, small->count)];
    const struct pc_linear_call *other = &small->calls[pc_random_below(random, small->count)];
    const uint64_t way = pc_random_below(random, 4);
    if (call->what == PC_LINEAR_TICK || call->what == PC_LINEAR_FLUSH) {
        return;
    }
    if (call->tells_life && call->told_life != PC_LINEAR_FOREVER && way == 0) {
        call->told_life ^= 1;
    } else if (call->tells_marks && way == 1) {
        call->told_marks ^= 1u << pc_random_below(random, 3);
    } else if (call->tells_unique && other->tells_unique && way == 2) {
        call->told_unique = other->told_unique;
    } else if (call->tells_value && other->tells_value) {
        call->told_value = other->told_value;
        call->told_value_bytes = other->told_value_bytes;
    } else if (call->tells_number) {
        call->told_number ^= 1;
    } else if (call->answer == PC_LINEAR_ABSENT) {
        call->answer = PC_LINEAR_DONE;
    } else if (call->answer == PC_LINEAR_DONE && !call->tells_value) {
        call->answer = PC_LINEAR_ABSENT;
    }
}

bool pc_small_is_linear(const struct pc_small *small)
{
    const struct naive naive = {0};
    return naive_judge(small, 0, &naive);
}
