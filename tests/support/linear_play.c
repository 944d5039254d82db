/* SPDX-License-Identifier: Apache-2.0 */
#include "linear_play.h"

#include "base/check.h"
#include "linear_ask.h"
#include "linear_item.h"

#include <inttypes.h>
#include <string.h>

enum {
    QUIET_RUN_MAX = 3, /* then one aloud, so that an answer comes */
    DEPTH_MAX = 4,
    ASKED_MAX = (DEPTH_MAX + 1) * (QUIET_RUN_MAX + 1),
    KEY_COUNT_DRAWN_MAX = 6,
};

struct asked {
    struct pc_ask ask;
    uint64_t asked;
    uint32_t asked_second;
};

/* One value line of an answer, or what stands for it. */
struct told {
    bool found;
    size_t value_at, value_bytes; /* in the talk's input */
    uint32_t flags;
    bool tells_unique, tells_life;
    uint64_t unique;
    int64_t seconds; /* to live; -1: for ever */
    uint32_t marks;
};

struct pc_talk {
    struct pc_play *play;
    struct pc_random random;
    unsigned client, requests_left, depth, quiet_run;
    bool ended; /* the last request was made */
    struct asked asked[ASKED_MAX];
    unsigned asked_first, asked_count, aloud_count;
    char *out; /* the request that is being sent */
    size_t out_at, out_end;
    char *in; /* what came and is not yet a whole answer */
    size_t in_count, in_room;
    struct told told[PC_ASK_KEYS_MAX];
    char trouble[200];
};

struct pc_play {
    struct pc_play_config config;
    struct pc_ask_source source;
    struct pc_linear *keys[PC_ASK_KEY_COUNT_MAX];
    unsigned client_count; /* the first is time */
    uint64_t clock;
    uint32_t second;
    unsigned tick_rate; /* requests a tick */
    struct pc_play_tally tally;
    char trouble[256];
};

/* ---- A play ---- */

struct pc_play *pc_play_create(const struct pc_play_config *config)
{
    struct pc_play *play = pc_must(calloc(1, sizeof(*play)));
    struct pc_ask_source *source = &play->source;
    play->config = *config;
    pc_random_init(&source->random, config->seed);
    source->key_count = config->key_count != 0
                            ? config->key_count
                            : 1 + (unsigned)pc_random_below(&source->random, KEY_COUNT_DRAWN_MAX);
    source->large = pc_random_below(&source->random, 4) == 0;
    source->mood = (enum pc_ask_mood)pc_random_below(&source->random, PC_ASK_MOOD_COUNT);
    play->tick_rate = pc_random_below(&source->random, 2) == 0 ? 8 : 40;
    source->fills = config->vanishes;
    if (config->vanishes && config->key_count == 0) {
        source->key_count = PC_ASK_KEY_COUNT_MAX;
        source->large = false; /* what has to be held may be refused */
    }
    play->client_count = 1;
    snprintf(source->prefix, sizeof(source->prefix), "%s", config->prefix);
    const struct pc_linear_config judging = {.vanishes = config->vanishes, .uniques_grow = true};
    for (unsigned i = 0; i < source->key_count; i++) {
        play->keys[i] = pc_linear_create(&judging);
    }
    return play;
}

void pc_play_destroy(struct pc_play *play)
{
    for (unsigned i = 0; play != NULL && i < play->source.key_count; i++) {
        pc_linear_destroy(play->keys[i]);
    }
    free(play);
}

/* Something was evicted, and seen to be: without that the history is not linear. */
static bool has_vanished(struct pc_linear *history)
{
    const struct pc_linear_config stays = {.uniques_grow = true, .step_count_max = 100000};
    pc_linear_configure(history, &stays);
    return pc_linear_check(history, NULL) != PC_LINEAR_YES;
}

const char *pc_play_judge(struct pc_play *play, FILE *report)
{
    for (unsigned i = 0; i < play->source.key_count && play->trouble[0] == '\0'; i++) {
        char key[80];
        pc_ask_key(&play->source, i, key);
        const enum pc_linear_verdict verdict = pc_linear_check(play->keys[i], report);
        const uint64_t steps = pc_linear_steps(play->keys[i]);
        play->tally.steps += steps;
        play->tally.steps_most = steps > play->tally.steps_most ? steps : play->tally.steps_most;
        if (verdict != PC_LINEAR_YES) {
            snprintf(play->trouble, sizeof(play->trouble), "%u calls on key %s are not %s",
                     pc_linear_count(play->keys[i]), key,
                     verdict == PC_LINEAR_NO ? "linear" : "decided");
        } else if (play->config.vanishes) {
            play->tally.vanished += has_vanished(play->keys[i]);
        }
    }
    return play->trouble[0] != '\0' ? play->trouble : NULL;
}

void pc_play_tally(const struct pc_play *play, struct pc_play_tally *tally)
{
    tally->calls += play->tally.calls;
    tally->answered += play->tally.answered;
    tally->untold += play->tally.untold;
    tally->cut += play->tally.cut;
    tally->beside += play->tally.beside;
    tally->ticks += play->tally.ticks;
    tally->flushes += play->tally.flushes;
    tally->vanished += play->tally.vanished;
    tally->steps += play->tally.steps;
    if (play->tally.steps_most > tally->steps_most) {
        tally->steps_most = play->tally.steps_most;
    }
}

/* ---- Asking ---- */

struct pc_talk *pc_talk_begin(struct pc_play *play, uint64_t seed, unsigned request_count)
{
    struct pc_talk *talk = pc_must(calloc(1, sizeof(*talk)));
    talk->play = play;
    talk->client = play->client_count++;
    talk->requests_left = request_count;
    pc_random_init(&talk->random, seed);
    talk->depth = play->config.depth_max != 0
                      ? play->config.depth_max
                      : 1 + (unsigned)pc_random_below(&talk->random, DEPTH_MAX);
    talk->out = pc_must(malloc(PC_ASK_BYTES_MAX));
    return talk;
}

bool pc_talk_sent(const struct pc_talk *talk)
{
    return talk->ended && talk->out_at == talk->out_end;
}

bool pc_talk_done(const struct pc_talk *talk)
{
    return pc_talk_sent(talk) && talk->asked_count == 0;
}

bool pc_talk_may_pull(const struct pc_talk *talk)
{
    return talk->out_at < talk->out_end || (!talk->ended && talk->aloud_count < talk->depth);
}

const char *pc_talk_trouble(const struct pc_talk *talk)
{
    return talk->trouble[0] != '\0' ? talk->trouble : NULL;
}

static struct asked *asked_at(struct pc_talk *talk, unsigned index)
{
    return &talk->asked[(talk->asked_first + index) % PC_COUNT_OF(talk->asked)];
}

/* Some seconds pass, between what was asked and what will be. */
static void tick(struct pc_play *play, uint32_t seconds)
{
    play->config.tick(play->config.ctx, seconds);
    const struct pc_linear_call call = {.what = PC_LINEAR_TICK,
                                        .asked = ++play->clock,
                                        .answered = ++play->clock,
                                        .asked_second = play->second,
                                        .delta = seconds,
                                        .answer = PC_LINEAR_DONE};
    for (unsigned i = 0; i < play->source.key_count; i++) {
        pc_linear_add(play->keys[i], &call);
    }
    play->second += seconds;
    play->tally.ticks++;
}

static void ask_next(struct pc_talk *talk)
{
    struct pc_play *play = talk->play;
    if (play->config.tick != NULL && pc_random_below(&talk->random, play->tick_rate) == 0) {
        tick(play, 1 + (uint32_t)pc_random_below(&talk->random, 2));
    }
    struct asked *asked = asked_at(talk, talk->asked_count++);
    struct pc_ask *ask = &asked->ask;
    if (talk->requests_left == 0) {
        *ask = (struct pc_ask){.ends = true, .meta = true};
        talk->ended = true;
    } else {
        talk->requests_left--;
        pc_ask_draw(&play->source, &talk->random, talk->quiet_run < QUIET_RUN_MAX, ask);
    }
    talk->quiet_run = ask->quiet ? talk->quiet_run + 1 : 0;
    talk->aloud_count += !ask->quiet;
    asked->asked = ++play->clock;
    asked->asked_second = play->second;
    play->tally.flushes += ask->what == PC_LINEAR_FLUSH;
    talk->out_at = 0;
    talk->out_end = pc_ask_print(&play->source, ask, talk->out);
}

size_t pc_talk_pull(struct pc_talk *talk, void *out, size_t room)
{
    size_t count = 0;
    while (count < room && pc_talk_may_pull(talk)) {
        if (talk->out_at == talk->out_end) {
            ask_next(talk);
        }
        const size_t piece = pc_min_size(room - count, talk->out_end - talk->out_at);
        memcpy((char *)out + count, talk->out + talk->out_at, piece);
        talk->out_at += piece;
        count += piece;
    }
    return count;
}

/* ---- What was told, into the history ---- */

/* One call of one key. `told` may be NULL: nothing but the answer is known. */
static void record(struct pc_talk *talk, const struct asked *asked, unsigned key, uint64_t answered,
                   enum pc_linear_answer answer, const struct told *told)
{
    const struct pc_ask *ask = &asked->ask;
    struct pc_play *play = talk->play;
    struct pc_linear_call call = {
        .client = talk->client,
        .what = ask->what,
        .asked = asked->asked,
        .answered = answered,
        .asked_second = asked->asked_second,
        .flags = ask->flags,
        .life = ask->life,
        .recache = ask->recache,
        .unique = ask->unique,
        .delta = ask->delta,
        .initial = ask->initial,
        .compares = ask->compares,
        .claims = ask->claims,
        .vivifies = ask->vivifies,
        .answer = answer,
    };
    char *value = NULL;
    if (ask->what >= PC_LINEAR_SET && ask->what <= PC_LINEAR_CAS) {
        value = pc_must(malloc(ask->value_bytes + 64));
        call.value = value;
        call.value_bytes = pc_ask_value(ask, value);
    }
    if (told != NULL && told->tells_unique) {
        call.tells_unique = true;
        call.told_unique = told->unique;
        pc_ask_unique_told(&play->source, key, told->unique);
    }
    if (told != NULL && told->tells_life) {
        call.tells_life = true;
        call.told_life = told->seconds < 0 ? PC_LINEAR_FOREVER : (uint32_t)told->seconds;
    }
    if (told != NULL && ask->claims) {
        call.tells_marks = true;
        call.told_marks = told->marks;
    }
    if (told != NULL && ask->wants_value) {
        call.tells_value = true;
        call.told_value = talk->in + told->value_at;
        call.told_value_bytes = told->value_bytes;
        call.told_flags = told->flags;
    }
    if (told != NULL && ask->wants_number) {
        call.tells_number = true;
        call.told_number = strtoull(talk->in + told->value_at, NULL, 10);
    }
    pc_linear_add(play->keys[key], &call);
    free(value);
    play->tally.calls++;
    play->tally.cut += answered == PC_LINEAR_NEVER;
    play->tally.untold += answered != PC_LINEAR_NEVER && answer == PC_LINEAR_UNTOLD;
    play->tally.beside += answered != PC_LINEAR_NEVER ? answered - asked->asked - 1 : 0;
    play->tally.answered += answer != PC_LINEAR_UNTOLD;
}

static struct asked *oldest(struct pc_talk *talk)
{
    return asked_at(talk, 0);
}

static void forget_oldest(struct pc_talk *talk)
{
    talk->aloud_count -= !oldest(talk)->ask.quiet;
    talk->asked_first++;
    talk->asked_count--;
}

/* A later answer came: it is over, and its silence says what it says. */
static void end_quiet(struct pc_talk *talk, uint64_t answered)
{
    const struct asked *asked = oldest(talk);
    enum pc_linear_answer answer = PC_LINEAR_UNTOLD;
    if (asked->ask.meta) {
        answer = asked->ask.what == PC_LINEAR_GET ? PC_LINEAR_ABSENT : PC_LINEAR_DONE;
    }
    for (unsigned i = 0; i < asked->ask.key_count; i++) {
        record(talk, asked, asked->ask.keys[i], answered, answer, NULL);
    }
    forget_oldest(talk);
}

void pc_talk_end(struct pc_talk *talk)
{
    while (talk->asked_count > 0) {
        const struct asked *asked = oldest(talk);
        for (unsigned i = 0; i < asked->ask.key_count; i++) {
            record(talk, asked, asked->ask.keys[i], PC_LINEAR_NEVER, PC_LINEAR_UNTOLD, NULL);
        }
        forget_oldest(talk);
    }
    free(talk->out);
    free(talk->in);
    free(talk);
}

/* ---- Answers ---- */

static bool wrong(struct pc_talk *talk, const char *what, size_t line_at)
{
    struct pc_play *play = talk->play;
    const char *line = talk->in + line_at;
    snprintf(talk->trouble, sizeof(talk->trouble), "%s: '%.*s'", what,
             (int)pc_min_size(strcspn(line, "\r"), 100), line);
    if (play->trouble[0] == '\0') {
        snprintf(play->trouble, sizeof(play->trouble), "client %u: %s", talk->client,
                 talk->trouble);
    }
    return false;
}

/* Where the line at `at` ends, behind its newline; 0: it has not all come. */
static size_t line_end(const struct pc_talk *talk, size_t at)
{
    const char *newline = memchr(talk->in + at, '\n', talk->in_count - at);
    return newline != NULL ? (size_t)(newline - talk->in) + 1 : 0;
}

static bool begins(const struct pc_talk *talk, size_t at, const char *word)
{
    return strncmp(talk->in + at, word, strlen(word)) == 0;
}

/* The value of a meta answer's flag. False: it has none. */
static bool flag_of(const struct pc_talk *talk, size_t at, char flag, long long *out_number)
{
    const char text[] = {' ', flag, '\0'};
    const char *line = talk->in + at;
    const size_t length = strcspn(line, "\r");
    for (const char *found = strstr(line, text); found != NULL && found < line + length;
         found = strstr(found + 1, text)) {
        char *end;
        *out_number = strtoll(found + 2, &end, 10);
        if (end != found + 2 && (*end == ' ' || *end == '\r')) {
            return true;
        }
    }
    return false;
}

/* A meta answer's flag without a value. */
static bool has_flag(const struct pc_talk *talk, size_t at, char flag)
{
    const char text[] = {' ', flag, '\0'};
    const char *line = talk->in + at;
    const size_t length = strcspn(line, "\r");
    for (const char *found = strstr(line, text); found != NULL && found < line + length;
         found = strstr(found + 1, text)) {
        if (found[2] == ' ' || found[2] == '\r') {
            return true;
        }
    }
    return false;
}

/* MORE: not all of it has come. */
enum parse { PARSE_WRONG, PARSE_MORE, PARSE_DONE };

struct answer {
    enum pc_linear_answer answer;
    size_t bytes;
    bool has_told; /* talk->told[0] says more of a call of one key */
};

/* `VALUE key flags bytes [unique]` */
static bool parse_value_line(const struct pc_talk *talk, size_t at, size_t end, bool has_unique,
                             char *name, struct told *out)
{
    char line[200];
    const size_t count = pc_min_size(end - at, sizeof(line) - 1);
    memcpy(line, talk->in + at, count);
    line[count] = '\0';
    *out = (struct told){.found = true, .value_at = end, .tells_unique = has_unique};
    return sscanf(line, "VALUE %80s %u %zu %" SCNu64, name, &out->flags, &out->value_bytes,
                  &out->unique) == (has_unique ? 4 : 3);
}

/* A line like that and the value, for each key that is there; END. */
static enum parse parse_values(struct pc_talk *talk, const struct asked *asked, struct answer *out)
{
    size_t at = 0;
    unsigned next = 0;
    for (unsigned i = 0; i < PC_ASK_KEYS_MAX; i++) {
        talk->told[i] = (struct told){0};
    }
    for (;;) {
        const size_t end = line_end(talk, at);
        if (end == 0) {
            return PARSE_MORE;
        }
        if (begins(talk, at, "END\r\n")) {
            *out = (struct answer){.answer = PC_LINEAR_DONE, .bytes = end};
            return PARSE_DONE;
        }
        struct told told;
        char name[81], key[80] = "";
        const bool value = parse_value_line(talk, at, end, asked->ask.wants_unique, name, &told);
        while (value && next < asked->ask.key_count && strcmp(name, key) != 0) {
            pc_ask_key(&talk->play->source, asked->ask.keys[next++], key);
        }
        if (!value || strcmp(name, key) != 0) {
            (void)wrong(talk, "not the value of a key that was asked", at);
            return PARSE_WRONG;
        }
        at = end + told.value_bytes + 2;
        if (at > talk->in_count) {
            return PARSE_MORE;
        }
        talk->told[next - 1] = told;
    }
}

static const struct {
    const char *line;
    enum pc_linear_answer answer;
} words[] = {
    {"STORED\r\n", PC_LINEAR_DONE},
    {"OK\r\n", PC_LINEAR_DONE},
    {"DELETED\r\n", PC_LINEAR_DONE},
    {"TOUCHED\r\n", PC_LINEAR_DONE},
    {"NOT_STORED\r\n", PC_LINEAR_NOT_STORED},
    {"NOT_FOUND\r\n", PC_LINEAR_ABSENT},
    {"EXISTS\r\n", PC_LINEAR_EXISTS},
    {"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n", PC_LINEAR_NOT_NUMBER},
    {"EN\r\n", PC_LINEAR_ABSENT},
    {"EN ", PC_LINEAR_ABSENT},
    {"NF", PC_LINEAR_ABSENT},
    {"NS", PC_LINEAR_NOT_STORED},
    {"EX", PC_LINEAR_EXISTS},
    {"HD", PC_LINEAR_DONE},
    {"VA ", PC_LINEAR_DONE},
    {"MN\r\n", PC_LINEAR_DONE},
};

/* A meta answer's side facts, and its value. */
static enum parse parse_meta_facts(struct pc_talk *talk, const struct asked *asked,
                                   struct answer *out)
{
    struct told *told = &talk->told[0];
    long long flags = 0, unique = 0, seconds = 0;
    *told = (struct told){.found = true};
    if (begins(talk, 0, "VA ")) {
        told->value_at = out->bytes;
        told->value_bytes = strtoull(talk->in + 3, NULL, 10);
        out->bytes += told->value_bytes + 2;
        if (out->bytes > talk->in_count) {
            return PARSE_MORE;
        }
    } else if (asked->ask.wants_value || asked->ask.wants_number) {
        (void)wrong(talk, "no value", 0);
        return PARSE_WRONG;
    }
    const bool has_flags = flag_of(talk, 0, 'f', &flags);
    told->tells_unique = flag_of(talk, 0, 'c', &unique);
    told->tells_life = flag_of(talk, 0, 't', &seconds);
    told->flags = (uint32_t)flags;
    told->unique = (uint64_t)unique;
    told->seconds = seconds;
    told->marks = (has_flag(talk, 0, 'X') ? PC_LINEAR_STALE_MARK : 0) |
                  (has_flag(talk, 0, 'Z') ? PC_LINEAR_CLAIMED : 0) |
                  (has_flag(talk, 0, 'W') ? PC_LINEAR_WON : 0);
    if (has_flags != asked->ask.wants_value || told->tells_unique != asked->ask.wants_unique ||
        told->tells_life != asked->ask.wants_life) {
        (void)wrong(talk, "not the facts that were asked", 0);
        return PARSE_WRONG;
    }
    out->has_told = true;
    return PARSE_DONE;
}

static enum parse parse_line(struct pc_talk *talk, const struct asked *asked, struct answer *out)
{
    const size_t end = line_end(talk, 0);
    if (end == 0) {
        return PARSE_MORE;
    }
    *out = (struct answer){.bytes = end};
    if (!asked->ask.meta && asked->ask.wants_number && talk->in[0] >= '0' && talk->in[0] <= '9') {
        talk->told[0] = (struct told){.found = true, .value_at = 0, .value_bytes = end - 2};
        out->answer = PC_LINEAR_DONE;
        out->has_told = true;
        return PARSE_DONE;
    }
    if (talk->play->config.vanishes && begins(talk, 0, "SERVER_ERROR out of memory")) {
        out->answer = PC_LINEAR_UNTOLD;
        return PARSE_DONE;
    }
    for (size_t i = 0; i < PC_COUNT_OF(words); i++) {
        if (begins(talk, 0, words[i].line)) {
            out->answer = words[i].answer;
            const bool facts = asked->ask.meta && !asked->ask.ends && out->answer == PC_LINEAR_DONE;
            return facts ? parse_meta_facts(talk, asked, out) : PARSE_DONE;
        }
    }
    (void)wrong(talk, "not an answer to this", 0);
    return PARSE_WRONG;
}

/* Which of those that were asked the line is for, oldest first: it says so by its opaque, or it is
 * the first aloud. Answers of a miss and of a broken number carry none. False: none of them. */
static bool find_asked(struct pc_talk *talk, unsigned *out_index)
{
    const bool bare = begins(talk, 0, "EN") || begins(talk, 0, "CLIENT_ERROR");
    long long opaque = 0;
    const bool has_opaque = !begins(talk, 0, "VALUE ") && flag_of(talk, 0, 'O', &opaque);
    for (unsigned i = 0; i < talk->asked_count; i++) {
        const struct pc_ask *ask = &asked_at(talk, i)->ask;
        const bool fits = ask->opaque == (uint64_t)opaque;
        if (!ask->quiet || (has_opaque && fits)) {
            *out_index = i;
            return fits || (bare && !has_opaque) || wrong(talk, "not the opaque it was given", 0);
        }
    }
    return wrong(talk, "an answer nobody asked for", 0);
}

static void answer_take(struct pc_talk *talk, const struct answer *answer, uint64_t answered)
{
    struct asked *asked = oldest(talk);
    if (answer->answer == PC_LINEAR_UNTOLD) {
        /* Memory was short: nothing was changed, unless the item has vanished. */
        asked->ask.what = PC_LINEAR_GET;
        asked->ask.claims = asked->ask.vivifies = asked->ask.compares = false;
    }
    const bool values = !asked->ask.meta && asked->ask.wants_value;
    for (unsigned i = 0; i < asked->ask.key_count; i++) {
        const bool absent = values && !talk->told[i].found;
        const bool has_told = values ? !absent : answer->has_told;
        record(talk, asked, asked->ask.keys[i], answered,
               absent ? PC_LINEAR_ABSENT : answer->answer, has_told ? &talk->told[i] : NULL);
    }
    forget_oldest(talk);
    talk->in_count -= answer->bytes;
    memmove(talk->in, talk->in + answer->bytes, talk->in_count);
    talk->in[talk->in_count] = '\0';
}

bool pc_talk_push(struct pc_talk *talk, const void *bytes, size_t count)
{
    if (talk->in_count + count + 1 > talk->in_room) {
        talk->in_room = 2 * (talk->in_count + count) + 1024;
        talk->in = pc_must(realloc(talk->in, talk->in_room));
    }
    memcpy(talk->in + talk->in_count, bytes, count);
    talk->in_count += count;
    talk->in[talk->in_count] = '\0';
    while (talk->in_count > 0 && line_end(talk, 0) != 0) {
        struct answer answer;
        unsigned quiet_count = 0;
        if (!find_asked(talk, &quiet_count)) {
            return false;
        }
        const struct asked *asked = asked_at(talk, quiet_count);
        const bool values = !asked->ask.meta && asked->ask.wants_value;
        const enum parse parse =
            values ? parse_values(talk, asked, &answer) : parse_line(talk, asked, &answer);
        if (parse != PARSE_DONE) {
            return parse == PARSE_MORE;
        }
        const uint64_t answered = ++talk->play->clock;
        while (quiet_count-- > 0) {
            end_quiet(talk, answered);
        }
        answer_take(talk, &answer, answered);
    }
    return true;
}
