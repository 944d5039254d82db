/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox: rings, credits and the sleep flag; one file because their proofs lean on each other.
 *
 * A slot holds a letter's address, and in the address's free low bits the letter's kind and the
 * lap: a bit that changes each time the ring wraps. The slot itself thus says whether it is full,
 * the reader writes nothing its sender reads, and a letter crosses with its slot's line and its
 * own.
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

#define SLOTS_PER_LINE (PC_CACHE_LINE / sizeof(uintptr_t))

enum sleep_state { STATE_AWAKE = 0, STATE_ASLEEP = 1 };

/* The low bits of a slot; a letter's address has them free. */
#define SLOT_ANSWER ((uintptr_t)PC_LETTER_ANSWER)
#define SLOT_LAP    ((uintptr_t)2)
#define SLOT_BITS   ((uintptr_t)3)

struct letter_list {
    struct pc_letter *first, **last;
};

/* Used by the sending core alone; what it points to is shared with the receiver. */
struct pc_outbox {
    struct letter_list answers, requests;
    _Atomic uintptr_t *slots; /* in the receiver's mailbox; NULL until connected */
    uint32_t slot_mask, lap_shift;
    uint32_t tail; /* letters published so far, modulo 2^32 */
    uint32_t credits;
    uint32_t waiting_count; /* in requests */
    bool dirty;             /* in the list of outboxes that a flush has to visit */
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
    uint32_t slot_mask;       /* slots of a ring, a power of two, less one */
    uint32_t lap_shift;       /* brings a position's lap to bit 1: log2 of the slots, less one */
    _Atomic uintptr_t *slots; /* core_count rings; the owner's own stays unused */
    struct pc_outbox *outboxes;
    _Atomic uint32_t *heads; /* letters taken from each sender, modulo 2^32 */
    /* Written by the owner at each turn. */
    alignas(PC_CACHE_LINE) uint32_t turn_index; /* the sender whose turn it is */
    uint32_t turn_left;                         /* letters until it is another's, 1 or more */
    uint32_t waiting_count;
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

/* Ask for a line with the right to write it. */
static void prefetch_to_write(const void *at)
{
#if defined(__x86_64__)
    /* The built-in asks for a shared copy where the compiler may not assume this instruction; those
     * processors that lack it do nothing. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

/* The lap bit of a full slot at `position`, set in the first lap; in an empty one it is the other.
 */
static uintptr_t lap_at(uint32_t position, uint32_t lap_shift)
{
    return ~(uintptr_t)(position >> lap_shift) & SLOT_LAP;
}

/* Rings lie a line further apart than they are long: the slots their owner polls at equal heads
 * then fall into different sets of its cache. */
static size_t ring_stride(uint32_t slot_mask)
{
    return (size_t)slot_mask + 1 + SLOTS_PER_LINE;
}

static _Atomic uintptr_t *ring_of(const struct pc_mailbox *box, unsigned from_index)
{
    return box->slots + from_index * ring_stride(box->slot_mask);
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
    box->index = index;
    box->core_count = core_count;
    box->credits = credits;
    box->slot_mask = credits * 2 - 1;
    box->lap_shift = (uint32_t)__builtin_ctz(credits);
    box->turn_left = LETTERS_PER_TURN;
    box->dirty_last = &box->dirty_first;
    box->slots = lines_reserve(core_count * ring_stride(box->slot_mask) * sizeof(*box->slots));
    box->outboxes = lines_reserve(core_count * sizeof(*box->outboxes));
    box->heads = lines_reserve(core_count * sizeof(*box->heads));
    if (box->slots == NULL || box->outboxes == NULL || box->heads == NULL) {
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
    PC_ASSERT(outbox->slots == NULL);
    letter_list_init(&outbox->answers);
    letter_list_init(&outbox->requests);
    outbox->slots = ring_of(to, from->index);
    outbox->slot_mask = to->slot_mask;
    outbox->lap_shift = to->lap_shift;
    outbox->credits = from->credits;
    outbox->from = from;
    outbox->to = to;
}

void pc_mailbox_destroy(struct pc_mailbox *box)
{
    if (box == NULL) {
        return;
    }
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
    PC_ASSERT(outbox->slots != NULL && ((uintptr_t)letter & SLOT_BITS) == 0);
    if (kind == PC_LETTER_ANSWER) {
        letter_list_append(&outbox->answers, letter);
    } else {
        letter_list_append(&outbox->requests, letter);
        outbox->waiting_count++;
        outbox->from->waiting_count++;
    }
    outbox_mark_dirty(outbox);
}

/* Move at most `count_max` letters from the list to `slots`; returns how many. */
static unsigned letters_take(struct letter_list *list, enum pc_letter_kind kind, unsigned count_max,
                             uintptr_t *slots)
{
    struct pc_letter *letter = list->first;
    unsigned count = 0;
    for (; letter != NULL && count < count_max; count++) {
        slots[count] = (uintptr_t)letter | (uintptr_t)kind;
        letter = letter->next;
    }
    list->first = letter;
    if (letter == NULL) {
        list->last = &list->first;
    }
    return count;
}

/* Write a batch, the last slot first: a reader that polls the first finds it written at the very
 * end, and the line it holds is taken from it once. */
static void outbox_publish(struct pc_outbox *outbox, const uintptr_t *slots, unsigned count)
{
    const uint32_t tail = outbox->tail;
    const uint32_t mask = outbox->slot_mask;
    for (unsigned i = count - 1; i > 0; i--) {
        /* Relaxed: the exchange below orders it. */
        atomic_store_explicit(&outbox->slots[(tail + i) & mask],
                              slots[i] | lap_at(tail + i, outbox->lap_shift), memory_order_relaxed);
    }
    outbox->tail = tail + count;
    PC_POINT("mailbox: slots written");
    /* Pairs with the acquire in take_ready (the other slots and the letters' contents) and,
     * together with the load in must_ring, with the store and loads of prepare_sleep (the bell). */
    atomic_exchange_explicit(&outbox->slots[tail & mask],
                             slots[0] | lap_at(tail, outbox->lap_shift), memory_order_seq_cst);
    PC_POINT("mailbox: published");
    /* The next batch's slots, from the line after the one the reader polls now. */
    for (unsigned i = SLOTS_PER_LINE; i <= 3 * SLOTS_PER_LINE; i += SLOTS_PER_LINE) {
        prefetch_to_write(&outbox->slots[(outbox->tail + i) & mask]);
    }
}

/* The letters the ring has room for, as its reader's own count says. Only assertions ask. */
PC_UNUSED static unsigned outbox_room(const struct pc_outbox *outbox)
{
    /* Relaxed: the check must not order what the credits have to order by themselves. */
    uint32_t head =
        atomic_load_explicit(&outbox->to->heads[outbox->from->index], memory_order_relaxed);
    return outbox->slot_mask + 1 - (outbox->tail - head);
}

unsigned pc_outbox_flush(struct pc_outbox *outbox)
{
    uintptr_t slots[2 * PC_CREDITS_MAX];
    unsigned answers = letters_take(&outbox->answers, PC_LETTER_ANSWER, PC_CREDITS_MAX, slots);
    unsigned requests =
        letters_take(&outbox->requests, PC_LETTER_REQUEST, outbox->credits, slots + answers);
    const unsigned count = answers + requests;
    if (count == 0) {
        return 0;
    }
    PC_ASSERT(outbox->answers.first == NULL && count <= outbox_room(outbox));
    outbox->credits -= requests;
    outbox->waiting_count -= requests;
    outbox->from->waiting_count -= requests;
    outbox_publish(outbox, slots, count);
    return count;
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
    return outbox->waiting_count;
}

unsigned pc_outbox_credits(const struct pc_outbox *outbox)
{
    return outbox->credits;
}

unsigned pc_mailbox_waiting(const struct pc_mailbox *box)
{
    return box->waiting_count;
}

bool pc_mailbox_settled(const struct pc_mailbox *box)
{
    for (unsigned i = 0; i < box->core_count; i++) {
        const struct pc_outbox *outbox = &box->outboxes[i];
        if (outbox->slots != NULL &&
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
static void credit_return(struct pc_outbox *outbox)
{
    PC_ASSERT(outbox->credits < outbox->from->credits);
    outbox->credits++;
    if (outbox->requests.first != NULL) {
        outbox_mark_dirty(outbox);
    }
}

/* Whether the next slot of a sender is full. */
static bool sender_has_mail(const struct pc_mailbox *box, unsigned from_index, memory_order order)
{
    uint32_t head = atomic_load_explicit(&box->heads[from_index], memory_order_relaxed);
    const _Atomic uintptr_t *slot = &ring_of(box, from_index)[head & box->slot_mask];
    return (atomic_load_explicit(slot, order) & SLOT_LAP) == lap_at(head, box->lap_shift);
}

/* A letter was last written on another core, and its receiver links it into a list to answer. */
static void prefetch_letter(uintptr_t slot)
{
    prefetch_to_write((const void *)(slot & ~SLOT_BITS));
}

/* Call for the letters of the full slots from `head` on, up to a turn's worth. */
static void prefetch_ahead(const struct pc_mailbox *box, const _Atomic uintptr_t *ring,
                           uint32_t head)
{
    for (uint32_t next = head; next - head < LETTERS_PER_TURN; next++) {
        uintptr_t slot = atomic_load_explicit(&ring[next & box->slot_mask], memory_order_relaxed);
        if ((slot & SLOT_LAP) != lap_at(next, box->lap_shift)) {
            return;
        }
        prefetch_letter(slot);
    }
}

/* Take at most `budget` full slots of a sender. All their letters are called for before the first
 * is read, and those of the next turn with them: one by one, each would cost a transfer. */
static unsigned take_ready(struct pc_mailbox *box, unsigned from_index, unsigned budget,
                           uintptr_t *out_slots)
{
    const _Atomic uintptr_t *ring = ring_of(box, from_index);
    const uint32_t mask = box->slot_mask, lap_shift = box->lap_shift;
    uint32_t head = atomic_load_explicit(&box->heads[from_index], memory_order_relaxed);
    unsigned count = 0;
    for (; count < budget; count++, head++) {
        /* Pairs with the exchange in outbox_publish. */
        uintptr_t slot = atomic_load_explicit(&ring[head & mask], memory_order_acquire);
        if ((slot & SLOT_LAP) != lap_at(head, lap_shift)) {
            break;
        }
        prefetch_letter(slot);
        out_slots[count] = slot;
    }
    if (count == budget) {
        prefetch_ahead(box, ring, head);
    }
    /* Read by the sender's assertion alone; before any answer, with which credits travel. */
    atomic_store_explicit(&box->heads[from_index], head, memory_order_relaxed);
    return count;
}

/* Hand over at most `budget` letters of one sender, a turn's worth at most. */
static unsigned drain_sender(struct pc_mailbox *box, unsigned from_index, unsigned budget,
                             pc_letter_fn *visit, void *ctx)
{
    uintptr_t slots[LETTERS_PER_TURN];
    unsigned count = take_ready(box, from_index, budget, slots);
    PC_POINT("mailbox: letters taken");
    for (unsigned i = 0; i < count; i++) {
        bool answer = (slots[i] & SLOT_ANSWER) != 0;
        bool leak = PC_PLANTED(PC_BUG_CREDIT_LEAK) && i > 0 && (slots[i - 1] & SLOT_ANSWER) == 0;
        if (answer && !leak) {
            credit_return(&box->outboxes[from_index]);
        }
        visit(ctx, (struct pc_letter *)(slots[i] & ~SLOT_BITS),
              (enum pc_letter_kind)(slots[i] & SLOT_ANSWER), from_index);
    }
    return count;
}

/* The first sender in [from, to) that has letters here; `to` if none has. Most turns of a core with
 * many neighbours end in this loop, so it does nothing else. */
static unsigned find_sender(const struct pc_mailbox *box, unsigned from, unsigned to)
{
    while (from < to && !sender_has_mail(box, from, memory_order_relaxed)) {
        from++;
    }
    return from;
}

/* Give the turn to the next sender that has letters, the present one included. */
static bool find_turn(struct pc_mailbox *box)
{
    unsigned index = find_sender(box, box->turn_index, box->core_count);
    if (index == box->core_count) {
        index = find_sender(box, 0, box->turn_index);
        if (index == box->turn_index) {
            return false;
        }
    }
    if (index != box->turn_index) {
        box->turn_index = index;
        box->turn_left = LETTERS_PER_TURN;
    }
    return true;
}

unsigned pc_mailbox_drain(struct pc_mailbox *box, unsigned budget, pc_letter_fn *visit, void *ctx)
{
    unsigned drained = 0;
    while (drained < budget && find_turn(box)) {
        unsigned wanted = budget - drained < box->turn_left ? budget - drained : box->turn_left;
        unsigned count = drain_sender(box, box->turn_index, wanted, visit, ctx);
        drained += count;
        /* A turn that the budget cuts goes on in the next drain: a short budget starves nobody. */
        box->turn_left -= count;
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
    /* Seq_cst for the re-check before sleep: pairs with the exchange in outbox_publish and the
     * compare-exchange in post_control. */
    if (atomic_load_explicit(&box->control, memory_order_seq_cst) != NULL) {
        return true;
    }
    for (unsigned i = 0; i < box->core_count; i++) {
        if (i != box->index && sender_has_mail(box, i, memory_order_seq_cst)) {
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
