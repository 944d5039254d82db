/* SPDX-License-Identifier: Apache-2.0 */
/* cache: memcached's flags to a config, and the cache service on it. */
#include "services/cache.h"

#include "base/check.h"
#include "percore_version.h"
#include "programs/cache/addresses.h"
#include "programs/cache/daemon.h"
#include "programs/cache/extended.h"
#include "programs/cache/rlimits.h"
#include "programs/commands.h"
#include "programs/common/options.h"
#include "programs/common/serve.h"
#include "runtime/kernel.h"
#include "runtime/log.h"
#include "runtime/topology.h"
#include "store/owners/owners.h"
#include "store/owners/pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define PROGRAM "percore cache"

/* cache_memlimit may raise -m so many times. */
enum { RESERVE_TIMES = 16 };

struct settings {
    const char *unix_path, *unix_mode, *user, *pid_path, *model, *poller, *ownership, *lend,
        *accept, *auth_path, *protocol, *huge_pages;
    struct pc_option_list listen, extended;
    uint64_t port, udp_port, memory_megabytes, connections, cores, workers, value_bytes, backlog;
    uint64_t idle_ns, send_ns, drain_ns;
    int affinity;
    bool dump_refused, watch_refused, core_dumps, license, locks_memory, keeps_all, large_pages;
    bool shutdown_allowed, flush_refused, daemon, verbose, version, help;
};

static const struct pc_option rows[] = {
#define PC_OPTION(name, letter, kind, member, least, most, argument, help)                         \
    {name,  letter, PC_OPTION_##kind, offsetof(struct settings, member),                           \
     least, most,   argument,         help},
#include "programs/cache/options.def"
#undef PC_OPTION
};

static const struct pc_options options = {
    .program = PROGRAM,
    .usage = PROGRAM " [flags]",
    .rows = rows,
    .row_count = PC_COUNT_OF(rows),
    .closing = "Exit code: 0 fine, 1 could not run, 2 bad flags, 3 the drain cut connections.\n",
};

/* What the flags say, checked and filled up with defaults. */
struct plan {
    struct pc_addresses addresses;
    struct pc_extended extended;
    const char *ownership;
    bool lends;
    uint64_t limit_bytes, others_bytes, store_bytes, seed;
    unsigned core_count, unix_mode;
};

/* ---- Checking ---- */

static bool read_unix_mode(const char *text, unsigned *out)
{
    char *end;
    errno = 0;
    const unsigned long mode = strtoul(text, &end, 8);
    if (text[0] < '0' || text[0] > '7' || *end != '\0' || errno != 0 || mode > 0777) {
        fprintf(stderr, PROGRAM ": bad value '%s' for --unix-mask (legal: 0 to 0777, octal)\n",
                text);
        return false;
    }
    *out = (unsigned)mode;
    return true;
}

/* Where lanes are not cores nobody owns a slice; then the default is the mode with locks. */
static bool choose_ownership(const struct settings *settings, struct plan *plan)
{
    const bool is_per_core = settings->model == NULL || strcmp(settings->model, "per-core") == 0;
    plan->ownership = settings->ownership;
    if (plan->ownership == NULL) {
        plan->ownership = is_per_core ? "crew" : "shared";
    }
    const struct pc_owners_mode *mode = pc_owners_mode_find(plan->ownership);
    if (mode == NULL) {
        fprintf(stderr, PROGRAM ": bad value '%s' for --ownership (legal: %s)\n", plan->ownership,
                pc_owners_mode_names());
        return false;
    }
    if (!is_per_core && !mode->any_lane) {
        fprintf(stderr,
                PROGRAM ": --ownership %s needs lanes that are cores, --model %s has none "
                        "(legal: --ownership shared, or --model per-core)\n",
                plan->ownership, settings->model);
        return false;
    }
    if (mode->any_lane && settings->lend != NULL) {
        fprintf(stderr,
                PROGRAM ": --lend needs slices with owners, with --ownership %s there are none "
                        "(legal: --ownership crew or owned)\n",
                plan->ownership);
        return false;
    }
    plan->lends = settings->lend != NULL ? strcmp(settings->lend, "on") == 0 : mode->lends;
    return true;
}

/* Loops, buffers and connections live off the same -m; the store gets the rest. 1 MiB a core:
 * rings, buffers kept and the stack; 512 bytes a connection: measured idle. */
static void share_memory(const struct settings *settings, struct plan *plan)
{
    plan->others_bytes = ((uint64_t)plan->core_count << 20) + settings->connections * 512;
    plan->limit_bytes = settings->memory_megabytes << 20;
    plan->store_bytes = pc_cache_store_bytes(plan->limit_bytes, plan->others_bytes);
}

static enum pc_pages_mode huge_pages(const struct settings *settings)
{
    if (settings->huge_pages == NULL || strcmp(settings->huge_pages, "auto") == 0) {
        return PC_PAGES_AUTO;
    }
    return strcmp(settings->huge_pages, "on") == 0 ? PC_PAGES_ON : PC_PAGES_OFF;
}

/* Addresses for cache_memlimit to grow into; they cost nothing until they are used, but those of
 * locked memory count against its limit, and reserved pages are taken whole. A larger memory is not
 * made of segments as small as -m chose. */
static uint64_t reserved_bytes(const struct settings *settings, uint64_t store_bytes)
{
    const bool reserves = !settings->locks_memory && huge_pages(settings) != PC_PAGES_ON &&
                          store_bytes <= UINT64_MAX / RESERVE_TIMES;
    return reserves ? store_bytes * RESERVE_TIMES : store_bytes;
}

static bool count_cores(const struct settings *settings, struct plan *plan)
{
    plan->core_count = (unsigned)settings->cores;
    if (plan->core_count != 0) {
        return true;
    }
    struct pc_machine machine = {0};
    const int error = pc_machine_discover(&machine);
    if (error != 0) {
        fprintf(stderr, PROGRAM ": cannot read the machine's CPUs: %s\n", strerror(-error));
        return false;
    }
    plan->core_count = pc_machine_parallel_count(&machine);
    pc_machine_fini(&machine);
    return true;
}

/* Returns an exit code; PC_EXIT_FINE: go on. */
static int make_plan(const struct settings *settings, struct plan *plan)
{
    *plan = (struct plan){
        .unix_mode = 0700,
        .extended = {.tuning = pc_cache_tuning_default, .idle_ns = settings->idle_ns},
    };
    if (!pc_extended_read(&settings->extended, PROGRAM, &plan->extended)) {
        return PC_EXIT_USAGE;
    }
    if (settings->unix_mode != NULL && !read_unix_mode(settings->unix_mode, &plan->unix_mode)) {
        return PC_EXIT_USAGE;
    }
    if (!choose_ownership(settings, plan)) {
        return PC_EXIT_USAGE;
    }
    if (settings->value_bytes > settings->memory_megabytes << 19) {
        fprintf(stderr,
                PROGRAM ": --max-item-size is over half of --memory-limit (legal: up to "
                        "%llu bytes, or a larger --memory-limit)\n",
                (unsigned long long)(settings->memory_megabytes << 19));
        return PC_EXIT_USAGE;
    }
    const bool addressed = settings->unix_path != NULL
                               ? pc_addresses_unix(&plan->addresses, PROGRAM, settings->unix_path)
                               : pc_addresses_fill(&plan->addresses, PROGRAM, &settings->listen,
                                                   (unsigned)settings->port);
    if (!addressed) {
        return PC_EXIT_USAGE;
    }
    if (pc_user_is_root() && settings->user == NULL) {
        fprintf(stderr, PROGRAM ": will not run as root: say whom to become with -u NAME\n");
        return PC_EXIT_USAGE;
    }
    if (!count_cores(settings, plan)) {
        return PC_EXIT_TROUBLE;
    }
    if (getrandom(&plan->seed, sizeof(plan->seed), 0) != sizeof(plan->seed)) {
        fprintf(stderr, PROGRAM ": no random numbers: %s\n", strerror(errno));
        return PC_EXIT_TROUBLE;
    }
    share_memory(settings, plan);
    return PC_EXIT_FINE;
}

/* ---- Making ---- */

/* What the program is made of; zero is harmless to take apart. */
struct parts {
    struct pc_log *log;
    struct pc_pages pages;
    struct pc_owners *owners;
    struct pc_cache_auth *auth;
    struct pc_cache *cache;
    struct pc_runtime *runtime;
    bool has_pid_file; /* and it is ours to remove */
};

static int make_auth(const struct settings *settings, struct parts *parts)
{
    if (settings->auth_path == NULL) {
        return PC_EXIT_FINE;
    }
    const int error = pc_cache_auth_open(settings->auth_path, &parts->auth);
    if (error == -EINVAL) {
        fprintf(stderr, PROGRAM ": %s must have lines of user:password, in 64 KiB at most\n",
                settings->auth_path);
        return PC_EXIT_USAGE;
    }
    if (error != 0) {
        fprintf(stderr, PROGRAM ": cannot read %s: %s\n", settings->auth_path, strerror(-error));
        return PC_EXIT_TROUBLE;
    }
    return PC_EXIT_FINE;
}

/* How many reserved pages of 2 MiB are free; 0 where the system has none. */
static long reserved_pages_free(void)
{
    long count = 0;
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    if (file != NULL) {
        count = fscanf(file, "%ld", &count) == 1 ? count : 0;
        fclose(file);
    }
    return count;
}

static int say_no_store(const struct settings *settings, const struct plan *plan, int error)
{
    const unsigned long long megabytes = settings->memory_megabytes;
    if (error == -ENOMEM && huge_pages(settings) == PC_PAGES_ON) {
        const uint32_t segment_bytes = pc_pool_segment_bytes_for(plan->store_bytes);
        fprintf(stderr,
                PROGRAM ": no store of %llu MiB in huge pages: %llu of 2 MiB are needed, %ld are "
                        "free (sysctl vm.nr_hugepages, or --huge-pages=auto)\n",
                megabytes, (unsigned long long)pc_pages_needed(plan->store_bytes, segment_bytes),
                reserved_pages_free());
    } else {
        fprintf(stderr, PROGRAM ": no store of %llu MiB: %s\n", megabytes, strerror(-error));
    }
    return error == -EINVAL ? PC_EXIT_USAGE : PC_EXIT_TROUBLE;
}

static int make_store(const struct settings *settings, const struct plan *plan, struct parts *parts)
{
    pc_pages_init(&parts->pages, pc_kernel_linux(), huge_pages(settings), plan->store_bytes);
    const struct pc_owners_config owners_config = {.mode = plan->ownership,
                                                   .core_count = plan->core_count,
                                                   .limit_bytes = plan->store_bytes,
                                                   .limit_bytes_max =
                                                       reserved_bytes(settings, plan->store_bytes),
                                                   .value_bytes_max = settings->value_bytes,
                                                   .seed = plan->seed,
                                                   .keeps_all = settings->keeps_all,
                                                   .memory = &parts->pages.memory};
    int error = pc_owners_create(&owners_config, &parts->owners);
    if (error != 0) {
        return say_no_store(settings, plan, error);
    }
    const struct pc_cache_settings cache_settings = {
        .owners = parts->owners,
        .lends = plan->lends,
        .shutdown_allowed = settings->shutdown_allowed,
        .flush_refused = settings->flush_refused,
        .huge_pages = settings->huge_pages,
        .keeps_all = settings->keeps_all,
        .dump_refused = settings->dump_refused,
        .watch_refused = settings->watch_refused,
        .auth = parts->auth,
        .limit_bytes = plan->limit_bytes,
        .others_bytes = plan->others_bytes,
        .value_bytes_max = settings->value_bytes,
        .connection_count_max = (unsigned)settings->connections,
        .port = settings->unix_path != NULL ? 0 : (unsigned)settings->port,
        .interface = settings->unix_path != NULL ? NULL : plan->addresses.words,
        .socket_path = settings->unix_path,
        .backlog_count = (unsigned)settings->backlog,
        .unix_mode = plan->unix_mode,
        .idle_seconds = (unsigned)(plan->extended.idle_ns / 1000000000),
        .verbosity = settings->verbose ? 1 : 0,
        .tuning = &plan->extended.tuning,
    };
    error = pc_cache_create(&cache_settings, &parts->cache);
    if (error != 0) {
        fprintf(stderr, PROGRAM ": %s\n", strerror(-error));
        return PC_EXIT_TROUBLE;
    }
    return PC_EXIT_FINE;
}

static int make_runtime(const struct settings *settings, const struct plan *plan,
                        struct parts *parts)
{
    const struct pc_config config = {
        .listen = plan->addresses.items,
        .listen_count = plan->addresses.count,
        .model = settings->model,
        .poller = settings->poller,
        .core_count = plan->core_count,
        .affinity = settings->affinity,
        .worker_count = (unsigned)settings->workers,
        .place_count = parts->owners->place_count,
        .places_shared = parts->owners->mode->any_lane,
        .places_lent = plan->lends,
        .accept_by_hash = settings->accept != NULL && strcmp(settings->accept, "hash") == 0,
        .connection_count_max = (unsigned)settings->connections,
        .backlog_count = (unsigned)settings->backlog,
        .unix_mode = plan->unix_mode,
        .idle_ns = plan->extended.idle_ns,
        .send_ns = settings->send_ns,
        .drain_ns = settings->drain_ns,
        /* Long values lie in the store while they are sent: one more than the usual is queued. */
        .reply_bytes_max = (UINT64_C(64) << 20) + settings->value_bytes,
        .seed = plan->seed,
        .log = parts->log,
        .emit = pc_serve_emit,
    };
    char trouble[256] = "cannot start";
    const int error = pc_runtime_create(&config, &pc_cache_service, parts->cache, &parts->runtime,
                                        trouble, sizeof(trouble));
    if (error < 0) {
        fprintf(stderr, PROGRAM ": %s\n", trouble);
        return error == -EINVAL ? PC_EXIT_USAGE : PC_EXIT_TROUBLE;
    }
    return PC_EXIT_FINE;
}

static int make_parts(const struct settings *settings, const struct plan *plan, struct parts *parts)
{
    parts->log = pc_log_create(
        &(struct pc_log_config){.level = settings->verbose ? PC_LOG_DEBUG : PC_LOG_INFO});
    if (settings->core_dumps) {
        pc_rlimits_core_files();
    }
    if (settings->locks_memory) {
        pc_rlimits_locked_memory();
    }
    int code = pc_rlimits_open_files(PROGRAM, settings->connections, plan->core_count)
                   ? make_auth(settings, parts)
                   : PC_EXIT_TROUBLE;
    if (code == PC_EXIT_FINE) {
        code = make_store(settings, plan, parts);
    }
    if (code == PC_EXIT_FINE) {
        code = make_runtime(settings, plan, parts);
    }
    if (code == PC_EXIT_FINE && settings->user != NULL &&
        !pc_user_become(PROGRAM, settings->user)) {
        code = PC_EXIT_TROUBLE;
    }
    if (code == PC_EXIT_FINE && settings->locks_memory) {
        pc_rlimits_lock_memory(PROGRAM, plan->limit_bytes * 2);
    }
    if (code == PC_EXIT_FINE && settings->pid_path != NULL) {
        parts->has_pid_file = pc_pid_file_write(PROGRAM, settings->pid_path);
    }
    return code;
}

static void take_apart(struct parts *parts, const char *pid_path)
{
    if (parts->has_pid_file) {
        (void)unlink(pid_path); /* who made it may have lost the right to remove it */
    }
    pc_cache_destroy(parts->cache);
    pc_owners_destroy(parts->owners);
    pc_cache_auth_close(parts->auth);
    pc_log_destroy(parts->log);
}

/* ---- Running ---- */

static int serve(const struct settings *settings, const struct plan *plan, struct parts *parts,
                 int parent)
{
    char memory[160], talk[160];
    snprintf(
        memory, sizeof(memory), "%llu MiB in all, %llu MiB for items in %u slices, ownership %s",
        (unsigned long long)(plan->limit_bytes >> 20),
        (unsigned long long)(plan->store_bytes >> 20), parts->owners->place_count, plan->ownership);
    const char *address = pc_runtime_address(parts->runtime, 0);
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0) {
        snprintf(talk, sizeof(talk), "printf 'stats\\r\\nquit\\r\\n' | nc -U %s", address + 5);
    } else {
        snprintf(talk, sizeof(talk), "printf 'stats\\r\\nquit\\r\\n' | nc %.*s %s",
                 (int)(colon - address), address, colon + 1);
    }
    const char *const talks[] = {talk, NULL};
    const struct pc_serving serving = {
        .program = PROGRAM, .memory = memory, .talk = talks, .quiet = parent >= 0};
    if (parent >= 0) {
        pc_serve_announce(&serving, parts->runtime);
        pc_daemon_detach(parent);
    }
    return pc_serve_run(&serving, parts->runtime);
}

static int run(const struct settings *settings)
{
    struct plan plan;
    int code = make_plan(settings, &plan);
    if (code != PC_EXIT_FINE) {
        return code;
    }
    int parent = -1;
    if (settings->daemon && (parent = pc_daemon_fork(PROGRAM)) < 0) {
        return PC_EXIT_TROUBLE;
    }
    struct parts parts = {0};
    code = make_parts(settings, &plan, &parts);
    if (code == PC_EXIT_FINE) {
        code = serve(settings, &plan, &parts, parent);
    } else {
        pc_runtime_destroy(parts.runtime);
    }
    take_apart(&parts, settings->pid_path);
    return code;
}

int pc_command_cache(int argc, char **argv)
{
    struct settings settings = {
        .port = 11211,
        .memory_megabytes = 64,
        .connections = 1024,
        .backlog = 1024,
        .value_bytes = 1 << 20,
        .drain_ns = UINT64_C(10000000000),
    };
    const int first = pc_options_parse(&options, argc, argv, &settings);
    if (first < 0) {
        return PC_EXIT_USAGE;
    }
    if (settings.help) {
        pc_options_help(&options);
        return PC_EXIT_FINE;
    }
    if (settings.version) {
        printf("percore %s (memcached " PC_CACHE_VERSION ")\n", PC_VERSION);
        return PC_EXIT_FINE;
    }
    if (settings.license) {
        printf("percore is under the Apache License, version 2.0: "
               "https://www.apache.org/licenses/LICENSE-2.0\n");
        return PC_EXIT_FINE;
    }
    if (first < argc) {
        fprintf(stderr, PROGRAM ": unknown word '%s' (legal: flags only, see --help)\n",
                argv[first]);
        return PC_EXIT_USAGE;
    }
    return run(&settings);
}
