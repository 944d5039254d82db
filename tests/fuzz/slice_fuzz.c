/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: no order of operations on a slice makes it differ from a naive twin.
 * Method: the first bytes choose the sizes, the rest choose operations, keys, lengths and times.
 */
#include "slice_twin.h"

struct bytes {
    const uint8_t *at, *end;
};

/* As many bytes as the bound needs; zeros once they are used up. */
static uint64_t draw_bytes(void *ctx, uint64_t bound)
{
    struct bytes *bytes = ctx;
    uint64_t value = 0;
    for (uint64_t left = bound - 1; left != 0; left >>= 8) {
        value = value << 8 | (bytes->at < bytes->end ? *bytes->at++ : 0);
    }
    return value % bound;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8 || size > 1 << 16) {
        return 0;
    }
    struct bytes bytes = {.at = data, .end = data + size};
    const struct twin_config config = {
        .segment_bytes = 4096,
        .segment_count = 14 + (unsigned)draw_bytes(&bytes, 50),
        .key_count = 2 + (unsigned)draw_bytes(&bytes, 250),
        .value_bytes_max = 200 + draw_bytes(&bytes, 20000),
        .bad_hash = draw_bytes(&bytes, 4) == 0,
        .fail_one_in = (unsigned)draw_bytes(&bytes, 4),
        .keeps_all = draw_bytes(&bytes, 4) == 1,
        .draw = draw_bytes,
        .ctx = &bytes,
    };
    static struct twin twin;
    twin_create(&twin, &config);
    while (bytes.at < bytes.end) {
        twin_play(&twin);
    }
    twin_destroy(&twin);
    return 0;
}
