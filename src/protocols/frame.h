/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame: a 4-byte big-endian length, then so many bytes.
 *
 * Limits   The length is whatever four bytes can say; the caller has a cap of its own.
 */
#ifndef PC_PROTOCOLS_FRAME_H
#define PC_PROTOCOLS_FRAME_H

#include "base/bytes.h"

#include <stddef.h>

#define PC_FRAME_HEAD_BYTES 4

/* The bytes of the whole frame that starts at `at`, head included; 0: its head is not all there. */
static inline size_t pc_frame_bytes(const void *at, size_t count)
{
    return count < PC_FRAME_HEAD_BYTES ? 0 : (size_t)pc_be32_load(at) + PC_FRAME_HEAD_BYTES;
}

#endif
