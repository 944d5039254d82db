/* SPDX-License-Identifier: Apache-2.0 */
/* report_json: everything, under keys that stay. */
#include "programs/load/report.h"

#include "measure/presets.h"
#include "percore_version.h"
#include "programs/load/result.h"
#include "programs/load/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Points of the percentile curve: as far as `nines` of any run we can make. */
static const double curve[] = {0.01,  0.05,  0.1,   0.2,    0.3,    0.4,     0.5,
                               0.6,   0.7,   0.8,   0.9,    0.95,   0.98,    0.99,
                               0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99995, 0.99999};

static void number_set(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_real(value));
}

static void count_set(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void text_set(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, json_string(value));
}

static double us(uint64_t value_ns)
{
    return (double)value_ns / 1e3;
}

static json_t *times_json(const struct pc_histogram *histogram)
{
    static const struct {
        const char *key;
        double fraction;
    } rows[] = {{"p50", .5},    {"p90", .9},      {"p95", .95}, {"p99", .99},
                {"p999", .999}, {"p9999", .9999}, {"max", 1}};
    json_t *object = json_object();
    const uint64_t count = pc_histogram_count(histogram);
    count_set(object, "count", count);
    number_set(object, "mean", pc_histogram_mean(histogram) / 1e3);
    number_set(object, "min", count > 0 ? us(histogram->value_min) : 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        number_set(object, rows[i].key, us(pc_histogram_quantile(histogram, rows[i].fraction)));
    }
    return object;
}

static json_t *curve_json(const struct pc_histogram *histogram)
{
    json_t *points = json_array();
    const double count = (double)pc_histogram_count(histogram);
    for (size_t i = 0; i < sizeof(curve) / sizeof(curve[0]); i++) {
        /* Beyond the last record a percentile says nothing. */
        if (count * (1 - curve[i]) >= 1) {
            json_t *point = json_array();
            json_array_append_new(point, json_real(curve[i]));
            json_array_append_new(point, json_real(us(pc_histogram_quantile(histogram, curve[i]))));
            json_array_append_new(points, point);
        }
    }
    return points;
}

static void plan_set(json_t *object, const struct pc_load_plan *plan)
{
    const struct pc_driver_config *driver = &plan->driver;
    text_set(object, "percore", PC_VERSION);
    text_set(object, "target", plan->url);
    text_set(object, "protocol", driver->dialect->name);
    text_set(object, "mode", driver->closed ? "closed" : "open");
    text_set(object, "arrivals",
             driver->closed ? "closed" : pc_arrivals_kind_name(driver->arrivals.kind));
    text_set(object, "preset", plan->preset != NULL ? plan->preset : "");
    count_set(object, "connections", driver->traffic.connection_count);
    count_set(object, "threads", plan->thread_count);
    count_set(object, "depth", driver->depth);
    count_set(object, "keys", driver->traffic.popularity.key_count);
    text_set(object, "popularity", pc_popularity_kind_name(driver->traffic.popularity.kind));
    number_set(object, "alpha", driver->traffic.popularity.alpha);
    number_set(object, "key_bytes_mean", pc_sizes_mean(&driver->traffic.key_sizes));
    number_set(object, "value_bytes_mean", pc_sizes_mean(&driver->traffic.value_sizes));
    count_set(object, "seed", driver->traffic.seed);
    number_set(object, "warmup_s", (double)driver->warmup_ns / 1e9);
    number_set(object, "duration_s", (double)driver->duration_ns / 1e9);
    json_t *mix = json_object();
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        if (driver->traffic.mix[i] > 0) {
            number_set(mix, pc_operation_name(i), driver->traffic.mix[i]);
        }
    }
    json_object_set_new(object, "mix", mix);
}

static void verdict_set(json_t *object, const struct pc_load_result *result)
{
    text_set(object, "outcome", pc_driver_outcome_name(result->outcome));
    text_set(object, "trouble", result->trouble);
    json_object_set_new(object, "partial", json_boolean(result->partial));
    json_object_set_new(object, "wrong", json_boolean(result->wrong));
    json_object_set_new(object, "valid", json_boolean(!result->invalid));
    count_set(object, "exit_code", (uint64_t)pc_load_result_exit(result));
}

static void parts_set(json_t *object, const struct pc_tally *tally)
{
    json_t *operations = json_object();
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        if (pc_histogram_count(tally->operations[i]) > 0) {
            json_object_set_new(operations, pc_operation_name(i), times_json(tally->operations[i]));
        }
    }
    json_object_set_new(object, "operations_us", operations);
    json_t *deciles = json_array();
    for (unsigned i = 0; i < PC_TRAFFIC_DECILES; i++) {
        json_array_append_new(deciles, times_json(tally->deciles[i]));
    }
    json_object_set_new(object, "key_rank_deciles_us", deciles);
    json_t *classes = json_object();
    json_object_set_new(classes, "heavy", times_json(tally->classes[0]));
    json_object_set_new(classes, "light", times_json(tally->classes[1]));
    json_object_set_new(object, "connection_classes_us", classes);
}

static void tally_set(json_t *object, const struct pc_tally *tally)
{
    for (unsigned i = 0; i < PC_TALLY_COUNT; i++) {
        count_set(object, pc_tally_counter_name(i), pc_tally_get(tally, i));
    }
    for (unsigned i = 0; i < PC_TIMED_COUNT; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%s_us", pc_timed_name(i));
        json_object_set_new(object, key, times_json(tally->timed[i]));
    }
    parts_set(object, tally);
    json_object_set_new(object, "response_curve_us", curve_json(tally->timed[PC_TIMED_RESPONSE]));
    json_object_set_new(object, "from_send_curve_us", curve_json(tally->timed[PC_TIMED_SEND]));
    json_object_set_new(object, "lag_curve_us", curve_json(tally->timed[PC_TIMED_LAG]));
}

static void server_set(json_t *object, const struct pc_load_result *result)
{
    const struct pc_load_process *before = &result->server.before, *after = &result->server.after;
    const double received = (double)pc_tally_get(result->tally, PC_TALLY_RECEIVED);
    json_t *server = json_object();
    if (before->known && after->known) {
        const double cpu_ns = (double)(after->cpu_ns - before->cpu_ns);
        number_set(server, "cpu_s", cpu_ns / 1e9);
        number_set(server, "cpu_us_per_request", received > 0 ? cpu_ns / 1e3 / received : 0);
        number_set(server, "run_delay_s",
                   (double)(after->run_delay_ns - before->run_delay_ns) / 1e9);
        count_set(server, "switches_voluntary",
                  after->switches_voluntary - before->switches_voluntary);
        count_set(server, "switches_forced", after->switches_forced - before->switches_forced);
    }
    json_t *stats = json_object();
    for (unsigned i = 0; i < result->server.stats_after.count; i++) {
        const char *name = result->server.stats_after.rows[i].name;
        double growth;
        if (pc_load_stats_growth(&result->server, name, &growth)) {
            number_set(stats, name, growth);
        }
    }
    json_object_set_new(server, "stats_growth", stats);
    json_object_set_new(object, "server", server);
}

static json_t *seconds_json(const struct pc_load_result *result)
{
    json_t *seconds = json_array();
    for (unsigned i = 0; i < result->second_count; i++) {
        const struct pc_load_second *second = &result->seconds[i];
        json_t *row = json_object();
        number_set(row, "at_s", second->at_s);
        number_set(row, "length_s", second->length_s);
        count_set(row, "scheduled", second->scheduled);
        count_set(row, "received", second->received);
        count_set(row, "errors", second->errors);
        number_set(row, "response_us_p50", us(second->response_ns_p50));
        number_set(row, "response_us_p99", us(second->response_ns_p99));
        number_set(row, "response_us_p999", us(second->response_ns_p999));
        number_set(row, "response_us_max", us(second->response_ns_max));
        number_set(row, "lag_us_p99", us(second->lag_ns_p99));
        json_array_append_new(seconds, row);
    }
    return seconds;
}

static void tcp_set(json_t *object, const struct pc_load_result *result)
{
    const struct pc_link_health *health = &result->health;
    json_t *tcp = json_object();
    text_set(tcp, "congestion", result->congestion);
    count_set(tcp, "connections", health->connection_count);
    count_set(tcp, "retransmits", health->retransmit_count);
    number_set(tcp, "rtt_us_mean",
               health->connection_count > 0
                   ? (double)health->rtt_us_sum / (double)health->connection_count
                   : 0);
    count_set(tcp, "rtt_us_max", health->rtt_us_max);
    json_object_set_new(object, "tcp", tcp);
}

json_t *pc_load_report_json(const struct pc_load_plan *plan, const struct pc_load_result *result)
{
    json_t *object = json_object();
    char hash[17];
    snprintf(hash, sizeof(hash), "%016" PRIx64, result->hash);
    plan_set(object, plan);
    number_set(object, "rate", result->rate);
    verdict_set(object, result);
    text_set(object, "stream_hash", hash);
    count_set(object, "stream_hashed", result->hashed_count);
    number_set(object, "measured_s", result->measured_s);
    number_set(object, "throughput", pc_load_result_throughput(result));
    number_set(object, "cpu_us_per_request", pc_load_result_cpu_us(result));
    number_set(object, "cpu_s", (double)result->tally->cpu_ns / 1e9);
    number_set(object, "stamp_spread_us", us(result->stamp_spread_ns));
    tally_set(object, result->tally);
    tcp_set(object, result);
    server_set(object, result);
    json_object_set_new(object, "seconds", seconds_json(result));
    return object;
}

json_t *pc_load_report_sweep_json(const struct pc_load_plan *plan,
                                  const struct pc_load_result *results, unsigned count)
{
    json_t *object = json_object();
    json_t *runs = json_array();
    for (unsigned i = 0; i < count; i++) {
        json_array_append_new(runs, pc_load_report_json(plan, &results[i]));
    }
    text_set(object, "percore", PC_VERSION);
    text_set(object, "target", plan->url);
    number_set(object, "target_us", plan->target_us);
    number_set(object, "load_at_target",
               plan->target_us > 0 ? pc_load_report_at_target(results, count, plan->target_us) : 0);
    json_object_set_new(object, "sweep", runs);
    return object;
}

int pc_load_report_json_write(const char *path, json_t *value)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdout : fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    int error = json_dumpf(value, file, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 ? 0 : -EIO;
    fputc('\n', file);
    if ((standard ? fflush(file) : fclose(file)) != 0 && error == 0) {
        error = -errno;
    }
    return error;
}
