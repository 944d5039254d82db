/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks: the three things only the test build (-Dhooks=true) can do to running code.
 *
 * PC_POINT(name)     names a step of a protocol between threads; the fiber scheduler of the tests
 *                    switches there. Empty in every other build.
 *
 * PC_LOCKING(mutex)  stands before the lock of a mutex that may be held across a point: fibers,
 *                    which are all one thread, wait there until it is free. Empty in other builds.
 *
 * PC_PLANTED(bug)    false, unless a test has planted that bug to see whether it is found.
 *
 * Core     any. In the test build all read variables which a test sets before its runtime starts.
 */
#ifndef PC_BASE_HOOKS_H
#define PC_BASE_HOOKS_H

#include <stdbool.h>

/* One row a bug; each is a mistake that the simulation must find. */
enum pc_bug {
    PC_BUG_NONE,
    PC_BUG_BELL_WITHOUT_RECHECK,
    PC_BUG_LOST_MORE,
    PC_BUG_CREDIT_LEAK,
    PC_BUG_SWAPPED_REPLIES,
    PC_BUG_STALE_HANDLE,
    PC_BUG_RDHUP_IGNORED,
    PC_BUG_EARLY_TIMER,
    PC_BUG_DOUBLE_RELEASE,
    PC_BUG_PEEK_UNCHECKED,
    PC_BUG_CHAIN_NEVER_ODD,
    PC_BUG_BYPASS_UNSETTLED,
    PC_BUG_ENTERED_UNTAKEN,
    PC_BUG_GIVEN_BACK_SILENTLY,
    PC_BUG_LENT_TWICE,
    PC_BUG_PEEK_UNSETTLED,
    PC_BUG_PEEK_TWO_SECONDS,
    PC_BUG_LOST_UPDATE,
    PC_BUG_COUNT,
};

#ifdef PC_HOOKS
extern void (*pc_point_hook)(const char *name);
extern void (*pc_locking_hook)(void *mutex);
extern enum pc_bug pc_planted_bug;
#define PC_POINT(name)                                                                             \
    do {                                                                                           \
        if (pc_point_hook != 0) {                                                                  \
            pc_point_hook(name);                                                                   \
        }                                                                                          \
    } while (0)
#define PC_LOCKING(mutex)                                                                          \
    do {                                                                                           \
        if (pc_locking_hook != 0) {                                                                \
            pc_locking_hook(mutex);                                                                \
        }                                                                                          \
    } while (0)
#define PC_PLANTED(bug) (pc_planted_bug == (bug))
#else
#define PC_POINT(name)    ((void)0)
#define PC_LOCKING(mutex) ((void)0)
#define PC_PLANTED(bug)   false
#endif

#endif
