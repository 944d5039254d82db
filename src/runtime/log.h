/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line of logfmt per event, few of each kind.
 *
 *   ts=2026-11-21T21:30:08.123Z level=warn event=stall core=1 turn_ms=31 suppressed=4
 *
 * Owner    The program creates it; every runtime and thread may write to it. A NULL log is silent.
 * Memory   The heap, at boot. A line is made on the writer's stack, nothing is allocated later.
 * Limits   PC_LOG_LINE_BYTES a line: what does not fit is left out, and cut=true says so.
 *          PC_LOG_EVENTS kinds of event are limited apart, any more share the last bucket.
 * Order    A line is one write: lines of different threads do not mix.
 * Cost     Filtered or suppressed: a look at a bucket. Written: one system call; never a lock.
 * Errors   A line the descriptor does not take is lost, and counted as suppressed.
 */
#ifndef PC_RUNTIME_LOG_H
#define PC_RUNTIME_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_kernel;
struct pc_log;

#define PC_LOG_LINE_BYTES 1024
#define PC_LOG_EVENTS     64

enum pc_log_level {
    PC_LOG_DEBUG = -1, /* so that zero, the default, is INFO */
    PC_LOG_INFO = 0,
    PC_LOG_WARN = 1,
    PC_LOG_ERROR = 2,
    PC_LOG_SILENT = 3, /* nothing has this level: for pc_log_config only */
};

/* Zero means: the default. Of each kind `burst` lines come at once, then one each `interval_ns`. */
struct pc_log_config {
    const struct pc_kernel *kernel; /* NULL: Linux */
    int fd;                         /* 0: standard error; kept open by the caller */
    enum pc_log_level level;        /* INFO; the least that is written */
    unsigned burst;                 /* 10 */
    uint64_t interval_ns;           /* 1 s */
};

/* NULL: no memory.  Core: boot. */
struct pc_log *pc_log_create(const struct pc_log_config *config);
void pc_log_destroy(struct pc_log *log);

enum pc_field_kind { PC_FIELD_TEXT, PC_FIELD_NUMBER, PC_FIELD_SIGNED };

/* What an event says beside its name. Bytes may come from a peer: they are quoted as needed. */
struct pc_field {
    const char *key; /* a plain word */
    enum pc_field_kind kind;
    const char *text;
    size_t text_bytes;
    uint64_t number;
};

/* NULL reads as an empty text. */
struct pc_field pc_field_text(const char *key, const char *text);
struct pc_field pc_field_bytes(const char *key, const void *at, size_t bytes);
struct pc_field pc_field_number(const char *key, uint64_t number);
struct pc_field pc_field_signed(const char *key, int64_t number);
/* The words for an errno, negative or not. */
struct pc_field pc_field_error(const char *key, int error);

/* Whether a line of that level would be written.  Core: any. */
bool pc_log_wants(const struct pc_log *log, enum pc_log_level level);

/* Write one line, unless there were too many of `event`, which is a literal.
 * Core: any; the buckets are atomic words. */
void pc_log_write(struct pc_log *log, enum pc_log_level level, const char *event,
                  const struct pc_field *fields, unsigned field_count);

/* Write one line however many there were: for what a person asked for.  Core: any. */
void pc_log_write_always(struct pc_log *log, enum pc_log_level level, const char *event,
                         const struct pc_field *fields, unsigned field_count);

/* pc_log_write with at least one field: PC_LOG(log, PC_LOG_WARN, "stall", pc_field_number(...)). */
#define PC_LOG(log, level, event, ...)                                                             \
    pc_log_write((log), (level), (event), (const struct pc_field[]){__VA_ARGS__},                  \
                 sizeof((const struct pc_field[]){__VA_ARGS__}) / sizeof(struct pc_field))

#endif
