/* SPDX-License-Identifier: Apache-2.0 */
/* result: judgement and a few ratios. */
#include "programs/load/result.h"

#include "programs/commands.h"
#include "programs/load/settings.h"

#include <errno.h>
#include <stdlib.h>

int pc_load_result_init(struct pc_load_result *result)
{
    *result = (struct pc_load_result){.tally = pc_tally_create()};
    return result->tally == NULL ? -ENOMEM : 0;
}

void pc_load_result_fini(struct pc_load_result *result)
{
    pc_tally_destroy(result->tally);
    free(result->seconds);
    pc_load_server_fini(&result->server);
    *result = (struct pc_load_result){0};
}

struct pc_load_second *pc_load_result_second(struct pc_load_result *result)
{
    if (result->second_count == result->second_room) {
        const unsigned room = result->second_room == 0 ? 64 : 2 * result->second_room;
        void *bigger = realloc(result->seconds, room * sizeof(result->seconds[0]));
        if (bigger == NULL) {
            return NULL;
        }
        result->seconds = bigger;
        result->second_room = room;
    }
    struct pc_load_second *second = &result->seconds[result->second_count++];
    *second = (struct pc_load_second){0};
    return second;
}

void pc_load_result_judge(struct pc_load_result *result, bool closed, uint64_t lag_gate_ns)
{
    const struct pc_tally *tally = result->tally;
    result->partial = result->outcome != PC_DRIVER_COMPLETE;
    result->wrong =
        pc_tally_get(tally, PC_TALLY_MISMATCHES) > 0 || pc_tally_get(tally, PC_TALLY_SHORT) > 0 ||
        pc_tally_get(tally, PC_TALLY_REORDERS) > 0 || pc_tally_get(tally, PC_TALLY_ERRORS) > 0;
    if (!closed && lag_gate_ns > 0) {
        const uint64_t median = pc_histogram_quantile(tally->timed[PC_TIMED_RESPONSE], 0.5);
        const uint64_t gate = median / 10 > lag_gate_ns ? median / 10 : lag_gate_ns;
        result->invalid = pc_histogram_quantile(tally->timed[PC_TIMED_OWN_LAG], 0.99) > gate;
    }
}

int pc_load_result_exit(const struct pc_load_result *result)
{
    if (result->wrong) {
        return PC_LOAD_EXIT_WRONG;
    }
    if (result->partial) {
        const bool never =
            result->outcome == PC_DRIVER_UNREACHABLE || result->outcome == PC_DRIVER_SYSTEM;
        return never ? PC_EXIT_TROUBLE : PC_LOAD_EXIT_PARTIAL;
    }
    return result->invalid ? PC_LOAD_EXIT_INVALID : PC_EXIT_FINE;
}

double pc_load_result_throughput(const struct pc_load_result *result)
{
    const double received = (double)pc_tally_get(result->tally, PC_TALLY_RECEIVED);
    return result->measured_s > 0 ? received / result->measured_s : 0;
}

double pc_load_result_cpu_us(const struct pc_load_result *result)
{
    const double received = (double)pc_tally_get(result->tally, PC_TALLY_RECEIVED);
    return received > 0 ? (double)result->tally->cpu_ns / 1e3 / received : 0;
}
