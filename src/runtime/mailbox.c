/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox: rings, credits and the sleep flag; one file because their proofs lean on each other.
 *
 * Why a ring cannot overflow although its sender never looks at the reader's index: the reader
 * takes letters in order, so once one is known to be taken, all before it are. Of the letters a
 * sender does not know to be taken, at most `credits` are requests (each holds a credit until its
 * answer is here) and at most `credits` are answers (the peer may have that many requests
 * unanswered, and a request that used a credit again proves that an earlier answer was taken). The
 * ring has twice that room.
 */
#include "runtime/mailbox.h"

#include "base/check.h"
#include "base/hooks.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Letters taken from one sender before the next gets its turn: one batch. */
#define LETTERS_PER_TURN 16

enum sleep_state { STATE_AWAKE = 0, STATE_ASLEEP = 1 };

/* One line per sender, written by that sender; the owner polls them all. */
struct tail_line {
    alignas(PC_CACHE_LINE) _Atomic uint32_t tail;
};
static_assert(sizeof(struct tail_line) == PC_CACHE_LINE, "a tail has a line to itself");

struct letter_list {
    struct pc_letter *first, **last;
};

/* Used by the sending core alone; what it points to is shared with the receiver. */
struct pc_outbox {
    struct letter_list answers, requests;
    _Atomic uint32_t *tail; /* in the receiver's mailbox; NULL until connected */
    uintptr_t *slots;
    uint32_t tail_private; /* letters published so far, modulo 2^32 */
    uint32_t credits;
    uint32_t requests_waiting;
    bool dirty; /* in the list of outboxes that a flush has to visit */
    struct pc_outbox *dirty_next;
    struct pc_mailbox *from, *to;
};

struct pc_mailbox {
    /* Written by the owner and by whoever rings; read by every sender once a batch. */
    alignas(PC_CACHE_LINE) _Atomic uint32_t state;
    /* Written by every thread that posts control letters. */
    alignas(PC_CACHE_LINE) _Atomic(struct pc_control *) control;
    /* Written at boot, read by all. */
    alignas(PC_CACHE_LINE) uint32_t index;
    uint32_t core_count;
    uint32_t credits;
    uint32_t mask; /* slots in a ring, less one */
    struct tail_line *tails;
    uintptr_t *slots; /* core_count rings; the owner's own stays unused */
    struct pc_outbox *outboxes;
    _Atomic uint32_t *heads; /* letters taken from each sender, modulo 2^32 */
    /* Written by the owner at each turn. */
    alignas(PC_CACHE_LINE) uint32_t turn_index; /* the sender whose turn it is */
    uint32_t turn_left;                         /* letters until it is another's, 1 or more */
    uint32_t requests_waiting;
    struct pc_outbox *dirty_first, **dirty_last;
};
static_assert(offsetof(struct pc_mailbox, control) == PC_CACHE_LINE, "control has its own line");
static_assert(offsetof(struct pc_mailbox, index) == 2 * PC_CACHE_LINE, "constants keep clear");
static_assert(offsetof(struct pc_mailbox, turn_index) == 3 * PC_CACHE_LINE, "and so does the rest");

static void letter_list_init(struct letter_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void letter_list_append(struct letter_list *list, struct pc_letter *letter)
{
    letter->next = NULL;
    *list->last = letter;
    list->last = &letter->next;
}

/* A letter's address has its low bit free; the kind travels there. */
static uintptr_t slot_of(struct pc_letter *letter, enum pc_letter_kind kind)
{
    PC_ASSERT(((uintptr_t)letter & 1) == 0);
    return (uintptr_t)letter | (uintptr_t)kind;
}

/* ---- Boot ---- */

unsigned pc_mailbox_credits(unsigned core_count)
{
    unsigned credits = PC_CREDITS_MAX;
    /* Up to 16 cores the full count, then halved as the cores double: a mailbox stays near 64 KiB.
     */
    for (unsigned cores = 16; cores < core_count && credits > PC_CREDITS_MIN; cores *= 2) {
        credits /= 2;
    }
    return credits;
}

/* Zeroed memory that starts on a cache line; zeroing it is the first touch. */
static void *lines_reserve(size_t bytes)
{
    size_t rounded = (bytes + PC_CACHE_LINE - 1) / PC_CACHE_LINE * PC_CACHE_LINE;
    void *memory = aligned_alloc(PC_CACHE_LINE, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
    }
    return memory;
}

int pc_mailbox_create(unsigned index, unsigned core_count, unsigned credits,
                      struct pc_mailbox **out_box)
{
    if (credits == 0) {
        credits = pc_mailbox_credits(core_count);
    }
    if (core_count == 0 || core_count > PC_MAILBOX_CORES_MAX || index >= core_count ||
        credits > PC_CREDITS_MAX || (credits & (credits - 1)) != 0) {
        return -EINVAL;
    }
    struct pc_mailbox *box = lines_reserve(sizeof(*box));
    if (box == NULL) {
        return -ENOMEM;
    }
    const size_t ring_slots = (size_t)credits * 2;
    box->index = index;
    box->core_count = core_count;
    box->credits = credits;
    box->mask = (uint32_t)ring_slots - 1;
    box->turn_left = LETTERS_PER_TURN;
    box->dirty_last = &box->dirty_first;
    box->tails = lines_reserve(core_count * sizeof(*box->tails));
    box->slots = lines_reserve(core_count * ring_slots * sizeof(*box->slots));
    box->outboxes = lines_reserve(core_count * sizeof(*box->outboxes));
    box->heads = lines_reserve(core_count * sizeof(*box->heads));
    if (box->tails == NULL || box->slots == NULL || box->outboxes == NULL || box->heads == NULL) {
        pc_mailbox_destroy(box);
        return -ENOMEM;
    }
    *out_box = box;
    return 0;
}

void pc_mailbox_connect(struct pc_mailbox *from, struct pc_mailbox *to)
{
    PC_ASSERT(from != to && from->core_count == to->core_count && from->credits == to->credits);
    struct pc_outbox *outbox = &from->outboxes[to->index];
    PC_ASSERT(outbox->tail == NULL);
    letter_list_init(&outbox->answers);
    letter_list_init(&outbox->requests);
    outbox->tail = &to->tails[from->index].tail;
    outbox->slots = to->slots + (size_t)from->index * ((size_t)to->mask + 1);
    outbox->credits = from->credits;
    outbox->from = from;
    outbox->to = to;
}

void pc_mailbox_destroy(struct pc_mailbox *box)
{
    if (box == NULL) {
        return;
    }
    free(box->tails);
    free(box->slots);
    free(box->outboxes);
    free(box->heads);
    free(box);
}

/* ---- Sending ---- */

struct pc_outbox *pc_mailbox_outbox(struct pc_mailbox *box, unsigned to_index)
{
    PC_ASSERT(to_index < box->core_count && to_index != box->index);
    return &box->outboxes[to_index];
}

static void outbox_mark_dirty(struct pc_outbox *outbox)
{
    if (outbox->dirty) {
        return;
    }
    outbox->dirty = true;
    outbox->dirty_next = NULL;
    *outbox->from->dirty_last = outbox;
    outbox->from->dirty_last = &outbox->dirty_next;
}

void pc_outbox_post(struct pc_outbox *outbox, struct pc_letter *letter, enum pc_letter_kind kind)
{
    PC_ASSERT(outbox->tail != NULL);
    if (kind == PC_LETTER_ANSWER) {
        letter_list_append(&outbox->answers, letter);
    } else {
        letter_list_append(&outbox->requests, letter);
        outbox->requests_waiting++;
        outbox->from->requests_waiting++;
    }
    outbox_mark_dirty(outbox);
}

/* Write at most `count_max` letters behind the tail, unpublished; returns how many. */
static unsigned outbox_fill(struct pc_outbox *outbox, struct letter_list *list,
                            enum pc_letter_kind kind, unsigned count_max)
{
    const uint32_t mask = outbox->to->mask;
    struct pc_letter *letter = list->first;
    unsigned count = 0;
    for (; letter != NULL && count < count_max; count++) {
        outbox->slots[outbox->tail_private++ & mask] = slot_of(letter, kind);
        letter = letter->next;
    }
    list->first = letter;
    if (letter == NULL) {
        list->last = &list->first;
    }
    return count;
}

unsigned pc_outbox_flush(struct pc_outbox *outbox)
{
    unsigned answers = outbox_fill(outbox, &outbox->answers, PC_LETTER_ANSWER, UINT32_MAX);
    unsigned requests = outbox_fill(outbox, &outbox->requests, PC_LETTER_REQUEST, outbox->credits);
    if (answers + requests == 0) {
        return 0;
    }
    outbox->credits -= requests;
    outbox->requests_waiting -= requests;
    outbox->from->requests_waiting -= requests;
    /* Relaxed: the check must not order what the credits have to order by themselves. */
    PC_ASSERT(outbox->tail_private - atomic_load_explicit(&outbox->to->heads[outbox->from->index],
                                                          memory_order_relaxed) <=
              outbox->to->mask + 1);
    PC_POINT("mailbox: slots written");
    /* Pairs with the acquire in drain (the letters' contents) and, together with the load in
     * must_ring, with the store and loads of prepare_sleep (the bell). */
    atomic_exchange_explicit(outbox->tail, outbox->tail_private, memory_order_seq_cst);
    PC_POINT("mailbox: published");
    return answers + requests;
}

unsigned pc_mailbox_flush(struct pc_mailbox *box, pc_bell_fn *ring, void *ctx)
{
    unsigned published = 0;
    struct pc_outbox *outbox = box->dirty_first;
    box->dirty_first = NULL;
    box->dirty_last = &box->dirty_first;
    while (outbox != NULL) {
        struct pc_outbox *next = outbox->dirty_next;
        outbox->dirty = false;
        unsigned count = pc_outbox_flush(outbox);
        if (count != 0 && pc_mailbox_must_ring(outbox->to)) {
            ring(ctx, outbox->to->index);
        }
        published += count;
        outbox = next;
    }
    return published;
}

struct pc_mailbox *pc_outbox_receiver(const struct pc_outbox *outbox)
{
    return outbox->to;
}

unsigned pc_outbox_waiting(const struct pc_outbox *outbox)
{
    return outbox->requests_waiting;
}

unsigned pc_outbox_credits(const struct pc_outbox *outbox)
{
    return outbox->credits;
}

unsigned pc_mailbox_waiting(const struct pc_mailbox *box)
{
    return box->requests_waiting;
}

bool pc_mailbox_settled(const struct pc_mailbox *box)
{
    for (unsigned i = 0; i < box->core_count; i++) {
        const struct pc_outbox *outbox = &box->outboxes[i];
        if (outbox->tail != NULL &&
            (outbox->credits != box->credits || outbox->answers.first != NULL ||
             outbox->requests.first != NULL)) {
            return false;
        }
    }
    return true;
}

void pc_mailbox_post_control(struct pc_mailbox *box, struct pc_control *control)
{
    struct pc_control *head = atomic_load_explicit(&box->control, memory_order_relaxed);
    do {
        control->next = head;
        PC_POINT("mailbox: control linked");
        /* Pairs with the exchange in take_control (the object's contents) and with the re-check in
         * prepare_sleep (the bell). */
    } while (!atomic_compare_exchange_weak_explicit(&box->control, &head, control,
                                                    memory_order_seq_cst, memory_order_relaxed));
    PC_POINT("mailbox: control posted");
}

bool pc_mailbox_must_ring(struct pc_mailbox *box)
{
    /* Pairs with the store in prepare_sleep: either it is seen here, or the sleeper's re-check sees
     * what was published before this load. */
    if (atomic_load_explicit(&box->state, memory_order_seq_cst) == STATE_AWAKE) {
        return false;
    }
    PC_POINT("mailbox: sleeper seen");
    /* Pairs with the same exchange of other senders: the one that finds ASLEEP rings for all. */
    return atomic_exchange_explicit(&box->state, STATE_AWAKE, memory_order_seq_cst) == STATE_ASLEEP;
}

/* ---- Receiving ---- */

/* An answer brings its credit back, and with it perhaps a request that waited. */
static void credit_return(struct pc_mailbox *box, unsigned from_index)
{
    struct pc_outbox *outbox = &box->outboxes[from_index];
    PC_ASSERT(outbox->credits < box->credits);
    outbox->credits++;
    if (outbox->requests.first != NULL) {
        outbox_mark_dirty(outbox);
    }
}

/* Ask for the letters' lines at once: they were written on another core, and one by one each would
 * cost a full transfer. */
static void prefetch_letters(const uintptr_t *ring, uint32_t mask, uint32_t head, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        __builtin_prefetch((const void *)(ring[(head + i) & mask] & ~(uintptr_t)1), 1);
    }
}

static unsigned drain_sender(struct pc_mailbox *box, unsigned from_index, unsigned budget,
                             pc_letter_fn *visit, void *ctx)
{
    uint32_t head = atomic_load_explicit(&box->heads[from_index], memory_order_relaxed);
    /* Pairs with the exchange in pc_outbox_flush. */
    uint32_t ready =
        atomic_load_explicit(&box->tails[from_index].tail, memory_order_acquire) - head;
    if (ready == 0) {
        return 0;
    }
    const uint32_t mask = box->mask;
    const uintptr_t *ring = box->slots + (size_t)from_index * ((size_t)mask + 1);
    unsigned count = ready < budget ? ready : budget;
    enum pc_letter_kind previous = PC_LETTER_ANSWER;
    prefetch_letters(ring, mask, head, count);
    for (unsigned i = 0; i < count; i++) {
        uintptr_t slot = ring[head & mask];
        enum pc_letter_kind kind = (enum pc_letter_kind)(slot & 1);
        /* Taken before it is visited: the visit may answer it, and the credit then travels. Read
         * only by the sender's assertion. */
        atomic_store_explicit(&box->heads[from_index], ++head, memory_order_relaxed);
        PC_POINT("mailbox: letter taken");
        if (kind == PC_LETTER_ANSWER &&
            !(PC_PLANTED(PC_BUG_CREDIT_LEAK) && previous == PC_LETTER_REQUEST)) {
            credit_return(box, from_index);
        }
        previous = kind;
        visit(ctx, (struct pc_letter *)(slot & ~(uintptr_t)1), kind, from_index);
    }
    return count;
}

unsigned pc_mailbox_drain(struct pc_mailbox *box, unsigned budget, pc_letter_fn *visit, void *ctx)
{
    unsigned drained = 0;
    unsigned empty_in_a_row = 0;
    while (drained < budget && empty_in_a_row < box->core_count) {
        unsigned wanted = budget - drained < box->turn_left ? budget - drained : box->turn_left;
        unsigned count = drain_sender(box, box->turn_index, wanted, visit, ctx);
        drained += count;
        box->turn_left -= count;
        empty_in_a_row = count == 0 ? empty_in_a_row + 1 : 0;
        /* A turn that the budget cuts goes on in the next drain: a short budget starves nobody. */
        if (count < wanted || box->turn_left == 0) {
            box->turn_index = box->turn_index + 1 == box->core_count ? 0 : box->turn_index + 1;
            box->turn_left = LETTERS_PER_TURN;
        }
    }
    return drained;
}

struct pc_control *pc_mailbox_take_control(struct pc_mailbox *box)
{
    /* Relaxed: most turns find nothing, and a letter missed here is found by the re-check. */
    if (atomic_load_explicit(&box->control, memory_order_relaxed) == NULL) {
        return NULL;
    }
    PC_POINT("mailbox: control seen");
    /* Pairs with the compare-exchange in post_control. All are taken at once, so no node can come
     * back between a load of the head and its replacement. */
    struct pc_control *newest = atomic_exchange_explicit(&box->control, NULL, memory_order_acquire);
    struct pc_control *oldest = NULL;
    while (newest != NULL) {
        struct pc_control *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

bool pc_mailbox_has_mail(const struct pc_mailbox *box)
{
    /* Seq_cst for the re-check before sleep: pairs with the exchange in pc_outbox_flush and the
     * compare-exchange in post_control. */
    if (atomic_load_explicit(&box->control, memory_order_seq_cst) != NULL) {
        return true;
    }
    for (unsigned i = 0; i < box->core_count; i++) {
        if (atomic_load_explicit(&box->tails[i].tail, memory_order_seq_cst) !=
            atomic_load_explicit(&box->heads[i], memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* ---- Sleeping ---- */

/* True if a flush would publish something: such a core must not sleep. Only assertions ask. */
PC_UNUSED static bool can_flush(const struct pc_mailbox *box)
{
    for (const struct pc_outbox *outbox = box->dirty_first; outbox != NULL;
         outbox = outbox->dirty_next) {
        if (outbox->answers.first != NULL ||
            (outbox->requests.first != NULL && outbox->credits != 0)) {
            return true;
        }
    }
    return false;
}

bool pc_mailbox_prepare_sleep(struct pc_mailbox *box)
{
    PC_ASSERT(!can_flush(box));
    PC_POINT("mailbox: before sleep");
    /* Pairs with the load in must_ring. */
    atomic_store_explicit(&box->state, STATE_ASLEEP, memory_order_seq_cst);
    PC_POINT("mailbox: sleep announced");
    if (PC_PLANTED(PC_BUG_BELL_WITHOUT_RECHECK)) {
        return true;
    }
    if (!pc_mailbox_has_mail(box)) {
        return true;
    }
    pc_mailbox_awake(box);
    return false;
}

void pc_mailbox_awake(struct pc_mailbox *box)
{
    /* Pairs with must_ring: a sender that still sees ASLEEP wins a bell nobody needs, no more. */
    atomic_store_explicit(&box->state, STATE_AWAKE, memory_order_relaxed);
}

bool pc_mailbox_sleeps(const struct pc_mailbox *box)
{
    return atomic_load_explicit(&box->state, memory_order_relaxed) == STATE_ASLEEP;
}
