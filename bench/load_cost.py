#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""load_cost: CPU of the generator per request, beside redis-benchmark and memcaslap.

    bench/load_cost.py [--build build/bench] [--rounds 10] [--requests 200000] [--pipeline 1,16]

Closed loop, 50 connections, one thread, the same server, sizes and depth. A round runs every arm
once in random order; the figure is user + system time of the whole process over its requests, and
the ratio is taken within a round. Softirq work of loopback is charged to whoever runs, alike for
all arms. percore draws keys, checks every value and keeps its histograms meanwhile; the others do
not check.
"""
import argparse
import json
import random
import statistics
import sys

import load_common as common

CONNECTIONS, KEYS = 50, 10000


def redis_arms(percore, port, pipeline, requests):
    url = f"redis://127.0.0.1:{port}"
    percore_words = [percore, "load", url, "--closed", "--depth", str(pipeline), "-c",
                     str(CONNECTIONS), "--requests", str(requests), "--warmup", "0", "--no-fill",
                     "--mix", "get", "--popularity", "uniform", "--keys", str(KEYS), "--prefix",
                     "key:", "--key-bytes", "16", "--value-bytes", "100", "--quiet"]
    redis_words = ["redis-benchmark", "-p", str(port), "-c", str(CONNECTIONS), "-P", str(pipeline),
                   "-n", str(requests), "-r", str(KEYS), "-d", "100", "-t", "get", "-q"]
    return {"percore": percore_words, "redis-benchmark": redis_words}


def memcached_arms(percore, port, requests):
    url = f"memcached://127.0.0.1:{port}"
    percore_words = [percore, "load", url, "--closed", "--depth", "1", "-c", str(CONNECTIONS),
                     "--requests", str(requests), "--warmup", "0", "--no-fill", "--mix",
                     "get=0.9,set=0.1", "--popularity", "uniform", "--keys", str(KEYS),
                     "--key-bytes", "64", "--value-bytes", "1024", "--quiet"]
    memcaslap_words = ["memcaslap", "-s", f"127.0.0.1:{port}", "-c", str(CONNECTIONS), "-T", "1",
                       "-x", str(requests), "-w", "10k"]
    return {"percore": percore_words, "memcaslap": memcaslap_words}


def fill(arms):
    """Every arm finds its keys."""
    words = [word for word in arms["percore"] if word != "--no-fill"]
    words[words.index("--requests") + 1] = "1000"
    common.run(words)
    if "redis-benchmark" in arms:
        words = list(arms["redis-benchmark"])
        words[words.index("-t") + 1] = "set"
        words[words.index("-n") + 1] = str(20 * KEYS)
        common.run(words)


def compare(name, arms, requests, rounds, rng):
    costs = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm in rng.sample(list(arms), len(arms)):
            _, code, cpu_s = common.run(arms[arm], cpu=1)
            if code not in (0, 5):
                raise SystemExit(f"{arm}: exit {code}")
            costs[arm].append(1e6 * cpu_s / requests)
    other = next(arm for arm in arms if arm != "percore")
    ratios = sorted(ours / theirs for ours, theirs in zip(costs["percore"], costs[other]))
    line = {"case": name, "rounds": rounds, "requests": requests,
            "cpu_us_per_request": {arm: round(statistics.median(values), 3)
                                   for arm, values in costs.items()},
            "ratio_median": round(statistics.median(ratios), 3),
            "ratio_quarters": [round(ratios[len(ratios) // 4], 3),
                               round(ratios[-1 - len(ratios) // 4], 3)],
            "ratio_of_least": round(min(costs["percore"]) / min(costs[other]), 3),
            "machine": common.machine()}
    print(json.dumps(line), flush=True)
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=common.ROOT / "build" / "bench")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=200000)
    parser.add_argument("--pipeline", default="1,16")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    percore, rng = common.percore_of(flags.build), random.Random(flags.seed)
    limits = {1: 1.0, 16: 0.7}
    failed = False
    for pipeline in map(int, flags.pipeline.split(",")):
        port = common.free_port()
        with common.redis(port, cpu=0):
            requests = flags.requests * (5 if pipeline > 1 else 1)
            arms = redis_arms(percore, port, pipeline, requests)
            fill(arms)
            line = compare(f"redis get, pipeline {pipeline}", arms, requests, flags.rounds, rng)
            failed |= line["ratio_median"] > limits.get(pipeline, 1.0)
    port = common.free_port()
    with common.memcached(port, cpu=0):
        arms = memcached_arms(percore, port, flags.requests)
        fill(arms)
        line = compare("memcached 90/10, pipeline 1", arms, flags.requests, flags.rounds, rng)
        failed |= line["ratio_median"] > 1.0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
