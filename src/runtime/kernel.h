/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel: the table of every system call the project makes.
 *
 * Owner    Nobody: a table is constant once made. pc_kernel_linux() is the real one; a test embeds
 *          a table in its own invented machine and finds that again with PC_KERNEL_OWNER.
 * Memory   Whoever fills a table keeps it until the last runtime that uses it is destroyed.
 * Core     any: the real table has no state; an invented one says what it allows.
 * Errors   Every call that can fail returns zero or a count when fine, a negative errno when not.
 * Units    Times are nanoseconds; PC_FOREVER means no limit. A wait may end late, never early.
 * Cost     One indirect call beside the system call.
 */
#ifndef PC_RUNTIME_KERNEL_H
#define PC_RUNTIME_KERNEL_H

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#define PC_FOREVER UINT64_MAX

/* The machine of type `type` that holds the table `kernel` as its member `member`. The detour over
 * a number is because the table is const to its callers while the machine around it is not. */
#define PC_KERNEL_OWNER(kernel, type, member) ((type *)((uintptr_t)(kernel)-offsetof(type, member)))

/* A thread to start. The caller keeps it, unmoved, until thread_join has returned. */
struct pc_thread {
    void (*run)(void *ctx);
    void *ctx;
    const char *name;   /* as debuggers show it, cut to 15 letters; NULL: the program's */
    int cpu;            /* pinned there from its first instruction on; -1: wherever it may run */
    size_t stack_bytes; /* 0: the system's default */
    uintptr_t handle;   /* the kernel's, set by thread_start */
};

struct pc_kernel {
    /* Sockets: arguments as in the manual, section 2. */
    int (*socket)(const struct pc_kernel *, int family, int type, int protocol);
    int (*bind)(const struct pc_kernel *, int fd, const struct sockaddr *, socklen_t);
    int (*listen)(const struct pc_kernel *, int fd, int backlog);
    int (*accept4)(const struct pc_kernel *, int fd, struct sockaddr *, socklen_t *, int flags);
    int (*connect)(const struct pc_kernel *, int fd, const struct sockaddr *, socklen_t);
    ssize_t (*recv)(const struct pc_kernel *, int fd, void *into, size_t bytes, int flags);
    ssize_t (*recvmsg)(const struct pc_kernel *, int fd, struct msghdr *, int flags);
    ssize_t (*send)(const struct pc_kernel *, int fd, const void *from, size_t bytes, int flags);
    ssize_t (*sendmsg)(const struct pc_kernel *, int fd, const struct msghdr *, int flags);
    int (*shutdown)(const struct pc_kernel *, int fd, int how);
    int (*setsockopt)(const struct pc_kernel *, int fd, int level, int name, const void *value,
                      socklen_t bytes);
    int (*getsockopt)(const struct pc_kernel *, int fd, int level, int name, void *value,
                      socklen_t *bytes);
    int (*getsockname)(const struct pc_kernel *, int fd, struct sockaddr *, socklen_t *);
    int (*getpeername)(const struct pc_kernel *, int fd, struct sockaddr *, socklen_t *);

    /* Descriptors and files. */
    int (*close)(const struct pc_kernel *, int fd);
    ssize_t (*read)(const struct pc_kernel *, int fd, void *into, size_t bytes);
    ssize_t (*write)(const struct pc_kernel *, int fd, const void *from, size_t bytes);
    int (*lstat)(const struct pc_kernel *, const char *path, struct stat *out);
    int (*chmod)(const struct pc_kernel *, const char *path, mode_t mode);
    int (*unlink)(const struct pc_kernel *, const char *path);

    /* Waiting. */
    int (*epoll_create1)(const struct pc_kernel *, int flags);
    int (*epoll_ctl)(const struct pc_kernel *, int epoll_fd, int what, int fd,
                     struct epoll_event *);
    int (*epoll_wait)(const struct pc_kernel *, int epoll_fd, struct epoll_event *events,
                      int event_count_max, uint64_t timeout_ns);
    int (*poll)(const struct pc_kernel *, struct pollfd *fds, nfds_t count, uint64_t timeout_ns);
    int (*eventfd)(const struct pc_kernel *, unsigned start, int flags);
    int (*signalfd)(const struct pc_kernel *, int fd, const sigset_t *, int flags);
    /* A descriptor that becomes readable every `period_ns`, not blocking. */
    int (*timerfd)(const struct pc_kernel *, uint64_t period_ns);
    int (*signal_mask)(const struct pc_kernel *, int how, const sigset_t *set, sigset_t *out_old);

    /* Clocks; these cannot fail. */
    uint64_t (*clock_ns)(const struct pc_kernel *);      /* monotonic */
    uint64_t (*realtime_ns)(const struct pc_kernel *);   /* since 1970; for logs */
    uint64_t (*realtime_s)(const struct pc_kernel *);    /* since 1970; for expiry */
    uint64_t (*thread_cpu_ns)(const struct pc_kernel *); /* spent by the calling thread */

    /* Threads. A start that fails leaves nothing behind; -EINVAL also when `cpu` is not ours. */
    int (*thread_start)(const struct pc_kernel *, struct pc_thread *);
    int (*thread_join)(const struct pc_kernel *, struct pc_thread *); /* may block */
    /* Run it on the calling thread, which keeps its name and stack and has its CPUs back
     * afterwards. Fails like a start: then nothing has run. May block. */
    int (*thread_here)(const struct pc_kernel *, struct pc_thread *);
    void (*sched_yield)(const struct pc_kernel *);

    /* Memory and randomness. `out_at` is untouched on failure; random_bytes fills all or fails. */
    int (*mmap)(const struct pc_kernel *, size_t bytes, int protection, int flags, void **out_at);
    int (*munmap)(const struct pc_kernel *, void *at, size_t bytes);
    int (*madvise)(const struct pc_kernel *, void *at, size_t bytes, int advice);
    int (*random_bytes)(const struct pc_kernel *, void *into, size_t bytes);
};

/* The machine we run on.  Core: any. */
const struct pc_kernel *pc_kernel_linux(void);

#endif
