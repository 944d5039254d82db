/* SPDX-License-Identifier: Apache-2.0 */
/* report_table: what a person reads first. */
#include "programs/load/report.h"

#include "programs/load/result.h"
#include "programs/load/settings.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void time_print(FILE *stream, uint64_t value_ns)
{
    const double us = (double)value_ns / 1e3;
    if (us < 10) {
        fprintf(stream, " %7.2f us", us);
    } else if (us < 10000) {
        fprintf(stream, " %7.1f us", us);
    } else if (us < 10e6) {
        fprintf(stream, " %7.1f ms", us / 1e3);
    } else {
        fprintf(stream, " %7.1f s ", us / 1e6);
    }
}

static void row_print(FILE *stream, const char *name, const struct pc_histogram *histogram)
{
    static const double fractions[] = {0.5, 0.9, 0.99, 0.999, 1};
    const uint64_t count = pc_histogram_count(histogram);
    if (count == 0) {
        return;
    }
    fprintf(stream, "  %-16s", name);
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        time_print(stream, pc_histogram_quantile(histogram, fractions[i]));
    }
    fprintf(stream, " %11" PRIu64 "\n", count);
}

static void times_print(FILE *stream, const struct pc_tally *tally)
{
    static const struct {
        enum pc_timed timed;
        const char *name;
    } rows[] = {
        {PC_TIMED_RESPONSE, "response"},        {PC_TIMED_LAG, "  lag"},
        {PC_TIMED_NETWORK, "  network+server"}, {PC_TIMED_CLIENT, "  client"},
        {PC_TIMED_SEND, "from send"},
    };
    fprintf(stream, "\n  %-16s %10s %10s %10s %10s %10s %11s\n", "", "p50", "p90", "p99", "p99.9",
            "max", "requests");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        row_print(stream, rows[i].name, tally->timed[rows[i].timed]);
    }
}

static unsigned used_count(struct pc_histogram *const *histograms, unsigned count)
{
    unsigned used = 0;
    for (unsigned i = 0; i < count; i++) {
        used += pc_histogram_count(histograms[i]) > 0;
    }
    return used;
}

static void parts_print(FILE *stream, const struct pc_tally *tally)
{
    if (used_count(tally->operations, PC_OPERATION_COUNT) > 1) {
        fprintf(stream, "\n  response by operation\n");
        for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
            row_print(stream, pc_operation_name(i), tally->operations[i]);
        }
    }
    if (used_count(tally->classes, PC_CONNECTION_CLASSES) > 1) {
        fprintf(stream, "\n  response by connection\n");
        row_print(stream, "heavy", tally->classes[0]);
        row_print(stream, "light", tally->classes[1]);
    }
}

static void counters_print(FILE *stream, const struct pc_tally *tally)
{
    static const enum pc_tally_counter rows[] = {
        PC_TALLY_MISSES,     PC_TALLY_REFUSED,    PC_TALLY_ERRORS,  PC_TALLY_MISMATCHES,
        PC_TALLY_SHORT,      PC_TALLY_REORDERS,   PC_TALLY_BLOCKED, PC_TALLY_LATE,
        PC_TALLY_RECONNECTS, PC_TALLY_UNANSWERED,
    };
    fprintf(stream, "\n  scheduled %" PRIu64 ", sent %" PRIu64 ", received %" PRIu64,
            pc_tally_get(tally, PC_TALLY_SCHEDULED), pc_tally_get(tally, PC_TALLY_SENT),
            pc_tally_get(tally, PC_TALLY_RECEIVED));
    if (pc_tally_get(tally, PC_TALLY_HITS) > 0) {
        fprintf(stream, ", hits %" PRIu64, pc_tally_get(tally, PC_TALLY_HITS));
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (pc_tally_get(tally, rows[i]) > 0) {
            fprintf(stream, ", %s %" PRIu64, pc_tally_counter_name(rows[i]),
                    pc_tally_get(tally, rows[i]));
        }
    }
    fprintf(stream, "\n");
}

static void server_print(FILE *stream, const struct pc_load_result *result)
{
    const struct pc_load_process *before = &result->server.before, *after = &result->server.after;
    const double received = (double)pc_tally_get(result->tally, PC_TALLY_RECEIVED);
    if (before->known && after->known && received > 0) {
        fprintf(stream,
                "  server: %.2f us of CPU per request, %" PRIu64 " context switches (%" PRIu64
                " forced)\n",
                (double)(after->cpu_ns - before->cpu_ns) / 1e3 / received,
                after->switches_voluntary - before->switches_voluntary + after->switches_forced -
                    before->switches_forced,
                after->switches_forced - before->switches_forced);
    }
    static const char *const names[] = {"cmd_get", "get_hits", "get_misses", "cmd_set",
                                        "evictions"};
    bool any = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        double growth;
        if (pc_load_stats_growth(&result->server, names[i], &growth)) {
            fprintf(stream, "%s%s +%.0f", any ? ", " : "  server stats: ", names[i], growth);
            any = true;
        }
    }
    fprintf(stream, any ? " (warm-up included)\n" : "");
}

static void generator_print(FILE *stream, const struct pc_load_plan *plan,
                            const struct pc_load_result *result)
{
    const struct pc_tally *tally = result->tally;
    const double share =
        result->measured_s > 0 ? (double)tally->cpu_ns / 1e9 / result->measured_s : 0;
    fprintf(stream, "  generator: %.2f us of CPU per request, %.1f %% of a CPU",
            pc_load_result_cpu_us(result), 100 * share);
    if (result->health.connection_count > 0) {
        fprintf(stream, "; tcp: %s at our end, %" PRIu64 " retransmits, rtt %.0f us",
                result->congestion, result->health.retransmit_count,
                (double)result->health.rtt_us_sum / (double)result->health.connection_count);
    }
    fprintf(stream, "\n  stream: seed %" PRIu64 ", hash %016" PRIx64 " of the first %" PRIu64 "\n",
            plan->driver.traffic.seed, result->hash, result->hashed_count);
    const uint64_t alone = pc_tally_get(tally, PC_TALLY_STAMP_ALONE);
    const uint64_t shared = pc_tally_get(tally, PC_TALLY_STAMP_SHARED);
    if (alone + shared > 0 && shared * 100 > alone + shared) {
        fprintf(stream, "  split: %.1f %% of the answers shared a read and are not in it\n",
                100.0 * (double)shared / (double)(alone + shared));
    }
}

static void judgement_print(FILE *stream, const struct pc_load_plan *plan,
                            const struct pc_load_result *result)
{
    if (result->partial) {
        fprintf(stream, "\n  PARTIAL: %s: %s\n", pc_driver_outcome_help(result->outcome),
                result->trouble);
    }
    if (result->wrong) {
        fprintf(stream, "\n  WRONG: answers were errors or not true; first: %s\n",
                result->trouble[0] != '\0' ? result->trouble : "a value that nobody wrote");
    }
    if (result->invalid) {
        fprintf(stream,
                "\n  INVALID: the generator itself was late (p99 %.1f us, gate %" PRIu64
                " us or a tenth of the p50): give it a CPU, or --tune\n",
                (double)pc_histogram_quantile(result->tally->timed[PC_TIMED_OWN_LAG], 0.99) / 1e3,
                plan->lag_gate_ns / 1000);
    }
}

void pc_load_report_table(FILE *stream, const struct pc_load_plan *plan,
                          const struct pc_load_result *result)
{
    const struct pc_driver_config *driver = &plan->driver;
    fprintf(stream, "%s: ", plan->url);
    if (driver->closed) {
        fprintf(stream, "closed loop, %u on each of", driver->depth);
    } else {
        fprintf(stream, "%s arrivals at %.0f/s on", pc_arrivals_kind_name(driver->arrivals.kind),
                result->rate);
    }
    fprintf(stream, " %u connections, %.1f s: %.0f requests/s\n", driver->traffic.connection_count,
            result->measured_s, pc_load_result_throughput(result));
    times_print(stream, result->tally);
    parts_print(stream, result->tally);
    counters_print(stream, result->tally);
    server_print(stream, result);
    generator_print(stream, plan, result);
    judgement_print(stream, plan, result);
}

double pc_load_report_at_target(const struct pc_load_result *results, unsigned count,
                                double target_us)
{
    /* Pool adjacent violators: a p99 that falls with the rate is noise, and shared out. */
    double level[PC_LOAD_RATES_MAX], weight[PC_LOAD_RATES_MAX], rate[PC_LOAD_RATES_MAX];
    unsigned pools = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct pc_histogram *response = results[i].tally->timed[PC_TIMED_RESPONSE];
        level[pools] = (double)pc_histogram_quantile(response, 0.99) / 1e3;
        rate[pools] = results[i].rate;
        weight[pools++] = 1;
        while (pools > 1 && level[pools - 2] > level[pools - 1]) {
            const double both = weight[pools - 2] + weight[pools - 1];
            level[pools - 2] =
                (level[pools - 2] * weight[pools - 2] + level[pools - 1] * weight[pools - 1]) /
                both;
            rate[pools - 2] = rate[pools - 1]; /* holds up to the end of the pool */
            weight[pools - 2] = both;
            pools--;
        }
    }
    double best = 0;
    for (unsigned i = 0; i < pools; i++) {
        if (level[i] <= target_us) {
            best = rate[i];
        } else {
            if (i > 0) {
                best += (rate[i] - rate[i - 1]) * (target_us - level[i - 1]) /
                        (level[i] - level[i - 1]);
            }
            break;
        }
    }
    return best;
}

void pc_load_report_sweep(FILE *stream, const struct pc_load_plan *plan,
                          const struct pc_load_result *results, unsigned count)
{
    fprintf(stream, "%s: a run of %.1f s at each rate\n\n  %10s %12s %10s %10s %10s %10s\n",
            plan->url, (double)plan->driver.duration_ns / 1e9, "rate", "answered/s", "p50", "p99",
            "p99.9", "lag p99");
    for (unsigned i = 0; i < count; i++) {
        const struct pc_load_result *result = &results[i];
        const struct pc_histogram *response = result->tally->timed[PC_TIMED_RESPONSE];
        fprintf(stream, "  %10.0f %12.0f", result->rate, pc_load_result_throughput(result));
        time_print(stream, pc_histogram_quantile(response, 0.5));
        time_print(stream, pc_histogram_quantile(response, 0.99));
        time_print(stream, pc_histogram_quantile(response, 0.999));
        time_print(stream, pc_histogram_quantile(result->tally->timed[PC_TIMED_OWN_LAG], 0.99));
        fprintf(stream, "%s%s%s\n", result->partial ? "  PARTIAL" : "",
                result->wrong ? "  WRONG" : "", result->invalid ? "  INVALID (own lag)" : "");
    }
    if (plan->target_us > 0) {
        fprintf(stream, "\n  p99 stays below %g us up to %.0f requests/s\n", plan->target_us,
                pc_load_report_at_target(results, count, plan->target_us));
    }
}
