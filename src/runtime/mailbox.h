/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox: the only road from one core to another.
 *
 * A mailbox belongs to one core. It holds one incoming ring for every other core, one outbox
 * towards every other core, a list of control letters, and the flag that says whether its core
 * sleeps.
 *
 * Owner    The core named by `index`; it alone drains, and it alone uses the outboxes. Other cores
 *          meet it in three places only: a ring's slots, the control list, the sleep flag.
 * Memory   Reserved by create, which the owner core calls so that first touch places the rings on
 * its node. Letters and control letters are embedded in their objects; nothing is allocated after
 * boot. Limits   Credits: so many requests may be unanswered from one core to another. A ring has
 * room for a credit's worth of requests and of answers, so publishing an answer cannot fail.
 * Requests beyond the credits wait in the outbox; pc_mailbox_waiting counts them. Order    One
 * sender's requests arrive as posted, and so do its answers. An answer may overtake a request that
 * waits for a credit. Nothing is promised between senders. Units    Counts are letters. Cost One
 * exchange a batch; a system call only if the receiver sleeps. Source   Lamport's single-producer
 * ring (1983), with credits in place of the consumer's index: docs/decisions/0020-letters.md.
 * Proofs: tests/spin/bell.pml, tests/spin/credits.pml.
 */
#ifndef PC_RUNTIME_MAILBOX_H
#define PC_RUNTIME_MAILBOX_H

#include <percore/service.h>

#include <stdbool.h>
#include <stdint.h>

/* Unanswered requests from one core to another: 16 batches of 16, and 4 KiB of ring a pair. */
#define PC_CREDITS_MAX 256
/* From many cores the load of a pair thins out: half a batch keeps a pair busy. */
#define PC_CREDITS_MIN 8
/* Cores in one runtime; bounds the memory of rings, which grows with the square. */
#define PC_MAILBOX_CORES_MAX 1024

enum pc_letter_kind { PC_LETTER_REQUEST = 0, PC_LETTER_ANSWER = 1 };

struct pc_mailbox;
struct pc_outbox;

/* Receives one letter; it belongs to the receiver from now on. Runs on the owner, may post. */
typedef void pc_letter_fn(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                          unsigned from_index);

/* Rings the bell of core `to_index`: it slept when mail was published to it. */
typedef void pc_bell_fn(void *ctx, unsigned to_index);

/* ---- Boot ---- */

/* The credits a pair gets in a runtime of so many cores: a power of two.  Core: any. */
unsigned pc_mailbox_credits(unsigned core_count);

/* Reserve the mailbox of core `index` of `core_count`; `credits` 0 means pc_mailbox_credits, other
 * values must be powers of two and the same for every core. 0 or -ENOMEM, -EINVAL.
 * Core: owner, at boot: the memory lands on the node of the calling thread. */
int pc_mailbox_create(unsigned index, unsigned core_count, unsigned credits,
                      struct pc_mailbox **out_box);

/* Let `from` post to `to`; once per ordered pair, after both were created.  Core: boot. */
void pc_mailbox_connect(struct pc_mailbox *from, struct pc_mailbox *to);

/* After every loop has stopped; letters still inside stay their owners'. NULL is fine.  Core: boot.
 */
void pc_mailbox_destroy(struct pc_mailbox *box);

/* ---- Sending ---- */

/* The owner's outbox towards another core; the same pointer every time.  Core: owner. */
struct pc_outbox *pc_mailbox_outbox(struct pc_mailbox *box, unsigned to_index);

/* Leave a letter in the outbox. Never waits, never fails; it leaves with a flush.  Core: owner. */
void pc_outbox_post(struct pc_outbox *outbox, struct pc_letter *letter, enum pc_letter_kind kind);

/* Publish all answers, and requests while credits last, in one step; returns how many. The caller
 * then asks pc_mailbox_must_ring(pc_outbox_receiver(outbox)) if it was not zero.  Core: owner. */
unsigned pc_outbox_flush(struct pc_outbox *outbox);

/* Flush every outbox that was posted to or got a credit back, and `ring` for each receiver that
 * sleeps, once; returns how many letters left.  Core: owner, at the end of a turn. */
unsigned pc_mailbox_flush(struct pc_mailbox *box, pc_bell_fn *ring, void *ctx);

/* The mailbox an outbox leads to; for pc_mailbox_must_ring.  Core: owner of the outbox. */
struct pc_mailbox *pc_outbox_receiver(const struct pc_outbox *outbox);

/* Requests posted and not yet published; after a flush: those that wait for credits.  Core: owner.
 */
unsigned pc_outbox_waiting(const struct pc_outbox *outbox);

/* Requests that may still be published before an answer must come.  Core: owner. */
unsigned pc_outbox_credits(const struct pc_outbox *outbox);

/* Waiting requests of all outboxes: not zero after a flush means stop reading.  Core: owner. */
unsigned pc_mailbox_waiting(const struct pc_mailbox *box);

/* True when no request of this core is unanswered and nothing waits.  Core: owner. */
bool pc_mailbox_settled(const struct pc_mailbox *box);

/* Leave a control letter; it must be in no list. The caller then asks pc_mailbox_must_ring.
 * Core: any; the list is a lock-free stack that only the owner empties. */
void pc_mailbox_post_control(struct pc_mailbox *box, struct pc_control *control);

/* After publishing to `box`: true if its core sleeps and it is for the caller to ring; of several
 * callers one is told so.  Core: any. */
bool pc_mailbox_must_ring(struct pc_mailbox *box);

/* ---- Receiving ---- */

/* Hand at most `budget` letters to `visit`, each sender's oldest first, in turns over the senders;
 * returns how many. An answer's credit is back before `visit` sees it.  Core: owner. */
unsigned pc_mailbox_drain(struct pc_mailbox *box, unsigned budget, pc_letter_fn *visit, void *ctx);

/* All control letters, oldest first, linked by `next`; NULL when there is none.  Core: owner. */
struct pc_control *pc_mailbox_take_control(struct pc_mailbox *box);

/* Is there a letter or a control letter? May miss one that is just being published.  Core: owner.
 */
bool pc_mailbox_has_mail(const struct pc_mailbox *box);

/* ---- Sleeping ---- */

/* Announce sleep and look again. True: nothing was there, and whoever publishes from now on rings.
 * False: there is mail, and the announcement is withdrawn. Flush before: letters that could leave
 * must not wait for a core that sleeps.  Core: owner. */
bool pc_mailbox_prepare_sleep(struct pc_mailbox *box);

/* Withdraw the announcement after the wait, whatever ended it.  Core: owner. */
void pc_mailbox_awake(struct pc_mailbox *box);

/* ---- Looking ---- */

/* Whether the core has announced sleep; a busy core looks for a sleeper to ring.  Core: peek. */
bool pc_mailbox_sleeps(const struct pc_mailbox *box);

#endif
