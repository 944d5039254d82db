/* SPDX-License-Identifier: Apache-2.0 */
/* seam_client: a poll loop over connections, each a checker and a fate. */
#include "seam_client.h"

#include "base/check.h"
#include "base/random.h"
#include "checker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_BYTES 65536
#define PATIENCE_MS 20000

/* How a connection ends. */
enum fate {
    FATE_HALF_CLOSE, /* sends all, shuts its side, reads all the answers, then the close */
    FATE_CLOSE,      /* reads all the answers, then closes */
    FATE_HANG_UP,    /* the last request asks the service to hang up */
    FATE_MALFORMED,  /* the last request cannot be parsed: earlier ones are answered */
    FATE_RESET,      /* resets, with requests and replies under way */
    FATE_ABANDON,    /* shuts its side in the midst of a request, reads what comes */
    FATE_COUNT
};

struct link {
    int fd;
    enum fate fate;
    struct pc_checker checker;
    struct pc_random random;
    uint64_t leave_after; /* bytes sent after which RESET and ABANDON leave */
    uint64_t sent_bytes;
    unsigned deaf; /* rounds in which it reads nothing */
    bool shut;
    size_t begin, end; /* pulled and not yet sent */
    uint8_t chunk[CHUNK_BYTES];
};

struct client {
    const struct seam_client_config *config;
    struct seam_client_result *result;
    struct pc_random random;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    struct link *links;
    struct pollfd *polls;
    uint8_t *received;
};

static bool failed(const struct client *client)
{
    return client->result->trouble[0] != '\0';
}

static void fail(struct client *client, const char *what)
{
    if (!failed(client)) {
        snprintf(client->result->trouble, sizeof(client->result->trouble), "%s", what);
    }
}

static void fail_errno(struct client *client, const char *call)
{
    char text[100];
    snprintf(text, sizeof(text), "%s: %s", call, strerror(errno));
    fail(client, text);
}

static void address_read(struct client *client)
{
    const char *text = client->config->address;
    const char *colon = strrchr(text, ':');
    struct sockaddr_in6 *in6 = (void *)&client->address;
    struct sockaddr_in *in = (void *)&client->address;
    if (text[0] == '[') {
        in6->sin6_family = AF_INET6;
        in6->sin6_addr = in6addr_loopback;
        in6->sin6_port = htons((uint16_t)atoi(colon + 1));
        client->address_bytes = sizeof(*in6);
    } else {
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in->sin_port = htons((uint16_t)atoi(colon + 1));
        client->address_bytes = sizeof(*in);
    }
}

/* ---- One connection ---- */

static void link_shape(struct client *client, struct link *link)
{
    static const uint64_t depths[] = {1, 2, 7, 63, 64, 65, 200, 1000};
    struct pc_random *random = &link->random;
    bool large = pc_random_below(random, 24) == 0, long_one = pc_random_below(random, 6) == 0;
    struct pc_checker_config config = {
        .seed = pc_random_next(random),
        .connection = (uint32_t)client->result->connections,
        .request_count = 1 + pc_random_below(random, large      ? 60
                                                     : long_one ? 3000
                                                                : 200),
        .depth = depths[pc_random_below(random, PC_COUNT_OF(depths))],
        .padding_bytes_max = large ? PC_TEST_INPUT_BYTES_MAX - PC_TEST_HEAD_BYTES : 4000,
        .content_bytes_max = large ? 600000 : 8000,
        .body_bytes_max = large ? PC_TEST_BODY_BYTES_MAX : 40000,
        .body_one_in = large ? 4 : 40,
        .call_count_max = client->config->call_count_max,
        .end = link->fate == FATE_HANG_UP     ? PC_TEST_END_HANG_UP
               : link->fate == FATE_MALFORMED ? PC_TEST_END_BAD
                                              : PC_TEST_END_NONE,
    };
    link->leave_after = pc_random_below(random, config.request_count * 100);
    pc_checker_init(&link->checker, &config);
}

static bool link_open(struct client *client, struct link *link)
{
    if (client->result->verified >= client->config->request_count ||
        client->result->connections >= client->config->connection_count_max) {
        return false;
    }
    memset(link, 0, offsetof(struct link, chunk));
    pc_random_init(&link->random, pc_random_next(&client->random));
    link->fate = (enum fate)pc_random_below(&link->random, FATE_COUNT);
    link_shape(client, link);
    client->result->connections++;
    link->fd = socket(client->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd >= 0 && pc_random_below(&link->random, 16) == 0) {
        /* The service's sends come up short. Before the connect: what was sent into a window that
         * shrinks is dropped, and each drop doubles the sender's pause. */
        int small = 4096;
        (void)setsockopt(link->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    }
    if (link->fd < 0 ||
        connect(link->fd, (struct sockaddr *)&client->address, client->address_bytes) < 0) {
        fail_errno(client, "connect");
        return false;
    }
    int one = 1;
    /* Small cuts would each wait for an acknowledgement. */
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return true;
}

static void link_close(struct client *client, struct link *link)
{
    client->result->verified += pc_checker_verified(&link->checker);
    close(link->fd);
    link->fd = -1;
}

static void link_reset(struct client *client, struct link *link)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    client->result->reset++;
    link_close(client, link);
}

static void link_shut(struct client *client, struct link *link)
{
    if (!link->shut) {
        link->shut = true;
        (void)shutdown(link->fd, SHUT_WR);
        if (link->fate == FATE_ABANDON) {
            client->result->abandoned++;
        } else {
            client->result->half_closed++;
        }
    }
}

static bool leaving(const struct link *link)
{
    return (link->fate == FATE_RESET || link->fate == FATE_ABANDON) &&
           link->sent_bytes >= link->leave_after;
}

/* The service said all it will say. */
static void link_ended(struct client *client, struct link *link)
{
    bool fine = false;
    switch (link->fate) {
    case FATE_HALF_CLOSE:
        fine = link->shut;
        break;
    case FATE_HANG_UP:
        fine = true;
        client->result->hung_up++;
        break;
    case FATE_MALFORMED:
        fine = true;
        client->result->malformed++;
        break;
    case FATE_ABANDON:
        if (link->shut) {
            link_close(client, link);
            return;
        }
        break;
    default:
        break;
    }
    if (!pc_checker_closed(&link->checker)) {
        fail(client, link->checker.trouble);
    } else if (!fine) {
        fail(client, "the service closed a connection that was to stay");
    }
    link_close(client, link);
}

static void link_send(struct client *client, struct link *link)
{
    if (link->begin == link->end) {
        link->begin = 0;
        size_t cut = pc_random_below(&link->random, 4) == 0
                         ? 1 + pc_random_below(&link->random, 60)
                         : 1 + pc_random_below(&link->random, CHUNK_BYTES);
        link->end = pc_checker_pull(&link->checker, link->chunk, cut);
    }
    if (link->begin < link->end) {
        ssize_t count = send(link->fd, link->chunk + link->begin, link->end - link->begin,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) {
            link->begin += (size_t)count;
            link->sent_bytes += (size_t)count;
        } else if (count < 0 && errno != EAGAIN) {
            fail_errno(client, "send");
        }
    }
    if (leaving(link)) {
        if (link->fate == FATE_RESET) {
            link_reset(client, link);
        } else {
            link_shut(client, link);
        }
    } else if (link->begin == link->end && pc_checker_sent(&link->checker)) {
        if (link->fate == FATE_HALF_CLOSE || link->fate == FATE_ABANDON) {
            link_shut(client, link);
        } else if (link->fate == FATE_RESET) {
            link_reset(client, link);
        }
    }
}

static void link_receive(struct client *client, struct link *link)
{
    size_t room = 1 + pc_random_below(&link->random, CHUNK_BYTES);
    ssize_t count = recv(link->fd, client->received, room, MSG_DONTWAIT);
    if (count > 0) {
        if (!pc_checker_push(&link->checker, client->received, (size_t)count)) {
            fail(client, link->checker.trouble);
        }
        if (link->fate == FATE_CLOSE && pc_checker_done(&link->checker)) {
            link_close(client, link);
        } else if (pc_random_below(&link->random, 64) == 0) {
            link->deaf = 1 + (unsigned)pc_random_below(&link->random, 50);
        }
    } else if (count == 0) {
        link_ended(client, link);
    } else if (errno != EAGAIN) {
        fail_errno(client, "recv");
    }
}

/* ---- All of them ---- */

static bool wants_send(const struct link *link)
{
    const struct pc_checker *checker = &link->checker;
    if (link->shut) {
        return false;
    }
    if (link->begin < link->end || leaving(link)) {
        return true;
    }
    if (pc_checker_sent(checker)) {
        return link->fate != FATE_CLOSE && link->fate != FATE_HANG_UP &&
               link->fate != FATE_MALFORMED;
    }
    return checker->out.offset < checker->out.bytes || checker->config.depth == 0 ||
           checker->pulled_count - pc_checker_verified(checker) < checker->config.depth;
}

/* Name the first connection that waits. */
static void fail_stuck(struct client *client)
{
    for (unsigned i = 0; i < client->config->open_count; i++) {
        const struct link *link = &client->links[i];
        if (link->fd >= 0) {
            char text[200];
            snprintf(text, sizeof(text),
                     "no progress: connection %u, fate %d, %u of %u requests sent, %u answered, "
                     "%zu bytes into request, %zu of %zu into reply, depth %u, shut %d",
                     link->checker.config.connection, link->fate,
                     (unsigned)link->checker.pulled_count,
                     (unsigned)link->checker.config.request_count,
                     (unsigned)pc_checker_verified(&link->checker), link->checker.out.offset,
                     link->checker.in.offset, link->checker.in.bytes,
                     (unsigned)link->checker.config.depth, link->shut);
            fail(client, text);
            return;
        }
    }
}

static void round_run(struct client *client)
{
    unsigned count = client->config->open_count;
    bool deaf = false;
    for (unsigned i = 0; i < count; i++) {
        struct link *link = &client->links[i];
        struct pollfd *poll = &client->polls[i];
        *poll = (struct pollfd){.fd = link->fd};
        if (link->fd >= 0) {
            poll->events = (short)((wants_send(link) ? POLLOUT : 0) | (link->deaf ? 0 : POLLIN));
            deaf |= link->deaf > 0;
            link->deaf -= link->deaf > 0;
        }
    }
    int ready = poll(client->polls, count, deaf ? 1 : PATIENCE_MS);
    if (ready == 0 && !deaf) {
        fail_stuck(client);
    }
    for (unsigned i = 0; i < count && !failed(client); i++) {
        struct link *link = &client->links[i];
        short events = client->polls[i].revents;
        if (events & POLLOUT && link->fd >= 0) {
            link_send(client, link);
        }
        if (events & (POLLIN | POLLHUP | POLLERR) && link->fd >= 0) {
            link_receive(client, link);
        }
    }
}

static bool refill(struct client *client)
{
    bool any = false;
    for (unsigned i = 0; i < client->config->open_count && !failed(client); i++) {
        struct link *link = &client->links[i];
        any |= link->fd >= 0 || link_open(client, link);
    }
    return any;
}

void seam_client_run(const struct seam_client_config *config, struct seam_client_result *out)
{
    *out = (struct seam_client_result){0};
    struct client client = {.config = config, .result = out};
    pc_random_init(&client.random, config->seed);
    address_read(&client);
    client.links = calloc(config->open_count, sizeof(struct link));
    client.polls = calloc(config->open_count, sizeof(struct pollfd));
    client.received = malloc(CHUNK_BYTES);
    if (client.links == NULL || client.polls == NULL || client.received == NULL) {
        fail(&client, "no memory");
    }
    for (unsigned i = 0; i < config->open_count && !failed(&client); i++) {
        client.links[i].fd = -1;
    }
    while (!failed(&client) && refill(&client) && !failed(&client)) {
        round_run(&client);
    }
    for (unsigned i = 0; i < config->open_count && client.links != NULL; i++) {
        if (client.links[i].fd >= 0) {
            close(client.links[i].fd);
        }
    }
    free(client.links);
    free(client.polls);
    free(client.received);
}
