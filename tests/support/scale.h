/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scale: how much a test takes on. `./test` is short, `./dev check` is long.
 *
 * Core     boot: reads the environment.
 */
#ifndef PC_TESTS_SCALE_H
#define PC_TESTS_SCALE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One of the two, as PC_TEST_SCALE says; short where it says nothing. */
static inline uint64_t pc_test_scale(uint64_t short_count, uint64_t long_count)
{
    const char *scale = getenv("PC_TEST_SCALE");
    return scale != NULL && strcmp(scale, "long") == 0 ? long_count : short_count;
}

#endif
