/* SPDX-License-Identifier: Apache-2.0 */
/* echo: flags to a config, and the echo service on it. */
#include "services/echo.h"

#include "base/check.h"
#include "programs/commands.h"
#include "programs/common/options.h"
#include "programs/common/serve.h"
#include "runtime/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *host, *model, *poller, *accept;
    struct pc_option_list listen;
    uint64_t port, cores, workers, connections, body_bytes, idle_ns, send_ns, drain_ns;
    int affinity;
    bool work, help;
};

static const struct pc_option rows[] = {
#define PC_OPTION(name, letter, kind, member, least, most, argument, help)                         \
    {name,  letter, PC_OPTION_##kind, offsetof(struct settings, member),                           \
     least, most,   argument,         help},
#include "programs/echo/options.def"
#undef PC_OPTION
};

static const struct pc_options options = {
    .program = "percore echo",
    .usage = "percore echo [HOST] [PORT] [CORES] [AFFINITY 0|1] [flags]",
    .rows = rows,
    .row_count = PC_COUNT_OF(rows),
    .closing = "A frame is a 4-byte big-endian length and so many bytes; it comes back as it is.\n"
               "Exit code: 0 fine, 1 could not run, 2 bad flags, 3 the drain cut connections.\n",
};

static const struct pc_option *row_named(const char *name)
{
    for (unsigned i = 0; i < PC_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    abort();
}

/* HOST PORT CORES AFFINITY, each by itself or by its flag. */
static bool positional(struct settings *settings, int count, char **words)
{
    if (count > 4) {
        fprintf(stderr,
                "percore echo: too many words from '%s' on (legal: [HOST] [PORT] [CORES] "
                "[AFFINITY])\n",
                words[4]);
        return false;
    }
    if (count > 0) {
        settings->host = words[0];
    }
    if (count > 1 &&
        !pc_options_number(&options, row_named("port"), "PORT", words[1], &settings->port)) {
        return false;
    }
    if (count > 2 &&
        !pc_options_number(&options, row_named("cores"), "CORES", words[2], &settings->cores)) {
        return false;
    }
    if (count > 3) {
        if (strcmp(words[3], "0") != 0 && strcmp(words[3], "1") != 0) {
            fprintf(stderr, "percore echo: bad value '%s' for AFFINITY (legal: 0, 1)\n", words[3]);
            return false;
        }
        settings->affinity = words[3][0] == '1' ? 1 : -1;
    }
    return true;
}

static int run(const struct settings *settings)
{
    char address[300];
    snprintf(address, sizeof(address), strchr(settings->host, ':') ? "[%s]:%u" : "%s:%u",
             settings->host, (unsigned)settings->port);
    const char *first = address;
    struct pc_log *log = pc_log_create(&(struct pc_log_config){0});
    struct pc_service service = pc_echo_service(settings->body_bytes, settings->work);
    struct pc_config config = {
        .listen = settings->listen.count > 0 ? settings->listen.items : &first,
        .listen_count = settings->listen.count > 0 ? settings->listen.count : 1,
        .model = settings->model,
        .poller = settings->poller,
        .core_count = (unsigned)settings->cores,
        .affinity = settings->affinity,
        .worker_count = (unsigned)settings->workers,
        .accept_by_hash = settings->accept != NULL && strcmp(settings->accept, "hash") == 0,
        .connection_count_max = (unsigned)settings->connections,
        .idle_ns = settings->idle_ns,
        .send_ns = settings->send_ns,
        .drain_ns = settings->drain_ns,
        .log = log,
        .emit = pc_serve_emit,
    };
    struct pc_runtime *runtime;
    char trouble[256];
    int outcome = pc_runtime_create(&config, &service, NULL, &runtime, trouble, sizeof(trouble));
    int code = outcome == -EINVAL ? PC_EXIT_USAGE : PC_EXIT_TROUBLE;
    if (outcome < 0) {
        fprintf(stderr, "percore echo: %s\n", trouble);
    } else {
        static const char *const talk[] = {
            "printf '\\0\\0\\0\\2hi' | nc -N HOST PORT   (a 4-byte big-endian length, then the "
            "body)",
            NULL,
        };
        const struct pc_serving serving = {.program = "percore echo", .talk = talk};
        code = pc_serve_run(&serving, runtime);
    }
    pc_log_destroy(log);
    return code;
}

int pc_command_echo(int argc, char **argv)
{
    struct settings settings = {
        .host = "*",
        .port = 9000,
        .body_bytes = PC_ECHO_BODY_BYTES_MAX,
        .drain_ns = UINT64_C(10000000000),
    };
    int first = pc_options_parse(&options, argc, argv, &settings);
    if (first >= 0 && settings.help) {
        pc_options_help(&options);
        return PC_EXIT_FINE;
    }
    if (first < 0 || !positional(&settings, argc - first, argv + first)) {
        return PC_EXIT_USAGE;
    }
    return run(&settings);
}
