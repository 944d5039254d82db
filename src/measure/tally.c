/* SPDX-License-Identifier: Apache-2.0 */
/* tally: creation and addition. */
#include "measure/tally.h"

#include <stdlib.h>

static const char *const counter_names[] = {
#define PC_TALLY(name, text, help) text,
#include "measure/tally.def"
#undef PC_TALLY
};

static const char *const timed_names[] = {
#define NAME(name, text, help) text,
    PC_TIMED_ROWS(NAME)
#undef NAME
};

const char *pc_tally_counter_name(enum pc_tally_counter counter)
{
    return counter_names[counter];
}

const char *pc_timed_name(enum pc_timed timed)
{
    return timed_names[timed];
}

static bool histograms_create(struct pc_histogram **histograms, unsigned count,
                              enum pc_histogram_digits digits)
{
    for (unsigned i = 0; i < count; i++) {
        histograms[i] = pc_histogram_create(digits);
        if (histograms[i] == NULL) {
            return false;
        }
    }
    return true;
}

static void histograms_destroy(struct pc_histogram **histograms, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pc_histogram_destroy(histograms[i]);
    }
}

struct pc_tally *pc_tally_create(void)
{
    struct pc_tally *tally = calloc(1, sizeof(*tally));
    if (tally == NULL) {
        return NULL;
    }
    if (!histograms_create(tally->timed, PC_TIMED_COUNT, PC_HISTOGRAM_THREE_DIGITS) ||
        !histograms_create(tally->operations, PC_OPERATION_COUNT, PC_HISTOGRAM_TWO_DIGITS) ||
        !histograms_create(tally->deciles, PC_TRAFFIC_DECILES, PC_HISTOGRAM_TWO_DIGITS) ||
        !histograms_create(tally->classes, PC_CONNECTION_CLASSES, PC_HISTOGRAM_TWO_DIGITS)) {
        pc_tally_destroy(tally);
        return NULL;
    }
    return tally;
}

void pc_tally_destroy(struct pc_tally *tally)
{
    if (tally == NULL) {
        return;
    }
    histograms_destroy(tally->timed, PC_TIMED_COUNT);
    histograms_destroy(tally->operations, PC_OPERATION_COUNT);
    histograms_destroy(tally->deciles, PC_TRAFFIC_DECILES);
    histograms_destroy(tally->classes, PC_CONNECTION_CLASSES);
    free(tally);
}

static void histograms_add(struct pc_histogram **into, struct pc_histogram *const *from,
                           unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        pc_histogram_add(into[i], from[i]);
    }
}

void pc_tally_add(struct pc_tally *into, const struct pc_tally *from)
{
    for (unsigned i = 0; i < PC_TALLY_COUNT; i++) {
        pc_tally_count(into, i, pc_tally_get(from, i));
    }
    into->cpu_ns += PC_HISTOGRAM_GET(from->cpu_ns);
    histograms_add(into->timed, from->timed, PC_TIMED_COUNT);
    histograms_add(into->operations, from->operations, PC_OPERATION_COUNT);
    histograms_add(into->deciles, from->deciles, PC_TRAFFIC_DECILES);
    histograms_add(into->classes, from->classes, PC_CONNECTION_CLASSES);
}
