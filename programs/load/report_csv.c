/* SPDX-License-Identifier: Apache-2.0 */
/* report_csv: the seconds of a run as rows. */
#include "programs/load/report.h"

#include "programs/load/result.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int pc_load_report_csv(const char *path, const struct pc_load_result *result)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdout : fopen(path, "we");
    if (file == NULL) {
        return -errno;
    }
    fputs("at_s,length_s,scheduled,received,errors,response_us_p50,response_us_p99,"
          "response_us_p999,response_us_max,lag_us_p99\n",
          file);
    for (unsigned i = 0; i < result->second_count; i++) {
        const struct pc_load_second *second = &result->seconds[i];
        fprintf(file, "%.3f,%.3f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.3f,%.3f,%.3f,%.3f,%.3f\n",
                second->at_s, second->length_s, second->scheduled, second->received, second->errors,
                (double)second->response_ns_p50 / 1e3, (double)second->response_ns_p99 / 1e3,
                (double)second->response_ns_p999 / 1e3, (double)second->response_ns_max / 1e3,
                (double)second->lag_ns_p99 / 1e3);
    }
    return (standard ? fflush(file) : fclose(file)) == 0 ? 0 : -errno;
}
