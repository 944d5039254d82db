/* SPDX-License-Identifier: Apache-2.0 */
/* driver: the life of a generator thread and its loop. */
#include "measure/driver.h"

#include "base/check.h"
#include "measure/driver_parts.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READY_BATCH = 256 };

/* A unix socket whose backlog is full is tried again after this. */
#define RETRY_NS UINT64_C(1000000)

static const char *const outcome_names[] = {
#define NAME(name, text, help) text,
    PC_DRIVER_OUTCOMES(NAME)
#undef NAME
};

static const char *const outcome_helps[] = {
#define HELP(name, text, help) help,
    PC_DRIVER_OUTCOMES(HELP)
#undef HELP
};

const char *pc_driver_outcome_name(enum pc_driver_outcome outcome)
{
    return outcome_names[outcome];
}

const char *pc_driver_outcome_help(enum pc_driver_outcome outcome)
{
    return outcome_helps[outcome];
}

void pc_driver_fail(struct pc_driver *driver, enum pc_driver_outcome outcome, const char *format,
                    ...)
{
    if (driver->outcome != PC_DRIVER_COMPLETE) {
        return;
    }
    driver->outcome = outcome;
    char line[PC_DRIVER_TROUBLE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    memcpy(driver->trouble, line, sizeof(line));
}

static int links_create(struct pc_driver *driver)
{
    driver->link_count = pc_traffic_connection_count(driver->traffic);
    driver->links = calloc(driver->link_count, sizeof(driver->links[0]));
    if (driver->links == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < driver->link_count; i++) {
        const int error = pc_link_init(&driver->links[i], i);
        if (error != 0) {
            return error;
        }
        driver->links[i].class_index = pc_traffic_connection_class(driver->traffic, i);
    }
    return 0;
}

int pc_driver_create(const struct pc_driver_config *config, struct pc_driver **out_driver)
{
    struct pc_driver *driver = calloc(1, sizeof(*driver));
    if (driver == NULL) {
        return -ENOMEM;
    }
    driver->config = *config;
    pc_list_init(&driver->dirty);
    pc_list_init(&driver->held);
    driver->traffic = pc_traffic_create(&config->traffic, config->index, config->count);
    driver->tally = pc_tally_create();
    const int error =
        driver->traffic == NULL || driver->tally == NULL ? -ENOMEM : links_create(driver);
    if (error != 0) {
        pc_driver_destroy(driver);
        return error;
    }
    driver->dialect = (struct pc_dialect){
        .ops = config->dialect, .contents = config->contents, .traffic = driver->traffic};
    if (!config->closed) {
        struct pc_arrivals_config arrivals = config->arrivals;
        arrivals.seed = config->traffic.seed;
        arrivals.share = pc_traffic_share(driver->traffic);
        arrivals.share_index = config->index;
        arrivals.share_count = config->count;
        pc_arrivals_init(&driver->arrivals, &arrivals);
    }
    driver->window_end_ns =
        config->request_count > 0 ? UINT64_MAX : config->warmup_ns + config->duration_ns;
    *out_driver = driver;
    return 0;
}

void pc_driver_destroy(struct pc_driver *driver)
{
    if (driver == NULL) {
        return;
    }
    for (unsigned i = 0; driver->links != NULL && i < driver->link_count; i++) {
        pc_link_fini(&driver->links[i]);
    }
    free(driver->links);
    if (driver->poller != NULL) {
        driver->poller->ops->destroy(driver->poller);
    }
    pc_traffic_destroy(driver->traffic);
    pc_tally_destroy(driver->tally);
    free(driver);
}

static void link_connect(struct pc_driver *driver, struct pc_link *link)
{
    const bool retried = link->state == PC_LINK_RETRYING;
    const int error = pc_link_connect(link, &driver->link_config);
    driver->retry_count -= retried;
    driver->retry_count += link->state == PC_LINK_RETRYING;
    if (link->state == PC_LINK_OPEN) {
        driver->open_count++;
        pc_driver_free(driver, link, pc_driver_now(driver));
    }
    if (error != 0) {
        const bool system = error == -EMFILE || error == -ENFILE || error == -ENOBUFS;
        pc_driver_fail(driver,
                       system                  ? PC_DRIVER_SYSTEM
                       : driver->start_ns != 0 ? PC_DRIVER_LOST
                                               : PC_DRIVER_UNREACHABLE,
                       "connection %u: %s", link->handle.index, strerror(-error));
    }
}

static void links_retry(struct pc_driver *driver)
{
    for (unsigned i = 0; i < driver->link_count && driver->retry_count > 0; i++) {
        if (driver->links[i].state == PC_LINK_RETRYING) {
            link_connect(driver, &driver->links[i]);
        }
    }
}

/* A drained link is closed and opened anew; what waits for it keeps its intended times. */
static void link_renew(struct pc_driver *driver, struct pc_link *link)
{
    pc_link_close(link, &driver->link_config);
    driver->open_count--;
    link->draining = false;
    pc_tally_count(driver->tally, PC_TALLY_RECONNECTS, 1);
    link_connect(driver, link);
}

static void link_connected(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns)
{
    const int error = pc_link_connected(link, &driver->link_config);
    if (error != 0) {
        pc_driver_fail(driver, driver->start_ns != 0 ? PC_DRIVER_LOST : PC_DRIVER_UNREACHABLE,
                       "connection %u: %s", link->handle.index, strerror(-error));
        return;
    }
    driver->open_count++;
    pc_driver_free(driver, link, now_ns);
}

static void link_receive(struct pc_driver *driver, struct pc_link *link, bool ended)
{
    pc_driver_receive(driver, link, ended);
    if (driver->config.closed && pc_link_waiting(link) > 0) {
        pc_driver_send(driver, link); /* at once: the next link's turn is no business of this one */
    }
    if (link->draining && pc_link_in_flight(link) == 0 && driver->outcome == PC_DRIVER_COMPLETE) {
        link_renew(driver, link);
    }
}

/* Planted delay: the bytes stay in the kernel, where they have been stamped, until their time. */
static void link_hold(struct pc_driver *driver, struct pc_link *link, uint64_t now_ns)
{
    if (!pc_list_linked(&link->held)) {
        link->held_until_ns = now_ns + driver->config.inject_client_ns;
        pc_list_append(&driver->held, &link->held);
    }
}

static void held_release(struct pc_driver *driver, uint64_t now_ns)
{
    while (!pc_list_empty(&driver->held)) {
        struct pc_link *link = PC_CONTAINER_OF(driver->held.next, struct pc_link, held);
        if (link->held_until_ns > now_ns) {
            return;
        }
        pc_list_remove(&link->held);
        link_receive(driver, link, false);
    }
}

static void link_ready(struct pc_driver *driver, const struct pc_ready *ready, uint64_t now_ns)
{
    struct pc_link *link = &driver->links[ready->handle.index];
    if (link->handle.generation != ready->handle.generation) {
        return;
    }
    if (link->state == PC_LINK_CONNECTING) {
        link_connected(driver, link, now_ns);
        return;
    }
    if (link->state != PC_LINK_OPEN) {
        return;
    }
    if ((ready->what & PC_READY_SEND) != 0 && link->socket_full) {
        link->socket_full = false;
        pc_driver_free(driver, link, now_ns);
    }
    if ((ready->what & (PC_READY_RECEIVE | PC_READY_END)) != 0) {
        if (driver->config.inject_client_ns > 0 && (ready->what & PC_READY_END) == 0) {
            link_hold(driver, link, now_ns);
        } else {
            link_receive(driver, link, (ready->what & PC_READY_END) != 0);
        }
    }
}

static void wait_and_take(struct pc_driver *driver, uint64_t timeout_ns)
{
    struct pc_ready ready[READY_BATCH];
    if (driver->retry_count > 0 && timeout_ns > RETRY_NS) {
        timeout_ns = RETRY_NS;
    }
    const int count =
        driver->poller->ops->wait(driver->poller, timeout_ns, ready, PC_COUNT_OF(ready));
    if (count < 0) {
        pc_driver_fail(driver, PC_DRIVER_SYSTEM, "waiting: %s", strerror(-count));
        return;
    }
    if (count == 0 && driver->retry_count == 0) {
        return;
    }
    const uint64_t now = pc_driver_now(driver);
    for (int i = 0; i < count && driver->outcome == PC_DRIVER_COMPLETE; i++) {
        link_ready(driver, &ready[i], now);
    }
    if (driver->retry_count > 0) {
        links_retry(driver);
    }
}

static bool stopped(const struct pc_driver *driver)
{
    return atomic_load_explicit(&driver->config.signals->stop, memory_order_acquire);
}

static void congestion_read(struct pc_driver *driver)
{
    socklen_t bytes = sizeof(driver->congestion) - 1;
    const struct pc_kernel *kernel = driver->config.kernel;
    if (driver->config.address->sa_family != AF_UNIX) {
        (void)kernel->getsockopt(kernel, driver->links[0].fd, IPPROTO_TCP, TCP_CONGESTION,
                                 driver->congestion, &bytes); /* then it stays empty */
    }
}

static void links_open(struct pc_driver *driver)
{
    const uint64_t begin = pc_driver_now(driver);
    for (unsigned i = 0; i < driver->link_count && driver->outcome == PC_DRIVER_COMPLETE; i++) {
        link_connect(driver, &driver->links[i]);
    }
    while (driver->open_count < driver->link_count && driver->outcome == PC_DRIVER_COMPLETE) {
        wait_and_take(driver, PC_DRIVER_WAIT_NS_MAX);
        if (stopped(driver)) {
            pc_driver_fail(driver, PC_DRIVER_STOPPED, "stopped while connecting");
        } else if (pc_driver_now(driver) - begin > driver->config.silence_ns) {
            pc_driver_fail(driver, PC_DRIVER_UNREACHABLE, "no answer to %u of %u connections",
                           driver->link_count - driver->open_count, driver->link_count);
        }
    }
}

static void start_wait(struct pc_driver *driver)
{
    while (driver->start_ns == 0 && driver->outcome == PC_DRIVER_COMPLETE) {
        driver->start_ns =
            atomic_load_explicit(&driver->config.signals->start_ns, memory_order_acquire);
        if (driver->start_ns == 0) {
            if (stopped(driver)) {
                pc_driver_fail(driver, PC_DRIVER_STOPPED, "stopped before the start");
            }
            wait_and_take(driver, PC_DRIVER_WAIT_NS_MAX);
        }
    }
    /* Everything after this subtracts the start from the clock. */
    while (driver->outcome == PC_DRIVER_COMPLETE) {
        const uint64_t now = pc_driver_now(driver);
        if (now >= driver->start_ns) {
            break;
        }
        wait_and_take(driver, driver->start_ns - now);
    }
}

static void cpu_look(struct pc_driver *driver, uint64_t now_ns, bool last)
{
    const struct pc_kernel *kernel = driver->config.kernel;
    const uint64_t passed = now_ns - driver->start_ns;
    if (!driver->cpu_begun && passed >= driver->config.warmup_ns) {
        driver->cpu_begin_ns = kernel->thread_cpu_ns(kernel);
        driver->cpu_begun = true;
    }
    if (driver->cpu_begun && !driver->cpu_ended && (last || passed >= driver->window_end_ns)) {
        PC_HISTOGRAM_SET(driver->tally->cpu_ns,
                         kernel->thread_cpu_ns(kernel) - driver->cpu_begin_ns);
        driver->cpu_ended = true;
    }
}

static uint64_t timeout_of(const struct pc_driver *driver)
{
    if (!pc_list_empty(&driver->dirty)) {
        return 0;
    }
    uint64_t wake = UINT64_MAX;
    if (driver->planning && !driver->config.closed) {
        wake = driver->start_ns + driver->due_ns + driver->config.inject_schedule_ns;
    }
    if (!pc_list_empty(&driver->held)) {
        const struct pc_link *link = PC_CONTAINER_OF(driver->held.next, struct pc_link, held);
        wake = link->held_until_ns < wake ? link->held_until_ns : wake;
    }
    const uint64_t now = pc_driver_now(driver);
    const uint64_t left = wake > now ? wake - now : 0;
    return left < PC_DRIVER_WAIT_NS_MAX ? left : PC_DRIVER_WAIT_NS_MAX;
}

static void signals_look(struct pc_driver *driver, uint64_t now_ns)
{
    if (driver->planning && stopped(driver)) {
        driver->planning = false;
        driver->window_end_ns = now_ns - driver->start_ns;
    }
    if (driver->planning && driver->config.closed &&
        now_ns - driver->start_ns >= driver->window_end_ns) {
        driver->planning = false;
    }
    if (!driver->planning && driver->planned_until_ns == 0) {
        driver->planned_until_ns = now_ns;
    }
    const uint64_t silence_ns = driver->config.silence_ns;
    if (driver->backlog > 0 && driver->planned_until_ns > 0 &&
        now_ns - driver->planned_until_ns > silence_ns) {
        pc_driver_fail(driver, PC_DRIVER_BEHIND,
                       "the server is too slow for this: %llu requests unanswered %.1f s after the "
                       "last was due",
                       (unsigned long long)driver->backlog, (double)silence_ns / 1e9);
    }
    if (driver->backlog == 0) {
        driver->last_received_ns = now_ns;
    } else if (now_ns > driver->last_received_ns &&
               now_ns - driver->last_received_ns > silence_ns) {
        pc_driver_fail(driver, PC_DRIVER_SILENT, "no answer for %.1f s, %llu requests are waiting",
                       (double)silence_ns / 1e9, (unsigned long long)driver->backlog);
    }
}

static void turn(struct pc_driver *driver)
{
    const uint64_t now = pc_driver_now(driver);
    signals_look(driver, now);
    cpu_look(driver, now, false);
    if (driver->config.stamps) {
        pc_stamp_bridge_refresh(&driver->bridge, driver->config.kernel, now);
    }
    if (!driver->config.closed) {
        pc_driver_plan_due(driver, now);
    }
    if (!pc_list_empty(&driver->held)) {
        held_release(driver, now);
    }
    struct pc_list *node;
    while ((node = pc_list_take(&driver->dirty)) != NULL) {
        pc_driver_send(driver, PC_CONTAINER_OF(node, struct pc_link, dirty));
    }
    if (driver->planning || driver->backlog > 0) {
        wait_and_take(driver, timeout_of(driver));
    }
}

static void loop(struct pc_driver *driver)
{
    driver->planning = true;
    driver->last_received_ns = driver->start_ns;
    if (driver->config.closed) {
        for (unsigned i = 0; i < driver->link_count; i++) {
            for (unsigned d = 0; d < driver->config.depth && driver->planning; d++) {
                pc_driver_plan_here(driver, &driver->links[i], driver->start_ns);
            }
            pc_driver_mark(driver, &driver->links[i]);
        }
    } else {
        driver->due_ns = pc_arrivals_next(&driver->arrivals);
    }
    while ((driver->planning || driver->backlog > 0) && driver->outcome == PC_DRIVER_COMPLETE) {
        turn(driver);
    }
}

/* What nobody answered took at least until now: left out, it would flatter the tail. */
static void unanswered_record(struct pc_driver *driver, uint64_t now_ns)
{
    for (unsigned l = 0; l < driver->link_count; l++) {
        const struct pc_link *link = &driver->links[l];
        for (uint64_t i = link->oldest; i < link->end; i++) {
            const struct pc_planned *planned = &pc_link_flight(link, i)->planned;
            const uint64_t intended = driver->start_ns + planned->intended_ns;
            if (pc_driver_measures(driver, planned->intended_ns) && now_ns > intended) {
                pc_tally_count(driver->tally, PC_TALLY_UNANSWERED, 1);
                pc_histogram_record(driver->tally->timed[PC_TIMED_RESPONSE], now_ns - intended);
            }
        }
    }
}

static void health_read(struct pc_driver *driver, const struct pc_link *link)
{
    const struct pc_kernel *kernel = driver->config.kernel;
    struct tcp_info info;
    socklen_t bytes = sizeof(info);
    if (link->fd < 0 || driver->config.address->sa_family == AF_UNIX ||
        kernel->getsockopt(kernel, link->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0) {
        return;
    }
    driver->health.connection_count++;
    driver->health.retransmit_count += info.tcpi_total_retrans;
    driver->health.rtt_us_sum += info.tcpi_rtt;
    if (info.tcpi_rtt > driver->health.rtt_us_max) {
        driver->health.rtt_us_max = info.tcpi_rtt;
    }
}

static void drive(struct pc_driver *driver)
{
    links_open(driver);
    if (driver->outcome != PC_DRIVER_COMPLETE) {
        return;
    }
    congestion_read(driver);
    atomic_store_explicit(&driver->ready, true, memory_order_release);
    start_wait(driver);
    if (driver->outcome != PC_DRIVER_COMPLETE) {
        return;
    }
    loop(driver);
    const uint64_t now = pc_driver_now(driver);
    cpu_look(driver, now, true);
    unanswered_record(driver, now);
    if (stopped(driver)) {
        pc_driver_fail(driver, PC_DRIVER_STOPPED, "stopped before its time");
    }
}

enum pc_driver_outcome pc_driver_run(struct pc_driver *driver)
{
    const struct pc_driver_config *config = &driver->config;
    const int error = config->poller->create(config->kernel, &driver->poller);
    if (error < 0) {
        pc_driver_fail(driver, PC_DRIVER_SYSTEM, "poller %s: %s", config->poller->name,
                       strerror(-error));
    } else {
        driver->link_config = (struct pc_link_config){
            .kernel = config->kernel,
            .poller = driver->poller,
            .address = config->address,
            .address_bytes = config->address_bytes,
            .congestion = config->congestion,
            .stamps = config->stamps,
        };
        drive(driver);
        for (unsigned i = 0; i < driver->link_count; i++) {
            health_read(driver, &driver->links[i]);
            pc_link_close(&driver->links[i], &driver->link_config);
        }
    }
    atomic_store_explicit(&driver->ended, true, memory_order_release);
    return driver->outcome;
}

void pc_driver_ring(struct pc_driver *driver)
{
    /* Before that it wakes by itself, to look at its connections. */
    if (pc_driver_ready(driver)) {
        driver->poller->ops->bell(driver->poller);
    }
}

bool pc_driver_ready(const struct pc_driver *driver)
{
    return atomic_load_explicit(&driver->ready, memory_order_acquire);
}

bool pc_driver_ended(const struct pc_driver *driver)
{
    return atomic_load_explicit(&driver->ended, memory_order_acquire);
}

enum pc_driver_outcome pc_driver_outcome(const struct pc_driver *driver)
{
    return driver->outcome;
}

const struct pc_tally *pc_driver_tally(const struct pc_driver *driver)
{
    return driver->tally;
}

const struct pc_traffic *pc_driver_traffic(const struct pc_driver *driver)
{
    return driver->traffic;
}

struct pc_link_health pc_driver_health(const struct pc_driver *driver)
{
    return driver->health;
}

const char *pc_driver_trouble(const struct pc_driver *driver)
{
    return driver->trouble;
}

uint64_t pc_driver_stamp_spread_ns(const struct pc_driver *driver)
{
    return driver->bridge.spread_ns;
}

const char *pc_driver_congestion(const struct pc_driver *driver)
{
    return driver->congestion;
}
