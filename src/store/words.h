/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words: bytes of a segment, written in whole words that other cores may be reading.
 *
 * Owner    One writer. Readers elsewhere use pc_word_load and check afterwards (rule 4).
 * Order    Every store is a release and pairs with the acquire of pc_word_load: a reader that sees
 *          a rewritten word also sees the version that was made odd before it. On x86 both are
 *          plain moves.
 * Units    Words are 4 bytes and aligned; the bytes behind the last one up to its end are zero.
 * Cost     8 bytes a store where the target is aligned to 8.
 */
#ifndef PC_STORE_WORDS_H
#define PC_STORE_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void pc_word_store(uint32_t *at, uint32_t word)
{
    __atomic_store_n(at, word, __ATOMIC_RELEASE);
}

static inline uint32_t pc_word_load(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* The owner's own read of what only it writes. */
static inline uint32_t pc_word_own(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static inline void pc_word_pair_store(uint32_t *at, uint64_t pair)
{
    pc_word_store(at, (uint32_t)pair);
    pc_word_store(at + 1, (uint32_t)(pair >> 32));
}

static inline uint64_t pc_word_pair_own(const uint32_t *at)
{
    return pc_word_own(at) | (uint64_t)pc_word_own(at + 1) << 32;
}

static inline uint64_t pc_word_pair_load(const uint32_t *at)
{
    const uint64_t low = pc_word_load(at);
    return low | (uint64_t)pc_word_load(at + 1) << 32;
}

/* Writes pieces of any length one behind the other. */
struct pc_words_writer {
    uint32_t *at;
    uint8_t part[4]; /* the word begun */
    unsigned part_bytes;
};

static inline void pc_words_begin(struct pc_words_writer *writer, uint32_t *at)
{
    *writer = (struct pc_words_writer){.at = at};
}

static inline void pc_words_flush_part(struct pc_words_writer *writer)
{
    uint32_t word;
    memcpy(&word, writer->part, sizeof(word));
    pc_word_store(writer->at++, word);
    memset(writer->part, 0, sizeof(writer->part));
    writer->part_bytes = 0;
}

static inline void pc_words_add(struct pc_words_writer *writer, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;
    while (writer->part_bytes != 0 && count != 0) {
        writer->part[writer->part_bytes++ & 3] = *from++;
        count--;
        if (writer->part_bytes == sizeof(writer->part)) {
            pc_words_flush_part(writer);
        }
    }
    if (count >= 4 && ((uintptr_t)writer->at & 4) != 0) {
        uint32_t word;
        memcpy(&word, from, sizeof(word));
        pc_word_store(writer->at++, word);
        from += sizeof(word);
        count -= sizeof(word);
    }
    for (; count >= 8; count -= 8, from += 8, writer->at += 2) {
        uint64_t words;
        memcpy(&words, from, sizeof(words));
        __atomic_store_n((uint64_t *)(void *)writer->at, words, __ATOMIC_RELEASE);
    }
    if (count >= 4) {
        uint32_t word;
        memcpy(&word, from, sizeof(word));
        pc_word_store(writer->at++, word);
        from += sizeof(word);
        count -= sizeof(word);
    }
    /* Here no word is begun and fewer than 4 bytes are left. */
    for (unsigned i = 0; i < (count & 3); i++) {
        writer->part[i] = from[i];
    }
    writer->part_bytes += count & 3;
}

static inline void pc_words_end(struct pc_words_writer *writer)
{
    if (writer->part_bytes != 0) {
        pc_words_flush_part(writer);
    }
}

#endif
