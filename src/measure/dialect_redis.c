/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_redis: as much of RESP as measuring redis and valkey takes. Answers carry no keys, so one
 * that belongs to another request shows as a value nobody wrote to this key. */
#include "base/check.h"
#include "measure/dialect.h"
#include "protocols/decimal.h"
#include "protocols/resp_client.h"

#include <string.h>

#define BIT(name) (UINT32_C(1) << PC_OPERATION_##name)

/* The longest command besides its keys and value: SET … EX <seconds> NX. */
enum { WORDS_BYTES_MAX = 160 };

struct writer {
    const struct pc_dialect *dialect;
    char *at;
};

static void word_put(struct writer *writer, const char *word)
{
    writer->at += pc_resp_ask_word(writer->at, (struct pc_text){word, strlen(word)});
}

/* A whole head known beforehand: the commands that a benchmark is made of. */
#define HEAD_PUT(writer, text)                                                                     \
    do {                                                                                           \
        memcpy((writer)->at, text, sizeof(text) - 1);                                              \
        (writer)->at += sizeof(text) - 1;                                                          \
    } while (0)

static void key_put(struct writer *writer, uint64_t key)
{
    char text[PC_CONTENTS_KEY_BYTES_MAX];
    const size_t count = pc_contents_key(writer->dialect->contents, key, text);
    writer->at += pc_resp_ask_word(writer->at, (struct pc_text){text, count});
}

static void number_put(struct writer *writer, uint64_t number)
{
    char text[PC_DECIMAL_BYTES_MAX];
    const size_t count = pc_decimal_write(text, number);
    writer->at += pc_resp_ask_word(writer->at, (struct pc_text){text, count});
}

static void begin(struct writer *writer, uint32_t words, const char *verb)
{
    writer->at += pc_resp_ask_begin(writer->at, words);
    word_put(writer, verb);
}

static void value_put(struct writer *writer, const struct pc_planned *planned, uint32_t bytes)
{
    writer->at += pc_resp_ask_word_begin(writer->at, bytes);
    if (pc_key_class_of(planned->key) == PC_KEY_COUNTER) {
        *writer->at = '0';
    } else {
        pc_contents_value(writer->dialect->contents, planned->key, planned->version,
                          (uint8_t *)writer->at);
    }
    memcpy(writer->at + bytes, "\r\n", 2);
    writer->at += bytes + 2;
}

static void set_put(struct writer *writer, const struct pc_planned *planned, uint32_t bytes)
{
    const bool lives = planned->life_s > 0, adds = planned->operation == PC_OPERATION_ADD;
    begin(writer, 3 + (lives ? 2 : 0) + adds, "SET");
    key_put(writer, planned->key);
    value_put(writer, planned, bytes);
    if (lives) {
        word_put(writer, "EX");
        number_put(writer, planned->life_s);
    }
    if (adds) {
        word_put(writer, "NX");
    }
}

static void keys_put(struct writer *writer, const struct pc_planned *planned)
{
    struct pc_popularity walk;
    pc_traffic_more_begin(writer->dialect->traffic, planned, &walk);
    begin(writer, planned->key_count + 1u, "MGET");
    key_put(writer, planned->key);
    for (unsigned i = 1; i < planned->key_count; i++) {
        key_put(writer, pc_traffic_more_next(&walk, planned));
    }
}

static uint32_t stored_bytes(const struct pc_dialect *dialect, const struct pc_planned *planned)
{
    return pc_key_class_of(planned->key) == PC_KEY_COUNTER
               ? 1
               : pc_contents_value_bytes(dialect->contents, planned->key);
}

static bool redis_write(const struct pc_dialect *dialect, const struct pc_flight *flight,
                        struct pc_outbox *outbox)
{
    const struct pc_planned *planned = &flight->planned;
    const uint32_t bytes =
        pc_operation_writes(planned->operation) ? stored_bytes(dialect, planned) : 0;
    const size_t key_room = PC_CONTENTS_KEY_BYTES_MAX + PC_RESP_HEAD_BYTES_MAX + 2;
    char *const start =
        (char *)pc_outbox_reserve(outbox, WORDS_BYTES_MAX + bytes + planned->key_count * key_room);
    if (start == NULL) {
        return false;
    }
    struct writer writer = {dialect, start};
    switch ((enum pc_operation)planned->operation) {
    case PC_OPERATION_SET:
    case PC_OPERATION_ADD:
        set_put(&writer, planned, bytes);
        break;
    case PC_OPERATION_MULTI_GET:
        keys_put(&writer, planned);
        break;
    case PC_OPERATION_TOUCH:
        begin(&writer, 3, "EXPIRE");
        key_put(&writer, planned->key);
        number_put(&writer, planned->life_s);
        break;
    case PC_OPERATION_GET:
        HEAD_PUT(&writer, "*2\r\n$3\r\nGET\r\n");
        key_put(&writer, planned->key);
        break;
    case PC_OPERATION_DELETE:
    case PC_OPERATION_INCR:
        begin(&writer, 2, planned->operation == PC_OPERATION_INCR ? "INCR" : "DEL");
        key_put(&writer, planned->key);
        break;
    default:
        PC_ASSERT(!"an operation this dialect does not speak");
        return false;
    }
    pc_outbox_commit(outbox, (size_t)(writer.at - start));
    return true;
}

static void element_judge(const struct pc_dialect *dialect, const struct pc_flight *flight,
                          struct pc_answer_state *state, const struct pc_resp_answer *answer)
{
    const struct pc_planned *planned = &flight->planned;
    uint64_t key = planned->key;
    if (state->element_index == 1) {
        pc_traffic_more_begin(dialect->traffic, planned, &state->walk);
    }
    if (state->element_index > 0) {
        key = pc_traffic_more_next(&state->walk, planned);
    }
    state->element_index++;
    if (answer->kind == PC_RESP_ANSWER_NIL) {
        state->verdict.misses++;
    } else {
        pc_verdict_value(&state->verdict, dialect->contents, key, (const uint8_t *)answer->text.at,
                         answer->text.count);
    }
}

static enum pc_reading element_read(const struct pc_dialect *dialect, struct pc_flight *flight,
                                    struct pc_answer_state *state,
                                    const struct pc_resp_answer *answer)
{
    struct pc_verdict *verdict = &state->verdict;
    const enum pc_operation operation = flight->planned.operation;
    const bool nil = answer->kind == PC_RESP_ANSWER_NIL;
    switch (operation) {
    case PC_OPERATION_GET:
        if (!nil && answer->kind != PC_RESP_ANSWER_BULK) {
            return PC_READING_BAD;
        }
        element_judge(dialect, flight, state, answer);
        return PC_READING_DONE;
    case PC_OPERATION_SET:
        return answer->kind == PC_RESP_ANSWER_SIMPLE ? PC_READING_DONE : PC_READING_BAD;
    case PC_OPERATION_ADD:
        verdict->refused += nil;
        return nil || answer->kind == PC_RESP_ANSWER_SIMPLE ? PC_READING_DONE : PC_READING_BAD;
    case PC_OPERATION_DELETE:
    case PC_OPERATION_TOUCH:
        verdict->misses += answer->number == 0;
        return answer->kind == PC_RESP_ANSWER_INTEGER ? PC_READING_DONE : PC_READING_BAD;
    case PC_OPERATION_INCR:
        return answer->kind == PC_RESP_ANSWER_INTEGER ? PC_READING_DONE : PC_READING_BAD;
    default:
        break;
    }
    /* MGET: the head, then as many elements. */
    if (!state->begun) {
        state->begun = true;
        const bool right =
            answer->kind == PC_RESP_ANSWER_ARRAY && answer->number == flight->planned.key_count;
        return right ? PC_READING_MORE : PC_READING_BAD;
    }
    if (!nil && answer->kind != PC_RESP_ANSWER_BULK) {
        return PC_READING_BAD;
    }
    element_judge(dialect, flight, state, answer);
    return state->element_index == flight->planned.key_count ? PC_READING_DONE : PC_READING_MORE;
}

static enum pc_reading redis_read(const struct pc_dialect *dialect, struct pc_flight *flight,
                                  struct pc_answer_state *state, const uint8_t *at, size_t count,
                                  size_t *out_bytes)
{
    size_t used = 0;
    enum pc_reading reading = PC_READING_MORE;
    while (reading == PC_READING_MORE) {
        struct pc_resp_answer answer;
        size_t bytes;
        const enum pc_answered answered =
            pc_resp_answer_parse(at + used, count - used, &answer, &bytes);
        if (answered == PC_ANSWER_MORE) {
            state->wanted_bytes = bytes;
            break;
        }
        const uint8_t *const element = at + used;
        used += answered == PC_ANSWER_DONE ? bytes : 0;
        if (answered == PC_ANSWER_BAD) {
            reading = PC_READING_BAD;
        } else if (answer.kind == PC_RESP_ANSWER_ERROR) {
            pc_verdict_error(&state->verdict, answer.text.at, answer.text.count);
            reading = PC_READING_DONE;
        } else {
            reading = element_read(dialect, flight, state, &answer);
        }
        if (reading == PC_READING_BAD) {
            pc_verdict_nonsense(&state->verdict, element, (size_t)(at + count - element));
        }
    }
    *out_bytes = used;
    return reading;
}

const struct pc_dialect_ops pc_dialect_redis = {
    .name = "redis",
    .port = 6379,
    .has_keys = true,
    .operations =
        BIT(GET) | BIT(MULTI_GET) | BIT(SET) | BIT(ADD) | BIT(DELETE) | BIT(INCR) | BIT(TOUCH),
    .operation_usual = {PC_OPERATION_GET, PC_OPERATION_SET},
    .write = redis_write,
    .read = redis_read,
};
