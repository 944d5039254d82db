#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""load_split: a known delay shows in its own part of the time and nowhere else.

    bench/load_split.py [--build build/bench] [--delays-ms 1,10] [--rate 300] [--seconds 8]

Frames against a small server in this file that holds each answer back by a given time; the rate is
low enough that no request waits for the one before. The delay is planted in the schedule, the server or the
client; each part's median is compared with that of a run without any. A part that was not planted
may move by 5 % of the delay, the planted one must move by the delay give or take 5 %.
"""
import argparse
import json
import multiprocessing
import selectors
import socket
import struct
import sys
import time

import load_common as common

PARTS = {"schedule": "lag_us", "server": "network_server_us", "client": "client_us"}


def serve(listener, delay_s):
    """Echo frames one at a time, each `delay_s` after it was read, by the clock: no timer's slack."""
    ready, buffers = selectors.DefaultSelector(), {}
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                buffers[connection] = b""
                ready.register(connection, selectors.EVENT_READ)
                continue
            until = time.monotonic() + delay_s
            connection = key.fileobj
            data = connection.recv(65536)
            if not data:
                ready.unregister(connection)
                connection.close()
                continue
            buffers[connection] += data
            while len(buffers[connection]) >= 4:
                end = 4 + struct.unpack(">I", buffers[connection][:4])[0]
                if len(buffers[connection]) < end:
                    break
                while time.monotonic() < until:
                    pass
                connection.sendall(buffers[connection][:end])
                buffers[connection] = buffers[connection][end:]
                until = time.monotonic() + delay_s


def parts(percore, flags, server_ms, words):
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]
    server = multiprocessing.Process(target=serve, args=(listener, server_ms / 1e3), daemon=True)
    server.start()
    got, _, _ = common.load(percore, f"frame://127.0.0.1:{port}", "--rate", str(flags.rate),
                            "--arrivals", "fixed", "-c", "8", "--duration", str(flags.seconds),
                            "--warmup", "1", "--lag-gate-us", "0", *words)
    server.kill()
    server.join()
    return ({part: got[key]["p50"] / 1e3 for part, key in PARTS.items()},
            got["stamps_shared"] / max(1, got["received"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=common.ROOT / "build" / "bench")
    parser.add_argument("--delays-ms", default="1,10")
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=8)
    flags = parser.parse_args()
    percore = common.percore_of(flags.build)
    failed = False
    for delay in map(float, flags.delays_ms.split(",")):
        still, _ = parts(percore, flags, 0, [])
        for planted in PARTS:
            words = [f"--inject-{planted}-us", str(round(delay * 1e3))] if planted != "server" else []
            moved, shared = parts(percore, flags, delay if planted == "server" else 0, words)
            growth = {part: moved[part] - still[part] for part in PARTS}
            wrong = {part: (growth[part] - (delay if part == planted else 0)) / delay
                     for part in PARTS}
            holds = all(abs(error) <= 0.05 for error in wrong.values())
            failed |= not holds
            print(json.dumps({"planted_in": planted, "delay_ms": delay,
                              "growth_ms": {part: round(value, 4)
                                            for part, value in growth.items()},
                              "error_share": {part: round(value, 4)
                                              for part, value in wrong.items()},
                              "stamps_shared": round(shared, 4), "holds": holds,
                              "machine": common.machine()}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
