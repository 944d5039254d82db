#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tail: what large values do to the tail of small ones.

    bench/tail.py [--arms percore,memcached,redis] [--rounds 3] [--seconds 6] [--rate 10000]

GETs of 1 KB values at a fixed rate, in an open loop by percore load:

    alone   nothing else
    large   beside ten GETs and ten SETs a second of 10 MB values
    small   beside as many more 1 KB GETs as cost the server the CPU that the large ones did

Time counts from the send of a request: the client of the large values shares the generator's CPU,
and what that delays of the generator is not the server's. The JSON line has the time from when it
was due, and the generator's own lag, beside it. All servers are up together, with room for 16 MB values; a round runs each of them once in the three
ways. Shown are the medians over the rounds of p99.9 and their spread, and large over small. The CPU
of the second is known when the third begins, so the order within a round is fixed.
"""

import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import threading
import time

import pairs

LARGE_BYTES = 10_000_000
LARGE_KEYS = 5
PERIOD = 0.1
WAYS = ("alone", "large", "small")


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--arms", default="percore,memcached,redis")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of one way, one arm, one round")
    parser.add_argument("--rate", type=int, default=10000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--percore-flags", default="", help="more flags for percore")
    parser.add_argument("--json", help="append the JSON line to this file")
    return parser.parse_args()


def start(arm, flags):
    extra = {"percore": ["-I", "16m", "-m", "1024", *flags.percore_flags.split()],
             "memcached": ["-I", "16m", "-m", "1024"]}.get(arm, [])
    return pairs.start_server(arm, "get", flags.build, {0}, 1, extra, connections_max=1000)


class Large:
    """Ten SETs and ten GETs a second of large values, each kind on a connection of its own."""

    def __init__(self, server):
        self.redis = server.protocol == "redis"
        self.port = server.port
        self.body = b"x" * LARGE_BYTES
        self.stop = threading.Event()
        self.done = {"set": 0, "get": 0}
        self.trouble = None
        for number in range(LARGE_KEYS):
            self.once("set", number)
        self.threads = [threading.Thread(target=self.keep, args=(kind,)) for kind in self.done]
        for thread in self.threads:
            thread.start()

    def once(self, kind, number, link=None):
        own = link is None
        link = link or socket.create_connection(("127.0.0.1", self.port), 30)
        key = b"large%d" % (number % LARGE_KEYS)
        if kind == "set":
            form = (b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, LARGE_BYTES)
                    if self.redis else b"set %s 0 0 %d\r\n" % (key, LARGE_BYTES))
            link.sendall(form)
            link.sendall(self.body)
            link.sendall(b"\r\n")
            self.read(link, b"+OK\r\n" if self.redis else b"STORED\r\n", 0)
        else:
            link.sendall(b"GET %s\r\n" % key if self.redis else b"get %s\r\n" % key)
            self.read(link, b"\r\n" if self.redis else b"\r\nEND\r\n", LARGE_BYTES)
        if own:
            link.close()

    @staticmethod
    def read(link, end, count_min):
        count, last, room = 0, b"", bytearray(1 << 18)
        while count < count_min or not last.endswith(end):
            got = link.recv_into(room)
            if got == 0:
                raise RuntimeError("closed by the server")
            count += got
            last = (last + bytes(room[max(0, got - 16):got]))[-16:]
            if b"ERROR" in last or (count < count_min and last.endswith(b"END\r\n")):
                raise RuntimeError(f"the server says {last}")

    def keep(self, kind):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 30) as link:
                due = time.monotonic()
                while not self.stop.is_set():
                    self.once(kind, self.done[kind], link)
                    self.done[kind] += 1
                    due = max(due + PERIOD, time.monotonic() - PERIOD)
                    self.stop.wait(max(0, due - time.monotonic()))
        except (OSError, RuntimeError) as trouble:
            self.trouble = trouble

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.trouble:
            raise SystemExit(f"large values: {self.trouble}")


def load_command(server, flags, rate, seconds, fill):
    protocol = "redis" if server.protocol == "redis" else "memcached"
    command = [pairs.find_program(flags.build, "percore"), "load",
               f"{protocol}://127.0.0.1:{server.port}", "-r", str(int(rate)), "-d", str(seconds),
               "--warmup", "1", "-c", str(flags.connections), "--mix", "get=1", "-v", "1000",
               "-k", "10000", "--popularity", "uniform", "--ttl", "0", "--lag-gate-us", "0",
               "--stamps", "off", "-q", "--json", "-"]
    return command if fill else [*command, "--no-fill"]


def run_load(server, flags, rate, seconds, fill=False):
    done = subprocess.run(load_command(server, flags, rate, seconds, fill), text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not done.stdout.strip():
        raise SystemExit(f"percore load: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def run_way(way, server, flags, costs):
    """p99.9 in microseconds, large values done; CPU goes to `costs`."""
    large = Large(server) if way == "large" else None
    rate = flags.rate
    if way == "small":
        rate += max(0, costs["large"] - costs["alone"]) / (costs["alone"] / flags.rate)
    began, cpu = time.monotonic(), server.cpu_ns()
    report = run_load(server, flags, rate, flags.seconds)
    costs[way] = (server.cpu_ns() - cpu) / (time.monotonic() - began)
    if large:
        large.close()
    if report["wrong"] or report["misses"] or report["errors"]:
        raise SystemExit(f"{server.name}: wrong answers or misses beside {way}")
    return {"us": report["from_send_us"]["p999"], "response_us": report["response_us"]["p999"],
            "own_lag_us": report["own_lag_us"]["p999"], "rate": round(rate), "cpu": round(costs[way] / 1e9, 3),
            "large_done": large.done if large else None}


def main():
    flags = parse_flags()
    servers, rows = [], {}
    try:
        for arm in flags.arms.split(","):
            servers.append(start(arm, flags))
            run_load(servers[-1], flags, flags.rate, 1, fill=True)
        for _ in range(flags.rounds):
            for server in servers:
                costs = {}
                for way in WAYS:
                    rows.setdefault((server.name, way), []).append(
                        run_way(way, server, flags, costs))
    finally:
        for server in servers:
            server.close()
    pairs.print_json({"bench": "tail", "rate": flags.rate, "seconds": flags.seconds,
                      "rows": {f"{arm} {way}": row for (arm, way), row in rows.items()}}, flags.json)
    print(f"\np99.9 of 1 KB GETs at {flags.rate}/s in microseconds: median (least to most) of "
          f"{flags.rounds} rounds\n")
    print("| server | alone | beside ten GETs and ten SETs of 10 MB a second | "
          "beside the same CPU of 1 KB GETs | large over small |")
    print("|---|---|---|---|---|")
    for server in servers:
        cells = []
        for way in WAYS:
            values = [row["us"] for row in rows[server.name, way]]
            cells.append(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})")
        ratios = [large["us"] / small["us"] for large, small in
                  zip(rows[server.name, "large"], rows[server.name, "small"])]
        print(f"| {server.name} | {' | '.join(cells)} | {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
