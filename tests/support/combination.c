/* SPDX-License-Identifier: Apache-2.0 */
#include "combination.h"

#include "base/check.h"
#include "services/cache.h"
#include "store/owners/owners.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void visit_cores(struct pc_combination *combination,
                        void (*visit)(const struct pc_combination *))
{
    static const unsigned core_counts[] = {1, 2, 4};
    for (unsigned i = 0; i < PC_COUNT_OF(core_counts); i++) {
        combination->core_count = core_counts[i];
        snprintf(combination->name, sizeof(combination->name), "%s%s on %u %s", combination->mode,
                 combination->lends ? " that lends" : "", core_counts[i],
                 core_counts[i] == 1 ? "core" : "cores");
        if (core_counts[i] > 1 || !combination->lends) {
            visit(combination);
        }
    }
}

void pc_combinations_visit(void (*visit)(const struct pc_combination *))
{
    for (const char *at = pc_owners_mode_names(); *at != '\0';) {
        struct pc_combination combination = {.lends = false};
        const size_t length = strcspn(at, " ");
        snprintf(combination.mode, sizeof(combination.mode), "%.*s", (int)length, at);
        at += length + (at[length] == ' ');
        visit_cores(&combination, visit);
        if (!pc_owners_mode_find(combination.mode)->any_lane) {
            combination.lends = true;
            visit_cores(&combination, visit);
        }
    }
}

void pc_test_cache_init(struct pc_test_cache *cache, const struct pc_combination *combination,
                        uint64_t limit_bytes, uint64_t seed)
{
    *cache = (struct pc_test_cache){.owners = NULL};
    const struct pc_owners_config config = {.mode = combination->mode,
                                            .core_count = combination->core_count,
                                            .limit_bytes = limit_bytes,
                                            .seed = seed};
    if (pc_owners_create(&config, &cache->owners) != 0) {
        abort();
    }
    const struct pc_cache_settings settings = {
        .owners = cache->owners, .limit_bytes = limit_bytes, .value_bytes_max = 1 << 20};
    if (pc_cache_create(&settings, &cache->cache) != 0) {
        abort();
    }
    cache->place_count = cache->owners->place_count;
    cache->places_shared = cache->owners->mode->any_lane;
    cache->places_lent = combination->lends;
}

void pc_test_cache_fini(struct pc_test_cache *cache)
{
    pc_cache_destroy(cache->cache);
    pc_owners_destroy(cache->owners);
}
