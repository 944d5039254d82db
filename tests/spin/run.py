#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Check the protocols between cores with spin.

Each model is searched whole, once as it is and once for every BROKEN_ variant its head names. The
model must hold and every variant must fail: a model that cannot fail proves nothing.

usage: run.py [MODEL ...]      exit code 0: all as expected, 1: not, 77: spin is not installed
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DEPTH_MAX = 1000000
SEARCH_SECONDS_MAX = 120

# What a model is searched with beside its own numbers.
EXTRA = {"credits": [["CREDITS=2", "REQUESTS=3"]]}


def cases(models):
    for model in models:
        text = (HERE / f"{model}.pml").read_text()
        broken = re.findall(r"^ \*\s+(?:Must fail: )?(BROKEN_\w+)", text, re.MULTILINE)
        yield model, [], True
        for defines in EXTRA.get(model, []):
            yield model, defines, True
        for name in broken:
            if f"ifdef {name}" not in text and f"ifndef {name}" not in text:
                raise SystemExit(f"{model}.pml names {name} and does not use it")
            yield model, [name], False


def search(model, defines, must_hold, folder):
    """Return (verdict, detail): holds, fails, or trouble."""
    # A variant that fails does so soon: to optimise its search takes longer than the search.
    optimisation = "-O2" if must_hold else "-O0"
    flags = [f"-D{name}" for name in defines]
    shutil.copy(HERE / "memory.h", folder)
    shutil.copy(HERE / f"{model}.pml", folder)
    steps = [
        ["spin", *flags, "-a", f"{model}.pml"],
        ["cc", "-w", optimisation, "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2048", "-o", "pan", "pan.c"],
        ["./pan", f"-m{DEPTH_MAX}"],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, cwd=folder, capture_output=True, text=True,
                                  timeout=SEARCH_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return "trouble", f"{step[0]} took more than {SEARCH_SECONDS_MAX} s"
        if done.returncode != 0:
            return "trouble", f"{step[0]}: {done.stdout}{done.stderr}"
    output = done.stdout
    errors = re.search(r"errors: (\d+)", output)
    states = re.search(r"(\S+) states, stored", output)
    if errors is None or states is None:
        return "trouble", output
    if errors.group(1) != "0":
        reason = re.search(r"pan:1: (.*?) \(at depth", output)
        return "fails", reason.group(1) if reason else "no reason given"
    if "not completed" in output or "max search depth too small" in output:
        return "trouble", "the search was cut short"
    return "holds", f"{int(float(states.group(1)))} states"


def check(case):
    model, defines, must_hold = case
    with tempfile.TemporaryDirectory(prefix="percore-spin-") as folder:
        verdict, detail = search(model, defines, must_hold, folder)
    passed = verdict == ("holds" if must_hold else "fails")
    name = " ".join([model, *defines])
    return passed, f"{'ok' if passed else 'NOT OK':6} {name}: {verdict}, {detail}"


def main():
    if shutil.which("spin") is None:
        print("spin is not installed: the protocol models are skipped")
        return 77
    models = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.pml"))
    workers = min(4, len(os.sched_getaffinity(0)))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(check, cases(models)))
    for _, line in results:
        print(line)
    passed = sum(ok for ok, _ in results)
    failed = len(results) - passed
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
