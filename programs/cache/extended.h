/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extended: the words of memcached's -o.
 *
 * Errors   One line on standard error that names the word and what is legal; so does what is taken
 *          without effect.
 * Core     boot.
 */
#ifndef PC_PROGRAMS_CACHE_EXTENDED_H
#define PC_PROGRAMS_CACHE_EXTENDED_H

#include "programs/common/options.h"
#include "services/cache.h"

#include <stdbool.h>
#include <stdint.h>

/* What they may set; what no word is about stays as it is. */
struct pc_extended {
    struct pc_cache_tuning tuning;
    uint64_t idle_ns;
};

/* Each item of `given` has words with commas between them. False after a message: exit 2. */
bool pc_extended_read(const struct pc_option_list *given, const char *program,
                      struct pc_extended *extended);

#endif
