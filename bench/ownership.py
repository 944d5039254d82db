#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ownership: what a request costs, by who may touch which slice.

    bench/ownership.py                  two cores, CPU per request, letters, wakings, p99
    bench/ownership.py --cores 1        one core on a CPU of its own, the client on another

Servers that differ in --ownership (and, with two cores, in --lend) stay up together on the same
CPUs. Their clients (paced.c) keep their connections and make one Poisson rate of get, set or nine
gets to a set, of keys that are uniform, Zipf, or half of the time one hot key; which key is hot
changes each round. With two cores every combination of client thread and server core has the same
number of connections, found in the kernel's tables, so that no arm sleeps nearer to its client.

A round of a cell is a row of short slices: the pivot, an arm, the pivot, the next arm, ..., the
pivot. Each arm's CPU is compared with the mean of the pivot slices before and after it, and each
inner pivot slice likewise with its neighbours: that is the noise. The figure is the median over
the rounds with its bootstrap interval. The verdict of a cell is `met` when the pivot's whole
interval is at most --within times each other arm, `missed` when it lies above that for one of
them, else `cannot tell`.

Server CPU is the process clock over a slice, that of a core the kernel's of its thread. Letters,
bells and calls are the server's own counters (SIGUSR2). p99 is that of responses from their
intended time, of all slices together; that of the median slice leaves out what befell a few.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time

import pairs

ASKS = {"get": "get", "set": "set", "9:1": "mix"}
KEYS = {"uniform": "uniform", "zipf 0.99": "zipf", "one hot": "hot"}
COUNTED = ("requests", "letters_posted", "bells", "borrowed", "borrow_missed", "borrow_refused",
           "batons_wanted", "sleeps", "turns", "receives", "sends")
RESAMPLES = 2000
P99_RESAMPLES = 200


def arms_of(cores):
    """The arms, the pivot first. With one core there is nobody to lend to."""
    if cores == 1:
        return {name: ["--ownership", name] for name in ("crew", "shared", "owned")}
    return {"crew on": ["--ownership", "crew", "--lend", "on"],
            "shared": ["--ownership", "shared"],
            "owned": ["--ownership", "owned"],
            "crew off": ["--ownership", "crew", "--lend", "off"]}


class Arm:
    """A server whose counters can be asked for, and its client."""

    def __init__(self, name, options, flags, folder, server_cpus, client_cpus):
        self.name, self.port = name, pairs.free_port()
        self.path = pathlib.Path(folder) / name.replace(" ", "-")
        command = [pairs.find_program(options.build, "percore"), "cache", "-l", "127.0.0.1", "-p",
                   str(self.port), "-m", "256", "--cores", str(options.cores), "-c", "256", *flags]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        with open(self.path, "wb") as out:
            self.server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT,
                                           preexec_fn=lambda: os.sched_setaffinity(0, server_cpus))
        self.client = None
        try:
            self.wait_for("\nstop", command)
            self.text = open(self.path, encoding="utf-8", errors="replace")
            self.connect(options, client_cpus)
        except BaseException:
            self.close()
            raise

    def connect(self, options, client_cpus):
        self.client = subprocess.Popen(
            [pairs.find_program(options.build, "paced"), "--port", str(self.port), "--cpus",
             ",".join(str(cpu) for cpu in client_cpus), "--connections",
             str(4 * options.connections // len(client_cpus)), "--keys", str(options.keys),
             "--server-pid", str(self.server.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ports = [int(word) for word in self.answer("ready")]
        self.ask("load", "loaded")
        self.keep(ports, options.connections, len(client_cpus), options.cores)
        self.counted = self.counters()

    def wait_for(self, text, command):
        deadline = time.monotonic() + 20
        while text not in self.path.read_text():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)}: {self.path.read_text()}")
            time.sleep(0.01)

    def answer(self, word):
        words = self.client.stdout.readline().split()
        if not words or words[0] != word:
            raise SystemExit(f"the client of {self.name} ended, wanted '{word}'")
        return words[1:]

    def ask(self, line, word):
        self.client.stdin.write(line + "\n")
        self.client.stdin.flush()
        return self.answer(word)

    def keep(self, ports, count, threads, cores):
        """Of four times as many connections, as many of each thread on each core."""
        each = count // (threads * cores)
        core_of = {port: core for core, held in enumerate(pairs.server_loops(self.server.pid))
                   for port in held}
        kept, seen = [], collections.Counter()
        for index, port in enumerate(ports):
            place = (index % threads, core_of[port])
            seen[place] += 1
            if seen[place] <= each:
                kept.append(index)
        if len(kept) != count:
            raise SystemExit(f"{self.name}: connections lie too unevenly: {dict(seen)}")
        self.ask("keep " + " ".join(str(index) for index in kept), "kept")

    def counters(self):
        self.server.send_signal(signal.SIGUSR2)
        deadline, dump = time.monotonic() + 20, ""
        while not re.search(r"histogram=sending .*\n", dump):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} does not print its counters")
            time.sleep(0.001)
            dump += self.text.read()
        return {name: int(re.search(rf"counter={name} sum=(\d+)", dump)[1]) for name in COUNTED}

    def thread_ns(self):
        """CPU of each thread of the server."""
        return {task.name: int(pairs.read_text(task / "schedstat").split()[0])
                for task in pathlib.Path(f"/proc/{self.server.pid}/task").iterdir()}

    def slice(self, options, cell, seed):
        operation, popularity = cell
        before, threads = self.counted, self.thread_ns()
        words = self.ask(f"run {int(options.seconds * 1000)} {options.rate} {ASKS[operation]} "
                         f"{KEYS[popularity]} {seed}", "ran")
        threads = [ns - threads[name] for name, ns in self.thread_ns().items()]
        after = self.counted = self.counters()
        requests, server_ns, client_ns, lag_ns = (int(word) for word in words[:4])
        responses = [tuple(int(part) for part in word.split(":")) for word in words[4:]]
        row = {name: (after[name] - before[name]) / requests for name in COUNTED}
        row.update(cpu_us=server_ns / 1000 / requests, lag_p99_us=lag_ns / 1000,
                   busiest=max(threads) * options.cores / sum(threads),
                   client_ns=client_ns, requests=requests, responses=responses)
        return row

    def close(self):
        if self.client:
            self.client.stdin.close()
            self.client.wait(10)
            self.client.stdout.close()
            self.text.close()
        self.server.send_signal(signal.SIGTERM)
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()


def bootstrap(values, rng, resamples=RESAMPLES, fold=statistics.median):
    """The figure and its 95 % interval over resampled rounds."""
    folded = sorted(fold(rng.choices(values, k=len(values))) for _ in range(resamples))
    return [fold(values), folded[resamples // 40], folded[-1 - resamples // 40]]


def quantile_ns(rows, fraction):
    """Of the responses of all rows together, which may lack those below the quantile."""
    total = collections.Counter()
    for _, responses in rows:
        for value_ns, count in responses:
            total[value_ns] += count
    left = sum(requests for requests, _ in rows) * (1 - fraction)
    for value_ns in sorted(total, reverse=True):
        left -= total[value_ns]
        if left < 0:
            return value_ns
    return min(total)


def p99_us(arm_rows, rng):
    """With its interval; the lower half is not resampled, for speed."""
    rows = [(row["requests"], row["responses"]) for row in arm_rows]
    floor_ns = quantile_ns(rows, 0.5)
    rows = [(requests, [pair for pair in responses if pair[0] >= floor_ns])
            for requests, responses in rows]
    return bootstrap(rows, rng, P99_RESAMPLES, lambda some: quantile_ns(some, 0.99) / 1000)


def run_round(arms, options, cell, seed, rng, rows, ratios):
    """One row of slices; appends to rows[arm] and ratios[arm], the pivot's own ratio is noise."""
    pivot, *others = arms
    before = pivot.slice(options, cell, seed)
    line = [before]
    for arm in rng.sample(others, len(others)):
        row = arm.slice(options, cell, seed)
        after = pivot.slice(options, cell, seed)
        rows[arm.name].append(row)
        ratios[arm.name].append((before["cpu_us"] + after["cpu_us"]) / 2 / row["cpu_us"])
        line.append(after)
        before = after
    rows[pivot.name] += line
    for i in range(1, len(line) - 1):
        ratios[pivot.name].append((line[i - 1]["cpu_us"] + line[i + 1]["cpu_us"]) / 2 /
                                  line[i]["cpu_us"])


def verdict(cell, pivot, within):
    others = [arm["ratio"] for name, arm in cell.items() if name != pivot]
    if any(low > within for _, low, _ in others):
        return "missed"
    return "met" if all(high <= within for _, _, high in others) else "cannot tell"


def fold_cell(rows, ratios, rng):
    folded = {}
    for name, arm_rows in rows.items():
        cell = {key: statistics.mean(row[key] for row in arm_rows) for key in COUNTED}
        cell["requests"] = sum(row["requests"] for row in arm_rows)
        cell["cpu_us"] = bootstrap([row["cpu_us"] for row in arm_rows], rng)
        cell["ratio"] = bootstrap(ratios[name], rng)
        cell["busiest"] = bootstrap([row["busiest"] for row in arm_rows], rng)
        slices = [quantile_ns([(row["requests"], row["responses"])], 0.99) / 1000
                  for row in arm_rows]
        cell["slice_p99_us"] = bootstrap(slices, rng)
        cell["p99_us"] = p99_us(arm_rows, rng)
        folded[name] = cell
    return folded


def print_tables(cells, names, within, several):
    pivot = names[0]
    head = f"{'':16}" + "".join(f"{name:>24}" for name in names)
    for title, text in (
            ("CPU, us a request", lambda c: "{:.2f} [{:.2f}, {:.2f}]".format(*c["cpu_us"])),
            (f"CPU of {pivot}, times that of each; its own column is noise",
             lambda c: "{:.3f} [{:.3f}, {:.3f}]".format(*c["ratio"])),
            ("letters, bells a request" if several else None,
             lambda c: f"{c['letters_posted']:.4f}, {c['bells']:.4f}"),
            ("the busier core's CPU, times the mean" if several else None,
             lambda c: "{:.3f} [{:.3f}, {:.3f}]".format(*c["busiest"])),
            ("waits, receives, sends a request",
             lambda c: f"{c['turns']:.3f}, {c['receives']:.3f}, {c['sends']:.3f}"),
            ("p99 of all slices together, us",
             lambda c: "{:.0f} [{:.0f}, {:.0f}]".format(*c["p99_us"])),
            ("p99 of the median slice, us",
             lambda c: "{:.0f} [{:.0f}, {:.0f}]".format(*c["slice_p99_us"]))):
        if title is None:
            continue
        print(f"\n{title}\n{head}")
        for (operation, popularity), row in cells.items():
            print(f"{operation:4} {popularity:11}" + "".join(f"{text(row[name]):>24}"
                                                           for name in names))
    print(f"\n{pivot} at most {within} times each other arm")
    for (operation, popularity), row in cells.items():
        print(f"{operation:4} {popularity:11} {verdict(row, pivot, within)}")
    if not several:
        return
    print(f"\n{'a request of ' + pivot:23}   borrowed  owner there  taken  wanted by its owner")
    for (operation, popularity), row in cells.items():
        c = row[pivot]
        print(f"{operation:4} {popularity:19} {c['borrowed']:10.4f} {c['borrow_missed']:12.4f} "
              f"{c['borrow_refused']:6.4f} {c['batons_wanted']:20.4f}")


def busy_ns():
    """Time all CPUs have spent on anything but idling and waiting for disks."""
    words = [int(word) for word in pairs.read_text("/proc/stat").split("\n", 1)[0].split()[1:9]]
    return (sum(words) - words[3] - words[4]) * 10_000_000


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build/bench")
    parser.add_argument("--cores", type=int, choices=(1, 2), default=2)
    parser.add_argument("--rounds", type=int, help="default 40, with one core 16")
    parser.add_argument("--seconds", type=float, default=0.25, help="length of a slice")
    parser.add_argument("--rate", type=int, help="default 10000, with one core 30000")
    parser.add_argument("--keys", type=int, default=100000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--within", type=float, default=1.03)
    parser.add_argument("--operation", choices=ASKS, help="only this one")
    parser.add_argument("--keys-by", choices=KEYS, help="only keys asked for so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three short rounds: does it run?")
    parser.add_argument("--out", help="append the JSON line to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (16 if options.cores == 1 else 40)
    options.rate = options.rate or (30000 if options.cores == 1 else 10000)
    if options.quick:
        options.rounds, options.seconds = 3, 0.05
    return options


def measure(options, arms, rng):
    """Per cell: rows and ratios by arm."""
    cells = {(o, k): ({arm.name: [] for arm in arms}, {arm.name: [] for arm in arms})
             for o in ASKS for k in KEYS
             if options.operation in (None, o) and options.keys_by in (None, k)}
    for number in range(options.rounds):
        for cell, (rows, ratios) in cells.items():
            run_round(arms, options, cell, options.seed * 1000 + number, rng, rows, ratios)
        pairs.note(f"round {number + 1} of {options.rounds}")
    return cells


def main():
    options = parse_flags()
    rng = random.Random(options.seed)
    flags = arms_of(options.cores)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    server_cpus, client_cpus = (cpus[:1], cpus[1:]) if options.cores == 1 else (cpus, cpus)
    arms = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, words in flags.items():
                arms.append(Arm(name, options, words, folder, server_cpus, client_cpus))
            began, busy, steal = time.monotonic(), busy_ns(), pairs.steal_ns()
            measured = measure(options, arms, rng)
            wall_ns = (time.monotonic() - began) * 1e9 * os.cpu_count()
            busy, steal = (busy_ns() - busy) / wall_ns, (pairs.steal_ns() - steal) / wall_ns
        finally:
            for arm in arms:
                arm.close()
    rows = [row for by_arm, _ in measured.values() for arm in by_arm.values() for row in arm]
    ours = sum(row["client_ns"] + row["cpu_us"] * 1000 * row["requests"] for row in rows) / wall_ns
    shares = sorted(row["client_ns"] / (options.seconds * 1e9 * len(client_cpus)) for row in rows)
    lags = sorted(row["lag_p99_us"] for row in rows)
    cells = {cell: fold_cell(*by_arm, rng) for cell, by_arm in measured.items()}
    print_tables(cells, list(flags), options.within, options.cores > 1)
    quality = {"client_share": statistics.median(shares), "client_share_max": shares[-1],
               "lag_p99_us": statistics.median(lags), "steal": steal, "foreign": busy - ours}
    print("\nthe client took {client_share:.1%} of each of its CPUs (worst slice "
          "{client_share_max:.1%}), its lag had a p99 of {lag_p99_us:.0f} us;\nof both CPUs others "
          "took {foreign:.1%}, the hypervisor {steal:.1%}".format(**quality))
    pairs.print_json({"bench": "ownership", "cores": options.cores, "rounds": options.rounds,
                      "seconds": options.seconds, "rate": options.rate, "keys": options.keys,
                      "connections": options.connections, "seed": options.seed, **quality,
                      "cells": [{"operation": o, "popularity": p, "arms": row,
                                 "verdict": verdict(row, next(iter(flags)), options.within)}
                                for (o, p), row in cells.items()]}, options.out)


if __name__ == "__main__":
    main()
