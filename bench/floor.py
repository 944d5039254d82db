#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""floor: server CPU per request beside a hand-written epoll loop.

    bench/floor.py echo|get|mg|mix|mg-mix|keys [--arms floor,percore,memcached,redis]
                   [--connections 1,16,...] [--pipeline 1,16] [--pairs 20] [--slice 0.4]
                   [--build build/bench]

mix is nine gets to a set, mg-mix nine mg to an ms; keys asks for 100 keys at once, and its figures
are per key. redis is asked in its own protocol whatever the others speak.
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
    parser.add_argument("mode", choices=pairs.MODES)
    parser.add_argument("--arms", help="default: floor,percore and but for echo memcached,redis")
    parser.add_argument("--connections", type=pairs.numbers, default=[1, 16, 64, 256, 1024])
    parser.add_argument("--pipeline", type=pairs.numbers, help="default: 1,16; for keys 1")
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
        flags.arms = "floor,percore" + (",memcached,redis" if flags.mode != "echo" else "")
    if flags.pipeline is None:
        flags.pipeline = [1] if flags.mode == "keys" else [1, 16]
    if flags.mode == "keys" and flags.pipeline != [1]:
        parser.error("the floor answers one request of keys at a time")
    flags.arms = flags.arms.split(",")
    if flags.arms[0].partition("=")[0] != "floor":
        parser.error("the first arm is the floor")
    again = flags.arms[0].replace("floor", "floor-again", 1)
    if again not in flags.arms:
        flags.arms.insert(1, again)
    if flags.mode != "echo" and flags.body_bytes != 100:
        parser.error("the floor has values of 100 bytes only")
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


def ratio(samples, above, below):
    """CPU per request of one arm to that of another, round by round."""
    median, low, high = pairs.interval(
        [(a[2] / a[0]) / (b[2] / b[0]) for a, b in zip(samples[above], samples[below])])
    return {"ratio": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def measure_cell(flags, connections, pipeline, rng):
    samples = {}
    for life in range(flags.lives):
        rounds = flags.pairs // flags.lives + (life < flags.pairs % flags.lives)
        for name, more in measure_life(flags, connections, pipeline, rounds, rng).items():
            samples.setdefault(name, []).extend(more)
    per_request = pairs.KEYS_ASKED if flags.mode == "keys" else 1
    arms = {}
    for name, rows in samples.items():
        own_ns = [server / requests / per_request for requests, _, server, _ in rows]
        arms[name] = {
            **ratio(samples, name, "floor"),
            "cpu_ns_per_request": round(statistics.median(own_ns)),
            "server_cpu_share": round(statistics.median(row[2] / row[1] for row in rows), 3),
            "client_cpu_share": round(statistics.median(row[3] / row[1] for row in rows), 3),
            "requests": sum(row[0] for row in rows),
        }
    return {
        "bench": "floor", "mode": flags.mode, "connections": connections, "pipeline": pipeline,
        "body_bytes": flags.body_bytes, "pairs": flags.pairs, "slice_seconds": flags.slice,
        "turns": flags.turns, "lives": flags.lives, "seed": flags.seed, "arms": arms,
        "percore_to": {name: ratio(samples, "percore", name) for name in ("memcached", "redis")
                       if name in samples and "percore" in samples},
    }


def said(figure):
    return f"{figure['ratio']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def print_table(flags, cells):
    names = [name for name in cells[0]["arms"] if name != "floor"]
    what = "key" if flags.mode == "keys" else "request"
    print(f"\n{flags.mode}: server CPU per {what}, ratio to the floor, "
          f"median of {flags.pairs} pairs [interval of at least 95 %]\n")
    beside = [f"percore to {name}" for name in cells[0]["percore_to"]]
    print("| connections | pipeline | floor ns | " + " | ".join(names + beside) + " |")
    print("|" + "---|" * (3 + len(names + beside)))
    for cell in cells:
        arms = cell["arms"]
        row = [said(arms[name]) for name in names] + [said(to) for to in cell["percore_to"].values()]
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
                f"{name} {said(arm)}" for name, arm in cell["arms"].items() if name != "floor"]))
    print_table(flags, cells)


if __name__ == "__main__":
    main()
