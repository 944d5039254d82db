/* SPDX-License-Identifier: Apache-2.0 */
/* listen: from the words of config.listen to sockets on every core. */
#include "models/listen.h"

#include "runtime/address.h"
#include "runtime/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(char *trouble, size_t bytes, const char *address, int error)
{
    if (trouble != NULL && bytes > 0) {
        const char *why = error == -EADDRINUSE      ? "the address is taken by another process"
                          : error == -EACCES        ? "no permission"
                          : error == -EADDRNOTAVAIL ? "no such address on this machine"
                                                    : strerror(-error);
        snprintf(trouble, bytes, "cannot listen on %s: %s", address, why);
    }
    return error;
}

/* With SO_REUSEPORT the kernel would let two servers share a port without a word. */
static int probe(struct pc_runtime *runtime, const struct pc_address *address)
{
    int fd;
    if (pc_address_port(&address->generic) == 0) {
        return 0;
    }
    int outcome =
        pc_listener_socket(runtime->kernel, &address->generic, address->bytes, 1, false, &fd);
    if (outcome == 0) {
        (void)runtime->kernel->close(runtime->kernel, fd);
    }
    return outcome;
}

/* A socket file that nobody listens on is left over from a crash: it is removed. */
static void remove_stale(struct pc_runtime *runtime, const struct pc_address *address)
{
    const struct pc_kernel *kernel = runtime->kernel;
    struct stat status;
    if (address->local.sun_path[0] == '\0' ||
        kernel->lstat(kernel, address->local.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) {
        return;
    }
    int fd = kernel->socket(kernel, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (kernel->connect(kernel, fd, &address->generic, address->bytes) == -ECONNREFUSED) {
        (void)kernel->unlink(kernel, address->local.sun_path); /* if not, bind says so */
    }
    (void)kernel->close(kernel, fd);
}

static int open_one(struct pc_runtime *runtime, struct pc_address *address, unsigned core_index,
                    bool group, int *out_fd)
{
    int outcome = pc_listener_socket(runtime->kernel, &address->generic, address->bytes,
                                     runtime->config.backlog_count, group, out_fd);
    struct pc_address ipv4;
    if (outcome == -EAFNOSUPPORT && pc_address_ipv4_any(address, &ipv4)) {
        *address = ipv4;
        return open_one(runtime, address, core_index, group, out_fd);
    }
    return outcome;
}

/* The port that the kernel chose for the first socket is the port of all. */
static int learn_port(struct pc_runtime *runtime, struct pc_address *address, int fd)
{
    struct sockaddr_storage given;
    socklen_t bytes = sizeof(given);
    int outcome =
        runtime->kernel->getsockname(runtime->kernel, fd, (struct sockaddr *)&given, &bytes);
    if (outcome == 0 && given.ss_family != AF_UNIX) {
        pc_address_set_port(address, pc_address_port((struct sockaddr *)&given));
    }
    return outcome;
}

/* Who may use it is settled before it listens: until then nobody can connect. */
static int open_local(struct pc_runtime *runtime, struct pc_address *address, int *out_fd)
{
    const struct pc_kernel *kernel = runtime->kernel;
    remove_stale(runtime, address);
    int fd;
    int outcome = pc_listener_bind(kernel, &address->generic, address->bytes, false, &fd);
    if (outcome < 0) {
        return outcome;
    }
    if (address->local.sun_path[0] != '\0') {
        mode_t mode = address->unix_mode != 0 ? address->unix_mode : runtime->config.unix_mode;
        outcome = kernel->chmod(kernel, address->local.sun_path, mode);
    }
    if (outcome == 0) {
        outcome = kernel->listen(kernel, fd, (int)runtime->config.backlog_count);
    }
    *out_fd = fd; /* also in trouble: pc_listen_close has the rest */
    return outcome;
}

static int open_address(struct pc_runtime *runtime, struct pc_address *address, unsigned index)
{
    unsigned core_count = runtime->core_count > 0 ? runtime->core_count : 1;
    int *fds = &runtime->listen_fds[index];
    if (address->generic.sa_family == AF_UNIX) {
        return open_local(runtime, address, &fds[0]);
    }
    bool group = core_count > 1;
    int outcome = group ? probe(runtime, address) : 0;
    for (unsigned core = 0; core < core_count && outcome == 0; core++) {
        int *fd = &fds[core * runtime->address_count];
        outcome = open_one(runtime, address, core, group, fd);
        if (outcome == 0 && core == 0) {
            outcome = learn_port(runtime, address, *fd);
        }
    }
    return outcome;
}

static int parse_all(struct pc_runtime *runtime, struct pc_address_list *list, char *trouble,
                     size_t trouble_bytes)
{
    for (unsigned i = 0; i < runtime->config.listen_count; i++) {
        int outcome = pc_address_list_add(list, runtime->config.listen[i], PC_PORT_NONE, trouble,
                                          trouble_bytes);
        if (outcome < 0) {
            return outcome;
        }
    }
    return 0;
}

static int reserve(struct pc_runtime *runtime, unsigned address_count)
{
    unsigned core_count = runtime->core_count > 0 ? runtime->core_count : 1;
    runtime->address_count = address_count;
    runtime->listen_fds = malloc((size_t)core_count * address_count * sizeof(int));
    runtime->addresses = calloc(address_count, sizeof(char *));
    if (runtime->listen_fds == NULL || runtime->addresses == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < core_count * address_count; i++) {
        runtime->listen_fds[i] = -1;
    }
    return 0;
}

int pc_listen_open(struct pc_runtime *runtime, char *trouble, size_t trouble_bytes)
{
    struct pc_address_list *list = calloc(1, sizeof(*list));
    if (list == NULL) {
        return fail(trouble, trouble_bytes, "anything", -ENOMEM);
    }
    int outcome = parse_all(runtime, list, trouble, trouble_bytes);
    if (outcome < 0) {
        goto out;
    }
    if (list->count == 0) {
        outcome = fail(trouble, trouble_bytes, "nothing (name an address)", -EINVAL);
        goto out;
    }
    outcome = reserve(runtime, list->count);
    for (unsigned i = 0; i < list->count && outcome == 0; i++) {
        struct pc_address *address = &list->items[i];
        char text[PC_ADDRESS_TEXT_BYTES];
        outcome = open_address(runtime, address, i);
        pc_address_text(&address->generic, address->bytes, text);
        if (outcome < 0) {
            (void)fail(trouble, trouble_bytes, text, outcome);
        } else if ((runtime->addresses[i] = strdup(text)) == NULL) {
            outcome = fail(trouble, trouble_bytes, text, -ENOMEM);
        }
    }
out:
    free(list);
    return outcome;
}

void pc_listen_close(struct pc_runtime *runtime)
{
    const struct pc_kernel *kernel = runtime->kernel;
    for (unsigned i = 0; runtime->addresses != NULL && i < runtime->address_count; i++) {
        const char *text = runtime->addresses[i];
        if (text != NULL && strncmp(text, "unix:/", 6) == 0) {
            (void)kernel->unlink(kernel, text + 5); /* it may be gone already */
        }
        free(runtime->addresses[i]);
    }
    unsigned core_count = runtime->core_count > 0 ? runtime->core_count : 1;
    for (unsigned i = 0; runtime->listen_fds != NULL && i < core_count * runtime->address_count;
         i++) {
        if (runtime->listen_fds[i] >= 0) {
            (void)kernel->close(kernel, runtime->listen_fds[i]);
        }
    }
    free(runtime->addresses);
    free(runtime->listen_fds);
}
