/* SPDX-License-Identifier: Apache-2.0 */
/* tune: write, remember, write back. */
#include "programs/load/tune.h"

#include "base/check.h"
#include "programs/commands.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 4096: the number of flows kept apart; far more than connections on a loopback test. */
static const struct {
    const char *path, *value;
} wanted[PC_LOAD_TUNED_MAX] = {
    {"/proc/sys/net/core/rps_sock_flow_entries", "4096"},
    {"/sys/class/net/lo/queues/rx-0/rps_flow_cnt", "4096"},
    {"/sys/class/net/lo/queues/rx-0/rps_cpus", ""}, /* every CPU: computed */
};

static int file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    const bool written = fputs(text, file) >= 0;
    return fclose(file) == 0 && written ? 0 : -EIO;
}

static int file_read(const char *path, char *into, size_t bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -errno;
    }
    const bool read = fgets(into, (int)bytes, file) != NULL;
    fclose(file);
    return read ? 0 : -EIO;
}

/* A mask of all CPUs in the kernel's form: groups of eight hexadecimal digits. */
static void cpus_print(char *into, size_t bytes)
{
    long left = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = 0;
    const long head = left % 32;
    if (head > 0) {
        count = (size_t)snprintf(into, bytes, "%lx", (1L << head) - 1);
    }
    for (left -= head; left > 0 && count + 10 < bytes; left -= 32) {
        count +=
            (size_t)snprintf(into + count, bytes - count, count > 0 ? ",ffffffff" : "ffffffff");
    }
}

static int file_tune(struct pc_load_tuned *tuned, unsigned i)
{
    char value[64];
    snprintf(value, sizeof(value), "%s", wanted[i].value);
    if (value[0] == '\0') {
        cpus_print(value, sizeof(value));
    }
    tuned->files[i].path = wanted[i].path;
    int error = file_read(wanted[i].path, tuned->files[i].text, sizeof(tuned->files[i].text));
    if (error == 0) {
        error = file_write(wanted[i].path, value);
    }
    if (error != 0) {
        tuned->files[i].text[0] = '\0';
        fprintf(stderr, "percore load: --tune: %s: %s\n", wanted[i].path, strerror(-error));
    }
    return error;
}

int pc_load_tune(struct pc_load_tuned *tuned)
{
    const struct sched_param lowest = {.sched_priority = 1}, usual = {0};
    if (sched_setscheduler(0, SCHED_FIFO, &lowest) != 0) {
        fprintf(stderr, "percore load: --tune: real-time priority: %s\n", strerror(errno));
        return PC_EXIT_TROUBLE;
    }
    (void)sched_setscheduler(0, SCHED_OTHER, &usual); /* only the drivers keep it */
    for (unsigned i = 0; i < PC_LOAD_TUNED_MAX; i++) {
        if (file_tune(tuned, i) != 0) {
            return PC_EXIT_TROUBLE;
        }
    }
    return 0;
}

void pc_load_untune(struct pc_load_tuned *tuned)
{
    for (unsigned i = 0; i < PC_LOAD_TUNED_MAX; i++) {
        if (tuned->files[i].text[0] != '\0' &&
            file_write(tuned->files[i].path, tuned->files[i].text) != 0) {
            fprintf(stderr, "percore load: could not restore %s to %s", tuned->files[i].path,
                    tuned->files[i].text);
        }
    }
}
