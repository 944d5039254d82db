/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon: leaving the terminal, the pid file, and another user's rights.
 *
 * Core     boot: before any thread exists.
 * Errors   Messages go to standard error, one line each; functions return false after one.
 */
#ifndef PC_PROGRAMS_CACHE_DAEMON_H
#define PC_PROGRAMS_CACHE_DAEMON_H

#include <stdbool.h>

/* Fork; the caller goes on in the child with the terminal still attached. The parent waits for
 * pc_daemon_detach and exits 0, or with the child's exit code if that comes first. Returns what to
 * give to pc_daemon_detach, or -1 after a message. */
int pc_daemon_fork(const char *program);

/* All is well: let go of the terminal and of the parent. */
void pc_daemon_detach(int parent);

/* Put our process id there, whole or not at all. Where that is refused a line says so; as with
 * memcached it is no reason not to serve. True: there is a file, ours to remove. */
bool pc_pid_file_write(const char *program, const char *path);

/* Root becomes `user`; nobody else changes. */
bool pc_user_become(const char *program, const char *user);

/* Whether the rights of root are in use. */
bool pc_user_is_root(void);

#endif
