#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hits: how often percore cache has what is asked for, beside memcached with the same -m.

    bench/hits.py [--mixes zipf-0.8,zipf-0.99,zipf-1.2,ttl,scan,shift] [--seeds 1,2,3]
                  [--megabytes 64] [--requests 10000000] [--resident]

For each mix and seed both servers are started anew and one client (hits_client.c, which says what
the mixes are) plays the same stream to both at once: as many requests of warm-up as are measured,
every miss followed by a set. The client's counts must agree with the server's own, or the run ends.
With --resident, percore runs a second time with the -m that makes its resident memory that of
memcached. The figure is misses over memcached's misses; times and CPU say nothing here.
"""

import argparse
import json
import pathlib
import shutil
import socket
import statistics
import subprocess

import pairs

MIXES = "zipf-0.8,zipf-0.99,zipf-1.2,ttl,scan,shift"


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mixes", default=MIXES)
    parser.add_argument("--seeds", type=pairs.numbers, default=[1, 2, 3])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--resident", action="store_true", help="at equal resident memory too")
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--arms", default="percore,memcached",
                        help="percore, percore=PATH for another build, memcached")
    parser.add_argument("--json", help="append the JSON lines to this file")
    return parser.parse_args()


def start(arm, build, megabytes):
    port = pairs.free_port()
    name, path = pairs.split_arm(arm)
    command = ["-l", "127.0.0.1", "-p", str(port), "-m", str(megabytes), "-U", "0", "-u", "nobody"]
    if name == "memcached":
        command = [shutil.which("memcached") or "memcached", "-t", "1", *command]
    else:
        program = path or pairs.find_program(build, "percore")
        command = [program, "cache", "--cores", "1", *command]
    return pairs.Server(name, command, port, None, "memcached")


def read_stats(server):
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(b"stats\r\n")
        text = b""
        while not text.endswith(b"END\r\n"):
            text += connection.recv(65536)
    return dict(line.split(" ", 2)[1:] for line in text.decode().splitlines()
                if line.startswith("STAT "))


def check(server, counts, stats):
    """The client's counts against the server's own; memcached does not count a set it refuses."""
    said = [int(stats[name]) for name in ("get_hits", "get_misses")]
    counted = [counts["hits"], counts["gets"] - counts["hits"]]
    sets = int(stats["cmd_set"])
    if said != counted or not counts["stored"] <= sets <= counts["stored"] + counts["refused"]:
        raise SystemExit(f"{server.name}: counts {said} and {sets} sets, the client {counts}")


def run_cell(flags, mix, seed, megabytes):
    """One stream to all arms; `megabytes` is -m per arm, the stream is that of flags.megabytes."""
    arms = flags.arms.split(",")
    servers = []
    try:
        for arm in arms:
            servers.append(start(arm, flags.build, megabytes[arm]))
        command = [pairs.find_program(flags.build, "hits_client"), mix, str(seed),
                   str(flags.megabytes), str(flags.requests), str(flags.requests)]
        command += [str(server.port) for server in servers]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        rows = []
        for arm, server, counts in zip(arms, servers, told["servers"]):
            stats = read_stats(server)
            check(server, counts["all"], stats)
            measured = counts["measured"]
            rows.append({
                "arm": server.name, "limit_mib": megabytes[arm],
                "miss_ratio": round(1 - measured["hits"] / measured["gets"], 6),
                "refused": measured["refused"], "evictions": int(stats["evictions"]),
                "items": int(stats["curr_items"]),
                "resident_bytes": pairs.anonymous_bytes(server.pid),
            })
    finally:
        for server in servers:
            server.close()
    cell = {"bench": "hits", "mix": mix, "seed": seed, "megabytes": flags.megabytes,
            "requests": flags.requests, "seconds": told["seconds"], "arms": rows}
    pairs.print_json(cell, flags.json)
    pairs.note(f"{mix}, seed {seed}, {told['seconds']} s: " +
               ", ".join(f"{row['arm']} {row['miss_ratio']:.4f}" for row in rows))
    return cell


def print_table(title, cells_of_mix):
    print(f"\n{title}\n")
    print("| mix | memcached misses | percore misses | percore / memcached | least … most |")
    print("|---|---|---|---|---|")
    means = []
    for mix, cells in cells_of_mix.items():
        ratio = [{row["arm"]: row["miss_ratio"] for row in cell["arms"]} for cell in cells]
        both = [row["percore"] / row["memcached"] for row in ratio]
        means.append(statistics.mean(both))
        print(f"| {mix} | {statistics.mean(row['memcached'] for row in ratio):.4f} | "
              f"{statistics.mean(row['percore'] for row in ratio):.4f} | {means[-1]:.3f} | "
              f"{min(both):.3f} … {max(both):.3f} |")
    print(f"\nmean of the ratios {statistics.mean(means):.3f}")


def main():
    flags = parse_flags()
    arms = flags.arms.split(",")
    cells = {}
    resident = {}
    for seed in flags.seeds:
        for mix in flags.mixes.split(","):
            cell = run_cell(flags, mix, seed, dict.fromkeys(arms, flags.megabytes))
            cells.setdefault(mix, []).append(cell)
    if set(arms) != {"percore", "memcached"}:
        return
    print_table(f"equal -m {flags.megabytes}, {len(flags.seeds)} seeds", cells)
    if flags.resident:
        for mix, (first, *_) in cells.items():
            bytes_of = {row["arm"]: row["resident_bytes"] for row in first["arms"]}
            scaled = flags.megabytes * bytes_of["memcached"] // bytes_of["percore"]
            limits = {"memcached": flags.megabytes, "percore": scaled}
            resident[mix] = [run_cell(flags, mix, flags.seeds[0], limits)]
        print_table("equal resident memory, one seed", resident)


if __name__ == "__main__":
    main()
