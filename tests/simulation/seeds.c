/* SPDX-License-Identifier: Apache-2.0 */
/* seeds: a child runs a batch and leaves word of the seed it is at in a shared page. */
#include "seeds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* CPU time after which a seed is endless: a planted bug may tie a list into a ring. */
#define SEED_SECONDS_MAX 10

/* So many in one child: what leaks is seen when it exits. */
#define SEEDS_A_CHILD 500

struct shared {
    uint64_t seed;
    char trouble[256];
};

static struct shared *shared_map(void)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        abort();
    }
    return shared;
}

/* The seed that begins now has this long before SIGVTALRM ends the child. */
static void seed_clock_start(void)
{
    const struct itimerval limit = {.it_value = {.tv_sec = SEED_SECONDS_MAX}};
    if (setitimer(ITIMER_VIRTUAL, &limit, NULL) != 0) {
        abort();
    }
}

/* A child that looks for a planted bug is silent, and leaves without asking what leaked. */
__attribute__((noreturn)) static void child_run(struct shared *shared, uint64_t first,
                                                uint64_t last, pc_seed_fn *run, bool silent)
{
    if (silent && freopen("/dev/null", "w", stderr) == NULL) {
        _exit(3);
    }
    for (uint64_t seed = first; seed <= last; seed++) {
        shared->seed = seed;
        seed_clock_start();
        const char *trouble = run(seed, silent ? NULL : stderr);
        if (trouble != NULL) {
            snprintf(shared->trouble, sizeof(shared->trouble), "%s", trouble);
            _exit(1);
        }
    }
    if (silent) {
        _exit(0);
    }
    exit(0);
}

/* True if the child ended well. */
static bool batch_run(struct shared *shared, uint64_t first, uint64_t last, pc_seed_fn *run,
                      bool silent)
{
    shared->seed = 0;
    shared->trouble[0] = '\0';
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        abort();
    }
    if (child == 0) {
        child_run(shared, first, last, run, silent);
    }
    int status;
    if (waitpid(child, &status, 0) != child) {
        abort();
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return true;
    }
    if (shared->trouble[0] == '\0') {
        snprintf(shared->trouble, sizeof(shared->trouble), "stopped by %s",
                 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a sanitizer");
    }
    return false;
}

bool pc_seeds_all_well(const char *name, uint64_t count, pc_seed_fn *run)
{
    const char *only = getenv("PC_SEED");
    if (only != NULL) {
        const char *trouble = run(strtoull(only, NULL, 0), stderr);
        printf("%s, seed %s: %s\n", name, only, trouble != NULL ? trouble : "all is well");
        return trouble == NULL;
    }
    struct shared *shared = shared_map();
    bool well = true;
    for (uint64_t first = 1; first <= count && well; first += SEEDS_A_CHILD) {
        uint64_t last = first + SEEDS_A_CHILD - 1;
        well = batch_run(shared, first, last < count ? last : count, run, false);
    }
    if (well) {
        printf("%s: %" PRIu64 " seeds, all well\n", name, count);
    } else {
        printf("%s: %s; repeat it with PC_SEED=%" PRIu64 "\n", name, shared->trouble, shared->seed);
    }
    (void)munmap(shared, sizeof(*shared));
    return well;
}

uint64_t pc_seeds_find(enum pc_bug bug, const char *name, uint64_t count, pc_seed_fn *run)
{
    struct shared *shared = shared_map();
    uint64_t found = 0;
#ifdef PC_HOOKS
    pc_planted_bug = bug;
    if (!batch_run(shared, 1, count, run, true)) {
        found = shared->seed;
        printf("%s: found in seed %" PRIu64 ": %s\n", name, found, shared->trouble);
    } else {
        printf("%s: not found in %" PRIu64 " seeds\n", name, count);
    }
    pc_planted_bug = PC_BUG_NONE;
#endif
    (void)munmap(shared, sizeof(*shared));
    return found;
}
