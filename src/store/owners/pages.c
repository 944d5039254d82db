/* SPDX-License-Identifier: Apache-2.0 */
#include "store/owners/pages.h"

#include "runtime/kernel.h"

#include <linux/mman.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROTECTION = PROT_READ | PROT_WRITE, FLAGS = MAP_PRIVATE | MAP_ANONYMOUS };

static struct pc_pages *pages_of(void *ctx)
{
    return ctx;
}

static uint64_t whole_pages(uint64_t bytes, uint64_t page_bytes)
{
    return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/* Advice that is refused changes nothing but how large pages are. */
static void advise(const struct pc_pages *pages, void *at, size_t bytes, int advice)
{
    (void)pages->kernel->madvise(pages->kernel, at, bytes, advice);
}

static void *map_plain(const struct pc_pages *pages, size_t bytes)
{
    void *at = NULL;
    const int error =
        pages->kernel->mmap(pages->kernel, bytes, PROTECTION, FLAGS | MAP_NORESERVE, &at);
    return error == 0 ? at : NULL;
}

/* At the start of a large page: what lies in front and behind goes back. */
static void *map_aligned(const struct pc_pages *pages, size_t bytes)
{
    bytes = whole_pages(bytes, (uint64_t)sysconf(_SC_PAGESIZE)); /* munmap wants whole pages */
    uint8_t *const from = map_plain(pages, bytes + PC_PAGE_HUGE_BYTES);
    if (from == NULL) {
        return NULL;
    }
    const size_t front = (size_t)(-(uintptr_t)from % PC_PAGE_HUGE_BYTES);
    if (front != 0) {
        (void)pages->kernel->munmap(pages->kernel, from, front);
    }
    (void)pages->kernel->munmap(pages->kernel, from + front + bytes, PC_PAGE_HUGE_BYTES - front);
    return from + front;
}

static void *map_sized(const struct pc_pages *pages, size_t bytes, bool is_huge)
{
    void *at = is_huge ? map_aligned(pages, bytes) : map_plain(pages, bytes);
    if (at != NULL && is_huge) {
        advise(pages, at, bytes, MADV_HUGEPAGE);
    }
    if (at != NULL && pages->mode == PC_PAGES_OFF) {
        advise(pages, at, bytes, MADV_NOHUGEPAGE);
    }
    return at;
}

static void *map(void *ctx, size_t bytes)
{
    const struct pc_pages *pages = pages_of(ctx);
    return map_sized(pages, bytes, pages->mode != PC_PAGES_OFF && bytes >= PC_PAGES_TABLE_MIN);
}

static void *map_segments(void *ctx, size_t bytes)
{
    struct pc_pages *pages = pages_of(ctx);
    void *at = NULL;
    if (pages->mode == PC_PAGES_ON) {
        bytes = whole_pages(bytes, PC_PAGE_HUGE_BYTES);
        if (pages->kernel->mmap(pages->kernel, bytes, PROTECTION,
                                FLAGS | MAP_HUGETLB | MAP_HUGE_2MB, &at) != 0) {
            return NULL;
        }
    } else {
        const bool is_huge =
            pages->mode == PC_PAGES_AUTO && pages->limit_bytes >= PC_PAGES_LIMIT_MIN;
        at = map_sized(pages, bytes, is_huge);
    }
    pages->segments_at = at;
    pages->segments_bytes = bytes;
    return at;
}

static void unmap(void *ctx, void *at, size_t bytes)
{
    const struct pc_pages *pages = pages_of(ctx);
    (void)pages->kernel->munmap(pages->kernel, at,
                                at == pages->segments_at ? pages->segments_bytes : bytes);
}

/* What was given back must not return because the system makes the page around it whole. */
static void stay_small(struct pc_pages *pages, void *at, size_t bytes)
{
    const uintptr_t offset = (uintptr_t)at - (uintptr_t)pages->segments_at;
    if (offset >= pages->segments_bytes) {
        /* Of a table: its end, from which more may follow. */
        advise(pages, at, bytes, MADV_NOHUGEPAGE);
    } else if (!atomic_exchange_explicit(&pages->gives_back, true, memory_order_relaxed)) {
        advise(pages, pages->segments_at, pages->segments_bytes, MADV_NOHUGEPAGE);
    }
}

static void release(void *ctx, void *at, size_t bytes)
{
    struct pc_pages *pages = pages_of(ctx);
    if (pages->mode != PC_PAGES_OFF) {
        stay_small(pages, at, bytes);
    }
    if (pages->kernel->madvise(pages->kernel, at, bytes, MADV_DONTNEED) != 0) {
        /* Locked, or a part of a reserved page. If that is refused too the memory stays
         * resident. */
        advise(pages, at, bytes, MADV_DONTNEED_LOCKED);
    }
}

void pc_pages_init(struct pc_pages *pages, const struct pc_kernel *kernel, enum pc_pages_mode mode,
                   uint64_t limit_bytes)
{
    *pages = (struct pc_pages){
        .memory = {.map = map,
                   .map_segments = map_segments,
                   .unmap = unmap,
                   .release = release,
                   .ctx = pages},
        .kernel = kernel,
        .mode = mode,
        .limit_bytes = limit_bytes,
    };
}

uint64_t pc_pages_needed(uint64_t limit_bytes, uint32_t segment_bytes)
{
    const uint64_t bytes = (limit_bytes / segment_bytes + 1) * segment_bytes;
    return whole_pages(bytes, PC_PAGE_HUGE_BYTES) / PC_PAGE_HUGE_BYTES;
}
