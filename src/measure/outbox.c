/* SPDX-License-Identifier: Apache-2.0 */
/* outbox: the rare path, when room has run out. */
#include "measure/outbox.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 4096 };

uint8_t *pc_outbox_reserve_slow(struct pc_outbox *outbox, size_t count)
{
    const size_t held = pc_outbox_count(outbox);
    /* Move only when that frees at least as much as it moves. */
    if (outbox->begin >= held && outbox->room - held >= count) {
        memmove(outbox->at, outbox->at + outbox->begin, held);
    } else {
        size_t room = outbox->room < ROOM_FIRST ? ROOM_FIRST : outbox->room;
        while (room - held < count) {
            room *= 2;
        }
        uint8_t *bigger = malloc(room);
        if (bigger == NULL) {
            return NULL;
        }
        if (held > 0) {
            memcpy(bigger, outbox->at + outbox->begin, held);
        }
        free(outbox->at);
        outbox->at = bigger;
        outbox->room = room;
    }
    outbox->begin = 0;
    outbox->end = held;
    return outbox->at + held;
}

void pc_outbox_fini(struct pc_outbox *outbox)
{
    free(outbox->at);
    *outbox = (struct pc_outbox){0};
}
