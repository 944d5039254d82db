/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox_traffic: see mailbox_traffic.h. */
#include "mailbox_traffic.h"

#include "base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL_NOTE = 1, CONTROL_STOP = 2 };

struct traffic_request {
    struct pc_letter letter;
    unsigned home, target;
    unsigned number; /* among those from home to target */
    bool served, answered;
};

static void require(const struct traffic *traffic, bool holds, const char *what)
{
    if (!holds) {
        traffic->config.fail(traffic->config.ctx, what);
    }
}

static void ring(void *ctx, unsigned to_index)
{
    const struct traffic_core *core = ctx;
    core->traffic->config.ring(core->traffic->config.ctx, to_index);
}

static void receive(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind,
                    unsigned from_index)
{
    struct traffic_core *core = ctx;
    const struct traffic *traffic = core->traffic;
    struct traffic_request *request = PC_CONTAINER_OF(letter, struct traffic_request, letter);
    if (kind == PC_LETTER_REQUEST) {
        require(traffic, request->home == from_index && request->target == core->index,
                "a request went astray");
        require(traffic, request->number == core->numbers_in[from_index]++,
                "requests changed order");
        require(traffic, !request->served, "a request came twice");
        request->served = true;
        pc_outbox_post(pc_mailbox_outbox(core->box, from_index), letter, PC_LETTER_ANSWER);
        return;
    }
    require(traffic, request->home == core->index && request->target == from_index,
            "an answer went astray");
    require(traffic, request->number == core->answers_in[from_index]++, "answers changed order");
    require(traffic, request->served && !request->answered, "an answer came twice or too early");
    request->answered = true;
    core->answered++;
}

static unsigned post_some(struct traffic_core *core)
{
    const struct traffic_config *config = &core->traffic->config;
    unsigned count = 0;
    unsigned wanted = (unsigned)pc_random_below(&core->random, config->batch_max);
    for (; count < wanted && core->posted < config->request_count; count++) {
        unsigned target = (unsigned)pc_random_below(&core->random, config->core_count - 1);
        target += target >= core->index;
        struct traffic_request *request = &core->requests[core->posted++];
        *request = (struct traffic_request){
            .home = core->index, .target = target, .number = core->numbers_out[target]++};
        pc_outbox_post(pc_mailbox_outbox(core->box, target), &request->letter, PC_LETTER_REQUEST);
    }
    return count;
}

static unsigned take_control(struct traffic_core *core)
{
    const struct traffic *traffic = core->traffic;
    unsigned count = 0;
    struct pc_control *control = pc_mailbox_take_control(core->box);
    while (control != NULL) {
        struct pc_control *next = control->next;
        if (control->kind == CONTROL_STOP) {
            core->stopped = true;
        } else {
            require(traffic, control == &traffic->notes[core->notes_in], "control changed order");
            core->notes_in++;
        }
        control = next;
        count++;
    }
    return count;
}

static void post_control(struct traffic *traffic, unsigned to_index, struct pc_control *control)
{
    struct traffic_core *to = &traffic->cores[to_index];
    pc_mailbox_post_control(to->box, control);
    if (pc_mailbox_must_ring(to->box)) {
        ring(to, to_index);
    }
}

/* The last of the cores and the outside thread tells all to stop. */
static void count_done(struct traffic *traffic)
{
    unsigned parties = traffic->config.core_count + 1;
    if (atomic_fetch_add_explicit(&traffic->done_count, 1, memory_order_acq_rel) + 1 < parties) {
        return;
    }
    for (unsigned i = 0; i < traffic->config.core_count; i++) {
        traffic->cores[i].stop.kind = CONTROL_STOP;
        post_control(traffic, i, &traffic->cores[i].stop);
    }
}

void traffic_run_core(struct traffic_core *core)
{
    const struct traffic_config *config = &core->traffic->config;
    bool done = false;
    while (!core->stopped) {
        unsigned budget = 1 + (unsigned)pc_random_below(&core->random, config->batch_max);
        unsigned work = pc_mailbox_drain(core->box, budget, receive, core);
        work += take_control(core);
        work += post_some(core);
        work += pc_mailbox_flush(core->box, ring, core);
        if (!done && core->answered == config->request_count) {
            done = true;
            count_done(core->traffic);
        }
        bool may_sleep = work == 0 && core->posted == config->request_count;
        if (may_sleep && pc_mailbox_prepare_sleep(core->box)) {
            config->wait(config->ctx, core->index);
            pc_mailbox_awake(core->box);
        }
    }
}

void traffic_run_outside(struct traffic *traffic, void (*between)(void *ctx))
{
    for (unsigned i = 0; i < traffic->config.note_count; i++) {
        traffic->notes[i].kind = CONTROL_NOTE;
        post_control(traffic, 0, &traffic->notes[i]);
        if (between != NULL) {
            between(traffic->config.ctx);
        }
    }
    count_done(traffic);
}

int traffic_open(struct traffic *traffic, const struct traffic_config *config)
{
    memset(traffic, 0, sizeof(*traffic));
    traffic->config = *config;
    traffic->notes = calloc(config->note_count, sizeof(*traffic->notes));
    if (traffic->notes == NULL) {
        return -ENOMEM;
    }
    struct pc_random random;
    pc_random_init(&random, config->seed);
    for (unsigned i = 0; i < config->core_count; i++) {
        struct traffic_core *core = &traffic->cores[i];
        core->traffic = traffic;
        core->index = i;
        pc_random_init(&core->random, pc_random_next(&random));
        core->requests = calloc(config->request_count, sizeof(*core->requests));
        if (core->requests == NULL ||
            pc_mailbox_create(i, config->core_count, config->credits, &core->box) != 0) {
            return -ENOMEM;
        }
    }
    for (unsigned i = 0; i < config->core_count; i++) {
        for (unsigned j = 0; j < config->core_count; j++) {
            if (i != j) {
                pc_mailbox_connect(traffic->cores[i].box, traffic->cores[j].box);
            }
        }
    }
    return 0;
}

void traffic_close(struct traffic *traffic)
{
    for (unsigned i = 0; i < traffic->config.core_count; i++) {
        pc_mailbox_destroy(traffic->cores[i].box);
        free(traffic->cores[i].requests);
    }
    free(traffic->notes);
}

bool traffic_settled(const struct traffic *traffic)
{
    bool settled = traffic->cores[0].notes_in == traffic->config.note_count;
    for (unsigned i = 0; i < traffic->config.core_count; i++) {
        const struct traffic_core *core = &traffic->cores[i];
        settled = settled && core->answered == traffic->config.request_count &&
                  pc_mailbox_settled(core->box) && !pc_mailbox_has_mail(core->box);
    }
    return settled;
}
