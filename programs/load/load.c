/* SPDX-License-Identifier: Apache-2.0 */
/* load: the sub-command: plan, fill, run, show. */
#include "base/check.h"
#include "measure/hdr_log.h"
#include "percore_version.h"
#include "programs/commands.h"
#include "programs/load/report.h"
#include "programs/load/result.h"
#include "programs/load/run.h"
#include "programs/load/settings.h"
#include "programs/load/tune.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What follows a run while it goes on: the live line and the HDR log. */
struct show {
    const struct pc_load_plan *plan;
    bool live;
    FILE *hdr;
    int hdr_error;
    double rate;
};

static void show_phase(void *ctx, const char *what)
{
    const struct show *show = ctx;
    if (show->live) {
        fprintf(stderr, "\r\033[K%s …", what);
    }
}

static void show_begin(void *ctx, double realtime_s)
{
    struct show *show = ctx;
    if (show->hdr != NULL && show->hdr_error == 0) {
        show->hdr_error = pc_hdr_log_begin(show->hdr, "percore load " PC_VERSION, realtime_s);
    }
}

static void show_second(void *ctx, const struct pc_load_second *second,
                        const struct pc_histogram *response)
{
    struct show *show = ctx;
    if (show->hdr != NULL && show->hdr_error == 0) {
        show->hdr_error =
            pc_hdr_log_interval(show->hdr, NULL, second->at_s, second->length_s, response);
    }
    /* What is left after the last full second would read as a standstill. */
    if (show->live && second->length_s > 0.2) {
        char total[32] = "";
        if (show->plan->request_count == 0) {
            snprintf(total, sizeof(total), " of %.0f",
                     (double)show->plan->driver.duration_ns / 1e9);
        }
        fprintf(stderr, "\r\033[K%.0f%s s  %.0f/s  p50 %.0f us  p99 %.0f us  lag p99 %.0f us%s",
                second->at_s + second->length_s, total,
                second->length_s > 0 ? (double)second->received / second->length_s : 0,
                (double)second->response_ns_p50 / 1e3, (double)second->response_ns_p99 / 1e3,
                (double)second->lag_ns_p99 / 1e3, second->errors > 0 ? "  ERRORS" : "");
    }
}

static void show_clear(const struct show *show)
{
    if (show->live) {
        fputs("\r\033[K", stderr);
    }
}

static int file_trouble(const char *path, int error)
{
    fprintf(stderr, "percore load: %s: %s\n", path, strerror(-error));
    return PC_EXIT_TROUBLE;
}

static int show_open(struct show *show, const struct pc_load_plan *plan)
{
    *show = (struct show){.plan = plan, .live = isatty(STDERR_FILENO) == 1 && !plan->quiet};
    if (plan->hdr != NULL && (show->hdr = fopen(plan->hdr, "we")) == NULL) {
        return file_trouble(plan->hdr, -errno);
    }
    return 0;
}

/* One line per operation at the end of the log, tagged: the whole run. */
static void hdr_finish(struct show *show, const struct pc_load_result *result)
{
    for (unsigned i = 0; i < PC_OPERATION_COUNT && show->hdr_error == 0; i++) {
        const struct pc_histogram *histogram = result->tally->operations[i];
        if (pc_histogram_count(histogram) > 0) {
            show->hdr_error = pc_hdr_log_interval(show->hdr, pc_operation_name(i), 0,
                                                  result->measured_s, histogram);
        }
    }
    if (fclose(show->hdr) != 0 && show->hdr_error == 0) {
        show->hdr_error = -errno;
    }
    show->hdr = NULL;
}

static int files_write(const struct pc_load_plan *plan, json_t *value,
                       const struct pc_load_result *last)
{
    const struct {
        const char *path;
        int error;
    } files[] = {
        {plan->json, plan->json == NULL ? 0 : pc_load_report_json_write(plan->json, value)},
        {plan->csv, plan->csv == NULL ? 0 : pc_load_report_csv(plan->csv, last)},
        {plan->html, plan->html == NULL ? 0 : pc_load_report_page(plan->html, value)},
    };
    for (size_t i = 0; i < PC_COUNT_OF(files); i++) {
        if (files[i].error != 0) {
            return file_trouble(files[i].path, files[i].error);
        }
    }
    return 0;
}

/* Whether standard output is taken by a file. */
static bool table_wanted(const struct pc_load_plan *plan)
{
    const bool taken = (plan->json != NULL && strcmp(plan->json, "-") == 0) ||
                       (plan->csv != NULL && strcmp(plan->csv, "-") == 0);
    return !plan->quiet && !taken;
}

static bool value_wanted(const struct pc_load_plan *plan)
{
    return plan->json != NULL || plan->html != NULL;
}

static void trouble_say(const struct pc_load_plan *plan, const struct pc_load_result *result)
{
    if (result->partial || result->wrong) {
        fprintf(stderr, "percore load: %s: %s\n", plan->url,
                result->trouble[0] != '\0' ? result->trouble : "wrong answers");
    }
}

static int run_at(struct show *show, double rate, struct pc_load_result *result)
{
    const struct pc_load_plan *plan = show->plan;
    const struct pc_load_watch watch = {
        .ctx = show, .begin = show_begin, .second = show_second, .phase = show_phase};
    if (pc_load_result_init(result) != 0) {
        return file_trouble(plan->url, -ENOMEM);
    }
    const int error = pc_load_run(plan, rate, &watch, result);
    show_clear(show);
    if (error != 0) {
        return file_trouble(plan->url, error);
    }
    pc_load_result_judge(result, plan->driver.closed, plan->lag_gate_ns);
    return 0;
}

static int one_run(struct show *show)
{
    const struct pc_load_plan *plan = show->plan;
    struct pc_load_result result;
    int code = run_at(show, plan->driver.arrivals.rate, &result);
    if (code == 0) {
        if (show->hdr != NULL) {
            hdr_finish(show, &result);
        }
        if (table_wanted(plan)) {
            pc_load_report_table(stdout, plan, &result);
        }
        trouble_say(plan, &result);
        json_t *value = value_wanted(plan) ? pc_load_report_json(plan, &result) : NULL;
        code = show->hdr_error != 0 ? file_trouble(plan->hdr, show->hdr_error)
                                    : files_write(plan, value, &result);
        json_decref(value);
        code = code != 0 ? code : pc_load_result_exit(&result);
    }
    pc_load_result_fini(&result);
    return code;
}

static int sweep(struct show *show)
{
    const struct pc_load_plan *plan = show->plan;
    struct pc_load_result results[PC_LOAD_RATES_MAX];
    unsigned count = 0;
    int code = 0, worst = 0;
    while (code == 0 && count < plan->rate_count) {
        struct pc_load_result *result = &results[count];
        code = run_at(show, plan->rates[count++], result);
        if (code == 0) {
            trouble_say(plan, result);
            const int mine = pc_load_result_exit(result);
            worst = worst == 0 || mine == PC_LOAD_EXIT_WRONG ? mine : worst;
            /* A server that is gone or too slow is so at the next rate, too. */
            if (result->partial) {
                break;
            }
        }
    }
    if (code == 0) {
        if (table_wanted(plan)) {
            pc_load_report_sweep(stdout, plan, results, count);
        }
        json_t *value = value_wanted(plan) ? pc_load_report_sweep_json(plan, results, count) : NULL;
        code = files_write(plan, value, &results[count - 1]);
        json_decref(value);
    }
    for (unsigned i = 0; i < count; i++) {
        pc_load_result_fini(&results[i]);
    }
    return code != 0 ? code : worst;
}

static int plan_run(const struct pc_load_plan *plan)
{
    struct show show;
    int code = show_open(&show, plan);
    struct pc_load_tuned tuned = {0};
    if (code == 0 && plan->tune) {
        /* From here on a signal is for a run to notice: it must not end the program between two. */
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL); /* cannot fail with these arguments */
        code = pc_load_tune(&tuned);
    }
    if (code == 0 && plan->fill_count > 0) {
        show_phase(&show, "filling");
        code = pc_load_fill(plan);
        show_clear(&show);
    }
    if (code == 0) {
        code = plan->rate_count > 0 ? sweep(&show) : one_run(&show);
    }
    pc_load_untune(&tuned);
    if (show.hdr != NULL) {
        fclose(show.hdr);
    }
    return code;
}

int pc_command_load(int argc, char **argv)
{
    struct pc_load_settings settings;
    int code = pc_load_settings_read(argc, argv, &settings);
    if (code >= 0) {
        return code;
    }
    struct pc_load_plan *plan = malloc(sizeof(*plan));
    if (plan == NULL) {
        return file_trouble("plan", -ENOMEM);
    }
    code = pc_load_plan_init(plan, &settings);
    if (code == 0) {
        code = plan_run(plan);
    }
    pc_load_plan_fini(plan);
    free(plan);
    return code;
}
