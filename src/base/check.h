/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: assertions and the few compiler words the rest is written in.
 *
 * Core     any: nothing here has state.
 * Errors   PC_ASSERT stops the program: it guards against our own mistakes, never against input.
 */
#ifndef PC_BASE_CHECK_H
#define PC_BASE_CHECK_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* 64 bytes: the coherence unit of every x86-64 and of the arm64 servers we know. */
#define PC_CACHE_LINE 64

/* In a release the condition is compiled and thrown away: what only it uses is still used. */
#ifdef NDEBUG
#define PC_ASSERT(condition) ((void)(0 && (condition)))
#else
#define PC_ASSERT(condition) assert(condition)
#endif
#define PC_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define PC_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define PC_UNUSED              __attribute__((unused))
#define PC_COUNT_OF(array)     (sizeof(array) / sizeof((array)[0]))

/* The object of type `type` whose member `member` is at `pointer`. */
#define PC_CONTAINER_OF(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* In a loop that waits for another CPU: give the sibling thread and the memory bus a rest. */
static inline void pc_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static inline size_t pc_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t pc_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
