/* SPDX-License-Identifier: Apache-2.0 */
/* echo: parse a frame, copy it to the reply. */
#include "services/echo.h"

#include "protocols/frame.h"

#define PC_ECHO_WORK_NS_MAX 1000000000u

static enum pc_parse echo_parse(struct pc_request *request, struct pc_view in, size_t *out_bytes)
{
    *out_bytes = pc_frame_bytes(in.at, in.count);
    return *out_bytes == 0 || *out_bytes > in.count ? PC_PARSE_MORE : PC_PARSE_DONE;
}

static enum pc_serve echo_serve(struct pc_request *request, struct pc_lane *lane)
{
    return pc_reply_copy(request, request->input.at, request->input.count) == 0 ? PC_SERVED
                                                                                : PC_HANG_UP;
}

static enum pc_serve work_serve(struct pc_request *request, struct pc_lane *lane)
{
    if (request->input.count >= PC_FRAME_HEAD_BYTES + 8) {
        uint64_t work_ns = pc_be64_load(request->input.at + PC_FRAME_HEAD_BYTES);
        uint64_t begun_ns = pc_lane_cpu_ns(lane);
        work_ns = work_ns < PC_ECHO_WORK_NS_MAX ? work_ns : PC_ECHO_WORK_NS_MAX;
        while (pc_lane_cpu_ns(lane) - begun_ns < work_ns) {}
    }
    return echo_serve(request, lane);
}

static const struct pc_class light_class = {.name = "echo", .weight = PC_LIGHT, .pure = true};
static const struct pc_class work_class = {.name = "work", .weight = PC_LEARNED, .pure = true};

struct pc_service pc_echo_service(size_t body_bytes_max, bool work)
{
    return (struct pc_service){.name = "echo",
                               .input_bytes_max = body_bytes_max + PC_FRAME_HEAD_BYTES,
                               .classes = work ? &work_class : &light_class,
                               .class_count = 1,
                               .parse = echo_parse,
                               .serve = work ? work_serve : echo_serve};
}
