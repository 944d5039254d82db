/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report: a result in the forms that people and programs read.
 *
 * Owner    The program's main thread.
 * Errors   Writers return 0 or a negative errno; the caller says which file it was.
 */
#ifndef PC_PROGRAMS_LOAD_REPORT_H
#define PC_PROGRAMS_LOAD_REPORT_H

#include <stdio.h>

struct json_t;
struct pc_load_plan;
struct pc_load_result;

/* The final table: report_table.c. */
void pc_load_report_table(FILE *stream, const struct pc_load_plan *plan,
                          const struct pc_load_result *result);

/* Rates against percentiles; `target_us` 0: none. */
void pc_load_report_sweep(FILE *stream, const struct pc_load_plan *plan,
                          const struct pc_load_result *results, unsigned count);

/* The largest load whose p99 stays below `target_us`, between the rates of a grid that were run: by
 * the percentiles made monotone (isotonic regression), then linearly. 0: none of them. */
double pc_load_report_at_target(const struct pc_load_result *results, unsigned count,
                                double target_us);

/* Everything, with keys that stay: docs/man/percore-load.1.scd lists them. The caller frees it. */
struct json_t *pc_load_report_json(const struct pc_load_plan *plan,
                                   const struct pc_load_result *result);
struct json_t *pc_load_report_sweep_json(const struct pc_load_plan *plan,
                                         const struct pc_load_result *results, unsigned count);
int pc_load_report_json_write(const char *path, struct json_t *value);

/* A row each second. */
int pc_load_report_csv(const char *path, const struct pc_load_result *result);

/* One page, complete in itself, that draws `value`. */
int pc_load_report_page(const char *path, struct json_t *value);

#endif
