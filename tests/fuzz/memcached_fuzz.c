/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: no input stops the memcached parser, and where a stream is cut changes nothing.
 * Method: the first two bytes choose a cut; the rest is parsed whole, then in two pieces.
 */
#include "memcached_replay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 1 << 16) {
        return 0;
    }
    const size_t count = size - 2;
    const size_t cut = (data[0] | (size_t)data[1] << 8) % count;
    static struct replay *replay;
    if (replay == NULL) {
        replay = malloc(sizeof(*replay));
        replay_init(replay);
    }
    replay_begin(replay, data + 2);
    replay_arrive(replay, count);
    char *whole = strndup(replay->text, replay->text_bytes);
    replay_begin(replay, data + 2);
    replay_arrive(replay, cut);
    replay_arrive(replay, count);
    if (strcmp(whole, replay->text) != 0) {
        abort();
    }
    free(whole);
    return 0;
}
