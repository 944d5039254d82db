/* SPDX-License-Identifier: Apache-2.0 */
/* timer: the wheel turns from one occupied slot to the next, never tick by tick. */
#include "runtime/timer.h"

#include "base/check.h"
#include "base/hooks.h"

#include <string.h>

/* One level more than there are slots for: the list `far`. */
enum { LEVEL_FAR = PC_WHEEL_LEVELS };

/* Where the wheel has work next: a slot, and the first tick that it stands for. */
struct stop {
    uint64_t tick;
    unsigned level, slot;
};

static void list_push(struct pc_timer **head, struct pc_timer *timer)
{
    timer->next = *head;
    timer->link = head;
    if (timer->next != NULL) {
        timer->next->link = &timer->next;
    }
    *head = timer;
}

static void list_remove(struct pc_timer *timer)
{
    *timer->link = timer->next;
    if (timer->next != NULL) {
        timer->next->link = timer->link;
    }
    timer->next = NULL;
    timer->link = NULL;
}

/* All of `from` becomes `to`, which is empty. */
static void list_move(struct pc_timer **to, struct pc_timer **from)
{
    PC_ASSERT(*to == NULL);
    *to = *from;
    if (*to != NULL) {
        (*to)->link = to;
    }
    *from = NULL;
}

/* The first tick that begins at or after `due_ns`. */
static uint64_t tick_of(uint64_t due_ns)
{
    if (PC_PLANTED(PC_BUG_EARLY_TIMER)) {
        return due_ns / PC_TICK_NS;
    }
    return due_ns / PC_TICK_NS + (due_ns % PC_TICK_NS != 0);
}

/* Ticks before and at the present one go to `now`, the others to their slot. */
static void place(struct pc_wheel *wheel, struct pc_timer *timer, struct pc_timer **now)
{
    uint64_t tick = tick_of(timer->due_ns);
    if (tick <= wheel->tick) {
        list_push(now, timer);
        return;
    }
    unsigned highest_bit = 63 - (unsigned)__builtin_clzll(tick ^ wheel->tick);
    unsigned level = highest_bit / PC_WHEEL_BITS;
    if (level >= LEVEL_FAR) {
        list_push(&wheel->far, timer);
        return;
    }
    unsigned slot = (unsigned)(tick >> (level * PC_WHEEL_BITS)) % PC_WHEEL_SLOTS;
    wheel->occupied[level] |= UINT64_C(1) << slot;
    list_push(&wheel->slots[level][slot], timer);
}

/* The first occupied slot after the present tick. Lower levels come first: a level holds only what
 * lies beyond the end of the level below. Bits whose timers have all been disarmed are cleared. */
static bool next_stop(struct pc_wheel *wheel, struct stop *out)
{
    for (unsigned level = 0; level < PC_WHEEL_LEVELS; level++) {
        unsigned shift = level * PC_WHEEL_BITS;
        while (wheel->occupied[level] != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
            if (wheel->slots[level][slot] == NULL) {
                wheel->occupied[level] &= wheel->occupied[level] - 1;
                continue;
            }
            uint64_t level_start = wheel->tick >> shift >> PC_WHEEL_BITS << PC_WHEEL_BITS << shift;
            *out = (struct stop){level_start + ((uint64_t)slot << shift), level, slot};
            return true;
        }
    }
    if (wheel->far != NULL) {
        unsigned shift = PC_WHEEL_LEVELS * PC_WHEEL_BITS;
        *out = (struct stop){((wheel->tick >> shift) + 1) << shift, LEVEL_FAR, 0};
        return true;
    }
    return false;
}

/* Go to a stop: its timers are due at once, or have to be told apart at finer levels. */
static void reach(struct pc_wheel *wheel, const struct stop *stop)
{
    PC_ASSERT(stop->tick > wheel->tick);
    wheel->tick = stop->tick;
    if (stop->level == LEVEL_FAR) {
        list_move(&wheel->moving, &wheel->far);
        return;
    }
    wheel->occupied[stop->level] &= ~(UINT64_C(1) << stop->slot);
    struct pc_timer **slot = &wheel->slots[stop->level][stop->slot];
    list_move(stop->level == 0 ? &wheel->firing : &wheel->moving, slot);
}

/* Settle what the present tick has brought up, as far as the budget goes; returns how many timers
 * fired. */
static unsigned settle(struct pc_wheel *wheel, struct pc_lane *lane, unsigned *budget)
{
    for (; wheel->moving != NULL && *budget > 0; --*budget) {
        struct pc_timer *timer = wheel->moving;
        list_remove(timer);
        place(wheel, timer, &wheel->firing);
    }
    unsigned fired = 0;
    /* `firing` is read anew each time: a function may disarm any timer in it. */
    for (; wheel->firing != NULL && *budget > 0; --*budget) {
        struct pc_timer *timer = wheel->firing;
        list_remove(timer);
        timer->fire(timer, lane);
        fired++;
    }
    return fired;
}

/* Whether the tick that was reached is not over, or something was armed for the past. */
static bool has_leftover(const struct pc_wheel *wheel)
{
    return wheel->firing != NULL || wheel->moving != NULL || wheel->late != NULL;
}

void pc_wheel_init(struct pc_wheel *wheel, uint64_t now_ns)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now_ns / PC_TICK_NS;
}

void pc_wheel_arm(struct pc_wheel *wheel, struct pc_timer *timer, uint64_t due_ns)
{
    pc_timer_disarm(timer);
    timer->due_ns = due_ns;
    wheel->quiet = false;
    place(wheel, timer, &wheel->late);
}

void pc_timer_disarm(struct pc_timer *timer)
{
    if (pc_timer_armed(timer)) {
        list_remove(timer);
    }
}

static void list_clear(struct pc_timer **head)
{
    while (*head != NULL) {
        list_remove(*head);
    }
}

void pc_wheel_fini(struct pc_wheel *wheel)
{
    for (unsigned level = 0; level < PC_WHEEL_LEVELS; level++) {
        for (unsigned slot = 0; slot < PC_WHEEL_SLOTS; slot++) {
            list_clear(&wheel->slots[level][slot]);
        }
    }
    list_clear(&wheel->far);
    list_clear(&wheel->firing);
    list_clear(&wheel->moving);
    list_clear(&wheel->late);
}

unsigned pc_wheel_advance(struct pc_wheel *wheel, uint64_t now_ns, struct pc_lane *lane,
                          unsigned budget)
{
    uint64_t now_tick = now_ns / PC_TICK_NS;
    if (wheel->tick >= now_tick && !has_leftover(wheel)) {
        return 0;
    }
    unsigned fired = settle(wheel, lane, &budget);
    if (wheel->firing == NULL && wheel->moving == NULL) {
        /* Once an advance: a timer that arms itself for the past must not keep us here. */
        list_move(&wheel->firing, &wheel->late);
    }
    for (;;) {
        fired += settle(wheel, lane, &budget);
        if (wheel->firing != NULL || wheel->moving != NULL) {
            return fired; /* the budget is spent, and this tick not over */
        }
        struct stop stop;
        if (!next_stop(wheel, &stop) || stop.tick > now_tick) {
            break;
        }
        reach(wheel, &stop);
    }
    if (wheel->tick < now_tick) {
        wheel->tick = now_tick;
    }
    return fired;
}

uint64_t pc_wheel_next_ns(struct pc_wheel *wheel)
{
    if (has_leftover(wheel)) {
        return wheel->tick * PC_TICK_NS;
    }
    struct stop stop;
    if (!next_stop(wheel, &stop) || stop.tick > UINT64_MAX / PC_TICK_NS) {
        return UINT64_MAX;
    }
    return stop.tick * PC_TICK_NS;
}
