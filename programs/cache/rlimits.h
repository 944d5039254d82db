/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rlimits: what the system lets the process have: open files, core files, memory that is never
 * swapped.
 *
 * Core     boot: before any thread exists.
 */
#ifndef PC_PROGRAMS_CACHE_RLIMITS_H
#define PC_PROGRAMS_CACHE_RLIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Let as many files be open as that many connections and the rest of us need, the rest if it may
 * be. False, and said on standard error, where not even the connections may. */
bool pc_rlimits_open_files(const char *program, uint64_t connection_count, unsigned core_count);

/* Let core files be as large as they may. */
void pc_rlimits_core_files(void);

/* While there may be rights to: let as much memory be locked as will be needed. */
void pc_rlimits_locked_memory(void);

/* Keep all memory of the process from being swapped, from when it is first touched. Where that is
 * refused, a line on standard error says what limit stands against `needed_bytes`. */
void pc_rlimits_lock_memory(const char *program, uint64_t needed_bytes);

#endif
