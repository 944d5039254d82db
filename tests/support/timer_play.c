/* SPDX-License-Identifier: Apache-2.0 */
/* timer_play: PLAYERS timers on the heap, and a twin entry for each. */
#include "timer_play.h"

#include "base/check.h"
#include "base/random.h"
#include "runtime/timer.h"

#include <stdbool.h>
#include <stdlib.h>

#define MS     PC_TICK_NS
#define SECOND (1000 * MS)
#define DAY    (UINT64_C(86400) * SECOND)

#define ALL 1000000u /* a budget nothing here uses up */

enum { PLAYERS = 40, STEPS = 400 };

struct player {
    struct pc_timer timer;
    struct play *play;
    unsigned index;
};

struct play {
    struct pc_random random;
    const uint8_t *bytes, *end; /* the choices, instead of `random`; NULL: none */
    struct pc_wheel wheel;
    struct pc_lane lane;
    struct player *players[PLAYERS];
    /* The twin. */
    bool armed[PLAYERS];
    bool fresh[PLAYERS]; /* armed within the advance that runs */
    uint64_t due_ns[PLAYERS];
    const char *broken; /* the first promise that did not hold */
};

/* A choice in [0, bound). */
static uint64_t draw(struct play *play, uint64_t bound)
{
    if (play->bytes == NULL) {
        return pc_random_below(&play->random, bound);
    }
    uint64_t value = 0;
    for (uint64_t left = bound - 1; left != 0 && play->bytes < play->end; left >>= 8) {
        value = value << 8 | *play->bytes++;
    }
    return value % bound;
}

static void expect(struct play *play, bool holds, const char *promise)
{
    if (!holds && play->broken == NULL) {
        play->broken = promise;
    }
}

static uint64_t draw_delay(struct play *play)
{
    const uint64_t scales[] = {1, MS, 3 * MS, 70 * MS, 5 * SECOND, 300 * SECOND, DAY, 40 * DAY};
    uint64_t scale = scales[draw(play, PC_COUNT_OF(scales))];
    uint64_t delay_ns = draw(play, scale + 1);
    return draw(play, 4) == 0 ? delay_ns / MS * MS : delay_ns;
}

static void play_arm(struct play *play, unsigned index)
{
    uint64_t due_ns = play->lane.now_ns + draw_delay(play);
    if (draw(play, 8) == 0) {
        due_ns = play->lane.now_ns - draw(play, 2 * MS);
    }
    pc_wheel_arm(&play->wheel, &play->players[index]->timer, due_ns);
    play->armed[index] = play->fresh[index] = true;
    play->due_ns[index] = due_ns;
}

static void play_disarm(struct play *play, unsigned index)
{
    pc_timer_disarm(&play->players[index]->timer);
    play->armed[index] = false;
}

static void play_renew(struct play *play, unsigned index);

static void play_fire(struct pc_timer *timer, struct pc_lane *lane)
{
    struct player *player = PC_CONTAINER_OF(timer, struct player, timer);
    struct play *play = player->play;
    unsigned index = player->index;
    expect(play, lane == &play->lane, "the lane is the one that advances");
    expect(play, play->armed[index], "only an armed timer fires, and once");
    expect(play, play->due_ns[index] <= lane->now_ns, "no timer is early");
    expect(play, timer->due_ns == play->due_ns[index], "a timer keeps its due time");
    expect(play, !pc_timer_armed(timer), "a timer is disarmed before it fires");
    play->armed[index] = false;
    lane->fired_count++;
    unsigned other = (unsigned)draw(play, PLAYERS);
    switch (draw(play, 6)) {
    case 0:
        play_arm(play, index);
        break;
    case 1:
        play_arm(play, other);
        break;
    case 2:
        play_disarm(play, other);
        break;
    case 3:
        play_renew(play, index);
        break;
    default:
        break;
    }
}

/* Free the timer and put a new one in its place: whoever still points at the old one is caught. */
static void play_renew(struct play *play, unsigned index)
{
    if (play->players[index] != NULL) {
        play_disarm(play, index);
        free(play->players[index]);
    }
    play->players[index] = calloc(1, sizeof(struct player));
    if (play->players[index] == NULL) {
        abort();
    }
    *play->players[index] = (struct player){.timer.fire = play_fire, .play = play, .index = index};
}

static void play_check_next(struct play *play)
{
    uint64_t next_ns = pc_wheel_next_ns(&play->wheel);
    uint64_t first_ns = UINT64_MAX;
    for (unsigned i = 0; i < PLAYERS; i++) {
        expect(play, pc_timer_armed(&play->players[i]->timer) == play->armed[i],
               "armed means armed");
        if (play->armed[i] && play->due_ns[i] < first_ns) {
            first_ns = play->due_ns[i];
        }
    }
    if (first_ns == UINT64_MAX) {
        expect(play, next_ns == UINT64_MAX, "nothing armed, nothing next");
    } else {
        bool due = first_ns <= play->lane.now_ns / MS * MS;
        expect(play, next_ns < first_ns + MS || (due && next_ns <= play->lane.now_ns),
               "next is a lower bound, by ticks");
    }
}

static void play_advance(struct play *play)
{
    bool whole = draw(play, 3) != 0;
    unsigned budget = whole ? ALL : 1 + (unsigned)draw(play, 5);
    if (draw(play, 4) == 0) {
        uint64_t next_ns = pc_wheel_next_ns(&play->wheel);
        if (next_ns != UINT64_MAX && next_ns > play->lane.now_ns) {
            play->lane.now_ns = next_ns;
        }
    } else {
        play->lane.now_ns += draw_delay(play);
    }
    for (unsigned i = 0; i < PLAYERS; i++) {
        play->fresh[i] = false;
    }
    unsigned before = play->lane.fired_count;
    unsigned fired = pc_wheel_advance(&play->wheel, play->lane.now_ns, &play->lane, budget);
    expect(play, fired <= budget, "the budget bounds an advance");
    expect(play, play->lane.fired_count - before == fired, "what fired was counted");
    if (!whole) {
        return;
    }
    uint64_t tick_ns = play->lane.now_ns / MS * MS;
    for (unsigned i = 0; i < PLAYERS; i++) {
        expect(play, !play->armed[i] || play->fresh[i] || play->due_ns[i] > tick_ns,
               "what was due has fired");
    }
}

static void play_step(struct play *play)
{
    unsigned index = (unsigned)draw(play, PLAYERS);
    switch (draw(play, 8)) {
    case 0:
        play_disarm(play, index);
        break;
    case 1:
        play_renew(play, index);
        break;
    case 2:
    case 3:
    case 4:
        play_arm(play, index);
        break;
    default:
        play_advance(play);
        break;
    }
    play_check_next(play);
}

/* Play to the end of the choices, or of `play->broken`'s first. */
static const char *play_all(struct play *play)
{
    play->lane.now_ns = draw_delay(play) + 10 * MS;
    pc_wheel_init(&play->wheel, play->lane.now_ns);
    for (unsigned i = 0; i < PLAYERS; i++) {
        play_renew(play, i);
    }
    for (unsigned step = 0; step < STEPS && play->broken == NULL; step++) {
        if (play->bytes != NULL && play->bytes == play->end) {
            break;
        }
        play_step(play);
    }
    const char *broken = play->broken;
    for (unsigned i = 0; i < PLAYERS; i++) {
        pc_timer_disarm(&play->players[i]->timer);
        free(play->players[i]);
    }
    free(play);
    return broken;
}

static struct play *play_create(void)
{
    struct play *play = calloc(1, sizeof(*play));
    if (play == NULL) {
        abort();
    }
    return play;
}

const char *timer_play_seed(uint64_t seed)
{
    struct play *play = play_create();
    pc_random_init(&play->random, seed);
    return play_all(play);
}

const char *timer_play_bytes(const uint8_t *bytes, size_t count)
{
    struct play *play = play_create();
    static const uint8_t none;
    play->bytes = bytes != NULL ? bytes : &none;
    play->end = play->bytes + count;
    return play_all(play);
}
