/* SPDX-License-Identifier: Apache-2.0 */
/* world_client: a client of a world: how it sends, reads, dawdles and leaves. */
#include "world_parts.h"

#include "base/check.h"
#include "runtime/limits.h"

#include <errno.h>

/* A turn's clock is read before the bytes come that the turn receives. */
#define TURN_NS UINT64_C(20000000)

static const struct pc_kernel *kernel_of(struct client *client)
{
    return &client->world->script->kernel;
}

static void client_moved(struct client *client)
{
    uint64_t quiet_ns = client->world->script->now_ns - client->moved_ns;
    client->quiet_ns_max = quiet_ns > client->quiet_ns_max ? quiet_ns : client->quiet_ns_max;
    client->moved_ns += quiet_ns;
}

static bool client_write(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    if (client->shut) {
        return false;
    }
    if (client->out_begin == client->out_end) {
        size_t room = 1 + pc_random_below(&client->random, client->piece_max);
        client->out_begin = 0;
        client->out_end = client->talk.pull(client->talk.state, client->out, room);
        if (client->out_end == 0) {
            return false;
        }
    }
    ssize_t count = kernel->send(kernel, client->fd, client->out + client->out_begin,
                                 client->out_end - client->out_begin, MSG_NOSIGNAL);
    if (count > 0) {
        client->out_begin += (size_t)count;
        client_moved(client);
    }
    return count > 0; /* a reset shows when it reads */
}

/* The service closed, or broke off. */
static void client_closed(struct client *client, ssize_t how)
{
    struct world *world = client->world;
    const struct pc_world_talk *talk = &client->talk;
    client->over = true;
    client_moved(client);
    /* The schedule may have kept this client from running for so long that it seemed idle. */
    bool idled = world->idle_ns > 0 && client->quiet_ns_max + TURN_NS > world->idle_ns;
    /* One that is slow to read what was said before a hang-up is not waited for for ever. */
    bool lingered =
        client->talk.hangs_up && world->script->now_ns > client->begun_ns + PC_LINGER_NS;
    if (world->stopping || idled || (how < 0 && lingered)) {
        return;
    }
    if (how < 0) {
        pc_world_fail(world, "a connection was reset");
    }
    if (!talk->done(talk->state)) {
        pc_world_fail(world, "a connection was closed before its last reply");
    }
    if (!talk->hangs_up && !client->shut) {
        pc_world_fail(world, "a connection was closed for no reason, or too early");
    }
}

static bool client_read(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    struct world *world = client->world;
    const struct pc_world_talk *talk = &client->talk;
    uint8_t bytes[4096];
    size_t room = 1 + pc_random_below(&client->random, client->piece_max);
    ssize_t count = kernel->recv(kernel, client->fd, bytes, room, 0);
    if (count == -EAGAIN) {
        return false;
    }
    if (count <= 0) {
        client_closed(client, count);
    } else if (!talk->push(talk->state, bytes, (size_t)count)) {
        pc_world_fail(world, talk->trouble(talk->state));
    }
    return true;
}

static void client_wait(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    struct world *world = client->world;
    const struct pc_world_talk *talk = &client->talk;
    struct pollfd poll = {.fd = client->fd, .events = POLLIN};
    if (client->out_begin < client->out_end && !client->shut) {
        poll.events |= POLLOUT;
    }
    bool *waits = &world->waits_for_answer[pc_fiber_index(world->fibers)];
    *waits = !talk->done(talk->state) || talk->hangs_up || client->shut;
    (void)kernel->poll(kernel, &poll, 1, PC_FOREVER); /* whatever it says, the next calls tell */
    *waits = false;
}

static void client_think(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    if (client->slow > 0 && pc_random_below(&client->random, client->slow) == 0) {
        (void)kernel->poll(kernel, NULL, 0, pc_random_below(&client->random, 3000000)); /* waits */
    }
}

static void client_break_off(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)kernel->setsockopt(kernel, client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    client->over = true;
}

/* One connection from its first byte to its close. */
static void client_converse(struct client *client)
{
    const struct pc_kernel *kernel = kernel_of(client);
    const struct pc_world_talk *talk = &client->talk;
    while (!client->over) {
        bool moved = client_write(client);
        moved = client_read(client) || moved;
        client_think(client);
        if (client->over) {
            break;
        }
        bool sent = talk->sent(talk->state) && client->out_begin == client->out_end;
        if (client->manner == MANNER_RESETS && pc_random_below(&client->random, 24) == 0) {
            client_break_off(client);
        } else if (client->manner == MANNER_HALF && sent && !client->shut) {
            client->shut = moved = true;
            (void)kernel->shutdown(kernel, client->fd, SHUT_WR); /* a reset shows when it reads */
        } else if (talk->done(talk->state) && !talk->hangs_up && client->manner != MANNER_HALF &&
                   client->manner != MANNER_IDLES) {
            client->over = true;
        } else if (!moved) {
            client_wait(client);
        }
    }
}

static void client_visit(struct client *client, unsigned connection)
{
    struct world *world = client->world;
    const struct pc_kernel *kernel = kernel_of(client);
    struct pc_random *random = &client->random;
    client->fd = kernel->socket(kernel, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) {
        pc_world_fail(world, "a client has no socket");
    }
    int outcome = kernel->connect(kernel, client->fd, (struct sockaddr *)&world->address,
                                  sizeof(world->address));
    if (outcome < 0) {
        (void)kernel->close(kernel, client->fd);
        if (!world->stopping) {
            pc_world_fail(world, "a connection was refused");
        }
        return;
    }
    client->manner =
        (enum manner)pc_random_below(random, world->idle_ns > 0 ? MANNER_COUNT : MANNER_COUNT - 1);
    if (client->manner == MANNER_RESETS && pc_random_below(random, 2) == 0) {
        client->manner = MANNER_LEAVES;
    }
    client->shut = client->over = false;
    client->slow = pc_random_below(random, 3) == 0 ? 1 + (unsigned)pc_random_below(random, 8) : 0;
    client->piece_max = (size_t)1 << pc_random_below(random, 13);
    client->piece_max = pc_max_size(client->piece_max, 16);
    client->out_begin = client->out_end = 0;
    client->begun_ns = client->moved_ns = world->script->now_ns;
    client->quiet_ns_max = 0;
    world->config->talk(world->config->ctx, connection, pc_random_next(random), &client->talk);
    client_converse(client);
    client->talk.end(client->talk.state);
    (void)kernel->close(kernel, client->fd); /* open until here */
}

void pc_world_client_main(void *ctx)
{
    struct client *client = ctx;
    struct world *world = client->world;
    unsigned count = world->config->connection_count;
    for (unsigned i = 0; i < count && !world->stopping; i++) {
        client_visit(client, client->index * count + i);
    }
    world->clients_left--;
}
