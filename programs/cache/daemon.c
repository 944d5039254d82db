/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cache/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* The parent's end: a byte means that the child serves, the end of file that it gave up. */
static void wait_for_child(pid_t child, int from_child)
{
    char byte;
    ssize_t count;
    do {
        count = read(from_child, &byte, 1);
    } while (count < 0 && errno == EINTR);
    if (count == 1) {
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int pc_daemon_fork(const char *program)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "%s: cannot go to the background: %s\n", program, strerror(errno));
        return -1;
    }
    fflush(NULL);
    const pid_t child = fork();
    if (child < 0) {
        fprintf(stderr, "%s: cannot go to the background: %s\n", program, strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    if (child > 0) {
        close(ends[1]);
        wait_for_child(child, ends[0]);
    }
    close(ends[0]);
    (void)setsid(); /* fails only for a group leader, which a fresh child is not */
    return ends[1];
}

void pc_daemon_detach(int parent)
{
    fflush(NULL);
    const int nothing = open("/dev/null", O_RDWR);
    if (nothing >= 0) {
        for (int fd = 0; fd <= 2; fd++) {
            (void)dup2(nothing, fd);
        }
        if (nothing > 2) {
            close(nothing);
        }
    }
    ssize_t written;
    do {
        written = write(parent, "", 1);
    } while (written < 0 && errno == EINTR);
    close(parent);
}

bool pc_pid_file_write(const char *program, const char *path)
{
    char beside[PATH_MAX];
    const int bytes = snprintf(beside, sizeof(beside), "%s.tmp", path);
    FILE *file = NULL;
    errno = ENAMETOOLONG;
    if (bytes < (int)sizeof(beside)) {
        file = fopen(beside, "we");
    }
    if (file != NULL) {
        const bool printed = fprintf(file, "%ld\n", (long)getpid()) > 0;
        if (fclose(file) == 0 && printed && rename(beside, path) == 0) {
            return true;
        }
    }
    const int error = errno;
    if (file != NULL) {
        (void)unlink(beside);
    }
    fprintf(stderr, "%s: there is no pid file: %s: %s\n", program, path, strerror(error));
    return false;
}

bool pc_user_is_root(void)
{
    return getuid() == 0 || geteuid() == 0;
}

bool pc_user_become(const char *program, const char *user)
{
    if (!pc_user_is_root()) {
        return true;
    }
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL) {
        fprintf(stderr, "%s: there is no user '%s' to become\n", program, user);
        return false;
    }
    if (setgroups(0, NULL) != 0 || setgid(entry->pw_gid) != 0 || setuid(entry->pw_uid) != 0) {
        fprintf(stderr, "%s: cannot become user '%s': %s\n", program, user, strerror(errno));
        return false;
    }
    return true;
}
