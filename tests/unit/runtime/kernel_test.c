/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the real table turns errors into results, waits no shorter than asked, on old kernels too.
 * Method: real descriptors of this process; an old kernel is a child whose system call filter
 * answers ENOSYS to epoll_pwait2.
 */
#include "runtime/kernel.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static void errors_come_back_negative(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    char byte = 0;
    struct sockaddr_in nowhere = {.sin_family = AF_INET};
    socklen_t bytes = sizeof(nowhere);
    struct stat stat;
    void *at = &byte;
    assert_int_equal(kernel->socket(kernel, -1, SOCK_STREAM, 0), -EAFNOSUPPORT);
    assert_int_equal(kernel->bind(kernel, -1, (struct sockaddr *)&nowhere, bytes), -EBADF);
    assert_int_equal(kernel->listen(kernel, -1, 1), -EBADF);
    assert_int_equal(kernel->accept4(kernel, -1, NULL, NULL, 0), -EBADF);
    assert_int_equal(kernel->connect(kernel, -1, (struct sockaddr *)&nowhere, bytes), -EBADF);
    assert_int_equal(kernel->recv(kernel, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(kernel->recvmsg(kernel, -1, &(struct msghdr){0}, 0), -EBADF);
    assert_int_equal(kernel->send(kernel, -1, &byte, 1, 0), -EBADF);
    assert_int_equal(kernel->sendmsg(kernel, -1, &(struct msghdr){0}, 0), -EBADF);
    assert_int_equal(kernel->shutdown(kernel, -1, SHUT_RD), -EBADF);
    assert_int_equal(kernel->setsockopt(kernel, -1, SOL_SOCKET, SO_REUSEADDR, &(int){1}, 4),
                     -EBADF);
    assert_int_equal(kernel->getsockopt(kernel, -1, SOL_SOCKET, SO_ERROR, &(int){1}, &bytes),
                     -EBADF);
    assert_int_equal(kernel->getsockname(kernel, -1, (struct sockaddr *)&nowhere, &bytes), -EBADF);
    assert_int_equal(kernel->getpeername(kernel, -1, (struct sockaddr *)&nowhere, &bytes), -EBADF);
    assert_int_equal(kernel->close(kernel, -1), -EBADF);
    assert_int_equal(kernel->read(kernel, -1, &byte, 1), -EBADF);
    assert_int_equal(kernel->write(kernel, -1, &byte, 1), -EBADF);
    assert_int_equal(kernel->lstat(kernel, "/nowhere/at/all", &stat), -ENOENT);
    assert_int_equal(kernel->chmod(kernel, "/nowhere/at/all", 0600), -ENOENT);
    assert_int_equal(kernel->unlink(kernel, "/nowhere/at/all"), -ENOENT);
    assert_int_equal(kernel->epoll_create1(kernel, -1), -EINVAL);
    assert_int_equal(kernel->epoll_ctl(kernel, -1, EPOLL_CTL_DEL, 0, NULL), -EBADF);
    struct epoll_event event;
    assert_int_equal(kernel->epoll_wait(kernel, -1, &event, 1, 0), -EBADF);
    assert_int_equal(kernel->epoll_wait(kernel, -1, &event, 1, MS), -EBADF);
    assert_int_equal(kernel->epoll_wait(kernel, -1, &event, 1, PC_FOREVER), -EBADF);
    assert_int_equal(kernel->eventfd(kernel, 0, -1), -EINVAL);
    assert_int_equal(kernel->mmap(kernel, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, &at), -EINVAL);
    assert_ptr_equal(at, &byte);
    assert_int_equal(kernel->munmap(kernel, (void *)1, 1), -EINVAL);
    assert_int_equal(kernel->madvise(kernel, (void *)1, 1, MADV_DONTNEED), -EINVAL);
}

/* Listen on a port of the system's choice, connect, and return both ends. */
static void open_pair(const struct pc_kernel *kernel, int *out_client, int *out_server)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr *generic = (struct sockaddr *)&address;
    socklen_t bytes = sizeof(address);
    int listener = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(kernel->bind(kernel, listener, generic, bytes), 0);
    assert_int_equal(kernel->listen(kernel, listener, 1), 0);
    assert_int_equal(kernel->getsockname(kernel, listener, generic, &bytes), 0);
    *out_client = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(*out_client >= 0);
    assert_int_equal(kernel->connect(kernel, *out_client, generic, bytes), 0);
    *out_server = kernel->accept4(kernel, listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*out_server >= 0);
    assert_int_equal(kernel->close(kernel, listener), 0);
}

static void bytes_cross_a_connection(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    int client, server;
    open_pair(kernel, &client, &server);
    char into[16];
    assert_int_equal(kernel->recv(kernel, server, into, sizeof(into), 0), -EAGAIN);

    struct iovec pieces[] = {{.iov_base = (char[]){'a', 'b'}, .iov_len = 2},
                             {.iov_base = (char[]){'c'}, .iov_len = 1}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    assert_int_equal(kernel->sendmsg(kernel, client, &message, MSG_NOSIGNAL), 3);
    assert_int_equal(kernel->send(kernel, client, "de", 2, MSG_NOSIGNAL), 2);
    struct pollfd wait = {.fd = server, .events = POLLIN};
    assert_int_equal(kernel->poll(kernel, &wait, 1, PC_FOREVER), 1);
    assert_int_equal(kernel->recv(kernel, server, into, 5, MSG_WAITALL), 5);
    assert_memory_equal(into, "abcde", 5);

    assert_int_equal(kernel->shutdown(kernel, client, SHUT_WR), 0);
    assert_int_equal(kernel->poll(kernel, &wait, 1, PC_FOREVER), 1);
    struct iovec whole = {.iov_base = into, .iov_len = sizeof(into)};
    assert_int_equal(
        kernel->recvmsg(kernel, server, &(struct msghdr){.msg_iov = &whole, .msg_iovlen = 1}, 0),
        0);
    assert_int_equal(kernel->close(kernel, client), 0);
    assert_int_equal(kernel->close(kernel, server), 0);
}

static void wait_reports_what_is_ready(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    int epoll_fd = kernel->epoll_create1(kernel, EPOLL_CLOEXEC);
    int bell = kernel->eventfd(kernel, 0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(epoll_fd >= 0 && bell >= 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 7};
    assert_int_equal(kernel->epoll_ctl(kernel, epoll_fd, EPOLL_CTL_ADD, bell, &event), 0);
    struct epoll_event ready = {0};
    assert_int_equal(kernel->epoll_wait(kernel, epoll_fd, &ready, 1, 0), 0);
    uint64_t one = 1;
    const uint64_t timeouts[] = {0, 1, MS, UINT64_C(3600000) * MS, PC_FOREVER};
    for (size_t i = 0; i < PC_COUNT_OF(timeouts); i++) {
        assert_int_equal(kernel->write(kernel, bell, &one, sizeof(one)), sizeof(one));
        assert_int_equal(kernel->epoll_wait(kernel, epoll_fd, &ready, 1, timeouts[i]), 1);
        assert_int_equal(ready.data.u64, 7);
    }
    uint64_t rung = 0;
    assert_int_equal(kernel->read(kernel, bell, &rung, sizeof(rung)), sizeof(rung));
    assert_int_equal(rung, PC_COUNT_OF(timeouts));
    assert_int_equal(kernel->close(kernel, bell), 0);
    assert_int_equal(kernel->close(kernel, epoll_fd), 0);
}

/* Zero when neither wait returns before its time on this kernel. */
static int check_waits_are_long_enough(const struct pc_kernel *kernel)
{
    const uint64_t timeouts[] = {1, 300000, MS, MS + 1};
    int epoll_fd = kernel->epoll_create1(kernel, EPOLL_CLOEXEC);
    struct epoll_event event;
    for (size_t i = 0; i < PC_COUNT_OF(timeouts); i++) {
        uint64_t start_ns = kernel->clock_ns(kernel);
        if (kernel->epoll_wait(kernel, epoll_fd, &event, 1, timeouts[i]) != 0 ||
            kernel->clock_ns(kernel) - start_ns < timeouts[i]) {
            return 1;
        }
        start_ns = kernel->clock_ns(kernel);
        if (kernel->poll(kernel, NULL, 0, timeouts[i]) != 0 ||
            kernel->clock_ns(kernel) - start_ns < timeouts[i]) {
            return 2;
        }
    }
    return kernel->close(kernel, epoll_fd);
}

static void wait_is_never_short(void **state)
{
    assert_int_equal(check_waits_are_long_enough(pc_kernel_linux()), 0);
}

/* In the child of a fork: answer `error` to epoll_pwait2, then run the check above. */
static int check_on_old_kernel(unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = PC_COUNT_OF(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        return 77;
    }
    /* The filter must bite, or the check would only repeat the one above. */
    struct epoll_event event;
    if (epoll_pwait2(-1, &event, 1, NULL, NULL) != -1 || (unsigned)errno != error) {
        return 3;
    }
    return check_waits_are_long_enough(pc_kernel_linux());
}

static void wait_works_where_the_newer_call_is_missing(void **state)
{
    const unsigned errors[] = {ENOSYS, EPERM};
    for (size_t i = 0; i < PC_COUNT_OF(errors); i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            _exit(check_on_old_kernel(errors[i]));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
            print_message("system call filters are not allowed here\n");
            skip();
        }
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

struct noted {
    atomic_int runs;
    int cpu;
    char name[16];
    size_t stack_bytes;
};

static void note_where(void *ctx)
{
    struct noted *noted = ctx;
    cpu_set_t set;
    if (pthread_getaffinity_np(pthread_self(), sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1) {
        noted->cpu = sched_getcpu();
    }
    (void)pthread_getname_np(pthread_self(), noted->name, sizeof(noted->name));
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstacksize(&attributes, &noted->stack_bytes);
        (void)pthread_attr_destroy(&attributes);
    }
    atomic_fetch_add(&noted->runs, 1);
}

static void thread_runs_named_and_pinned(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    int cpu = sched_getcpu();
    assert_true(cpu >= 0);
    struct noted noted = {.cpu = -1};
    struct pc_thread thread = {.run = note_where,
                               .ctx = &noted,
                               .name = "a-name-longer-than-fifteen",
                               .cpu = cpu,
                               .stack_bytes = (size_t)1 << 20};
    assert_int_equal(kernel->thread_start(kernel, &thread), 0);
    assert_int_equal(kernel->thread_join(kernel, &thread), 0);
    assert_int_equal(noted.runs, 1);
    assert_int_equal(noted.cpu, cpu);
    assert_string_equal(noted.name, "a-name-longer-t");
    assert_int_equal(noted.stack_bytes, (size_t)1 << 20);
}

static void thread_on_a_missing_cpu_is_refused(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    struct noted noted = {.cpu = -1};
    struct pc_thread thread = {.run = note_where, .ctx = &noted, .cpu = 99999};
    assert_int_equal(kernel->thread_start(kernel, &thread), -EINVAL);
    assert_int_equal(noted.runs, 0);
}

static void thread_here_is_pinned_while_it_runs(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    cpu_set_t before, after;
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(before), &before), 0);
    int cpu = sched_getcpu();
    assert_true(cpu >= 0);
    struct noted noted = {.cpu = -1}, missing = {.cpu = -1};
    struct pc_thread thread = {.run = note_where, .ctx = &noted, .name = "other", .cpu = cpu};
    assert_int_equal(kernel->thread_here(kernel, &thread), 0);
    assert_int_equal(noted.runs, 1);
    assert_int_equal(noted.cpu, cpu);
    assert_string_not_equal(noted.name, "other");
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(after), &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    thread = (struct pc_thread){.run = note_where, .ctx = &missing, .cpu = 99999};
    assert_int_equal(kernel->thread_here(kernel, &thread), -EINVAL);
    assert_int_equal(missing.runs, 0);
}

static void clocks_agree_with_their_names(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    uint64_t first_ns = kernel->clock_ns(kernel);
    assert_true(kernel->clock_ns(kernel) >= first_ns);
    uint64_t before_s = kernel->realtime_s(kernel);
    uint64_t real_ns = kernel->realtime_ns(kernel);
    uint64_t after_s = kernel->realtime_s(kernel);
    assert_true(before_s <= real_ns / (1000 * MS) && real_ns / (1000 * MS) <= after_s);
    /* Spending processor time moves the thread's clock. */
    uint64_t cpu_ns = kernel->thread_cpu_ns(kernel);
    for (unsigned i = 0; kernel->thread_cpu_ns(kernel) == cpu_ns; i++) {
        assert_true(i < 100000000);
    }
}

static void signals_arrive_by_descriptor(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(kernel->signal_mask(kernel, SIG_BLOCK, &set, &old), 0);
    int fd = kernel->signalfd(kernel, -1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    assert_true(fd >= 0);
    struct signalfd_siginfo info;
    assert_int_equal(kernel->read(kernel, fd, &info, sizeof(info)), -EAGAIN);
    assert_int_equal(pthread_kill(pthread_self(), SIGUSR1), 0);
    assert_int_equal(kernel->read(kernel, fd, &info, sizeof(info)), sizeof(info));
    assert_int_equal(info.ssi_signo, SIGUSR1);
    assert_int_equal(kernel->close(kernel, fd), 0);
    assert_int_equal(kernel->signal_mask(kernel, SIG_SETMASK, &old, NULL), 0);
}

static void a_beat_comes_again_and_again(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    int fd = kernel->timerfd(kernel, 1000000);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 3; i++) {
        struct pollfd poll = {.fd = fd, .events = POLLIN};
        uint64_t count = 0;
        assert_int_equal(kernel->poll(kernel, &poll, 1, PC_FOREVER), 1);
        assert_int_equal(kernel->read(kernel, fd, &count, sizeof(count)), sizeof(count));
        assert_true(count > 0);
    }
    assert_int_equal(kernel->close(kernel, fd), 0);
}

static void memory_comes_and_goes(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    size_t bytes = (size_t)1 << 16;
    void *at = NULL;
    int protection = PROT_READ | PROT_WRITE;
    assert_int_equal(kernel->mmap(kernel, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, &at), 0);
    memset(at, 0x5a, bytes);
    assert_int_equal(kernel->madvise(kernel, at, bytes, MADV_DONTNEED), 0);
    assert_int_equal(((const char *)at)[bytes - 1], 0);
    assert_int_equal(kernel->munmap(kernel, at, bytes), 0);

    uint8_t random[512] = {0}; /* over 256 the call may be cut short by a signal */
    assert_int_equal(kernel->random_bytes(kernel, random, sizeof(random)), 0);
    uint8_t seen = 0;
    for (size_t i = sizeof(random) - 16; i < sizeof(random); i++) {
        seen |= random[i];
    }
    assert_int_not_equal(seen, 0); /* sixteen zero bytes: once in 2^128 */
}

/* An invented machine around a table, as the simulation builds them. */
struct invented {
    uint64_t now_ns;
    struct pc_kernel kernel;
};

static uint64_t invented_clock_ns(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct invented, kernel)->now_ns++;
}

static void invented_machine_finds_itself(void **state)
{
    struct invented machine = {.now_ns = 41, .kernel.clock_ns = invented_clock_ns};
    const struct pc_kernel *kernel = &machine.kernel;
    assert_int_equal(kernel->clock_ns(kernel), 41);
    assert_int_equal(machine.now_ns, 42);
}

static void every_entry_is_filled(void **state)
{
    const struct pc_kernel *kernel = pc_kernel_linux();
    void *entries[sizeof(struct pc_kernel) / sizeof(void *)];
    static_assert(sizeof(entries) == sizeof(struct pc_kernel), "a table of pointers only");
    memcpy(entries, kernel, sizeof(entries));
    for (size_t i = 0; i < PC_COUNT_OF(entries); i++) {
        assert_non_null(entries[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_come_back_negative),
        cmocka_unit_test(bytes_cross_a_connection),
        cmocka_unit_test(wait_reports_what_is_ready),
        cmocka_unit_test(wait_is_never_short),
        cmocka_unit_test(wait_works_where_the_newer_call_is_missing),
        cmocka_unit_test(thread_runs_named_and_pinned),
        cmocka_unit_test(thread_on_a_missing_cpu_is_refused),
        cmocka_unit_test(thread_here_is_pinned_while_it_runs),
        cmocka_unit_test(clocks_agree_with_their_names),
        cmocka_unit_test(signals_arrive_by_descriptor),
        cmocka_unit_test(a_beat_comes_again_and_again),
        cmocka_unit_test(memory_comes_and_goes),
        cmocka_unit_test(invented_machine_finds_itself),
        cmocka_unit_test(every_entry_is_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
