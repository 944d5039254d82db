/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goal: a line is whole, quoted, dated right, and never one of too many.
 * Method: an invented kernel that keeps what is written and whose clocks a test moves; one test
 * writes from several threads to a real pipe.
 */
#include "runtime/log.h"

#include "base/check.h"
#include "runtime/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

struct machine {
    struct pc_kernel kernel;
    uint64_t now_ns, realtime_ns;
    unsigned writes;
    int fd;
    ssize_t refusal;  /* what write says instead, once */
    char text[65536]; /* all lines, as written */
    size_t bytes;
};

static struct machine *machine_of(const struct pc_kernel *kernel)
{
    return PC_KERNEL_OWNER(kernel, struct machine, kernel);
}

static uint64_t machine_clock_ns(const struct pc_kernel *kernel)
{
    return machine_of(kernel)->now_ns;
}

static uint64_t machine_realtime_ns(const struct pc_kernel *kernel)
{
    return machine_of(kernel)->realtime_ns;
}

static ssize_t machine_write(const struct pc_kernel *kernel, int fd, const void *from, size_t bytes)
{
    struct machine *machine = machine_of(kernel);
    machine->writes++;
    machine->fd = fd;
    if (machine->refusal != 0) {
        ssize_t refusal = machine->refusal;
        machine->refusal = 0;
        return refusal;
    }
    assert_true(machine->bytes + bytes < sizeof(machine->text));
    memcpy(machine->text + machine->bytes, from, bytes);
    machine->bytes += bytes;
    machine->text[machine->bytes] = 0;
    return (ssize_t)bytes;
}

static void machine_init(struct machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    machine->kernel.clock_ns = machine_clock_ns;
    machine->kernel.realtime_ns = machine_realtime_ns;
    machine->kernel.write = machine_write;
    machine->now_ns = 5 * SECOND;
    machine->realtime_ns = UINT64_C(1795296608123456789);
}

static struct pc_log *machine_log(struct machine *machine, enum pc_log_level level)
{
    machine_init(machine);
    struct pc_log_config config = {.kernel = &machine->kernel, .level = level};
    struct pc_log *log = pc_log_create(&config);
    assert_non_null(log);
    return log;
}

static void line_is_logfmt_in_one_write(void **state)
{
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    PC_LOG(log, PC_LOG_WARN, "stall", pc_field_number("core", 1), pc_field_signed("delta", -3),
           pc_field_text("peer", "127.0.0.1:9000"), pc_field_error("why", -ECONNRESET));
    assert_string_equal(machine.text, "ts=2026-11-21T21:30:08.123Z level=warn event=stall core=1 "
                                      "delta=-3 peer=127.0.0.1:9000 "
                                      "why=\"Connection reset by peer\"\n");
    assert_int_equal(machine.writes, 1);
    assert_int_equal(machine.fd, 2);
    pc_log_write(log, PC_LOG_ERROR, "bare", NULL, 0);
    assert_non_null(strstr(machine.text, " level=error event=bare\n"));
    pc_log_destroy(log);
}

static void dates_agree_with_the_c_library(void **state)
{
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    for (uint64_t second = 0; second < UINT64_C(7500000000); second += 86400 * 13 + 3607) {
        machine.realtime_ns = second * SECOND;
        machine.bytes = 0;
        pc_log_write_always(log, PC_LOG_INFO, "tick", NULL, 0);
        time_t time = (time_t)second;
        struct tm parts;
        char expected[64];
        assert_non_null(gmtime_r(&time, &parts));
        assert_true(strftime(expected, sizeof(expected), "ts=%Y-%m-%dT%H:%M:%S.000Z ", &parts) > 0);
        assert_memory_equal(machine.text, expected, strlen(expected));
    }
    pc_log_destroy(log);
}

static void values_are_quoted_as_needed(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
        const char *printed;
    } rows[] = {
        {"plain", 5, "v=plain"},
        {"", 0, "v=\"\""},
        {"two words", 9, "v=\"two words\""},
        {"a=b", 3, "v=\"a=b\""},
        {"say \"hi\"", 8, "v=\"say \\\"hi\\\"\""},
        {"back\\", 5, "v=\"back\\\\\""},
        {"line\nts=forged", 14, "v=\"line\\nts=forged\""},
        {"\0\r\x7f\xff", 4, "v=\"\\x00\\x0d\\x7f\\xff\""},
    };
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    for (size_t i = 0; i < PC_COUNT_OF(rows); i++) {
        machine.bytes = 0;
        struct pc_field field = pc_field_bytes("v", rows[i].bytes, rows[i].count);
        pc_log_write_always(log, PC_LOG_INFO, "e", &field, 1);
        const char *value = strstr(machine.text, " event=e ");
        assert_non_null(value);
        value += strlen(" event=e ");
        assert_int_equal(strcspn(value, "\n"), strlen(rows[i].printed));
        assert_memory_equal(value, rows[i].printed, strlen(rows[i].printed));
    }
    machine.bytes = 0;
    struct pc_field none = pc_field_text("v", NULL);
    pc_log_write_always(log, PC_LOG_INFO, "e", &none, 1);
    assert_non_null(strstr(machine.text, " v=\"\"\n"));
    pc_log_destroy(log);
}

static void too_long_is_cut_and_says_so(void **state)
{
    static struct machine machine;
    static char wide[4 * PC_LOG_LINE_BYTES];
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    const char fill[] = {'x', ' ', '\n', '"'};
    for (size_t i = 0; i < PC_COUNT_OF(fill); i++) {
        for (size_t bytes = 880; bytes < sizeof(wide); bytes += bytes < 1040 ? 1 : 1000) {
            machine.bytes = 0;
            memset(wide, fill[i], bytes);
            struct pc_field fields[] = {pc_field_bytes("wide", wide, bytes),
                                        pc_field_number("after", 1)};
            pc_log_write_always(log, PC_LOG_INFO, "e", fields, 2);
            assert_true(machine.bytes <= PC_LOG_LINE_BYTES);
            assert_int_equal(machine.text[machine.bytes - 1], '\n');
            assert_int_equal(strcspn(machine.text, "\n"), machine.bytes - 1);
            bool whole = strstr(machine.text, " after=1\n") != NULL;
            assert_int_equal(strstr(machine.text, " cut=true\n") == NULL, whole);
            unsigned quotes = 0;
            for (size_t j = 0; j < machine.bytes; j++) {
                quotes += machine.text[j] == '"' && machine.text[j - 1] != '\\';
            }
            assert_int_equal(quotes % 2, 0);
        }
    }
    pc_log_destroy(log);
}

static unsigned lines_of(const struct machine *machine, const char *event)
{
    unsigned count = 0;
    for (const char *at = machine->text; (at = strstr(at, event)) != NULL; at++) {
        count++;
    }
    return count;
}

static void burst_then_one_each_interval(void **state)
{
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    for (unsigned i = 0; i < 1000; i++) {
        pc_log_write(log, PC_LOG_WARN, "flood", NULL, 0);
    }
    assert_int_equal(lines_of(&machine, "event=flood"), 10);
    assert_int_equal(lines_of(&machine, "suppressed"), 0);
    pc_log_write(log, PC_LOG_WARN, "other", NULL, 0); /* another kind is not held back */
    assert_int_equal(lines_of(&machine, "event=other"), 1);

    machine.now_ns += SECOND - 1;
    pc_log_write(log, PC_LOG_WARN, "flood", NULL, 0);
    assert_int_equal(lines_of(&machine, "event=flood"), 10);
    machine.now_ns += 1;
    char same_name[] = "flood"; /* another address, the same kind */
    pc_log_write(log, PC_LOG_WARN, same_name, NULL, 0);
    assert_int_equal(lines_of(&machine, "event=flood suppressed=991\n"), 1);
    pc_log_write(log, PC_LOG_WARN, "flood", NULL, 0);
    assert_int_equal(lines_of(&machine, "event=flood"), 11);

    machine.now_ns += 3600 * SECOND; /* a quiet hour earns one burst, not 3600 lines */
    for (unsigned i = 0; i < 1000; i++) {
        pc_log_write(log, PC_LOG_WARN, "flood", NULL, 0);
    }
    assert_int_equal(lines_of(&machine, "event=flood"), 21);
    assert_int_equal(lines_of(&machine, "suppressed=1\n"), 1);
    pc_log_destroy(log);
}

static void more_kinds_than_buckets_are_still_limited(void **state)
{
    static struct machine machine;
    static char names[4 * PC_LOG_EVENTS][16];
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    for (unsigned i = 0; i < PC_COUNT_OF(names); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "kind%u", i);
        pc_log_write(log, PC_LOG_WARN, names[i], NULL, 0);
    }
    assert_int_equal(lines_of(&machine, "event=kind"), PC_LOG_EVENTS - 1 + 10);
    pc_log_destroy(log);
}

static void levels_filter_and_no_log_is_silent(void **state)
{
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_WARN);
    assert_false(pc_log_wants(log, PC_LOG_INFO));
    assert_true(pc_log_wants(log, PC_LOG_WARN));
    assert_false(pc_log_wants(log, PC_LOG_SILENT));
    assert_false(pc_log_wants(NULL, PC_LOG_ERROR));
    pc_log_write(log, PC_LOG_INFO, "quiet", NULL, 0);
    pc_log_write_always(log, PC_LOG_INFO, "quiet", NULL, 0);
    pc_log_write(NULL, PC_LOG_ERROR, "quiet", NULL, 0);
    assert_int_equal(machine.writes, 0);
    pc_log_destroy(log);
    log = machine_log(&machine, PC_LOG_DEBUG);
    pc_log_write(log, PC_LOG_DEBUG, "detail", NULL, 0);
    assert_non_null(strstr(machine.text, " level=debug event=detail\n"));
    pc_log_destroy(log);
    log = machine_log(&machine, PC_LOG_SILENT);
    pc_log_write(log, PC_LOG_ERROR, "quiet", NULL, 0);
    assert_int_equal(machine.writes, 0);
    pc_log_destroy(log);
    pc_log_destroy(NULL);
}

static void lost_line_is_counted_and_interrupted_one_is_not_lost(void **state)
{
    static struct machine machine;
    struct pc_log *log = machine_log(&machine, PC_LOG_INFO);
    machine.refusal = -EAGAIN;
    pc_log_write(log, PC_LOG_WARN, "full", NULL, 0);
    assert_int_equal(machine.writes, 1);
    machine.refusal = 3; /* the descriptor took three bytes of it */
    pc_log_write(log, PC_LOG_WARN, "full", NULL, 0);
    machine.refusal = -EINTR;
    pc_log_write(log, PC_LOG_WARN, "full", NULL, 0);
    assert_int_equal(machine.writes, 4);
    assert_non_null(strstr(machine.text, "event=full suppressed=2\n"));
    pc_log_destroy(log);
}

enum { WRITERS = 4, LINES = 200 };

struct writer {
    struct pc_log *log;
    unsigned index;
};

static void *write_lines(void *ctx)
{
    const struct writer *writer = ctx;
    for (unsigned i = 0; i < LINES; i++) {
        struct pc_field fields[] = {pc_field_number("writer", writer->index),
                                    pc_field_number("line", i)};
        pc_log_write_always(writer->log, PC_LOG_INFO, "shared", fields, 2);
        pc_log_write(writer->log, PC_LOG_INFO, "limited", fields, 2);
    }
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pc_log_config config = {.fd = ends[1], .burst = 10, .interval_ns = 3600 * SECOND};
    struct pc_log *log = pc_log_create(&config);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){log, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &writers[i]), 0);
    }
    FILE *lines = fdopen(ends[0], "r");
    assert_non_null(lines);
    unsigned next[WRITERS] = {0}, limited = 0;
    char line[PC_LOG_LINE_BYTES + 1];
    for (unsigned seen = 0; seen < WRITERS * LINES + 10; seen++) {
        assert_non_null(fgets(line, sizeof(line), lines));
        unsigned writer, number;
        char event[16];
        assert_int_equal(sscanf(line, "ts=%*s level=info event=%15s writer=%u line=%u\n", event,
                                &writer, &number),
                         3);
        assert_true(writer < WRITERS);
        if (strcmp(event, "limited") == 0) {
            limited++;
            continue;
        }
        assert_string_equal(event, "shared");
        assert_int_equal(number, next[writer]++);
    }
    assert_int_equal(limited, 10);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(next[i], LINES);
    }
    pc_log_destroy(log);
    assert_int_equal(fclose(lines), 0);
    assert_int_equal(close(ends[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_is_logfmt_in_one_write),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(values_are_quoted_as_needed),
        cmocka_unit_test(too_long_is_cut_and_says_so),
        cmocka_unit_test(burst_then_one_each_interval),
        cmocka_unit_test(more_kinds_than_buckets_are_still_limited),
        cmocka_unit_test(levels_filter_and_no_log_is_silent),
        cmocka_unit_test(lost_line_is_counted_and_interrupted_one_is_not_lost),
        cmocka_unit_test(threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
