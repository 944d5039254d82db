/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/peer.h"

#include "runtime/exchange.h"

#include <netinet/in.h>
#include <string.h>

static void peer_read(const struct pc_kernel *kernel, int fd, struct pc_peer *out_peer)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof(address);
    *out_peer = (struct pc_peer){.fd = fd};
    if (kernel->getpeername(kernel, fd, (struct sockaddr *)&address, &bytes) < 0) {
        return;
    }
    out_peer->family = address.ss_family;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        out_peer->port = ntohs(in->sin_port);
        memcpy(out_peer->address, &in->sin_addr, sizeof(in->sin_addr));
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&address;
        out_peer->port = ntohs(in->sin6_port);
        memcpy(out_peer->address, &in->sin6_addr, sizeof(in->sin6_addr));
    }
}

/* The session follows its exchange. */
void pc_peer_opened(struct pc_exchange *exchange, struct pc_lane *lane, int fd)
{
    if (lane->service->opened != NULL) {
        struct pc_peer peer;
        peer_read(lane->kernel, fd, &peer);
        lane->service->opened(lane->app, exchange + 1, &peer, lane);
    }
}

void pc_peer_shut(struct pc_exchange *exchange, struct pc_lane *lane, enum pc_close why)
{
    if (lane->service->shut != NULL) {
        lane->service->shut(lane->app, exchange + 1, why, lane);
    }
}
