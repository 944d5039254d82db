#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""load_frozen: what is reported when the server stands still for half a second.

    bench/load_frozen.py [--build build/bench] [--arrivals fixed,poisson] [--json FILE]

Debian's memcached at 1000 requests a second for 10 s, stopped (SIGSTOP) for 500 ms in the middle. 500
requests wait, evenly up to 500 ms; the slowest hundredth of 10 000 begins at 400 ms. Beside it the
figure from the moment of sending, which is what a generator without a schedule reports when its
sends wait for its receives (here: depth 1 on each connection).
"""
import argparse
import json
import signal
import subprocess
import sys
import time

import load_common as common

RATE, SECONDS, FREEZE_S = 1000, 10, 0.5
# Reported p99 in ms; Poisson: the number of requests in half a second varies.
EXPECTED = {"fixed": (385, 410), "poisson": (350, 430)}


def measure(percore, arrivals, depth):
    port = common.free_port()
    words = [percore, "load", f"memcached://127.0.0.1:{port}", "--rate", str(RATE), "--arrivals",
             arrivals, "--duration", str(SECONDS), "--warmup", "1", "--keys", "1000",
             "--lag-gate-us", "0", "--json", "-"]
    words += ["--depth", str(depth)] if depth else []
    with common.memcached(port) as server:
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
            time.sleep(5)
            server.send_signal(signal.SIGSTOP)
            time.sleep(FREEZE_S)
            server.send_signal(signal.SIGCONT)
            return json.loads(run.communicate()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=common.ROOT / "build" / "bench")
    parser.add_argument("--arrivals", default="fixed,poisson")
    parser.add_argument("--json", help="append the lines to this file")
    flags = parser.parse_args()
    percore = common.percore_of(flags.build)
    failed = False
    for arrivals in flags.arrivals.split(","):
        for depth in (0, 1):
            got = measure(percore, arrivals, depth)
            line = {name: got[name] for name in ("scheduled", "sent", "received", "unanswered",
                                                 "stream_hash")}
            line |= {"arrivals": arrivals, "depth": depth or "no limit",
                     "response_ms_p99": got["response_us"]["p99"] / 1e3,
                     "from_send_ms_p99": got["from_send_us"]["p99"] / 1e3,
                     "own_lag_us_p99": got["own_lag_us"]["p99"], "machine": common.machine()}
            low, high = EXPECTED[arrivals]
            line["holds"] = (line["scheduled"] == line["sent"] == line["received"] and
                             low <= line["response_ms_p99"] <= high and
                             (arrivals != "fixed" or line["scheduled"] == RATE * SECONDS))
            failed |= not line["holds"]
            text = json.dumps(line)
            print(text, flush=True)
            if flags.json:
                with open(flags.json, "a", encoding="utf-8") as file:
                    file.write(text + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
