/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stamps: when the kernel received what a socket hands over, on our own clock.
 *
 * The kernel stamps segments on the clock of the calendar; a bridge converts to the monotonic clock
 * by an offset that is read again every second, between two reads of the other clock.
 *
 * Owner    One thread.
 * Limits   A stamp is that of the last segment read: of several answers in one read only the last
 *          has a stamp of its own. The first stamps after enabling are missing: the kernel turns
 *          the feature on later than it says.
 * Units    Nanoseconds.
 */
#ifndef PC_MEASURE_STAMPS_H
#define PC_MEASURE_STAMPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pc_kernel;

/* monotonic = calendar - offset, give or take the spread. */
struct pc_stamp_bridge {
    uint64_t offset_ns, spread_ns;
    uint64_t read_at_ns; /* monotonic */
};

/* Read the offset if the last reading is a second old, or there is none. */
void pc_stamp_bridge_refresh(struct pc_stamp_bridge *bridge, const struct pc_kernel *kernel,
                             uint64_t now_ns);

/* Ask the kernel to stamp what `fd` receives. Negative errno: it cannot. */
int pc_stamps_enable(const struct pc_kernel *kernel, int fd);

/* Receive, and the stamp of the last segment on the monotonic clock; 0: there was none. */
ssize_t pc_stamps_receive(const struct pc_kernel *kernel, const struct pc_stamp_bridge *bridge,
                          int fd, void *into, size_t bytes, uint64_t *out_stamp_ns);

#endif
