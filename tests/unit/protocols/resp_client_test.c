/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal    Commands are written as RESP 2 says, elements are recognised at any cut.
 * Method  Every element is parsed at every length from memory of exactly that size.
 */
#include "protocols/resp_client.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void commands_are_written_as_documented(void **state)
{
    char at[200];
    size_t count = pc_resp_ask_begin(at, 3);
    count += pc_resp_ask_word(at + count, (struct pc_text){"SET", 3});
    count += pc_resp_ask_word(at + count, (struct pc_text){"", 0});
    count += pc_resp_ask_word_begin(at + count, 12);
    static const char expected[] = "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n";
    assert_int_equal(count, strlen(expected));
    assert_memory_equal(at, expected, count);
    assert_true(pc_resp_ask_begin(at, UINT32_MAX) <= PC_RESP_HEAD_BYTES_MAX);
}

static enum pc_answered parse_exact(const char *text, size_t count, struct pc_resp_answer *out,
                                    size_t *out_bytes)
{
    uint8_t *at = malloc(count > 0 ? count : 1);
    memcpy(at, text, count);
    const enum pc_answered answered = pc_resp_answer_parse(at, count, out, out_bytes);
    free(at);
    return answered;
}

static void elements_are_recognised_at_any_cut(void **state)
{
    static const struct {
        const char *text;
        enum pc_resp_answer_kind kind;
        int64_t number;
        size_t text_bytes;
    } rows[] = {
        {"+OK\r\n", PC_RESP_ANSWER_SIMPLE, 0, 2},
        {"+\r\n", PC_RESP_ANSWER_SIMPLE, 0, 0},
        {"-ERR syntax error\r\n", PC_RESP_ANSWER_ERROR, 0, 16},
        {":-9223372036854775808\r\n", PC_RESP_ANSWER_INTEGER, INT64_MIN, 20},
        {":0\r\n", PC_RESP_ANSWER_INTEGER, 0, 1},
        {"$-1\r\n", PC_RESP_ANSWER_NIL, -1, 2},
        {"$0\r\n\r\n", PC_RESP_ANSWER_BULK, 0, 0},
        {"$4\r\n\r\n\r\n\r\n", PC_RESP_ANSWER_BULK, 4, 4},
        {"*2\r\n", PC_RESP_ANSWER_ARRAY, 2, 1},
    };
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        const size_t count = strlen(rows[i].text);
        struct pc_resp_answer answer;
        size_t bytes = 0;
        for (size_t cut = 0; cut < count; cut++) {
            assert_int_equal(parse_exact(rows[i].text, cut, &answer, &bytes), PC_ANSWER_MORE);
            assert_true(bytes > cut && bytes <= count);
        }
        assert_int_equal(parse_exact(rows[i].text, count, &answer, &bytes), PC_ANSWER_DONE);
        assert_int_equal(bytes, count);
        assert_int_equal(answer.kind, rows[i].kind);
        assert_int_equal(answer.number, rows[i].number);
        assert_int_equal(answer.text.count, rows[i].text_bytes);
    }
}

static void nonsense_is_refused(void **state)
{
    static const char *const texts[] = {
        "\n",    "\r\n",    "x\r\n",       "END\r\n",
        "$\r\n", "$x\r\n",  "$3\r\nabcde", "$99999999999\r\n",
        ":\r\n", ":1 \r\n", "*a\r\n",      "+OK\n",
    };
    struct pc_resp_answer answer;
    size_t bytes;
    for (size_t i = 0; i < PC_COUNT_OF(texts); i++) {
        assert_int_equal(parse_exact(texts[i], strlen(texts[i]), &answer, &bytes), PC_ANSWER_BAD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_written_as_documented),
        cmocka_unit_test(elements_are_recognised_at_any_cut),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
