/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer: a core's wheel of timers. `struct pc_timer` itself is in <percore/service.h>.
 *
 * Owner    One core; a timer belongs to the wheel it was last armed on until it fired.
 * Memory   The caller's. Timers are embedded in what they time; the wheel must not move in memory.
 * Limits   Any number of timers, any due time.
 * Order    By tick; nothing is promised within one tick.
 * Units    Absolute nanoseconds of the caller's clock, which never goes back. A timer fires at the
 *          first advance in or after the first tick (PC_TICK_NS) that begins at or after its due
 *          time: never early, and no more than a tick late by the wheel's doing.
 * Cost     Arm and disarm: a few stores. Advance: constant when nothing is due, however long the
 *          gap; else by what it fires, and each timer changes level at most PC_WHEEL_LEVELS times.
 * Source   Varghese and Lauck, hierarchical timing wheels (SOSP 1987); a timer's level is the
 *          highest digit in which its tick differs from now, so that no slot wraps around.
 */
#ifndef PC_RUNTIME_TIMER_H
#define PC_RUNTIME_TIMER_H

#include <percore/service.h>

#include <stdbool.h>
#include <stdint.h>

/* 1 ms: an idle limit or a retry needs no finer step; benchmarks pace themselves by the clock. */
#define PC_TICK_NS UINT64_C(1000000)

enum {
    PC_WHEEL_BITS = 6, /* one word of occupancy bits a level */
    PC_WHEEL_SLOTS = 1 << PC_WHEEL_BITS,
    PC_WHEEL_LEVELS = 5, /* 64^5 ticks: 12 days; later ones wait in `far` */
};

/* `tick` is how far the wheel has come: every timer in a slot is due later. A set bit says that its
 * slot may hold timers, a clear one that it holds none. The heads below the slots are lists for
 * which the time has come: to be fired now, to be put a level lower, to be fired next time.
 * `quiet` is set by a look that found nothing, until a timer is armed. */
struct pc_wheel {
    uint64_t tick;
    bool quiet;
    struct pc_timer *firing, *moving, *late;
    uint64_t occupied[PC_WHEEL_LEVELS];
    struct pc_timer *far;
    struct pc_timer *slots[PC_WHEEL_LEVELS][PC_WHEEL_SLOTS];
};

void pc_wheel_init(struct pc_wheel *wheel, uint64_t now_ns);

/* Disarm all; a timer that outlives the wheel may be disarmed later.  Core: owner. */
void pc_wheel_fini(struct pc_wheel *wheel);

/* Fire `timer` at `due_ns`; if it was armed, only then. A due time in the past is due at the next
 * advance; one that fires and arms itself so again runs at most twice in one advance.
 * Core: owner. */
void pc_wheel_arm(struct pc_wheel *wheel, struct pc_timer *timer, uint64_t due_ns);

/* Fire what is due at `now_ns`; returns how many fired. To move one a level down costs as much of
 * the budget as to fire it.
 * A timer is disarmed before it fires: its function may arm or disarm any timer, and may free the
 * one that fired. What the budget leaves over is due at the next advance.  Core: owner. */
unsigned pc_wheel_advance(struct pc_wheel *wheel, uint64_t now_ns, struct pc_lane *lane,
                          unsigned budget);

/* No timer needs an advance before this; UINT64_MAX when none is armed. May be earlier than the
 * first due time, at most PC_WHEEL_LEVELS times for any one timer.  Core: owner. */
uint64_t pc_wheel_next_ns(struct pc_wheel *wheel);

/* No timer is armed, for certain; false says nothing.  Core: owner. */
static inline bool pc_wheel_empty(struct pc_wheel *wheel)
{
    if (wheel->quiet) {
        return true;
    }
    uint64_t occupied = 0;
    for (unsigned i = 0; i < PC_WHEEL_LEVELS; i++) {
        occupied |= wheel->occupied[i];
    }
    wheel->quiet = occupied == 0 && wheel->far == NULL && wheel->late == NULL &&
                   wheel->firing == NULL && wheel->moving == NULL;
    return wheel->quiet;
}

/* Core: owner. */
static inline bool pc_timer_armed(const struct pc_timer *timer)
{
    return timer->link != NULL;
}

#endif
