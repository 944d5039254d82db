/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology: which CPUs there are for us, and which core goes where.
 *
 * Discovery reads the machine; the plan is a pure function of what was read, so that tests plan for
 * machines they do not have.
 *
 * Memory   A machine and a plan each own one array, released by their fini.
 * Core     boot.
 * Limits   PC_CORE_COUNT_MAX cores.
 * Source   docs/decisions/0030.
 */
#ifndef PC_RUNTIME_TOPOLOGY_H
#define PC_RUNTIME_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>

/* Rings between cores grow with the square; nobody has asked for more CPUs in one process. */
#define PC_CORE_COUNT_MAX 1024

/* Where a core runs: -1 where that is left to the kernel. */
struct pc_seat {
    int cpu, node;
};

struct pc_machine {
    /* The CPUs we may run on, one of each physical core first, then their siblings. */
    struct pc_seat *cpus;
    unsigned cpu_count;
    bool mask_is_full;    /* they are all that the machine has */
    unsigned quota_milli; /* CPU time allowed, in thousandths of a CPU; 0: no limit */
};

struct pc_plan {
    struct pc_seat *seats; /* one per core */
    unsigned core_count;
    bool pinned;
    bool overcommitted; /* more cores than CPUs or CPU time: a core that polls takes from another */
};

/* Read the machine we run on. -EIO: hwloc cannot tell; -ENOMEM. */
int pc_machine_discover(struct pc_machine *out);

/* Invent a machine from a description in hwloc's words ("node:2 core:4 pu:2") with the CPUs of
 * `allowed` ("0-3,8"; NULL: all). -EINVAL: either makes no sense; -ENOMEM. */
int pc_machine_invent(const char *description, const char *allowed, unsigned quota_milli,
                      struct pc_machine *out);

/* Harmless on zeros. */
void pc_machine_fini(struct pc_machine *machine);

/* How many threads can run at the same time: CPUs, or the quota if that is less, rounded up. */
unsigned pc_machine_parallel_count(const struct pc_machine *machine);

/* `core_count` 0: as many as can run at the same time. `affinity` as in pc_config: 0: pin, except
 * under a quota with a full mask, where every container of the machine would choose the same CPUs;
 * 1: pin; -1: do not. Cores beyond the CPUs share them in turn.
 * -EINVAL: more than PC_CORE_COUNT_MAX; -ENOMEM. */
int pc_plan_init(struct pc_plan *out, const struct pc_machine *machine, unsigned core_count,
                 int affinity);

/* Harmless on zeros. */
void pc_plan_fini(struct pc_plan *plan);

/* One line for the start of a program: how many cores, where, and why so; cut to fit. */
void pc_plan_text(const struct pc_plan *plan, const struct pc_machine *machine, char *into,
                  size_t bytes);

#endif
