/* SPDX-License-Identifier: Apache-2.0 */
/* stamps: SO_TIMESTAMPING on the receiving side. */
#include "measure/stamps.h"

#include "runtime/kernel.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define NS_PER_S UINT64_C(1000000000)

enum { BRACKETS = 3 };

void pc_stamp_bridge_refresh(struct pc_stamp_bridge *bridge, const struct pc_kernel *kernel,
                             uint64_t now_ns)
{
    if (bridge->offset_ns != 0 && now_ns - bridge->read_at_ns < NS_PER_S) {
        return;
    }
    uint64_t best = UINT64_MAX;
    /* The narrowest of a few brackets: an interrupt in between makes one wide. */
    for (unsigned i = 0; i < BRACKETS; i++) {
        const uint64_t before = kernel->clock_ns(kernel);
        const uint64_t calendar = kernel->realtime_ns(kernel);
        const uint64_t width = kernel->clock_ns(kernel) - before;
        if (width < best) {
            best = width;
            bridge->offset_ns = calendar - (before + width / 2);
        }
    }
    bridge->spread_ns = best;
    bridge->read_at_ns = now_ns;
}

int pc_stamps_enable(const struct pc_kernel *kernel, int fd)
{
    const int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    return kernel->setsockopt(kernel, fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags));
}

ssize_t pc_stamps_receive(const struct pc_kernel *kernel, const struct pc_stamp_bridge *bridge,
                          int fd, void *into, size_t bytes, uint64_t *out_stamp_ns)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct scm_timestamping))];
        struct cmsghdr align;
    } control;
    struct iovec piece = {.iov_base = into, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t count;
    do {
        count = kernel->recvmsg(kernel, fd, &message, 0);
    } while (count == -EINTR);
    *out_stamp_ns = 0;
    if (count <= 0) {
        return count;
    }
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part != NULL;
         part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPING) {
            struct scm_timestamping stamp;
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            *out_stamp_ns = (uint64_t)stamp.ts[0].tv_sec * NS_PER_S +
                            (uint64_t)stamp.ts[0].tv_nsec - bridge->offset_ns;
        }
    }
    return count;
}
