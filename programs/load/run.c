/* SPDX-License-Identifier: Apache-2.0 */
/* run: drivers on threads, watched from the main thread. */
#include "programs/load/run.h"

#include "base/check.h"
#include "programs/commands.h"
#include "programs/load/result.h"
#include "programs/load/settings.h"
#include "runtime/kernel.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

/* Between "all are connected" and the start: every thread is asleep in its wait by then. */
#define START_DELAY_NS UINT64_C(20000000)
/* How often the main thread looks whether the drivers are ready or have ended. */
#define LOOK_NS UINT64_C(20000000)

enum { FILL_DEPTH = 16 };

struct worker {
    struct pc_driver *driver;
    struct pc_thread thread;
    bool started, real_time;
};

struct crew {
    const struct pc_load_plan *plan;
    const struct pc_kernel *kernel;
    struct worker *workers;
    unsigned count;
    struct pc_driver_signals signals;
    sigset_t old_mask;
    int signal_fd;
    bool asked_to_stop;
};

static void worker_run(void *ctx)
{
    struct worker *worker = ctx;
    /* 1 ns of slack: by default the kernel may end every sleep 50 µs late. */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* cannot fail for one's own thread */
    if (worker->real_time) {
        const struct sched_param lowest = {.sched_priority = 1};
        (void)sched_setscheduler(0, SCHED_FIFO, &lowest); /* tune has said whether it may */
    }
    (void)pc_driver_run(worker->driver); /* the outcome is read from the driver */
}

static int crew_open(struct crew *crew, const struct pc_load_plan *plan,
                     const struct pc_driver_config *config, uint64_t request_count)
{
    *crew = (struct crew){.plan = plan, .kernel = config->kernel, .signal_fd = -1};
    crew->workers = calloc(plan->thread_count, sizeof(crew->workers[0]));
    if (crew->workers == NULL) {
        return -ENOMEM;
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    int error = crew->kernel->signal_mask(crew->kernel, SIG_BLOCK, &mask, &crew->old_mask);
    if (error == 0) {
        error = crew->signal_fd =
            crew->kernel->signalfd(crew->kernel, -1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    }
    /* A share of nothing would mean no limit. */
    const unsigned count = request_count > 0 && request_count < plan->thread_count
                               ? (unsigned)request_count
                               : plan->thread_count;
    for (unsigned i = 0; i < count && error >= 0; i++) {
        struct pc_driver_config mine = *config;
        mine.index = i;
        mine.count = count;
        mine.signals = &crew->signals;
        mine.request_count = pc_traffic_walk_begin(request_count, i + 1, mine.count) -
                             pc_traffic_walk_begin(request_count, i, mine.count);
        error = pc_driver_create(&mine, &crew->workers[i].driver);
        crew->workers[i].real_time = plan->tune;
        crew->count = i + 1;
    }
    return error < 0 ? error : 0;
}

static int crew_start(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        struct worker *worker = &crew->workers[i];
        worker->thread =
            (struct pc_thread){.run = worker_run, .ctx = worker, .name = "percore-load", .cpu = -1};
        const int error = crew->kernel->thread_start(crew->kernel, &worker->thread);
        if (error < 0) {
            return error;
        }
        worker->started = true;
    }
    return 0;
}

static void crew_stop(struct crew *crew)
{
    atomic_store_explicit(&crew->signals.stop, true, memory_order_release);
    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->workers[i].driver != NULL) {
            pc_driver_ring(crew->workers[i].driver);
        }
    }
}

static void crew_join(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->workers[i].started) {
            (void)crew->kernel->thread_join(crew->kernel, &crew->workers[i].thread);
            crew->workers[i].started = false;
        }
    }
}

static void crew_close(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        pc_driver_destroy(crew->workers[i].driver);
    }
    free(crew->workers);
    if (crew->signal_fd >= 0) {
        (void)crew->kernel->close(crew->kernel, crew->signal_fd);
        (void)crew->kernel->signal_mask(crew->kernel, SIG_SETMASK, &crew->old_mask, NULL);
    }
}

static unsigned crew_count(const struct crew *crew, bool (*what)(const struct pc_driver *))
{
    unsigned count = 0;
    for (unsigned i = 0; i < crew->count; i++) {
        count += what(crew->workers[i].driver);
    }
    return count;
}

/* Sleep, unless a signal comes: then the drivers are told to end. */
static void crew_sleep(struct crew *crew, uint64_t sleep_ns)
{
    struct pollfd look = {.fd = crew->signal_fd, .events = POLLIN};
    if (crew->kernel->poll(crew->kernel, &look, 1, sleep_ns) > 0) {
        struct signalfd_siginfo info;
        (void)crew->kernel->read(crew->kernel, crew->signal_fd, &info, sizeof(info));
        crew->asked_to_stop = true;
        crew_stop(crew);
    }
}

/* Until all are connected and told when to start; false: one of them has failed. */
static bool crew_begin(struct crew *crew, uint64_t *out_start_ns)
{
    while (crew_count(crew, pc_driver_ready) < crew->count) {
        if (crew_count(crew, pc_driver_ended) > 0) {
            crew_stop(crew);
            return false;
        }
        crew_sleep(crew, LOOK_NS / 10);
    }
    *out_start_ns = crew->kernel->clock_ns(crew->kernel) + START_DELAY_NS;
    atomic_store_explicit(&crew->signals.start_ns, *out_start_ns, memory_order_release);
    for (unsigned i = 0; i < crew->count; i++) {
        pc_driver_ring(crew->workers[i].driver);
    }
    return true;
}

/* The first failure that is not a mere stop, and its line. */
static void outcome_take(const struct crew *crew, struct pc_load_result *result)
{
    for (unsigned i = 0; i < crew->count; i++) {
        const struct pc_driver *driver = crew->workers[i].driver;
        const enum pc_driver_outcome outcome = pc_driver_outcome(driver);
        const char *trouble = pc_driver_trouble(driver);
        const bool worse = result->outcome == PC_DRIVER_COMPLETE ||
                           (result->outcome == PC_DRIVER_STOPPED && outcome != PC_DRIVER_COMPLETE);
        if (worse && outcome != PC_DRIVER_COMPLETE) {
            result->outcome = outcome;
            snprintf(result->trouble, sizeof(result->trouble), "%s", trouble);
        } else if (result->trouble[0] == '\0') {
            snprintf(result->trouble, sizeof(result->trouble), "%s", trouble);
        }
    }
}

static void result_take(const struct crew *crew, struct pc_load_result *result)
{
    outcome_take(crew, result);
    for (unsigned i = 0; i < crew->count; i++) {
        const struct pc_driver *driver = crew->workers[i].driver;
        pc_tally_add(result->tally, pc_driver_tally(driver));
        const struct pc_link_health health = pc_driver_health(driver);
        result->health.connection_count += health.connection_count;
        result->health.retransmit_count += health.retransmit_count;
        result->health.rtt_us_sum += health.rtt_us_sum;
        if (health.rtt_us_max > result->health.rtt_us_max) {
            result->health.rtt_us_max = health.rtt_us_max;
        }
        const struct pc_traffic *traffic = pc_driver_traffic(driver);
        result->hash = (result->hash << 7 | result->hash >> 57) ^ pc_traffic_hash(traffic);
        result->hashed_count += pc_traffic_hashed_count(traffic);
        if (pc_driver_stamp_spread_ns(driver) > result->stamp_spread_ns) {
            result->stamp_spread_ns = pc_driver_stamp_spread_ns(driver);
        }
    }
    snprintf(result->congestion, sizeof(result->congestion), "%s",
             pc_driver_congestion(crew->workers[0].driver));
}

/* ---- A look each second ---- */

struct looking {
    const struct pc_load_watch *watch;
    struct pc_load_result *result;
    /* Sums over all threads: now, at the last look, and in between. */
    struct pc_histogram *response[3], *lag[3];
    uint64_t counters[PC_TALLY_COUNT];
    uint64_t begin_ns, last_ns;
};

static int looking_open(struct looking *looking)
{
    for (unsigned i = 0; i < 3; i++) {
        looking->response[i] = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
        looking->lag[i] = pc_histogram_create(PC_HISTOGRAM_THREE_DIGITS);
        if (looking->response[i] == NULL || looking->lag[i] == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

static void looking_close(struct looking *looking)
{
    for (unsigned i = 0; i < 3; i++) {
        pc_histogram_destroy(looking->response[i]);
        pc_histogram_destroy(looking->lag[i]);
    }
}

static void histograms_turn(const struct crew *crew, struct pc_histogram *three[3],
                            enum pc_timed timed)
{
    struct pc_histogram *before = three[1];
    three[1] = three[0];
    three[0] = before;
    pc_histogram_clear(three[0]);
    for (unsigned i = 0; i < crew->count; i++) {
        pc_histogram_add(three[0], pc_driver_tally(crew->workers[i].driver)->timed[timed]);
    }
    pc_histogram_difference(three[2], three[0], three[1]);
}

static uint64_t counter_turn(const struct crew *crew, struct looking *looking,
                             enum pc_tally_counter counter)
{
    uint64_t now = 0;
    for (unsigned i = 0; i < crew->count; i++) {
        now += pc_tally_get(pc_driver_tally(crew->workers[i].driver), counter);
    }
    const uint64_t growth = now - looking->counters[counter];
    looking->counters[counter] = now;
    return growth;
}

static void look(const struct crew *crew, struct looking *looking, uint64_t now_ns)
{
    histograms_turn(crew, looking->response, PC_TIMED_RESPONSE);
    histograms_turn(crew, looking->lag, PC_TIMED_LAG);
    struct pc_load_second *second = pc_load_result_second(looking->result);
    if (second == NULL) {
        return;
    }
    const struct pc_histogram *response = looking->response[2];
    *second = (struct pc_load_second){
        .at_s = (double)(looking->last_ns - looking->begin_ns) / 1e9,
        .length_s = (double)(now_ns - looking->last_ns) / 1e9,
        .scheduled = counter_turn(crew, looking, PC_TALLY_SCHEDULED),
        .received = counter_turn(crew, looking, PC_TALLY_RECEIVED),
        .errors = counter_turn(crew, looking, PC_TALLY_ERRORS) +
                  counter_turn(crew, looking, PC_TALLY_MISMATCHES),
        .response_ns_p50 = pc_histogram_quantile(response, 0.5),
        .response_ns_p99 = pc_histogram_quantile(response, 0.99),
        .response_ns_p999 = pc_histogram_quantile(response, 0.999),
        .response_ns_max = pc_histogram_quantile(response, 1),
        .lag_ns_p99 = pc_histogram_quantile(looking->lag[2], 0.99),
    };
    looking->last_ns = now_ns;
    if (looking->watch->second != NULL) {
        looking->watch->second(looking->watch->ctx, second, response);
    }
}

static void phase_say(const struct pc_load_watch *watch, const char *what)
{
    if (watch->phase != NULL) {
        watch->phase(watch->ctx, what);
    }
}

/* Until the last driver has ended: at every full second of the measured time, a look. */
static void crew_watch(struct crew *crew, struct looking *looking, uint64_t start_ns)
{
    const struct pc_driver_config *config = &crew->plan->driver;
    looking->begin_ns = looking->last_ns = start_ns + config->warmup_ns;
    phase_say(looking->watch, config->warmup_ns > 0 ? "warming up" : "measuring");
    bool begun = false;
    uint64_t now = crew->kernel->clock_ns(crew->kernel);
    while (crew_count(crew, pc_driver_ended) < crew->count) {
        const uint64_t next = begun ? looking->last_ns + NS_PER_S : looking->begin_ns;
        const uint64_t left = next > now ? next - now : 0;
        crew_sleep(crew, left < LOOK_NS ? left : LOOK_NS);
        now = crew->kernel->clock_ns(crew->kernel);
        if (!begun && now >= looking->begin_ns) {
            begun = true;
            looking->result->server.before = pc_load_process_read(crew->plan->server_pid);
            if (looking->watch->begin != NULL) {
                const uint64_t calendar = crew->kernel->realtime_ns(crew->kernel);
                looking->watch->begin(looking->watch->ctx,
                                      (double)(calendar - (now - looking->begin_ns)) / 1e9);
            }
        } else if (begun && now >= looking->last_ns + NS_PER_S) {
            look(crew, looking, now);
        }
        /* One that failed ends all. */
        if (!crew->asked_to_stop && crew_count(crew, pc_driver_ended) > 0) {
            for (unsigned i = 0; i < crew->count; i++) {
                const struct pc_driver *driver = crew->workers[i].driver;
                if (pc_driver_ended(driver) && pc_driver_outcome(driver) != PC_DRIVER_COMPLETE) {
                    crew->asked_to_stop = true;
                    crew_stop(crew);
                    break;
                }
            }
        }
    }
    now = crew->kernel->clock_ns(crew->kernel);
    looking->result->server.after = pc_load_process_read(crew->plan->server_pid);
    if (begun && now > looking->last_ns) {
        look(crew, looking, now);
    }
    const uint64_t planned = start_ns + config->warmup_ns + config->duration_ns;
    const bool early = now < planned || crew->plan->request_count > 0;
    const uint64_t end = early ? now : planned;
    looking->result->measured_s =
        end > looking->begin_ns ? (double)(end - looking->begin_ns) / 1e9 : 0;
}

int pc_load_run(const struct pc_load_plan *plan, double rate, const struct pc_load_watch *watch,
                struct pc_load_result *result)
{
    struct pc_driver_config config = plan->driver;
    config.arrivals.rate = rate;
    result->rate = config.closed ? 0 : rate;
    struct looking looking = {.watch = watch, .result = result};
    struct crew crew;
    int error = crew_open(&crew, plan, &config, plan->request_count);
    error = error != 0 ? error : looking_open(&looking);
    if (error == 0) {
        phase_say(watch, "connecting");
        result->server.stats_before = pc_load_stats_read(plan);
        error = crew_start(&crew);
        uint64_t start_ns;
        if (error != 0) {
            crew_stop(&crew);
        } else if (crew_begin(&crew, &start_ns)) {
            crew_watch(&crew, &looking, start_ns);
        }
        crew_join(&crew);
        result_take(&crew, result);
        result->server.stats_after = pc_load_stats_read(plan);
    }
    looking_close(&looking);
    crew_close(&crew);
    return error;
}

/* ---- Filling ---- */

static int fill_phase(const struct pc_load_plan *plan, bool counters)
{
    struct pc_driver_config config = plan->driver;
    struct pc_traffic_config *traffic = &config.traffic;
    memset(traffic->mix, 0, sizeof(traffic->mix));
    traffic->mix[PC_OPERATION_SET] = 1;
    traffic->counters = counters;
    traffic->popularity.kind = PC_POPULARITY_SEQUENTIAL;
    traffic->popularity.walk_count = plan->fill_count;
    traffic->miss_share = traffic->one_time_share = 0;
    traffic->weights = PC_WEIGHTS_EQUAL;
    memset(traffic->lives, 0, sizeof(traffic->lives));
    traffic->lives[0] = (struct pc_life){.seconds = PC_LOAD_FILL_LIFE_S, .share = 1};
    config.closed = true;
    config.depth = FILL_DEPTH;
    config.warmup_ns = 0;
    config.reconnect_every = 0;
    config.stamps = false;
    config.inject_schedule_ns = config.inject_client_ns = 0;

    struct pc_load_result result;
    struct crew crew;
    if (pc_load_result_init(&result) != 0) {
        return PC_EXIT_TROUBLE;
    }
    int error = crew_open(&crew, plan, &config, plan->fill_count);
    error = error != 0 ? error : crew_start(&crew);
    uint64_t start_ns;
    if (error == 0 && crew_begin(&crew, &start_ns)) {
        while (crew_count(&crew, pc_driver_ended) < crew.count) {
            crew_sleep(&crew, LOOK_NS);
        }
    }
    crew_join(&crew);
    result_take(&crew, &result);
    crew_close(&crew);
    int code = 0;
    if (error != 0 || result.outcome != PC_DRIVER_COMPLETE ||
        pc_tally_get(result.tally, PC_TALLY_ERRORS) > 0) {
        fprintf(stderr, "percore load: %s: %s%s\n", plan->url,
                result.outcome == PC_DRIVER_UNREACHABLE ? "" : "could not fill the keys: ",
                error != 0 ? strerror(-error) : result.trouble);
        code = PC_EXIT_TROUBLE;
    }
    pc_load_result_fini(&result);
    return code;
}

int pc_load_fill(const struct pc_load_plan *plan)
{
    int code = plan->fill_count == 0 ? 0 : fill_phase(plan, false);
    if (code == 0 && plan->fill_count > 0 && plan->driver.traffic.mix[PC_OPERATION_INCR] > 0) {
        code = fill_phase(plan, true);
    }
    return code;
}
