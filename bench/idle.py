#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""idle: what thousands of silent connections cost.

    bench/idle.py [--arms percore,memcached,redis] [--connections 10000] [--seconds 10] [--cores 1]

Every connection does one GET and then 16 at once, checked, and falls silent. Then, with all
servers up together: the CPU share of each while nothing happens, and the growth of its touched
private memory per connection over a baseline with one such connection. Socket buffers are the
kernel's and not counted.
"""

import argparse
import pathlib
import time

import pairs


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--arms", default="percore,memcached,redis")
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--settle", type=float, default=3, help="seconds before the idle window")
    parser.add_argument("--seconds", type=float, default=10, help="length of the idle window")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--percore-flags", default="", help="more flags for the percore arms")
    parser.add_argument("--json", help="append the JSON lines to this file")
    return parser.parse_args()


def use(client, pipeline):
    """One request, then `pipeline` at once, on every connection of the client."""
    client.set_pipeline(1)
    client.run(0)
    client.set_pipeline(pipeline)
    client.run(0)


def open_arm(flags, arm, things):
    """A server with its connections, all used once; its memory before and after."""
    extra = flags.percore_flags.split() if arm.startswith("percore") else ()
    cpus = set(range(flags.cores))
    server = pairs.start_server(arm, "get", flags.build, cpus, flags.cores, extra,
                                connections_max=flags.connections + 1000)
    things.append(server)
    first = pairs.Client(flags.build, server, 1, flags.pipeline, 100, None, flags.seed)
    things.insert(0, first)
    if not arm.startswith("floor"):
        first.load()
    use(first, flags.pipeline)
    time.sleep(1)
    before = pairs.anonymous_bytes(server.pid)
    crowd = pairs.Client(
        flags.build, server, flags.connections, flags.pipeline, 100, None, flags.seed
    )
    things.insert(0, crowd)
    use(crowd, flags.pipeline)
    return server, before


def main():
    flags = parse_flags()
    things, rows = [], []
    try:
        arms = [open_arm(flags, arm, things) for arm in flags.arms.split(",")]
        time.sleep(flags.settle)
        start = time.monotonic()
        marks = [(s.cpu_ns(), pairs.context_switches(s.pid)) for s, _ in arms]
        time.sleep(flags.seconds)
        wall_ns = (time.monotonic() - start) * 1e9
        for (server, before), (cpu_ns, switches) in zip(arms, marks):
            after = pairs.anonymous_bytes(server.pid)
            rows.append({
                "arm": server.name,
                "connections_seen": sum(pairs.server_connections(server.pid)) - 1,
                "cpu_percent": round(100 * (server.cpu_ns() - cpu_ns) / wall_ns, 4),
                "switches_per_second":
                    round((pairs.context_switches(server.pid) - switches) / wall_ns * 1e9, 1),
                "bytes_per_connection": round((after - before) / flags.connections, 1),
                "baseline_kib": before // 1024,
            })
    finally:
        for thing in things:
            thing.close()
    pairs.print_json({"bench": "idle", "connections": flags.connections, "cores": flags.cores,
                      "pipeline": flags.pipeline, "seconds": flags.seconds, "seed": flags.seed,
                      "arms": rows}, flags.json)
    print(f"\n{flags.connections} idle connections, each after a GET and {flags.pipeline} at once\n")
    print("| server | CPU while idle | wake-ups a second | user memory a connection | baseline |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['arm']} | {row['cpu_percent']:.3f} % | {row['switches_per_second']} | "
              f"{row['bytes_per_connection'] / 1024:.2f} KiB | {row['baseline_kib']} KiB |")
        if row["connections_seen"] != flags.connections:
            raise SystemExit(f"{row['arm']} holds {row['connections_seen']} connections")


if __name__ == "__main__":
    main()
