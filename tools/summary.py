#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""summary: what ran, from Meson's logs, counted in cases.

Usage: summary.py BUILD=TESTLOG.json...  A test program says how many cases it ran (cmocka, unittest,
or a line "N passed, N failed, N skipped"); one that says nothing is one case. A program that ended
badly has failed at least once, whatever it printed. The last line is the total, alone.
"""
import json
import re
import sys

SLOWEST_COUNT = 10
OWN_LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
CMOCKA_RUNNING = re.compile(r"^\[={10}\] Running \d+ test", re.M)
CMOCKA_ENDED = re.compile(r"^\[={10}\] \d+ test\(s\) run", re.M)
CMOCKA_PASSED = re.compile(r"^\[ +OK \] ", re.M)
# cmocka names a failed case twice: where it ran and in its closing list of "N test(s)".
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (?!\d+ test)(\S+)", re.M)
CMOCKA_SKIPPED = re.compile(r"^\[  SKIPPED \] (?!\d+ test)(\S+)", re.M)
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.M)


def cases_printed(text):
    """(passed, failed, skipped) as the program itself printed them, or None."""
    own = OWN_LINE.findall(text)
    if own:
        return tuple(int(number) for number in own[-1])
    groups = len(CMOCKA_RUNNING.findall(text))
    if groups:
        cut_short = groups - len(CMOCKA_ENDED.findall(text))
        return (len(CMOCKA_PASSED.findall(text)),
                len(set(CMOCKA_FAILED.findall(text))) + cut_short,
                len(set(CMOCKA_SKIPPED.findall(text))))
    ran = UNITTEST.search(text)
    if ran:
        notes = dict(re.findall(r"(\w[\w ]*)=(\d+)", ran.group(2) or ""))
        failed = sum(int(notes.get(word, 0)) for word in ("failures", "errors", "unexpected successes"))
        skipped = int(notes.get("skipped", 0))
        return int(ran.group(1)) - failed - skipped, failed, skipped
    return None


def cases(test):
    """(passed, failed, skipped) of one test of the log, corrected by how it ended."""
    result = test["result"]
    if result == "SKIP":
        return 0, 0, 1
    printed = cases_printed(test.get("stdout", "") + "\n" + test.get("stderr", ""))
    if result in ("OK", "EXPECTEDFAIL"):
        return printed if printed and sum(printed) > 0 else (1, 0, 0)
    passed, failed, skipped = printed or (0, 0, 0)
    return passed, max(failed, 1), skipped


def read(path):
    """The tests of one log; a build whose selection was empty has none."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return []


def main():
    total = [0, 0, 0]
    slowest = []
    for argument in sys.argv[1:]:
        build, path = argument.split("=", 1)
        counted = [0, 0, 0]
        tests = read(path)
        for test in tests:
            name = f"{build}: {test['name'].split(' / ')[-1]}"
            slowest.append((test["duration"], name))
            numbers = cases(test)
            counted = [a + b for a, b in zip(counted, numbers)]
            if numbers[1] > 0:
                print(f"FAILED {name} ({test['result'].lower()}, {test.get('returncode')})")
            if test["result"] == "SKIP":
                reason = (test.get("stdout", "") + test.get("stderr", "")).strip().splitlines()
                print(f"skipped {name}: {reason[-1] if reason else 'it does not say why'}")
        total = [a + b for a, b in zip(total, counted)]
        print("{}: {} passed, {} failed, {} skipped in {} programs".format(build, *counted, len(tests)))
    print("slowest:")
    for duration, name in sorted(slowest, reverse=True)[:SLOWEST_COUNT]:
        print(f"{duration:8.1f} s  {name}")
    if sum(total) == 0:
        print("no test ran")
        total[1] = 1
    print("{} passed, {} failed, {} skipped".format(*total))
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
