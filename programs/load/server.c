/* SPDX-License-Identifier: Apache-2.0 */
/* server: /proc for the process, one short conversation for the stats. */
#include "programs/load/server.h"

#include "programs/load/settings.h"
#include "protocols/memcached_client.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { STATS_BYTES_MAX = 64 * 1024, STATS_ROWS_MAX = 512 };

static uint64_t status_number(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

static size_t file_read(const char *path, char *into, size_t bytes)
{
    FILE *file = fopen(path, "re");
    const size_t count = file == NULL ? 0 : fread(into, 1, bytes - 1, file);
    into[count] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

/* schedstat counts nanoseconds on the CPU, where stat counts ticks. */
struct pc_load_process pc_load_process_read(int pid)
{
    struct pc_load_process process = {0};
    char path[300], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return process;
    }
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, task->d_name);
        unsigned long long cpu_ns, delay_ns;
        if (file_read(path, text, sizeof(text)) == 0 ||
            sscanf(text, "%llu %llu", &cpu_ns, &delay_ns) != 2) {
            continue;
        }
        process.known = true;
        process.cpu_ns += cpu_ns;
        process.run_delay_ns += delay_ns;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, task->d_name);
        if (file_read(path, text, sizeof(text)) > 0) {
            process.switches_voluntary += status_number(text, "\nvoluntary_ctxt_switches:");
            process.switches_forced += status_number(text, "nonvoluntary_ctxt_switches:");
        }
    }
    closedir(tasks);
    return process;
}

/* The whole answer to "stats", up to END; how many bytes, 0 if it did not come in a second. */
static size_t stats_talk(const struct pc_load_plan *plan, char *into, size_t bytes)
{
    static const char ask[] = "stats\r\n";
    const struct timeval patience = {.tv_sec = 1};
    size_t count = 0;
    const int fd = socket(plan->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return 0;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&plan->address, plan->address_bytes) == 0 &&
        send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(ask) - 1) {
        while (count < bytes) {
            const ssize_t got = recv(fd, into + count, bytes - count, 0);
            count += got > 0 ? (size_t)got : 0;
            const bool whole = count >= 5 && memcmp(into + count - 5, "END\r\n", 5) == 0;
            if (got <= 0 || whole) {
                count = whole ? count : 0;
                break;
            }
        }
    }
    close(fd);
    return count;
}

static void row_add(struct pc_load_stats *stats, struct pc_text line)
{
    char text[256], name[64], number[64];
    snprintf(text, sizeof(text), "%.*s", (int)line.count, line.at);
    if (stats->count == STATS_ROWS_MAX || sscanf(text, "STAT %63s %63s", name, number) != 2) {
        return;
    }
    char *end;
    const double value = strtod(number, &end);
    if (*end == '\0') {
        struct pc_load_stat *row = &stats->rows[stats->count++];
        snprintf(row->name, sizeof(row->name), "%s", name);
        row->value = value;
    }
}

struct pc_load_stats pc_load_stats_read(const struct pc_load_plan *plan)
{
    struct pc_load_stats stats = {0};
    if (plan->driver.dialect != &pc_dialect_memcached) {
        return stats;
    }
    char *text = malloc(STATS_BYTES_MAX);
    stats.rows = calloc(STATS_ROWS_MAX, sizeof(stats.rows[0]));
    const size_t count =
        text == NULL || stats.rows == NULL ? 0 : stats_talk(plan, text, STATS_BYTES_MAX);
    for (size_t used = 0; used < count;) {
        struct pc_memcached_answer answer;
        size_t bytes;
        if (pc_memcached_answer_parse((const uint8_t *)text + used, count - used, &answer,
                                      &bytes) != PC_ANSWER_DONE) {
            break;
        }
        used += bytes;
        if (answer.kind == PC_MEMCACHED_ANSWER_STAT) {
            row_add(&stats, answer.line);
        }
    }
    free(text);
    return stats;
}

static const struct pc_load_stat *row_find(const struct pc_load_stats *stats, const char *name)
{
    for (unsigned i = 0; i < stats->count; i++) {
        if (strcmp(stats->rows[i].name, name) == 0) {
            return &stats->rows[i];
        }
    }
    return NULL;
}

bool pc_load_stats_growth(const struct pc_load_server *server, const char *name, double *out)
{
    const struct pc_load_stat *before = row_find(&server->stats_before, name);
    const struct pc_load_stat *after = row_find(&server->stats_after, name);
    if (before == NULL || after == NULL) {
        return false;
    }
    *out = after->value - before->value;
    return true;
}

void pc_load_server_fini(struct pc_load_server *server)
{
    free(server->stats_before.rows);
    free(server->stats_after.rows);
    *server = (struct pc_load_server){0};
}
