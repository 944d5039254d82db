#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""load_frozen: what is reported when the server stands still for half a second.

    bench/load_frozen.py [--build build/bench] [--arrivals fixed,poisson] [--json FILE]
                         [--svg FILE]

Debian's memcached at 1000 requests a second for 10 s, stopped (SIGSTOP) for 500 ms in the middle. 500
requests wait, evenly up to 500 ms; the slowest hundredth of 10 000 begins at 400 ms. Beside it the
figure from the moment of sending, which is what a generator without a schedule reports when its
sends wait for its receives (here: depth 1 on each connection).
"""
import argparse
import json
import math
import signal
import subprocess
import sys
import time

import load_common as common

RATE, SECONDS, FREEZE_S = 1000, 10, 0.5
# Reported p99 in ms; Poisson: the number of requests in half a second varies.
EXPECTED = {"fixed": (385, 410), "poisson": (350, 430)}


# The picture: percentiles to the right, time upwards, both logarithmic.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 70, 130, 46, 48


def place(fraction, microseconds):
    across = math.log10(1 / (1 - fraction)) / 4
    up = (math.log10(microseconds) - 1) / 5
    return (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))


def line(points, colour, name, label_down):
    shown = [(fraction, us) for fraction, us in points if 0.1 <= fraction <= 0.9999]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in shown))
    # Named where the two lines are furthest apart.
    x, y = place(*min(shown, key=lambda point: abs(point[0] - 0.98)))
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
            f'<text x="{x - 12:.1f}" y="{y + label_down:.1f}" text-anchor="end" fill="{colour}">'
            f'{name}</text>')


def picture(got):
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="system-ui, sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="24" font-size="15" fill="#1b1f24">memcached stopped for 0.5 s '
             'in a 10 s run at 1000 requests/s: latency by percentile</text>']
    for us, name in ((10, "10 µs"), (100, "100 µs"), (1e3, "1 ms"), (1e4, "10 ms"),
                     (1e5, "100 ms"), (1e6, "1 s")):
        x, y = place(0, us)
        parts.append(f'<path d="M{x} {y:.1f}H{WIDTH - RIGHT}" stroke="#d9dee3"/>'
                     f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#5b6570">{name}</text>')
    for fraction in (0.5, 0.9, 0.99, 0.999, 0.9999):
        x, y = place(fraction, 10)
        parts.append(f'<text x="{x:.1f}" y="{y + 22}" text-anchor="middle" fill="#5b6570">'
                     f'{100 * fraction:g} %</text>')
    parts.append(line(got["response_curve_us"], "#c26a00", "from the intended time", -6))
    parts.append(line(got["from_send_curve_us"], "#1769aa", "from sending", 20))
    return "\n".join(parts) + "\n</svg>\n"


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
    parser.add_argument("--svg", help="draw the fixed run at depth 1 there")
    flags = parser.parse_args()
    percore = common.percore_of(flags.build)
    failed = False
    for arrivals in flags.arrivals.split(","):
        for depth in (0, 1):
            got = measure(percore, arrivals, depth)
            if flags.svg and arrivals == "fixed" and depth == 1:
                with open(flags.svg, "w", encoding="utf-8") as file:
                    file.write(picture(got))
            row = {name: got[name] for name in ("scheduled", "sent", "received", "unanswered",
                                                "stream_hash")}
            row |= {"arrivals": arrivals, "depth": depth or "no limit",
                    "response_ms_p99": got["response_us"]["p99"] / 1e3,
                    "from_send_ms_p99": got["from_send_us"]["p99"] / 1e3,
                    "own_lag_us_p99": got["own_lag_us"]["p99"], "machine": common.machine()}
            low, high = EXPECTED[arrivals]
            row["holds"] = (row["scheduled"] == row["sent"] == row["received"] and
                            low <= row["response_ms_p99"] <= high and
                            (arrivals != "fixed" or row["scheduled"] == RATE * SECONDS))
            failed |= not row["holds"]
            text = json.dumps(row)
            print(text, flush=True)
            if flags.json:
                with open(flags.json, "a", encoding="utf-8") as file:
                    file.write(text + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
