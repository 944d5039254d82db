/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Each --huge-pages asks the kernel for what it says, and takes no for an answer.
 * Method  A kernel table that keeps what it is asked, hands memory out itself, and refuses what the
 *         test says.
 */
#include "store/owners/pages.h"

#include "runtime/kernel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { ASKED_MAX = 64 };

struct asked {
    void *at;
    size_t bytes;
    int advice;
};

struct machine {
    struct pc_kernel kernel;
    struct asked asked[ASKED_MAX];
    unsigned asked_count;
    unsigned huge_maps;
    int64_t mapped_bytes;
    bool refuses_reserved, refuses_advice;
};

static struct machine *machine_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct machine, kernel);
}

static int64_t whole_pages(size_t bytes)
{
    const int64_t page_bytes = sysconf(_SC_PAGESIZE);
    return ((int64_t)bytes + page_bytes - 1) / page_bytes * page_bytes;
}

static int machine_mmap(const struct pc_kernel *kernel, size_t bytes, int protection, int flags,
                        void **out_at)
{
    struct machine *machine = machine_of(kernel);
    if ((flags & MAP_HUGETLB) != 0) {
        machine->huge_maps++;
        assert_int_equal(bytes % PC_PAGE_HUGE_BYTES, 0);
        if (machine->refuses_reserved) {
            return -ENOMEM;
        }
    }
    const int error = pc_kernel_linux()->mmap(pc_kernel_linux(), bytes, protection,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, out_at);
    machine->mapped_bytes += error == 0 ? whole_pages(bytes) : 0;
    return error;
}

static int machine_munmap(const struct pc_kernel *kernel, void *at, size_t bytes)
{
    machine_of(kernel)->mapped_bytes -= whole_pages(bytes);
    const int error = pc_kernel_linux()->munmap(pc_kernel_linux(), at, bytes);
    assert_int_equal(error, 0);
    return error;
}

static int machine_madvise(const struct pc_kernel *kernel, void *at, size_t bytes, int advice)
{
    struct machine *machine = machine_of(kernel);
    assert_true(machine->asked_count < ASKED_MAX);
    machine->asked[machine->asked_count++] = (struct asked){at, bytes, advice};
    return machine->refuses_advice ? -EINVAL : 0;
}

static void machine_init(struct machine *machine)
{
    *machine = (struct machine){.kernel = *pc_kernel_linux()};
    machine->kernel.mmap = machine_mmap;
    machine->kernel.munmap = machine_munmap;
    machine->kernel.madvise = machine_madvise;
}

static const struct asked *find(const struct machine *machine, int advice)
{
    for (unsigned i = 0; i < machine->asked_count; i++) {
        if (machine->asked[i].advice == advice) {
            return &machine->asked[i];
        }
    }
    return NULL;
}

static int pool_open(struct machine *machine, struct pc_pages *pages, enum pc_pages_mode mode,
                     uint64_t limit_bytes, struct pc_pool **out_pool)
{
    pc_pages_init(pages, &machine->kernel, mode, limit_bytes);
    const struct pc_pool_config config = {
        .limit_bytes = limit_bytes, .slice_count = 1, .memory = &pages->memory};
    return pc_pool_create(&config, out_pool);
}

static void pool_close(struct machine *machine, struct pc_pool *pool)
{
    pc_pool_destroy(pool);
    assert_int_equal(machine->mapped_bytes, 0);
}

static void large_pools_ask_for_whole_pages_and_small_ones_do_not(void **state)
{
    for (unsigned large = 0; large < 2; large++) {
        struct machine machine;
        struct pc_pages pages;
        struct pc_pool *pool;
        machine_init(&machine);
        const uint64_t limit = large ? PC_PAGES_LIMIT_MIN : PC_PAGES_LIMIT_MIN - (1 << 20);
        assert_int_equal(pool_open(&machine, &pages, PC_PAGES_AUTO, limit, &pool), 0);
        const struct asked *asked = find(&machine, MADV_HUGEPAGE);
        assert_int_equal(asked != NULL, large);
        if (large) {
            assert_int_equal((uintptr_t)asked->at % PC_PAGE_HUGE_BYTES, 0);
            assert_true(asked->bytes >= limit);
        }
        assert_null(find(&machine, MADV_NOHUGEPAGE));
        pool_close(&machine, pool);
    }
}

static void refused_advice_changes_nothing_else(void **state)
{
    struct machine machine;
    struct pc_pages pages;
    struct pc_pool *pool;
    machine_init(&machine);
    machine.refuses_advice = true;
    assert_int_equal(pool_open(&machine, &pages, PC_PAGES_AUTO, PC_PAGES_LIMIT_MIN, &pool), 0);
    assert_non_null(find(&machine, MADV_HUGEPAGE));
    pool_close(&machine, pool);
}

static void off_asks_for_small_pages_only(void **state)
{
    struct machine machine;
    struct pc_pages pages;
    struct pc_pool *pool;
    machine_init(&machine);
    assert_int_equal(pool_open(&machine, &pages, PC_PAGES_OFF, PC_PAGES_LIMIT_MIN, &pool), 0);
    assert_null(find(&machine, MADV_HUGEPAGE));
    assert_non_null(find(&machine, MADV_NOHUGEPAGE));
    pool_close(&machine, pool);
}

static void reserved_pages_are_taken_whole_or_there_is_no_pool(void **state)
{
    for (unsigned refuses = 0; refuses < 2; refuses++) {
        struct machine machine;
        struct pc_pages pages;
        struct pc_pool *pool = NULL;
        machine_init(&machine);
        machine.refuses_reserved = refuses;
        assert_int_equal(pool_open(&machine, &pages, PC_PAGES_ON, 64 << 20, &pool),
                         refuses ? -ENOMEM : 0);
        assert_int_equal(machine.huge_maps, 1);
        pool_close(&machine, pool);
    }
    assert_int_equal(pc_pages_needed(64 << 20, 64 * 1024), 33);
    assert_int_equal(pc_pages_needed((64 << 20) - 64 * 1024, 64 * 1024), 32);
}

static void what_is_given_back_is_not_made_whole_again(void **state)
{
    struct machine machine;
    struct pc_pages pages;
    struct pc_pool *pool;
    machine_init(&machine);
    assert_int_equal(pool_open(&machine, &pages, PC_PAGES_AUTO, PC_PAGES_LIMIT_MIN, &pool), 0);
    uint8_t *const at = pages.segments_at;
    machine.asked_count = 0;
    pages.memory.release(pages.memory.ctx, at + (1 << 20), 1 << 17);
    pages.memory.release(pages.memory.ctx, at + (4 << 20), 1 << 17);
    /* Once for all segments, and before the first of them goes. */
    assert_int_equal(machine.asked_count, 3);
    assert_int_equal(machine.asked[0].advice, MADV_NOHUGEPAGE);
    assert_ptr_equal(machine.asked[0].at, at);
    assert_int_equal(machine.asked[0].bytes, pages.segments_bytes);
    assert_int_equal(machine.asked[1].advice, MADV_DONTNEED);
    assert_int_equal(machine.asked[2].advice, MADV_DONTNEED);
    pool_close(&machine, pool);
}

static void only_large_tables_ask_for_whole_pages(void **state)
{
    struct machine machine;
    struct pc_pages pages;
    machine_init(&machine);
    pc_pages_init(&pages, &machine.kernel, PC_PAGES_AUTO, PC_PAGES_LIMIT_MIN);
    const struct pc_memory *memory = &pages.memory;
    void *small = memory->map(memory->ctx, PC_PAGES_TABLE_MIN / 2);
    assert_int_equal(machine.asked_count, 0);
    const size_t bytes = PC_PAGES_TABLE_MIN + 1; /* what is behind it begins with a page */
    void *large = memory->map(memory->ctx, bytes);
    assert_ptr_equal(find(&machine, MADV_HUGEPAGE)->at, large);
    memory->unmap(memory->ctx, small, PC_PAGES_TABLE_MIN / 2);
    memory->unmap(memory->ctx, large, bytes);
    assert_int_equal(machine.mapped_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_pools_ask_for_whole_pages_and_small_ones_do_not),
        cmocka_unit_test(refused_advice_changes_nothing_else),
        cmocka_unit_test(off_asks_for_small_pages_only),
        cmocka_unit_test(reserved_pages_are_taken_whole_or_there_is_no_pool),
        cmocka_unit_test(what_is_given_back_is_not_made_whole_again),
        cmocka_unit_test(only_large_tables_ask_for_whole_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
