/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Requests are written as protocol.txt says, answers are recognised at any cut, and what is
 *         no answer is refused.
 * Method  Every answer is parsed whole and at every shorter length, from memory of exactly that
 *         size, so that a read too far is seen by the sanitizer.
 */
#include "protocols/memcached_client.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct pc_text key = {"the-key", 7};

static void assert_written(const char *written, size_t count, const char *expected)
{
    assert_int_equal(count, strlen(expected));
    assert_memory_equal(written, expected, count);
}

static void requests_are_written_as_documented(void **state)
{
    char at[2 * PC_MEMCACHED_ASK_BYTES_MAX];
    const uint32_t exptime = 60;
    const uint64_t cas = UINT64_MAX;
    size_t count = pc_memcached_ask_keys(at, "get", NULL);
    count += pc_memcached_ask_key(at + count, key);
    count += pc_memcached_ask_key(at + count, key);
    count += pc_memcached_ask_end(at + count);
    assert_written(at, count, "get the-key the-key\r\n");
    count = pc_memcached_ask_keys(at, "gat", &exptime);
    count += pc_memcached_ask_key(at + count, key);
    count += pc_memcached_ask_end(at + count);
    assert_written(at, count, "gat 60 the-key\r\n");
    assert_written(at, pc_memcached_ask_store(at, "set", key, 60, 5, NULL),
                   "set the-key 0 60 5\r\n");
    assert_written(at, pc_memcached_ask_store(at, "cas", key, 0, 5, &cas),
                   "cas the-key 0 0 5 18446744073709551615\r\n");
    assert_written(at, pc_memcached_ask_delete(at, key), "delete the-key\r\n");
    assert_written(at, pc_memcached_ask_touch(at, key, 7), "touch the-key 7\r\n");
    assert_written(at, pc_memcached_ask_incr(at, key, 1), "incr the-key 1\r\n");
    assert_written(at, pc_memcached_ask_meta_get(at, key), "mg the-key k v\r\n");
    assert_written(at, pc_memcached_ask_meta_set(at, key, 9, 3), "ms the-key 3 T9\r\n");
}

static void longest_request_fits_its_room(void **state)
{
    char at[PC_MEMCACHED_ASK_BYTES_MAX + 1], longest[250];
    const uint64_t cas = UINT64_MAX;
    memset(longest, 'k', sizeof(longest));
    const struct pc_text text = {longest, sizeof(longest)};
    assert_true(pc_memcached_ask_store(at, "append", text, UINT32_MAX, UINT32_MAX, &cas) <=
                PC_MEMCACHED_ASK_BYTES_MAX);
    assert_true(pc_memcached_ask_incr(at, text, UINT64_MAX) <= PC_MEMCACHED_ASK_BYTES_MAX);
}

/* Parse `text` from a block of the heap of exactly its length. */
static enum pc_answered parse_exact(const char *text, size_t count, struct pc_memcached_answer *out,
                                    size_t *out_bytes)
{
    uint8_t *at = malloc(count > 0 ? count : 1);
    memcpy(at, text, count);
    const enum pc_answered answered = pc_memcached_answer_parse(at, count, out, out_bytes);
    free(at); /* what `out` points to is not looked at by those who use this */
    return answered;
}

static const struct {
    const char *text;
    enum pc_memcached_answer_kind kind;
} answers[] = {
    {"VALUE the-key 0 3\r\nabc\r\n", PC_MEMCACHED_ANSWER_VALUE},
    {"VALUE the-key 4294967295 0 18446744073709551615\r\n\r\n", PC_MEMCACHED_ANSWER_VALUE},
    {"VALUE k 0 4\r\n\r\n\r\n\r\n", PC_MEMCACHED_ANSWER_VALUE},
    {"END\r\n", PC_MEMCACHED_ANSWER_END},
    {"STORED\r\n", PC_MEMCACHED_ANSWER_STORED},
    {"NOT_STORED\r\n", PC_MEMCACHED_ANSWER_NOT_STORED},
    {"EXISTS\r\n", PC_MEMCACHED_ANSWER_EXISTS},
    {"NOT_FOUND\r\n", PC_MEMCACHED_ANSWER_NOT_FOUND},
    {"DELETED\r\n", PC_MEMCACHED_ANSWER_DELETED},
    {"TOUCHED\r\n", PC_MEMCACHED_ANSWER_TOUCHED},
    {"OK\r\n", PC_MEMCACHED_ANSWER_OK},
    {"18446744073709551615\r\n", PC_MEMCACHED_ANSWER_NUMBER},
    {"9 \r\n", PC_MEMCACHED_ANSWER_NUMBER},
    {"VA 3 kthe-key\r\nabc\r\n", PC_MEMCACHED_ANSWER_META_VALUE},
    {"HD\r\n", PC_MEMCACHED_ANSWER_META_HEAD},
    {"EN\r\n", PC_MEMCACHED_ANSWER_META_MISS},
    {"NF\r\n", PC_MEMCACHED_ANSWER_META_MISS},
    {"NS\r\n", PC_MEMCACHED_ANSWER_META_OTHER},
    {"EX O1\r\n", PC_MEMCACHED_ANSWER_META_OTHER},
    {"STAT pid 17\r\n", PC_MEMCACHED_ANSWER_STAT},
    {"VERSION 1.6.18\r\n", PC_MEMCACHED_ANSWER_STAT},
    {"ERROR\r\n", PC_MEMCACHED_ANSWER_ERROR},
    {"CLIENT_ERROR bad command line format\r\n", PC_MEMCACHED_ANSWER_ERROR},
    {"SERVER_ERROR out of memory storing object\r\n", PC_MEMCACHED_ANSWER_ERROR},
};

static void answers_are_recognised_at_any_cut(void **state)
{
    for (size_t i = 0; i < PC_COUNT_OF(answers); i++) {
        const size_t count = strlen(answers[i].text);
        struct pc_memcached_answer answer;
        size_t bytes = 0;
        for (size_t cut = 0; cut < count; cut++) {
            assert_int_equal(parse_exact(answers[i].text, cut, &answer, &bytes), PC_ANSWER_MORE);
            assert_true(bytes > cut && bytes <= count);
        }
        assert_int_equal(parse_exact(answers[i].text, count, &answer, &bytes), PC_ANSWER_DONE);
        assert_int_equal(bytes, count);
        assert_int_equal(answer.kind, answers[i].kind);
    }
}

static void parts_of_a_value_are_found(void **state)
{
    static const char text[] = "VALUE the-key 5 3 77\r\nabc\r\nEND\r\n";
    struct pc_memcached_answer answer;
    size_t bytes;
    assert_int_equal(
        pc_memcached_answer_parse((const uint8_t *)text, strlen(text), &answer, &bytes),
        PC_ANSWER_DONE);
    assert_int_equal(bytes, strlen(text) - 5);
    assert_int_equal(answer.key.count, 7);
    assert_memory_equal(answer.key.at, "the-key", 7);
    assert_int_equal(answer.value_bytes, 3);
    assert_memory_equal(answer.value, "abc", 3);
    assert_int_equal(answer.number, 77);
}

static void nonsense_is_refused(void **state)
{
    static const char *const texts[] = {
        "\n",
        "\r\n",
        "END\n",
        "VALUE\r\n",
        "VALUE k 0\r\n",
        "VALUE k x 3\r\nabc\r\n",
        "VALUE k 0 3\r\nabcde",
        "VALUE k 0 99999999999\r\n",
        "VALUE k 0 3 x\r\nabc\r\n",
        "VA\r\n",
        "VA x\r\n",
        "-5\r\n",
        "18446744073709551616\r\n",
        "STOREDX\r\n",
        "+OK\r\n",
        "$-1\r\n",
    };
    struct pc_memcached_answer answer;
    size_t bytes;
    for (size_t i = 0; i < PC_COUNT_OF(texts); i++) {
        assert_int_equal(parse_exact(texts[i], strlen(texts[i]), &answer, &bytes), PC_ANSWER_BAD);
    }
    char endless[PC_MEMCACHED_ANSWER_LINE_BYTES_MAX];
    memset(endless, 'x', sizeof(endless));
    assert_int_equal(parse_exact(endless, sizeof(endless), &answer, &bytes), PC_ANSWER_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_written_as_documented),
        cmocka_unit_test(longest_request_fits_its_room),
        cmocka_unit_test(answers_are_recognised_at_any_cut),
        cmocka_unit_test(parts_of_a_value_are_found),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
