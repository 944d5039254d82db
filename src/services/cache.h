/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache: memcached's commands on the slices of an owners table.
 *
 * Owner    The program that made it; the runtime runs it as a service on every lane.
 * Memory   Values live in the slices; up to 512 bytes of one are copied by its owner into the
 * asker's reply, up to 4 KiB on the owner's own lane; longer ones are sent where they lie, held.
 * Limits   value_bytes_max a value; 64 keys a window of a get.
 * Order    Per connection and key, effects in order. flush_all and stats are barriers within their
 *          connection; across keys, pipelined requests are concurrent.
 */
#ifndef PC_SERVICES_CACHE_H
#define PC_SERVICES_CACHE_H

#include <percore/service.h>

struct pc_cache;
struct pc_cache_auth;
struct pc_owners;

/* What `version` says. Clients choose what they may ask for by it, so it names the memcached whose
 * behaviour this is; and nothing else: npm's memcached wants it to end after the third number. */
#define PC_CACHE_VERSION "1.6.45"

/* What memcached's tools set and read back; percore's eviction and upkeep have nothing to tune.
 * Factors and ratios in hundredths. */
struct pc_cache_tuning {
    uint32_t hot_percent, warm_percent, hot_factor, warm_factor;
    uint32_t segmented, temporary, temporary_ttl;
    uint32_t crawler, crawler_sleep_us, crawler_tocrawl;
    uint32_t automove, automove_ratio, automove_window;
};

/* As memcached has them unless told otherwise. */
extern const struct pc_cache_tuning pc_cache_tuning_default;

struct pc_cache_settings {
    struct pc_owners *owners;      /* kept; outlives the cache */
    bool lends;                    /* for stats settings */
    bool shutdown_allowed;         /* -A */
    bool flush_refused;            /* -F */
    bool keeps_all;                /* -M, for stats settings */
    const char *huge_pages;        /* for stats settings; NULL: auto */
    bool dump_refused;             /* -X */
    bool watch_refused;            /* -W */
    struct pc_cache_auth *auth;    /* -Y; NULL: everybody is let in. Kept, outlives the cache */
    uint64_t limit_bytes;          /* -m */
    uint64_t others_bytes;         /* of it, for what is not the store's; a quarter at most */
    uint64_t value_bytes_max;      /* -I */
    unsigned connection_count_max; /* -c, for stats */
    unsigned backlog_count;        /* -b, for stats */
    unsigned unix_mode;            /* -a, for stats */
    unsigned idle_seconds;         /* for stats; 0: never */
    unsigned port;                 /* for stats settings; 0: none */
    const char *interface;         /* for stats settings; NULL: all */
    const char *socket_path;       /* for stats settings; NULL: none */
    unsigned verbosity;            /* -v */
    const struct pc_cache_tuning *tuning; /* -o; NULL: the default. Not kept */
};

/* The part of a limit that is left for items and their index. */
static inline uint64_t pc_cache_store_bytes(uint64_t limit_bytes, uint64_t others_bytes)
{
    return limit_bytes - (others_bytes < limit_bytes / 4 ? others_bytes : limit_bytes / 4);
}

/* Read who is let in: lines of user:password. -EINVAL: it is not that, or over 64 KiB; or what the
 * system says.  Core: boot. */
int pc_cache_auth_open(const char *path, struct pc_cache_auth **out_auth);

/* NULL is allowed.  Core: boot. */
void pc_cache_auth_close(struct pc_cache_auth *auth);

/* -ENOMEM.  Core: boot. */
int pc_cache_create(const struct pc_cache_settings *settings, struct pc_cache **out_cache);

/* After the runtime that ran it is gone; NULL is allowed.  Core: boot. */
void pc_cache_destroy(struct pc_cache *cache);

/* What to give to pc_runtime_create, with the cache as its app. */
extern const struct pc_service pc_cache_service;

#endif
