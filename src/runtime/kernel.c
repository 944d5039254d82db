/* SPDX-License-Identifier: Apache-2.0 */
/* kernel: the real machine. Nothing here decides anything; it only turns errno into a result. */
#include "runtime/kernel.h"

#include "base/check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PC_NS_PER_S  1000000000u
#define PC_NS_PER_MS 1000000u

static int linux_socket(const struct pc_kernel *kernel, int family, int type, int protocol)
{
    int fd = socket(family, type, protocol);
    return fd >= 0 ? fd : -errno;
}

static int linux_bind(const struct pc_kernel *kernel, int fd, const struct sockaddr *address,
                      socklen_t bytes)
{
    return bind(fd, address, bytes) == 0 ? 0 : -errno;
}

static int linux_listen(const struct pc_kernel *kernel, int fd, int backlog)
{
    return listen(fd, backlog) == 0 ? 0 : -errno;
}

static int linux_accept4(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                         socklen_t *bytes, int flags)
{
    int accepted = accept4(fd, address, bytes, flags);
    return accepted >= 0 ? accepted : -errno;
}

static int linux_connect(const struct pc_kernel *kernel, int fd, const struct sockaddr *address,
                         socklen_t bytes)
{
    return connect(fd, address, bytes) == 0 ? 0 : -errno;
}

/* The calls of every turn bypass the C library: its thread cancellation costs two locked
 * instructions, and errno, which is the thread's own, touches another page. Sanitizers and hooks
 * want to see the library's. */
#if defined(__x86_64__) && !defined(PC_HOOKS) && !defined(__SANITIZE_ADDRESS__) &&                 \
    !defined(__SANITIZE_THREAD__)
static inline long direct(long number, long a, const void *b, long c, long d, const void *e, long f)
{
    register long fourth __asm__("r10") = d;
    register const void *fifth __asm__("r8") = e;
    register long sixth __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return number; /* a count, or a negative errno */
}
#define direct_recv(fd, into, bytes, flags)                                                        \
    direct(SYS_recvfrom, fd, into, (long)(bytes), flags, NULL, 0)
#define direct_send(fd, from, bytes, flags)                                                        \
    direct(SYS_sendto, fd, from, (long)(bytes), flags, NULL, 0)
#define direct_sendmsg(fd, message, flags) direct(SYS_sendmsg, fd, message, flags, 0, NULL, 0)
#define direct_epoll_wait(fd, events, count, ms)                                                   \
    direct(SYS_epoll_pwait, fd, events, count, ms, NULL, 0)
#define direct_epoll_pwait2(fd, events, count, timeout)                                            \
    direct(SYS_epoll_pwait2, fd, events, count, (long)(timeout), NULL, 0)
#else
static long result_of(long outcome)
{
    return outcome >= 0 ? outcome : -errno;
}
#define direct_recv(fd, into, bytes, flags)      result_of(recv(fd, into, bytes, flags))
#define direct_send(fd, from, bytes, flags)      result_of(send(fd, from, bytes, flags))
#define direct_sendmsg(fd, message, flags)       result_of(sendmsg(fd, message, flags))
#define direct_epoll_wait(fd, events, count, ms) result_of(epoll_wait(fd, events, count, ms))
#define direct_epoll_pwait2(fd, events, count, timeout)                                            \
    result_of(epoll_pwait2(fd, events, count, timeout, NULL))
#endif

static ssize_t linux_recv(const struct pc_kernel *kernel, int fd, void *into, size_t bytes,
                          int flags)
{
    return direct_recv(fd, into, bytes, flags);
}

static ssize_t linux_recvmsg(const struct pc_kernel *kernel, int fd, struct msghdr *message,
                             int flags)
{
    ssize_t count = recvmsg(fd, message, flags);
    return count >= 0 ? count : -errno;
}

static ssize_t linux_send(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes,
                          int flags)
{
    return direct_send(fd, from, bytes, flags);
}

static ssize_t linux_sendmsg(const struct pc_kernel *kernel, int fd, const struct msghdr *message,
                             int flags)
{
    return direct_sendmsg(fd, message, flags);
}

static int linux_shutdown(const struct pc_kernel *kernel, int fd, int how)
{
    return shutdown(fd, how) == 0 ? 0 : -errno;
}

static int linux_setsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                            const void *value, socklen_t bytes)
{
    return setsockopt(fd, level, name, value, bytes) == 0 ? 0 : -errno;
}

static int linux_getsockopt(const struct pc_kernel *kernel, int fd, int level, int name,
                            void *value, socklen_t *bytes)
{
    return getsockopt(fd, level, name, value, bytes) == 0 ? 0 : -errno;
}

static int linux_getsockname(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                             socklen_t *bytes)
{
    return getsockname(fd, address, bytes) == 0 ? 0 : -errno;
}

static int linux_getpeername(const struct pc_kernel *kernel, int fd, struct sockaddr *address,
                             socklen_t *bytes)
{
    return getpeername(fd, address, bytes) == 0 ? 0 : -errno;
}

static int linux_close(const struct pc_kernel *kernel, int fd)
{
    return close(fd) == 0 ? 0 : -errno;
}

static ssize_t linux_read(const struct pc_kernel *kernel, int fd, void *into, size_t bytes)
{
    ssize_t count = read(fd, into, bytes);
    return count >= 0 ? count : -errno;
}

static ssize_t linux_write(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes)
{
    ssize_t count = write(fd, from, bytes);
    return count >= 0 ? count : -errno;
}

static int linux_lstat(const struct pc_kernel *kernel, const char *path, struct stat *out)
{
    return lstat(path, out) == 0 ? 0 : -errno;
}

static int linux_chmod(const struct pc_kernel *kernel, const char *path, mode_t mode)
{
    return chmod(path, mode) == 0 ? 0 : -errno;
}

static int linux_unlink(const struct pc_kernel *kernel, const char *path)
{
    return unlink(path) == 0 ? 0 : -errno;
}

static int linux_epoll_create1(const struct pc_kernel *kernel, int flags)
{
    int fd = epoll_create1(flags);
    return fd >= 0 ? fd : -errno;
}

static int linux_epoll_ctl(const struct pc_kernel *kernel, int epoll_fd, int what, int fd,
                           struct epoll_event *event)
{
    return epoll_ctl(epoll_fd, what, fd, event) == 0 ? 0 : -errno;
}

static struct timespec timespec_from_ns(uint64_t ns)
{
    return (struct timespec){
        .tv_sec = (time_t)(ns / PC_NS_PER_S),
        .tv_nsec = (long)(ns % PC_NS_PER_S),
    };
}

/* Whole milliseconds, rounded up: the wait may end late but not early. */
static int milliseconds_from_ns(uint64_t ns)
{
    if (ns == PC_FOREVER) {
        return -1;
    }
    uint64_t ms = ns / PC_NS_PER_MS + (ns % PC_NS_PER_MS != 0);
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static int linux_epoll_wait(const struct pc_kernel *kernel, int epoll_fd,
                            struct epoll_event *events, int event_count_max, uint64_t timeout_ns)
{
    /* To look without waiting, and to wait for ever, every kernel has the older call. */
    if (timeout_ns != 0 && timeout_ns != PC_FOREVER) {
        struct timespec timeout = timespec_from_ns(timeout_ns);
        const long count = direct_epoll_pwait2(epoll_fd, events, event_count_max, &timeout);
        /* Linux before 5.11 says ENOSYS; some container profiles say EPERM to what they do not
         * know, which this call itself never says. */
        if (count != -ENOSYS && count != -EPERM) {
            return (int)count;
        }
    }
    return (int)direct_epoll_wait(epoll_fd, events, event_count_max,
                                  milliseconds_from_ns(timeout_ns));
}

static int linux_poll(const struct pc_kernel *kernel, struct pollfd *fds, nfds_t count,
                      uint64_t timeout_ns)
{
    struct timespec timeout = timespec_from_ns(timeout_ns);
    int ready = ppoll(fds, count, timeout_ns == PC_FOREVER ? NULL : &timeout, NULL);
    return ready >= 0 ? ready : -errno;
}

static int linux_eventfd(const struct pc_kernel *kernel, unsigned start, int flags)
{
    int fd = eventfd(start, flags);
    return fd >= 0 ? fd : -errno;
}

static int linux_signalfd(const struct pc_kernel *kernel, int fd, const sigset_t *set, int flags)
{
    int out = signalfd(fd, set, flags);
    return out >= 0 ? out : -errno;
}

static int linux_timerfd(const struct pc_kernel *kernel, uint64_t period_ns)
{
    struct timespec period = timespec_from_ns(period_ns);
    struct itimerspec beat = {.it_interval = period, .it_value = period};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd >= 0 && timerfd_settime(fd, 0, &beat, NULL) != 0) {
        int error = errno;
        (void)close(fd); /* the first trouble is the one to tell */
        return -error;
    }
    return fd >= 0 ? fd : -errno;
}

static int linux_signal_mask(const struct pc_kernel *kernel, int how, const sigset_t *set,
                             sigset_t *out_old)
{
    return -pthread_sigmask(how, set, out_old);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    int failed = clock_gettime(clock, &now);
    PC_ASSERT(failed == 0);
    (void)failed; /* a clock that Linux always has */
    return (uint64_t)now.tv_sec * PC_NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t linux_clock_ns(const struct pc_kernel *kernel)
{
    return now_ns(CLOCK_MONOTONIC);
}

static uint64_t linux_realtime_ns(const struct pc_kernel *kernel)
{
    return now_ns(CLOCK_REALTIME);
}

static uint64_t linux_realtime_s(const struct pc_kernel *kernel)
{
    return now_ns(CLOCK_REALTIME) / PC_NS_PER_S;
}

static uint64_t linux_thread_cpu_ns(const struct pc_kernel *kernel)
{
    return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void *thread_main(void *arg)
{
    struct pc_thread *thread = arg;
    if (thread->name != NULL) {
        char name[16]; /* the kernel's limit, its zero included */
        size_t bytes = strnlen(thread->name, sizeof(name) - 1);
        memcpy(name, thread->name, bytes);
        name[bytes] = 0;
        (void)pthread_setname_np(pthread_self(), name); /* a name is a courtesy */
    }
    thread->run(thread->ctx);
    return NULL;
}

/* As many CPUs as the kernel can be built for. */
struct cpu_mask {
    cpu_set_t set[8192 / CPU_SETSIZE];
};

/* EINVAL: no machine has that CPU. */
static int mask_one(struct cpu_mask *mask, int cpu)
{
    if ((size_t)cpu >= sizeof(*mask) * 8) {
        return EINVAL;
    }
    CPU_ZERO_S(sizeof(*mask), mask->set);
    CPU_SET_S((size_t)cpu, sizeof(*mask), mask->set);
    return 0;
}

/* Pinned before it starts, so that not even its stack is touched from another node. */
static int attributes_pin(pthread_attr_t *attributes, int cpu)
{
    struct cpu_mask mask;
    int error = mask_one(&mask, cpu);
    return error != 0 ? error : pthread_attr_setaffinity_np(attributes, sizeof(mask), mask.set);
}

static int linux_thread_start(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return -error;
    }
    if (thread->stack_bytes != 0) {
        error = pthread_attr_setstacksize(&attributes, thread->stack_bytes);
    }
    if (error == 0 && thread->cpu >= 0) {
        error = attributes_pin(&attributes, thread->cpu);
    }
    if (error == 0) {
        pthread_t handle;
        error = pthread_create(&handle, &attributes, thread_main, thread);
        /* Nobody but the starter reads the handle: the new thread may be running already. */
        thread->handle = error == 0 ? (uintptr_t)handle : 0;
    }
    (void)pthread_attr_destroy(&attributes); /* cannot fail on Linux */
    return -error;
}

static int linux_thread_join(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    return -pthread_join((pthread_t)thread->handle, NULL);
}

static int linux_thread_here(const struct pc_kernel *kernel, struct pc_thread *thread)
{
    struct cpu_mask before, mask;
    if (thread->cpu < 0) {
        thread->run(thread->ctx);
        return 0;
    }
    int error = pthread_getaffinity_np(pthread_self(), sizeof(before), before.set);
    if (error == 0) {
        error = mask_one(&mask, thread->cpu);
    }
    if (error == 0) {
        error = pthread_setaffinity_np(pthread_self(), sizeof(mask), mask.set);
    }
    if (error == 0) {
        thread->run(thread->ctx);
        /* Fails only if all of these CPUs are gone. */
        (void)pthread_setaffinity_np(pthread_self(), sizeof(before), before.set);
    }
    return -error;
}

static void linux_sched_yield(const struct pc_kernel *kernel)
{
    (void)sched_yield(); /* cannot fail on Linux */
}

static int linux_mmap(const struct pc_kernel *kernel, size_t bytes, int protection, int flags,
                      void **out_at)
{
    void *at = mmap(NULL, bytes, protection, flags, -1, 0);
    if (at == MAP_FAILED) {
        return -errno;
    }
    *out_at = at;
    return 0;
}

static int linux_munmap(const struct pc_kernel *kernel, void *at, size_t bytes)
{
    return munmap(at, bytes) == 0 ? 0 : -errno;
}

static int linux_madvise(const struct pc_kernel *kernel, void *at, size_t bytes, int advice)
{
    return madvise(at, bytes, advice) == 0 ? 0 : -errno;
}

static int linux_random_bytes(const struct pc_kernel *kernel, void *into, size_t bytes)
{
    uint8_t *at = into;
    while (bytes != 0) {
        ssize_t count = getrandom(at, bytes, 0);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        at += count;
        bytes -= (size_t)count;
    }
    return 0;
}

const struct pc_kernel *pc_kernel_linux(void)
{
    static const struct pc_kernel table = {
        .socket = linux_socket,
        .bind = linux_bind,
        .listen = linux_listen,
        .accept4 = linux_accept4,
        .connect = linux_connect,
        .recv = linux_recv,
        .recvmsg = linux_recvmsg,
        .send = linux_send,
        .sendmsg = linux_sendmsg,
        .shutdown = linux_shutdown,
        .setsockopt = linux_setsockopt,
        .getsockopt = linux_getsockopt,
        .getsockname = linux_getsockname,
        .getpeername = linux_getpeername,
        .close = linux_close,
        .read = linux_read,
        .write = linux_write,
        .lstat = linux_lstat,
        .chmod = linux_chmod,
        .unlink = linux_unlink,
        .epoll_create1 = linux_epoll_create1,
        .epoll_ctl = linux_epoll_ctl,
        .epoll_wait = linux_epoll_wait,
        .poll = linux_poll,
        .eventfd = linux_eventfd,
        .signalfd = linux_signalfd,
        .timerfd = linux_timerfd,
        .signal_mask = linux_signal_mask,
        .clock_ns = linux_clock_ns,
        .realtime_ns = linux_realtime_ns,
        .realtime_s = linux_realtime_s,
        .thread_cpu_ns = linux_thread_cpu_ns,
        .thread_start = linux_thread_start,
        .thread_join = linux_thread_join,
        .thread_here = linux_thread_here,
        .sched_yield = linux_sched_yield,
        .mmap = linux_mmap,
        .munmap = linux_munmap,
        .madvise = linux_madvise,
        .random_bytes = linux_random_bytes,
    };
    return &table;
}
