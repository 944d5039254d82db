#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""floor: server CPU per request beside a hand-written epoll loop.

    bench/floor.py echo|get [--arms floor,percore,memcached,redis] [--connections 1,16,...]
                            [--pipeline 1,16] [--pairs 20] [--slice 0.4] [--build build/bench]

Prints one JSON line a cell and a table at the end (--json FILE keeps the lines apart). The floor
runs twice, as `floor` and `floor-again`: the second ratio is the A/A spread, the noise under which
a difference means nothing. An arm may name another binary: percore=/path/to/percore.
"""

import argparse
import pathlib
import random
import statistics

import pairs


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("mode", choices=("echo", "get"))
    parser.add_argument("--arms", help="default: floor,percore and for get memcached,redis")
    parser.add_argument("--connections", type=pairs.numbers, default=[1, 16, 64, 256, 1024])
    parser.add_argument("--pipeline", type=pairs.numbers, default=[1, 16])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--slice", type=float, default=0.4, help="seconds an arm and pair")
    parser.add_argument("--turns", type=int, default=4, help="parts a slice is dealt out in")
    parser.add_argument("--body-bytes", type=int, default=100)
    parser.add_argument("--lives", type=int, default=4, help="fresh servers that share the pairs")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--percore-flags", default="", help="more flags for the percore arms")
    parser.add_argument("--json", help="append the JSON lines to this file")
    flags = parser.parse_args()
    if flags.arms is None:
        flags.arms = "floor,percore" + (",memcached,redis" if flags.mode == "get" else "")
    flags.arms = flags.arms.split(",")
    if flags.arms[0].partition("=")[0] != "floor":
        parser.error("the first arm is the floor")
    again = flags.arms[0].replace("floor", "floor-again", 1)
    if again not in flags.arms:
        flags.arms.insert(1, again)
    if flags.mode == "get" and flags.body_bytes != 100:
        parser.error("the floor answers get with 100 bytes only")
    return flags


def measure_life(flags, connections, pipeline, rounds, rng):
    """Fresh servers, their clients, some rounds; samples by arm."""
    servers, clients = [], []
    stream = rng.randrange(1 << 31)  # every arm is asked for the same keys
    try:
        for arm in flags.arms:
            extra = flags.percore_flags.split() if arm.startswith("percore") else ()
            servers.append(
                pairs.start_server(arm, flags.mode, flags.build, {flags.server_cpu}, 1, extra)
            )
        for server in servers:
            client = pairs.Client(
                flags.build, server, connections, pipeline, flags.body_bytes, flags.client_cpu,
                stream,
            )
            clients.append(client)
            if not server.name.startswith("floor"):
                client.load()
        return pairs.run_rounds(clients, rounds, flags.slice, flags.turns, rng)
    finally:
        for thing in clients + servers:
            thing.close()


def measure_cell(flags, connections, pipeline, rng):
    samples = {}
    for life in range(flags.lives):
        rounds = flags.pairs // flags.lives + (life < flags.pairs % flags.lives)
        for name, more in measure_life(flags, connections, pipeline, rounds, rng).items():
            samples.setdefault(name, []).extend(more)
    floor_ns = [server / requests for requests, _, server, _ in samples["floor"]]
    arms = {}
    for name, rows in samples.items():
        own_ns = [server / requests for requests, _, server, _ in rows]
        median, low, high = pairs.interval([a / b for a, b in zip(own_ns, floor_ns)])
        arms[name] = {
            "ratio": round(median, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "cpu_ns_per_request": round(statistics.median(own_ns)),
            "server_cpu_share": round(statistics.median(row[2] / row[1] for row in rows), 3),
            "client_cpu_share": round(statistics.median(row[3] / row[1] for row in rows), 3),
            "requests": sum(row[0] for row in rows),
        }
    return {
        "bench": "floor", "mode": flags.mode, "connections": connections, "pipeline": pipeline,
        "body_bytes": flags.body_bytes, "pairs": flags.pairs, "slice_seconds": flags.slice,
        "turns": flags.turns, "lives": flags.lives, "seed": flags.seed, "arms": arms,
    }


def print_table(flags, cells):
    names = [name for name in cells[0]["arms"] if name != "floor"]
    print(f"\n{flags.mode}: server CPU per request, ratio to the floor, "
          f"median of {flags.pairs} pairs [interval of at least 95 %]\n")
    print("| connections | pipeline | floor ns | " + " | ".join(names) + " |")
    print("|" + "---|" * (3 + len(names)))
    for cell in cells:
        arms = cell["arms"]
        row = [f"{arms[n]['ratio']:.3f} [{arms[n]['low']:.3f}, {arms[n]['high']:.3f}]"
               for n in names]
        print(f"| {cell['connections']} | {cell['pipeline']} | "
              f"{arms['floor']['cpu_ns_per_request']} | " + " | ".join(row) + " |")


def main():
    flags = parse_flags()
    rng = random.Random(flags.seed)
    cells = []
    for pipeline in flags.pipeline:
        for connections in flags.connections:
            steal = pairs.steal_ns()
            cell = measure_cell(flags, connections, pipeline, rng)
            cell["steal_ms"] = (pairs.steal_ns() - steal) // 1_000_000
            pairs.print_json(cell, flags.json)
            cells.append(cell)
            pairs.note("  ".join([f"{connections} connections, pipeline {pipeline}:"] + [
                f"{name} {arm['ratio']:.3f} [{arm['low']:.3f}, {arm['high']:.3f}]"
                for name, arm in cell["arms"].items() if name != "floor"]))
    print_table(flags, cells)


if __name__ == "__main__":
    main()
