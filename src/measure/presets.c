/* SPDX-License-Identifier: Apache-2.0 */
/* presets: the table of presets.def. */
#include "measure/presets.h"

#include "base/check.h"

#include <string.h>

static const struct pc_preset_row rows[] = {
#define PC_PRESET(text, help_text, ...) {.name = text, .help = help_text, .preset = {__VA_ARGS__}},
#include "measure/presets.def"
#undef PC_PRESET
};

const struct pc_preset_row *pc_presets(size_t *out_count)
{
    *out_count = PC_COUNT_OF(rows);
    return rows;
}

const struct pc_preset *pc_preset_find(const char *name)
{
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i].preset;
        }
    }
    return NULL;
}
