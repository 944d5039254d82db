/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: the memcached parser makes the same requests of the same bytes wherever they are cut.
 * Method: each stream stands beside the requests it means; it is parsed whole, cut in two at every
 * place, and byte by byte, always with its end against an unreadable page.
 */
#include "protocols/memcached.h"
#include "protocols/memcached_meta.h"

#include "memcached_replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FORMAT "refused(CLIENT_ERROR bad command line format)\n"
#define TEN    "kkkkkkkkkk"
#define FIFTY  TEN TEN TEN TEN TEN
#define MOST   "18446744073709551615"
#define K250   FIFTY FIFTY FIFTY FIFTY FIFTY

struct sample {
    const char *stream, *meaning;
};

static const struct sample samples[] = {
    {"get a\r\n", "get(a 0)END\n"},
    {"get a\n", "get(a 0)END\n"},
    {"get a\r\r\n", "get(a\\0d 0)END\n"},
    {"get  a  b c \r\n", "get(a 0)get(b 0)get(c 0)END\n"},
    {"gets a\r\nget b\r\n", "gets(a 0)END\nget(b 0)END\n"},
    {"get a\tb\x01\r\n", "get(a\\09b\\01 0)END\n"},
    {"get\r\n", FORMAT},
    {"get \r\n", FORMAT},
    {"gets    \n", FORMAT},
    {"get " K250 "\r\n", "get(" K250 " 0)END\n"},
    {"get " K250 "\r\r\n", FORMAT},
    {"get " K250 "k\r\nget b\r\n", FORMAT "get(b 0)END\n"},
    {"get a " K250 "k b\r\nget b\r\n", FORMAT "get(b 0)END\n"},
    {"gat 10 a b\r\n", "gat(a 10)gat(b 10)END\n"},
    {"gats -1  a\n", "gats(a -1)END\n"},
    {"gat\r\n", FORMAT},
    {"gat 0\r\n", FORMAT},
    {"gat x \r\n", FORMAT},
    {"gat x a\r\n", "refused(CLIENT_ERROR invalid exptime argument)\n"},
    {"gat 2147483648 a\r\n", "refused(CLIENT_ERROR invalid exptime argument)\n"},
    {"gat +1 a b c\r\nget a\r\n", "refused(CLIENT_ERROR invalid exptime argument)\nget(a 0)END\n"},
    {"set a 1 2 3\r\nxyz\r\n", "set(a 1 2 0)[3]xyz\n"},
    {"set a 1 2 3\nxyz\r\n", "set(a 1 2 0)[3]xyz\n"},
    {"set a 1 2 0\r\n\r\n", "set(a 1 2 0)[0]\n"},
    {"set a 1 2 3 noreply\r\nx\r\n\r\n", "set~(a 1 2 0)[3]x\\0d\\0a\n"},
    {"set a 1 2 3 noreply more\r\nxyz\r\n", "set(a 1 2 0)[3]xyz\n"},
    {"set  a  +1 -5 00003 \r\nxyz\r\n", "set(a 1 -5 0)[3]xyz\n"},
    {"set a 4294967297 4294967297 1\r\nx\r\n", "set(a 1 1 0)[1]x\n"},
    {"set a -0 2147483648 1\r\nx\r\n", "set(a 0 -2147483648 0)[1]x\n"},
    {"set a 0 0 1\r\nxy\r\n", "refused(CLIENT_ERROR bad data chunk)[1]\n" FORMAT},
    {"set a -1 0 1\r\nx\r\n", "refused(CLIENT_ERROR bad command line format)[1]\n"},
    {"set a x 0 1 noreply\r\nx\r\n", "refused(quiet CLIENT_ERROR bad command line format)[1]\n"},
    {"set a 0 x 1\r\nx\r\n", "refused(CLIENT_ERROR bad command line format)[1]\n"},
    {"set " K250 "k 0 0 1\r\nx\r\n", "refused(CLIENT_ERROR bad command line format)[1]\n"},
    {"set " K250 " 0 0 1\r\nx\r\n", "set(" K250 " 0 0 0)[1]x\n"},
    {"set a 0 0 -1\r\n", FORMAT},
    {"set a 0 0 +1\r\n", FORMAT},
    {"set a 0 0 x noreply\r\n", FORMAT},
    {"set a 0 0 2147483646\r\n", FORMAT},
    {"set a 0 0 4294967297\r\n", FORMAT},
    {"set a 0 0 000000000001\r\n", FORMAT},
    {"set a 0 0\r\n", FORMAT},
    {"set a 0 0 2147483645\r\n", "set(a 0 0 0)[2147483645]\n"},
    {"set a 0 0 16385\r\n", "set(a 0 0 0)[16385]\n"},
    {"set a 18446744073709551616 0 20000\r\n",
     "refused(CLIENT_ERROR bad command line format)[20000]\n"},
    {"add a 0 0 1\r\nx\r\nreplace a 0 0 1\r\nx\r\n", "add(a 0 0 0)[1]x\nreplace(a 0 0 0)[1]x\n"},
    {"append a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\n",
     "append(a 0 0 0)[1]x\nprepend(a 0 0 0)[1]x\n"},
    {"cas a 0 0 1 18446744073709551615\r\nx\r\n", "cas(a 0 0 18446744073709551615)[1]x\n"},
    {"cas a 0 0 1 5 noreply\r\nx\r\n", "cas~(a 0 0 5)[1]x\n"},
    {"cas a 0 0 1\r\nx\r\n", "refused(CLIENT_ERROR bad command line format)[1]\n"},
    {"cas a 0 0 1 -1\r\nx\r\n", "refused(CLIENT_ERROR bad command line format)[1]\n"},
    {"delete a\r\ndelete a 0\r\ndelete a noreply\r\n",
     "delete(a 0 0 0)\ndelete(a 0 0 0)\ndelete~(a 0 0 0)\n"},
    {"delete a 0 noreply\r\n", "delete~(a 0 0 0)\n"},
    {"delete a 1\r\n",
     "refused(CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply])\n"},
    {"delete a b c d e\r\n",
     "refused(CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply])\n"},
    {"delete noreply\r\n", "delete~(noreply 0 0 0)\n"},
    {"delete\r\n", FORMAT},
    {"delete " K250 "k\r\n", FORMAT},
    {"incr a 18446744073709551615\r\n", "incr(a 0 0 18446744073709551615)\n"},
    {"decr a 1 noreply\r\n", "decr~(a 0 0 1)\n"},
    {"incr a 18446744073709551616\r\n", "refused(CLIENT_ERROR invalid numeric delta argument)\n"},
    {"incr a -1\r\n", "refused(CLIENT_ERROR invalid numeric delta argument)\n"},
    {"incr a noreply\r\n", "refused(quiet CLIENT_ERROR invalid numeric delta argument)\n"},
    {"incr a\r\n", FORMAT},
    {"touch a 5\r\ntouch a -1 noreply\r\n", "touch(a 0 5 0)\ntouch~(a 0 -1 0)\n"},
    {"touch a x\r\n", "refused(CLIENT_ERROR invalid exptime argument)\n"},
    {"touch a\r\n", FORMAT},
    {"flush_all\r\nflush_all noreply\r\n", "flush_all( 0 0 0)\nflush_all~( 0 0 0)\n"},
    {"flush_all 10\r\nflush_all 10 noreply\r\n", "flush_all( 0 10 0)\nflush_all~( 0 10 0)\n"},
    {"flush_all x\r\n", "refused(CLIENT_ERROR invalid exptime argument)\n"},
    {"version\r\nversion noreply\r\n", "version( 0 0 0)\nversion( 0 0 0)\n"},
    {"verbosity 3\r\nverbosity 3 noreply\r\n", "verbosity( 0 0 3)\nverbosity~( 0 0 3)\n"},
    {"verbosity\r\nverbosity x\r\n", FORMAT FORMAT},
    {"stats\r\nstats items\r\n", "stats( 0 0 0)\nstats( 0 0 0)\n"},
    {"quit\r\nquit now\r\n", "quit( 0 0 0)\nquit( 0 0 0)\n"},
    {"shutdown\r\nshutdown graceful\r\n", "shutdown( 0 0 0)\nshutdown( 0 0 1)\n"},
    {"shutdown now\r\n", "refused(CLIENT_ERROR invalid shutdown mode)\n"},
    {"mn\r\nmn foo\r\n", "mn( 0 0 0)\nmn( 0 0 0)\n"},
    {"mg a\r\n", "mg(a 0 0 0){0 0 0 0 0 0 1 0 VA\\20" MOST "\\20Z\\20X\\20W}\n"},
    {"mg a k Oxy s\r\n",
     "mg(a 0 0 0){0 0 0 0 0 0 1 0 VA\\20" MOST "\\20ka\\20Oxy\\20s" MOST "\\20Z\\20X\\20W}\n"},
    {"mg a T-5 N7 R9 C1 E2\r\n", "mg(a 0 0 0){-5 7 9 0 1 2 1 0 VA\\20" MOST "\\20Z\\20X\\20W}\n"},
    {"ma a J3 D4 q\r\n", "ma(a 0 0 0){0 0 0 0 0 0 4 3 VA\\20" MOST "\\20Z\\20X\\20W}\n"},
    {"ms Zm8= 2 b k F8\r\nhi\r\n",
     "ms(Zm8= 0 0 0){0 0 0 8 0 0 1 0 VA\\20" MOST "\\20kZm8=\\20b\\20Z\\20X\\20W}[2]hi\n"},
    {"ms a 2\r\nhixx\r\n", "refused(CLIENT_ERROR bad data chunk)[2]\n" FORMAT},
    {"ms a x\r\nms a\r\nms a S2\r\n", FORMAT FORMAT FORMAT},
    {"mg a v v\r\n", "mg(a 0 0 0){CLIENT_ERROR duplicate flag}\n"},
    {"mg a Z\r\n", "mg(a 0 0 0){CLIENT_ERROR invalid flag}\n"},
    {"mg a Tx\r\n", "mg(a 0 0 0){CLIENT_ERROR bad token in command line format}\n"},
    {"mg a -\r\n", "mg(a 0 0 0){CLIENT_ERROR bad command line format}\n"},
    {"mg a= b\r\n", "mg(a= 0 0 0){CLIENT_ERROR error decoding key}\n"},
    {"mg a a b c d e f g h i j k l m n o p q r s\r\n",
     "mg(a 0 0 0){CLIENT_ERROR options flags are too long}\n"},
    {"md " K250 "k\r\nmd\r\n", FORMAT FORMAT},
    {"\r\n", FORMAT},
    {"\n", FORMAT},
    {"a\r\n", FORMAT},
    {"ab\r\n", "refused(ERROR)\n"},
    {"foo bar\r\n", "refused(ERROR)\n"},
    {"foo noreply\r\n", "refused(quiet ERROR)\n"},
    {" get a\r\n", "refused(ERROR)\n"},
    {"GET a\r\n", "refused(ERROR)\n"},
    {"getsx a\r\n", "refused(ERROR)\n"},
    {"GET / HTTP/1.1\r\nget a\r\n", "closed\n"},
    {"get / HTTP/1.1\r\n", "get(/ 0)get(HTTP/1.1 0)END\n"},
};

static char *read_whole(struct replay *replay, const char *stream, size_t count)
{
    replay_begin(replay, stream);
    replay_arrive(replay, count);
    return strndup(replay->text, replay->text_bytes);
}

/* The meaning is the same cut in two every `step` bytes, and in pieces of `piece` bytes. */
static void check_cuts(struct replay *replay, const char *stream, size_t count, size_t step,
                       size_t piece)
{
    char *whole = read_whole(replay, stream, count);
    for (size_t cut = 0; cut < count; cut += step) {
        replay_begin(replay, stream);
        replay_arrive(replay, cut);
        replay_arrive(replay, count);
        assert_string_equal(replay->text, whole);
    }
    replay_begin(replay, stream);
    for (size_t here = piece; here < count; here += piece) {
        replay_arrive(replay, here);
    }
    replay_arrive(replay, count);
    assert_string_equal(replay->text, whole);
    free(whole);
}

static void lines_mean_what_the_protocol_says(void **state)
{
    struct replay *replay = *state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        char *whole = read_whole(replay, samples[i].stream, strlen(samples[i].stream));
        assert_string_equal(whole, samples[i].meaning);
        free(whole);
    }
}

static void any_cut_means_the_same(void **state)
{
    struct replay *replay = *state;
    size_t all_bytes = 0;
    static char all[1 << 16];
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const size_t count = strlen(samples[i].stream);
        check_cuts(replay, samples[i].stream, count, 1, 1);
        if (strstr(samples[i].meaning, "closed") == NULL && count > 0 &&
            strstr(samples[i].meaning, "[2147483645]") == NULL) {
            memcpy(all + all_bytes, samples[i].stream, count);
            all_bytes += count;
        }
    }
    check_cuts(replay, all, all_bytes, 7, 13);
}

static void a_line_of_keys_has_no_end_but_its_own(void **state)
{
    struct replay *replay = *state;
    enum { KEYS = 5000 };
    static char stream[KEYS * 8 + 32];
    char *at = stream + sprintf(stream, "get ");
    for (int i = 0; i < KEYS; i++) {
        at += sprintf(at, "key%04d ", i);
    }
    at += sprintf(at, "\r\nget z\r\n");
    const size_t count = (size_t)(at - stream);
    char *whole = read_whole(replay, stream, count);
    char *expected = malloc(count * 4), *next = expected;
    for (int i = 0; i < KEYS; i++) {
        next += sprintf(next, "get(key%04d 0)", i);
    }
    sprintf(next, "END\nget(z 0)END\n");
    assert_string_equal(whole, expected);
    free(expected);
    free(whole);
    check_cuts(replay, stream, count, 307, 1);
}

static void long_keys_fill_windows_by_bytes(void **state)
{
    struct replay *replay = *state;
    enum { KEYS = 200 };
    static char stream[KEYS * 260];
    char *at = stream + sprintf(stream, "gats 77 ");
    for (int i = 0; i < KEYS; i++) {
        at += sprintf(at, "%03d" TEN TEN TEN TEN FIFTY FIFTY FIFTY FIFTY "%s", i,
                      i % 7 ? " " : "   ");
    }
    at += sprintf(at, "\n");
    check_cuts(replay, stream, (size_t)(at - stream), 101, 3);
    assert_non_null(strstr(replay->text, "gats(199"));
}

static void a_refused_line_is_thrown_away_to_its_end(void **state)
{
    struct replay *replay = *state;
    enum { BYTES = 60000 };
    static char stream[BYTES + 64];
    char *at = stream + sprintf(stream, "get a ");
    memset(at, 'x', BYTES);
    at += BYTES;
    at += sprintf(at, " b\r\nget z\r\n");
    const size_t count = (size_t)(at - stream);
    check_cuts(replay, stream, count, 509, 1);
    assert_string_equal(replay->text, FORMAT "get(z 0)END\n");
    memset(stream + 5, ' ', BYTES);
    check_cuts(replay, stream, count, 509, 1);
}

static void any_other_line_is_cut_off_at_its_limit(void **state)
{
    struct replay *replay = *state;
    static char stream[4096];
    memset(stream, 'x', sizeof(stream));
    check_cuts(replay, stream, sizeof(stream), 1, 1);
    assert_string_equal(replay->text, "closed\n");
    stream[PC_MEMCACHED_LINE_BYTES_MAX - 1] = '\n';
    check_cuts(replay, stream, PC_MEMCACHED_LINE_BYTES_MAX, 1, 1);
    assert_string_equal(replay->text, "refused(ERROR)\n");
    memcpy(stream, "gat 1", 5);
    stream[PC_MEMCACHED_LINE_BYTES_MAX - 1] = '1';
    stream[PC_MEMCACHED_LINE_BYTES_MAX] = '\n';
    check_cuts(replay, stream, sizeof(stream), 1, 1);
    assert_string_equal(replay->text, "closed\n");
}

static void values_long_and_short_of_the_line_are_taken(void **state)
{
    struct replay *replay = *state;
    static char stream[2 * 16500];
    for (int bytes = PC_MEMCACHED_INLINE_BYTES_MAX - 1; bytes <= PC_MEMCACHED_INLINE_BYTES_MAX + 1;
         bytes++) {
        char *at = stream + sprintf(stream, "set a 0 0 %d\r\n", bytes);
        memset(at, 'v', (size_t)bytes);
        at += bytes;
        at += sprintf(at, "\r\nget z\r\n");
        check_cuts(replay, stream, (size_t)(at - stream), 251, 1);
        assert_non_null(strstr(replay->text, "get(z 0)END"));
    }
}

static void value_lines_are_printed(void **state)
{
    (void)state;
    char line[PC_MEMCACHED_VALUE_LINE_BYTES_MAX];
    const uint64_t cas = UINT64_MAX;
    size_t bytes = pc_memcached_value_line(line, "key", 3, 0, 5, NULL);
    assert_int_equal(bytes, strlen("VALUE key 0 5\r\n"));
    assert_memory_equal(line, "VALUE key 0 5\r\n", bytes);
    bytes = pc_memcached_value_line(line, K250, 250, UINT32_MAX, UINT32_MAX, &cas);
    assert_int_equal(bytes, PC_MEMCACHED_VALUE_LINE_BYTES_MAX);
    assert_memory_equal(line + 256, " 4294967295 4294967295 18446744073709551615\r\n", bytes - 256);
}

static int set_up(void **state)
{
    struct replay *replay = malloc(sizeof(*replay));
    replay_init(replay);
    *state = replay;
    return 0;
}

static int tear_down(void **state)
{
    replay_fini(*state);
    free(*state);
    return 0;
}

static struct pc_memcached_request parse_line(const char *text)
{
    struct pc_memcached_request request;
    struct pc_memcached_line line = {0};
    size_t bytes;
    assert_int_equal(
        pc_memcached_parse(line, (const uint8_t *)text, strlen(text), &request, &line, &bytes),
        PC_MEMCACHED_DONE);
    assert_int_equal(bytes, strlen(text));
    return request;
}

/* Every order of some of the letters, behind what `line` has already. */
static unsigned plain_orders(char *line, const char *letters)
{
    static const struct pc_memcached_facts facts = {
        .value_bytes = 1234, .cas = 77, .flags = 5, .ttl_seconds = -1};
    char plain[PC_MEMCACHED_META_LINE_BYTES_MAX], cut[PC_MEMCACHED_META_LINE_BYTES_MAX];
    const size_t length = strlen(line);
    unsigned count = 1;
    memcpy(line + length, "\r\n", 3);
    const uint8_t *at = (const uint8_t *)line;
    const struct pc_memcached_request request = parse_line(line);
    assert_true(request.plain);
    struct pc_memcached_meta meta;
    pc_memcached_meta_parse(at, &request, &meta);
    assert_int_equal(meta.refusal, 0);
    assert_int_equal(meta.wants_value, request.wants_value);
    const size_t bytes = pc_memcached_meta_plain_line(plain, at, &request, &facts);
    assert_int_equal(bytes, pc_memcached_meta_line(cut, request.wants_value ? "VA" : "HD",
                                                   "stcflhkO", at, &request, &meta, &facts));
    assert_memory_equal(plain, cut, bytes);
    for (const char *letter = letters; *letter != '\0'; letter++) {
        if (strchr(line + 6, *letter) == NULL) { /* behind the key */
            line[length] = ' ';
            line[length + 1] = *letter;
            line[length + 2] = '\0';
            count += plain_orders(line, letters);
        }
        line[length] = '\0';
    }
    return count;
}

static void a_plain_mg_is_answered_like_any_other(void **state)
{
    char line[64] = "mg key";
    assert_int_equal(plain_orders(line, "cfkstv"), 1957);
    static const char *const others[] = {"mg key  v\r\n",   "mg key v \r\n", "mg key q\r\n",
                                         "mg key v v\r\n",  "mg key vf\r\n", "mg key Ox\r\n",
                                         "mg key N0 v\r\n", "mg key h\r\n",  "mg key V\r\n"};
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(parse_line(others[i]).plain);
    }
}

/* Whatever is between them, what fits of them, and never a byte behind the text's end. */
static void words_are_cut_at_spaces(void **state)
{
    static const struct {
        const char *text;
        unsigned count;
        const char *words[3];
    } rows[] = {
        {"", 0, {NULL}},
        {"   ", 0, {NULL}},
        {"a", 1, {"a"}},
        {"  one  two ", 2, {"one", "two"}},
        {"a\tb c\r d", 3, {"a\tb", "c\r", "d"}},
        {"one two three four five", 5, {"one", "two", "three"}},
    };
    struct guarded guarded;
    guarded_init(&guarded);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const size_t bytes = strlen(rows[i].text);
        const uint8_t *text = guarded_copy(&guarded, rows[i].text, bytes);
        for (unsigned room = 0; room <= 3; room++) {
            struct pc_memcached_word words[4] = {{0}};
            assert_int_equal(pc_memcached_words(text, bytes, words, room), rows[i].count);
            const unsigned kept = rows[i].count < room ? rows[i].count : room;
            for (unsigned j = 0; j < kept; j++) {
                assert_int_equal(words[j].count, strlen(rows[i].words[j]));
                assert_memory_equal(words[j].at, rows[i].words[j], words[j].count);
            }
            assert_null(words[kept].at);
        }
    }
    guarded_fini(&guarded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_mean_what_the_protocol_says),
        cmocka_unit_test(any_cut_means_the_same),
        cmocka_unit_test(a_line_of_keys_has_no_end_but_its_own),
        cmocka_unit_test(long_keys_fill_windows_by_bytes),
        cmocka_unit_test(a_refused_line_is_thrown_away_to_its_end),
        cmocka_unit_test(any_other_line_is_cut_off_at_its_limit),
        cmocka_unit_test(values_long_and_short_of_the_line_are_taken),
        cmocka_unit_test(value_lines_are_printed),
        cmocka_unit_test(a_plain_mg_is_answered_like_any_other),
        cmocka_unit_test(words_are_cut_at_spaces),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
