/* SPDX-License-Identifier: Apache-2.0 */
/* address: taking a URL apart. */
#include "programs/load/address.h"

#include "measure/dialect.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static int unix_address(const char *path, struct sockaddr_storage *out, socklen_t *out_bytes,
                        char *trouble, size_t trouble_bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        snprintf(trouble, trouble_bytes, "the path %s is too long for a unix socket", path);
        return -EINVAL;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    memset(out, 0, sizeof(*out));
    memcpy(out, &address, sizeof(address));
    *out_bytes = sizeof(address);
    return 0;
}

static int name_resolve(const char *host, const char *port, struct sockaddr_storage *out,
                        socklen_t *out_bytes, char *trouble, size_t trouble_bytes)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    const int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        snprintf(trouble, trouble_bytes, "%s:%s: %s", host, port, gai_strerror(error));
        return -ENOENT;
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *out_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* "host", "host:port", "[v6]" or "[v6]:port" into two strings; false: none of these. */
static bool host_and_port(const char *text, char *host, size_t host_bytes, char *port,
                          size_t port_bytes)
{
    const bool bracket = text[0] == '[';
    const char *begin = text + bracket;
    const size_t length = bracket ? strcspn(begin, "]") : strcspn(begin, ":/");
    const char *rest = begin + length;
    if (length == 0 || length >= host_bytes || (bracket && *rest++ != ']')) {
        return false;
    }
    memcpy(host, begin, length);
    host[length] = '\0';
    if (*rest == ':') {
        const size_t digits = strspn(rest + 1, "0123456789");
        if (digits == 0 || digits >= port_bytes || digits > 5) {
            return false;
        }
        memcpy(port, rest + 1, digits);
        port[digits] = '\0';
        rest += 1 + digits;
    }
    return *rest == '\0' || strcmp(rest, "/") == 0;
}

int pc_load_address_find(const char *url, const struct pc_dialect_ops **out_dialect,
                         struct sockaddr_storage *out_address, socklen_t *out_bytes, char *trouble,
                         size_t trouble_bytes)
{
    const char *colon = strstr(url, "://");
    const struct pc_dialect_ops *dialect =
        colon == NULL ? NULL : pc_dialect_find(url, (size_t)(colon - url));
    if (dialect == NULL) {
        snprintf(
            trouble, trouble_bytes,
            "bad URL '%s' (legal: memcached://, redis:// or frame://, then HOST:PORT or /path)",
            url);
        return -EINVAL;
    }
    const char *rest = colon + 3;
    *out_dialect = dialect;
    if (*rest == '/') {
        return unix_address(rest, out_address, out_bytes, trouble, trouble_bytes);
    }
    char host[256], port[8];
    snprintf(port, sizeof(port), "%u", dialect->port);
    if (!host_and_port(rest, host, sizeof(host), port, sizeof(port))) {
        snprintf(trouble, trouble_bytes,
                 "bad address in '%s' (legal: HOST, HOST:PORT, [IPV6]:PORT)", url);
        return -EINVAL;
    }
    return name_resolve(host, port, out_address, out_bytes, trouble, trouble_bytes);
}
