/* SPDX-License-Identifier: Apache-2.0 */
/* runtime: from a config to running threads, and back. */
#include "base/random.h"
#include "models/engine.h"
#include "models/listen.h"
#include "runtime/core.h"
#include "runtime/poller/poller.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- The table of models ---- */

static const struct pc_preset presets[] = {
#define PC_PRESET(name, engine, cores, workers, help)                                              \
    {name, &pc_engine_##engine, PC_CORES_##cores, PC_WORKERS_##workers, help},
#include "models/presets.def"
#undef PC_PRESET
};

const struct pc_preset *pc_preset_row(unsigned index)
{
    return index < PC_COUNT_OF(presets) ? &presets[index] : NULL;
}

static const struct pc_preset *preset_find(const char *name)
{
    for (unsigned i = 0; i < PC_COUNT_OF(presets); i++) {
        if (name == NULL || strcmp(presets[i].name, name) == 0) {
            return &presets[i];
        }
    }
    return NULL;
}

/* ---- Trouble, in words ---- */

struct trouble {
    char *text;
    size_t bytes;
};

__attribute__((format(printf, 3, 4))) static int fail(struct trouble *trouble, int error,
                                                      const char *format, ...)
{
    if (trouble->text != NULL && trouble->bytes > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(trouble->text, trouble->bytes, format, arguments);
        va_end(arguments);
    }
    return error;
}

static int fail_memory(struct trouble *trouble)
{
    return fail(trouble, -ENOMEM, "out of memory");
}

/* ---- Create, step by step ---- */

static void default_u64(uint64_t *value, uint64_t usual)
{
    if (*value == 0) {
        *value = usual;
    }
}

static void default_unsigned(unsigned *value, unsigned usual)
{
    if (*value == 0) {
        *value = usual;
    }
}

static int defaults_fill(struct pc_runtime *runtime, struct trouble *trouble)
{
    struct pc_config *config = &runtime->config;
    default_unsigned(&config->connection_count_max, 1024);
    default_unsigned(&config->backlog_count, 1024);
    default_unsigned(&config->unix_mode, 0700);
    default_u64(&config->reply_bytes_max, UINT64_C(64) << 20);
    default_u64(&config->core_bytes_max, UINT64_C(256) << 20);
    default_u64(&config->send_ns, UINT64_C(60000000000));
    default_u64(&config->drain_ns, UINT64_C(10000000000));
    if (config->seed == 0) {
        int outcome =
            runtime->kernel->random_bytes(runtime->kernel, &config->seed, sizeof(config->seed));
        if (outcome < 0) {
            return fail(trouble, outcome, "no random numbers: %s", strerror(-outcome));
        }
    }
    return 0;
}

static int model_choose(struct pc_runtime *runtime, struct trouble *trouble)
{
    const struct pc_config *config = &runtime->config;
    runtime->preset = preset_find(config->model);
    if (runtime->preset == NULL) {
        char names[256] = "";
        for (unsigned i = 0; i < PC_COUNT_OF(presets); i++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                     presets[i].name);
        }
        return fail(trouble, -EINVAL, "unknown model '%s' (legal: %s)", config->model, names);
    }
    runtime->engine = runtime->preset->engine;
    bool on_cores =
        runtime->preset->cores != PC_CORES_NONE && runtime->preset->workers != PC_WORKERS_ALL;
    if (!on_cores && config->place_count > 0 && !config->places_shared) {
        return fail(trouble, -EINVAL,
                    "places owned by cores need lanes that are cores: model %s has none (legal: "
                    "per-core, or shared places)",
                    runtime->preset->name);
    }
    return 0;
}

static int poller_choose(struct pc_runtime *runtime, struct trouble *trouble)
{
    const char *name = runtime->config.poller;
    if (runtime->preset->cores == PC_CORES_NONE) {
        if (name != NULL) {
            return fail(trouble, -EINVAL, "model %s has no poller: its threads block",
                        runtime->preset->name);
        }
        runtime->poller_why = "threads block";
        return 0;
    }
    runtime->poller = pc_poller_choose(name, runtime->kernel, &runtime->poller_why);
    if (runtime->poller == NULL) {
        char names[128] = "";
        const struct pc_poller_ops *row;
        for (unsigned i = 0; (row = pc_poller_row(i)) != NULL; i++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "", row->name);
        }
        return name != NULL ? fail(trouble, -EINVAL, "unknown poller '%s' (legal: %s)", name, names)
                            : fail(trouble, -ENOSYS, "no poller works on this machine");
    }
    return 0;
}

/* Tests that bring their own kernel run on no CPU in particular. */
static int plan_make(struct pc_runtime *runtime, struct trouble *trouble)
{
    struct pc_config *config = &runtime->config;
    struct pc_machine machine = {0};
    unsigned core_count = runtime->preset->cores == PC_CORES_ALL ? config->core_count : 1;
    bool invented = config->kernel != NULL && config->kernel != pc_kernel_linux();
    int outcome = invented ? pc_machine_invent("core:1 pu:1", NULL, 0, &machine)
                           : pc_machine_discover(&machine);
    if (outcome == 0) {
        if (invented && core_count == 0) {
            core_count = 1;
        }
        outcome =
            pc_plan_init(&runtime->plan, &machine, core_count, invented ? -1 : config->affinity);
    }
    if (outcome == 0) {
        runtime->spins = !runtime->plan.overcommitted;
        pc_plan_text(&runtime->plan, &machine, runtime->plan_text, sizeof(runtime->plan_text));
        default_unsigned(&config->worker_count, 0);
        unsigned parallel = pc_machine_parallel_count(&machine);
        if (runtime->preset->workers == PC_WORKERS_ALL) {
            runtime->worker_count = config->worker_count != 0 ? config->worker_count : parallel;
        } else if (runtime->preset->cores != PC_CORES_NONE && runtime->service->uses_workers) {
            runtime->worker_count =
                config->worker_count != 0 ? config->worker_count : 1 + (parallel - 1) / 8;
        }
    }
    pc_machine_fini(&machine);
    if (outcome < 0) {
        return outcome == -EINVAL ? fail(trouble, outcome, "%u cores are too many (legal: 1 to %d)",
                                         core_count, PC_CORE_COUNT_MAX)
                                  : fail(trouble, outcome, "cannot read the machine's CPUs: %s",
                                         strerror(-outcome));
    }
    return 0;
}

static int lanes_make(struct pc_runtime *runtime, struct trouble *trouble)
{
    bool threads = runtime->preset->cores == PC_CORES_NONE;
    runtime->core_count = threads ? 0 : runtime->plan.core_count;
    runtime->lends =
        runtime->config.places_lent && runtime->core_count > 1 && !runtime->config.places_shared;
    runtime->lane_count = threads ? 1 + runtime->config.connection_count_max
                                  : runtime->core_count + runtime->worker_count;
    unsigned share_count = threads ? 1 : runtime->core_count;
    runtime->shares = aligned_alloc(PC_CACHE_LINE, share_count * sizeof(struct pc_share));
    runtime->cores = calloc(share_count, sizeof(struct pc_core *));
    runtime->counters = calloc(runtime->lane_count, sizeof(struct pc_counters *));
    if (runtime->shares == NULL || runtime->cores == NULL || runtime->counters == NULL) {
        return fail_memory(trouble);
    }
    for (unsigned i = 0; i < share_count; i++) {
        atomic_init(&runtime->shares[i].open_count, 0);
    }
    for (unsigned i = 0; i < runtime->lane_count; i++) {
        runtime->counters[i] = pc_counters_create(!threads);
        if (runtime->counters[i] == NULL) {
            return fail_memory(trouble);
        }
    }
    return 0;
}

/* ---- Signals ---- */

static void on_signal(struct pc_runtime *runtime, uint32_t signal)
{
    if (signal == SIGUSR2) {
        if (runtime->config.emit != NULL) {
            (void)pc_counters_print(runtime->counters, runtime->lane_count, runtime->config.emit,
                                    runtime->config.emit_ctx); /* no memory: counters only */
        }
    } else if (pc_runtime_stopping(runtime)) {
        pc_runtime_cut(runtime);
    } else {
        PC_LOG(runtime->log, PC_LOG_INFO, "drain", pc_field_number("signal", signal),
               pc_field_number("connections", pc_runtime_connections(runtime)));
        pc_runtime_stop(runtime);
    }
}

static void take_signals(struct pc_runtime *runtime)
{
    struct signalfd_siginfo info;
    while (runtime->kernel->read(runtime->kernel, runtime->signal_fd, &info, sizeof(info)) ==
           (ssize_t)sizeof(info)) {
        on_signal(runtime, info.ssi_signo);
    }
}

/* From create on, so that nobody who was told that we serve can kill us with a signal that asks for
 * a drain or for counters. */
static int signals_open(struct pc_runtime *runtime)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    const struct pc_kernel *kernel = runtime->kernel;
    int outcome = kernel->signal_mask(kernel, SIG_BLOCK, &set, &runtime->signals_before);
    if (outcome == 0) {
        outcome = kernel->signalfd(kernel, -1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (outcome < 0) {
            (void)kernel->signal_mask(kernel, SIG_SETMASK, &runtime->signals_before, NULL);
        }
    }
    runtime->signal_fd = outcome < 0 ? -1 : outcome;
    runtime->take_signals = take_signals;
    return outcome < 0 ? outcome : 0;
}

static void signals_close(struct pc_runtime *runtime)
{
    const struct pc_kernel *kernel = runtime->kernel;
    if (runtime->signal_fd >= 0) {
        (void)kernel->close(kernel, runtime->signal_fd);
        (void)kernel->signal_mask(kernel, SIG_SETMASK, &runtime->signals_before, NULL);
    }
}

/* ---- Create and destroy ---- */

int pc_runtime_create(const struct pc_config *config, const struct pc_service *service, void *app,
                      struct pc_runtime **out, char *trouble, size_t trouble_bytes)
{
    struct trouble report = {trouble, trouble_bytes};
    struct pc_runtime *runtime = aligned_alloc(
        PC_CACHE_LINE, (sizeof(*runtime) + PC_CACHE_LINE - 1) & ~(size_t)(PC_CACHE_LINE - 1));
    if (runtime == NULL) {
        return fail_memory(&report);
    }
    memset(runtime, 0, sizeof(*runtime));
    runtime->config = *config;
    runtime->service = service;
    runtime->app = app;
    runtime->log = config->log;
    runtime->signal_fd = -1;
    runtime->kernel = config->kernel != NULL ? config->kernel : pc_kernel_linux();
    runtime->start_ns = runtime->kernel->clock_ns(runtime->kernel);
    atomic_init(&runtime->second, 1);
    int (*const steps[])(struct pc_runtime *, struct trouble *) = {
        defaults_fill, model_choose, poller_choose, plan_make, lanes_make,
    };
    int outcome = 0;
    for (unsigned i = 0; i < PC_COUNT_OF(steps) && outcome == 0; i++) {
        outcome = steps[i](runtime, &report);
    }
    if (outcome == 0) {
        outcome = pc_listen_open(runtime, trouble, trouble_bytes);
    }
    if (outcome == 0) {
        outcome = runtime->engine->create(runtime);
        if (outcome < 0) {
            fail(&report, outcome, "cannot start: %s", strerror(-outcome));
        }
    }
    if (outcome == 0 && !config->signals_declined) {
        outcome = signals_open(runtime);
        if (outcome < 0) {
            fail(&report, outcome, "cannot take signals: %s", strerror(-outcome));
        }
    }
    if (outcome < 0) {
        pc_runtime_destroy(runtime);
        return outcome;
    }
    *out = runtime;
    return 0;
}

static void places_close(struct pc_runtime *runtime)
{
    /* On a lane of the caller's, after all others have ended. */
    if (runtime->service->place_close == NULL || runtime->counters == NULL) {
        return;
    }
    struct pc_lane lane;
    pc_lane_init(&lane, runtime, PC_LANE_THREAD, 0, runtime->counters[0]);
    for (unsigned i = 0; i < runtime->config.place_count; i++) {
        runtime->service->place_close(runtime->app, (int32_t)i, &lane);
    }
    pc_lane_fini(&lane);
}

void pc_runtime_destroy(struct pc_runtime *runtime)
{
    if (runtime == NULL) {
        return;
    }
    if (runtime->engine != NULL) {
        runtime->engine->destroy(runtime);
        places_close(runtime);
    }
    pc_listen_close(runtime);
    for (unsigned i = 0; runtime->counters != NULL && i < runtime->lane_count; i++) {
        pc_counters_destroy(runtime->counters[i]);
    }
    free(runtime->counters);
    free(runtime->cores);
    free(runtime->shares);
    pc_plan_fini(&runtime->plan);
    signals_close(runtime);
    free(runtime);
}

/* ---- Run ---- */

void pc_runtime_stop(struct pc_runtime *runtime)
{
    atomic_store_explicit(&runtime->stopping, true, memory_order_seq_cst);
    runtime->engine->stop(runtime);
}

void pc_runtime_cut(struct pc_runtime *runtime)
{
    atomic_store_explicit(&runtime->cutting, true, memory_order_seq_cst);
    runtime->engine->stop(runtime);
}

int pc_runtime_run(struct pc_runtime *runtime)
{
    int trouble = runtime->engine->run(runtime);
    return trouble < 0 ? trouble
                       : (int)atomic_load_explicit(&runtime->cut_count, memory_order_relaxed);
}

/* ---- Looking ---- */

void pc_runtime_choice(const struct pc_runtime *runtime, struct pc_choice *out)
{
    *out = (struct pc_choice){
        .model = runtime->preset->name,
        .poller = runtime->poller != NULL ? runtime->poller->name : "none",
        .poller_why = runtime->poller_why,
        .cores = runtime->plan_text,
        .core_count = runtime->core_count,
        .worker_count = runtime->worker_count,
    };
}

const char *pc_runtime_address(const struct pc_runtime *runtime, unsigned index)
{
    return index < runtime->address_count ? runtime->addresses[index] : NULL;
}

uint64_t pc_runtime_counter(const struct pc_runtime *runtime, const char *name)
{
    uint64_t sum = 0;
    (void)pc_counters_sum(runtime->counters, runtime->lane_count, name, &sum); /* unknown: 0 */
    return sum;
}

uint64_t pc_runtime_realtime_ns(const struct pc_runtime *runtime)
{
    return runtime->kernel->realtime_ns(runtime->kernel);
}

uint32_t pc_runtime_second(const struct pc_runtime *runtime)
{
    return atomic_load_explicit(&runtime->second, memory_order_relaxed);
}

unsigned pc_runtime_connections_on(const struct pc_runtime *runtime, unsigned core_index)
{
    unsigned share_count = runtime->core_count > 0 ? runtime->core_count : 1;
    return core_index < share_count
               ? atomic_load_explicit(&runtime->shares[core_index].open_count, memory_order_relaxed)
               : 0;
}

unsigned pc_runtime_connections(const struct pc_runtime *runtime)
{
    unsigned sum = 0;
    for (unsigned i = 0; i == 0 || i < runtime->core_count; i++) {
        sum += pc_runtime_connections_on(runtime, i);
    }
    return sum;
}
