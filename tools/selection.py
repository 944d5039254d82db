#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""selection: the tests of a build that match, one name a line.

Usage: selection.py BUILD_DIR SUITE [NAME...]. SUITE may be empty: any. NAME is a suite or a part of a
test's name; no NAME: all.
"""
import json
import subprocess
import sys


def main():
    build, suite, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
    listed = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                            capture_output=True, text=True).stdout
    for test in json.loads(listed):
        suites = {name.split(":")[-1] for name in test["suite"]}
        if suite and suite not in suites:
            continue
        if not wanted or any(word in suites or word in test["name"] for word in wanted):
            print(test["name"])


if __name__ == "__main__":
    main()
