/* SPDX-License-Identifier: Apache-2.0 */
#include "protocols/memcached.h"

#include "base/check.h"
#include "protocols/decimal.h"
#include "protocols/memcached_binary.h"

#include <endian.h>
#include <string.h>

/* What follows the command word; see memcached_verbs.def. */
enum shape {
    SHAPE_KEYS,
    SHAPE_STORE,
    SHAPE_DELETE,
    SHAPE_DELTA,
    SHAPE_TOUCH,
    SHAPE_META,
    SHAPE_FLUSH,
    SHAPE_LEVEL,
    SHAPE_WORDS,
    SHAPE_ADMIN,
    SHAPE_SHUTDOWN,
    SHAPE_PLAIN,
};

struct row {
    const char *word;
    uint8_t word_bytes, shape, words_min;
};

static const struct row rows[PC_MEMCACHED_VERB_COUNT] = {
    [PC_MEMCACHED_NOTHING] = {"", 0, SHAPE_PLAIN, 0},
    [PC_MEMCACHED_UNKNOWN] = {"", 0, SHAPE_PLAIN, 0},
    [PC_MEMCACHED_BINARY] = {"", 0, SHAPE_PLAIN, 0},
#define PC_MEMCACHED_VERB(name, word, shape, words_min)                                            \
    [PC_MEMCACHED_##name] = {word, sizeof(word) - 1, SHAPE_##shape, words_min},
#include "protocols/memcached_verbs.def"
#undef PC_MEMCACHED_VERB
};

/* The words of a line: the first few, how many there are, and the last, where noreply stands. */
enum { WORDS_KEPT = 6 };

struct words {
    uint32_t at[WORDS_KEPT], bytes[WORDS_KEPT];
    uint32_t last_at, last_bytes;
    unsigned count;
};

/* memcached's lengths of number words, beyond which it does not look at the digits. */
enum { DIGITS32_MAX = 11, DIGITS64_MAX = 22 };

static bool read_u64(const uint8_t *at, size_t count, uint64_t *out)
{
    return count <= DIGITS64_MAX && pc_decimal_read_u64(at, count, out);
}

static bool read_i32(const uint8_t *at, size_t count, int32_t *out)
{
    int64_t value;
    if (count > DIGITS32_MAX || !pc_decimal_read_i64(at, count, &value) || value < INT32_MIN ||
        value > INT32_MAX) {
        return false;
    }
    *out = (int32_t)value;
    return true;
}

/* Flags and exptime of a store are read as C reads them: a sign may lead, and only the low half of
 * the number is kept. */
static bool read_flags(const uint8_t *at, size_t count, uint32_t *out)
{
    bool negative = count > 0 && at[0] == '-';
    bool signed_word = count > 0 && (negative || at[0] == '+');
    uint64_t value;
    if (!pc_decimal_read_u64(at + signed_word, count - signed_word, &value)) {
        return false;
    }
    if (negative && value != 0 && (int64_t)-value < 0) {
        return false;
    }
    *out = (uint32_t)(negative ? -value : value);
    return true;
}

static bool read_store_exptime(const uint8_t *at, size_t count, int32_t *out)
{
    bool plus = count > 1 && at[0] == '+' && at[1] != '-';
    int64_t value;
    if (!pc_decimal_read_i64(at + plus, count - plus, &value)) {
        return false;
    }
    *out = (int32_t)(uint32_t)(uint64_t)value;
    return true;
}

static void split_words(const uint8_t *at, uint32_t end, struct words *out)
{
    out->count = 0;
    out->last_at = out->last_bytes = 0;
    uint32_t i = 0;
    for (;;) {
        while (i < end && at[i] == ' ') {
            i++;
        }
        if (i == end) {
            return;
        }
        const uint32_t first = i;
        while (i < end && at[i] != ' ') {
            i++;
        }
        if (out->count < WORDS_KEPT) {
            out->at[out->count] = first;
            out->bytes[out->count] = i - first;
        }
        out->count++;
        out->last_at = first;
        out->last_bytes = i - first;
    }
}

static bool word_is(const uint8_t *at, uint32_t bytes, const char *text)
{
    return bytes == strlen(text) && memcmp(at, text, bytes) == 0;
}

static enum pc_memcached_verb find_verb(const uint8_t *at, uint32_t word_bytes)
{
    for (unsigned verb = PC_MEMCACHED_UNKNOWN + 1; verb < PC_MEMCACHED_BINARY; verb++) {
        if (rows[verb].word_bytes == word_bytes && memcmp(rows[verb].word, at, word_bytes) == 0) {
            return verb;
        }
    }
    return PC_MEMCACHED_UNKNOWN;
}

/* Where the text of the line ending with the line feed at `feed` ends. */
static uint32_t text_end(const uint8_t *at, size_t feed)
{
    return (uint32_t)(feed > 0 && at[feed - 1] == '\r' ? feed - 1 : feed);
}

/* The first bytes of a line that may be longer than the buffer. */
struct span {
    const uint8_t *at;
    size_t stop;  /* where the looking ends: the line's text, or the bytes at hand */
    size_t after; /* behind the line feed; 0: no line feed in sight */
    bool full;    /* a whole window is at hand */
};

static struct span window_span(const uint8_t *at, size_t count)
{
    const size_t limit = pc_min_size(count, PC_MEMCACHED_WINDOW_BYTES);
    const uint8_t *feed = memchr(at, '\n', limit);
    if (feed == NULL) {
        return (struct span){at, limit, 0, limit == PC_MEMCACHED_WINDOW_BYTES};
    }
    const size_t feed_at = (size_t)(feed - at);
    return (struct span){at, text_end(at, feed_at), feed_at + 1, true};
}

/* The line is answered with `refusal`; what of it is not in sight yet is thrown away later. */
static enum pc_memcached_parsed refuse_line(struct span span, enum pc_memcached_reply refusal,
                                            struct pc_memcached_request *out,
                                            struct pc_memcached_line *line, size_t *out_bytes)
{
    out->refusal = (uint8_t)refusal;
    out->key_count = 0;
    line->refused = true;
    *out_bytes = span.after != 0 ? span.after : span.stop;
    if (span.after != 0) {
        *line = (struct pc_memcached_line){0};
    }
    return PC_MEMCACHED_DONE;
}

static enum pc_memcached_parsed skip_line(struct pc_memcached_line line, const uint8_t *at,
                                          size_t count, struct pc_memcached_request *out,
                                          struct pc_memcached_line *out_line, size_t *out_bytes)
{
    if (count == 0) {
        *out_bytes = 1;
        return PC_MEMCACHED_MORE;
    }
    const struct span span = window_span(at, count);
    *out = (struct pc_memcached_request){.verb = PC_MEMCACHED_NOTHING};
    *out_line = span.after != 0 ? (struct pc_memcached_line){0} : line;
    *out_bytes = span.after != 0 ? span.after : span.stop;
    return PC_MEMCACHED_DONE;
}

/* Take keys from `from` on until the line, the window, or the bytes end. */
static enum pc_memcached_parsed take_keys(struct span span, size_t from,
                                          struct pc_memcached_line line,
                                          struct pc_memcached_request *out,
                                          struct pc_memcached_line *out_line, size_t *out_bytes)
{
    const uint8_t *const at = span.at;
    size_t i = from;
    unsigned keys = 0;
    bool ends_line = false;
    for (;;) {
        while (i < span.stop && at[i] == ' ') {
            i++;
        }
        if (i == span.stop) {
            ends_line = span.after != 0;
            break;
        }
        const uint8_t *space = memchr(at + i, ' ', span.stop - i);
        const size_t end = space != NULL ? (size_t)(space - at) : span.stop;
        const bool whole = space != NULL || span.after != 0;
        /* A carriage return at the end of what is at hand may belong to the line end. */
        const size_t bytes = end - i - (!whole && at[end - 1] == '\r');
        if (bytes > PC_MEMCACHED_KEY_BYTES_MAX) {
            *out_line = line;
            return refuse_line(span, PC_MEMCACHED_SAY_BAD_FORMAT, out, out_line, out_bytes);
        }
        if (!whole) {
            break;
        }
        if (keys == 0) {
            out->key_at = (uint32_t)i;
            out->key_bytes = (uint8_t)bytes;
        }
        i = end;
        if (++keys == PC_MEMCACHED_WINDOW_KEYS) {
            ends_line = i == span.stop && span.after != 0;
            break;
        }
    }
    if (!ends_line && keys < PC_MEMCACHED_WINDOW_KEYS && !span.full) {
        *out_bytes = span.stop + 1;
        return PC_MEMCACHED_MORE;
    }
    line.has_keys |= keys > 0;
    if (ends_line && !line.has_keys) {
        *out_line = line;
        return refuse_line(span, PC_MEMCACHED_SAY_BAD_FORMAT, out, out_line, out_bytes);
    }
    out->key_count = (uint8_t)keys;
    out->ends_line = ends_line;
    *out_line = ends_line ? (struct pc_memcached_line){0} : line;
    *out_bytes = ends_line ? span.after : i;
    return PC_MEMCACHED_DONE;
}

/* gat, gats: the word after the command is a number that all keys share. It stands within the
 * bounds of an ordinary line, so that it is found or missed whatever else has arrived. */
static enum pc_memcached_parsed take_touch(struct span span, size_t from,
                                           struct pc_memcached_line line,
                                           struct pc_memcached_request *out,
                                           struct pc_memcached_line *out_line, size_t *out_bytes)
{
    const uint8_t *const at = span.at;
    const size_t limit = pc_min_size(span.stop, PC_MEMCACHED_LINE_BYTES_MAX);
    size_t first = from;
    while (first < limit && at[first] == ' ') {
        first++;
    }
    size_t end = first;
    while (end < limit && at[end] != ' ') {
        end++;
    }
    if (end == PC_MEMCACHED_LINE_BYTES_MAX) {
        return PC_MEMCACHED_BAD;
    }
    if (end == span.stop && span.after == 0) {
        *out_bytes = span.stop + 1;
        return PC_MEMCACHED_MORE;
    }
    if (read_i32(at + first, end - first, &out->exptime)) {
        line.exptime = out->exptime;
        return take_keys(span, end, line, out, out_line, out_bytes);
    }
    size_t key = end;
    while (key < span.stop && at[key] == ' ') {
        key++;
    }
    /* A carriage return that ends what is at hand may be the line end, not a key. */
    const size_t unsure = span.after == 0 && key + 1 == span.stop && at[key] == '\r';
    if (key + unsure == span.stop && !span.full) {
        *out_bytes = span.stop + 1;
        return PC_MEMCACHED_MORE;
    }
    *out_line = line;
    return refuse_line(span,
                       key == span.stop && span.after != 0 ? PC_MEMCACHED_SAY_BAD_FORMAT
                                                           : PC_MEMCACHED_SAY_BAD_EXPTIME,
                       out, out_line, out_bytes);
}

/* A line of keys begins, its command word `word_bytes` long. */
static enum pc_memcached_parsed begin_keys(enum pc_memcached_verb verb, const uint8_t *at,
                                           size_t count, size_t word_bytes,
                                           struct pc_memcached_request *out,
                                           struct pc_memcached_line *out_line, size_t *out_bytes)
{
    const struct span span = window_span(at, count);
    const struct pc_memcached_line line = {.verb = (uint8_t)verb};
    *out = (struct pc_memcached_request){.verb = (uint8_t)verb, .begins_line = true};
    if (verb == PC_MEMCACHED_GAT || verb == PC_MEMCACHED_GATS) {
        return take_touch(span, word_bytes, line, out, out_line, out_bytes);
    }
    return take_keys(span, word_bytes, line, out, out_line, out_bytes);
}

/* The next window of a line that an earlier parse began. */
static enum pc_memcached_parsed continue_keys(struct pc_memcached_line line, const uint8_t *at,
                                              size_t count, struct pc_memcached_request *out,
                                              struct pc_memcached_line *out_line, size_t *out_bytes)
{
    if (line.refused) {
        return skip_line(line, at, count, out, out_line, out_bytes);
    }
    *out = (struct pc_memcached_request){.verb = line.verb, .exptime = line.exptime};
    return take_keys(window_span(at, count), 0, line, out, out_line, out_bytes);
}

/* The value of a store: its length is word `index`, and what it says is refused or believed. */
static enum pc_memcached_parsed read_value(const uint8_t *at, size_t count, size_t line_bytes,
                                           const struct words *words, unsigned index,
                                           struct pc_memcached_request *out, size_t *out_bytes)
{
    int32_t value_bytes;
    if (!read_i32(at + words->at[index], words->bytes[index], &value_bytes) || value_bytes < 0 ||
        value_bytes > INT32_MAX - 2) {
        out->refusal = PC_MEMCACHED_SAY_BAD_FORMAT;
        out->quiet = false;
        *out_bytes = line_bytes;
        return PC_MEMCACHED_DONE;
    }
    out->value_bytes = (uint32_t)value_bytes;
    out->value_at = (uint32_t)line_bytes;
    out->value_follows = out->value_bytes > PC_MEMCACHED_INLINE_BYTES_MAX;
    if (out->value_follows) {
        *out_bytes = line_bytes;
        return PC_MEMCACHED_DONE;
    }
    const size_t whole_bytes = line_bytes + out->value_bytes + 2;
    *out_bytes = whole_bytes;
    if (count < whole_bytes) {
        return PC_MEMCACHED_MORE;
    }
    if (out->refusal == 0 && memcmp(at + whole_bytes - 2, "\r\n", 2) != 0) {
        out->refusal = PC_MEMCACHED_SAY_BAD_CHUNK;
    }
    return PC_MEMCACHED_DONE;
}

/* set and its kin: words 0 .. 4 are command, key, flags, exptime, bytes; cas has a sixth. */
static enum pc_memcached_parsed read_store(const uint8_t *at, size_t count, size_t line_bytes,
                                           const struct words *words,
                                           struct pc_memcached_request *out, size_t *out_bytes)
{
    if (words->bytes[1] > PC_MEMCACHED_KEY_BYTES_MAX ||
        !read_flags(at + words->at[2], words->bytes[2], &out->flags) ||
        !read_store_exptime(at + words->at[3], words->bytes[3], &out->exptime) ||
        (out->verb == PC_MEMCACHED_CAS &&
         (words->count < 6 || !read_u64(at + words->at[5], words->bytes[5], &out->number)))) {
        out->refusal = PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    return read_value(at, count, line_bytes, words, 4, out, out_bytes);
}

/* Behind the key stand noreply, a 0 that old clients send for a delay that is no more, or both. */
static bool delete_is_good(const uint8_t *at, const struct words *words, bool quiet)
{
    const unsigned others = words->count - 2 - (quiet && words->count > 2);
    return others == 0 || (others == 1 && word_is(at + words->at[2], words->bytes[2], "0"));
}

/* The arguments of what is neither keys nor a store; returns what is wrong with them. */
static enum pc_memcached_reply read_arguments(const uint8_t *at, enum shape shape,
                                              const struct words *words,
                                              struct pc_memcached_request *out)
{
    int32_t delay;
    uint64_t level;
    if (out->key_count > 0 && words->bytes[1] > PC_MEMCACHED_KEY_BYTES_MAX) {
        return PC_MEMCACHED_SAY_BAD_FORMAT;
    }
    switch (shape) {
    case SHAPE_DELETE:
        return delete_is_good(at, words, out->quiet) ? PC_MEMCACHED_SAY_NOTHING
                                                     : PC_MEMCACHED_SAY_BAD_DELETE;
    case SHAPE_DELTA:
        return read_u64(at + words->at[2], words->bytes[2], &out->number)
                   ? PC_MEMCACHED_SAY_NOTHING
                   : PC_MEMCACHED_SAY_BAD_DELTA;
    case SHAPE_TOUCH:
        return read_i32(at + words->at[2], words->bytes[2], &out->exptime)
                   ? PC_MEMCACHED_SAY_NOTHING
                   : PC_MEMCACHED_SAY_BAD_EXPTIME;
    case SHAPE_FLUSH:
        if (words->count == (out->quiet ? 2 : 1)) {
            return PC_MEMCACHED_SAY_NOTHING;
        }
        if (!read_i32(at + words->at[1], words->bytes[1], &delay)) {
            return PC_MEMCACHED_SAY_BAD_EXPTIME;
        }
        out->exptime = delay;
        return PC_MEMCACHED_SAY_NOTHING;
    case SHAPE_LEVEL:
        if (words->count < 2 || words->bytes[1] > DIGITS32_MAX ||
            !pc_decimal_read_u64(at + words->at[1], words->bytes[1], &level) ||
            level > UINT32_MAX) {
            return PC_MEMCACHED_SAY_BAD_FORMAT;
        }
        out->number = level;
        return PC_MEMCACHED_SAY_NOTHING;
    case SHAPE_SHUTDOWN:
        out->number = words->count == 2 && word_is(at + words->at[1], words->bytes[1], "graceful");
        return words->count == 1 || out->number == 1 ? PC_MEMCACHED_SAY_NOTHING
                                                     : PC_MEMCACHED_SAY_BAD_SHUTDOWN;
    default:
        return PC_MEMCACHED_SAY_NOTHING;
    }
}

static bool shape_has_key(enum shape shape)
{
    return shape == SHAPE_STORE || shape == SHAPE_DELETE || shape == SHAPE_DELTA ||
           shape == SHAPE_TOUCH || shape == SHAPE_META;
}

/* Words that noreply may end; version, quit, stats and meta take theirs as they come. */
static bool shape_may_be_quiet(enum shape shape)
{
    return shape != SHAPE_PLAIN && shape != SHAPE_WORDS && shape != SHAPE_META;
}

/* Anything but keys; the line with its feed is `line_bytes` long and its text ends at `end`. */
static enum pc_memcached_parsed read_line(enum pc_memcached_verb verb, const uint8_t *at,
                                          size_t count, size_t line_bytes, uint32_t end,
                                          uint32_t word_bytes, struct pc_memcached_request *out,
                                          size_t *out_bytes)
{
    const struct row *row = &rows[verb];
    struct words words;
    split_words(at, end, &words);
    *out = (struct pc_memcached_request){
        .verb = (uint8_t)verb, .words_at = word_bytes, .words_bytes = end - word_bytes};
    *out_bytes = line_bytes;
    if (line_bytes < 4 || words.count < row->words_min) {
        out->refusal = PC_MEMCACHED_SAY_BAD_FORMAT;
        return PC_MEMCACHED_DONE;
    }
    const bool says_noreply =
        words.count > 1 && word_is(at + words.last_at, words.last_bytes, "noreply");
    if (verb == PC_MEMCACHED_UNKNOWN) {
        out->refusal = PC_MEMCACHED_SAY_ERROR;
        out->quiet = says_noreply;
        const bool is_http =
            words.count > 1 && words.last_bytes >= 5 && memcmp(at + words.last_at, "HTTP/", 5) == 0;
        return is_http ? PC_MEMCACHED_BAD : PC_MEMCACHED_DONE;
    }
    out->quiet = says_noreply && shape_may_be_quiet(row->shape);
    if (shape_has_key(row->shape)) {
        out->key_count = 1;
        out->key_at = words.at[1];
        out->key_bytes = (uint8_t)words.bytes[1];
    }
    if (row->shape == SHAPE_STORE) {
        return read_store(at, count, line_bytes, &words, out, out_bytes);
    }
    if (verb == PC_MEMCACHED_MS) {
        out->refusal =
            words.bytes[1] > PC_MEMCACHED_KEY_BYTES_MAX ? PC_MEMCACHED_SAY_BAD_FORMAT : 0;
        return read_value(at, count, line_bytes, &words, 2, out, out_bytes);
    }
    out->refusal = (uint8_t)read_arguments(at, row->shape, &words, out);
    return PC_MEMCACHED_DONE;
}

/* The command word of a line of keys whose end is not in sight; NOTHING: it is another line. */
static enum pc_memcached_verb keys_verb(const uint8_t *at, size_t count)
{
    const uint8_t *space = memchr(at, ' ', pc_min_size(count, 5));
    if (space == NULL) {
        return PC_MEMCACHED_NOTHING;
    }
    const enum pc_memcached_verb verb = find_verb(at, (uint32_t)(space - at));
    return verb != PC_MEMCACHED_UNKNOWN && rows[verb].shape == SHAPE_KEYS ? verb
                                                                          : PC_MEMCACHED_NOTHING;
}

static enum pc_memcached_parsed parse_unfinished(const uint8_t *at, size_t count,
                                                 struct pc_memcached_request *out,
                                                 struct pc_memcached_line *out_line,
                                                 size_t *out_bytes)
{
    const enum pc_memcached_verb verb = keys_verb(at, count);
    if (verb != PC_MEMCACHED_NOTHING) {
        return begin_keys(verb, at, count, rows[verb].word_bytes, out, out_line, out_bytes);
    }
    if (count >= PC_MEMCACHED_LINE_BYTES_MAX) {
        return PC_MEMCACHED_BAD;
    }
    *out_bytes = count + 1;
    return PC_MEMCACHED_MORE;
}

/* ---- Plain lines ---- */

/* Eight bytes, the first of them lowest. */
static inline uint64_t word_load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return le64toh(word);
}

/* The number of the first byte below 0x21; 8: none. The top bit of a byte is set in `low` if the
 * byte is less; of those above the first such byte it says nothing. */
static inline uint32_t word_low(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t low = (word - ones * 0x21) & ~word & (ones << 7);
    return low != 0 ? (uint32_t)__builtin_ctzll(low) / 8 : 8;
}

/* Where the word that begins at `i` ends: at a space or a control character, or at `limit`, which
 * is 8 or more. The last bytes are looked at in eight that end there. */
static inline uint32_t word_end(const uint8_t *at, uint32_t i, uint32_t limit)
{
    for (; i + 8 <= limit; i += 8) {
        const uint32_t low = word_low(word_load(at + i));
        if (low < 8) {
            return i + low;
        }
    }
    return i == limit ? i : i + word_low(word_load(at + limit - 8) >> (8 * (i + 8 - limit)));
}

/* Behind the line end at `i`; 0: there is none. */
static size_t behind_line(const uint8_t *at, uint32_t i, size_t count)
{
    if (PC_LIKELY(i + 1 < count && at[i] == '\r' && at[i + 1] == '\n')) {
        return i + 2;
    }
    return i < count && at[i] == '\n' ? i + 1 : 0;
}

#define LETTER(letter) (UINT32_C(1) << ((letter) - 'a'))

/* `get` and one key. */
static size_t parse_get(const uint8_t *at, size_t count, struct pc_memcached_request *out)
{
    const uint32_t limit = (uint32_t)pc_min_size(count, 4 + PC_MEMCACHED_KEY_BYTES_MAX);
    const uint32_t end = word_end(at, 4, limit);
    const size_t bytes = behind_line(at, end, count);
    if (PC_UNLIKELY(bytes == 0 || end == 4)) {
        return 0;
    }
    *out = (struct pc_memcached_request){.verb = PC_MEMCACHED_GET,
                                         .begins_line = true,
                                         .ends_line = true,
                                         .plain = true,
                                         .key_count = 1,
                                         .key_bytes = (uint8_t)(end - 4),
                                         .key_at = 4};
    return bytes;
}

/* `mg`, a key and flags that do nothing but tell of the item, each once and one space before it. */
static size_t parse_mg(const uint8_t *at, size_t count, struct pc_memcached_request *out)
{
    static const uint32_t plain =
        LETTER('c') | LETTER('f') | LETTER('k') | LETTER('s') | LETTER('t') | LETTER('v');
    const uint32_t limit = (uint32_t)pc_min_size(count, 3 + PC_MEMCACHED_KEY_BYTES_MAX);
    const uint32_t key_end = word_end(at, 3, limit);
    uint32_t seen = 0, end = key_end;
    for (; end + 1 < count && at[end] == ' '; end += 2) {
        const uint32_t index = (uint32_t)at[end + 1] - 'a';
        if (index >= 26 || ((plain & ~seen) >> index & 1) == 0) {
            return 0;
        }
        seen |= UINT32_C(1) << index;
    }
    const size_t bytes = behind_line(at, end, count);
    if (PC_UNLIKELY(bytes == 0 || key_end == 3)) {
        return 0;
    }
    *out = (struct pc_memcached_request){.verb = PC_MEMCACHED_MG,
                                         .plain = true,
                                         .wants_value = (seen & LETTER('v')) != 0,
                                         .key_count = 1,
                                         .key_bytes = (uint8_t)(key_end - 3),
                                         .key_at = 3,
                                         .words_at = 2,
                                         .words_bytes = end - 2};
    return bytes;
}

/* The lines most servers live from, recognised in one pass and without cutting them into words.
 * Returns their bytes; 0: it is another line, or not whole. */
static inline size_t parse_plain(const uint8_t *at, size_t count, struct pc_memcached_request *out)
{
    if (PC_UNLIKELY(count < 8)) {
        return 0;
    }
    if (memcmp(at, "get ", 4) == 0) {
        return parse_get(at, count, out);
    }
    return memcmp(at, "mg ", 3) == 0 ? parse_mg(at, count, out) : 0;
}

enum pc_memcached_parsed pc_memcached_parse(struct pc_memcached_line line, const uint8_t *at,
                                            size_t count, struct pc_memcached_request *out,
                                            struct pc_memcached_line *out_line, size_t *out_bytes)
{
    if (PC_UNLIKELY(line.verb != 0)) {
        return continue_keys(line, at, count, out, out_line, out_bytes);
    }
    const size_t plain_bytes = parse_plain(at, count, out);
    if (PC_LIKELY(plain_bytes != 0)) {
        *out_line = (struct pc_memcached_line){0};
        *out_bytes = plain_bytes;
        return PC_MEMCACHED_DONE;
    }
    if (PC_UNLIKELY(count > 0 && at[0] == PC_MEMCACHED_BINARY_MAGIC)) {
        *out_line = line;
        return pc_memcached_binary_parse(at, count, out, out_bytes);
    }
    const size_t limit = pc_min_size(count, PC_MEMCACHED_LINE_BYTES_MAX);
    const uint8_t *feed = memchr(at, '\n', limit);
    if (PC_UNLIKELY(feed == NULL)) {
        return parse_unfinished(at, count, out, out_line, out_bytes);
    }
    const size_t line_bytes = (size_t)(feed - at) + 1;
    const uint32_t end = text_end(at, line_bytes - 1);
    *out_line = (struct pc_memcached_line){0};
    const uint8_t *space = memchr(at, ' ', end);
    const uint32_t word_bytes = space != NULL ? (uint32_t)(space - at) : end;
    const enum pc_memcached_verb verb = find_verb(at, word_bytes);
    if (rows[verb].shape == SHAPE_KEYS) {
        return begin_keys(verb, at, count, word_bytes, out, out_line, out_bytes);
    }
    return read_line(verb, at, count, line_bytes, end, word_bytes, out, out_bytes);
}

const uint8_t *pc_memcached_key_next(const uint8_t *at, uint32_t end, uint32_t *cursor,
                                     uint8_t *out_bytes)
{
    uint32_t first = *cursor;
    while (at[first] == ' ') {
        first++;
    }
    const uint8_t *space = memchr(at + first, ' ', end - first);
    const uint32_t stop = space != NULL         ? (uint32_t)(space - at)
                          : at[end - 1] == '\n' ? text_end(at, end - 1)
                                                : end;
    *cursor = stop;
    *out_bytes = (uint8_t)(stop - first);
    return at + first;
}

unsigned pc_memcached_words(const uint8_t *text, size_t bytes, struct pc_memcached_word *words,
                            unsigned room)
{
    unsigned count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ') {
            continue;
        }
        const size_t first = i;
        while (i < bytes && text[i] != ' ') {
            i++;
        }
        if (count < room) {
            words[count] = (struct pc_memcached_word){text + first, i - first};
        }
        count++;
    }
    return count;
}

const char *pc_memcached_word(enum pc_memcached_verb verb)
{
    return rows[verb].word;
}
