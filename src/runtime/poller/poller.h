/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poller: what a core asks of the kernel, and what the kernel reports, whatever it offers.
 *
 * The contract is shaped like completions. wait reports that something has arrived or is possible;
 * receive and accept then fetch what has arrived; send gives bytes away. epoll makes the system
 * call inside receive, accept and send; a poller on io_uring has the bytes already and copies them
 * out.
 *
 *   wait     collects all that is ready; sleeps until then, until the timeout, or until the bell
 *   adopt    a connected socket belongs to this poller from now on; reports follow without arming
 *   arm      a descriptor that can only become readable (a listening socket, signals) reports
 *            ACCEPT when it does, or no longer
 *   abandon  the socket stays open and leaves the poller: nothing is in flight when it returns
 *   close    abandon, and the descriptor is gone
 *
 * Owner    The core that created it, for everything but bell.
 * Order    A report may come for a socket that has been closed since: its generation tells.
 * Edges    RECEIVE and SEND are reported once for each change. receive: fewer bytes than asked for
 *          means that the kernel has no more, unless END was reported: then read on to 0.
 * Errors   Negative errno. -EAGAIN: a report will follow. -EINPROGRESS (send): the bytes must stay
 *          put until SEND reports their number in `result`.
 * Limits   PC_READY_COUNT_MAX reports a wait; the rest comes with the next.
 */
#ifndef PC_RUNTIME_POLLER_POLLER_H
#define PC_RUNTIME_POLLER_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct pc_kernel;
struct pc_poller;

/* Who a report is for: a slot in the core's table and which use of the slot. */
struct pc_handle {
    uint32_t index, generation;
};

enum pc_ready_what {
    PC_READY_RECEIVE = 1,
    PC_READY_SEND = 2,
    PC_READY_END = 4, /* the peer closed, or reset: read to 0 or to the error */
    PC_READY_ACCEPT = 8,
};

struct pc_ready {
    struct pc_handle handle;
    uint32_t what;
    int32_t result; /* with SEND: bytes that are gone, or a negative errno; 0: try again */
};

struct pc_poller_ops {
    const char *name;
    /* Core: owner; the ring of an io_uring poller must be made in the thread that uses it. */
    int (*create)(const struct pc_kernel *kernel, struct pc_poller **out_poller);
    void (*destroy)(struct pc_poller *poller);
    /* Returns how many reports; PC_FOREVER as timeout: no limit. May block. */
    int (*wait)(struct pc_poller *poller, uint64_t timeout_ns, struct pc_ready *ready,
                unsigned ready_count);
    int (*adopt)(struct pc_poller *poller, int fd, struct pc_handle handle);
    void (*abandon)(struct pc_poller *poller, int fd, struct pc_handle handle);
    int (*arm)(struct pc_poller *poller, int fd, struct pc_handle handle, bool armed);
    ssize_t (*receive)(struct pc_poller *poller, int fd, struct pc_handle handle, void *into,
                       size_t bytes);
    ssize_t (*send)(struct pc_poller *poller, int fd, struct pc_handle handle,
                    const struct iovec *pieces, unsigned piece_count);
    /* A new connected, non-blocking socket; -EAGAIN: no more wait. */
    int (*accept)(struct pc_poller *poller, int fd, struct pc_handle handle);
    /* `fd` is a fresh non-blocking socket. 0: connected. -EINPROGRESS: adopted, and SEND or END
     * will be reported; getsockopt(SO_ERROR) tells. */
    int (*connect)(struct pc_poller *poller, int fd, struct pc_handle handle,
                   const struct sockaddr *address, socklen_t bytes);
    void (*close)(struct pc_poller *poller, int fd, struct pc_handle handle);
    /* End the present or the next wait.  Core: any, signal-safe. */
    void (*bell)(struct pc_poller *poller);
};

/* The first member of every poller. */
struct pc_poller {
    const struct pc_poller_ops *ops;
};

extern const struct pc_poller_ops pc_poller_epoll;
extern const struct pc_poller_ops pc_poller_scripted; /* builds with hooks only */

/* Row `index` of the table of pollers, best first; NULL past the last. */
const struct pc_poller_ops *pc_poller_row(unsigned index);

/* The poller of that name; NULL name: the best that works on this machine. NULL: there is none;
 * *out_why says why this one was chosen.  Core: boot. */
const struct pc_poller_ops *pc_poller_choose(const char *name, const struct pc_kernel *kernel,
                                             const char **out_why);

#endif
