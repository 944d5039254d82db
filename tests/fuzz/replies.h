/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replies: what a memcached server may say, read by something that shares nothing with what wrote
 * it.
 *
 * It knows the forms of text, meta and binary replies, not which of them a request deserves. What
 * it read is written down again in one form, less what may differ between two runs of the same
 * requests: the numbers of `stats`.
 *
 * Owner    The test.
 * Memory   `text` grows; fini frees it.
 */
#ifndef PC_TESTS_REPLIES_H
#define PC_TESTS_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_replies {
    char *text; /* what was said, in one form */
    size_t text_bytes, text_room;
    const char *trouble; /* NULL: all of it has a form that is known */
    const uint8_t *at;   /* the first byte that is no whole reply */
    bool in_values;      /* a VALUE was said, and not yet its END */
};

void pc_replies_init(struct pc_replies *replies);
void pc_replies_fini(struct pc_replies *replies);

/* Read all that is whole. False: something is no reply; `trouble` says what. */
bool pc_replies_read(struct pc_replies *replies, const uint8_t *bytes, size_t count);

#endif
