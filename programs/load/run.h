/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: the threads of a generator, from the fill to the last answer, and a look at them each
 * second.
 *
 * Owner    The program's main thread; it blocks.
 * Order    Stop (SIGINT, SIGTERM) ends the planning; what is on its way is still awaited.
 */
#ifndef PC_PROGRAMS_LOAD_RUN_H
#define PC_PROGRAMS_LOAD_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct pc_load_plan;
struct pc_load_result;
struct pc_load_second;
struct pc_histogram;

/* Who wants to see a run while it goes on; members may be NULL. */
struct pc_load_watch {
    void *ctx;
    /* The measured time begins; `realtime_s` is the calendar's. */
    void (*begin)(void *ctx, double realtime_s);
    /* A second has passed; `response` holds its records. */
    void (*second)(void *ctx, const struct pc_load_second *second,
                   const struct pc_histogram *response);
    /* What is being done, for a line that lives on a terminal. */
    void (*phase)(void *ctx, const char *what);
};

/* Write the keys that the plan says to write. Returns 0, or an exit code after a message. */
int pc_load_fill(const struct pc_load_plan *plan);

/* Run at `rate`; the result is filled whatever happens. Negative errno: it could not begin. */
int pc_load_run(const struct pc_load_plan *plan, double rate, const struct pc_load_watch *watch,
                struct pc_load_result *result);

#endif
