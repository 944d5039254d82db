/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota: how much CPU time the control groups of this process allow.
 *
 * Memory   Nothing is kept.
 * Core     boot.
 * Units    Thousandths of a CPU.
 * Source   Linux, admin-guide: cgroup-v2 (cpu.max) and scheduler/sched-bwc (cpu.cfs_quota_us).
 */
#ifndef PC_RUNTIME_QUOTA_H
#define PC_RUNTIME_QUOTA_H

/* The tightest limit of this process's group and the groups around it, as far as they can be seen,
 * version 1 and 2; 0: none. `root` is put before every file name: "" on a real machine. */
unsigned pc_quota_read_milli(const char *root);

#endif
