/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_pages: the pages of `stats` that have the form memcached's tools expect.
 *
 * Segments all have one size, so there is one class, numbered 1 for those who expect numbers: a
 * segment is its page and its chunk.
 */
#include "services/cache_totals.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- settings ---- */

static const char *yes_no(uint64_t yes)
{
    return yes != 0 ? "yes" : "no";
}

static void say_word(struct pc_cache_op *op, const char *name, const char *value)
{
    pc_cache_say_text(op, name, value != NULL ? value : "NULL");
}

static void say_hundredths(struct pc_cache_op *op, const char *name, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%" PRIu64 ".%02" PRIu64, value / 100, value % 100);
    pc_cache_say_text(op, name, text);
}

void pc_cache_say_settings(struct pc_cache_op *op, const struct pc_cache_totals *t)
{
    const struct pc_cache *c = pc_cache_of(op);
    const struct pc_cache_settings *s = &c->settings;
    const struct pc_cache_knobs *k = &c->knobs;
    char octal[16];
    (void)snprintf(octal, sizeof(octal), "%o", s->unix_mode);
#define PC_CACHE_SETTING(name, value)            pc_cache_say_number(op, #name, value);
#define PC_CACHE_SETTING_TEXT(name, value)       say_word(op, #name, value);
#define PC_CACHE_SETTING_HUNDREDTHS(name, value) say_hundredths(op, #name, value);
#include "services/cache_settings.def"
#undef PC_CACHE_SETTING
#undef PC_CACHE_SETTING_TEXT
#undef PC_CACHE_SETTING_HUNDREDTHS
}

/* ---- items and slabs ---- */

void pc_cache_say_items(struct pc_cache_op *op, const struct pc_cache_totals *t)
{
    const struct pc_slice_stats *slices = &t->slices;
    if (slices->item_count == 0) {
        return;
    }
#define PC_CACHE_ITEMS(name, value) pc_cache_say_number(op, "items:1:" #name, value);
#include "services/cache_items.def"
#undef PC_CACHE_ITEMS
}

void pc_cache_say_slabs(struct pc_cache_op *op, const struct pc_cache_totals *t)
{
    const uint64_t segment_count = t->pool.segment_count + t->pool.free_count;
#define PC_CACHE_SLABS(name, value) pc_cache_say_number(op, "1:" #name, value);
#include "services/cache_items.def"
#undef PC_CACHE_SLABS
    pc_cache_say_number(op, "active_slabs", 1);
    pc_cache_say_number(op, "total_malloced", t->pool.used_bytes);
}

void pc_cache_say_sizes(struct pc_cache_op *op, const struct pc_cache_totals *t)
{
    (void)t;
    pc_cache_say_text(op, "sizes_status", "disabled");
}
