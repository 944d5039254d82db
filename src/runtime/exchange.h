/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: the requests and replies of one connection, without its socket.
 *
 * Received bytes go in at the landing; parse cuts them into slots; serve fills the slots, at once
 * or when answers come; replies leave through `output` in request order. Every model runs
 * exchanges, on whatever lane it likes, one lane at a time.
 *
 *   received ──▶ input ──parse──▶ slots ──serve──▶ output ──▶ to be sent
 *                                   │  ▲
 *                                 calls answers
 *
 * Owner    The lane that runs it now; it changes hands only between runs.
 * Memory   Embedded in a connection, session behind it. Idle, it holds no block and no slot.
 * Limits   PC_SLOT_COUNT_MAX slots; service.input_bytes_max of input; config.reply_bytes_max.
 * Order    The first slot writes to `output`; others into their own chain, spliced when first.
 * Cost     Nothing is allocated on the path of a request that is served at once.
 */
#ifndef PC_RUNTIME_EXCHANGE_H
#define PC_RUNTIME_EXCHANGE_H

#include "runtime/block.h"
#include "runtime/lane.h"
#include "runtime/limits.h"

#include <percore/service.h>

enum pc_slot_state { PC_SLOT_PARSED, PC_SLOT_WAITING, PC_SLOT_AGAIN, PC_SLOT_DONE };

/* One open request. Free slots have no replies, no extra block and no open call. */
struct pc_slot {
    struct pc_request request;
    struct pc_exchange *exchange;
    struct pc_slot *next;
    struct pc_chain
        *chain; /* where it writes: its own replies, or the send queue when it is first */
    struct pc_chain replies;
    struct pc_block *input; /* holds request.input, one reference */
    struct pc_block *extra;
    uint8_t *body_into;
    size_t body_count;   /* still to be placed of what the service asked for */
    uint64_t place_mask; /* of its unanswered calls: bit place mod 64 */
    uint64_t posted_ns;  /* zero unless this hop is sampled */
    uint64_t pause_ns;   /* it goes on when the clock says this; zero unless it pauses */
    uint16_t calls_open;
    uint8_t state;
    bool body_wanted;
    bool last; /* it said HANG_UP */
    alignas(16) uint8_t scratch[];
};

/* The slot a request lies in.  Core: owner. */
static inline struct pc_slot *pc_slot_of(const struct pc_request *request)
{
    return PC_CONTAINER_OF((uintptr_t)request, struct pc_slot, request);
}

/* Slots from head to tail: DONE only where an earlier one is not; PARSED only from `unserved` on.
 */
struct pc_exchange {
    struct pc_lane *lane; /* the present, or else the last, runner */
    struct pc_slot *head, *tail, *unserved;
    struct pc_slot *body_slot; /* its body follows in the input; nothing is parsed before its end */
    struct pc_block *input;    /* NULL, or bytes [begin, end) are not yet parsed */
    size_t begin, end;
    size_t want_bytes; /* parse is pointless with less */
    uint64_t swallow;  /* bytes of a body that nobody wants */
    uint64_t place_mask;
    size_t reply_bytes; /* in output and in all slots */
    struct pc_chain output;
    uint16_t open_count;
    uint16_t again_count; /* slots in state AGAIN: while there are any, later ones wait */
    uint16_t pause_count; /* slots that pause, as part of their AGAIN */
    bool ended;           /* no more input: end of file, or the peer is gone */
    bool mute;            /* replies are dropped: it hung up, or the peer is gone */
    bool stopped;         /* nothing more is parsed: BAD or HANG_UP */
    bool oversize;        /* BAD, because a request is larger than the service allows */
    const char *trouble;  /* why BAD, for the log; taken by whoever logs */
};

/* The peer has read enough for this slot to say more. What the head says can leave, whatever those
 * behind it have said already. */
static inline bool pc_exchange_may_say(const struct pc_exchange *exchange,
                                       const struct pc_slot *slot)
{
    const size_t queued = slot == exchange->head ? exchange->output.bytes : exchange->reply_bytes;
    return queued <= PC_REPLY_BYTES_HIGH || exchange->mute;
}

/* What a run left behind. */
enum pc_run {
    PC_RUN_DONE,   /* all that could be done now is done */
    PC_RUN_BUDGET, /* there is more, but others have their turn */
};

/* `exchange` must be zeroed; the session follows at `session`.  Core: owner. */
void pc_exchange_init(struct pc_exchange *exchange, struct pc_lane *lane);

/* All slots must have ended. Frees what is left.  Core: owner. */
void pc_exchange_fini(struct pc_exchange *exchange, struct pc_lane *lane);

/* Where the next received bytes go, *out_room of them at most. NULL: no memory.  Core: owner. */
uint8_t *pc_input_landing(struct pc_exchange *exchange, struct pc_lane *lane, size_t *out_room);

/* `count` bytes have been received there; 0 gives an unused landing back. */
void pc_input_landed(struct pc_exchange *exchange, struct pc_lane *lane, size_t count);

/* Settle, after a run: a quiet connection keeps only the bytes of a begun request, in a block of
 * their size. Drop: not even those.  Core: owner. */
void pc_input_settle(struct pc_exchange *exchange, struct pc_lane *lane);
void pc_input_drop(struct pc_exchange *exchange, struct pc_lane *lane);

/* Parse and serve what can be.  Core: owner, which `lane` is from now on. */
enum pc_run pc_exchange_run(struct pc_exchange *exchange, struct pc_lane *lane);

/* More bytes could be used at once: there is room for requests and for replies. */
bool pc_exchange_hungry(const struct pc_exchange *exchange);

/* A run would do something: for models in which a run is not free. */
bool pc_exchange_runnable(const struct pc_exchange *exchange);

/* When the first of the slots that pause beyond `after_ns` goes on; 0: none does. One whose pause
 * is over may still wait for something else. */
uint64_t pc_exchange_pause_ns(const struct pc_exchange *exchange, uint64_t after_ns);

/* Nothing is open, nothing waits to be sent, no request is begun. */
bool pc_exchange_idle(const struct pc_exchange *exchange);

/* All it was sent is answered and gone, and more may come: nothing to decide. */
static inline bool pc_exchange_quiet(const struct pc_exchange *exchange)
{
    return exchange->head == NULL && exchange->input == NULL && exchange->output.head == NULL &&
           !exchange->ended && !exchange->stopped && exchange->swallow == 0;
}

/* Nothing will ever be sent again: it may be closed. */
bool pc_exchange_over(const struct pc_exchange *exchange);

/* The peer sent its last byte; what it asked is still answered.  Core: owner. */
void pc_exchange_end_of_input(struct pc_exchange *exchange);

/* The peer is gone: drop what it would have read. Open slots still run to their end, in later
 * runs.  Core: owner. */
void pc_exchange_abort(struct pc_exchange *exchange, struct pc_lane *lane);

/* `bytes` of output are with the kernel.  Core: owner. */
void pc_exchange_sent(struct pc_exchange *exchange, struct pc_lane *lane, size_t bytes);

/* A call of it was answered; true: its slot has all answers, run the exchange.  Core: owner. */
bool pc_exchange_answered(struct pc_call *call, struct pc_exchange **out_exchange);

/* The lane that posted the call and waits for it.  Core: whoever does the call. */
struct pc_lane *pc_call_lane(const struct pc_call *call);

/* Free the slots a lane keeps for reuse.  Core: boot. */
void pc_slots_free(struct pc_lane *lane);

#endif
