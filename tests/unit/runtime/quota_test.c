/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the tightest CPU limit is found in the trees of version 1, version 2, and containers.
 * Method: a directory of the test's own with the few files of /proc and /sys that matter.
 */
#include "runtime/quota.h"

#include "base/check.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
    const char *path, *text;
};

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
    return remove(path);
}

static void put_file(const char *root, const struct file *file)
{
    char path[PATH_MAX];
    assert_true(snprintf(path, sizeof(path), "%s%s", root, file->path) < (int)sizeof(path));
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(file->text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

/* The quota of a machine with these files, up to the first without a name. */
static unsigned quota_of(const struct file *files)
{
    char root[] = "/tmp/percore-quota-XXXXXX";
    assert_non_null(mkdtemp(root));
    for (const struct file *file = files; file->path != NULL; file++) {
        put_file(root, file);
    }
    unsigned milli = pc_quota_read_milli(root);
    assert_int_equal(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    return milli;
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT                                                                                   \
    "33 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"

static void no_files_no_quota(void **state)
{
    assert_int_equal(quota_of((const struct file[]){{0}}), 0);
    assert_int_equal(
        quota_of((const struct file[]){
            {"/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n"},
            {"/proc/self/cgroup", "0::/\n"},
            {0}}),
        0);
}

static void version_2_takes_the_tightest_of_the_path(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" V2_MOUNT},
        {"/proc/self/cgroup", "0::/pod.slice/web.service\n"},
        {"/sys/fs/cgroup/pod.slice/cpu.max", "150000 100000\n"},
        {"/sys/fs/cgroup/pod.slice/web.service/cpu.max", "400000 100000\n"},
        {"/sys/fs/cgroup/pod.slice/other.service/cpu.max", "10000 100000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 1500);
}

static void version_2_max_is_no_limit(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo", V2_MOUNT},
        {"/proc/self/cgroup", "0::/web\n"},
        {"/sys/fs/cgroup/web/cpu.max", "max 100000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 0);
}

static void version_1_reads_two_files(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo",
         "32 24 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" V1_MOUNT},
        {"/proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/docker/abc\n0::/\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "20000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 2500);
}

/* The path is the machine's, the mount shows the container's part alone. */
static void container_sees_its_own_part(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo",
         "33 24 0:28 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"},
        {"/proc/self/cgroup", "4:cpu:/docker/abc/inner\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n"},
        {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "70000\n"},
        {"/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 700);
}

/* The path leads to directories that are not there: the mounted group still counts. */
static void unseen_path_leaves_the_mounted_group(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo", V2_MOUNT},
        {"/proc/self/cgroup", "0::/../../elsewhere/deep\n"},
        {"/sys/fs/cgroup/cpu.max", "200000 100000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 2000);
}

static void hybrid_takes_the_tighter_tree(void **state)
{
    const struct file files[] = {
        {"/proc/self/mountinfo", V1_MOUNT V2_MOUNT},
        {"/proc/self/cgroup", "4:cpu,cpuacct:/a\n0::/b\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n"},
        {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
        {"/sys/fs/cgroup/b/cpu.max", "1 100000\n"},
        {0},
    };
    assert_int_equal(quota_of(files), 1); /* next to nothing is still a limit */
}

static void nonsense_is_no_limit(void **state)
{
    const char *const texts[] = {"",           "200000",    "-5 100000\n",
                                 "100000 0\n", "abc def\n", "9223372036854775807 1\n"};
    for (size_t i = 0; i < PC_COUNT_OF(texts); i++) {
        const struct file files[] = {
            {"/proc/self/mountinfo", V2_MOUNT},
            {"/proc/self/cgroup", "broken\n0::/\n"},
            {"/sys/fs/cgroup/cpu.max", texts[i]},
            {0},
        };
        assert_int_equal(quota_of(files), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_files_no_quota),
        cmocka_unit_test(version_2_takes_the_tightest_of_the_path),
        cmocka_unit_test(version_2_max_is_no_limit),
        cmocka_unit_test(version_1_reads_two_files),
        cmocka_unit_test(container_sees_its_own_part),
        cmocka_unit_test(unseen_path_leaves_the_mounted_group),
        cmocka_unit_test(hybrid_takes_the_tighter_tree),
        cmocka_unit_test(nonsense_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
