/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address: what people write for an address, and what the kernel wants.
 *
 *   host:port   127.0.0.1:9000   [::1]:9000   unix:/path   unix:/path:0770   unix:@name
 *   9000   :9000   *:9000   [::]:9000     every address of the machine, IPv4 and IPv6
 *
 * Memory   The caller's; nothing is allocated or kept.
 * Limits   PC_ADDRESS_COUNT_MAX in a list; 107 bytes for the path of a unix socket.
 * Core     boot: a name is looked up by the C library, which may ask the network and wait.
 * Addresses in numbers are not looked up, and text is made anywhere. Errors   A negative errno, and
 * one line for a person that begins with what was written.
 */
#ifndef PC_RUNTIME_ADDRESS_H
#define PC_RUNTIME_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define PC_ADDRESS_COUNT_MAX 64

/* Room for any address as text, its final zero included: `unix:` and a whole sun_path. */
#define PC_ADDRESS_TEXT_BYTES 128

enum { PC_PORT_NONE = -1 }; /* for default_port: the text must name one */

struct pc_address {
    union {
        struct sockaddr generic;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_un local;
    };
    socklen_t bytes;
    bool dual_stack;  /* IPv6 any: to be bound with IPV6_V6ONLY off */
    mode_t unix_mode; /* permissions asked for; 0: none were */
};

struct pc_address_list {
    struct pc_address items[PC_ADDRESS_COUNT_MAX];
    unsigned count;
};

/* Append the addresses of `text`, which are separated by commas; each without a port gets
 * `default_port`. A name may stand for several. What is in the list already is not repeated.
 * On failure the list is as before, and `trouble` (may be NULL) says why.
 * -EINVAL: not an address; -ENAMETOOLONG: path; -EADDRNOTAVAIL: no such name; -EAGAIN: names cannot
 * be looked up now; -E2BIG: too many.  Core: boot; may wait. */
int pc_address_list_add(struct pc_address_list *list, const char *text, int default_port,
                        char *trouble, size_t trouble_bytes);

/* For a machine without IPv6: the IPv4 any of a dual stack address; false if it is not one. */
bool pc_address_ipv4_any(const struct pc_address *address, struct pc_address *out);

/* The port; 0 for a unix socket. */
uint16_t pc_address_port(const struct sockaddr *address);
/* Harmless on a unix socket. */
void pc_address_set_port(struct pc_address *address, uint16_t port);

/* As people write it; IPv4 in IPv6 reads as IPv4. An address of a family we do not know, or of an
 * unnamed unix socket, reads as a word.  Core: any. */
void pc_address_text(const struct sockaddr *address, socklen_t address_bytes,
                     char out[static PC_ADDRESS_TEXT_BYTES]);

#endif
