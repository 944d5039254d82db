#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""instructions: what a server executes in user mode per request, counted, not timed.

    bench/instructions.py echo|get|set|mg|mix|mg-mix|keys [--arms floor,percore] [--connections 1]
                          [--pipeline 1,16] [--functions 12] [--cores 1] [--percore-flags ...]

Runs each arm under valgrind's callgrind, so the count has no noise and needs no quiet machine:
the quick way to see what a change to the hot path costs. The kernel's share is not in it; system
calls per request are told by `strace -c`. Needs valgrind, under which memcached does not start.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

import pairs


REQUESTS_MIN = 1000  # upkeep and the pause of the control tool are spread over these


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("mode", choices=pairs.MODES)
    parser.add_argument("--arms", default="floor,percore")
    parser.add_argument("--connections", type=pairs.numbers, default=[1])
    parser.add_argument("--pipeline", type=pairs.numbers, default=[1, 16])
    parser.add_argument("--seconds", type=float, default=1, help="length of a count")
    parser.add_argument("--functions", type=int, default=12, help="how many to list")
    parser.add_argument("--body-bytes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--cores", type=int, default=1, help="of the percore arms; with more, one "
                        "connection has half of its keys elsewhere, whose core sleeps")
    parser.add_argument("--percore-flags", default="", help="more flags for the percore arms")
    parser.add_argument("--json", help="append the JSON lines to this file")
    return parser.parse_args()


def control(flag, pid):
    subprocess.run(["callgrind_control", flag, str(pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=60)


def read_functions(path):
    """Own instructions by function, busiest first, from callgrind's file: a line of cost belongs
    to the last `fn=`, except the one after `calls=`, which is the callee's."""
    names, costs, current, skip = {}, {}, "", False
    for line in path.read_text().splitlines():
        if line.startswith("fn="):
            number, name = re.fullmatch(r"fn=\((\d+)\)(?: (.*))?", line).groups()
            if name:
                names[number] = name
            current = names[number]
        elif line.startswith(("cfn=", "cfi=", "cob=")):
            match = re.fullmatch(r"cfn=\((\d+)\) (.*)", line)
            if match:
                names[match[1]] = match[2]
        elif line.startswith("calls="):
            skip = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            if not skip:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skip = False
    return sorted(costs.items(), key=lambda row: -row[1])


def measure(flags, arm, connections, pipeline):
    extra = flags.percore_flags.split() if arm.startswith("percore") else ()
    if arm.startswith("percore") and flags.mode != "echo":
        extra = [*extra, "-u", "root"]  # the tool is spoken to over files of whoever started it
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        server = pairs.start_server(arm, flags.mode, flags.build, None, flags.cores, extra,
                                    tool)
        client = None
        try:
            client = pairs.Client(flags.build, server, connections, pipeline, flags.body_bytes,
                                  None, flags.seed)
            if not arm.startswith("floor"):
                client.load()
            client.run(flags.seconds / 4)
            control("--zero", server.pid)
            requests = 0
            while requests < REQUESTS_MIN:
                requests += client.run(flags.seconds)[0]
            control("--dump", server.pid)
        finally:
            if client:
                client.close()
            server.close()
        functions = read_functions(pathlib.Path(f"{out}.1"))
    total = sum(count for _, count in functions)
    return {
        "bench": "instructions", "mode": flags.mode, "arm": arm.partition("=")[0],
        "connections": connections, "pipeline": pipeline, "body_bytes": flags.body_bytes,
        "seed": flags.seed, "requests": requests, "cores": flags.cores,
        "instructions_per_request": round(total / requests, 1),
        "functions": {name: round(count / requests, 2)
                      for name, count in functions[:flags.functions]},
    }


def main():
    flags = parse_flags()
    rows = []
    for pipeline in flags.pipeline:
        for connections in flags.connections:
            for arm in flags.arms.split(","):
                row = measure(flags, arm, connections, pipeline)
                pairs.print_json(row, flags.json)
                rows.append(row)
    print(f"\n{flags.mode}: user instructions per request\n")
    print("| arm | connections | pipeline | instructions |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row['arm']} | {row['connections']} | {row['pipeline']} | "
              f"{row['instructions_per_request']} |")
    for row in rows:
        print(f"\n{row['arm']}, {row['connections']} connections, pipeline {row['pipeline']}:")
        for name, count in row["functions"].items():
            print(f"    {count:9.2f}  {name}")


if __name__ == "__main__":
    main()
