/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tune: system settings that make a measurement quieter, as they were found afterwards.
 *
 *   receive flow steering on loopback   each packet is processed on the CPU that reads it, not on
 *                                       the sender's
 *   real-time priority                  the generator wakes before others (FIFO 1; asleep between
 *                                       requests, so nothing starves)
 *
 * Core     boot.
 * Errors   Exit code after a message; what was changed by then is restored by untune.
 */
#ifndef PC_PROGRAMS_LOAD_TUNE_H
#define PC_PROGRAMS_LOAD_TUNE_H

#include <stdbool.h>

enum { PC_LOAD_TUNED_MAX = 3 };

/* Values found, to be put back; `text` empty: not changed. */
struct pc_load_tuned {
    struct {
        const char *path;
        char text[128];
    } files[PC_LOAD_TUNED_MAX];
};

int pc_load_tune(struct pc_load_tuned *tuned);
void pc_load_untune(struct pc_load_tuned *tuned);

#endif
