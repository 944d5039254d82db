/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox_test: what holds for mailboxes whoever runs when.
 *
 * Goal    Order, credits, fairness, control letters and the sleep flag, one step at a time.
 * Method  All cores in one thread, so that every state can be looked at. Interleavings are the job
 *         of mailbox_fiber_test.c, real threads of mailbox_stress_test.c.
 */
#include "runtime/mailbox.h"

#include "base/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CORES_MAX = 8, SEEN_MAX = 4096 };

struct note {
    struct pc_letter letter;
    unsigned number;
};

struct seen {
    unsigned number, from_index;
    enum pc_letter_kind kind;
};

struct office {
    struct pc_mailbox *boxes[CORES_MAX];
    unsigned core_count;
    struct seen seen[SEEN_MAX];
    unsigned seen_count;
    unsigned rings[CORES_MAX];
};

static struct office *office_open(unsigned core_count, unsigned credits)
{
    struct office *office = calloc(1, sizeof(*office));
    assert_non_null(office);
    office->core_count = core_count;
    for (unsigned i = 0; i < core_count; i++) {
        assert_int_equal(pc_mailbox_create(i, core_count, credits, &office->boxes[i]), 0);
    }
    for (unsigned i = 0; i < core_count; i++) {
        for (unsigned j = 0; j < core_count; j++) {
            if (i != j) {
                pc_mailbox_connect(office->boxes[i], office->boxes[j]);
            }
        }
    }
    return office;
}

static void office_close(struct office *office)
{
    for (unsigned i = 0; i < office->core_count; i++) {
        pc_mailbox_destroy(office->boxes[i]);
    }
    free(office);
}

static void post(struct office *office, unsigned from, unsigned to, struct note *note,
                 enum pc_letter_kind kind)
{
    pc_outbox_post(pc_mailbox_outbox(office->boxes[from], to), &note->letter, kind);
}

static unsigned flush(struct office *office, unsigned from, unsigned to)
{
    return pc_outbox_flush(pc_mailbox_outbox(office->boxes[from], to));
}

static void see(void *ctx, struct pc_letter *letter, enum pc_letter_kind kind, unsigned from_index)
{
    struct office *office = ctx;
    struct note *note = PC_CONTAINER_OF(letter, struct note, letter);
    assert_true(office->seen_count < SEEN_MAX);
    office->seen[office->seen_count++] =
        (struct seen){.number = note->number, .from_index = from_index, .kind = kind};
}

static unsigned drain(struct office *office, unsigned core, unsigned budget)
{
    office->seen_count = 0;
    return pc_mailbox_drain(office->boxes[core], budget, see, office);
}

static void count_ring(void *ctx, unsigned to_index)
{
    struct office *office = ctx;
    office->rings[to_index]++;
}

static void number_notes(struct note *notes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        notes[i].number = i;
    }
}

static void letters_arrive_as_posted(void **state)
{
    (void)state;
    struct office *office = office_open(3, 64);
    struct note notes[40];
    number_notes(notes, 40);
    for (unsigned i = 0; i < 40; i++) {
        post(office, 2, 0, &notes[i], PC_LETTER_REQUEST);
    }
    assert_int_equal(drain(office, 0, 100), 0);
    assert_int_equal(flush(office, 2, 0), 40);
    assert_int_equal(drain(office, 1, 100), 0);
    assert_int_equal(drain(office, 0, 100), 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(office->seen[i].number, i);
        assert_int_equal(office->seen[i].from_index, 2);
        assert_int_equal(office->seen[i].kind, PC_LETTER_REQUEST);
    }
    assert_false(pc_mailbox_settled(office->boxes[2]));
    office_close(office);
}

static void budget_bounds_a_drain(void **state)
{
    (void)state;
    struct office *office = office_open(2, 64);
    struct note notes[20];
    number_notes(notes, 20);
    for (unsigned i = 0; i < 20; i++) {
        post(office, 0, 1, &notes[i], PC_LETTER_REQUEST);
    }
    flush(office, 0, 1);
    assert_int_equal(drain(office, 1, 7), 7);
    assert_int_equal(office->seen[6].number, 6);
    assert_true(pc_mailbox_has_mail(office->boxes[1]));
    assert_int_equal(drain(office, 1, 100), 13);
    assert_int_equal(office->seen[0].number, 7);
    assert_false(pc_mailbox_has_mail(office->boxes[1]));
    office_close(office);
}

/* Two senders with full rings: whatever the budget, neither gets further than one batch ahead. */
static void senders_take_turns(void **state)
{
    (void)state;
    for (unsigned budget = 1; budget <= 40; budget++) {
        struct office *office = office_open(3, 128);
        struct note notes[2][128];
        for (unsigned sender = 0; sender < 2; sender++) {
            number_notes(notes[sender], 128);
            for (unsigned i = 0; i < 128; i++) {
                post(office, sender + 1, 0, &notes[sender][i], PC_LETTER_REQUEST);
            }
            flush(office, sender + 1, 0);
        }
        unsigned counts[3] = {0};
        while (counts[1] < 128 && counts[2] < 128) {
            assert_int_equal(drain(office, 0, budget), budget);
            for (unsigned i = 0; i < office->seen_count; i++) {
                assert_int_equal(office->seen[i].number, counts[office->seen[i].from_index]++);
            }
            unsigned ahead = counts[1] > counts[2] ? counts[1] - counts[2] : counts[2] - counts[1];
            assert_true(ahead <= 16);
            if (counts[1] + counts[2] + budget > 256) {
                break;
            }
        }
        office_close(office);
    }
}

static void requests_beyond_the_credits_wait(void **state)
{
    (void)state;
    struct office *office = office_open(2, 4);
    struct pc_outbox *outbox = pc_mailbox_outbox(office->boxes[0], 1);
    struct note notes[10];
    number_notes(notes, 10);
    for (unsigned i = 0; i < 10; i++) {
        post(office, 0, 1, &notes[i], PC_LETTER_REQUEST);
    }
    assert_int_equal(pc_outbox_waiting(outbox), 10);
    assert_int_equal(flush(office, 0, 1), 4);
    assert_int_equal(pc_outbox_waiting(outbox), 6);
    assert_int_equal(pc_mailbox_waiting(office->boxes[0]), 6);
    assert_int_equal(pc_outbox_credits(outbox), 0);
    assert_int_equal(flush(office, 0, 1), 0);

    /* Taken is not answered: no credit comes back from draining a request. */
    assert_int_equal(drain(office, 1, 100), 4);
    assert_int_equal(flush(office, 0, 1), 0);

    post(office, 1, 0, &notes[0], PC_LETTER_ANSWER);
    post(office, 1, 0, &notes[1], PC_LETTER_ANSWER);
    assert_int_equal(flush(office, 1, 0), 2);
    assert_int_equal(drain(office, 0, 100), 2);
    assert_int_equal(office->seen[1].kind, PC_LETTER_ANSWER);
    assert_int_equal(pc_outbox_credits(outbox), 2);
    /* The returned credits alone bring the outbox back into the next flush. */
    assert_int_equal(pc_mailbox_flush(office->boxes[0], count_ring, office), 2);
    assert_int_equal(drain(office, 1, 100), 2);
    assert_int_equal(office->seen[0].number, 4);
    assert_int_equal(office->seen[1].number, 5);
    office_close(office);
}

/* Both directions full at once: the worst a ring can meet, for many rounds of its indices. */
static void answers_always_have_room(void **state)
{
    (void)state;
    enum { CREDITS = 8, ROUNDS = 1000 };
    struct office *office = office_open(2, CREDITS);
    struct note notes[2][CREDITS];
    for (unsigned core = 0; core < 2; core++) {
        number_notes(notes[core], CREDITS);
        for (unsigned i = 0; i < CREDITS; i++) {
            post(office, core, 1 - core, &notes[core][i], PC_LETTER_REQUEST);
        }
        assert_int_equal(flush(office, core, 1 - core), CREDITS);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        /* Core 0 takes its requests, answers them all, and the answers lie behind core 1's unread
         * requests: both rings hold as much as they may. */
        unsigned core = round % 2;
        unsigned requests = 0;
        struct note *to_answer[CREDITS * 2];
        drain(office, core, CREDITS * 2);
        for (unsigned i = 0; i < office->seen_count; i++) {
            if (office->seen[i].kind == PC_LETTER_REQUEST) {
                to_answer[requests++] = &notes[1 - core][office->seen[i].number];
            } else {
                post(office, core, 1 - core, &notes[core][office->seen[i].number],
                     PC_LETTER_REQUEST);
            }
        }
        for (unsigned i = 0; i < requests; i++) {
            post(office, core, 1 - core, to_answer[i], PC_LETTER_ANSWER);
        }
        assert_int_equal(flush(office, core, 1 - core), office->seen_count);
    }
    office_close(office);
}

static void answers_overtake_waiting_requests(void **state)
{
    (void)state;
    struct office *office = office_open(2, 1);
    struct note mine[3], theirs = {.number = 9};
    number_notes(mine, 3);
    post(office, 1, 0, &theirs, PC_LETTER_REQUEST);
    flush(office, 1, 0);
    assert_int_equal(drain(office, 0, 10), 1);
    for (unsigned i = 0; i < 3; i++) {
        post(office, 0, 1, &mine[i], PC_LETTER_REQUEST);
    }
    post(office, 0, 1, &theirs, PC_LETTER_ANSWER);
    assert_int_equal(flush(office, 0, 1), 2);
    assert_int_equal(drain(office, 1, 10), 2);
    assert_int_equal(office->seen[0].number, 9);
    assert_int_equal(office->seen[0].kind, PC_LETTER_ANSWER);
    assert_int_equal(office->seen[1].number, 0);
    assert_true(pc_mailbox_settled(office->boxes[1]));
    assert_false(pc_mailbox_settled(office->boxes[0]));
    office_close(office);
}

static void control_letters_come_oldest_first(void **state)
{
    (void)state;
    struct office *office = office_open(2, 1);
    assert_null(pc_mailbox_take_control(office->boxes[1]));
    struct pc_control controls[5];
    for (unsigned i = 0; i < 5; i++) {
        controls[i].kind = i;
        pc_mailbox_post_control(office->boxes[1], &controls[i]);
    }
    assert_true(pc_mailbox_has_mail(office->boxes[1]));
    struct pc_control *control = pc_mailbox_take_control(office->boxes[1]);
    for (unsigned i = 0; i < 5; i++) {
        assert_ptr_equal(control, &controls[i]);
        control = control->next;
    }
    assert_null(control);
    assert_null(pc_mailbox_take_control(office->boxes[1]));
    assert_false(pc_mailbox_has_mail(office->boxes[1]));
    office_close(office);
}

static void sleeper_is_rung_once(void **state)
{
    (void)state;
    struct office *office = office_open(3, 4);
    struct note notes[3];
    number_notes(notes, 3);
    post(office, 0, 1, &notes[0], PC_LETTER_REQUEST);
    assert_int_equal(pc_mailbox_flush(office->boxes[0], count_ring, office), 1);
    assert_int_equal(office->rings[1], 0);

    assert_false(pc_mailbox_prepare_sleep(office->boxes[1]));
    assert_false(pc_mailbox_sleeps(office->boxes[1]));
    drain(office, 1, 10);
    assert_true(pc_mailbox_prepare_sleep(office->boxes[1]));
    assert_true(pc_mailbox_sleeps(office->boxes[1]));

    post(office, 0, 1, &notes[1], PC_LETTER_REQUEST);
    post(office, 2, 1, &notes[2], PC_LETTER_REQUEST);
    assert_int_equal(pc_mailbox_flush(office->boxes[0], count_ring, office), 1);
    assert_int_equal(pc_mailbox_flush(office->boxes[2], count_ring, office), 1);
    assert_int_equal(office->rings[1], 1);
    pc_mailbox_awake(office->boxes[1]);
    assert_int_equal(drain(office, 1, 10), 2);
    office_close(office);
}

static void control_letter_forbids_sleep(void **state)
{
    (void)state;
    struct office *office = office_open(2, 4);
    struct pc_control control = {.kind = 3};
    assert_true(pc_mailbox_prepare_sleep(office->boxes[0]));
    pc_mailbox_post_control(office->boxes[0], &control);
    assert_true(pc_mailbox_must_ring(office->boxes[0]));
    assert_false(pc_mailbox_must_ring(office->boxes[0]));
    pc_mailbox_awake(office->boxes[0]);
    assert_false(pc_mailbox_prepare_sleep(office->boxes[0]));
    assert_non_null(pc_mailbox_take_control(office->boxes[0]));
    assert_true(pc_mailbox_prepare_sleep(office->boxes[0]));
    office_close(office);
}

static void credits_shrink_with_the_cores(void **state)
{
    (void)state;
    assert_int_equal(pc_mailbox_credits(1), PC_CREDITS_MAX);
    assert_int_equal(pc_mailbox_credits(16), PC_CREDITS_MAX);
    unsigned previous = PC_CREDITS_MAX;
    for (unsigned cores = 1; cores <= PC_MAILBOX_CORES_MAX; cores++) {
        unsigned credits = pc_mailbox_credits(cores);
        assert_int_equal(credits & (credits - 1), 0);
        assert_true(credits <= previous && credits >= PC_CREDITS_MIN);
        /* Rings of one mailbox, in bytes: two slots a credit. */
        assert_true((uint64_t)cores * credits * 2 * sizeof(void *) <= 128 * 1024);
        previous = credits;
    }
}

static void impossible_boxes_are_refused(void **state)
{
    (void)state;
    struct pc_mailbox *box = NULL;
    assert_int_equal(pc_mailbox_create(0, 0, 0, &box), -EINVAL);
    assert_int_equal(pc_mailbox_create(2, 2, 0, &box), -EINVAL);
    assert_int_equal(pc_mailbox_create(0, 2, 3, &box), -EINVAL);
    assert_int_equal(pc_mailbox_create(0, 2, PC_CREDITS_MAX * 2, &box), -EINVAL);
    assert_int_equal(pc_mailbox_create(0, PC_MAILBOX_CORES_MAX + 1, 0, &box), -EINVAL);
    assert_null(box);
    pc_mailbox_destroy(NULL);
}

static void lone_core_sleeps_at_once(void **state)
{
    (void)state;
    struct office *office = office_open(1, 0);
    assert_int_equal(drain(office, 0, 10), 0);
    assert_int_equal(pc_mailbox_flush(office->boxes[0], count_ring, office), 0);
    assert_true(pc_mailbox_settled(office->boxes[0]));
    assert_true(pc_mailbox_prepare_sleep(office->boxes[0]));
    office_close(office);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_arrive_as_posted),
        cmocka_unit_test(budget_bounds_a_drain),
        cmocka_unit_test(senders_take_turns),
        cmocka_unit_test(requests_beyond_the_credits_wait),
        cmocka_unit_test(answers_always_have_room),
        cmocka_unit_test(answers_overtake_waiting_requests),
        cmocka_unit_test(control_letters_come_oldest_first),
        cmocka_unit_test(sleeper_is_rung_once),
        cmocka_unit_test(control_letter_forbids_sleep),
        cmocka_unit_test(credits_shrink_with_the_cores),
        cmocka_unit_test(impossible_boxes_are_refused),
        cmocka_unit_test(lone_core_sleeps_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
