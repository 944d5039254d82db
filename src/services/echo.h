/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo: frames back to whoever sent them; the smallest service there is.
 *
 * A frame is a 4-byte big-endian length and so many bytes. With `work`, the first eight bytes of a
 * body are big-endian nanoseconds of thread CPU time to spend before the answer, at most 1 s.
 */
#ifndef PC_SERVICES_ECHO_H
#define PC_SERVICES_ECHO_H

#include <percore/service.h>

/* The largest body unless asked otherwise. */
#define PC_ECHO_BODY_BYTES_MAX (1024 * 1024)

/* A service that takes bodies of up to `body_bytes_max`. */
struct pc_service pc_echo_service(size_t body_bytes_max, bool work);

#endif
