/* SPDX-License-Identifier: Apache-2.0 */
/*
 * letters: what a message from core to core costs, beside a mutex and a condition variable.
 *
 * Two threads, pinned to two CPUs, call each other in three ways, over three roads, in turns within
 * one run:
 *
 *   stream   calls in batches of 16, up to 128 unanswered; time per letter (a call is two)
 *   awake    one call at a time, both sides poll; time from post to answer
 *   asleep   one call at a time, the callee sleeps (eventfd, condition variable); the same
 *
 *   mailbox  what percore does
 *   mutex    a queue with a mutex and a condition variable, locked once a batch
 *   bare     two rings of pointers and nothing else: no kinds, no credits, no fairness, no bell.
 *            What it takes is what this machine takes to move the lines: a floor
 *   pointers the same, and nobody looks at the letters
 *
 * Else both sides read and write every letter, which is a cache line. A sample of stream and awake
 * is the lower quartile of 201 short stretches, of asleep the median of 301 calls. `empty` is a
 * drain that finds nothing, with so many cores.
 *
 * usage: letters [SAMPLES [CPU CPU]]      prints one JSON line; medians and quartiles over samples
 */
#include "base/check.h"
#include "runtime/mailbox.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 16,
    WINDOW = 128, /* unanswered calls in a stream */
    LETTERS = 256,
    STRETCHES = 201,
    STREAM_CALLS = 2048, /* in one stretch */
    AWAKE_CALLS = 256,
    ASLEEP_CALLS = 301,
    SAMPLES_MAX = 1001,
};

/* Long enough for a thread that announced sleep to be off its CPU. */
#define SETTLE_NS 60000

/* As large as a small call; one line, so that the cost of moving it is in the figure. */
struct message {
    alignas(PC_CACHE_LINE) struct pc_letter letter;
    uint64_t number, answer;
};

/* ---- The queue it is compared with ---- */

struct queue {
    alignas(PC_CACHE_LINE) pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct pc_letter *first, **last;
    _Atomic bool waiting;
};

/* ---- The floor ---- */

struct bare {
    alignas(PC_CACHE_LINE) _Atomic unsigned tail;
    alignas(PC_CACHE_LINE) struct message *slots[LETTERS];
};

struct bench {
    /* Written before the callee starts, but for `stop`, which is written once more. */
    int cpus[2];
    int bell;                    /* the callee's */
    struct pc_mailbox *boxes[2]; /* 0: the caller's, 1: the callee's */
    bool callee_sleeps, untouched;
    _Atomic bool stop;
    /* The caller's. */
    alignas(PC_CACHE_LINE) unsigned posted;
    unsigned answered, bare_head;
    /* Of both. */
    alignas(PC_CACHE_LINE) struct queue queues[2];
    struct bare bares[2];
    struct message messages[LETTERS];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what, int error)
{
    fprintf(stderr, "letters: %s: %s\n", what, strerror(error));
    exit(1);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    if (error != 0) {
        die("cannot pin to the CPU", error);
    }
}

/* On its CPU from the first instruction: the caller does not leave its own, so a thread that began
 * there would wait for a time slice. */
static pthread_t thread_start(int cpu, void *(*run)(void *ctx), void *ctx)
{
    pthread_t thread;
    pthread_attr_t attributes;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_attr_init(&attributes);
    int error = pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
    if (error != 0) {
        die("cannot choose the CPU of a thread", error);
    }
    error = pthread_create(&thread, &attributes, run, ctx);
    if (error != 0) {
        die("cannot start a thread", error);
    }
    pthread_attr_destroy(&attributes);
    return thread;
}

static void queue_init(struct queue *queue)
{
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->filled, NULL);
    queue->first = NULL;
    queue->last = &queue->first;
}

/* Append the chain from `first` to the letter whose `next` is `*last`. */
static void queue_push(struct queue *queue, struct pc_letter *first, struct pc_letter **last)
{
    pthread_mutex_lock(&queue->mutex);
    *queue->last = first;
    queue->last = last;
    if (atomic_load_explicit(&queue->waiting, memory_order_relaxed)) {
        pthread_cond_signal(&queue->filled);
    }
    pthread_mutex_unlock(&queue->mutex);
}

/* All there is; with `sleep`, at least one unless `stop` is set. */
static struct pc_letter *queue_take(struct queue *queue, bool sleep, const _Atomic bool *stop)
{
    pthread_mutex_lock(&queue->mutex);
    while (sleep && queue->first == NULL && !atomic_load(stop)) {
        atomic_store_explicit(&queue->waiting, true, memory_order_release);
        pthread_cond_wait(&queue->filled, &queue->mutex);
        atomic_store_explicit(&queue->waiting, false, memory_order_relaxed);
    }
    struct pc_letter *first = queue->first;
    queue->first = NULL;
    queue->last = &queue->first;
    pthread_mutex_unlock(&queue->mutex);
    return first;
}

/* ---- Both sides over mailboxes ---- */

static void ring(void *ctx, unsigned to_index)
{
    struct bench *bench = ctx;
    if (to_index == 1 && eventfd_write(bench->bell, 1) != 0) {
        die("cannot ring", errno);
    }
}

static void serve(const struct bench *bench, struct message *message)
{
    if (!bench->untouched) {
        message->answer = message->number + 1;
    }
}

static void check(struct bench *bench, const struct message *message)
{
    bench->answered++;
    if (!bench->untouched && message->answer != bench->answered) {
        die("an answer is wrong", EPROTO);
    }
}

static void callee_visit(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                         unsigned from_index)
{
    struct bench *bench = ctx;
    (void)kind;
    serve(bench, PC_CONTAINER_OF(letter, struct message, letter));
    pc_outbox_post(pc_mailbox_outbox(bench->boxes[1], from_index), letter, PC_LETTER_ANSWER);
}

static void caller_visit(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                         unsigned from_index)
{
    (void)kind;
    (void)from_index;
    check(ctx, PC_CONTAINER_OF(letter, struct message, letter));
}

static void *mailbox_callee(void *ctx)
{
    struct bench *bench = ctx;
    while (!atomic_load_explicit(&bench->stop, memory_order_relaxed)) {
        if (pc_mailbox_drain(bench->boxes[1], WINDOW, callee_visit, bench) != 0) {
            pc_mailbox_flush(bench->boxes[1], ring, bench);
        } else if (bench->callee_sleeps && pc_mailbox_prepare_sleep(bench->boxes[1])) {
            eventfd_t count;
            (void)eventfd_read(bench->bell, &count); /* interrupted: looks again */
            pc_mailbox_awake(bench->boxes[1]);
        } else {
            relax();
        }
    }
    return NULL;
}

static struct message *next_message(struct bench *bench)
{
    struct message *message = &bench->messages[bench->posted % LETTERS];
    if (!bench->untouched) {
        message->number = bench->posted;
    }
    bench->posted++;
    return message;
}

static void mailbox_stream(struct bench *bench, unsigned call_count)
{
    struct pc_outbox *outbox = pc_mailbox_outbox(bench->boxes[0], 1);
    while (bench->answered < call_count) {
        if (bench->posted < call_count && bench->posted - bench->answered <= WINDOW - BATCH) {
            for (unsigned i = 0; i < BATCH; i++) {
                pc_outbox_post(outbox, &next_message(bench)->letter, PC_LETTER_REQUEST);
            }
            pc_mailbox_flush(bench->boxes[0], ring, bench);
        }
        if (pc_mailbox_drain(bench->boxes[0], WINDOW, caller_visit, bench) == 0) {
            relax();
        }
    }
}

static void mailbox_call(struct bench *bench)
{
    struct pc_outbox *outbox = pc_mailbox_outbox(bench->boxes[0], 1);
    pc_outbox_post(outbox, &next_message(bench)->letter, PC_LETTER_REQUEST);
    pc_mailbox_flush(bench->boxes[0], ring, bench);
    while (pc_mailbox_drain(bench->boxes[0], 1, caller_visit, bench) == 0) {
        relax();
    }
}

static bool mailbox_callee_sleeps(struct bench *bench)
{
    return pc_mailbox_sleeps(bench->boxes[1]);
}

static void mailbox_wake(struct bench *bench)
{
    ring(bench, 1);
}

/* ---- Both sides over mutexes ---- */

static void *mutex_callee(void *ctx)
{
    struct bench *bench = ctx;
    while (!atomic_load_explicit(&bench->stop, memory_order_relaxed)) {
        struct pc_letter *first = queue_take(&bench->queues[1], bench->callee_sleeps, &bench->stop);
        if (first == NULL) {
            relax();
            continue;
        }
        struct pc_letter *letter = first;
        for (;; letter = letter->next) {
            serve(bench, PC_CONTAINER_OF(letter, struct message, letter));
            if (letter->next == NULL) {
                break;
            }
        }
        queue_push(&bench->queues[0], first, &letter->next);
    }
    return NULL;
}

static unsigned mutex_take_answers(struct bench *bench)
{
    unsigned count = 0;
    struct pc_letter *letter = queue_take(&bench->queues[0], false, &bench->stop);
    for (; letter != NULL; count++) {
        struct pc_letter *next = letter->next;
        check(bench, PC_CONTAINER_OF(letter, struct message, letter));
        letter = next;
    }
    return count;
}

static void mutex_post(struct bench *bench, unsigned count)
{
    struct pc_letter *first = NULL, **last = &first;
    for (unsigned i = 0; i < count; i++) {
        struct pc_letter *letter = &next_message(bench)->letter;
        letter->next = NULL;
        *last = letter;
        last = &letter->next;
    }
    queue_push(&bench->queues[1], first, last);
}

static void mutex_stream(struct bench *bench, unsigned call_count)
{
    while (bench->answered < call_count) {
        if (bench->posted < call_count && bench->posted - bench->answered <= WINDOW - BATCH) {
            mutex_post(bench, BATCH);
        }
        if (mutex_take_answers(bench) == 0) {
            relax();
        }
    }
}

static void mutex_call(struct bench *bench)
{
    mutex_post(bench, 1);
    while (mutex_take_answers(bench) == 0) {
        relax();
    }
}

static bool mutex_callee_sleeps(struct bench *bench)
{
    return atomic_load_explicit(&bench->queues[1].waiting, memory_order_acquire);
}

static void mutex_wake(struct bench *bench)
{
    pthread_mutex_lock(&bench->queues[1].mutex);
    pthread_cond_signal(&bench->queues[1].filled);
    pthread_mutex_unlock(&bench->queues[1].mutex);
}

/* ---- Both sides over bare rings ---- */

/* What was published since `head`; the caller's window keeps the ring from overflowing. */
static unsigned bare_ready(const struct bench *bench, const struct bare *bare, unsigned head)
{
    unsigned tail = atomic_load_explicit(&bare->tail, memory_order_acquire);
    for (unsigned i = head; i != tail && !bench->untouched; i++) {
#if defined(__x86_64__)
        __asm__ volatile("prefetchw %0" : : "m"(*bare->slots[i % LETTERS]));
#else
        __builtin_prefetch(bare->slots[i % LETTERS], 1);
#endif
    }
    return tail;
}

static void *bare_callee(void *ctx)
{
    struct bench *bench = ctx;
    struct bare *from = &bench->bares[1], *to = &bench->bares[0];
    unsigned head = atomic_load_explicit(&to->tail, memory_order_relaxed);
    while (!atomic_load_explicit(&bench->stop, memory_order_relaxed)) {
        unsigned tail = bare_ready(bench, from, head);
        if (tail == head) {
            relax();
            continue;
        }
        for (; head != tail; head++) {
            serve(bench, from->slots[head % LETTERS]);
            to->slots[head % LETTERS] = from->slots[head % LETTERS];
        }
        atomic_exchange_explicit(&to->tail, head, memory_order_seq_cst);
    }
    return NULL;
}

static void bare_post(struct bench *bench, unsigned count)
{
    struct bare *to = &bench->bares[1];
    unsigned tail = atomic_load_explicit(&to->tail, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        to->slots[tail++ % LETTERS] = next_message(bench);
    }
    atomic_exchange_explicit(&to->tail, tail, memory_order_seq_cst);
}

static unsigned bare_take_answers(struct bench *bench)
{
    struct bare *from = &bench->bares[0];
    unsigned tail = bare_ready(bench, from, bench->bare_head);
    unsigned count = tail - bench->bare_head;
    for (; bench->bare_head != tail; bench->bare_head++) {
        check(bench, from->slots[bench->bare_head % LETTERS]);
    }
    return count;
}

static void bare_stream(struct bench *bench, unsigned call_count)
{
    while (bench->answered < call_count) {
        if (bench->posted < call_count && bench->posted - bench->answered <= WINDOW - BATCH) {
            bare_post(bench, BATCH);
        }
        if (bare_take_answers(bench) == 0) {
            relax();
        }
    }
}

static void bare_call(struct bench *bench)
{
    bare_post(bench, 1);
    while (bare_take_answers(bench) == 0) {
        relax();
    }
}

/* ---- Measuring ---- */

/* A road that cannot sleep has no wake. */
struct road {
    const char *name;
    void *(*callee)(void *ctx);
    void (*stream)(struct bench *bench, unsigned call_count);
    void (*call)(struct bench *bench);
    bool (*callee_sleeps)(struct bench *bench);
    void (*wake)(struct bench *bench);
    bool untouched;
};

static const struct road roads[] = {
    {"mailbox", mailbox_callee, mailbox_stream, mailbox_call, mailbox_callee_sleeps, mailbox_wake,
     false},
    {"mutex", mutex_callee, mutex_stream, mutex_call, mutex_callee_sleeps, mutex_wake, false},
    {"bare", bare_callee, bare_stream, bare_call, NULL, NULL, false},
    {"pointers", bare_callee, bare_stream, bare_call, NULL, NULL, true},
};

enum measure { STREAM, AWAKE, ASLEEP, MEASURE_COUNT };

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

static double lower_quartile(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 4];
}

/* Nanoseconds of one call to a callee that sleeps: the median, as waking has a long tail. */
static double time_asleep(struct bench *bench, const struct road *road)
{
    double call_ns[ASLEEP_CALLS];
    for (unsigned i = 0; i < ASLEEP_CALLS; i++) {
        while (!road->callee_sleeps(bench)) {
            relax();
        }
        for (uint64_t since = now_ns(); now_ns() - since < SETTLE_NS;) {
            relax();
        }
        uint64_t start = now_ns();
        road->call(bench);
        call_ns[i] = (double)(now_ns() - start);
    }
    return median(call_ns, ASLEEP_CALLS);
}

/* Nanoseconds of one letter or call: the lower quartile of short stretches, so that stretches in
 * which another process had one of the CPUs do not count, even where that is every second one. */
static double time_awake(struct bench *bench, const struct road *road, enum measure measure)
{
    double stretch_ns[STRETCHES];
    for (unsigned i = 0; i < STRETCHES; i++) {
        uint64_t start = now_ns();
        if (measure == STREAM) {
            road->stream(bench, (i + 1) * STREAM_CALLS);
            stretch_ns[i] = (double)(now_ns() - start) / (2.0 * STREAM_CALLS);
        } else {
            for (unsigned call = 0; call < AWAKE_CALLS; call++) {
                road->call(bench);
            }
            stretch_ns[i] = (double)(now_ns() - start) / AWAKE_CALLS;
        }
    }
    return lower_quartile(stretch_ns, STRETCHES);
}

static double sample(struct bench *bench, const struct road *road, enum measure measure)
{
    bench->posted = bench->answered = 0;
    bench->callee_sleeps = measure == ASLEEP;
    bench->untouched = road->untouched;
    atomic_store(&bench->stop, false);
    pthread_t thread = thread_start(bench->cpus[1], road->callee, bench);
    road->call(bench); /* the callee runs, and pages are there */
    bench->posted = bench->answered = 0;
    double result = measure == ASLEEP ? time_asleep(bench, road) : time_awake(bench, road, measure);
    atomic_store(&bench->stop, true);
    if (road->wake != NULL) {
        road->wake(bench);
    }
    pthread_join(thread, NULL);
    return result;
}

static void count_visit(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                        unsigned from_index)
{
    (void)letter;
    (void)kind;
    (void)from_index;
    ++*(unsigned *)ctx;
}

/* Nanoseconds of a drain without letters; the tails are in the first-level cache, as they are in a
 * core that has nothing else to do. */
static double time_empty(unsigned core_count)
{
    enum { DRAINS = 200 };
    struct pc_mailbox *box;
    unsigned visited = 0;
    int error = pc_mailbox_create(0, core_count, 0, &box);
    if (error != 0) {
        die("cannot make a mailbox", -error);
    }
    double stretch_ns[STRETCHES];
    for (unsigned stretch = 0; stretch < STRETCHES; stretch++) {
        uint64_t start = now_ns();
        for (unsigned i = 0; i < DRAINS; i++) {
            pc_mailbox_drain(box, BATCH, count_visit, &visited);
        }
        stretch_ns[stretch] = (double)(now_ns() - start) / DRAINS;
    }
    pc_mailbox_destroy(box);
    return visited == 0 ? lower_quartile(stretch_ns, STRETCHES) : -1;
}

static void print_road(const struct road *road, double (*values)[SAMPLES_MAX], unsigned count)
{
    static const char *const names[] = {"stream_ns_per_letter", "awake_ns_per_call",
                                        "asleep_ns_per_call"};
    printf(",\"%s\":{", road->name);
    const unsigned measure_count = road->wake == NULL ? ASLEEP : MEASURE_COUNT;
    for (unsigned measure = 0; measure < measure_count; measure++) {
        double middle = median(values[measure], count);
        printf("%s\"%s\":{\"median\":%.2f,\"quartiles\":[%.2f,%.2f],\"range\":[%.2f,%.2f]}",
               measure == 0 ? "" : ",", names[measure], middle, values[measure][count / 4],
               values[measure][count - 1 - count / 4], values[measure][0],
               values[measure][count - 1]);
    }
    printf("}");
}

static void print_machine(const struct bench *bench, unsigned sample_count)
{
    struct utsname name;
    char stamp[32];
    time_t now = time(NULL);
    if (uname(&name) != 0 ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now)) == 0) {
        die("cannot name the machine", errno);
    }
    const char *commit = getenv("PC_COMMIT");
    printf("{\"bench\":\"letters\",\"date\":\"%s\",\"commit\":\"%s\",\"machine\":\"%s %s\","
           "\"cpus\":[%d,%d],\"samples\":%u,\"batch\":%d,\"window\":%d",
           stamp, commit == NULL ? "" : commit, name.machine, name.release, bench->cpus[0],
           bench->cpus[1], sample_count, BATCH, WINDOW);
}

static void bench_open(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    for (unsigned i = 0; i < 2; i++) {
        int error = pc_mailbox_create(i, 2, 0, &bench->boxes[i]);
        if (error != 0) {
            die("cannot make a mailbox", -error);
        }
        queue_init(&bench->queues[i]);
    }
    pc_mailbox_connect(bench->boxes[0], bench->boxes[1]);
    pc_mailbox_connect(bench->boxes[1], bench->boxes[0]);
    bench->bell = eventfd(0, EFD_CLOEXEC);
    if (bench->bell < 0) {
        die("eventfd", errno);
    }
}

static int allowed_cpus(int cpus[2])
{
    cpu_set_t set;
    int count = 0;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 0;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            cpus[count++] = cpu;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static double values[PC_COUNT_OF(roads)][MEASURE_COUNT][SAMPLES_MAX];
    static const unsigned core_counts[] = {2, 16, 64, 256};
    unsigned sample_count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 21;
    if (sample_count == 0 || sample_count > SAMPLES_MAX) {
        fprintf(stderr, "letters: SAMPLES is 1 to %d\n", SAMPLES_MAX);
        return 2;
    }
    bench_open(&bench);
    if (argc > 3) {
        bench.cpus[0] = atoi(argv[2]);
        bench.cpus[1] = atoi(argv[3]);
    } else if (allowed_cpus(bench.cpus) < 2) {
        fprintf(stderr, "letters: needs two CPUs\n");
        return 77;
    }
    pin(bench.cpus[0]);
    for (unsigned i = 0; i < sample_count; i++) {
        for (unsigned measure = 0; measure < MEASURE_COUNT; measure++) {
            for (unsigned road = 0; road < PC_COUNT_OF(roads); road++) {
                if (measure == ASLEEP && roads[road].wake == NULL) {
                    continue;
                }
                values[road][measure][i] = sample(&bench, &roads[road], (enum measure)measure);
            }
        }
    }
    print_machine(&bench, sample_count);
    for (unsigned road = 0; road < PC_COUNT_OF(roads); road++) {
        print_road(&roads[road], values[road], sample_count);
    }
    printf(",\"empty_ns_per_drain\":{");
    for (unsigned i = 0; i < PC_COUNT_OF(core_counts); i++) {
        printf("%s\"%u\":%.1f", i == 0 ? "" : ",", core_counts[i], time_empty(core_counts[i]));
    }
    printf("}}\n");
    return 0;
}
