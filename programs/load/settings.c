/* SPDX-License-Identifier: Apache-2.0 */
/* settings: flags to a plan, one group of decisions after the other. */
#include "programs/load/settings.h"

#include "base/check.h"
#include "measure/presets.h"
#include "programs/commands.h"
#include "programs/load/address.h"
#include "runtime/kernel.h"
#include "runtime/poller/poller.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors besides the connections: files, pollers, standard streams. */
enum { DESCRIPTORS_SPARE = 64, VALUE_BYTES_MAX = 64 << 20 };

static const struct pc_option rows[] = {
#define PC_OPTION(name, letter, kind, member, least, most, argument, help)                         \
    {name,  letter, PC_OPTION_##kind, offsetof(struct pc_load_settings, member),                   \
     least, most,   argument,         help},
#include "programs/load/options.def"
#undef PC_OPTION
};

static const struct pc_options options = {
    .program = "percore load",
    .usage = "percore load URL [flags]\n\n"
             "  URL: memcached://HOST:PORT, redis://HOST:PORT, frame://HOST:PORT,\n"
             "       or a unix socket: memcached:///path (likewise redis, frame)",
    .rows = rows,
    .row_count = PC_COUNT_OF(rows),
};

static const char closing[] =
    "\nexamples:\n"
    "  percore load memcached://127.0.0.1:11211\n"
    "      fill 100000 keys, then 10000 requests a second for 10 s; the p99 you are looking for\n"
    "  percore load memcached://cache1 --rate 200k --threads 2 -c 64 --preset etc --json out.json\n"
    "  percore load redis:///run/redis.sock --closed --depth 16 --duration 5\n"
    "  percore load memcached://127.0.0.1 --rate 300k --sweep auto --target-us 1000\n"
    "  percore load frame://127.0.0.1:9000 --preset spin-exp --service-us 50 --rate 8k\n"
    "\nresponse runs from the moment a request was meant to be sent, lag is the part before it "
    "was\n"
    "sent. Exit code: 0 fine, 1 could not run, 2 bad flags, 3 partial result, 4 wrong or error\n"
    "answers, 5 our own lag was too large for the result to be believed.\n";

static void help_print(void)
{
    pc_options_help(&options);
    size_t count;
    const struct pc_preset_row *presets = pc_presets(&count);
    printf("\npresets:\n");
    for (size_t i = 0; i < count; i++) {
        printf("  %-14s %s\n", presets[i].name, presets[i].help);
    }
    fputs(closing, stdout);
}

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("percore load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return PC_EXIT_USAGE;
}

int pc_load_settings_read(int argc, char **argv, struct pc_load_settings *out_settings)
{
    *out_settings = (struct pc_load_settings){
        .duration_ns = UINT64_C(10000000000),
        .warmup_ns = UINT64_C(2000000000),
        .timeout_ns = UINT64_C(5000000000),
        .multi_get = 10,
        .keys = 0,
        .ttl = UINT64_MAX,
        .seed = 1,
        .threads = 1,
        .lag_gate_us = 50,
        .prefix = "percore-load:",
    };
    /* Flags may stand on both sides of the URL. */
    while (argc > 1) {
        const int first = pc_options_parse(&options, argc, argv, out_settings);
        if (first < 0) {
            return PC_EXIT_USAGE;
        }
        if (first < argc && out_settings->url != NULL) {
            return refuse("one URL at a time, not '%s' and '%s'", out_settings->url, argv[first]);
        }
        if (first < argc) {
            out_settings->url = argv[first];
        }
        argc -= first < argc ? first : argc;
        argv += first;
    }
    if (out_settings->help) {
        help_print();
        return PC_EXIT_FINE;
    }
    if (out_settings->url == NULL) {
        return refuse("which server? (as memcached://127.0.0.1:11211; --help says more)");
    }
    return -1;
}

/* A decimal number with k or m behind it. */
static bool number_read(const char *text, double least, double most, double *out)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno != 0 || !isfinite(value)) {
        return false;
    }
    if (*end == 'k' || *end == 'm') {
        value *= *end == 'k' ? 1e3 : 1e6;
        end++;
    }
    if ((*end != '\0' && *end != ',') || value < least || value > most) {
        return false;
    }
    *out = value;
    return true;
}

static int number_set(const char *flag, const char *text, double least, double most, double *out)
{
    if (text != NULL && (strchr(text, ',') != NULL || !number_read(text, least, most, out))) {
        return refuse("bad value '%s' for --%s (legal: a number, %g to %g)", text, flag, least,
                      most);
    }
    return 0;
}

static int rates_set(struct pc_load_plan *plan, const struct pc_load_settings *settings)
{
    double rate = 10000;
    int code = number_set("rate", settings->rate, 0.001, 1e9, &rate);
    plan->driver.arrivals.rate = rate;
    if (code != 0 || settings->sweep == NULL) {
        return code;
    }
    if (settings->closed) {
        return refuse("--sweep varies the rate, --closed has none");
    }
    code = number_set("target-us", settings->target_us, 0.001, 1e9, &plan->target_us);
    if (strcmp(settings->sweep, "auto") == 0) {
        plan->rate_count = 12;
        for (unsigned i = 0; i < 12; i++) {
            plan->rates[i] = rate * (i + 1) / 12;
        }
        return code;
    }
    for (const char *at = settings->sweep; code == 0;) {
        if (plan->rate_count == PC_LOAD_RATES_MAX ||
            !number_read(at, 0.001, 1e9, &plan->rates[plan->rate_count]) ||
            (plan->rate_count > 0 &&
             plan->rates[plan->rate_count] <= plan->rates[plan->rate_count - 1])) {
            return refuse("bad value '%s' for --sweep (legal: auto, or rising rates with commas)",
                          settings->sweep);
        }
        plan->rate_count++;
        at += strcspn(at, ",");
        if (*at++ == '\0') {
            break;
        }
    }
    return code;
}

static int mix_set(struct pc_traffic_config *traffic, const struct pc_dialect_ops *dialect,
                   const struct pc_load_settings *settings, const struct pc_preset *preset)
{
    double *mix = traffic->mix;
    if (preset != NULL) {
        memcpy(mix, preset->mix, sizeof(preset->mix));
    } else {
        mix[dialect->operation_usual[1]] = 0.1;
        mix[dialect->operation_usual[0]] = 0.9;
    }
    if (settings->mix != NULL && pc_traffic_mix_parse(settings->mix, mix) != 0) {
        return refuse("bad value '%s' for --mix (legal: as get=0.9,set=0.1)", settings->mix);
    }
    for (unsigned i = 0; i < PC_OPERATION_COUNT; i++) {
        if (mix[i] > 0 && !pc_dialect_speaks(dialect, i)) {
            return refuse("%s has no '%s'%s%s", dialect->name, pc_operation_name(i),
                          preset != NULL && settings->mix == NULL ? ", which the preset needs" : "",
                          preset != NULL && settings->mix == NULL ? ": give a --mix" : "");
        }
    }
    traffic->multi_get_count = (unsigned)settings->multi_get;
    return 0;
}

static int popularity_set(struct pc_traffic_config *traffic,
                          const struct pc_load_settings *settings, const struct pc_preset *preset)
{
    struct pc_popularity_config *popularity = &traffic->popularity;
    *popularity = (struct pc_popularity_config){
        .kind = PC_POPULARITY_ZIPF,
        .key_count = 100000,
        .alpha = 0.99,
        .hot_share = 0.5,
        .hot_count = 10,
        .key_seed = settings->seed,
    };
    if (preset != NULL && preset->mix[PC_OPERATION_FRAME] <= 0) {
        popularity->kind = preset->popularity;
        popularity->alpha = preset->alpha;
        popularity->hot_share = preset->hot_share > 0 ? preset->hot_share : 0.5;
        popularity->period_ns = preset->period_ns;
        popularity->key_count = preset->key_count > 0 ? preset->key_count : 100000;
        traffic->miss_share = preset->miss_share;
        traffic->one_time_share = preset->one_time_share;
    }
    if (settings->popularity != NULL) {
        /* The flag's legal values are this table's names. */
        (void)pc_popularity_kind_find(settings->popularity, &popularity->kind);
    }
    if (settings->keys > 0) {
        popularity->key_count = settings->keys;
    }
    if (settings->hot_keys > 0) {
        popularity->hot_count = settings->hot_keys;
    } else if (popularity->hot_count > popularity->key_count) {
        popularity->hot_count = popularity->key_count;
    }
    if (settings->period_ns > 0) {
        popularity->period_ns = settings->period_ns;
    } else if (popularity->period_ns == 0) {
        popularity->period_ns =
            popularity->kind == PC_POPULARITY_FLASH ? 41000000000 : UINT64_C(10000000000);
    }
    int code = number_set("alpha", settings->alpha, 0, 10, &popularity->alpha);
    code = code != 0 ? code
                     : number_set("hot-share", settings->hot_share, 0, 1, &popularity->hot_share);
    code = code != 0 ? code
                     : number_set("miss-share", settings->miss_share, 0, 1, &traffic->miss_share);
    if (code == 0 && popularity->hot_count > popularity->key_count) {
        return refuse("--hot-keys %llu is more than --keys %llu",
                      (unsigned long long)popularity->hot_count,
                      (unsigned long long)popularity->key_count);
    }
    return code;
}

static int sizes_set(struct pc_traffic_config *traffic, const struct pc_load_settings *settings,
                     const struct pc_preset *preset, bool frames)
{
    const uint32_t value_usual = frames ? 64 : 100;
    traffic->key_sizes = (struct pc_sizes){.kind = PC_SIZES_FIXED, .low = 24, .high = 24};
    traffic->value_sizes =
        (struct pc_sizes){.kind = PC_SIZES_FIXED, .low = value_usual, .high = value_usual};
    if (preset != NULL && !frames) {
        traffic->key_sizes = preset->key_sizes;
        traffic->value_sizes = preset->value_sizes;
    }
    if (settings->key_bytes != NULL &&
        pc_sizes_parse(settings->key_bytes, 1, PC_CONTENTS_KEY_BYTES_MAX, &traffic->key_sizes) !=
            0) {
        return refuse("bad value '%s' for --key-bytes (legal: 1 to 250, A-B, gev:L,S,S)",
                      settings->key_bytes);
    }
    const uint32_t most = frames ? 1 << 20 : VALUE_BYTES_MAX;
    if (settings->value_bytes != NULL &&
        pc_sizes_parse(settings->value_bytes, frames ? 16 : 0, most, &traffic->value_sizes) != 0) {
        return refuse("bad value '%s' for --value-bytes (legal: %s to %u, A-B, gpd:L,S,S, etc)",
                      settings->value_bytes, frames ? "16" : "0", most);
    }
    return 0;
}

static int service_set(struct pc_traffic_config *traffic, const struct pc_load_settings *settings,
                       const struct pc_preset *preset, bool frames)
{
    if (preset != NULL) {
        traffic->service_law = preset->service_law;
        traffic->service_ns_mean = preset->service_ns_mean;
    }
    if (settings->service_us == NULL) {
        return 0;
    }
    if (!frames) {
        return refuse("--service-us is for frame:// servers");
    }
    double mean_us = 0;
    const int code = number_set("service-us", settings->service_us, 0, 1e6, &mean_us);
    traffic->service_ns_mean = mean_us * 1e3;
    return code;
}

static void lives_set(struct pc_traffic_config *traffic, const struct pc_load_settings *settings,
                      const struct pc_preset *preset)
{
    traffic->lives[0] = (struct pc_life){.seconds = PC_LOAD_FILL_LIFE_S, .share = 1};
    if (preset != NULL && preset->lives[0].share > 0) {
        memcpy(traffic->lives, preset->lives, sizeof(traffic->lives));
    }
    if (settings->ttl != UINT64_MAX) {
        memset(traffic->lives, 0, sizeof(traffic->lives));
        traffic->lives[0] = (struct pc_life){.seconds = (uint32_t)settings->ttl, .share = 1};
    }
}

static int connections_set(struct pc_load_plan *plan, const struct pc_load_settings *settings,
                           const struct pc_preset *preset)
{
    struct pc_traffic_config *traffic = &plan->driver.traffic;
    traffic->connection_count =
        preset != NULL && preset->connection_count > 0 ? preset->connection_count : 16;
    if (preset != NULL) {
        traffic->weights = preset->weights;
    }
    if (settings->connections > 0) {
        traffic->connection_count = (unsigned)settings->connections;
    }
    if (settings->weights != NULL) {
        (void)pc_weights_kind_find(settings->weights, &traffic->weights);
    }
    plan->thread_count = (unsigned)settings->threads;
    if (plan->thread_count > traffic->connection_count) {
        return refuse("--threads %u need as many connections, not %u", plan->thread_count,
                      traffic->connection_count);
    }
    const rlim_t wanted =
        (rlim_t)traffic->connection_count + DESCRIPTORS_SPARE + 4 * (rlim_t)plan->thread_count;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        if (wanted > limit.rlim_max || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            (void)refuse("%u connections need %llu descriptors, this process may have %llu "
                         "(ulimit -n)",
                         traffic->connection_count, (unsigned long long)wanted,
                         (unsigned long long)limit.rlim_max);
            return PC_EXIT_TROUBLE;
        }
    }
    return 0;
}

static int traffic_set(struct pc_load_plan *plan, const struct pc_load_settings *settings)
{
    const struct pc_dialect_ops *dialect = plan->driver.dialect;
    struct pc_traffic_config *traffic = &plan->driver.traffic;
    const bool frames = !dialect->has_keys;
    const struct pc_preset *preset = NULL;
    if (settings->preset != NULL && (preset = pc_preset_find(settings->preset)) == NULL) {
        return refuse("no preset '%s' (--help lists them)", settings->preset);
    }
    traffic->seed = settings->seed;
    int code = mix_set(traffic, dialect, settings, preset);
    code = code != 0 ? code : popularity_set(traffic, settings, preset);
    code = code != 0 ? code : sizes_set(traffic, settings, preset, frames);
    code = code != 0 ? code : service_set(traffic, settings, preset, frames);
    code = code != 0 ? code : connections_set(plan, settings, preset);
    if (code != 0) {
        return code;
    }
    lives_set(traffic, settings, preset);
    plan->driver.arrivals.kind = preset != NULL ? preset->arrivals : PC_ARRIVALS_POISSON;
    if (settings->arrivals != NULL) {
        (void)pc_arrivals_kind_find(settings->arrivals, &plan->driver.arrivals.kind);
    }
    plan->contents = calloc(1, sizeof(*plan->contents));
    if (plan->contents == NULL) {
        (void)refuse("out of memory");
        return PC_EXIT_TROUBLE;
    }
    if (pc_contents_init(plan->contents, settings->prefix, traffic->popularity.key_count,
                         &traffic->key_sizes, &traffic->value_sizes) != 0) {
        return refuse("bad value '%s' for --prefix (legal: at most %d bytes, no spaces)",
                      settings->prefix, PC_CONTENTS_PREFIX_BYTES_MAX);
    }
    plan->contents->appends = traffic->mix[PC_OPERATION_APPEND] > 0;
    plan->driver.contents = plan->contents;
    if (dialect->has_keys && !settings->no_fill) {
        const uint64_t keys = traffic->popularity.key_count;
        plan->fill_count = keys < PC_LOAD_FILL_KEYS_MAX ? keys : PC_LOAD_FILL_KEYS_MAX;
    }
    return 0;
}

static int poller_set(struct pc_load_plan *plan, const char *name)
{
    const char *why;
    plan->driver.kernel = pc_kernel_linux();
    plan->driver.poller =
        pc_poller_choose(name != NULL ? name : "epoll", plan->driver.kernel, &why);
    return plan->driver.poller != NULL ? 0 : refuse("no poller '%s' here", name);
}

static void rest_set(struct pc_load_plan *plan, const struct pc_load_settings *settings)
{
    struct pc_driver_config *driver = &plan->driver;
    driver->closed = driver->traffic.closed = settings->closed;
    driver->depth = (unsigned)(settings->depth > 0 ? settings->depth : settings->closed);
    driver->warmup_ns = settings->warmup_ns;
    driver->duration_ns = settings->duration_ns;
    driver->reconnect_every = settings->reconnect_every;
    driver->silence_ns = settings->timeout_ns;
    driver->congestion = settings->congestion == NULL ? "cubic" : settings->congestion;
    if (strcmp(driver->congestion, "system") == 0) {
        driver->congestion = NULL;
    }
    const bool automatic = settings->stamps == NULL || strcmp(settings->stamps, "auto") == 0;
    driver->stamps = automatic ? !settings->closed : strcmp(settings->stamps, "on") == 0;
    /* Unix sockets have no stamps, and a poller that receives by itself passes none on. */
    driver->stamps = driver->stamps && plan->address.ss_family != AF_UNIX &&
                     strcmp(driver->poller->name, "epoll") == 0;
    driver->inject_schedule_ns = settings->inject_schedule_us * 1000;
    driver->inject_client_ns = settings->inject_client_us * 1000;
    plan->request_count = settings->requests;
    plan->lag_gate_ns = settings->lag_gate_us * 1000;
    plan->preset = settings->preset;
    plan->json = settings->json;
    plan->csv = settings->csv;
    plan->hdr = settings->hdr;
    plan->html = settings->html;
    plan->server_pid = (int)settings->server_pid;
    plan->tune = settings->tune;
    plan->quiet = settings->quiet;
}

int pc_load_plan_init(struct pc_load_plan *plan, const struct pc_load_settings *settings)
{
    *plan = (struct pc_load_plan){.url = settings->url};
    char trouble[200];
    const int code = pc_load_address_find(settings->url, &plan->driver.dialect, &plan->address,
                                          &plan->address_bytes, trouble, sizeof(trouble));
    if (code != 0) {
        (void)refuse("%s", trouble);
        return code == -EINVAL ? PC_EXIT_USAGE : PC_EXIT_TROUBLE;
    }
    plan->driver.address = (const struct sockaddr *)&plan->address;
    plan->driver.address_bytes = plan->address_bytes;
    int outcome = poller_set(plan, settings->poller);
    outcome = outcome != 0 ? outcome : rates_set(plan, settings);
    outcome = outcome != 0 ? outcome : traffic_set(plan, settings);
    if (outcome == 0) {
        rest_set(plan, settings);
    }
    return outcome;
}

void pc_load_plan_fini(struct pc_load_plan *plan)
{
    free(plan->contents);
    plan->contents = NULL;
}
