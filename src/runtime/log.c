/* SPDX-License-Identifier: Apache-2.0 */
/* log: a bucket per kind of event, a line on the stack, one write. */
#include "runtime/log.h"

#include "base/check.h"
#include "runtime/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S      UINT64_C(1000000000)
#define SECONDS_A_DAY 86400

/* One kind of event. Any thread claims a bucket by putting its event there, for ever, by exchange
 * from NULL; the other two words are counts in their own right and order nothing else.
 * `paid_until_ns` is when all lines so far will have been paid for, one each interval. */
struct bucket {
    _Atomic(const char *) event;
    _Atomic(uint64_t) paid_until_ns;
    _Atomic(uint64_t) suppressed_count;
};

struct pc_log {
    const struct pc_kernel *kernel;
    int fd;
    enum pc_log_level level;
    uint64_t burst_ns; /* how far ahead of the clock a bucket may be paid, and still be open */
    uint64_t interval_ns;
    struct bucket buckets[PC_LOG_EVENTS];
};

/* A line in the making; the last bytes are kept for what must be said in any case. */
struct line {
    size_t used;
    bool cut;
    char text[PC_LOG_LINE_BYTES];
};

enum { LINE_RESERVE = 48 }; /* ` suppressed=` and 20 digits, ` cut=true`, newline */

struct pc_log *pc_log_create(const struct pc_log_config *config)
{
    struct pc_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return NULL;
    }
    unsigned burst = config->burst != 0 ? config->burst : 10;
    log->kernel = config->kernel != NULL ? config->kernel : pc_kernel_linux();
    log->fd = config->fd != 0 ? config->fd : 2;
    log->level = config->level;
    log->interval_ns = config->interval_ns != 0 ? config->interval_ns : NS_PER_S;
    log->burst_ns = (burst - 1) * log->interval_ns;
    return log;
}

void pc_log_destroy(struct pc_log *log)
{
    free(log);
}

struct pc_field pc_field_bytes(const char *key, const void *at, size_t bytes)
{
    return (struct pc_field){.key = key, .kind = PC_FIELD_TEXT, .text = at, .text_bytes = bytes};
}

struct pc_field pc_field_text(const char *key, const char *text)
{
    return pc_field_bytes(key, text, text != NULL ? strlen(text) : 0);
}

struct pc_field pc_field_number(const char *key, uint64_t number)
{
    return (struct pc_field){.key = key, .kind = PC_FIELD_NUMBER, .number = number};
}

struct pc_field pc_field_signed(const char *key, int64_t number)
{
    return (struct pc_field){.key = key, .kind = PC_FIELD_SIGNED, .number = (uint64_t)number};
}

struct pc_field pc_field_error(const char *key, int error)
{
    const char *words = strerrordesc_np(abs(error));
    return pc_field_text(key, words != NULL ? words : "unknown error");
}

bool pc_log_wants(const struct pc_log *log, enum pc_log_level level)
{
    return log != NULL && level >= log->level && level < PC_LOG_SILENT;
}

/* The bucket of `event`, claimed if it is new; the last one stands for all that find no room. */
static struct bucket *bucket_find(struct pc_log *log, const char *event)
{
    for (unsigned i = 0; i < PC_LOG_EVENTS - 1; i++) {
        const char *there = atomic_load_explicit(&log->buckets[i].event, memory_order_relaxed);
        if (there == NULL &&
            atomic_compare_exchange_strong_explicit(&log->buckets[i].event, &there, event,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return &log->buckets[i];
        }
        if (there == event || strcmp(there, event) == 0) {
            return &log->buckets[i];
        }
    }
    return &log->buckets[PC_LOG_EVENTS - 1];
}

/* Pay for one line; false when the bucket is paid too far ahead. */
static bool bucket_take(struct pc_log *log, struct bucket *bucket)
{
    uint64_t now_ns = log->kernel->clock_ns(log->kernel);
    uint64_t paid_ns = atomic_load_explicit(&bucket->paid_until_ns, memory_order_relaxed);
    for (;;) {
        if (paid_ns > now_ns + log->burst_ns) {
            atomic_fetch_add_explicit(&bucket->suppressed_count, 1, memory_order_relaxed);
            return false;
        }
        uint64_t next_ns = (paid_ns > now_ns ? paid_ns : now_ns) + log->interval_ns;
        if (atomic_compare_exchange_weak_explicit(&bucket->paid_until_ns, &paid_ns, next_ns,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
}

/* Append whole or not at all; what follows a piece that did not fit is left out as well. */
__attribute__((format(printf, 2, 3))) static void line_print(struct line *line, const char *format,
                                                             ...)
{
    size_t room = sizeof(line->text) - LINE_RESERVE - line->used;
    va_list arguments;
    va_start(arguments, format);
    int bytes = line->cut ? 0 : vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (bytes >= 0 && (size_t)bytes < room) {
        line->used += (size_t)bytes;
    } else {
        line->cut = true;
    }
}

/* Year, month and day of a count of days since 1970-01-01 (Hinnant, "chrono-compatible low-level
 * date algorithms"); gmtime_r would take the C library's time zone lock. */
static void line_print_time(struct line *line, uint64_t realtime_ns)
{
    uint64_t second = realtime_ns / NS_PER_S;
    uint64_t day = second / SECONDS_A_DAY + 719468; /* since 0000-03-01 */
    unsigned in_day = (unsigned)(second % SECONDS_A_DAY);
    uint64_t era = day / 146097; /* days in 400 years */
    unsigned day_of_era = (unsigned)(day % 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    unsigned month = march_month < 10 ? march_month + 3 : march_month - 9;
    line_print(line, "ts=%04" PRIu64 "-%02u-%02uT%02u:%02u:%02u.%03uZ",
               era * 400 + year_of_era + (month <= 2), month,
               day_of_year - (153 * march_month + 2) / 5 + 1, in_day / 3600, in_day / 60 % 60,
               in_day % 60, (unsigned)(realtime_ns % NS_PER_S / 1000000));
}

static const char *level_name(enum pc_log_level level)
{
    switch (level) {
    case PC_LOG_DEBUG:
        return "debug";
    case PC_LOG_INFO:
        return "info";
    case PC_LOG_WARN:
        return "warn";
    default:
        return "error";
    }
}

static bool is_plain(unsigned char byte)
{
    return byte > ' ' && byte < 0x7f && byte != '"' && byte != '=' && byte != '\\';
}

static void line_print_quoted(struct line *line, const char *text, size_t bytes)
{
    size_t before = line->used;
    line_print(line, "\"");
    for (size_t i = 0; i < bytes && !line->cut; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') {
            line_print(line, "\\%c", byte);
        } else if (byte == '\n') {
            line_print(line, "\\n");
        } else if (byte < ' ' || byte >= 0x7f) {
            line_print(line, "\\x%02x", byte);
        } else {
            line_print(line, "%c", byte);
        }
    }
    line_print(line, "\"");
    if (line->cut && line->used > before) {
        line->text[line->used++] = '"'; /* there is room: the reserve */
    }
}

static void line_print_field(struct line *line, const struct pc_field *field)
{
    line_print(line, " %s=", field->key);
    if (field->kind == PC_FIELD_NUMBER) {
        line_print(line, "%" PRIu64, field->number);
        return;
    }
    if (field->kind == PC_FIELD_SIGNED) {
        line_print(line, "%" PRId64, (int64_t)field->number);
        return;
    }
    bool plain = field->text_bytes != 0;
    for (size_t i = 0; plain && i < field->text_bytes; i++) {
        plain = is_plain((unsigned char)field->text[i]);
    }
    if (plain && field->text_bytes < PC_LOG_LINE_BYTES) {
        line_print(line, "%.*s", (int)field->text_bytes, field->text);
    } else {
        line_print_quoted(line, field->text, field->text_bytes);
    }
}

/* False when the descriptor did not take the whole line. */
static bool line_write(const struct pc_log *log, const struct line *line)
{
    const struct pc_kernel *kernel = log->kernel;
    ssize_t count;
    do {
        count = kernel->write(kernel, log->fd, line->text, line->used);
    } while (count == -EINTR);
    return count == (ssize_t)line->used;
}

static bool write_line(struct pc_log *log, enum pc_log_level level, const char *event,
                       const struct pc_field *fields, unsigned field_count, uint64_t suppressed)
{
    struct line line;
    line.used = 0;
    line.cut = false;
    line_print_time(&line, log->kernel->realtime_ns(log->kernel));
    line_print(&line, " level=%s event=%s", level_name(level), event);
    for (unsigned i = 0; i < field_count; i++) {
        line_print_field(&line, &fields[i]);
    }
    const char *cut = line.cut ? " cut=true" : "";
    char *end = line.text + line.used;
    size_t room = sizeof(line.text) - line.used;
    int bytes = suppressed != 0
                    ? snprintf(end, room, " suppressed=%" PRIu64 "%s\n", suppressed, cut)
                    : snprintf(end, room, "%s\n", cut);
    line.used += (size_t)bytes; /* always fits: see LINE_RESERVE */
    return line_write(log, &line);
}

void pc_log_write(struct pc_log *log, enum pc_log_level level, const char *event,
                  const struct pc_field *fields, unsigned field_count)
{
    if (!pc_log_wants(log, level)) {
        return;
    }
    struct bucket *bucket = bucket_find(log, event);
    if (!bucket_take(log, bucket)) {
        return;
    }
    uint64_t suppressed =
        atomic_exchange_explicit(&bucket->suppressed_count, 0, memory_order_relaxed);
    if (!write_line(log, level, event, fields, field_count, suppressed)) {
        atomic_fetch_add_explicit(&bucket->suppressed_count, suppressed + 1, memory_order_relaxed);
    }
}

void pc_log_write_always(struct pc_log *log, enum pc_log_level level, const char *event,
                         const struct pc_field *fields, unsigned field_count)
{
    if (pc_log_wants(log, level)) {
        (void)write_line(log, level, event, fields, field_count, 0); /* nobody left to tell */
    }
}
