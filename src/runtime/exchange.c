/* SPDX-License-Identifier: Apache-2.0 */
/* exchange: input to slots, slots to output. input.c has where bytes arrive, reply.c what slots
 * say, call.c what they ask. */
#include "runtime/exchange.h"

#include "base/hooks.h"
#include "runtime/limits.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Free slots a lane keeps. */
#define PC_SLOTS_KEPT 512

/* ---- Slots ---- */

static void *session_of(struct pc_exchange *exchange);

static struct pc_slot *slot_create(struct pc_lane *lane)
{
    size_t bytes = sizeof(struct pc_slot) + lane->service->request_bytes;
    bytes = (bytes + PC_CACHE_LINE - 1) & ~(size_t)(PC_CACHE_LINE - 1);
    struct pc_slot *slot = aligned_alloc(PC_CACHE_LINE, bytes);
    if (slot != NULL) {
        memset(slot, 0, sizeof(*slot));
        slot->request.scratch = slot->scratch;
        slot->request.app = lane->app;
    }
    return slot;
}

static void scratch_clear(struct pc_slot *slot, const struct pc_lane *lane)
{
    size_t bytes = lane->service->request_bytes;
    if (bytes > 0) {
        memset(slot->scratch, 0, bytes);
    }
}

static struct pc_slot *slot_borrow(struct pc_lane *lane)
{
    struct pc_slot *slot = lane->slots;
    if (PC_UNLIKELY(slot == NULL)) {
        return slot_create(lane);
    }
    lane->slots = slot->next;
    lane->slot_count--;
    return slot;
}

static void extra_drop(struct pc_slot *slot, struct pc_lane *lane)
{
    if (PC_UNLIKELY(slot->extra != NULL)) {
        pc_block_give_back(&lane->blocks, slot->extra);
        slot->extra = NULL;
    }
}

static void slot_give_back(struct pc_slot *slot, struct pc_lane *lane)
{
    extra_drop(slot, lane);
    if (PC_UNLIKELY(lane->slot_count >= PC_SLOTS_KEPT)) {
        free(slot);
        return;
    }
    slot->next = lane->slots;
    lane->slots = slot;
    lane->slot_count++;
}

void pc_slots_free(struct pc_lane *lane)
{
    for (unsigned i = 0; i < PC_PARSE_BATCH; i++) {
        free(lane->straight[i]);
        lane->straight[i] = NULL;
    }
    while (lane->slot_count > 0) {
        free(slot_borrow(lane));
    }
}

/* ---- Bodies ---- */

/* Give the slot what has arrived; true when it has all it asked for. */
static bool body_take(struct pc_exchange *exchange, struct pc_slot *slot)
{
    size_t count = pc_min_size(exchange->end - exchange->begin, slot->body_count);
    if (count > 0) {
        if (slot->body_into != NULL) {
            memcpy(slot->body_into, exchange->input->data + exchange->begin, count);
            slot->body_into += count;
        }
        exchange->begin += count;
        slot->body_count -= count;
        slot->request.body_bytes -= count;
    }
    if (slot->body_count > 0 && exchange->ended) {
        slot->request.body_error = exchange->mute ? -ECONNRESET : -EPIPE;
        slot->request.body_bytes = 0;
        slot->body_count = 0;
    }
    slot->body_wanted = slot->body_count > 0;
    return !slot->body_wanted;
}

static bool may_swallow(const struct pc_exchange *exchange)
{
    return exchange->swallow > 0 && exchange->begin != exchange->end;
}

static void swallow(struct pc_exchange *exchange)
{
    size_t count = exchange->end - exchange->begin;
    if (exchange->swallow < count) {
        count = (size_t)exchange->swallow;
    }
    exchange->begin += count;
    exchange->swallow -= count;
}

/* ---- Ending slots ---- */

static void slot_becomes_first(struct pc_exchange *exchange, struct pc_slot *slot)
{
    slot->chain = exchange->mute ? &slot->replies : &exchange->output;
}

static void retire_head(struct pc_exchange *exchange, struct pc_lane *lane)
{
    struct pc_slot *slot = exchange->head;
    exchange->head = slot->next;
    if (exchange->head == NULL) {
        exchange->tail = NULL;
    }
    exchange->open_count--;
    if (PC_UNLIKELY(slot->last)) {
        slot->last = false;
        exchange->mute = exchange->stopped = true;
    }
    if (PC_UNLIKELY(slot->replies.head != NULL)) {
        exchange->reply_bytes -= slot->replies.bytes;
        pc_chain_clear(&slot->replies, lane, &lane->blocks);
    }
    pc_block_give_back(&lane->blocks, slot->input);
    slot->input = NULL;
    slot_give_back(slot, lane);
}

/* The head has ended: the next one's replies move up, and so on while they have ended too. */
static void retire(struct pc_exchange *exchange, struct pc_lane *lane)
{
    while (exchange->head != NULL && exchange->head->state == PC_SLOT_DONE) {
        retire_head(exchange, lane);
        struct pc_slot *head = exchange->head;
        if (head != NULL) {
            if (head->replies.head != NULL && !exchange->mute) {
                pc_chain_splice(&exchange->output, &head->replies, &lane->blocks);
            }
            slot_becomes_first(exchange, head);
        }
    }
}

static void slot_end(struct pc_exchange *exchange, struct pc_slot *slot, struct pc_lane *lane)
{
    PC_ASSERT(slot->pause_ns == 0);
    slot->state = PC_SLOT_DONE;
    slot->replies.reserved = false;
    if (exchange->body_slot == slot) {
        exchange->body_slot = NULL;
        exchange->swallow = slot->request.body_bytes;
    }
    if (slot == exchange->head) {
        exchange->output.reserved = false;
        retire(exchange, lane);
    }
}

/* Requests behind a HANG_UP were parsed for nothing. */
static void drop_unserved(struct pc_exchange *exchange, struct pc_lane *lane)
{
    exchange->stopped = true;
    for (struct pc_slot *slot = exchange->unserved; slot != NULL;) {
        struct pc_slot *next = slot->next;
        exchange->unserved = next;
        slot_end(exchange, slot, lane);
        slot = next;
    }
}

/* ---- Serving ---- */

static bool pauses(const struct pc_exchange *exchange, const struct pc_slot *slot)
{
    return slot->pause_ns > exchange->lane->now_ns && !exchange->mute;
}

/* An AGAIN goes on at once unless it waits for answers, for its body, for the peer to read, or for
 * the clock. */
static bool again_ready(struct pc_exchange *exchange, struct pc_slot *slot)
{
    if (slot->calls_open > 0) {
        return false;
    }
    if (PC_UNLIKELY(slot->pause_ns != 0)) {
        if (pauses(exchange, slot) || !pc_exchange_may_say(exchange, slot)) {
            return false;
        }
        slot->pause_ns = 0;
        exchange->pause_count--;
    }
    return slot->body_wanted ? body_take(exchange, slot) : pc_exchange_may_say(exchange, slot);
}

/* Act on what serve said, and ask it again as long as it has more to do at once. */
static void slot_outcome(struct pc_exchange *exchange, struct pc_slot *slot, struct pc_lane *lane,
                         enum pc_serve outcome)
{
    for (;; outcome = lane->service->serve(&slot->request, lane)) {
        switch (outcome) {
        case PC_SERVED:
            PC_ASSERT(slot->calls_open == 0);
            slot_end(exchange, slot, lane);
            return;
        case PC_HANG_UP:
            PC_ASSERT(slot->calls_open == 0);
            slot->last = true;
            slot_end(exchange, slot, lane);
            drop_unserved(exchange, lane);
            return;
        case PC_WAITING:
            if (slot->calls_open > 0) {
                slot->state = PC_SLOT_WAITING;
                return;
            }
            break;
        case PC_AGAIN:
            if ((slot->pause_ns != 0 && !exchange->mute) || !again_ready(exchange, slot)) {
                slot->state = PC_SLOT_AGAIN;
                exchange->again_count++;
                return;
            }
            break;
        }
    }
}

static void slot_serve(struct pc_exchange *exchange, struct pc_slot *slot, struct pc_lane *lane)
{
    slot_outcome(exchange, slot, lane, lane->service->serve(&slot->request, lane));
}

/* Slots whose answers, body or room came since the last run. */
static void resume(struct pc_exchange *exchange, struct pc_lane *lane)
{
    struct pc_slot *slot = exchange->head;
    while (slot != NULL && slot != exchange->unserved) {
        struct pc_slot *next = slot->next;
        bool first = slot == exchange->head;
        if (slot->state == PC_SLOT_WAITING && slot->calls_open == 0) {
            slot_serve(exchange, slot, lane);
        } else if (slot->state == PC_SLOT_AGAIN && again_ready(exchange, slot)) {
            exchange->again_count--;
            slot_serve(exchange, slot, lane);
        }
        /* When the head ends, those behind it that ended before go with it. */
        slot = first && exchange->head != slot ? exchange->head : next;
    }
}

/* ---- Parsing ---- */

static bool may_parse(const struct pc_exchange *exchange)
{
    return exchange->end != exchange->begin &&
           exchange->end - exchange->begin >= exchange->want_bytes && exchange->again_count == 0 &&
           exchange->body_slot == NULL && exchange->swallow == 0 && !exchange->stopped &&
           exchange->open_count < PC_SLOT_COUNT_MAX && exchange->reply_bytes <= PC_REPLY_BYTES_HIGH;
}

static void parse_bad(struct pc_exchange *exchange, const char *trouble)
{
    exchange->stopped = true;
    exchange->trouble = trouble != NULL ? trouble : "malformed";
    exchange->begin = exchange->end;
}

static void parse_failed(struct pc_exchange *exchange, const struct pc_slot *slot,
                         enum pc_parse verdict, size_t wanted)
{
    if (verdict == PC_PARSE_BAD) {
        parse_bad(exchange, slot->request.trouble);
        return;
    }
    if (verdict == PC_PARSE_MORE) {
        wanted = exchange->want_bytes = pc_max_size(wanted, exchange->end - exchange->begin + 1);
    }
    if (wanted > exchange->lane->service->input_bytes_max) {
        exchange->oversize = true;
        parse_bad(exchange, "request too large");
    }
}

/* One whole request, and not a longer one than the service allows: what came in one piece is
 * treated like what came in many. */
static bool is_request(const struct pc_service *service, enum pc_parse verdict, size_t bytes)
{
    return PC_LIKELY(verdict == PC_PARSE_DONE && bytes <= service->input_bytes_max);
}

/* Read the request at the start of `in` into a slot that is in no list; 0: there is none. Inlined
 * where every request comes by. */
static inline __attribute__((always_inline)) size_t parse_one(struct pc_exchange *exchange,
                                                              struct pc_slot *slot,
                                                              struct pc_lane *lane,
                                                              struct pc_view in)
{
    slot->exchange = exchange;
    slot->request.session = session_of(exchange);
    slot->request.body_bytes = 0;
    slot->request.class_index = 0;
    slot->request.body_error = 0;
    scratch_clear(slot, lane);
    size_t bytes = 0;
    enum pc_parse verdict = lane->service->parse(&slot->request, in, &bytes);
    if (PC_UNLIKELY(!is_request(lane->service, verdict, bytes))) {
        parse_failed(exchange, slot, verdict, bytes);
        return 0;
    }
    PC_ASSERT(bytes > 0 && bytes <= in.count);
    slot->request.input = (struct pc_view){in.at, bytes};
    if (PC_UNLIKELY(slot->request.body_bytes > 0)) {
        exchange->body_slot = slot;
    }
    exchange->begin += bytes;
    exchange->want_bytes = 0;
    return bytes;
}

static struct pc_view unparsed(const struct pc_exchange *exchange)
{
    return (struct pc_view){exchange->input->data + exchange->begin,
                            exchange->end - exchange->begin};
}

/* Behind the last; it is to be served. */
static void slot_open(struct pc_exchange *exchange, struct pc_slot *slot)
{
    slot->input = exchange->input;
    slot->input->refs++;
    slot->state = PC_SLOT_PARSED;
    slot->next = NULL;
    exchange->open_count++;
    if (exchange->tail == NULL) {
        exchange->head = slot;
        slot_becomes_first(exchange, slot);
    } else {
        slot->chain = &slot->replies;
        exchange->tail->next = slot;
    }
    exchange->tail = slot;
    if (exchange->unserved == NULL) {
        exchange->unserved = slot;
    }
}

static void parse_behind(struct pc_exchange *exchange, struct pc_lane *lane)
{
    for (unsigned i = 0; i < PC_PARSE_BATCH && may_parse(exchange); i++) {
        struct pc_slot *slot = slot_borrow(lane);
        if (slot == NULL) {
            parse_bad(exchange, "out of memory");
            return;
        }
        if (parse_one(exchange, slot, lane, unparsed(exchange)) == 0) {
            slot_give_back(slot, lane);
            return;
        }
        slot_open(exchange, slot);
        pc_count(&lane->counters->requests);
    }
}

/* Time is looked at after a heavy request and after many light ones. */
struct budget {
    unsigned light_count;
    uint64_t until_ns;
};

static bool budget_clock(struct budget *budget, struct pc_lane *lane)
{
    lane->heavy = true;
    uint64_t now_ns = lane->kernel->clock_ns(lane->kernel);
    if (budget->until_ns == 0) {
        budget->until_ns = now_ns + PC_RUN_NS_MAX;
    }
    return now_ns >= budget->until_ns;
}

static bool is_heavy(const struct pc_slot *slot, const struct pc_lane *lane)
{
    return (lane->heavy_classes >> (slot->request.class_index & 63) & 1) != 0;
}

/* Asked before so many requests are served, of which at most the last is heavy. */
static bool budget_spent(struct budget *budget, unsigned count, bool heavy, struct pc_lane *lane)
{
    budget->light_count += count;
    if (PC_LIKELY(!heavy && budget->light_count < PC_CLOCK_BATCH)) {
        return false;
    }
    budget->light_count = 0;
    return budget_clock(budget, lane);
}

static bool serve_batch(struct pc_exchange *exchange, struct pc_lane *lane, struct budget *budget)
{
    while (exchange->unserved != NULL && exchange->again_count == 0) {
        struct pc_slot *slot = exchange->unserved;
        bool spent = budget_spent(budget, 1, is_heavy(slot, lane), lane);
        exchange->unserved = slot->next;
        slot_serve(exchange, slot, lane);
        if (PC_UNLIKELY(spent)) {
            return false;
        }
    }
    return true;
}

/* ---- Straight ---- */

/* Parse a batch while nothing is open, into the lane's slots for that, which are in no list. Only
 * the last of them may be heavy, or have a body. */
static unsigned straight_parse(struct pc_exchange *exchange, struct pc_lane *lane, bool *out_heavy)
{
    struct pc_view in = unparsed(exchange);
    unsigned count = 0;
    bool last = false;
    do {
        struct pc_slot *slot = lane->straight[count];
        if (PC_UNLIKELY(slot == NULL)) {
            slot = lane->straight[count] = slot_borrow(lane);
            if (slot == NULL) {
                parse_bad(exchange, "out of memory");
                break;
            }
        }
        const size_t bytes = parse_one(exchange, slot, lane, in);
        if (PC_UNLIKELY(bytes == 0)) {
            break;
        }
        in.at += bytes;
        in.count -= bytes;
        count++;
        *out_heavy = is_heavy(slot, lane);
        last = *out_heavy || exchange->body_slot != NULL || count == PC_PARSE_BATCH;
    } while (in.count > 0 && !last);
    return count;
}

/* The request at `index` did not end at once: it is opened, and those behind it with it. */
static void straight_open(struct pc_exchange *exchange, struct pc_lane *lane, unsigned index,
                          unsigned count, enum pc_serve outcome)
{
    struct pc_slot *slot = lane->straight[index];
    exchange->head = NULL;
    for (unsigned i = index; i < count; i++) {
        slot_open(exchange, lane->straight[i]);
        lane->straight[i] = NULL;
    }
    exchange->unserved = slot->next;
    slot_outcome(exchange, slot, lane, outcome);
}

/* The common case, nothing open: a batch is parsed and served, and nothing was opened when it is
 * done. Returns whether there is budget left. */
static bool serve_straight(struct pc_exchange *exchange, struct pc_lane *lane,
                           struct budget *budget)
{
    bool heavy = false;
    const unsigned count = straight_parse(exchange, lane, &heavy);
    const bool spent = budget_spent(budget, count, heavy, lane);
    pc_count_add(&lane->counters->requests, count);
    for (unsigned i = 0; i < count; i++) {
        struct pc_slot *slot = lane->straight[i];
        exchange->head = slot;
        slot->chain = &exchange->output;
        const enum pc_serve outcome = lane->service->serve(&slot->request, lane);
        if (PC_UNLIKELY(outcome != PC_SERVED || exchange->body_slot == slot)) {
            straight_open(exchange, lane, i, count, outcome);
            return !spent;
        }
        exchange->output.reserved = false;
        extra_drop(slot, lane);
    }
    exchange->head = NULL;
    return !spent;
}

enum pc_run pc_exchange_run(struct pc_exchange *exchange, struct pc_lane *lane)
{
    struct budget budget = {0};
    /* A worker that does a call reads it at any time; it changes only while no call is out. */
    if (exchange->lane != lane) {
        exchange->lane = lane;
    }
    if (exchange->head != NULL) {
        resume(exchange, lane);
    }
    bool left = true;
    while (left) {
        if (PC_LIKELY(exchange->head == NULL && may_parse(exchange))) {
            left = serve_straight(exchange, lane, &budget);
        } else if (may_swallow(exchange)) {
            swallow(exchange); /* of a request that ended with its body still to come */
        } else if (exchange->unserved != NULL && exchange->again_count == 0) {
            left = serve_batch(exchange, lane, &budget);
        } else if (may_parse(exchange)) {
            parse_behind(exchange, lane);
        } else {
            break;
        }
    }
    pc_input_settle(exchange, lane);
    return left ? PC_RUN_DONE : PC_RUN_BUDGET;
}

/* ---- Life ---- */

static void *session_of(struct pc_exchange *exchange)
{
    return exchange + 1;
}

void pc_exchange_init(struct pc_exchange *exchange, struct pc_lane *lane)
{
    memset(exchange, 0, sizeof(*exchange) + lane->service->session_bytes);
    exchange->lane = lane;
}

void pc_exchange_fini(struct pc_exchange *exchange, struct pc_lane *lane)
{
    PC_ASSERT(exchange->open_count == 0);
    pc_chain_clear(&exchange->output, lane, &lane->blocks);
    pc_input_drop(exchange, lane);
    if (lane->service->closed != NULL) {
        lane->service->closed(session_of(exchange));
    }
}

inline bool pc_exchange_hungry(const struct pc_exchange *exchange)
{
    if (exchange->ended || exchange->stopped) {
        return false;
    }
    if (exchange->body_slot != NULL) {
        return exchange->body_slot->body_count > 0;
    }
    /* Behind a pause a little is read, whatever was parsed before it began, or the end of the peer
     * would not be seen. */
    const bool wants = exchange->pause_count > 0
                           ? exchange->end - exchange->begin < PC_PAUSE_INPUT_BYTES_MAX
                           : exchange->unserved == NULL;
    return wants && exchange->again_count == exchange->pause_count &&
           exchange->open_count < PC_SLOT_COUNT_MAX && exchange->reply_bytes <= PC_REPLY_BYTES_HIGH;
}

/* What a run would find in `slot` if it is in state AGAIN; asked without taking the body. */
static bool again_runnable(const struct pc_exchange *exchange, const struct pc_slot *slot)
{
    if (slot->state != PC_SLOT_AGAIN || slot->calls_open > 0 || pauses(exchange, slot)) {
        return false;
    }
    return slot->body_wanted
               ? slot->body_count == 0 || exchange->begin != exchange->end || exchange->ended
               : pc_exchange_may_say(exchange, slot);
}

bool pc_exchange_runnable(const struct pc_exchange *exchange)
{
    if (PC_LIKELY(exchange->again_count == 0)) {
        return exchange->unserved != NULL || may_parse(exchange) || may_swallow(exchange);
    }
    for (const struct pc_slot *slot = exchange->head; slot != NULL; slot = slot->next) {
        if (again_runnable(exchange, slot)) {
            return true;
        }
    }
    return false;
}

uint64_t pc_exchange_pause_ns(const struct pc_exchange *exchange, uint64_t after_ns)
{
    uint64_t first_ns = 0;
    for (const struct pc_slot *slot = exchange->head; slot != NULL && exchange->pause_count > 0;
         slot = slot->next) {
        if (slot->pause_ns > after_ns && (first_ns == 0 || slot->pause_ns < first_ns)) {
            first_ns = slot->pause_ns;
        }
    }
    return first_ns;
}

bool pc_exchange_idle(const struct pc_exchange *exchange)
{
    return exchange->open_count == 0 && exchange->output.bytes == 0 && exchange->swallow == 0 &&
           exchange->begin == exchange->end;
}

bool pc_exchange_over(const struct pc_exchange *exchange)
{
    return (exchange->ended || exchange->stopped) && exchange->open_count == 0 &&
           exchange->output.bytes == 0 && !may_parse(exchange);
}

void pc_exchange_end_of_input(struct pc_exchange *exchange)
{
    exchange->ended = true;
    for (struct pc_slot *slot = exchange->head; slot != NULL; slot = slot->next) {
        slot->pause_ns = slot->pause_ns != 0 ? 1 : 0; /* they may not want to go on */
    }
}

void pc_exchange_abort(struct pc_exchange *exchange, struct pc_lane *lane)
{
    exchange->ended = exchange->mute = exchange->stopped = true;
    if (exchange->head != NULL) {
        exchange->head->chain = &exchange->head->replies;
    }
    /* Not cleared: the owner of a key may be writing to a reservation. */
    exchange->reply_bytes -= exchange->output.bytes;
    pc_chain_consume(&exchange->output, exchange->output.bytes, lane, &lane->blocks);
    exchange->begin = exchange->end;
    drop_unserved(exchange, lane);
}

void pc_exchange_sent(struct pc_exchange *exchange, struct pc_lane *lane, size_t bytes)
{
    exchange->reply_bytes -= bytes;
    pc_chain_consume(&exchange->output, bytes, lane, &lane->blocks);
}

bool pc_request_gone(const struct pc_request *request)
{
    return pc_slot_of(request)->exchange->mute;
}
