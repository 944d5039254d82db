/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service: what a network service is to percore, and all it may ask for.
 *
 * A service recognises requests and answers them. It never sees a socket, a lock or a thread, and
 * the same service runs unchanged under every model: a loop per core, a thread per connection, a
 * pool.
 *
 *   lane      where code runs: a core, a pool worker, or one connection's thread. Always passed in.
 *   place     where work must run: 0 .. place_count - 1, or PC_PLACE_WORKERS.
 *   request   one reply slot, from parse until its answer is in the send queue.
 *   call      work posted to a place; lives in the request's scratch, so a post cannot fail.
 *   hold      a promise that bytes stay put until the kernel has them.
 *
 * Owner    A request, its scratch and its session belong to the connection's present lane.
 * Order    Replies leave a connection in request order, whatever order the answers came in.
 * Limits   64 open requests a connection (PC_SLOT_COUNT_MAX); input_bytes_max per request;
 *          config.reply_bytes_max of queued replies a connection.
 * Errors   Functions return 0 or a count, or a negative errno.
 * Source   docs/decisions/0040.
 */
#ifndef PERCORE_SERVICE_H
#define PERCORE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_lane;
struct pc_runtime;
struct pc_kernel;
struct pc_log;

/* Fires once, on the lane it was armed on, never early. Yours to embed; zero before first use. */
struct pc_timer {
    void (*fire)(struct pc_timer *timer, struct pc_lane *lane);
    struct pc_timer *next, **link;
    uint64_t due_ns;
};

struct pc_view {
    const uint8_t *at;
    size_t count;
};

/* DONE: one whole request, *out_bytes long.
 * MORE: at least *out_bytes are wanted before parse is asked again (0: any more).
 * BAD:  cannot be answered; earlier replies leave, then the connection closes. What is malformed
 * but delimited is DONE, and serve says so to the peer. */
enum pc_parse { PC_PARSE_DONE, PC_PARSE_MORE, PC_PARSE_BAD };

/* SERVED:  answered; the slot ends.
 * WAITING: its calls are out; later requests may start; serve runs again when all are answered.
 * AGAIN:   more to ask or to say, and later requests wait; serve runs again when its calls are
 *          answered, its body is in place, or the peer has read enough.
 * HANG_UP: earlier replies and this one leave, then the connection closes. */
enum pc_serve { PC_SERVED, PC_WAITING, PC_AGAIN, PC_HANG_UP };

enum { PC_LATER = 1, PC_PLACE_WORKERS = -1 };

/* The runtime's links through what it moves: a letter through rings, a control letter through
 * lists. */
struct pc_letter {
    struct pc_letter *next;
};

struct pc_control {
    struct pc_control *next;
    uint32_t kind;
};

/* Embedded in scratch, filled by the service, posted once; may be posted again when answered. */
struct pc_call {
    union {
        struct pc_letter letter;
        struct pc_control control;
    };                                                     /* the runtime's */
    void (*work)(struct pc_call *, struct pc_lane *there); /* once, at `place`; never the session */
    struct pc_request *request;                            /* the runtime's */
    int32_t place;
    bool answered;
};

/* Where a connection comes from. `fd` tells open connections apart; it is not to be used. */
struct pc_peer {
    int fd;
    uint16_t family; /* AF_INET, AF_INET6 or AF_UNIX; 0: not known, it was gone at once */
    uint16_t port;
    uint8_t address[16]; /* in the order of the wire; of AF_INET the first four bytes */
};

/* Why a connection ends. NORMAL: the peer closed it, or a request said HANG_UP. ERROR: the peer
 * broke it off, takes nothing, or could not be understood. */
enum pc_close { PC_CLOSE_NORMAL, PC_CLOSE_ERROR, PC_CLOSE_IDLE, PC_CLOSE_DRAIN };

struct pc_hold {
    void (*release)(struct pc_hold *, struct pc_lane *); /* last byte gone, or peer gone */
};

struct pc_request {
    struct pc_view
        input;           /* the first *out_bytes of what parse saw; stays put until the slot ends */
    uint64_t body_bytes; /* set by parse: bytes that follow input, placed by pc_request_body */
    unsigned class_index; /* set by parse: row of service.classes */
    int body_error;       /* negative errno: the peer was gone before the body was whole */
    const char *trouble;  /* set by parse with BAD: a line for the log */
    void *scratch;        /* service.request_bytes, zeroed for each request */
    void *session;        /* service.session_bytes, zeroed for each connection */
    void *app;            /* as given to pc_runtime_create */
};

/* LIGHT requests are served in batches; after a HEAVY or LEARNED one the runtime looks at the
 * clock. pure: makes no calls. */
enum pc_weight { PC_LIGHT, PC_HEAVY, PC_LEARNED };

struct pc_class {
    const char *name;
    enum pc_weight weight;
    bool pure;
};

struct pc_service {
    const char *name;
    size_t request_bytes, session_bytes, input_bytes_max;
    const struct pc_class *classes;
    unsigned class_count;
    bool uses_workers;      /* it posts to PC_PLACE_WORKERS */
    struct pc_view refusal; /* said to a peer beyond the connection cap, before the close */

    /* Recognise the request at the start of `in`. Writes scratch; may write the session only when
     * it returns DONE. Runs again with more bytes after MORE; later requests are parsed before
     * earlier ones are served, so it reads nothing in the session that serve writes. */
    enum pc_parse (*parse)(struct pc_request *, struct pc_view in, size_t *out_bytes);
    /* Answer it. Runs again after WAITING and AGAIN, always to its end, peer or no peer. */
    enum pc_serve (*serve)(struct pc_request *, struct pc_lane *);

    /* Each may be NULL. */
    /* A connection begins: before its first request is parsed. */
    void (*opened)(void *app, void *session, const struct pc_peer *, struct pc_lane *);
    /* Its descriptor goes now, once for each opened. Open requests still run to their end. */
    void (*shut)(void *app, void *session, enum pc_close why, struct pc_lane *);
    void (*closed)(void *session); /* the last of its requests has ended */
    int (*place_open)(void *app, int32_t place, struct pc_lane *);   /* boot, on its owner */
    bool (*place_step)(void *app, int32_t place, struct pc_lane *);  /* upkeep; true: more to do */
    void (*place_close)(void *app, int32_t place, struct pc_lane *); /* boot, after all stopped */
};

/* Zero means: the default. */
struct pc_config {
    const char *const *listen; /* `host:port`, `[::]:port`, `unix:/path`; at least one */
    unsigned listen_count;
    const char *model;     /* a row of presets.def; NULL: per-core */
    const char *poller;    /* NULL: the best that passes its self-test */
    unsigned core_count;   /* 0: one per allowed CPU */
    int affinity;          /* 0: pin unless under a CPU quota; 1: pin; -1: do not */
    unsigned worker_count; /* 0: as many as the model wants */
    unsigned place_count;  /* places belong to core (place mod core_count) */
    bool places_shared;    /* places may be used on any lane: a call to one is done at once */
    bool places_lent;      /* a core's places may be borrowed while it is elsewhere */
    bool accept_by_hash;   /* keep a connection where the kernel's hash put it */
    unsigned connection_count_max; /* 0: 1024 */
    unsigned backlog_count;        /* 0: 1024 */
    unsigned unix_mode;            /* permissions of a unix socket; 0: 0700 */
    uint64_t reply_bytes_max;      /* queued replies a connection; 0: 64 MiB */
    uint64_t core_bytes_max;       /* buffers a core, beyond which it reads no more; 0: 256 MiB */
    uint64_t idle_ns;              /* close a silent connection after; 0: never */
    uint64_t send_ns;              /* close a peer that reads nothing after; 0: 60 s */
    uint64_t drain_ns;             /* cut what a drain has not ended after; 0: 10 s */
    bool signals_declined;         /* the application handles SIGINT, SIGTERM and the rest itself */
    uint64_t seed;                 /* hash and tie seeds; 0: from the kernel */
    void (*emit)(void *ctx, const char *line); /* gets what SIGUSR2 asked for, line by line */
    void *emit_ctx;
    const struct pc_kernel *kernel; /* NULL: Linux */
    struct pc_log *log;             /* NULL: silent */
};

/* What was chosen, for the start lines. Strings live as long as the runtime. */
struct pc_choice {
    const char *model, *poller, *poller_why, *cores;
    unsigned core_count, worker_count;
};

/* Core: boot. On failure *out is untouched and `trouble` (may be NULL) has a line for a person.
 * Unless the config declines, SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 are blocked from now on, here
 * and in all threads started later, until the runtime is destroyed: run takes them. */
int pc_runtime_create(const struct pc_config *, const struct pc_service *, void *app,
                      struct pc_runtime **out, char *trouble, size_t trouble_bytes);
/* Waits until stopped and drained. Returns how many connections were cut, or a negative errno.
 * Takes SIGINT, SIGTERM and SIGUSR1 (drain; twice: cut) and SIGUSR2 (print counters) by signalfd
 * unless the config declines. */
int pc_runtime_run(struct pc_runtime *);
/* Begin a drain. Core: any, signal-safe. */
void pc_runtime_stop(struct pc_runtime *);
/* Core: boot. NULL is allowed. */
void pc_runtime_destroy(struct pc_runtime *);

/* Core: any. */
void pc_runtime_choice(const struct pc_runtime *, struct pc_choice *out);
/* The address listener `index` was given, as text; NULL past the last.  Core: any. */
const char *pc_runtime_address(const struct pc_runtime *, unsigned index);
/* A counter's sum over all lanes by its name in counters.def; 0 for a name unknown.  Core: peek. */
uint64_t pc_runtime_counter(const struct pc_runtime *, const char *name);
/* Nanoseconds since 1970, for lines that people read.  Core: any. */
uint64_t pc_runtime_realtime_ns(const struct pc_runtime *);
/* As pc_lane_second.  Core: any. */
uint32_t pc_runtime_second(const struct pc_runtime *);
/* Connections open now, all cores; and on one core.  Core: peek. */
unsigned pc_runtime_connections(const struct pc_runtime *);
unsigned pc_runtime_connections_on(const struct pc_runtime *, unsigned core_index);

/* Replies. Lane: the request's. The first open request writes straight to the send queue.
 * copy and share: -ENOMEM over the reply cap (looked at when a block is full): then return
 * PC_HANG_UP.
 * reserve: `count_max` contiguous bytes (PC_RESERVE_BYTES_MAX at most), which stay put until the
 * commit, also while calls are out; NULL over the cap. One reservation at a time.
 * share: the bytes themselves are sent; `hold` is released when the kernel has the last one. */
enum { PC_RESERVE_BYTES_MAX = 16000 };
int pc_reply_copy(struct pc_request *, const void *bytes, size_t count);
/* The peer has so much to read that a long reply should wait: AGAIN comes back when it has read. */
bool pc_reply_crowded(const struct pc_request *);
void *pc_reply_reserve(struct pc_request *, size_t count_max);
void pc_reply_commit(struct pc_request *, size_t count);
int pc_reply_share(struct pc_request *, struct pc_view, struct pc_hold *);

/* Post `call` to its place. 0: done at once. PC_LATER: return WAITING or AGAIN; serve runs again
 * when all calls of the request are answered. */
int pc_call_post(struct pc_request *, struct pc_call *);
/* No call of this connection to that place is unanswered. */
bool pc_request_settled(const struct pc_request *, int32_t place);
/* The calls that the request has out use this place too: it is not settled before they are
 * answered. */
void pc_request_concerns(struct pc_request *, int32_t place);

/* Without a call. at_hand: this lane may be at the place now, and until it returns to the runtime:
 * it is the place's core, and nobody has borrowed the place.
 * borrow: the place's core sleeps or is busy elsewhere, nobody else has the place, and the request
 * may go there out of turn: no call of its connection to that place is unanswered. Until give_back
 * it is this lane's; do one thing there, and neither wait nor post. Where places are not lent,
 * always false. */
bool pc_place_at_hand(const struct pc_lane *, int32_t place);
bool pc_place_borrow(const struct pc_request *, int32_t place);
void pc_place_give_back(const struct pc_request *, int32_t place);

/* Put the next `count` bytes of the body at `into` (NULL: swallow them), then return PC_AGAIN;
 * serve runs again with the bytes in place, or with body_error set. Whole body: until body_bytes is
 * 0. */
void pc_request_body(struct pc_request *, void *into, size_t count);

/* Then return PC_AGAIN: serve runs again when `ns` have passed, 0 for the next turn, and others
 * have had theirs; at once when the peer has sent its last byte or is gone. What the peer sends
 * meanwhile waits. */
void pc_request_pause(struct pc_request *, uint64_t ns);
/* Once, of a request without a body: no later one will be served, and what the peer sends is thrown
 * away. It ends with PC_HANG_UP. */
void pc_request_ignore_rest(struct pc_request *);
/* Nobody waits for more of this reply: the peer has sent its last byte, or a drain has begun. */
bool pc_request_over(const struct pc_request *);
/* Nobody can read it: the peer is gone. */
bool pc_request_gone(const struct pc_request *);

/* A block of at least `bytes` (PC_RESERVE_BYTES_MAX at most) for a request that outgrows its
 * scratch, not zeroed; freed with the slot. NULL: no memory. One a request: asking again gives the
 * same. */
void *pc_request_extra(struct pc_request *, size_t bytes);

/* Lane: this one. A timer armed in place_open fires on that place's lane; it may be disarmed there
 * (place_step, or when it fires), and in place_close, when all timers of all lanes have been. */
void pc_timer_arm(struct pc_timer *, struct pc_lane *, uint64_t delay_ns);
void pc_timer_disarm(struct pc_timer *);

unsigned pc_lane_index(const struct pc_lane *);
struct pc_runtime *pc_lane_runtime(const struct pc_lane *);
/* The turn's clock, nanoseconds, monotonic. */
uint64_t pc_lane_now_ns(const struct pc_lane *);
/* The one clock for expiry: seconds since the runtime was created, plus one; never goes back. */
uint32_t pc_lane_second(const struct pc_lane *);
/* CPU time this lane's thread has used. */
uint64_t pc_lane_cpu_ns(const struct pc_lane *);
/* Seconds since 1970. */
uint64_t pc_lane_realtime_s(const struct pc_lane *);

#endif
