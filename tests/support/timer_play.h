/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer_play: seeded or fuzzed operations on a wheel, beside a naive twin that keeps a due time per
 * timer. Every firing and every promise of the next due time is checked against the twin.
 *
 * Memory   The heap, freed when the play is over; each timer is a block of its own, so that a wheel
 *          that follows a dead one is caught by AddressSanitizer.
 */
#ifndef PC_TESTS_TIMER_PLAY_H
#define PC_TESTS_TIMER_PLAY_H

#include <stddef.h>
#include <stdint.h>

/* The lane of the tests that time: a fake clock. */
struct pc_lane {
    uint64_t now_ns;
    unsigned fired_count;
};

/* NULL, or the promise that this seed has shown broken. */
const char *timer_play_seed(uint64_t seed);

/* The same with every choice taken from `bytes`; the play ends with them. */
const char *timer_play_bytes(const uint8_t *bytes, size_t count);

#endif
