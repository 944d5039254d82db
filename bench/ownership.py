#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ownership: what a request costs with two cores, by who may touch which slice.

Servers that differ in --ownership (and, where there is one, --lend) stay up together, each with two
cores on the same two CPUs; `percore load` asks each in turn, at one rate, for get, set or nine to
one, of keys that are uniform, Zipf, or half of the time one hot key. A round asks every server once
in each cell, in random order. Server CPU is the process clock over a whole run, set-up of the
connections included; letters and bells are the server's own counters (SIGUSR2). Medians over the
rounds with their order-statistic interval, ratios within a round.

The rate keeps the generator small beside the servers: it shares their two CPUs. p99 is that of
responses from their intended time, at the same rate for all.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import pairs

OPERATIONS = {"get": "get=1", "set": "set=1", "9:1": "get=0.9,set=0.1"}
POPULARITIES = {
    "uniform": ["--popularity", "uniform"],
    "zipf 0.99": ["--popularity", "zipf", "--alpha", "0.99"],
    "one hot": ["--popularity", "hot", "--hot-share", "0.5"],
}
COUNTED = ("requests", "letters_posted", "bells")


def arms_of(program):
    """Every mode, and each lending that is legal for it."""
    help_text = subprocess.run([program, "cache", "--help"], capture_output=True, text=True,
                               check=True).stdout
    lends = "--lend" in help_text
    arms = {"shared": ["--ownership", "shared"]}
    for mode in ("owned", "crew"):
        if lends:
            arms[f"{mode} off"] = ["--ownership", mode, "--lend", "off"]
            arms[f"{mode} on"] = ["--ownership", mode, "--lend", "on"]
        else:
            arms[mode] = ["--ownership", mode]
    if lends:
        del arms["owned on"]
    return arms


class Counted:
    """A server whose counters can be asked for."""

    def __init__(self, name, program, flags, folder, cpus):
        self.name, self.port = name, pairs.free_port()
        self.path = pathlib.Path(folder) / name.replace(" ", "-")
        command = [program, "cache", "-l", "127.0.0.1", "-p", str(self.port), "-m", "256", "--cores",
                   str(len(cpus)), "-c", "256", *flags]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT,
                                            preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        self.asked = 0
        deadline = time.monotonic() + 20
        while "\nstop" not in self.path.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)}: {self.path.read_text()}")
            time.sleep(0.01)

    def cpu_ns(self):
        """The process CPU clock, by the kernel's encoding of clock_getcpuclockid."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)

    def counters(self):
        self.asked += 1
        self.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            dumps = self.path.read_text().split("counter=requests ")
            if len(dumps) > self.asked and re.search(r"histogram=sending .*\n", dumps[-1]):
                text = "counter=requests " + dumps[-1]
                return {name: int(re.search(rf"counter={name} sum=(\d+)", text)[1])
                        for name in COUNTED}
            time.sleep(0.002)
        raise SystemExit(f"{self.name} does not print its counters")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def load(program, server, options, seconds, warm_seconds, words):
    command = [program, "load", f"memcached://127.0.0.1:{server.port}", "--rate", str(options.rate),
               "--duration", str(seconds), "--warmup", str(warm_seconds), "--keys",
               str(options.keys), "--connections", str(options.connections), "--lag-gate-us", "0",
               "--json", "-", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def measure(program, server, options, operation, popularity, seed):
    before, cpu_ns = server.counters(), server.cpu_ns()
    report = load(program, server, options, options.seconds, 0.1,
                  ["--no-fill", "--seed", str(seed), "--mix", OPERATIONS[operation],
                   *POPULARITIES[popularity]])
    cpu_ns, after = server.cpu_ns() - cpu_ns, server.counters()
    requests = after["requests"] - before["requests"]
    return {"cpu_us": cpu_ns / 1000 / requests,
            "letters": (after["letters_posted"] - before["letters_posted"]) / requests,
            "bells": (after["bells"] - before["bells"]) / requests,
            "p99_us": report["response_us"]["p99"],
            "generator_share": report["cpu_s"] / report["measured_s"] / os.cpu_count()}


def fold(rows, base_rows):
    """Medians and intervals of one arm in one cell; the ratio to the first arm by round."""
    cell = {name: pairs.interval([row[name] for row in rows]) for name in rows[0]}
    cell["ratio"] = pairs.interval([row["cpu_us"] / base["cpu_us"]
                                    for row, base in zip(rows, base_rows)])
    return cell


def print_table(cells, arms):
    head = f"{'':18}" + "".join(f"{name:>26}" for name in arms)
    for title, text in (
            ("CPU, us a request", lambda c: "{:.2f} [{:.2f}, {:.2f}]".format(*c["cpu_us"])),
            (f"CPU, times {next(iter(arms))}",
             lambda c: "{:.3f} [{:.3f}, {:.3f}]".format(*c["ratio"])),
            ("letters, bells a request",
             lambda c: f"{c['letters'][0]:.3f}, {c['bells'][0]:.3f}"),
            ("p99, us", lambda c: "{:.0f} [{:.0f}, {:.0f}]".format(*c["p99_us"]))):
        print(f"\n{title}\n{head}")
        for (operation, popularity), row in cells.items():
            print(f"{operation:4} {popularity:13}" + "".join(f"{text(row[name]):>26}"
                                                             for name in arms))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build/bench")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--rate", type=int, default=15000)
    parser.add_argument("--keys", type=int, default=100000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--operation", choices=OPERATIONS, help="only this one")
    parser.add_argument("--keys-by", choices=POPULARITIES, help="only keys asked for so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three short rounds: does it run?")
    parser.add_argument("--out", help="append the JSON line to this file")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 0.25
    program = pairs.find_program(options.build, "percore")
    arms = arms_of(program)
    cpus = set(sorted(os.sched_getaffinity(0))[:2])
    rng = random.Random(options.seed)
    rows = {(o, p): {name: [] for name in arms} for o in OPERATIONS for p in POPULARITIES
            if options.operation in (None, o) and options.keys_by in (None, p)}
    servers = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, flags in arms.items():
                servers.append(Counted(name, program, flags, folder, cpus))
                load(program, servers[-1], options, 0.2, 0, ["--mix", "get=1"])
            for number in range(options.rounds):
                for operation, popularity in rows:
                    for server in rng.sample(servers, len(servers)):
                        rows[operation, popularity][server.name].append(
                            measure(program, server, options, operation, popularity, number + 1))
                pairs.note(f"round {number + 1} of {options.rounds}")
        finally:
            for server in servers:
                server.close()
    first = next(iter(arms))
    cells = {cell: {name: fold(row[name], row[first]) for name in arms}
             for cell, row in rows.items()}
    print_table(cells, arms)
    share = max(row["generator_share"] for cell in rows.values() for arm in cell.values()
                for row in arm)
    print(f"\nthe generator took at most {share:.1%} of each CPU")
    pairs.print_json({"bench": "ownership", "rounds": options.rounds, "seconds": options.seconds,
                      "rate": options.rate, "keys": options.keys, "generator_share": share,
                      "connections": options.connections, "seed": options.seed,
                      "cells": [{"operation": o, "popularity": p, "arms": row}
                                for (o, p), row in cells.items()]}, options.out)


if __name__ == "__main__":
    sys.exit(main())
