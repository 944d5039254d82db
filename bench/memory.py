#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""memory: whether -m is all that is used, and whether a shift of value sizes leaves a mark.

    bench/memory.py [--megabytes 1024] [--connections 10000] [--requests 2000000] [--arms percore]

Each arm is started twice. The first time 10 000 connections each send a GET and then 16 at once and
stay, while one more plays three streams: small values, large ones, the small ones again; keys are
drawn with a skew from twice what fits, after as many as fit were stored, and every miss is followed
by a set. The second time only the first stream is played: a fresh start. Shown are the resident memory along the way, less that of the
process when it had just started, and the hit ratio over the last quarter of each stream.
"""

import argparse
import pathlib
import random
import re
import resource
import socket
import sys

import pairs

BATCH = 512  # keys a multi-get
ITEM_BYTES = 40  # key and what an item costs beside, for what fits
SMALL, LARGE = 100, 4096
FOUND = re.compile(rb"VALUE key:(\d{12}) ")
SAMPLES = 12  # of resident memory a stream


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--arms", default="percore", help="percore, percore=PATH, memcached")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--requests", type=int, default=2_000_000, help="of a small stream")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--percore-flags", default="", help="more flags for percore")
    parser.add_argument("--json", help="append the JSON lines to this file")
    return parser.parse_args()


def resident_bytes(pid):
    return int(pairs.read_text(f"/proc/{pid}/statm").split()[1]) * resource.getpagesize()


def set_form(value_bytes):
    return b"set key:%%012d 0 0 %d noreply\r\n%s\r\n" % (value_bytes, b"v" * value_bytes)


class Stream:
    """Multi-gets of drawn keys, misses stored, on one connection."""

    def __init__(self, server, seed):
        self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.random = random.Random(seed)

    def get(self, keys):
        """The numbers of those that were found."""
        line = b"get " + b" ".join([b"key:%012d" % key for key in keys]) + b"\r\n"
        self.socket.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"END\r\n"):
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise SystemExit("the server closed the connection")
            answer += piece
            if answer.endswith(b"\r\n") and b"ERROR" in answer[-80:]:
                raise SystemExit(f"the server says {bytes(answer[-80:])}")
        return {int(number) for number in FOUND.findall(answer)}

    def fill(self, item_count, value_bytes, watch):
        form = set_form(value_bytes)
        step = max(item_count // SAMPLES, 1)
        for first in range(0, item_count, BATCH):
            self.socket.sendall(b"".join([form % key for key in range(first, first + BATCH)]))
            if first % step < BATCH:
                watch()

    def play(self, request_count, value_bytes, key_count, watch):
        """Hit ratio over the last quarter; `watch` is called now and then."""
        form = set_form(value_bytes)
        draw = self.random.random
        batch_count = request_count // BATCH
        hits = asked = 0
        for batch in range(batch_count):
            keys = [int(draw() ** 3 * key_count) for _ in range(BATCH)]
            found = self.get(keys)
            if batch >= batch_count * 3 // 4:
                asked += BATCH
                hits += sum(key in found for key in keys)
            missed = dict.fromkeys(key for key in keys if key not in found)
            if missed:
                self.socket.sendall(b"".join([form % key for key in missed]))
            if batch % (batch_count // SAMPLES) == 0:
                watch()
        watch()
        return hits / asked

    def close(self):
        self.socket.close()


def start(arm, flags):
    extra = ["-m", str(flags.megabytes)]
    if arm.startswith("percore"):
        extra += flags.percore_flags.split()
    return pairs.start_server(arm, "get", flags.build, None, flags.cores, extra,
                              connections_max=flags.connections + 100)


def use(client, pipeline):
    """One request, then `pipeline` at once, on every connection of the client."""
    client.set_pipeline(1)
    client.run(0)
    client.set_pipeline(pipeline)
    client.run(0)


def play_streams(arm, flags, sizes, crowded):
    """Hit ratio of each stream, resident bytes along the way, those of the empty process."""
    server = start(arm, flags)
    things = [server]
    try:
        empty = resident_bytes(server.pid)
        if crowded:
            things.insert(0, pairs.Client(flags.build, server, 1, flags.pipeline, 100, None, 1))
            things[0].load()
            things.insert(0, pairs.Client(flags.build, server, flags.connections, flags.pipeline,
                                          100, None, 1))
            use(things[0], flags.pipeline)
        curve = [resident_bytes(server.pid) - empty]

        def watch():
            curve.append(resident_bytes(server.pid) - empty)

        stream = Stream(server, flags.seed)
        things.insert(0, stream)
        ratios = []
        for size in sizes:
            fit = (flags.megabytes << 20) // (size + ITEM_BYTES)
            # Large values have fewer requests: as many bytes go by.
            count = max(flags.requests * (SMALL + ITEM_BYTES) // (size + ITEM_BYTES), 100_000)
            stream.fill(fit, size, watch)
            ratios.append(stream.play(count, size, 2 * fit, watch))
            pairs.note(f"{arm}: values of {size} B: hit ratio {ratios[-1]:.4f}, "
                       f"{curve[-1] / 2**20:.0f} MiB resident")
        if crowded:
            things[2].load()
            use(things[1], flags.pipeline)
            watch()
    finally:
        for thing in things:
            thing.close()
    return ratios, curve, empty


def measure(arm, flags):
    ratios, curve, empty = play_streams(arm, flags, (SMALL, LARGE, SMALL), True)
    fresh = play_streams(arm, flags, (SMALL,), False)[0][0]
    limit = flags.megabytes << 20
    return {
        "arm": arm, "megabytes": flags.megabytes, "connections": flags.connections,
        "requests": flags.requests, "seed": flags.seed,
        "resident_mib": [round(bytes_ / 2**20, 1) for bytes_ in curve],
        "empty_mib": round(empty / 2**20, 1),
        "over_limit_percent": round(100 * (max(curve) / limit - 1), 2),
        "hit_ratio": {"before": round(ratios[0], 4), "large": round(ratios[1], 4),
                      "after": round(ratios[2], 4), "fresh": round(fresh, 4)},
    }


def main():
    flags = parse_flags()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = flags.connections + 1000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    rows = []
    for arm in flags.arms.split(","):
        rows.append(measure(arm, flags))
        pairs.print_json({"bench": "memory", **rows[-1]}, flags.json)
    print(f"\n-m {flags.megabytes}, {flags.connections} connections, values of {SMALL} B, then "
          f"{LARGE} B, then {SMALL} B\n")
    print("| server | largest resident | over -m | hits before | large | after | fresh start |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        ratio = row["hit_ratio"]
        print(f"| {row['arm']} | {max(row['resident_mib']):.0f} MiB | "
              f"{row['over_limit_percent']:+.1f} % | {ratio['before']:.4f} | {ratio['large']:.4f} | "
              f"{ratio['after']:.4f} | {ratio['fresh']:.4f} |")
        print("\nMiB along the way: " + " ".join(str(mib) for mib in row["resident_mib"]),
              file=sys.stderr)


if __name__ == "__main__":
    main()
