/* SPDX-License-Identifier: Apache-2.0 */
/* world_parts: what a world and its clients share; nobody else includes it. */
#ifndef PC_TESTS_WORLD_PARTS_H
#define PC_TESTS_WORLD_PARTS_H

#include "world.h"

#include "base/random.h"
#include "fiber.h"
#include "script_kernel.h"

#include <netinet/in.h>

enum { FIBERS_MAX = 32, TIMERS_MAX = 16, TIMER_FIRES_MAX = 12 };

/* How a client leaves a connection. */
enum manner {
    MANNER_LEAVES, /* closes when it has all */
    MANNER_HALF,   /* says early that it sends no more, and reads to the end */
    MANNER_RESETS, /* breaks off somewhere */
    MANNER_IDLES,  /* stays, silent, until it is closed */
    MANNER_COUNT
};

struct client {
    struct world *world;
    unsigned index;
    struct pc_random random;
    /* The connection it has now. */
    int fd;
    struct pc_world_talk talk;
    enum manner manner;
    bool shut, over;
    unsigned slow; /* pauses once in so many reads; 0: never */
    size_t piece_max;
    uint8_t out[4096];
    size_t out_begin, out_end;
    uint64_t begun_ns;
    uint64_t moved_ns, quiet_ns_max; /* when it last sent; its longest silence */
};

/* What a fiber waits for. */
struct wait {
    struct world *world;
    pc_script_condition_fn *condition;
    void *ctx;
    uint64_t until_ns;
};

/* Armed again and again, to see that none is early. */
struct place_timer {
    struct pc_timer timer;
    struct world *world;
    uint64_t due_ns;
    unsigned fires;
};

struct world {
    const struct pc_world_config *config;
    struct script_kernel machine;
    struct pc_script *script; /* the machine's */
    struct pc_fibers *fibers;
    struct pc_runtime *runtime;
    struct pc_service service; /* the config's, with the world's timers at its places */
    uint64_t core_bytes_max;
    bool spins;            /* cores poll for letters before they sleep */
    unsigned credit_count; /* of each pair of cores */
    uint64_t idle_ns, drain_ns, stop_at_ns, stop_ns, timer_ns_max;
    struct sockaddr_in address;
    struct client *clients;
    unsigned clients_left;
    bool stopping;
    bool waits_for_answer[FIBERS_MAX];
    struct wait *waits[FIBERS_MAX];
    struct place_timer timers[TIMERS_MAX];
    int outcome;
    char trouble[256];
};

/* Say what is wrong, and end the world. */
__attribute__((noreturn)) void pc_world_fail(struct world *world, const char *trouble);

/* The fiber of one client: its connections, one after the other. */
void pc_world_client_main(void *client);

#endif
