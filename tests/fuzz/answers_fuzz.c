/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    No server can make the answer parsers read past their bytes, and where a stream is cut
 *         changes nothing.
 * Method  The first byte chooses memcached or RESP; the rest is parsed answer by answer from memory
 *         that ends at a guard, each also at every shorter length, which must ask for more and
 * never for more than was needed.
 */
#include "guarded.h"
#include "protocols/memcached_client.h"
#include "protocols/resp_client.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum pc_answered parse(bool resp, const uint8_t *at, size_t count, size_t *out_bytes)
{
    struct pc_memcached_answer memcached;
    struct pc_resp_answer element;
    return resp ? pc_resp_answer_parse(at, count, &element, out_bytes)
                : pc_memcached_answer_parse(at, count, &memcached, out_bytes);
}

static void cuts_ask_for_more(struct guarded *guarded, bool resp, const uint8_t *at, size_t whole)
{
    for (size_t cut = 0; cut < whole; cut++) {
        size_t wanted = 0;
        const uint8_t *part = guarded_copy(guarded, at, cut);
        if (parse(resp, part, cut, &wanted) != PC_ANSWER_MORE || wanted <= cut || wanted > whole) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 12) {
        return 0;
    }
    const bool resp = (data[0] & 1) != 0;
    struct guarded guarded;
    guarded_init(&guarded);
    for (size_t used = 1; used < size;) {
        const size_t count = size - used;
        const uint8_t *at = guarded_copy(&guarded, data + used, count);
        size_t bytes = 0;
        const enum pc_answered answered = parse(resp, at, count, &bytes);
        if (answered != PC_ANSWER_DONE) {
            break;
        }
        if (bytes == 0 || bytes > count) {
            abort();
        }
        cuts_ask_for_more(&guarded, resp, data + used, bytes);
        used += bytes;
    }
    guarded_fini(&guarded);
    return 0;
}
