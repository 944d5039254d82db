/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: cores go where they should on any machine, and the text says so.
 * Method: invented machines, from one CPU to two sockets with siblings; at the end the real one,
 * compared with what the kernel says.
 */
#include "runtime/topology.h"

#include "base/check.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Plan on an invented machine and compare the text. */
static void expect_plan(const char *machine_text, const char *allowed, unsigned quota_milli,
                        unsigned core_count, int affinity, const char *expected)
{
    struct pc_machine machine = {0};
    struct pc_plan plan = {0};
    char text[256];
    assert_int_equal(pc_machine_invent(machine_text, allowed, quota_milli, &machine), 0);
    assert_int_equal(pc_plan_init(&plan, &machine, core_count, affinity), 0);
    pc_plan_text(&plan, &machine, text, sizeof(text));
    assert_string_equal(text, expected);
    pc_plan_fini(&plan);
    pc_machine_fini(&machine);
}

static void a_core_per_cpu_and_pinned(void **state)
{
    expect_plan("core:1 pu:1", NULL, 0, 0, 0, "1 core, pinned to CPU 0");
    expect_plan("core:2 pu:1", NULL, 0, 0, 0, "2 cores, pinned to CPUs 0,1");
    expect_plan("core:8 pu:1", NULL, 0, 0, 0, "8 cores, pinned to CPUs 0-7");
}

static void physical_cores_come_before_siblings(void **state)
{
    expect_plan("core:4 pu:2", NULL, 0, 0, 0, "8 cores, pinned to CPUs 0,2,4,6,1,3,5,7");
    expect_plan("core:4 pu:2", NULL, 0, 4, 0, "4 cores, pinned to CPUs 0,2,4,6");
    expect_plan("core:4 pu:2", "1-3,6,7", 0, 0, 0, "5 cores, pinned to CPUs 1,2,6,3,7");
}

static void mask_bounds_the_cores(void **state)
{
    expect_plan("core:8 pu:1", "2,5", 0, 0, 0, "2 cores, pinned to CPUs 2,5");
    expect_plan("core:8 pu:1", "5", 0, 3, 0, "3 cores, pinned to CPU 5, more than can run at once");
}

static void nodes_are_named_where_there_are_several(void **state)
{
    expect_plan("node:2 core:4 pu:1", NULL, 0, 0, 0, "8 cores, pinned to CPUs 0-7, NUMA nodes 0,1");
    expect_plan("node:2 core:4 pu:1", NULL, 0, 3, 0, "3 cores, pinned to CPUs 0-2");
    struct pc_machine machine = {0};
    struct pc_plan plan = {0};
    assert_int_equal(pc_machine_invent("node:2 core:2 pu:2", NULL, 0, &machine), 0);
    assert_int_equal(pc_plan_init(&plan, &machine, 0, 0), 0);
    const struct pc_seat expected[] = {{0, 0}, {2, 0}, {4, 1}, {6, 1},
                                       {1, 0}, {3, 0}, {5, 1}, {7, 1}};
    assert_int_equal(plan.core_count, PC_COUNT_OF(expected));
    assert_memory_equal(plan.seats, expected, sizeof(expected));
    pc_plan_fini(&plan);
    pc_machine_fini(&machine);
}

static void quota_with_a_full_mask_is_not_pinned(void **state)
{
    expect_plan("core:8 pu:1", NULL, 2500, 0, 0, "3 cores, not pinned, quota of 2.50 CPUs");
    expect_plan("core:8 pu:1", NULL, 2500, 0, 1, "3 cores, pinned to CPUs 0-2, quota of 2.50 CPUs");
    expect_plan("core:8 pu:1", NULL, 10, 0, 0, "1 core, not pinned, quota of 0.01 CPUs");
    /* Somebody chose these CPUs for us, so nobody else chooses the same by accident. */
    expect_plan("core:8 pu:1", "4-7", 2000, 0, 0,
                "2 cores, pinned to CPUs 4,5, quota of 2.00 CPUs");
    /* More quota than CPUs: the CPUs bound. */
    expect_plan("core:2 pu:1", NULL, 9000, 0, 0, "2 cores, not pinned, quota of 9.00 CPUs");
}

static void flags_override(void **state)
{
    expect_plan("core:4 pu:1", NULL, 0, 0, -1, "4 cores, not pinned");
    expect_plan("core:4 pu:1", NULL, 0, 2, -1, "2 cores, not pinned");
    expect_plan("core:2 pu:1", NULL, 0, 5, 1,
                "5 cores, pinned to CPUs 0,1, more than can run at once");
    expect_plan("core:4 pu:1", NULL, 1000, 2, -1,
                "2 cores, not pinned, quota of 1.00 CPUs, more than can run at once");
}

static void cores_beyond_the_cpus_share_them_in_turn(void **state)
{
    struct pc_machine machine = {0};
    struct pc_plan plan = {0};
    assert_int_equal(pc_machine_invent("core:3 pu:1", NULL, 0, &machine), 0);
    assert_int_equal(pc_plan_init(&plan, &machine, 7, 0), 0);
    assert_true(plan.overcommitted);
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(plan.seats[i].cpu, i % 3);
    }
    pc_plan_fini(&plan);
    assert_int_equal(pc_plan_init(&plan, &machine, 3, 0), 0);
    assert_false(plan.overcommitted);
    pc_plan_fini(&plan);
    assert_int_equal(pc_plan_init(&plan, &machine, PC_CORE_COUNT_MAX + 1, 0), -EINVAL);
    pc_machine_fini(&machine);
}

static void impossible_machines_are_refused(void **state)
{
    struct pc_machine machine = {0};
    assert_int_equal(pc_machine_invent("no such thing", NULL, 0, &machine), -EINVAL);
    assert_int_equal(pc_machine_invent("core:2 pu:1", "0-x", 0, &machine), -EINVAL);
    assert_int_equal(pc_machine_invent("core:2 pu:1", "17", 0, &machine), -EINVAL);
    assert_null(machine.cpus);
    pc_machine_fini(&machine);
    pc_plan_fini(&(struct pc_plan){0});
}

static void text_is_cut_to_its_room(void **state)
{
    struct pc_machine machine = {0};
    struct pc_plan plan = {0};
    char text[300];
    assert_int_equal(pc_machine_invent("core:200 pu:2", NULL, 0, &machine), 0);
    assert_int_equal(pc_plan_init(&plan, &machine, 0, 0), 0);
    for (size_t room = 1; room < sizeof(text); room++) {
        memset(text, 'x', sizeof(text));
        pc_plan_text(&plan, &machine, text, room);
        assert_int_equal(strlen(text), room - 1);
        assert_int_equal(text[room], 'x');
    }
    pc_plan_fini(&plan);
    pc_machine_fini(&machine);
}

static void real_machine_is_what_the_kernel_says(void **state)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    struct pc_machine machine = {0};
    assert_int_equal(pc_machine_discover(&machine), 0);
    assert_int_equal(machine.cpu_count, CPU_COUNT(&set));
    for (unsigned i = 0; i < machine.cpu_count; i++) {
        assert_true(CPU_ISSET((size_t)machine.cpus[i].cpu, &set));
        CPU_CLR((size_t)machine.cpus[i].cpu, &set); /* each once */
        assert_true(machine.cpus[i].node >= 0);
    }
    struct pc_plan plan = {0};
    char text[256];
    assert_int_equal(pc_plan_init(&plan, &machine, 0, 0), 0);
    pc_plan_text(&plan, &machine, text, sizeof(text));
    print_message("here: %s\n", text);
    pc_plan_fini(&plan);
    pc_machine_fini(&machine);
}

/* Half of our CPUs taken away, as taskset does: the mask is no longer full. */
static void mask_of_the_real_machine_is_kept(void **state)
{
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    int last = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        last = CPU_ISSET((size_t)cpu, &before) ? cpu : last;
    }
    CPU_ZERO(&after);
    CPU_SET((size_t)last, &after);
    assert_int_equal(sched_setaffinity(0, sizeof(after), &after), 0);
    struct pc_machine machine = {0};
    int error = pc_machine_discover(&machine);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(error, 0);
    assert_int_equal(machine.cpu_count, 1);
    assert_int_equal(machine.cpus[0].cpu, last);
    assert_int_equal(machine.mask_is_full, last == 0);
    pc_machine_fini(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core_per_cpu_and_pinned),
        cmocka_unit_test(physical_cores_come_before_siblings),
        cmocka_unit_test(mask_bounds_the_cores),
        cmocka_unit_test(nodes_are_named_where_there_are_several),
        cmocka_unit_test(quota_with_a_full_mask_is_not_pinned),
        cmocka_unit_test(flags_override),
        cmocka_unit_test(cores_beyond_the_cpus_share_them_in_turn),
        cmocka_unit_test(impossible_machines_are_refused),
        cmocka_unit_test(text_is_cut_to_its_room),
        cmocka_unit_test(real_machine_is_what_the_kernel_says),
        cmocka_unit_test(mask_of_the_real_machine_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
