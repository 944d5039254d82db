/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits: every bound of the runtime, with the reason for its size.
 */
#ifndef PC_RUNTIME_LIMITS_H
#define PC_RUNTIME_LIMITS_H

/* Open requests a connection; a bit each would fit one word. */
#define PC_SLOT_COUNT_MAX 64
/* Requests parsed before the first of them is served: enough to hide a cache miss, few enough to
 * stay in the first-level cache. */
#define PC_PARSE_BATCH 16
/* Light requests served between two looks at the clock. */
#define PC_CLOCK_BATCH 64
/* One turn of one connection: bytes received, then the others have theirs. */
#define PC_RUN_BYTES_MAX (128 * 1024)
/* One turn of one connection: time, looked at between requests. */
#define PC_RUN_NS_MAX 250000
/* Queued reply bytes above which a connection is not read, and below which it is again. */
#define PC_REPLY_BYTES_HIGH (256 * 1024)
#define PC_REPLY_BYTES_LOW  (64 * 1024)
/* Read and kept behind a request that pauses. */
#define PC_PAUSE_INPUT_BYTES_MAX 4096
/* Pieces of one sendmsg: the kernel copies the vector, more does not pay. */
#define PC_SEND_PIECES_MAX 64
/* Completions taken from the kernel in one wait. */
#define PC_READY_COUNT_MAX 256
/* Letters visited in one turn. */
#define PC_LETTER_BUDGET 1024
/* Letters that are posted without waiting for the end of the turn. */
#define PC_POST_BATCH 16
/* Connections accepted in one turn of one listener. */
#define PC_ACCEPT_BUDGET 64
/* A listener out of descriptors looks again after this time, or when a connection closes. */
#define PC_ACCEPT_PAUSE_NS 100000000u
/* The longest a core polls before it sleeps: a wake-up costs 6 to 8 us, polling longer than it
 * saves is waste. */
#define PC_SPIN_NS_MAX 8000
#define PC_SPIN_NS_MIN 500
/* A connection we end is kept so long for the peer to read what was said: closing at once with
 * bytes unread would reset it. */
#define PC_LINGER_NS 1000000000u
/* Places are upheld this often while a core is awake; and a sleeper wakes for it this often. */
#define PC_STEP_BUSY_NS 1000000u
#define PC_STEP_IDLE_NS 1000000000u
/* Turns of light work alone are timed one in so many. */
#define PC_TURN_SAMPLE_EVERY 8
/* A turn longer than this is a stall: everybody else on the core has waited. */
#define PC_STALL_NS 25000000u
/* One piece of an over-long send: other connections wait while the kernel copies. */
#define PC_SEND_BYTES_MAX (256 * 1024)

#endif
