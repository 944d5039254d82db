#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plays transcripts at a memcached server, ours or the reference, and compares every byte.

    play.py HOST:PORT TRANSCRIPT...        a server that runs already
    play.py --program=FLAGS TRANSCRIPT...  starts $PERCORE cache FLAGS on a free port
    play.py --reference TRANSCRIPT...      starts memcached; exits 77 where it is not installed

A transcript is blocks, each on a connection of its own and after a flush_all:

    == the sentence of the protocol that the block checks
    > set a 0 0 1          sends the line and CR LF; {x*100} stands for a hundred x
    >> get a\\n             sends just these bytes, with Python's escapes
    < STORED               the server says this line and CR LF
    <~ VERSION .*          a line that matches the expression
    <{1.6.18} ERROR        said instead of the lines just above by a server of that version
    <close                 the server closes the connection

A block that does not end in <close ends with a `version`, so that a reply too many is seen.
"""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time

DEADLINE_SECONDS = 20


class Mismatch(Exception):
    pass


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=DEADLINE_SECONDS)
        self.bytes = b""

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the next line that is expected says so

    def line(self):
        while b"\r\n" not in self.bytes:
            try:
                some = self.socket.recv(65536)
            except ConnectionResetError:
                some = b""
            except socket.timeout:
                raise Mismatch(f"no line within {DEADLINE_SECONDS} s, only {self.bytes!r}")
            if not some:
                raise Mismatch(f"closed; before that {self.bytes!r}")
            self.bytes += some
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def expect_close(self):
        try:
            some = self.bytes or self.socket.recv(65536)
        except ConnectionResetError:
            return
        except socket.timeout:
            raise Mismatch("still open")
        if some:
            raise Mismatch(f"said {some!r} where it should close")


def spread(text):
    return re.sub(r"\{(.+?)\*(\d+)\}", lambda m: m.group(1) * int(m.group(2)), text)


def read_blocks(path):
    blocks = []
    with open(path, encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.startswith("=="):
                blocks.append((line[2:].strip(), []))
            elif line and not line.startswith("#"):
                blocks[-1][1].append((number, line))
    return blocks


def expected_lines(steps, at, version):
    """The replies that begin at steps[at], as this version says them, and where they end."""
    general, special = [], []
    here = at
    while here < len(steps) and steps[here][1].startswith(("< ", "<~", "<{")):
        number, line = steps[here]
        if line.startswith("<{"):
            of, _, text = line[2:].partition("}")
            if of == version:
                special.append((number, "< " + text[1:]))
        elif special or any(s[1].startswith("<{") for s in steps[at:here]):
            break
        else:
            general.append((number, line))
        here += 1
    only_special = any(s[1].startswith("<{" + version + "}") for s in steps[at:here])
    return (special if only_special else general), here


def check(connection, number, line):
    said = connection.line()
    if line.startswith("<~"):
        good = re.fullmatch(spread(line[2:].strip()).encode("latin-1"), said) is not None
    else:
        good = said == spread(line[2:]).encode("latin-1")
    if not good:
        raise Mismatch(f"line {number}: expected {line[:200]!r}, got {said[:200]!r}")


def play_block(address, steps, version):
    connection = Connection(address)
    connection.send(b"flush_all\r\n")
    if connection.line() != b"OK":
        raise Mismatch("flush_all is refused")
    at = 0
    while at < len(steps):
        number, line = steps[at]
        if line == "<close":
            connection.expect_close()
            return
        if line.startswith(">> "):
            raw = spread(line[3:]).encode("latin-1").decode("unicode_escape").encode("latin-1")
            connection.send(raw)
            at += 1
        elif line.startswith("> "):
            connection.send(spread(line[2:]).encode("latin-1") + b"\r\n")
            at += 1
        elif line.startswith("<"):
            lines, end = expected_lines(steps, at, version)
            for number, line in lines:
                check(connection, number, line)
            if end == at:
                raise Mismatch(f"line {number}: not understood: {line!r}")
            at = end
        else:
            raise Mismatch(f"line {number}: not understood: {line!r}")
    connection.send(b"version\r\n")
    check(connection, 0, "<~ VERSION .*")


def play(address, paths):
    probe = Connection(address)
    probe.send(b"version\r\n")
    version = probe.line().decode().split()[1]
    failed = passed = 0
    for path in paths:
        for title, steps in read_blocks(path):
            try:
                play_block(address, steps, version)
                passed += 1
            except Mismatch as mismatch:
                failed += 1
                print(f"FAILED {os.path.basename(path)}: {title}\n    {mismatch}")
    print(f"played at version {version}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed == 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def reference_server(*flags):
    """The address of a memcached of our own; None where it is not installed."""
    program = shutil.which("memcached")
    if program is None:
        yield None
        return
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    server = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user, *flags])
    try:
        end = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield ("127.0.0.1", port)
    finally:
        server.terminate()
        server.wait()


def play_reference(paths):
    with reference_server() as address:
        if address is None:
            print("memcached is not installed")
            return 77
        return 0 if play(address, paths) else 1


def play_program(flags, paths):
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(here, "..", "integration"))
    from cache_process import CacheProcess

    with CacheProcess(*flags.split()) as cache:
        good = play(cache.address, paths)
        return 0 if good and cache.stop() == 0 else 1


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    if arguments[0] == "--reference":
        sys.exit(play_reference(arguments[1:]))
    if arguments[0].startswith("--program="):
        sys.exit(play_program(arguments[0].removeprefix("--program="), arguments[1:]))
    host, _, port = arguments[0].rpartition(":")
    sys.exit(0 if play((host, int(port)), arguments[1:]) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
