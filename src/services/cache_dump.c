/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_dump: lru_crawler metadump and mgdump, a line an item.
 *
 *   WALK ──a window of a slice──▶ SAY ──lines──▶ WALK ... ──no slice left──▶ END
 *
 * Memory   One block of lines, whatever the reader's speed: a window is walked when the one before
 *          it is in the send queue and that is short enough.
 * Order    Slice by slice in the order of the index. What is stored, moved or deleted meanwhile may
 *          be missed or told twice, as in memcached.
 */
#include "services/cache_parts.h"

#include "protocols/base64.h"
#include "protocols/percent.h"

/* Slots looked at in one window: a millisecond is far even if each is a cache miss. */
enum { WINDOW_BUDGET = 512 };

/* The longest line: a key of three letters a byte, five numbers, and the words between. */
enum { DUMP_LINE_BYTES_MAX = 3 * PC_KEY_BYTES_MAX + 5 * PC_DECIMAL_BYTES_MAX + 64 };

enum { STAGE_BEGIN, STAGE_WALK, STAGE_SAY };

/* Lies in the request's extra block, lines behind it. */
struct dump {
    uint64_t cursor;
    uint64_t start_s; /* 1970 to second 0 of the lanes' clock */
    unsigned place;
    bool keys_only;
    uint32_t bytes;
    char lines[];
};

enum { LINES_BYTES = PC_RESERVE_BYTES_MAX - sizeof(struct dump) };

static_assert((int)LINES_BYTES >= (int)DUMP_LINE_BYTES_MAX, "each window holds a line");

static char *put_item(char *at, const struct dump *dump, const struct pc_key *key,
                      const struct pc_value *value)
{
    at = pc_cache_put(at, "key=");
    at += pc_percent_write(at, key->at, key->bytes);
    at = value->expiry == 0 ? pc_cache_put(at, " exp=-1")
                            : pc_cache_put_number(at, " exp=", dump->start_s + value->expiry);
    at = pc_cache_put_number(at, " la=", dump->start_s + value->accessed);
    at = pc_cache_put_number(at, " cas=", value->cas);
    at = pc_cache_put(at, value->fetched ? " fetch=yes" : " fetch=no");
    at = pc_cache_put_number(at, " cls=1 size=", key->bytes + value->value_bytes);
    return pc_cache_put(at, "\n");
}

/* A key that a line of text cannot hold is told in base64, as it must be asked for. */
static bool is_text(const struct pc_key *key)
{
    const uint8_t *bytes = key->at;
    for (uint32_t i = 0; i < key->bytes; i++) {
        if (bytes[i] <= ' ' || bytes[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static char *put_key(char *at, const struct pc_key *key)
{
    at = pc_cache_put(at, "mg ");
    if (is_text(key)) {
        memcpy(at, key->at, key->bytes);
        return pc_cache_put(at + key->bytes, "\r\n");
    }
    at += pc_base64_encode(at, key->at, key->bytes);
    return pc_cache_put(at, " b\r\n");
}

static bool visit(void *ctx, const struct pc_key *key, const struct pc_value *value)
{
    struct dump *dump = ctx;
    if (dump->bytes + DUMP_LINE_BYTES_MAX > LINES_BYTES) {
        return false;
    }
    char *const at = dump->lines + dump->bytes;
    char *const end = dump->keys_only ? put_key(at, key) : put_item(at, dump, key, value);
    dump->bytes += (uint32_t)(end - at);
    return true;
}

static void run_walk(struct pc_cache_op *op, unsigned place, struct pc_lane *there)
{
    struct dump *dump = op->extra;
    struct pc_owners *owners = pc_cache_of(op)->owners;
    dump->bytes = 0;
    pc_owners_notes_take(owners, place, pc_lane_second(there));
    pc_slice_walk(pc_owners_slice(owners, place), pc_lane_second(there), &dump->cursor,
                  WINDOW_BUDGET, visit, dump);
}

static enum pc_serve begin(struct pc_cache_op *op, bool keys_only, bool has_ours,
                           struct pc_lane *lane)
{
    struct pc_cache *cache = pc_cache_of(op);
    struct dump *dump = pc_request_extra(op->request, PC_RESERVE_BYTES_MAX);
    if (dump == NULL) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_NO_MEMORY_STATS);
    }
    *dump = (struct dump){.start_s = pc_lane_realtime_s(lane) - pc_lane_second(lane),
                          .place = has_ours ? 0 : cache->owners->place_count,
                          .keys_only = keys_only};
    op->extra = dump;
    op->stage = STAGE_WALK;
    atomic_fetch_add_explicit(&cache->crawls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cache->dumps, 1, memory_order_relaxed);
    return PC_AGAIN;
}

static enum pc_serve end(struct pc_cache_op *op, enum pc_serve how)
{
    atomic_fetch_sub_explicit(&pc_cache_of(op)->dumps, 1, memory_order_relaxed);
    return how;
}

/* What the last window found; then the next one, when others have had their turn. */
static enum pc_serve say(struct pc_cache_op *op)
{
    struct dump *dump = op->extra;
    if (pc_request_gone(op->request) || pc_reply_copy(op->request, dump->lines, dump->bytes) != 0) {
        return end(op, PC_HANG_UP);
    }
    dump->place += dump->cursor == 0;
    op->stage = STAGE_WALK;
    pc_request_pause(op->request, 0);
    return PC_AGAIN;
}

static enum pc_serve walk(struct pc_cache_op *op, struct pc_lane *lane)
{
    const struct dump *dump = op->extra;
    if (dump->place == pc_cache_of(op)->owners->place_count) {
        return end(
            op, pc_cache_say(op, dump->keys_only ? PC_MEMCACHED_SAY_MISSED : PC_MEMCACHED_SAY_END));
    }
    op->stage = STAGE_SAY;
    return pc_cache_ask(op, dump->place, run_walk, lane) ? say(op) : PC_AGAIN;
}

enum pc_serve pc_cache_serve_dump(struct pc_cache_op *op, bool keys_only, bool understood,
                                  bool has_ours, struct pc_lane *lane)
{
    const struct pc_cache *cache = pc_cache_of(op);
    switch (op->stage) {
    case STAGE_WALK:
        return walk(op, lane);
    case STAGE_SAY:
        return say(op);
    default:
        break;
    }
    if (pc_cache_knob(&cache->knobs.crawler) == 0) {
        return pc_cache_say(op, PC_MEMCACHED_SAY_CRAWLER_OFF);
    }
    if (cache->settings.dump_refused) {
        return pc_cache_say(op, keys_only ? PC_MEMCACHED_SAY_MGDUMP_REFUSED
                                          : PC_MEMCACHED_SAY_METADUMP_REFUSED);
    }
    return understood ? begin(op, keys_only, has_ours, lane)
                      : pc_cache_say(op, PC_MEMCACHED_SAY_BAD_CLASS);
}
