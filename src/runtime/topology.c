/* SPDX-License-Identifier: Apache-2.0 */
/* topology: hwloc tells what there is; everything after that is arithmetic. */
#include "runtime/topology.h"

#include "runtime/quota.h"

#include <errno.h>
#include <hwloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* How many allowed CPUs of the same physical core come before this one. */
static unsigned rank_in_core(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                             hwloc_obj_t cpu)
{
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, cpu);
    unsigned rank = 0;
    if (core == NULL) {
        return 0;
    }
    for (hwloc_obj_t other = NULL;;) {
        other =
            hwloc_get_next_obj_inside_cpuset_by_type(topology, core->cpuset, HWLOC_OBJ_PU, other);
        if (other == NULL || other == cpu) {
            return rank;
        }
        rank += hwloc_bitmap_isset(allowed, other->os_index) != 0;
    }
}

/* The allowed CPUs, round after round: the first of each physical core, then the second, ... */
static int list_cpus(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                     struct pc_machine *out)
{
    int weight = hwloc_bitmap_weight(allowed);
    if (weight <= 0) {
        return -EINVAL;
    }
    struct pc_seat *cpus = calloc((size_t)weight, sizeof(*cpus));
    if (cpus == NULL) {
        return -ENOMEM;
    }
    unsigned count = 0;
    for (unsigned round = 0; count < (unsigned)weight; round++) {
        unsigned before = count;
        hwloc_obj_t cpu = NULL;
        while ((cpu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, cpu)) != NULL) {
            if (hwloc_bitmap_isset(allowed, cpu->os_index) &&
                rank_in_core(topology, allowed, cpu) == round) {
                int node = hwloc_bitmap_first(cpu->nodeset);
                cpus[count++] = (struct pc_seat){.cpu = (int)cpu->os_index, .node = node};
            }
        }
        if (count == before) {
            break; /* the mask names CPUs that hwloc does not know */
        }
    }
    if (count == 0) {
        free(cpus);
        return -EINVAL;
    }
    *out = (struct pc_machine){.cpus = cpus, .cpu_count = count};
    return 0;
}

/* Load with the CPUs we may not use as well, or a full mask could not be told from a part. */
static int topology_load(const char *description, hwloc_topology_t *out)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) {
        return -ENOMEM;
    }
    if (description != NULL && hwloc_topology_set_synthetic(topology, description) != 0) {
        hwloc_topology_destroy(topology);
        return -EINVAL;
    }
    if (hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) != 0 ||
        hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return -EIO;
    }
    *out = topology;
    return 0;
}

/* Fill `out` with the CPUs of `topology` that are in `allowed`. */
static int machine_fill(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                        unsigned quota_milli, struct pc_machine *out)
{
    struct pc_machine machine = {0};
    int error = list_cpus(topology, allowed, &machine);
    if (error != 0) {
        return error;
    }
    int all = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    machine.mask_is_full = machine.cpu_count == (unsigned)all;
    machine.quota_milli = quota_milli;
    *out = machine;
    return 0;
}

int pc_machine_discover(struct pc_machine *out)
{
    hwloc_topology_t topology;
    int error = topology_load(NULL, &topology);
    if (error != 0) {
        return error;
    }
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    if (allowed == NULL) {
        error = -ENOMEM;
    } else if (hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_THREAD) != 0) {
        error = -EIO;
    } else {
        /* The kernel keeps the affinity mask within the cpuset of our control group. */
        error = machine_fill(topology, allowed, pc_quota_read_milli(""), out);
    }
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(topology);
    return error;
}

int pc_machine_invent(const char *description, const char *allowed, unsigned quota_milli,
                      struct pc_machine *out)
{
    hwloc_topology_t topology;
    int error = topology_load(description, &topology);
    if (error != 0) {
        return error;
    }
    hwloc_bitmap_t set = hwloc_bitmap_dup(hwloc_topology_get_topology_cpuset(topology));
    if (set == NULL) {
        error = -ENOMEM;
    } else if (allowed != NULL && hwloc_bitmap_list_sscanf(set, allowed) != 0) {
        error = -EINVAL;
    } else {
        error = machine_fill(topology, set, quota_milli, out);
    }
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(topology);
    return error;
}

void pc_machine_fini(struct pc_machine *machine)
{
    free(machine->cpus);
    *machine = (struct pc_machine){0};
}

unsigned pc_machine_parallel_count(const struct pc_machine *machine)
{
    unsigned by_quota = (machine->quota_milli + 999) / 1000;
    return by_quota != 0 && by_quota < machine->cpu_count ? by_quota : machine->cpu_count;
}

int pc_plan_init(struct pc_plan *out, const struct pc_machine *machine, unsigned core_count,
                 int affinity)
{
    unsigned parallel = pc_machine_parallel_count(machine);
    unsigned count = core_count != 0 ? core_count : parallel;
    if (count > PC_CORE_COUNT_MAX) {
        if (core_count != 0) {
            return -EINVAL;
        }
        count = PC_CORE_COUNT_MAX;
    }
    struct pc_seat *seats = calloc(count, sizeof(*seats));
    if (seats == NULL) {
        return -ENOMEM;
    }
    bool shared_by_all = machine->quota_milli != 0 && machine->mask_is_full;
    bool pinned = affinity > 0 || (affinity == 0 && !shared_by_all);
    for (unsigned i = 0; i < count; i++) {
        seats[i] = pinned ? machine->cpus[i % machine->cpu_count]
                          : (struct pc_seat){.cpu = -1, .node = -1};
    }
    *out = (struct pc_plan){
        .seats = seats,
        .core_count = count,
        .pinned = pinned,
        .overcommitted = count > parallel,
    };
    return 0;
}

void pc_plan_fini(struct pc_plan *plan)
{
    free(plan->seats);
    *plan = (struct pc_plan){0};
}

/* Text that grows until its room is used up. */
struct text {
    char *at;
    size_t room;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *text, const char *format,
                                                           ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(text->at, text->room, format, arguments);
    va_end(arguments);
    if (bytes > 0 && text->room > 1) {
        size_t used = (size_t)bytes < text->room ? (size_t)bytes : text->room - 1;
        text->at += used;
        text->room -= used;
    }
}

/* The CPUs in the order of the cores, runs of neighbours as `first-last`. */
static void text_add_cpus(struct text *text, const struct pc_plan *plan, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        unsigned end = i + 1;
        while (end < count && plan->seats[end].cpu == plan->seats[end - 1].cpu + 1) {
            end++;
        }
        const char *comma = i != 0 ? "," : "";
        if (end - i > 2) {
            text_add(text, "%s%d-%d", comma, plan->seats[i].cpu, plan->seats[end - 1].cpu);
            i = end;
        } else {
            text_add(text, "%s%d", comma, plan->seats[i].cpu);
            i++;
        }
    }
}

/* The NUMA nodes the cores are on, if the machine has several. */
static void text_add_nodes(struct text *text, const struct pc_plan *plan)
{
    int last = plan->seats[0].node;
    unsigned node_count = 1;
    for (unsigned i = 1; i < plan->core_count; i++) {
        node_count += plan->seats[i].node != last;
        last = plan->seats[i].node;
    }
    if (node_count < 2) {
        return;
    }
    text_add(text, ", NUMA nodes");
    for (unsigned i = 0; i < plan->core_count; i++) {
        if (i == 0 || plan->seats[i].node != plan->seats[i - 1].node) {
            text_add(text, "%s%d", i == 0 ? " " : ",", plan->seats[i].node);
        }
    }
}

void pc_plan_text(const struct pc_plan *plan, const struct pc_machine *machine, char *into,
                  size_t bytes)
{
    struct text text = {into, bytes};
    text_add(&text, "%u core%s", plan->core_count, plan->core_count == 1 ? "" : "s");
    if (plan->pinned) {
        unsigned count =
            plan->core_count < machine->cpu_count ? plan->core_count : machine->cpu_count;
        text_add(&text, ", pinned to CPU%s ", count == 1 ? "" : "s");
        text_add_cpus(&text, plan, count);
        text_add_nodes(&text, plan);
    } else {
        text_add(&text, ", not pinned");
    }
    if (machine->quota_milli != 0) {
        text_add(&text, ", quota of %u.%02u CPUs", machine->quota_milli / 1000,
                 machine->quota_milli % 1000 / 10);
    }
    if (plan->overcommitted) {
        text_add(&text, ", more than can run at once");
    }
}
