/* SPDX-License-Identifier: Apache-2.0 */
/* quota: find the groups in /proc, then read their limits from the innermost outwards. */
#include "runtime/quota.h"

#include "base/check.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Two paths and some words: no line we need is longer. */
#define LINE_BYTES (2 * PATH_MAX + 512)

/* One mounted hierarchy that limits CPU time. */
struct hierarchy {
    bool unified;         /* version 2 */
    char root[PATH_MAX];  /* the group that is mounted */
    char mount[PATH_MAX]; /* where */
};

static FILE *open_below(const char *root, const char *path)
{
    char whole[PATH_MAX * 2];
    int bytes = snprintf(whole, sizeof(whole), "%s%s", root, path);
    return bytes > 0 && (size_t)bytes < sizeof(whole) ? fopen(whole, "re") : NULL;
}

/* Whether `word` is one of the comma-separated `words`. */
static bool has_word(const char *words, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *at = words; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, bytes) == 0 && (at[bytes] == 0 || at[bytes] == ',')) {
            return true;
        }
    }
    return false;
}

/* Read a line of /proc/self/mountinfo; false if it is no hierarchy for CPU time. */
static bool parse_mount(const char *line, struct hierarchy *out)
{
    char type[64], options[512];
    const char *tail = strstr(line, " - ");
    static_assert(PATH_MAX == 4096, "the widths below");
    if (tail == NULL || sscanf(line, "%*s %*s %*s %4095s %4095s", out->root, out->mount) != 2 ||
        sscanf(tail, " - %63s %*s %511s", type, options) != 2) {
        return false;
    }
    out->unified = strcmp(type, "cgroup2") == 0;
    return out->unified || (strcmp(type, "cgroup") == 0 && has_word(options, "cpu"));
}

/* This process's group in that hierarchy, from /proc/self/cgroup: `number:controllers:path`. */
static bool find_group(const char *root, bool unified, char out_path[static PATH_MAX])
{
    FILE *file = open_below(root, "/proc/self/cgroup");
    if (file == NULL) {
        return false;
    }
    char line[LINE_BYTES];
    bool found = false;
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL || strlen(path + 1) >= PATH_MAX) {
            continue;
        }
        *path++ = 0;
        controllers++;
        found = unified ? controllers[0] == 0 : has_word(controllers, "cpu");
        if (found) {
            memcpy(out_path, path, strlen(path) + 1);
        }
    }
    (void)fclose(file); /* nothing was written */
    return found;
}

/* One number from a file of the group; false if it is not there or not a number. */
static bool read_number(const char *root, const char *group, const char *name, int64_t *out)
{
    char path[PATH_MAX * 2 + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", group, name);
    FILE *file = open_below(root, path);
    if (file == NULL) {
        return false;
    }
    bool found = fscanf(file, "%" SCNd64, out) == 1;
    (void)fclose(file);
    return found;
}

static unsigned milli_of(int64_t quota, int64_t period)
{
    if (quota <= 0 || period <= 0 || quota > INT64_MAX / 1000) {
        return 0;
    }
    int64_t milli = quota * 1000 / period;
    if (milli > INT32_MAX) {
        return 0;
    }
    return milli != 0 ? (unsigned)milli : 1;
}

/* The limit of one group alone; 0: none. */
static unsigned read_group_milli(const char *root, bool unified, const char *group)
{
    int64_t quota, period;
    if (!unified) {
        return read_number(root, group, "cpu.cfs_quota_us", &quota) &&
                       read_number(root, group, "cpu.cfs_period_us", &period)
                   ? milli_of(quota, period)
                   : 0;
    }
    char path[PATH_MAX * 2 + 64];
    (void)snprintf(path, sizeof(path), "%s/cpu.max", group);
    FILE *file = open_below(root, path);
    if (file == NULL) {
        return 0;
    }
    /* `max 100000` has no number in front: no limit. */
    bool limited = fscanf(file, "%" SCNd64 " %" SCNd64, &quota, &period) == 2;
    (void)fclose(file);
    return limited ? milli_of(quota, period) : 0;
}

static unsigned read_hierarchy_milli(const char *root, const struct hierarchy *hierarchy)
{
    char path[PATH_MAX], group[PATH_MAX * 2];
    if (!find_group(root, hierarchy->unified, path)) {
        return 0;
    }
    /* A container may see only its own part of the tree; the path names all of it. */
    const char *inside = path;
    size_t root_bytes = strlen(hierarchy->root);
    if (root_bytes > 1 && strncmp(path, hierarchy->root, root_bytes) == 0 &&
        (path[root_bytes] == '/' || path[root_bytes] == 0)) {
        inside = path + root_bytes;
    }
    (void)snprintf(group, sizeof(group), "%s%s", hierarchy->mount, inside);
    unsigned tightest = 0;
    size_t mount_bytes = strlen(hierarchy->mount);
    for (size_t bytes = strlen(group);; bytes--) {
        bool ends_here = group[bytes] == 0 || group[bytes] == '/' || bytes == mount_bytes;
        if (ends_here) {
            group[bytes] = 0;
            unsigned milli = read_group_milli(root, hierarchy->unified, group);
            if (milli != 0 && (tightest == 0 || milli < tightest)) {
                tightest = milli;
            }
        }
        if (bytes <= mount_bytes) {
            return tightest;
        }
    }
}

unsigned pc_quota_read_milli(const char *root)
{
    FILE *file = open_below(root, "/proc/self/mountinfo");
    if (file == NULL) {
        return 0;
    }
    char line[LINE_BYTES];
    unsigned tightest = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct hierarchy hierarchy;
        if (!parse_mount(line, &hierarchy)) {
            continue;
        }
        unsigned milli = read_hierarchy_milli(root, &hierarchy);
        if (milli != 0 && (tightest == 0 || milli < tightest)) {
            tightest = milli;
        }
    }
    (void)fclose(file);
    return tightest;
}
