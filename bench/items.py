#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""items: bytes that an item costs beyond its key and value.

    bench/items.py [--arms percore,memcached,redis] [--items 1000000,5000000]
                   [--values 16,32,100,1000] [--out FILE]

One server at a time, with room for all items, is filled with keys of 16 bytes. `counted` is what
the server says it uses for items and their index, `resident` the growth of its touched private
memory; both without keys and values, for each item. memcached runs with -o hashpower=21, or its
table grows in the middle of the run.
"""

import argparse
import json
import pathlib
import resource
import socket
import sys

import pairs

KEY_BYTES = 16
BATCH = 5000
MEGABYTES = 8192  # more than any cell needs: nothing is evicted; only what is used is touched


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--arms", default="percore,memcached,redis")
    parser.add_argument("--items", type=pairs.numbers, default=[1000000, 5000000])
    parser.add_argument("--values", type=pairs.numbers, default=[16, 32, 100, 1000])
    parser.add_argument("--build", type=pathlib.Path, default=pairs.ROOT / "build" / "bench")
    parser.add_argument("--percore-flags", default="", help="more flags for percore")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    parser.add_argument("--json", help="append the JSON line to this file")
    return parser.parse_args()


class Link:
    """A connection that sends much and reads lines."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.file = self.socket.makefile("rb")
        self.redis = server.protocol == "redis"
        if self.redis:
            self.socket.sendall(b"CLIENT REPLY OFF\r\n")

    def fill(self, item_count, value_bytes):
        value = b"v" * value_bytes
        if self.redis:
            form = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%%012d\r\n$%d\r\n%s\r\n" % (value_bytes, value)
        else:
            form = b"set key:%%012d 0 0 %d noreply\r\n%s\r\n" % (value_bytes, value)
        for first in range(0, item_count, BATCH):
            last = min(first + BATCH, item_count)
            self.socket.sendall(b"".join([form % number for number in range(first, last)]))

    def facts(self):
        """(items, bytes counted)"""
        if self.redis:
            self.socket.sendall(b"CLIENT REPLY ON\r\nINFO\r\n")
            self.expect(b"+OK")
            size = int(self.file.readline()[1:])
            text = self.file.read(size + 2).decode()
            rows = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
            items = rows.get("db0", "keys=0").split(",")[0].split("=")[1]
            return int(items), int(rows["used_memory"])
        self.socket.sendall(b"stats\r\n")
        rows = {}
        for line in self.file:
            words = line.split()
            if words[0] == b"END":
                break
            rows[words[1].decode()] = words[2].decode()
        return int(rows["curr_items"]), int(rows["bytes"]) + int(rows["hash_bytes"])

    def expect(self, word):
        line = self.file.readline()
        if not line.startswith(word):
            raise SystemExit(f"expected {word}, got {line[:80]}")

    def close(self):
        self.file.close()
        self.socket.close()


def ask(server):
    link = Link(server)
    facts = link.facts()
    link.close()
    return facts


def start(arm, flags):
    extra = ["-m", str(MEGABYTES)]
    if arm == "percore":
        extra += flags.percore_flags.split()
    elif arm == "memcached":
        extra += ["-o", "hashpower=21"]
    else:
        extra = []
    return pairs.start_server(arm, "get", flags.build, None, 1, extra, connections_max=100)


def measure(arm, item_count, value_bytes, flags):
    server = start(arm, flags)
    try:
        _, counted_before = ask(server)
        resident_before = pairs.anonymous_bytes(server.pid)
        link = Link(server)
        link.fill(item_count, value_bytes)
        present, counted = link.facts()
        link.close()
        resident = pairs.anonymous_bytes(server.pid)
        if present != item_count:
            raise SystemExit(f"{arm} has {present} of {item_count} items")
    finally:
        server.close()
    payload = KEY_BYTES + value_bytes
    # redis' figure contains what the empty process uses; the others count items and index only.
    base = counted_before if arm == "redis" else 0
    return {
        "arm": arm, "items": item_count, "value_bytes": value_bytes,
        "counted": round((counted - base) / item_count - payload, 2),
        "resident": round((resident - resident_before) / item_count - payload, 2),
    }


def table(rows, arms):
    lines = ["| items | value | " + " | ".join(f"{arm} counted | {arm} resident" for arm in arms)
             + " |", "|---|---|" + "---|" * (2 * len(arms))]
    for key in sorted({(row["items"], row["value_bytes"]) for row in rows}):
        cells = []
        for arm in arms:
            row = next(row for row in rows
                       if (row["items"], row["value_bytes"], row["arm"]) == (*key, arm))
            cells += [f"{row['counted']:.1f}", f"{row['resident']:.1f}"]
        lines.append(f"| {key[0] // 1000}k | {key[1]} B | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    flags = parse_flags()
    arms = flags.arms.split(",")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows = []
    for item_count in flags.items:
        for value_bytes in flags.values:
            for arm in arms:
                rows.append(measure(arm, item_count, value_bytes, flags))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    pairs.print_json({"bench": "items", "key_bytes": KEY_BYTES, "rows": rows}, flags.json)
    text = "Bytes an item costs beyond key (16 bytes) and value\n\n" + table(rows, arms)
    print(text)
    if flags.out:
        flags.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
