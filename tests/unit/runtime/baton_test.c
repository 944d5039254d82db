/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton_test: a core's places belong to the core or to one borrower each, and come back.
 *
 * Goal    The word means what baton.h says. On threads: nobody meets anybody at a place, what one
 *         leaves there the next one sees, and whoever wants its places back is told once.
 * Method  The states one by one; then an owner that sleeps and wakes beside borrowers that take
 *         what lies there, counting in plain memory. ThreadSanitizer sees a missing order.
 */
#include "runtime/baton.h"

#include "scale.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- The states ---- */

static void what_is_held_cannot_be_borrowed(void **state)
{
    (void)state;
    struct pc_baton baton;
    pc_baton_init(&baton);
    assert_false(pc_baton_lies(&baton));
    assert_false(pc_baton_borrow(&baton, 0));
}

static void each_place_is_borrowed_once(void **state)
{
    (void)state;
    struct pc_baton baton;
    pc_baton_init(&baton);
    pc_baton_lay_down(&baton);
    assert_true(pc_baton_lies(&baton));
    assert_true(pc_baton_borrow(&baton, 0));
    assert_false(pc_baton_borrow(&baton, 0));
    assert_true(pc_baton_borrow(&baton, 3));
    assert_false(pc_baton_borrow(&baton, 3 + PC_BATON_BITS)); /* shares its bit */
    assert_false(pc_baton_give_back(&baton, 0));              /* nobody wants it */
    assert_true(pc_baton_borrow(&baton, 0));
    assert_false(pc_baton_give_back(&baton, 0));
    assert_false(pc_baton_give_back(&baton, 3));
    assert_true(pc_baton_take_up(&baton));
    assert_int_equal(baton.state, PC_BATON_HELD);
}

static void what_is_wanted_is_not_borrowed_and_told_of_once(void **state)
{
    (void)state;
    struct pc_baton baton;
    pc_baton_init(&baton);
    pc_baton_lay_down(&baton);
    assert_true(pc_baton_borrow(&baton, 1));
    assert_true(pc_baton_borrow(&baton, 2));
    assert_false(pc_baton_take_up(&baton));
    assert_int_equal(baton.state, PC_BATON_WANTED);
    assert_false(pc_baton_lies(&baton));
    assert_false(pc_baton_borrow(&baton, 5));
    assert_false(pc_baton_give_back(&baton, 1));
    assert_true(pc_baton_give_back(&baton, 2));
    pc_baton_returned(&baton);
    pc_baton_lay_down(&baton);
    assert_true(pc_baton_borrow(&baton, 2));
    assert_false(pc_baton_give_back(&baton, 2));
}

/* ---- On threads ---- */

enum { PLACE_COUNT = 3, BORROWER_COUNT = 3 };

struct hall {
    struct pc_baton baton;
    unsigned visits[PLACE_COUNT]; /* of whoever is there */
    _Atomic unsigned letters;     /* posted to the owner */
    _Atomic unsigned borrowers_left;
    unsigned rounds;
};

struct borrower {
    struct hall *hall;
    pthread_t thread;
    unsigned index, visits;
};

static void *borrow_often(void *ctx)
{
    struct borrower *self = ctx;
    struct hall *hall = self->hall;
    for (unsigned i = 0; self->visits < hall->rounds; i++) {
        const unsigned number = (self->index + i) % PLACE_COUNT;
        if (!pc_baton_borrow(&hall->baton, number)) {
            sched_yield();
            continue;
        }
        hall->visits[number]++;
        self->visits++;
        if (pc_baton_give_back(&hall->baton, number)) {
            /* Pairs with the exchange in the owner's loop, as posting a control letter would. */
            atomic_fetch_add_explicit(&hall->letters, 1, memory_order_release);
        }
    }
    atomic_fetch_sub_explicit(&hall->borrowers_left, 1, memory_order_release);
    return NULL;
}

/* Sleeps and wakes; returns how often it was at its places itself. */
static unsigned own(struct hall *hall)
{
    unsigned visits = 0;
    while (atomic_load_explicit(&hall->borrowers_left, memory_order_acquire) > 0) {
        if (hall->baton.state == PC_BATON_HELD) {
            pc_baton_lay_down(&hall->baton);
        }
        sched_yield();
        if (hall->baton.state == PC_BATON_LENT) {
            (void)pc_baton_take_up(&hall->baton);
        }
        if (hall->baton.state == PC_BATON_WANTED) {
            const unsigned letters =
                atomic_exchange_explicit(&hall->letters, 0, memory_order_acquire);
            assert_in_range(letters, 0, 1);
            if (letters == 0) {
                continue;
            }
            pc_baton_returned(&hall->baton);
        }
        for (unsigned i = 0; i < PLACE_COUNT; i++) {
            hall->visits[i]++;
        }
        visits += PLACE_COUNT;
    }
    return visits;
}

static void nobody_meets_anybody(void **state)
{
    (void)state;
    struct hall hall = {.rounds = (unsigned)pc_test_scale(20000, 1000000)};
    struct borrower borrowers[BORROWER_COUNT];
    pc_baton_init(&hall.baton);
    atomic_init(&hall.borrowers_left, BORROWER_COUNT);
    for (unsigned i = 0; i < BORROWER_COUNT; i++) {
        borrowers[i] = (struct borrower){.hall = &hall, .index = i};
        assert_int_equal(pthread_create(&borrowers[i].thread, NULL, borrow_often, &borrowers[i]),
                         0);
    }
    unsigned expected = own(&hall);
    for (unsigned i = 0; i < BORROWER_COUNT; i++) {
        assert_int_equal(pthread_join(borrowers[i].thread, NULL), 0);
        expected += borrowers[i].visits;
    }
    unsigned visits = 0;
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        visits += hall.visits[i];
    }
    assert_int_equal(visits, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_cannot_be_borrowed),
        cmocka_unit_test(each_place_is_borrowed_once),
        cmocka_unit_test(what_is_wanted_is_not_borrowed_and_told_of_once),
        cmocka_unit_test(nobody_meets_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
