/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: what every serving sub-command does around a runtime: start lines, run, exit code.
 */
#ifndef PC_PROGRAMS_SERVE_H
#define PC_PROGRAMS_SERVE_H

#include <percore/service.h>

struct pc_serving {
    const char *program;     /* "percore echo" */
    const char *memory;      /* for the start lines; NULL: no line */
    const char *const *talk; /* how to talk to it: lines, NULL-terminated; may be NULL */
    bool quiet;              /* no start lines */
};

/* Print who, where and how; Core: boot. */
void pc_serve_announce(const struct pc_serving *serving, const struct pc_runtime *runtime);

/* Announce, run, destroy. Returns the exit code: 0, or 1 if it could not run, or 3 if the end of
 * the drain cut connections. */
int pc_serve_run(const struct pc_serving *serving, struct pc_runtime *runtime);

/* Lines for SIGUSR2; goes into config.emit. */
void pc_serve_emit(void *ctx, const char *line);

#endif
