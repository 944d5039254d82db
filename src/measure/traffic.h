/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic: the stream of requests a run consists of: operation, key, version, life, connection.
 *
 * Owner    One thread draws from one source; a run has a source per thread.
 * Order    A source is a pure function of config, seed and the intended times given to it: the same
 *          seed gives the same stream to every server, and `hash` shows it.
 * Limits   The hash covers the first PC_TRAFFIC_HASHED requests of a source: a closed loop, whose
 *          length depends on the server, can be compared too.
 * Units    Nanoseconds since the start of the run, seconds for lives, bytes for sizes.
 */
#ifndef PC_MEASURE_TRAFFIC_H
#define PC_MEASURE_TRAFFIC_H

#include "base/random.h"
#include "measure/arrivals.h"
#include "measure/popularity.h"
#include "measure/sizes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_operation {
#define PC_OPERATION(name, text, writes, help) PC_OPERATION_##name,
#include "measure/operations.def"
#undef PC_OPERATION
    PC_OPERATION_COUNT,
};

/* Row: enumerator, name, what it is. */
/* clang-format off */
#define PC_WEIGHTS_KINDS(row)                                                                      \
    row(PC_WEIGHTS_EQUAL, "equal", "every connection alike")                                       \
    row(PC_WEIGHTS_ZIPF,  "zipf",  "connection k with weight 1 / k")                               \
    row(PC_WEIGHTS_TENTH, "10-90", "a tenth of the connections carries nine tenths")
/* clang-format on */

enum pc_weights_kind {
#define PC_WEIGHTS_ENUM(name, text, help) name,
    PC_WEIGHTS_KINDS(PC_WEIGHTS_ENUM)
#undef PC_WEIGHTS_ENUM
        PC_WEIGHTS_KIND_COUNT,
};

/* Row: enumerator, name, law of the time a frame asks the server to work; the mean is apart. */
/* clang-format off */
#define PC_SERVICE_LAWS(row)                                                                       \
    row(PC_SERVICE_FIXED,       "fixed",    "always the mean")                                     \
    row(PC_SERVICE_EXPONENTIAL, "exp",      "exponential")                                         \
    row(PC_SERVICE_B90,         "b90",      "90 % at 0.5, 10 % at 5.5 means")                      \
    row(PC_SERVICE_B999,        "b999",     "99.9 % at 0.5, 0.1 % at 500.5 means")                 \
    row(PC_SERVICE_SHINJUKU,    "shinjuku", "99.5 % short, 0.5 % a thousand times as long")        \
    row(PC_SERVICE_LN1,         "ln1",      "lognormal, sigma 1")                                  \
    row(PC_SERVICE_LN2,         "ln2",      "lognormal, sigma 2")
/* clang-format on */

enum pc_service_law {
#define PC_SERVICE_ENUM(name, text, help) name,
    PC_SERVICE_LAWS(PC_SERVICE_ENUM)
#undef PC_SERVICE_ENUM
        PC_SERVICE_LAW_COUNT,
};

enum {
    PC_TRAFFIC_LIVES_MAX = 4,  /* as many as the richest preset has */
    PC_TRAFFIC_HASHED = 10000, /* a second of a modest rate: enough to tell two streams apart */
    PC_TRAFFIC_MULTI_GET_MAX = 1024, /* keys in one request */
    PC_TRAFFIC_DECILES = 10,
};

struct pc_life {
    uint32_t seconds; /* 0: for ever */
    double share;
};

struct pc_traffic_config {
    double mix[PC_OPERATION_COUNT]; /* any positive sum */
    unsigned multi_get_count;
    struct pc_popularity_config popularity;
    struct pc_sizes key_sizes, value_sizes;
    struct pc_life lives[PC_TRAFFIC_LIVES_MAX]; /* shares that are all 0: the first, always */
    double miss_share;                          /* of reads: keys nobody writes */
    double one_time_share;                      /* of all: keys used this once */
    bool counters;                              /* every key is a counter: to fill them */
    enum pc_service_law service_law;
    double service_ns_mean; /* 0: the frame carries no work */
    enum pc_weights_kind weights;
    unsigned connection_count;
    bool closed; /* when and on which connection is up to the server: neither is hashed */
    uint64_t seed;
};

/* One request as planned. */
struct pc_planned {
    uint64_t intended_ns;
    uint64_t key;       /* frames: the number of the request */
    uint64_t more_seed; /* multi-get: seed of the other keys; frames: nanoseconds of work */
    uint32_t version;   /* writes: which value */
    uint32_t life_s;
    uint32_t connection; /* index among those of this source */
    uint16_t key_count;  /* multi-get: keys asked for */
    uint8_t operation;
    uint8_t decile; /* of the key's rank, 0 the most popular */
};

struct pc_traffic; /* a source */

/* Source `source_index` of `source_count`. It serves those connections whose index in the run is
 * source_index modulo source_count. NULL: no memory. */
struct pc_traffic *pc_traffic_create(const struct pc_traffic_config *config, unsigned source_index,
                                     unsigned source_count);
void pc_traffic_destroy(struct pc_traffic *traffic);

/* Plan the next request, meant for `intended_ns`.  Core: owner. */
void pc_traffic_next(struct pc_traffic *traffic, uint64_t intended_ns,
                     struct pc_planned *out_planned);

/* Walk the keys of a multi-get after the first: the same ones at every walk of one request. */
void pc_traffic_more_begin(const struct pc_traffic *traffic, const struct pc_planned *planned,
                           struct pc_popularity *out_walk);
uint64_t pc_traffic_more_next(struct pc_popularity *walk, const struct pc_planned *planned);

/* How many connections this source serves, and which part of all requests it makes. */
unsigned pc_traffic_connection_count(const struct pc_traffic *traffic);
double pc_traffic_share(const struct pc_traffic *traffic);

/* Class of a connection: 0 heavy, 1 light; with equal weights all are 0. */
unsigned pc_traffic_connection_class(const struct pc_traffic *traffic, unsigned connection);

/* Where source `index` of `count` begins in a walk of `total` ranks; that of the next is its end.
 */
static inline uint64_t pc_traffic_walk_begin(uint64_t total, unsigned index, unsigned count)
{
    return total / count * index + total % count * index / count;
}

/* Hash of the first PC_TRAFFIC_HASHED requests so far, and how many those were. */
uint64_t pc_traffic_hash(const struct pc_traffic *traffic);
uint64_t pc_traffic_hashed_count(const struct pc_traffic *traffic);

/* Nanoseconds of work drawn from `law`. */
uint64_t pc_service_draw(enum pc_service_law law, double mean_ns, struct pc_random *random);

const char *pc_operation_name(enum pc_operation operation);
int pc_operation_find(const char *name, size_t name_bytes, enum pc_operation *out_operation);
bool pc_operation_writes(enum pc_operation operation);
const char *pc_weights_kind_name(enum pc_weights_kind kind);
int pc_weights_kind_find(const char *name, enum pc_weights_kind *out_kind);
const char *pc_service_law_name(enum pc_service_law law);

/* Read "get=0.9,set=0.1" into `mix`; operations not named get 0. -EINVAL: not that. */
int pc_traffic_mix_parse(const char *text, double mix[PC_OPERATION_COUNT]);

#endif
