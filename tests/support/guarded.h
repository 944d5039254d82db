/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guarded: bytes that end against an unreadable page, so that a read past them stops the test.
 *
 * Limits   PC_GUARDED_BYTES_MAX bytes at a time.
 */
#ifndef PC_TESTS_GUARDED_H
#define PC_TESTS_GUARDED_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PC_GUARDED_BYTES_MAX = 1 << 20, PC_GUARDED_PAGE_BYTES = 1 << 16 };

struct guarded {
    uint8_t *base;
};

static inline void guarded_init(struct guarded *guarded)
{
    guarded->base = mmap(NULL, PC_GUARDED_BYTES_MAX + PC_GUARDED_PAGE_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guarded->base == MAP_FAILED ||
        mprotect(guarded->base + PC_GUARDED_BYTES_MAX, PC_GUARDED_PAGE_BYTES, PROT_NONE) != 0) {
        abort();
    }
}

static inline void guarded_fini(struct guarded *guarded)
{
    munmap(guarded->base, PC_GUARDED_BYTES_MAX + PC_GUARDED_PAGE_BYTES);
}

/* A copy of the bytes, its end against the guard; good until the next call. */
static inline const uint8_t *guarded_copy(struct guarded *guarded, const void *bytes, size_t count)
{
    if (count > PC_GUARDED_BYTES_MAX) {
        abort();
    }
    uint8_t *at = guarded->base + PC_GUARDED_BYTES_MAX - count;
    if (count > 0) {
        memcpy(at, bytes, count);
    }
    return at;
}

#endif
