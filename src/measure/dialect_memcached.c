/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_memcached: the text protocol, classic and meta. */
#include "base/check.h"
#include "measure/dialect.h"
#include "protocols/memcached_client.h"

#include <string.h>

#define BIT(name) (UINT32_C(1) << PC_OPERATION_##name)

static struct pc_text key_text(const struct pc_dialect *dialect, uint64_t key,
                               char room[PC_CONTENTS_KEY_BYTES_MAX])
{
    return (struct pc_text){room, pc_contents_key(dialect->contents, key, room)};
}

static bool keys_write(const struct pc_dialect *dialect, const struct pc_flight *flight,
                       const char *verb, const uint32_t *exptime, struct pc_outbox *outbox)
{
    const struct pc_planned *planned = &flight->planned;
    const size_t room =
        PC_MEMCACHED_ASK_BYTES_MAX + (size_t)planned->key_count * (PC_CONTENTS_KEY_BYTES_MAX + 1);
    char *const start = (char *)pc_outbox_reserve(outbox, room);
    if (start == NULL) {
        return false;
    }
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    char *at = start + pc_memcached_ask_keys(start, verb, exptime);
    at += pc_memcached_ask_key(at, key_text(dialect, planned->key, text));
    if (planned->key_count > 1) {
        struct pc_popularity walk;
        pc_traffic_more_begin(dialect->traffic, planned, &walk);
        for (unsigned i = 1; i < planned->key_count; i++) {
            const uint64_t key = pc_traffic_more_next(&walk, planned);
            at += pc_memcached_ask_key(at, key_text(dialect, key, text));
        }
    }
    at += pc_memcached_ask_end(at);
    pc_outbox_commit(outbox, (size_t)(at - start));
    return true;
}

static uint32_t stored_bytes(const struct pc_dialect *dialect, const struct pc_planned *planned)
{
    if (pc_key_class_of(planned->key) == PC_KEY_COUNTER) {
        return 1; /* "0" */
    }
    return planned->operation == PC_OPERATION_APPEND
               ? PC_CONTENTS_CHUNK_BYTES
               : pc_contents_value_bytes(dialect->contents, planned->key);
}

static void stored_write(const struct pc_dialect *dialect, const struct pc_planned *planned,
                         uint8_t *at)
{
    if (pc_key_class_of(planned->key) == PC_KEY_COUNTER) {
        *at = '0';
    } else if (planned->operation == PC_OPERATION_APPEND) {
        pc_contents_chunk(planned->key, at);
    } else {
        pc_contents_value(dialect->contents, planned->key, planned->version, at);
    }
}

static bool store_write(const struct pc_dialect *dialect, const struct pc_flight *flight,
                        const char *verb, struct pc_outbox *outbox)
{
    const struct pc_planned *planned = &flight->planned;
    const uint32_t bytes = stored_bytes(dialect, planned);
    uint8_t *const start = pc_outbox_reserve(outbox, PC_MEMCACHED_ASK_BYTES_MAX + bytes + 2);
    if (start == NULL) {
        return false;
    }
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    const struct pc_text key = key_text(dialect, planned->key, text);
    const size_t line =
        verb == NULL
            ? pc_memcached_ask_meta_set((char *)start, key, planned->life_s, bytes)
            : pc_memcached_ask_store((char *)start, verb, key, planned->life_s, bytes,
                                     planned->operation == PC_OPERATION_CAS ? &flight->cas : NULL);
    stored_write(dialect, planned, start + line);
    memcpy(start + line + bytes, "\r\n", 2);
    pc_outbox_commit(outbox, line + bytes + 2);
    return true;
}

static bool line_write(const struct pc_dialect *dialect, const struct pc_planned *planned,
                       struct pc_outbox *outbox)
{
    char *const at = (char *)pc_outbox_reserve(outbox, PC_MEMCACHED_ASK_BYTES_MAX);
    if (at == NULL) {
        return false;
    }
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    const struct pc_text key = key_text(dialect, planned->key, text);
    const size_t bytes =
        planned->operation == PC_OPERATION_DELETE ? pc_memcached_ask_delete(at, key)
        : planned->operation == PC_OPERATION_INCR ? pc_memcached_ask_incr(at, key, 1)
        : planned->operation == PC_OPERATION_TOUCH
            ? pc_memcached_ask_touch(at, key, planned->life_s)
            : pc_memcached_ask_meta_get(at, key);
    pc_outbox_commit(outbox, bytes);
    return true;
}

static bool memcached_write(const struct pc_dialect *dialect, const struct pc_flight *flight,
                            struct pc_outbox *outbox)
{
    const struct pc_planned *planned = &flight->planned;
    switch ((enum pc_operation)planned->operation) {
    case PC_OPERATION_GET:
    case PC_OPERATION_MULTI_GET:
        return keys_write(dialect, flight, "get", NULL, outbox);
    case PC_OPERATION_GETS:
        return keys_write(dialect, flight, "gets", NULL, outbox);
    case PC_OPERATION_GAT:
        return keys_write(dialect, flight, "gat", &planned->life_s, outbox);
    case PC_OPERATION_CAS:
        return flight->step == 0 ? keys_write(dialect, flight, "gets", NULL, outbox)
                                 : store_write(dialect, flight, "cas", outbox);
    case PC_OPERATION_SET:
        return store_write(dialect, flight, "set", outbox);
    case PC_OPERATION_ADD:
        return store_write(dialect, flight, "add", outbox);
    case PC_OPERATION_APPEND:
        return store_write(dialect, flight, "append", outbox);
    case PC_OPERATION_META_SET:
        return store_write(dialect, flight, NULL, outbox);
    case PC_OPERATION_DELETE:
    case PC_OPERATION_INCR:
    case PC_OPERATION_TOUCH:
    case PC_OPERATION_META_GET:
        return line_write(dialect, planned, outbox);
    case PC_OPERATION_FRAME:
    case PC_OPERATION_COUNT:
        break;
    }
    PC_ASSERT(!"an operation this dialect does not speak");
    return false;
}

/* The key an answer names must be the one asked for, or one further on in a multi-get. */
static void value_judge(const struct pc_dialect *dialect, const struct pc_flight *flight,
                        struct pc_answer_state *state, const struct pc_memcached_answer *answer)
{
    const struct pc_planned *planned = &flight->planned;
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    while (state->element_index < planned->key_count) {
        uint64_t key = planned->key;
        if (state->element_index == 1) {
            pc_traffic_more_begin(dialect->traffic, planned, &state->walk);
        }
        if (state->element_index > 0) {
            key = pc_traffic_more_next(&state->walk, planned);
        }
        state->element_index++;
        const struct pc_text expected = key_text(dialect, key, text);
        if (expected.count == answer->key.count &&
            memcmp(expected.at, answer->key.at, expected.count) == 0) {
            pc_verdict_value(&state->verdict, dialect->contents, key, answer->value,
                             answer->value_bytes);
            return;
        }
    }
    state->verdict.reorders++;
    pc_verdict_trouble(&state->verdict, answer->line.at, answer->line.count);
}

static enum pc_reading keys_read(const struct pc_dialect *dialect, struct pc_flight *flight,
                                 struct pc_answer_state *state,
                                 const struct pc_memcached_answer *answer)
{
    struct pc_verdict *verdict = &state->verdict;
    if (answer->kind == PC_MEMCACHED_ANSWER_VALUE) {
        value_judge(dialect, flight, state, answer);
        flight->cas = answer->number;
        return PC_READING_MORE;
    }
    if (answer->kind != PC_MEMCACHED_ANSWER_END) {
        return PC_READING_BAD;
    }
    verdict->misses +=
        flight->planned.key_count - pc_min_size(verdict->hits, flight->planned.key_count);
    if (flight->planned.operation == PC_OPERATION_CAS && verdict->hits > 0) {
        flight->step = 1;
        return PC_READING_AGAIN;
    }
    return PC_READING_DONE;
}

/* Answers to everything but reads of keys: one line each. */
static enum pc_reading line_judge(const struct pc_dialect *dialect, const struct pc_flight *flight,
                                  struct pc_verdict *verdict,
                                  const struct pc_memcached_answer *answer)
{
    const enum pc_operation operation = flight->planned.operation;
    const bool stores = pc_operation_writes(operation);
    switch (answer->kind) {
    case PC_MEMCACHED_ANSWER_STORED:
        return stores && operation != PC_OPERATION_META_SET ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_NOT_STORED:
        *(operation == PC_OPERATION_ADD ? &verdict->refused : &verdict->misses) += 1;
        return stores ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_EXISTS:
        verdict->refused++;
        return operation == PC_OPERATION_CAS ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_NOT_FOUND:
        verdict->misses++;
        return stores && operation != PC_OPERATION_CAS ? PC_READING_BAD : PC_READING_DONE;
    case PC_MEMCACHED_ANSWER_DELETED:
        return operation == PC_OPERATION_DELETE ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_TOUCHED:
        return operation == PC_OPERATION_TOUCH ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_NUMBER:
        return operation == PC_OPERATION_INCR ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_META_HEAD:
        return operation == PC_OPERATION_META_SET ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_META_OTHER:
        verdict->refused++;
        return operation == PC_OPERATION_META_SET ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_META_MISS:
        verdict->misses++;
        return operation == PC_OPERATION_META_GET ? PC_READING_DONE : PC_READING_BAD;
    case PC_MEMCACHED_ANSWER_META_VALUE:
        if (operation != PC_OPERATION_META_GET) {
            return PC_READING_BAD;
        }
        char text[PC_CONTENTS_KEY_BYTES_MAX];
        const struct pc_text key = key_text(dialect, flight->planned.key, text);
        if (key.count != answer->key.count || memcmp(key.at, answer->key.at, key.count) != 0) {
            verdict->reorders++;
        } else {
            pc_verdict_value(verdict, dialect->contents, flight->planned.key, answer->value,
                             answer->value_bytes);
        }
        return PC_READING_DONE;
    case PC_MEMCACHED_ANSWER_VALUE:
    case PC_MEMCACHED_ANSWER_END:
    case PC_MEMCACHED_ANSWER_OK:
    case PC_MEMCACHED_ANSWER_STAT:
    case PC_MEMCACHED_ANSWER_ERROR:
        break;
    }
    return PC_READING_BAD;
}

static bool reads_keys(const struct pc_flight *flight)
{
    switch ((enum pc_operation)flight->planned.operation) {
    case PC_OPERATION_GET:
    case PC_OPERATION_GETS:
    case PC_OPERATION_MULTI_GET:
    case PC_OPERATION_GAT:
        return true;
    case PC_OPERATION_CAS:
        return flight->step == 0;
    default:
        return false;
    }
}

static enum pc_reading memcached_read(const struct pc_dialect *dialect, struct pc_flight *flight,
                                      struct pc_answer_state *state, const uint8_t *at,
                                      size_t count, size_t *out_bytes)
{
    const bool keys = reads_keys(flight);
    size_t used = 0;
    enum pc_reading reading = PC_READING_MORE;
    while (reading == PC_READING_MORE) {
        struct pc_memcached_answer answer;
        size_t bytes;
        const enum pc_answered answered =
            pc_memcached_answer_parse(at + used, count - used, &answer, &bytes);
        if (answered == PC_ANSWER_MORE) {
            state->wanted_bytes = bytes;
            break;
        }
        if (answered == PC_ANSWER_BAD) {
            pc_verdict_nonsense(&state->verdict, at + used, count - used);
            reading = PC_READING_BAD;
            break;
        }
        used += bytes;
        if (answer.kind == PC_MEMCACHED_ANSWER_ERROR) {
            pc_verdict_error(&state->verdict, answer.line.at, answer.line.count);
            reading = PC_READING_DONE;
        } else {
            reading = keys ? keys_read(dialect, flight, state, &answer)
                           : line_judge(dialect, flight, &state->verdict, &answer);
            if (reading == PC_READING_BAD) {
                state->verdict.reorders++;
                pc_verdict_trouble(&state->verdict, answer.line.at, answer.line.count);
            }
        }
    }
    *out_bytes = used;
    return reading;
}

const struct pc_dialect_ops pc_dialect_memcached = {
    .name = "memcached",
    .port = 11211,
    .has_keys = true,
    .operations = BIT(GET) | BIT(GETS) | BIT(MULTI_GET) | BIT(SET) | BIT(ADD) | BIT(DELETE) |
                  BIT(APPEND) | BIT(INCR) | BIT(CAS) | BIT(TOUCH) | BIT(GAT) | BIT(META_GET) |
                  BIT(META_SET),
    .operation_usual = {PC_OPERATION_GET, PC_OPERATION_SET},
    .write = memcached_write,
    .read = memcached_read,
};
