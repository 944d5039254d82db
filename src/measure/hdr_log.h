/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hdr_log: histograms as text that HdrHistogram's own tools read.
 *
 * Owner    One writer a stream.
 * Errors   -ENOMEM, or -EIO when the stream has failed.
 * Units    Seconds since the start of the log for times; values as recorded, the column of maxima
 *          divided by 10^6 as its tools expect.
 * Cost     A few hundred bytes a line: runs of empty counters take two bytes.
 * Source   HdrHistogram V2: header with cookie 0x1c849303 | 0x10, ZigZag LEB128 counts where a
 *          negative number is a run of zeros, zlib under cookie 0x1c849304 | 0x10, base64.
 */
#ifndef PC_MEASURE_HDR_LOG_H
#define PC_MEASURE_HDR_LOG_H

#include <stdio.h>

struct pc_histogram;

/* The compressed V2 form in base64, on the heap: the caller frees it. */
int pc_hdr_encode(const struct pc_histogram *histogram, char **out_text);

/* The head of a log; `start_s` is seconds since 1970. */
int pc_hdr_log_begin(FILE *stream, const char *writer, double start_s);

/* One line: what was recorded in `length_s` seconds from `at_s` on, under `tag` (NULL: none). */
int pc_hdr_log_interval(FILE *stream, const char *tag, double at_s, double length_s,
                        const struct pc_histogram *histogram);

#endif
