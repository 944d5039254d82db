#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""names: docs/compatibility.md has a row for every name that memcached prints or takes.

Goal: whoever moves from memcached finds each statistic and each flag in the table, and what the table
says of it is so. Method: both servers are asked for their pages; a name that memcached prints stands in the first
cell of a row, percore prints it unless that row says that it is not printed, and what percore prints
beyond has a row too.
"""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import play  # noqa: E402
from cache_process import CacheProcess  # noqa: E402

PAGES = ["", "settings", "items", "slabs"]


def rows():
    """First cell, second and third of every row of the document."""
    path = os.path.join(HERE, "..", "..", "docs", "compatibility.md")
    with open(path, encoding="utf-8") as file:
        for line in file:
            cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
            if len(cells) == 3 and not set(cells[0]) <= set("-"):
                yield [cell.strip() for cell in cells]


def told_of(all_rows):
    """Each word of a first cell, and what is said of it."""
    table = {}
    for first, verdict, why in all_rows:
        for word in re.sub("[`†]", "", first).split():
            table.setdefault(word, []).append((verdict, why))
    return table


def names_of(address, page):
    """The names of a page, without the numbers of classes."""
    connection = play.Connection(address)
    connection.send(b"set k 0 0 1\r\nx\r\nget k\r\n")
    for expected in (b"STORED", b"VALUE k 0 1", b"x", b"END"):
        assert connection.line() == expected
    connection.send(f"stats {page}".rstrip().encode() + b"\r\n")
    names = []
    while True:
        line = connection.line()
        if line == b"END":
            return names
        name = line.split()[1].decode()
        names.append(re.sub(r"^(items:)?\d+:", "", name))


def check_page(page, reference, ours, table):
    troubles = []
    for name in reference:
        if name not in table:
            troubles.append(f"no row for {name} of stats {page}")
        elif name not in ours and not any(verdict == "absent" and why.startswith("not printed")
                                          for verdict, why in table[name]):
            troubles.append(f"percore does not print {name} of stats {page}")
    troubles += [f"no row for percore's {name} of stats {page}" for name in ours if name not in table]
    return troubles


def check_verdicts(all_rows):
    return [f"row '{first}' says neither same, different nor absent: '{verdict}'"
            for first, verdict, why in all_rows
            if verdict not in ("same", "different", "absent", "")] + [
            f"row '{first}' does not say how it differs" for first, verdict, why in all_rows
            if verdict in ("different", "absent") and not why]


def flags_of_memcached():
    """Letters, and the words that -o takes, of `memcached -h`."""
    text = subprocess.run([shutil.which("memcached"), "-h"], capture_output=True, text=True, check=True).stdout
    letters = set(re.findall(r"^(-\w+)[ ,]", text, re.M))
    return letters, set(re.findall(r"^ +- ([a-z_]+):", text, re.M))


def verdict_of_word(word):
    """What percore says of a word of -o, with a value for those that need one."""
    for value in ("", "=20", "=text"):
        done = subprocess.run([os.environ["PERCORE"], "cache", "-o", f"{word}{value},end_of_words"],
                              capture_output=True, text=True, timeout=60)
        said = [line for line in done.stderr.splitlines() if "'end_of_words'" not in line]
        if not said:
            return "same"
        if f"--extended {word} is without effect" in said[0]:
            return "different"
        if f"--extended {word} is not taken" in said[0]:
            return "absent"
    return said


def check_words(all_rows, words):
    """Each word of -o is taken, taken without effect or refused, as its row says."""
    told = {word: verdict for first, verdict, _ in all_rows if first.startswith("`-o")
            for word in re.findall(r"\w+", first)}
    return [f"percore says of -o {word}: {verdict}, docs/compatibility.md: {told.get(word)}"
            for word in sorted(words) for verdict in [verdict_of_word(word)] if verdict != told.get(word)]


def check_flags(all_rows):
    """Each flag has a row and is known to percore, to be taken or refused."""
    letters, words = flags_of_memcached()
    told = re.findall(r"-\w+", " ".join(first for first, _, _ in all_rows if first.startswith("`-")))
    done = subprocess.run([os.environ["PERCORE"], "cache", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^  (-\w)", done.stdout, re.M))
    print(f"{len(letters)} flags, {len(words)} words of -o")
    return ([f"no row for {letter}" for letter in letters if letter not in told] +
            [f"percore does not know {letter}" for letter in letters if letter[:2] not in known] +
            check_words(all_rows, words))


def main():
    all_rows = list(rows())
    table = told_of(all_rows)
    troubles = check_verdicts(all_rows)
    with play.reference_server() as address:
        if address is None:
            print("memcached is not installed")
            return 77
        with CacheProcess("--cores", "1") as cache:
            for page in PAGES:
                reference, ours = names_of(address, page), names_of(cache.address, page)
                print(f"stats {page}: {len(reference)} names of memcached, {len(ours)} of percore")
                troubles += check_page(page, reference, ours, table)
        troubles += check_flags(all_rows)
    for trouble in troubles:
        print(trouble)
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
