/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz: a play of arms, disarms and advances, each choice taken from the input, beside a naive
 * twin. */
#include "timer_play.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    const char *broken = timer_play_bytes(bytes, count);
    if (broken != NULL) {
        (void)fprintf(stderr, "does not hold: %s\n", broken);
        abort();
    }
    return 0;
}
