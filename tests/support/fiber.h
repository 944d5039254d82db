/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber: threads that a seed schedules; they switch only at PC_POINT, so every run can be repeated.
 *
 * A test spawns a fiber for every thread of the protocol it looks at and runs them. At each
 * PC_POINT and at each wait the scheduler may go on with another fiber; which one, the seed
 * decides. A fiber that waits names a condition; if all wait and no condition holds, `stuck` may
 * change the world (advance a fake clock), and if it cannot, the run ends as a deadlock with a
 * report.
 *
 * Owner    The thread that called create; one set of fibers runs at a time in a process, because
 *          PC_POINT has no other argument than its name.
 * Memory   spawn takes a stack, destroy gives all back. A run that ends early unwinds the fibers
 * that are left; what only their locals point to is lost, so keep what must be freed outside.
 * Errors   A broken promise inside a fiber is told by pc_fibers_stop; cmocka's assertions jump to
 * the test's own stack and are for outside. Limits   fiber_count_max fibers, stack_bytes each with
 * a guard page below, step_count_max points. Cost     A point without a switch is a few compares; a
 * switch is two swapcontext. Source   Random walk, and priorities with a few random change points:
 * Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs" (ASPLOS
 * 2010).
 */
#ifndef PC_TESTS_FIBER_H
#define PC_TESTS_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct pc_fibers;

typedef void pc_fiber_fn(void *ctx);
typedef bool pc_fiber_condition_fn(void *ctx);

enum pc_fiber_strategy {
    PC_FIBER_SEEDED = 0,   /* the seed chooses one of the others: what most tests want */
    PC_FIBER_RANDOM = 1,   /* at a point, sometimes, any fiber */
    PC_FIBER_PRIORITY = 2, /* the highest priority; at a few points the running fiber drops last */
};

enum pc_fibers_end {
    PC_FIBERS_DONE,    /* all fibers returned */
    PC_FIBERS_STUCK,   /* all that are left wait for conditions that do not hold */
    PC_FIBERS_STOPPED, /* a fiber called pc_fibers_stop */
    PC_FIBERS_ENDLESS, /* step_count_max points were passed */
};

struct pc_fibers_config {
    uint64_t seed;
    enum pc_fiber_strategy strategy;
    unsigned fiber_count_max; /* 0: 16 */
    size_t stack_bytes;       /* 0: 256 KiB, enough for a core's turn under AddressSanitizer */
    uint64_t step_count_max;  /* 0: one million */
    bool (*stuck)(void *ctx); /* true: something changed, look again; NULL: never */
    void *ctx;                /* for stuck */
    bool unordered;           /* under ThreadSanitizer a switch orders nothing: races between
                                 fibers are reported as between threads */
};

/* NULL when memory is short. */
struct pc_fibers *pc_fibers_create(const struct pc_fibers_config *config);
void pc_fibers_destroy(struct pc_fibers *fibers);

/* Add a fiber, before the run or from a running fiber; `name` is kept. Returns its index. */
unsigned pc_fiber_spawn(struct pc_fibers *fibers, const char *name, pc_fiber_fn *run, void *ctx);

/* Run until one of the ends. Once per create. */
enum pc_fibers_end pc_fibers_run(struct pc_fibers *fibers);

/* From a fiber: let others run until the condition holds; it is asked by the scheduler at any time
 * and must change nothing. Returns at once, after a possible switch, if it holds already. */
void pc_fiber_block_until(struct pc_fibers *fibers, pc_fiber_condition_fn *condition, void *ctx);

/* From a fiber: a point without PC_POINT, for test code of its own. */
void pc_fiber_point(struct pc_fibers *fibers, const char *name);

/* From a fiber: end the run, for example because an invariant is broken. Does not return. */
void pc_fibers_stop(struct pc_fibers *fibers, const char *reason) __attribute__((noreturn));

/* The reason given to stop, or a word for the other ends. */
const char *pc_fibers_reason(const struct pc_fibers *fibers);

/* The index of the running fiber; from outside a fiber, fiber_count_max. */
unsigned pc_fiber_index(const struct pc_fibers *fibers);

/* Points passed so far, and a number that two runs share only if they switched alike. */
uint64_t pc_fibers_steps(const struct pc_fibers *fibers);
uint64_t pc_fibers_fingerprint(const struct pc_fibers *fibers);

/* Seed, end, where every fiber stands, and the last switches: what a failing test prints. */
void pc_fibers_report(const struct pc_fibers *fibers, FILE *out);

#endif
