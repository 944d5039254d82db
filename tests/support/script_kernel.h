/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script_kernel: an invented machine that has epoll, so that the real epoll.c can run on it.
 *
 * Edges are those of the scripted poller; what a plain call may do besides is done too: EINTR from
 * recv, send, accept4 and epoll_wait. Sends in flight and reports for closed sockets do not exist
 * here, as they do not on Linux.
 *
 * Owner    The test, as for struct pc_script.
 */
#ifndef PC_TESTS_SCRIPT_KERNEL_H
#define PC_TESTS_SCRIPT_KERNEL_H

#include "runtime/poller/script.h"

struct script_kernel {
    struct pc_script script;                         /* first: found again from the table */
    struct pc_kernel plain;                          /* the calls of a machine without epoll */
    unsigned interrupts;                             /* a call is interrupted once in so many */
    struct pc_poller *pollers[PC_SCRIPT_SOCKET_MAX]; /* by the number of the epoll descriptor */
    uint64_t data[PC_SCRIPT_SOCKET_MAX];             /* as given to epoll_ctl */
};

/* `machine->script` is initialised: give it epoll. */
void script_kernel_install(struct script_kernel *machine);

#endif
