/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages: where a pool's memory comes from, and how large its pages are.
 *
 * A look-up over gigabytes misses the TLB for the bucket and again for the item; pages of 2 MiB
 * need 512 times fewer entries. But one that is touched is resident as a whole, so they are asked
 * for only where that is a small part: for segments from PC_PAGES_LIMIT_MIN on, which are first
 * used in the order of their addresses, and for tables of an index from PC_PAGES_TABLE_MIN on,
 * which grow so.
 *
 * Owner    Whoever made it; the pool that uses `memory` is destroyed before.
 * Memory   As struct pc_memory says. With PC_PAGES_ON segments lie in the system's reserved pages,
 *          which do not come back before the pool is destroyed.
 * Core     init: boot; the functions of `memory`: any.
 * Source   docs/decisions/0106.
 */
#ifndef PC_STORE_PAGES_H
#define PC_STORE_PAGES_H

#include "store/pool.h"

#include <stdatomic.h>

struct pc_kernel;

#define PC_PAGE_HUGE_BYTES (UINT64_C(2) << 20)
#define PC_PAGES_LIMIT_MIN (UINT64_C(256) << 20) /* a page more is under 1 % */
#define PC_PAGES_TABLE_MIN (UINT64_C(32) << 20)  /* a page more is at most a sixteenth of it */

enum pc_pages_mode {
    PC_PAGES_AUTO, /* transparent ones, where the system gives them */
    PC_PAGES_ON,   /* segments in reserved ones, or no pool */
    PC_PAGES_OFF,  /* none, even where the system would */
};

struct pc_pages {
    struct pc_memory memory; /* for struct pc_pool_config */
    const struct pc_kernel *kernel;
    enum pc_pages_mode mode;
    uint64_t limit_bytes;
    void *segments_at;
    size_t segments_bytes;
    _Atomic bool gives_back; /* segments have been given back: no pages are made whole any more */
};

/* `limit_bytes` is the pool's. */
void pc_pages_init(struct pc_pages *pages, const struct pc_kernel *kernel, enum pc_pages_mode mode,
                   uint64_t limit_bytes);

/* Reserved pages that PC_PAGES_ON needs for the segments of a pool of this limit. */
uint64_t pc_pages_needed(uint64_t limit_bytes, uint32_t segment_bytes);

#endif
