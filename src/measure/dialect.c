/* SPDX-License-Identifier: Apache-2.0 */
/* dialect: the table, and what all dialects do alike. */
#include "measure/dialect.h"

#include "base/check.h"

#include <string.h>

static const struct pc_dialect_ops *const rows[] = {
    &pc_dialect_memcached,
    &pc_dialect_redis,
    &pc_dialect_frame,
};

const struct pc_dialect_ops *pc_dialect_row(unsigned index)
{
    return index < PC_COUNT_OF(rows) ? rows[index] : NULL;
}

const struct pc_dialect_ops *pc_dialect_find(const char *name, size_t name_bytes)
{
    for (unsigned i = 0; i < PC_COUNT_OF(rows); i++) {
        if (strlen(rows[i]->name) == name_bytes && memcmp(rows[i]->name, name, name_bytes) == 0) {
            return rows[i];
        }
    }
    return NULL;
}

void pc_verdict_trouble(struct pc_verdict *verdict, const char *text, size_t count)
{
    if (verdict->trouble == NULL) {
        verdict->trouble = text;
        verdict->trouble_bytes = count;
    }
}

void pc_verdict_error(struct pc_verdict *verdict, const char *text, size_t count)
{
    verdict->errors++;
    pc_verdict_trouble(verdict, text, count);
}

void pc_verdict_nonsense(struct pc_verdict *verdict, const uint8_t *at, size_t count)
{
    const uint8_t *end = memchr(at, '\r', count);
    pc_verdict_trouble(verdict, (const char *)at, end == NULL ? count : (size_t)(end - at));
}

void pc_verdict_value(struct pc_verdict *verdict, const struct pc_contents *contents, uint64_t key,
                      const uint8_t *value, size_t value_bytes)
{
    verdict->hits++;
    switch (pc_contents_check(contents, key, value, value_bytes)) {
    case PC_CONTENTS_RIGHT:
        break;
    case PC_CONTENTS_SHORT:
        verdict->short_answers++;
        break;
    case PC_CONTENTS_WRONG:
        verdict->mismatches++;
        break;
    }
}
