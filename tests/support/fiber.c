/* SPDX-License-Identifier: Apache-2.0 */
/* fiber: see fiber.h. The scheduler runs on the stack of the thread that called pc_fibers_run. */
#include "fiber.h"

#include "base/check.h"
#include "base/hooks.h"
#include "base/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#define NO_TSAN __attribute__((no_sanitize_thread, noinline))
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define IGNORE_BEGIN()                                                                             \
    (AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define IGNORE_END()                                                                               \
    (AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define NO_TSAN
#define IGNORE_BEGIN() ((void)0)
#define IGNORE_END()   ((void)0)
#endif

enum { TRACE_COUNT = 64, CHANGE_POINTS_MAX = 5 };

/* A fiber that passes so many points in a row while others could run has had its share; without
 * this, a poll loop at the highest priority would never end. */
#define RUN_COUNT_MAX 2000

enum fiber_state { FIBER_READY, FIBER_WAITING, FIBER_ENDED };

struct fiber {
    const char *name;
    const char *point; /* where it left last */
    pc_fiber_fn *run;
    void *ctx;
    pc_fiber_condition_fn *condition; /* set while WAITING */
    void *condition_ctx;
    enum fiber_state state;
    bool begun;        /* its stack is in use */
    uint64_t priority; /* the higher the sooner; unique */
    void *map;
    size_t map_bytes;
    ucontext_t context;
    jmp_buf start; /* where unwinding ends */
    void *asan_stack;
    void *tsan_fiber;
};

struct trace {
    unsigned fiber_index;
    uint64_t step;
    const char *point;
};

struct pc_fibers {
    struct pc_fibers_config config;
    struct pc_random random;
    enum pc_fiber_strategy strategy;
    unsigned switch_one_in;                   /* RANDOM */
    uint64_t change_steps[CHANGE_POINTS_MAX]; /* PRIORITY: steps at which the runner drops */
    unsigned change_count;
    uint64_t priority_low; /* below all given so far */
    struct fiber *fibers;
    unsigned count;
    struct fiber *running; /* NULL: the scheduler */
    struct fiber *next;    /* chosen by the fiber that leaves */
    uint64_t step;
    uint64_t run_count; /* points the running fiber passed in a row */
    uint64_t fingerprint;
    enum pc_fibers_end end;
    bool ended, unwinding, choosing;
    const char *reason;
    struct trace trace[TRACE_COUNT];
    uint64_t trace_count;
    ucontext_t scheduler;
    void *asan_stack;
    const void *scheduler_bottom;
    size_t scheduler_bytes;
    void *tsan_fiber;
};

/* The set whose fibers PC_POINT switches: the hook is given nothing else to find it by. Other
 * threads have none, so their points pass. */
static _Thread_local struct pc_fibers *active;

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- Choosing ---- */

NO_TSAN static void end_run(struct pc_fibers *fibers, enum pc_fibers_end end, const char *reason)
{
    fibers->ended = true;
    fibers->end = end;
    fibers->reason = reason;
}

NO_TSAN static bool fiber_runnable(const struct fiber *fiber)
{
    return fiber->state == FIBER_READY ||
           (fiber->state == FIBER_WAITING && fiber->condition(fiber->condition_ctx));
}

NO_TSAN static struct fiber *choose_random(struct pc_fibers *fibers)
{
    struct fiber *chosen = NULL;
    uint64_t seen = 0;
    for (unsigned i = 0; i < fibers->count; i++) {
        struct fiber *fiber = &fibers->fibers[i];
        if (fiber_runnable(fiber) && pc_random_below(&fibers->random, ++seen) == 0) {
            chosen = fiber;
        }
    }
    return chosen;
}

NO_TSAN static struct fiber *choose_priority(struct pc_fibers *fibers)
{
    struct fiber *chosen = NULL;
    for (unsigned i = 0; i < fibers->count; i++) {
        struct fiber *fiber = &fibers->fibers[i];
        if ((chosen == NULL || fiber->priority > chosen->priority) && fiber_runnable(fiber)) {
            chosen = fiber;
        }
    }
    return chosen;
}

/* At a change point, or after its share, the running fiber goes behind all others. */
NO_TSAN static void count_step(struct pc_fibers *fibers)
{
    bool drops = ++fibers->run_count > RUN_COUNT_MAX;
    fibers->step++;
    for (unsigned i = 0; i < fibers->change_count; i++) {
        drops = drops || fibers->change_steps[i] == fibers->step;
    }
    if (drops) {
        fibers->running->priority = --fibers->priority_low;
    }
    if (fibers->step > fibers->config.step_count_max) {
        end_run(fibers, PC_FIBERS_ENDLESS, "too many steps");
    }
}

/* The fiber to go on with; NULL if none can. `must_leave`: the running one cannot. */
NO_TSAN static struct fiber *choose(struct pc_fibers *fibers, bool must_leave)
{
    /* Conditions may call code with points in it; those do not switch, and what they read is not
     * an access of whoever runs at the moment. */
    fibers->choosing = true;
    IGNORE_BEGIN();
    struct fiber *chosen;
    if (fibers->strategy == PC_FIBER_PRIORITY) {
        chosen = choose_priority(fibers);
    } else if (must_leave || fibers->run_count > RUN_COUNT_MAX ||
               pc_random_below(&fibers->random, fibers->switch_one_in) == 0) {
        chosen = choose_random(fibers);
    } else {
        chosen = fibers->running;
    }
    IGNORE_END();
    fibers->choosing = false;
    return chosen;
}

/* ---- Switching ---- */

NO_TSAN static void switch_to_scheduler(struct pc_fibers *fibers, struct fiber *from)
{
    fibers->running = NULL;
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(from->state == FIBER_ENDED ? NULL : &from->asan_stack,
                                   fibers->scheduler_bottom, fibers->scheduler_bytes);
#endif
#ifdef WITH_TSAN
    /* The last switch of a fiber orders like the join of a thread. */
    bool unordered = fibers->config.unordered && from->state != FIBER_ENDED;
    __tsan_switch_to_fiber(fibers->tsan_fiber, unordered ? __tsan_switch_to_fiber_no_sync : 0);
#endif
    swapcontext(&from->context, &fibers->scheduler);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->asan_stack, NULL, NULL);
#endif
}

NO_TSAN static void switch_to_fiber(struct pc_fibers *fibers, struct fiber *to)
{
    fibers->running = to;
    fibers->run_count = 0;
    to->state = FIBER_READY;
    if (!fibers->unwinding) {
        fibers->trace[fibers->trace_count++ % TRACE_COUNT] =
            (struct trace){.fiber_index = (unsigned)(to - fibers->fibers),
                           .step = fibers->step,
                           .point = to->point};
        fibers->fingerprint =
            (fibers->fingerprint ^ (fibers->step << 8) ^ (uint64_t)(to - fibers->fibers)) *
            0x100000001b3u;
    }
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&fibers->asan_stack, (char *)to->map + page_bytes(),
                                   to->map_bytes - page_bytes());
#endif
#ifdef WITH_TSAN
    /* The first switch to a fiber orders like the start of a thread. */
    bool unordered = fibers->config.unordered && to->begun;
    __tsan_switch_to_fiber(to->tsan_fiber, unordered ? __tsan_switch_to_fiber_no_sync : 0);
#endif
    swapcontext(&fibers->scheduler, &to->context);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(fibers->asan_stack, NULL, NULL);
#endif
}

/* Leave the running fiber for the scheduler; come back when chosen, or unwind. */
NO_TSAN static void leave(struct pc_fibers *fibers)
{
    struct fiber *self = fibers->running;
    switch_to_scheduler(fibers, self);
    if (fibers->unwinding) {
        longjmp(self->start, 1);
    }
}

NO_TSAN static void fiber_main(void)
{
    struct pc_fibers *fibers = active;
    struct fiber *self = fibers->running;
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, &fibers->scheduler_bottom, &fibers->scheduler_bytes);
#endif
    self->begun = true;
    if (setjmp(self->start) == 0) {
        self->run(self->ctx);
    }
    /* The locals above may be stale after the jump. */
    struct fiber *ended = active->running;
    ended->state = FIBER_ENDED;
    if (!active->unwinding) {
        ended->point = "its end";
    }
    active->next = NULL;
    switch_to_scheduler(active, ended);
    abort();
}

NO_TSAN static void pass_point(const char *name)
{
    struct pc_fibers *fibers = active;
    if (fibers == NULL || fibers->running == NULL || fibers->choosing) {
        return;
    }
    struct fiber *self = fibers->running;
    self->point = name;
    count_step(fibers);
    struct fiber *chosen = fibers->ended ? NULL : choose(fibers, false);
    if (chosen != self) {
        fibers->next = chosen;
        leave(fibers);
    }
}

/* ---- Public ---- */

NO_TSAN static void plan(struct pc_fibers *fibers)
{
    struct pc_random *random = &fibers->random;
    fibers->strategy = fibers->config.strategy;
    if (fibers->strategy == PC_FIBER_SEEDED) {
        fibers->strategy = pc_random_below(random, 2) == 0 ? PC_FIBER_RANDOM : PC_FIBER_PRIORITY;
    }
    fibers->switch_one_in = 1u << (1 + pc_random_below(random, 6));
    /* The length of the run is not known before it; one of these guesses is near. */
    uint64_t length = (uint64_t)1 << (4 + pc_random_below(random, 12));
    fibers->change_count = (unsigned)pc_random_below(random, CHANGE_POINTS_MAX + 1);
    for (unsigned i = 0; i < fibers->change_count; i++) {
        fibers->change_steps[i] = 1 + pc_random_below(random, length);
    }
    fibers->priority_low = (uint64_t)1 << 32;
}

struct pc_fibers *pc_fibers_create(const struct pc_fibers_config *config)
{
    struct pc_fibers *fibers = calloc(1, sizeof(*fibers));
    if (fibers == NULL) {
        return NULL;
    }
    fibers->config = *config;
    if (fibers->config.fiber_count_max == 0) {
        fibers->config.fiber_count_max = 16;
    }
    if (fibers->config.stack_bytes == 0) {
        fibers->config.stack_bytes = 256 * 1024;
    }
    if (fibers->config.step_count_max == 0) {
        fibers->config.step_count_max = 1000 * 1000;
    }
    fibers->fibers = calloc(fibers->config.fiber_count_max, sizeof(*fibers->fibers));
    if (fibers->fibers == NULL) {
        free(fibers);
        return NULL;
    }
    pc_random_init(&fibers->random, config->seed);
    fibers->fingerprint = 0xcbf29ce484222325u;
    fibers->reason = "not run";
    plan(fibers);
    return fibers;
}

unsigned pc_fiber_spawn(struct pc_fibers *fibers, const char *name, pc_fiber_fn *run, void *ctx)
{
    PC_ASSERT(fibers->count < fibers->config.fiber_count_max);
    unsigned index = fibers->count;
    struct fiber *fiber = &fibers->fibers[index];
    const size_t guard = page_bytes();
    fiber->map_bytes = (fibers->config.stack_bytes + guard - 1) / guard * guard + guard;
    fiber->map = mmap(NULL, fiber->map_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fiber->map == MAP_FAILED || mprotect(fiber->map, guard, PROT_NONE) != 0 ||
        getcontext(&fiber->context) != 0) {
        abort();
    }
    fiber->name = name;
    fiber->point = "start";
    fiber->run = run;
    fiber->ctx = ctx;
    fiber->state = FIBER_READY;
    /* The low bits make priorities unique; the high ones are above every dropped priority. */
    fiber->priority =
        ((uint64_t)1 << 33) + (pc_random_below(&fibers->random, 1u << 20) << 10) + index;
    fiber->context.uc_stack.ss_sp = (char *)fiber->map + guard;
    fiber->context.uc_stack.ss_size = fiber->map_bytes - guard;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, fiber_main, 0);
#ifdef WITH_TSAN
    fiber->tsan_fiber = __tsan_create_fiber(0);
#endif
    fibers->count++;
    return index;
}

/* No fiber can run: all ended, or the world must change, or this is a deadlock. */
static void resolve_idle(struct pc_fibers *fibers)
{
    bool waiting = false;
    for (unsigned i = 0; i < fibers->count; i++) {
        waiting = waiting || fibers->fibers[i].state != FIBER_ENDED;
    }
    if (!waiting) {
        end_run(fibers, PC_FIBERS_DONE, "all ended");
    } else if (fibers->config.stuck == NULL || !fibers->config.stuck(fibers->config.ctx)) {
        end_run(fibers, PC_FIBERS_STUCK, "all wait");
    } else if (++fibers->step > fibers->config.step_count_max) {
        end_run(fibers, PC_FIBERS_ENDLESS, "too many steps");
    }
}

/* Let every fiber that has begun jump back to its start and end, so that the sanitizers can release
 * what they keep for it. */
static void unwind(struct pc_fibers *fibers)
{
    fibers->unwinding = true;
    for (unsigned i = 0; i < fibers->count; i++) {
        struct fiber *fiber = &fibers->fibers[i];
        if (fiber->state != FIBER_ENDED && fiber->begun) {
            switch_to_fiber(fibers, fiber);
        }
    }
}

#ifdef PC_HOOKS
static bool mutex_is_free(void *mutex)
{
    const bool free = pthread_mutex_trylock(mutex) == 0;
    if (free) {
        pthread_mutex_unlock(mutex);
    }
    return free;
}

/* Nobody else runs between the moment it is seen free and the lock. */
static void pass_lock(void *mutex)
{
    if (active != NULL && active->running != NULL && !active->unwinding) {
        pc_fiber_block_until(active, mutex_is_free, mutex);
    }
}
#endif

enum pc_fibers_end pc_fibers_run(struct pc_fibers *fibers)
{
    PC_ASSERT(active == NULL);
    active = fibers;
#ifdef WITH_TSAN
    fibers->tsan_fiber = __tsan_get_current_fiber();
#endif
#ifdef PC_HOOKS
    pc_point_hook = pass_point;
    pc_locking_hook = pass_lock;
#endif
    while (!fibers->ended) {
        struct fiber *next = fibers->next;
        fibers->next = NULL;
        if (next == NULL) {
            next = choose(fibers, true);
        }
        if (next == NULL) {
            resolve_idle(fibers);
        } else {
            switch_to_fiber(fibers, next);
        }
    }
    unwind(fibers);
#ifdef PC_HOOKS
    pc_point_hook = NULL;
    pc_locking_hook = NULL;
#endif
    active = NULL;
    return fibers->end;
}

void pc_fibers_destroy(struct pc_fibers *fibers)
{
    if (fibers == NULL) {
        return;
    }
    for (unsigned i = 0; i < fibers->count; i++) {
#ifdef WITH_TSAN
        __tsan_destroy_fiber(fibers->fibers[i].tsan_fiber);
#endif
        munmap(fibers->fibers[i].map, fibers->fibers[i].map_bytes);
    }
    free(fibers->fibers);
    free(fibers);
}

NO_TSAN void pc_fiber_block_until(struct pc_fibers *fibers, pc_fiber_condition_fn *condition,
                                  void *ctx)
{
    struct fiber *self = fibers->running;
    PC_ASSERT(fibers == active && self != NULL);
    self->condition = condition;
    self->condition_ctx = ctx;
    self->state = FIBER_WAITING;
    self->point = "waits";
    count_step(fibers);
    fibers->next = NULL;
    leave(fibers);
}

void pc_fiber_point(struct pc_fibers *fibers, const char *name)
{
    PC_ASSERT(fibers == active);
    (void)fibers;
    pass_point(name);
}

NO_TSAN void pc_fibers_stop(struct pc_fibers *fibers, const char *reason)
{
    PC_ASSERT(fibers == active && fibers->running != NULL);
    end_run(fibers, PC_FIBERS_STOPPED, reason);
    fibers->running->point = "stopped the run";
    for (;;) {
        leave(fibers);
    }
}

const char *pc_fibers_reason(const struct pc_fibers *fibers)
{
    return fibers->reason;
}

NO_TSAN unsigned pc_fiber_index(const struct pc_fibers *fibers)
{
    return fibers->running == NULL ? fibers->config.fiber_count_max
                                   : (unsigned)(fibers->running - fibers->fibers);
}

uint64_t pc_fibers_steps(const struct pc_fibers *fibers)
{
    return fibers->step;
}

uint64_t pc_fibers_fingerprint(const struct pc_fibers *fibers)
{
    return fibers->fingerprint;
}

void pc_fibers_report(const struct pc_fibers *fibers, FILE *out)
{
    fprintf(out, "fibers: seed %llu, %s strategy, %s after %llu steps\n",
            (unsigned long long)fibers->config.seed,
            fibers->strategy == PC_FIBER_RANDOM ? "random" : "priority", fibers->reason,
            (unsigned long long)fibers->step);
    for (unsigned i = 0; i < fibers->count; i++) {
        fprintf(out, "  %-12s stands at: %s\n", fibers->fibers[i].name, fibers->fibers[i].point);
    }
    uint64_t first = fibers->trace_count > TRACE_COUNT ? fibers->trace_count - TRACE_COUNT : 0;
    for (uint64_t i = first; i < fibers->trace_count; i++) {
        const struct trace *trace = &fibers->trace[i % TRACE_COUNT];
        fprintf(out, "  step %6llu: %s goes on from %s\n", (unsigned long long)trace->step,
                fibers->fibers[trace->fiber_index].name, trace->point);
    }
}
