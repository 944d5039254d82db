/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal     What is told of the life that is left is never mistaken for no end.
 * Method   Seconds around the end, both clocks' ends among them.
 */
#include "services/cache_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void only_what_never_ends_is_told_as_minus_one(void **state)
{
    assert_int_equal(pc_cache_ttl(0, 1000), -1);
    assert_int_equal(pc_cache_ttl(0, UINT32_MAX), -1);
    assert_int_equal(pc_cache_ttl(1002, 1000), 2);
    assert_int_equal(pc_cache_ttl(UINT32_MAX, 0), UINT32_MAX);
    /* The clock may go on between the store and the answer that tells of it. */
    assert_int_equal(pc_cache_ttl(1000, 1000), 0);
    assert_int_equal(pc_cache_ttl(999, 1000), 0);
    assert_int_equal(pc_cache_ttl(1, UINT32_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_never_ends_is_told_as_minus_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
