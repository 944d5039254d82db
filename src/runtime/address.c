/* SPDX-License-Identifier: Apache-2.0 */
/* address: split what was written, then ask the C library for the part between the colons. */
#include "runtime/address.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* As resolvers take them; the underscore is no host's by the book, but in use. */
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

enum { HOST_BYTES = 256, ENTRY_BYTES = 512, PORT_MAX = 65535 };

/* One entry in the making, and where to complain about it. */
struct entry {
    char text[ENTRY_BYTES];
    struct pc_address_list *list;
    int default_port;
    char *trouble;
    size_t trouble_bytes;
};

/* Say what is wrong with the entry; returns `error` for the caller to pass on. */
__attribute__((format(printf, 3, 4))) static int refuse(const struct entry *entry, int error,
                                                        const char *format, ...)
{
    if (entry->trouble == NULL || entry->trouble_bytes == 0) {
        return error;
    }
    int used = snprintf(entry->trouble, entry->trouble_bytes,
                        "%s: ", entry->text[0] != 0 ? entry->text : "(empty)");
    if (used > 0 && (size_t)used < entry->trouble_bytes) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(entry->trouble + used, entry->trouble_bytes - (size_t)used, format,
                        arguments); /* cut to the caller's room */
        va_end(arguments);
    }
    return error;
}

/* Whether both mean the same; two sockets of a port the system chooses are two. */
static bool same(const struct pc_address *a, const struct pc_address *b)
{
    return a->bytes == b->bytes && memcmp(&a->generic, &b->generic, a->bytes) == 0 &&
           (a->generic.sa_family == AF_UNIX || pc_address_port(&a->generic) != 0);
}

static int list_append(const struct entry *entry, const struct pc_address *address)
{
    struct pc_address_list *list = entry->list;
    for (unsigned i = 0; i < list->count; i++) {
        if (same(&list->items[i], address)) {
            return 0;
        }
    }
    if (list->count == PC_ADDRESS_COUNT_MAX) {
        return refuse(entry, -E2BIG, "more than %d addresses", PC_ADDRESS_COUNT_MAX);
    }
    list->items[list->count++] = *address;
    return 0;
}

/* Digits only, up to `max`, in `base`; -1 if it is anything else. */
static int parse_digits(const char *text, int base, int max)
{
    int value = 0;
    for (const char *at = text; *at != 0; at++) {
        int digit = *at - '0';
        if (digit < 0 || digit >= base || (value = value * base + digit) > max) {
            return -1;
        }
    }
    return text[0] != 0 ? value : -1;
}

static int append_unix(const struct entry *entry, const char *path)
{
    struct pc_address address = {.local.sun_family = AF_UNIX};
    const size_t room = sizeof(address.local.sun_path) - 1;
    size_t bytes = strlen(path);
    /* Three or four octal digits after the last colon are permissions. */
    const char *colon = strrchr(path, ':');
    size_t digits = colon != NULL ? strlen(colon + 1) : 0;
    if (path[0] != '@' && (digits == 3 || digits == 4)) {
        int mode = parse_digits(colon + 1, 8, 0777);
        if (mode > 0) {
            address.unix_mode = (mode_t)mode;
            bytes = (size_t)(colon - path);
        }
    }
    if (bytes == 0 || (path[0] == '@' && bytes == 1)) {
        return refuse(entry, -EINVAL, "unix: needs a path");
    }
    if (bytes > room) {
        return refuse(entry, -ENAMETOOLONG, "a unix path has at most %zu bytes", room);
    }
    memcpy(address.local.sun_path, path, bytes);
    address.bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
    if (path[0] == '@') {
        address.local.sun_path[0] = 0; /* abstract: no file, no final zero */
        address.bytes--;
    }
    return list_append(entry, &address);
}

static int append_any(const struct entry *entry, uint16_t port)
{
    struct pc_address address = {
        .ipv6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons(port)},
        .bytes = sizeof(address.ipv6),
        .dual_stack = true,
    };
    return list_append(entry, &address);
}

static int refuse_name(const struct entry *entry, int error, const char *host)
{
    switch (error) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
    case EAI_FAIL:
        return refuse(entry, -EADDRNOTAVAIL, "no such address or name: %s", host);
    case EAI_MEMORY:
        return refuse(entry, -ENOMEM, "out of memory");
    default:
        return refuse(entry, -EAGAIN, "cannot look up %s: %s", host, gai_strerror(error));
    }
}

/* A name, or an IPv6 address, whose zone (`%eth0`) the C library knows how to read. */
static int append_looked_up(const struct entry *entry, const char *host, uint16_t port)
{
    bool number = strchr(host, ':') != NULL;
    struct addrinfo wanted = {
        .ai_family = number ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = number ? AI_NUMERICHOST : 0,
    };
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, NULL, &wanted, &found);
    if (error != 0) {
        return refuse_name(entry, error, host);
    }
    int result = 0;
    for (const struct addrinfo *info = found; info != NULL && result == 0; info = info->ai_next) {
        struct pc_address address = {.bytes = info->ai_addrlen};
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6) {
            continue;
        }
        memcpy(&address.generic, info->ai_addr, info->ai_addrlen);
        pc_address_set_port(&address, port);
        result = list_append(entry, &address);
    }
    freeaddrinfo(found);
    return result;
}

static int append_host(const struct entry *entry, const char *host, uint16_t port)
{
    if (host[0] == 0 || strcmp(host, "*") == 0 || strcmp(host, "::") == 0) {
        return append_any(entry, port);
    }
    struct pc_address address = {.ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)},
                                 .bytes = sizeof(address.ipv4)};
    if (inet_pton(AF_INET, host, &address.ipv4.sin_addr) == 1) {
        return list_append(entry, &address);
    }
    /* What cannot be a name is refused here: a resolver might take seconds to say so. */
    if (host[strspn(host, "0123456789.")] == 0) {
        return refuse(entry, -EINVAL, "%s is not an IPv4 address", host);
    }
    if (strchr(host, ':') == NULL && host[strspn(host, NAME_LETTERS)] != 0) {
        return refuse(entry, -EINVAL, "%s is not the name of a machine", host);
    }
    return append_looked_up(entry, host, port);
}

/* Split into host and port. `*out_port` points into the text, or is NULL if there is none. */
static int split(const struct entry *entry, char host[static HOST_BYTES], const char **out_port)
{
    const char *text = entry->text;
    const char *end, *port = NULL;
    const char *colon = strchr(text, ':');
    if (text[0] == '[') {
        end = strchr(++text, ']');
        if (end == NULL || (end[1] != 0 && end[1] != ':')) {
            return refuse(entry, -EINVAL, "expected [address] or [address]:port");
        }
        port = end[1] == ':' ? end + 2 : NULL;
        if (memchr(text, ':', (size_t)(end - text)) == NULL) {
            return refuse(entry, -EINVAL, "brackets are for IPv6 addresses");
        }
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        end = colon;
        port = colon + 1;
    } else if (text[0] != 0 && text[strspn(text, "0123456789")] == 0) {
        end = text;
        port = text;
    } else {
        end = text + strlen(text); /* a host alone, or an IPv6 address without brackets */
    }
    size_t bytes = (size_t)(end - text);
    if (bytes >= HOST_BYTES) {
        return refuse(entry, -EINVAL, "a name has at most %d bytes", HOST_BYTES - 1);
    }
    memcpy(host, text, bytes);
    host[bytes] = 0;
    *out_port = port;
    return 0;
}

static int append_entry(const struct entry *entry)
{
    if (strncmp(entry->text, "unix:", 5) == 0) {
        return append_unix(entry, entry->text + 5);
    }
    if (entry->text[0] == 0) {
        return refuse(entry, -EINVAL, "expected an address, as in 127.0.0.1:9000");
    }
    char host[HOST_BYTES] = "";
    const char *port_text = NULL;
    int error = split(entry, host, &port_text);
    if (error != 0) {
        return error;
    }
    int port = port_text != NULL ? parse_digits(port_text, 10, PORT_MAX) : entry->default_port;
    if (port < 0 && port_text == NULL) {
        return refuse(entry, -EINVAL, "needs a port, as in 127.0.0.1:9000");
    }
    if (port < 0) {
        return refuse(entry, -EINVAL, "a port is a number from 0 to %d", PORT_MAX);
    }
    return append_host(entry, host, (uint16_t)port);
}

int pc_address_list_add(struct pc_address_list *list, const char *text, int default_port,
                        char *trouble, size_t trouble_bytes)
{
    struct entry entry = {
        .list = list,
        .default_port = default_port,
        .trouble = trouble,
        .trouble_bytes = trouble_bytes,
    };
    unsigned before = list->count;
    for (const char *at = text;;) {
        size_t bytes = strcspn(at, ",");
        size_t kept = pc_min_size(bytes, sizeof(entry.text) - 1);
        memcpy(entry.text, at, kept);
        entry.text[kept] = 0;
        int error = bytes == kept ? append_entry(&entry)
                                  : refuse(&entry, -EINVAL, "too long for an address");
        if (error != 0) {
            list->count = before;
            return error;
        }
        if (at[bytes] == 0) {
            return 0;
        }
        at += bytes + 1;
    }
}

bool pc_address_ipv4_any(const struct pc_address *address, struct pc_address *out)
{
    if (!address->dual_stack) {
        return false;
    }
    *out = (struct pc_address){
        .ipv4 = {.sin_family = AF_INET, .sin_port = address->ipv6.sin6_port},
        .bytes = sizeof(out->ipv4),
    };
    return true;
}

uint16_t pc_address_port(const struct sockaddr *address)
{
    const void *any = address;
    switch (address->sa_family) {
    case AF_INET:
        return ntohs(((const struct sockaddr_in *)any)->sin_port);
    case AF_INET6:
        return ntohs(((const struct sockaddr_in6 *)any)->sin6_port);
    default:
        return 0;
    }
}

void pc_address_set_port(struct pc_address *address, uint16_t port)
{
    if (address->generic.sa_family == AF_INET) {
        address->ipv4.sin_port = htons(port);
    } else if (address->generic.sa_family == AF_INET6) {
        address->ipv6.sin6_port = htons(port);
    }
}

static void text_of_ipv6(const struct sockaddr_in6 *ipv6, char out[static PC_ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    unsigned port = ntohs(ipv6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&ipv6->sin6_addr)) {
        (void)inet_ntop(AF_INET, &ipv6->sin6_addr.s6_addr[12], host, sizeof(host)); /* fits */
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "%s:%u", host, port);
        return;
    }
    (void)inet_ntop(AF_INET6, &ipv6->sin6_addr, host, sizeof(host));
    if (ipv6->sin6_scope_id != 0) {
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "[%s%%%u]:%u", host, ipv6->sin6_scope_id, port);
    } else {
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "[%s]:%u", host, port);
    }
}

static void text_of_unix(const struct sockaddr_un *local, socklen_t local_bytes,
                         char out[static PC_ADDRESS_TEXT_BYTES])
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t bytes = local_bytes > start ? local_bytes - start : 0;
    bytes = pc_min_size(bytes, sizeof(local->sun_path));
    if (bytes == 0) {
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "unix:(unnamed)");
    } else if (local->sun_path[0] == 0) {
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "unix:@%.*s", (int)bytes - 1,
                       local->sun_path + 1);
    } else {
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "unix:%.*s", (int)bytes, local->sun_path);
    }
}

void pc_address_text(const struct sockaddr *address, socklen_t address_bytes,
                     char out[static PC_ADDRESS_TEXT_BYTES])
{
    const void *any = address;
    char host[INET_ADDRSTRLEN];
    const struct sockaddr_in *ipv4 = any;
    switch (address_bytes >= sizeof(address->sa_family) ? address->sa_family : AF_UNSPEC) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &ipv4->sin_addr, host, sizeof(host));
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(ipv4->sin_port));
        return;
    case AF_INET6:
        text_of_ipv6(any, out);
        return;
    case AF_UNIX:
        text_of_unix(any, address_bytes, out);
        return;
    default:
        (void)snprintf(out, PC_ADDRESS_TEXT_BYTES, "(unknown)");
        return;
    }
}
