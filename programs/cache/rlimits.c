/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cache/rlimits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Descriptors that are no connections: the program's own; each core's poller, bell, listeners. */
enum { FILES_OWN = 64, FILES_OF_CORE = 16 };

/* Where that is refused there is nothing to be said. */
static void raise_to(int which, rlim_t wanted)
{
    struct rlimit limit;
    if (getrlimit(which, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    const struct rlimit more = {
        .rlim_cur = wanted,
        .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted,
    };
    if (setrlimit(which, &more) != 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(which, &limit);
    }
}

bool pc_rlimits_open_files(const char *program, uint64_t connection_count, unsigned core_count)
{
    raise_to(RLIMIT_NOFILE, connection_count + FILES_OWN + (rlim_t)FILES_OF_CORE * core_count);
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    (void)getrlimit(RLIMIT_NOFILE, &limit); /* fails only on a bad name */
    if (limit.rlim_cur >= connection_count) {
        return true;
    }
    fprintf(stderr,
            "%s: --conn-limit %llu needs as many open files, the system allows %llu (a smaller "
            "--conn-limit, ulimit -n, or LimitNOFILE= in a systemd unit)\n",
            program, (unsigned long long)connection_count, (unsigned long long)limit.rlim_cur);
    return false;
}

void pc_rlimits_core_files(void)
{
    raise_to(RLIMIT_CORE, RLIM_INFINITY);
}

void pc_rlimits_locked_memory(void)
{
    raise_to(RLIMIT_MEMLOCK, RLIM_INFINITY);
}

void pc_rlimits_lock_memory(const char *program, uint64_t needed_bytes)
{
    /* On fault: the addresses of the pool cost nothing before they are used, locked or not. By
     * number, since the sanitizers turn the C library's mlockall into nothing. */
    if (syscall(SYS_mlockall, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0) {
        return;
    }
    const int error = errno;
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit); /* fails only on a bad name */
    fprintf(stderr,
            "%s: --lock-memory is without effect: %s; RLIMIT_MEMLOCK is %llu KiB and about %llu "
            "are needed (ulimit -l, or LimitMEMLOCK=infinity in a systemd unit)\n",
            program, strerror(error), (unsigned long long)limit.rlim_cur >> 10,
            (unsigned long long)needed_bytes >> 10);
}
