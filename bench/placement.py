#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""placement: how evenly long connections lie on the cores.

    bench/placement.py [--arms balanced,hash,memcached] [--cores 2,4,16] [--connections 64]
                       [--rounds 10]

A round starts a fresh server, opens the connections and asks each once; then half of them, drawn
at random, leave, and as many come back. Both times the connections of every event loop are
counted in the kernel's list of what each epoll descriptor watches, so the server's own counters
need not be believed. Reported: busiest / mean, median and worst of the rounds. Threads may share CPUs.
"""

import argparse
import pathlib
import random
import socket
import statistics
import struct
import time

import pairs


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--arms", default="balanced,hash,memcached")
    parser.add_argument("--cores", type=pairs.numbers, default=[2, 4, 16])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--json", help="append the JSON lines to this file")
    return parser.parse_args()


def ask(connection, mode):
    """One request and its whole answer: the connection now lies where it will stay."""
    if mode == "echo":
        frame = struct.pack(">I", 4) + b"ping"
        connection.sendall(frame)
        want = frame
    else:
        connection.sendall(b"get nothing\r\n")
        want = b"END\r\n"
    got = b""
    while len(got) < len(want):
        more = connection.recv(len(want) - len(got))
        if not more:
            raise SystemExit("the server closed a connection")
        got += more
    if got != want:
        raise SystemExit(f"wrong answer {got!r}")


def connect(server, mode):
    connection = socket.create_connection(("127.0.0.1", server.port), 5)
    ask(connection, mode)
    return connection


def counts_of(server, want):
    """Connections per core once all `want` are seen; the server may still be closing others."""
    deadline = time.monotonic() + 5
    while True:
        counts = pairs.server_connections(server.pid)
        if sum(counts) == want:
            return counts
        if time.monotonic() > deadline:
            raise SystemExit(f"{server.name}: {sum(counts)} connections seen, {want} open")
        time.sleep(0.01)


def busiest(counts, cores):
    return max(counts) / (sum(counts) / cores)


def measure_round(flags, arm, cores, rng):
    mode = "get" if arm == "memcached" else "echo"
    name = "memcached" if arm == "memcached" else "percore"
    extra = [] if arm == "memcached" else [f"--accept={arm}"]
    server = pairs.start_server(name, mode, flags.build, None, cores, extra)
    connections = []
    try:
        connections = [connect(server, mode) for _ in range(flags.connections)]
        first = counts_of(server, flags.connections)
        rng.shuffle(connections)
        half = flags.connections // 2
        for connection in connections[:half]:
            connection.close()
        counts_of(server, flags.connections - half)
        connections[:half] = [connect(server, mode) for _ in range(half)]
        second = counts_of(server, flags.connections)
        for connection in connections:
            ask(connection, mode)
        return first, second
    finally:
        for connection in connections:
            connection.close()
        server.close()


def main():
    flags = parse_flags()
    rng = random.Random(flags.seed)
    rows = []
    for cores in flags.cores:
        for arm in flags.arms.split(","):
            rounds = [measure_round(flags, arm, cores, rng) for _ in range(flags.rounds)]
            row = {"cores": cores, "arm": arm, "example": rounds[-1]}
            for i, when in enumerate(("arrived", "returned")):
                values = [busiest(counts[i], cores) for counts in rounds]
                row[when] = round(statistics.median(values), 3)
                row[when + "_worst"] = round(max(values), 3)
            rows.append(row)
            pairs.note(f"{cores} cores, {arm}: {row['arrived']} arrived, {row['returned']} returned")
    pairs.print_json({"bench": "placement", "connections": flags.connections, "seed": flags.seed,
                      "rounds": flags.rounds, "rows": rows}, flags.json)
    print(f"\n{flags.connections} connections, busiest / mean, median (worst) of {flags.rounds} rounds\n")
    print("| cores | placement | all arrived | half left and came back |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row['cores']} | {row['arm']} | {row['arrived']:.2f} ({row['arrived_worst']:.2f}) "
              f"| {row['returned']:.2f} ({row['returned_worst']:.2f}) |")


if __name__ == "__main__":
    main()
