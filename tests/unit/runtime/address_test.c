/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: what people write becomes what the kernel wants and reads back; what is wrong is named.
 * Method: tables of texts. Names come from the hosts file alone (localhost), never from a network.
 */
#include "runtime/address.h"

#include "base/check.h"
#include "base/random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int add(struct pc_address_list *list, const char *text, int default_port)
{
    return pc_address_list_add(list, text, default_port, NULL, 0);
}

static void text_reads_back(void **state)
{
    static const struct {
        const char *written, *read;
        int default_port;
        bool dual_stack;
    } rows[] = {
        {"127.0.0.1:9000", "127.0.0.1:9000", PC_PORT_NONE, false},
        {"0.0.0.0:1", "0.0.0.0:1", PC_PORT_NONE, false},
        {"10.1.2.3", "10.1.2.3:11211", 11211, false},
        {"[::1]:65535", "[::1]:65535", PC_PORT_NONE, false},
        {"[::1]", "[::1]:7", 7, false},
        {"::1", "[::1]:7", 7, false},
        {"2001:DB8::0:1", "[2001:db8::1]:80", 80, false},
        {"[::ffff:10.0.0.1]:5", "10.0.0.1:5", PC_PORT_NONE, false},
        {"9000", "[::]:9000", PC_PORT_NONE, true},
        {"9000", "[::]:9000", 11211, true},
        {":9000", "[::]:9000", PC_PORT_NONE, true},
        {"*:0", "[::]:0", PC_PORT_NONE, true},
        {"*", "[::]:11211", 11211, true},
        {"[::]:9000", "[::]:9000", PC_PORT_NONE, true},
        {"::", "[::]:9000", 9000, true},
        {"unix:/run/percore.sock", "unix:/run/percore.sock", PC_PORT_NONE, false},
        {"unix:here", "unix:here", PC_PORT_NONE, false},
        {"unix:@percore", "unix:@percore", PC_PORT_NONE, false},
        {"unix:/a:b", "unix:/a:b", PC_PORT_NONE, false},
        {"unix:/a:999", "unix:/a:999", PC_PORT_NONE, false},
        {"unix:/a:0770", "unix:/a", PC_PORT_NONE, false},
    };
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        struct pc_address_list list = {0};
        char text[PC_ADDRESS_TEXT_BYTES];
        assert_int_equal(add(&list, rows[i].written, rows[i].default_port), 0);
        assert_int_equal(list.count, 1);
        pc_address_text(&list.items[0].generic, list.items[0].bytes, text);
        assert_string_equal(text, rows[i].read);
        assert_int_equal(list.items[0].dual_stack, rows[i].dual_stack);
    }
}

static void unix_mode_is_octal_digits_after_the_last_colon(void **state)
{
    static const struct {
        const char *written;
        unsigned mode;
    } rows[] = {{"unix:/a", 0},          {"unix:/a:700", 0700}, {"unix:/a:0660", 0660},
                {"unix:/a:1777", 0},     {"unix:/a:77", 0},     {"unix:/a:789", 0},
                {"unix:/b:1:222", 0222}, {"unix:@a:700", 0}};
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        struct pc_address_list list = {0};
        assert_int_equal(add(&list, rows[i].written, PC_PORT_NONE), 0);
        assert_int_equal(list.items[0].unix_mode, rows[i].mode);
    }
}

static void wrong_text_is_named_and_explained(void **state)
{
    static char long_path[160], long_name[600], long_host[400];
    (void)snprintf(long_path, sizeof(long_path), "unix:/%0107d", 0);
    (void)snprintf(long_name, sizeof(long_name), "%0590d", 0);
    (void)snprintf(long_host, sizeof(long_host), "a%0300d:1", 0);
    const struct {
        const char *written;
        int error;
        const char *trouble; /* NULL: only its beginning is checked */
    } rows[] = {
        {"", -EINVAL, "(empty): expected an address, as in 127.0.0.1:9000"},
        {"127.0.0.1", -EINVAL, "127.0.0.1: needs a port, as in 127.0.0.1:9000"},
        {"127.0.0.1:", -EINVAL, "127.0.0.1:: a port is a number from 0 to 65535"},
        {"127.0.0.1:65536", -EINVAL, "127.0.0.1:65536: a port is a number from 0 to 65535"},
        {"127.0.0.1:-1", -EINVAL, "127.0.0.1:-1: a port is a number from 0 to 65535"},
        {"127.0.0.1:http", -EINVAL, "127.0.0.1:http: a port is a number from 0 to 65535"},
        {"99999999999999999999", -EINVAL,
         "99999999999999999999: a port is a number from 0 to 65535"},
        {"[::1:9000", -EINVAL, "[::1:9000: expected [address] or [address]:port"},
        {"[::1]9000", -EINVAL, "[::1]9000: expected [address] or [address]:port"},
        {"[localhost]:1", -EINVAL, "[localhost]:1: brackets are for IPv6 addresses"},
        {"[::1::]:9", -EADDRNOTAVAIL, "[::1::]:9: no such address or name: ::1::"},
        {"a b:1", -EINVAL, "a b:1: a b is not the name of a machine"},
        {"256.0.0.1:1", -EINVAL, "256.0.0.1:1: 256.0.0.1 is not an IPv4 address"},
        {"10.1:1", -EINVAL, "10.1:1: 10.1 is not an IPv4 address"},
        {"unix:", -EINVAL, "unix:: unix: needs a path"},
        {"unix:@", -EINVAL, "unix:@: unix: needs a path"},
        {"unix::0700", -EINVAL, "unix::0700: unix: needs a path"},
        {"1:1,", -EINVAL, NULL},
        {"127.0.0.1:1,,127.0.0.1:2", -EINVAL, "(empty): expected an address, as in 127.0.0.1:9000"},
        {long_path, -ENAMETOOLONG, NULL},
        {long_name, -EINVAL, NULL},
        {long_host, -EINVAL, NULL},
    };
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        struct pc_address_list list = {0};
        assert_int_equal(add(&list, "127.0.0.1:5", PC_PORT_NONE), 0);
        char trouble[256] = "";
        int error =
            pc_address_list_add(&list, rows[i].written, PC_PORT_NONE, trouble, sizeof(trouble));
        assert_int_equal(error, rows[i].error);
        assert_int_equal(list.count, 1);
        assert_true(strlen(trouble) > 0);
        if (rows[i].trouble != NULL) {
            assert_string_equal(trouble, rows[i].trouble);
        }
    }
}

static void trouble_fits_its_room(void **state)
{
    for (size_t room = 0; room < 64; room++) {
        struct pc_address_list list = {0};
        char trouble[64 + 1];
        memset(trouble, 'x', sizeof(trouble));
        assert_int_equal(pc_address_list_add(&list, "127.0.0.1:", PC_PORT_NONE, trouble, room),
                         -EINVAL);
        assert_int_equal(trouble[room], 'x');
        assert_true(room == 0 || memchr(trouble, 0, room) != NULL);
    }
}

static void commas_make_a_list_without_repeats(void **state)
{
    struct pc_address_list list = {0};
    assert_int_equal(
        add(&list, "127.0.0.1,[::1],10.0.0.1:7,127.0.0.1:11211,unix:/a,unix:/a", 11211), 0);
    assert_int_equal(list.count, 4);
    assert_int_equal(pc_address_port(&list.items[0].generic), 11211);
    assert_int_equal(pc_address_port(&list.items[1].generic), 11211);
    assert_int_equal(pc_address_port(&list.items[2].generic), 7);
    assert_int_equal(pc_address_port(&list.items[3].generic), 0);
    assert_int_equal(add(&list, "10.0.0.1:7", PC_PORT_NONE), 0);
    assert_int_equal(list.count, 4);
    assert_int_equal(add(&list, "10.0.0.1:0,10.0.0.1:0", PC_PORT_NONE), 0); /* two ports */
    assert_int_equal(list.count, 6);
}

static void list_has_an_end(void **state)
{
    struct pc_address_list list = {0};
    char text[32], trouble[128];
    for (unsigned i = 0; i < PC_ADDRESS_COUNT_MAX; i++) {
        (void)snprintf(text, sizeof(text), "127.0.0.1:%u", i + 1);
        assert_int_equal(add(&list, text, PC_PORT_NONE), 0);
    }
    assert_int_equal(
        pc_address_list_add(&list, "127.0.0.2:1", PC_PORT_NONE, trouble, sizeof(trouble)), -E2BIG);
    assert_string_equal(trouble, "127.0.0.2:1: more than 64 addresses");
    assert_int_equal(list.count, PC_ADDRESS_COUNT_MAX);
}

static void name_is_looked_up(void **state)
{
    struct pc_address_list list = {0};
    assert_int_equal(add(&list, "localhost:9000", PC_PORT_NONE), 0);
    assert_true(list.count >= 1);
    for (unsigned i = 0; i < list.count; i++) {
        char text[PC_ADDRESS_TEXT_BYTES];
        pc_address_text(&list.items[i].generic, list.items[i].bytes, text);
        assert_true(strcmp(text, "127.0.0.1:9000") == 0 || strcmp(text, "[::1]:9000") == 0);
        assert_false(list.items[i].dual_stack);
    }
}

static void dual_stack_has_an_ipv4_half(void **state)
{
    struct pc_address_list list = {0};
    struct pc_address half;
    char text[PC_ADDRESS_TEXT_BYTES];
    assert_int_equal(add(&list, "*:9000,[::1]:9000,0.0.0.0:9000", PC_PORT_NONE), 0);
    assert_true(pc_address_ipv4_any(&list.items[0], &half));
    pc_address_text(&half.generic, half.bytes, text);
    assert_string_equal(text, "0.0.0.0:9000");
    assert_false(half.dual_stack);
    assert_false(pc_address_ipv4_any(&list.items[1], &half));
    assert_false(pc_address_ipv4_any(&list.items[2], &half));
}

static void port_can_be_set(void **state)
{
    struct pc_address_list list = {0};
    assert_int_equal(add(&list, "127.0.0.1:1,[::1]:2,unix:/a", PC_PORT_NONE), 0);
    for (unsigned i = 0; i < 3; i++) {
        pc_address_set_port(&list.items[i], 4242);
    }
    assert_int_equal(pc_address_port(&list.items[0].generic), 4242);
    assert_int_equal(pc_address_port(&list.items[1].generic), 4242);
    assert_int_equal(pc_address_port(&list.items[2].generic), 0);
}

/* The kernel takes them, and what it gives back for the other end reads well. */
static void kernel_agrees(void **state)
{
    struct pc_address_list list = {0};
    char name[64];
    (void)snprintf(name, sizeof(name), "127.0.0.1:0,unix:@percore-address-test-%d", (int)getpid());
    assert_int_equal(add(&list, name, PC_PORT_NONE), 0);
    for (unsigned i = 0; i < list.count; i++) {
        const struct pc_address *address = &list.items[i];
        struct pc_address bound = {.bytes = sizeof(bound.local)}, peer = bound;
        char text[PC_ADDRESS_TEXT_BYTES];
        int listener = socket(address->generic.sa_family, SOCK_STREAM, 0);
        assert_int_equal(bind(listener, &address->generic, address->bytes), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, &bound.generic, &bound.bytes), 0);
        int client = socket(address->generic.sa_family, SOCK_STREAM, 0);
        assert_int_equal(connect(client, &bound.generic, bound.bytes), 0);
        int server = accept(listener, &peer.generic, &peer.bytes);
        assert_true(server >= 0);
        pc_address_text(&bound.generic, bound.bytes, text);
        if (i == 0) {
            assert_true(pc_address_port(&bound.generic) != 0);
            assert_memory_equal(text, "127.0.0.1:", 10);
            pc_address_text(&peer.generic, peer.bytes, text);
            assert_memory_equal(text, "127.0.0.1:", 10);
        } else {
            assert_string_equal(text, strchr(name, ',') + 1);
            pc_address_text(&peer.generic, peer.bytes, text);
            assert_string_equal(text, "unix:(unnamed)");
        }
        assert_int_equal(close(server) | close(client) | close(listener), 0);
    }
    char text[PC_ADDRESS_TEXT_BYTES];
    pc_address_text(&list.items[0].generic, 0, text);
    assert_string_equal(text, "(unknown)");
}

/* Any text of these is taken or refused, never read beyond its end. Without letters there is no
 * name, so nothing is looked up. */
static void any_text_is_survived(void **state)
{
    static const char letters[] = "0123456789:::[]].,*@/";
    struct pc_random random;
    uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    pc_random_init(&random, seed);
    for (unsigned round = 0; round < 20000; round++) {
        size_t bytes = pc_random_below(&random, 24);
        char text[32];
        size_t used = pc_random_below(&random, 4) == 0 ? 5 : 0;
        memcpy(text, "unix:", used);
        for (size_t i = 0; i < bytes; i++) {
            text[used++] = letters[pc_random_below(&random, sizeof(letters) - 1)];
        }
        text[used] = 0;
        char *exact = strdup(text); /* just as long: a byte more read is seen */
        assert_non_null(exact);
        struct pc_address_list list = {0};
        char trouble[64] = "";
        int error = pc_address_list_add(&list, exact, 7, trouble, sizeof(trouble));
        assert_true(error == 0 ? list.count > 0 : list.count == 0 && trouble[0] != 0);
        for (unsigned i = 0; i < list.count; i++) {
            char out[PC_ADDRESS_TEXT_BYTES];
            pc_address_text(&list.items[i].generic, list.items[i].bytes, out);
            assert_true(strlen(out) > 0);
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_reads_back),
        cmocka_unit_test(unix_mode_is_octal_digits_after_the_last_colon),
        cmocka_unit_test(wrong_text_is_named_and_explained),
        cmocka_unit_test(trouble_fits_its_room),
        cmocka_unit_test(commas_make_a_list_without_repeats),
        cmocka_unit_test(list_has_an_end),
        cmocka_unit_test(name_is_looked_up),
        cmocka_unit_test(dual_stack_has_an_ipv4_half),
        cmocka_unit_test(port_can_be_set),
        cmocka_unit_test(kernel_agrees),
        cmocka_unit_test(any_text_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
