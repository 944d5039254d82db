/* SPDX-License-Identifier: Apache-2.0 */
/* lane: its memory, its clock, and what services ask about it. */
#include "runtime/lane.h"

#include "runtime/exchange.h"
#include "runtime/runtime.h"

#include <string.h>

void pc_lane_init(struct pc_lane *lane, struct pc_runtime *runtime, enum pc_lane_kind kind,
                  unsigned index, struct pc_counters *counters)
{
    memset(lane, 0, sizeof(*lane));
    lane->kind = kind;
    lane->index = index;
    lane->runtime = runtime;
    lane->kernel = runtime->kernel;
    lane->service = runtime->service;
    lane->app = runtime->app;
    lane->reply_bytes_max = runtime->config.reply_bytes_max;
    lane->counters = counters;
    for (unsigned i = 0; runtime->service->classes != NULL && i < runtime->service->class_count;
         i++) {
        /* Two classes may share a bit: then the clock is looked at more often. */
        lane->heavy_classes |= (uint64_t)(runtime->service->classes[i].weight != PC_LIGHT)
                               << (i & 63);
    }
    pc_block_pool_init(&lane->blocks);
    pc_wheel_init(&lane->wheel, pc_lane_tick(lane));
}

void pc_lane_fini(struct pc_lane *lane)
{
    if (lane->landing != NULL) {
        pc_block_give_back(&lane->blocks, lane->landing);
        lane->landing = NULL;
    }
    pc_wheel_fini(&lane->wheel);
    pc_slots_free(lane);
    pc_block_pool_fini(&lane->blocks);
}

void pc_runtime_tick(struct pc_runtime *runtime, uint64_t now_ns)
{
    uint32_t second = (uint32_t)((now_ns - runtime->start_ns) / 1000000000u) + 1;
    /* Pairs with itself on other lanes: the maximum wins, so the second never goes back. */
    uint32_t seen = atomic_load_explicit(&runtime->second, memory_order_relaxed);
    while (seen < second &&
           !atomic_compare_exchange_weak_explicit(&runtime->second, &seen, second,
                                                  memory_order_relaxed, memory_order_relaxed)) {}
}

uint64_t pc_lane_tick(struct pc_lane *lane)
{
    lane->now_ns = lane->kernel->clock_ns(lane->kernel);
    pc_runtime_tick(lane->runtime, lane->now_ns);
    return lane->now_ns;
}

unsigned pc_lane_index(const struct pc_lane *lane)
{
    return lane->index;
}

struct pc_runtime *pc_lane_runtime(const struct pc_lane *lane)
{
    return lane->runtime;
}

uint64_t pc_lane_now_ns(const struct pc_lane *lane)
{
    return lane->now_ns;
}

uint32_t pc_lane_second(const struct pc_lane *lane)
{
    return atomic_load_explicit(&lane->runtime->second, memory_order_relaxed);
}

uint64_t pc_lane_cpu_ns(const struct pc_lane *lane)
{
    return lane->kernel->thread_cpu_ns(lane->kernel);
}

uint64_t pc_lane_realtime_s(const struct pc_lane *lane)
{
    return lane->kernel->realtime_s(lane->kernel);
}

void pc_timer_arm(struct pc_timer *timer, struct pc_lane *lane, uint64_t delay_ns)
{
    pc_wheel_arm(&lane->wheel, timer, lane->now_ns + delay_ns);
}
